# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The files of LXC's containers as they may lie there: included, linked, odd, of an older LXC."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import lxc


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lxc.conf").write_text(f"lxc.lxcpath = {tmp_path}/lxc/\n")
    monkeypatch.setattr(lxc, "_GLOBAL", str(tmp_path / "lxc.conf"))
    (tmp_path / "lxc/web").mkdir(parents=True)
    return tmp_path / "lxc"


def write(folder: Path, text: str) -> lxc.Container:
    (folder / "web/config").write_text(text)
    return lxc.read_containers()["web"]


def test_the_folder_of_the_containers_is_that_of_lxc_conf(folder):
    assert lxc.config_path("web") == f"{folder}/web/config"
    assert lxc.read_containers() == {} and write(folder, "lxc.uts.name = x\n").problem is None


def test_a_file_and_a_folder_are_read_as_lxc_reads_them(folder, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.conf").write_text(f"lxc.net.0.link = br1\nlxc.include = {tmp_path}/more\n")
    (tmp_path / "d/b.txt").write_text("lxc.net.1.link = br2\n")
    (tmp_path / "more").write_text("lxc.net.2.hwaddr = 00:16:3E:00:00:01\n")
    found = write(folder, f'lxc.include = "{tmp_path}/d"\nlxc.include = {tmp_path}/nothing.d/\n')
    assert found.problem is None and found.bridges == {"br1"} and found.macs == ["00:16:3e:00:00:01"]
    assert [line.text for line in found.included[f"{tmp_path}/d"] if line.text][-1].startswith("lxc.net.2")


def test_what_is_odd_of_one_is_said_of_that_one(folder, tmp_path):
    assert "cannot be read" in str(write(folder, f"lxc.include = {tmp_path}/missing\n").problem)
    assert "which includes it in turn" in str(write(folder, f"lxc.include = {folder}/web/config\n").problem)
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in str(write(folder, f"lxc.include = {tmp_path}/pipe\n").problem)
    (folder / "web/config").unlink()
    (folder / "web/config").symlink_to(folder / "web/config")
    assert "cannot be read" in str(lxc.read_containers()["web"].problem)


@pytest.mark.parametrize(
    "key",
    [
        "lxc.utsname",
        "lxc.rootfs",
        "lxc.network.type",
        "lxc.network.0.link",
        "lxc.id_map",
        "lxc.aa_profile",
        "lxc.mount",
    ],
)
def test_keys_of_an_older_lxc_are_named(folder, tmp_path, key):
    (tmp_path / "x").write_text("")
    assert str(write(folder, f"{key} = {tmp_path}/x\n").problem).startswith(f"{key} is a key of LXC 1 or 2")


@pytest.mark.parametrize(
    "line",
    [
        "lxc.uts.name = a",
        "lxc.rootfs.path = /x",
        "lxc.tty.max = 1",
        "lxc.console.path = none",
        "lxc.seccomp.profile = x",
    ],
)
def test_keys_of_today_are_none_of_an_older_lxc(folder, line):
    assert write(folder, f"{line}\n# lxc.utsname = x\n").problem is None
