# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that somebody made by hand, hostile text, hostile roots, and the Debian releases."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._container import inside
from ansible_collections.homelab.hybrid.plugins.module_utils._container.options import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import debian_images, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hostile import HostileCase, assert_harmless, hostile_cases

BY_HAND = """\
# Made by hand on a rainy day
lxc.include = /usr/share/lxc/config/common.conf

   lxc.uts.name=byhand
lxc.apparmor.profile = unconfined
# the network
lxc.net.0.flags = up
lxc.net.0.type = veth
lxc.net.0.link = hlctbr0
lxc.net.0.veth.pair = hlct-hand
lxc.rootfs.path = dir:{root}
lxc.mount.entry = tmpfs tmp tmpfs size=1m,create=dir 0 0
lxc.mount.entry = {folder} data none bind,create=dir 0 0
lxc.environment = A=b
# the end"""
NAT = "hlctnat0"

pytestmark = pytest.mark.usefixtures("no_container")


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    ct.set_up()
    yield
    converge_now(Bridge(), {"name": NAT, "state": "absent"})
    ct.tear_down()


@pytest.fixture(params=["stopped", "started"])
def by_hand(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[str]:
    """A privileged container with comments, odd order and spacing, and no line break at the end."""
    os.chmod(tmp_path, 0o755)
    tiny_root.fill(tmp_path / "root")
    (tmp_path / "folder").mkdir()
    folder = ct.LXC / ct.NAME
    folder.mkdir()
    text = BY_HAND.format(root=tmp_path / "root", folder=tmp_path / "folder")
    (folder / "config").write_text(text)
    if request.param == "started":
        ct.run("lxc-start", "-n", ct.NAME, "-d")
    yield text


def lines_lost(before: str) -> list[str]:
    there = ct.config().splitlines()
    return [line for line in before.splitlines() if line not in there]


def test_a_container_made_by_hand_is_changed_in_place(by_hand):
    wanted = {
        "name": ct.NAME,
        "memory": "64M",
        "autostart": True,
        "networks": [{"name": "net0", "bridge": "hlctbr1"}, {"name": "dmz", "bridge": "hlctbr0", "ip": "none"}],
        "mounts": [{"name": "files", "path": "/data", "readonly": True}],
    }
    check_run_again(
        ct.CONTAINER,
        wanted,
        ["memory", "autostart", "networks[net0].bridge", "networks[dmz]", "mounts[files].readonly"],
    )
    lost = lines_lost(by_hand)
    assert [line.partition("=")[0].strip() for line in lost] == ["lxc.net.0.link", "lxc.mount.entry"]
    order = [line for line in ct.config().splitlines() if line in by_hand.splitlines()]
    assert order == [line for line in by_hand.splitlines() if line not in lost]
    assert "volumes" not in ct.record() and "idmap" not in ct.record()
    if ct.state() == "RUNNING":
        assert ct.links()["hlct-hand"]["master"] == "hlctbr1"
        assert " /data " in ct.inside("cat", "/proc/mounts")


def test_nothing_of_a_container_made_by_hand_is_deleted(by_hand, tmp_path):
    outcome = check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, ["state"])
    assert outcome.plan.kept == [f"{tmp_path}/root (not made by this collection)"]
    assert (tmp_path / "root/bin/busybox").exists() and ct.record() == {}


def test_looking_at_a_container_made_by_hand_makes_no_record(by_hand):
    outcome = unchanged(ct.CONTAINER, {"name": ct.NAME, "hostname": None, "networks": [], "mounts": []})
    assert outcome.plan.unmanaged == ["networks[net0]", "mounts[mount0]"]
    assert ct.record() == {} and ct.config() == by_hand
    assert outcome.facts["guest"]["managed"] is False


def test_another_container_is_left_as_it_stands(by_hand):
    outcome = converge_now(ct.CONTAINER, {**ct.BASE, "name": f"{ct.PREFIX}-b"})
    assert outcome.error is None
    converge_now(ct.CONTAINER, {"name": f"{ct.PREFIX}-b", "state": "absent", "delete": ["rootfs"]})
    assert ct.config() == by_hand


