# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies a container goes with its clone, and no link in its root leads out of it."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import identity, inside
from ansible_collections.homelab.hybrid.plugins.module_utils._container.inside import WritableTree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "etc" / "ssh").mkdir(parents=True)
    (tmp_path / "root" / "var" / "lib").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What belongs to the host."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("machine-id", "instance", "ssh_host_rsa_key"):
        (folder / name).write_text("the host's", encoding="utf-8")
    return folder


def reset(root: Path) -> list[str]:
    return identity.reset(WritableTree(str(root), (os.getuid(), os.getgid())), "web")


def test_what_is_not_there_is_not_made(root: Path) -> None:
    assert reset(root) == []
    assert sorted(path.name for path in root.rglob("*")) == ["etc", "lib", "ssh", "var"]


def test_links_lead_nowhere(root: Path, outside: Path) -> None:
    (root / "etc" / "machine-id").symlink_to(outside / "machine-id")
    (root / "var" / "lib" / "cloud").symlink_to(outside)
    shutil.rmtree(root / "etc" / "ssh")
    (root / "etc" / "ssh").symlink_to(outside)
    assert reset(root) == []
    assert {path.name: path.read_text() for path in outside.iterdir()} == dict.fromkeys(
        ("machine-id", "instance", "ssh_host_rsa_key"), "the host's"
    )
    assert not (root / "etc" / "machine-id").is_symlink() and (root / "etc" / "machine-id").read_text() == ""


def test_an_id_of_dbus_that_is_a_link_stays_one(root: Path) -> None:
    (root / "var" / "lib" / "dbus").mkdir()
    link = root / "var" / "lib" / "dbus" / "machine-id"
    link.symlink_to("/etc/machine-id")
    reset(root)
    assert link.is_symlink()
    link.unlink()
    link.write_text("old", encoding="utf-8")
    reset(root)
    assert not link.exists()


@pytest.mark.parametrize(("has_program", "told"), [(True, 0), (False, 1)])
def test_host_keys_are_made_anew_or_said_to_be_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, has_program: bool, told: int
) -> None:
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "ssh_host_dsa_key", "sshd_config"):
        (root / "etc" / "ssh" / name).write_text("old", encoding="utf-8")
    monkeypatch.setattr(identity.shutil, "which", lambda name: name if has_program else None)
    monkeypatch.setattr(identity, "_make_key", lambda kind, hostname: (f"{kind} of {hostname}", "public"))
    assert len(reset(root)) == told
    found = {path.name: path.read_text() for path in (root / "etc" / "ssh").iterdir()}
    new = {"ssh_host_ed25519_key": "ed25519 of web", "ssh_host_ed25519_key.pub": "public"} if has_program else {}
    assert found == {"sshd_config": "old", **new}


def test_a_folder_goes_with_what_is_in_it_and_a_link_alone(root: Path, outside: Path) -> None:
    (root / "var" / "lib" / "cloud" / "instances" / "old").mkdir(parents=True)
    (root / "var" / "lib" / "cloud" / "instances" / "old" / "link").symlink_to(outside)
    (root / "var" / "lib" / "cloud" / "instance").symlink_to(outside)
    tree: t.Any = inside.WritableTree(str(root), (os.getuid(), os.getgid()))
    for path in ("/var/lib/cloud/instances", "/var/lib/cloud/instance", "/var/lib/cloud/never", "/no/such"):
        tree.remove_all(path)
    assert list((root / "var" / "lib" / "cloud").iterdir()) == [] and len(list(outside.iterdir())) == 3