def test_a_link_of_the_guest_leads_nowhere_outside(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    outcome = converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped"})
    assert outcome.error is None
    root = ct.rootfs()
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").symlink_to(secret)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "dns": {"servers": ["192.0.2.1"]}}, ["dns.servers"])
    assert secret.read_text() == "untouched" and not (root / "etc/resolv.conf").is_symlink()
    (root / "root").rename(root / "old")
    (root / "root").symlink_to(tmp_path)
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1 me"]})
    assert outcome.error is not None and "cannot be written" in outcome.error.message
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_files_inside_are_reached_without_links(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/loop").symlink_to("/etc")
    os.mkfifo(tmp_path / "root/etc/pipe")
    tree = inside.WritableTree(str(tmp_path / "root"), (os.getuid(), os.getgid()))
    assert tree.read("/loop/passwd") is None and tree.read("/etc/pipe") is None
    with pytest.raises(ApplyError, match="cannot be written"):
        tree.write("/loop/x", "x")
    tree.write("/etc/a/b", "x", mode=0o640)
    assert (tmp_path / "root/etc/a/b").stat().st_mode & 0o777 == 0o640 and tree.read("/etc/a/b") == "x"
    tree.link("/etc/l", "/x")
    tree.link("/etc/l", "/y")
    assert os.readlink(tmp_path / "root/etc/l") == "/x"
    assert sorted(path.name for path in (tmp_path / "root/etc/a").iterdir()) == ["b"]


HOSTILE_BASE = {**ct.BASE, "state": "stopped", "networks": [{"name": "lan", "bridge": "hlctbr0", "ip": "none"}]}


def remove_hostile() -> None:
    ct.clean()


@pytest.mark.parametrize("case", hostile_cases(ARGUMENTS, HOSTILE_BASE), ids=str)
def test_hostile_text_is_refused_or_kept(case: HostileCase):
    assert_harmless(
        ct.CONTAINER,
        case,
        is_ours=lambda params: str(params["name"]).startswith(ct.PREFIX),
        remove=remove_hostile,
    )


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_debian_comes_up_running(suite):
    tiny_root.store(f"{ct.PREFIX}-{suite}", debian_images.container_root(suite))
    bridge = {
        "name": NAT,
        "mode": "nat",
        "address": "10.91.9.1/24",
        "dhcp": {"start": "10.91.9.100", "end": "10.91.9.199"},
    }
    outcome = converge_now(Bridge(), bridge)
    assert outcome.error is None, outcome.error
    wanted = {
        **ct.BASE,
        "image": f"{ct.PREFIX}-{suite}",
        "networks": [
            {"name": "lan", "bridge": NAT},
            {
                "name": "fixed",
                "bridge": "hlctbr0",
                "ip": "10.91.7.50/24",
                "rate_limit": {"in": "50Mbit", "out": "20Mbit"},
            },
        ],
        "memory": "512M",
        "wait_for": ["ip", "systemd"],
    }
    outcome = check_run_again(ct.CONTAINER, wanted)
    assert ct.inside("systemctl", "is-system-running") == "running"
    assert any(address.startswith("10.91.9.1") for address in outcome.facts["guest"]["addresses"])
    assert "10.91.7.50/24" in ct.network("address")
    network = [{"name": "fixed", "ip": "10.91.7.51/24"}, {"name": "more", "bridge": "hlctbr1", "ip": "10.91.8.51/24"}]
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": network}, ["networks[fixed].ip", "networks[more]"])
    ct.inside("systemctl", "reboot", check=False)
    again = {**wanted, "networks": [{"name": "lan", "bridge": NAT}, *network]}
    pid = ct.pid()
    for dummy in range(100):
        if ct.run("lxc-info", "-n", ct.NAME, "-p", "-H", check=False).strip() not in ("", str(pid)):
            break
        time.sleep(0.1)
    outcome = converge_now(ct.CONTAINER, again)
    assert outcome.error is None, outcome.error
    assert ct.inside("systemctl", "is-system-running") == "running"
    assert "10.91.7.51/24" in ct.network("address") and "10.91.8.51/24" in ct.network("address")
    # The guest's own restart made new links.
    assert ct.rates(ct.values("lxc.net.1.veth.pair")[0]) == (50_000_000, 20_000_000)
    assert converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"}).error is None
    assert ct.state() == "STOPPED"


def test_a_newer_record_is_left_alone():
    converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped"})
    path = Path(paths.record_path("guests", ct.NAME))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    refuse(ct.CONTAINER, {"name": ct.NAME, "autostart": True}, "has schema 99")
