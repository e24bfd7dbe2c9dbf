# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.isolated import Isolated, isolated, neighbour
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import MOUNT_PROGRAM, Config

CONFIG = f"""\
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /etc/mine.conf
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.rootfs.path = dir:/srv/main/web.rootfs
lxc.uts.name = web
lxc.start.auto = 1
lxc.start.delay = 3
lxc.cgroup2.memory.max = 512M
lxc.cgroup2.devices.allow = c 10:200 rwm
lxc.cgroup2.devices.allow = c 188:0 rwm
lxc.mount.auto = proc:mixed sys:ro
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file 0 0
lxc.mount.entry = /dev/ttyUSB0 dev/ttyUSB0 none bind,create=file,optional 0 0
lxc.mount.entry = /srv/media media none bind,ro,create=dir 0 0
lxc.mount.entry = tmpfs run tmpfs size=1M 0 0
lxc.hook.start-host = {MOUNT_PROGRAM} /srv/photos /photos idmap=container,bind
lxc.hook.pre-start = /usr/local/bin/mine
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.veth.pair = web-lan
lxc.net.0.hwaddr = 00:16:3e:00:00:01
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = 10.0.0.5/24
lxc.net.0.ipv4.gateway = 10.0.0.1
lxc.net.0.script.up = /usr/local/bin/up
lxc.net.1.type = macvlan
lxc.net.1.link = eno1
lxc.net.1.macvlan.mode = bridge
lxc.net.2.type = veth
lxc.net.2.link = br0
lxc.net.3.type = phys
lxc.net.3.link = enp3s0
lxc.net.4.type = veth
lxc.net.4.link = br0
lxc.net.4.veth.vlan.id = 20
"""
IDS = ["u 0 300000 65536", "g 0 300000 65536"]


@pytest.fixture(scope="module")
def its() -> Isolated:
    return isolated(Config.parse(CONFIG), root="dir:/srv/main/web+drill.rootfs", ids=IDS, console="/console.log")


def test_what_a_guest_is_stays_as_it_is(its: Isolated) -> None:
    assert its.config.get("lxc.uts.name") == "web" and its.config.get("lxc.cgroup2.memory.max") == "512M"
    net = its.config.nets()[0]
    kept = {"hwaddr": "00:16:3e:00:00:01", "name": "eth0", "ipv4.address": "10.0.0.5/24", "ipv4.gateway": "10.0.0.1"}
    assert net == {"type": "veth", "flags": "up", "veth.pair": "hhdrill0", **kept}


def test_its_root_and_its_ids_are_its_own(its: Isolated) -> None:
    assert its.config.values("lxc.rootfs.path") == ["dir:/srv/main/web+drill.rootfs"]
    assert its.config.values("lxc.idmap") == IDS


def test_no_card_reaches_a_link_of_the_host(its: Isolated) -> None:
    nets = its.config.nets()
    assert {net["type"] for net in nets.values()} == {"veth"}
    assert not any(key == "link" or "script" in key or "macvlan" in key for net in nets.values() for key in net)
    assert nets[3]["name"] == "enp3s0", "a card of the host has its name inside too"


def test_cards_that_shared_a_bridge_and_a_vlan_share_a_segment(its: Isolated) -> None:
    assert [wire.segment for wire in its.wires] == [0, 1, 0, 2, 3]
    assert its.wires[0].gateways == ("10.0.0.1/24",)


@pytest.mark.parametrize("key", ["lxc.start.auto", "lxc.start.delay", "lxc.hook.pre-start", "lxc.hook.start-host"])
def test_nothing_of_it_starts_with_the_host_or_runs_on_it(its: Isolated, key: str) -> None:
    assert its.config.values(key) == []


def test_what_the_host_mounts_into_it_is_an_empty_folder_and_is_told(its: Isolated) -> None:
    entries = its.config.values("lxc.mount.entry")
    assert "left_out media tmpfs create=dir,mode=0755 0 0" in entries
    assert "left_out photos tmpfs create=dir,mode=0755 0 0" in entries
    assert "tmpfs run tmpfs size=1M 0 0" in entries
    assert not any("/srv/" in entry for entry in entries)
    assert its.left_out == (
        "/etc/mine.conf, a file of the host that its configuration includes",
        "/dev/ttyUSB0, which is /dev/ttyUSB0 of the host",
        "/media, which is /srv/media of the host",
        "/photos, which is /srv/photos of the host",
    )
    assert set(its.emptied) == {"/media", "/photos"}


def test_what_came_out_of_the_backup_is_where_the_host_mounted_it() -> None:
    places = {("/srv/media", "/media"): "/pool/media", ("/srv/photos", "/photos"): "/pool/photos"}
    its = isolated(Config.parse(CONFIG), root="dir:/root", ids=IDS, console="/console.log", brought=places)
    assert "/pool/media media none bind,ro,create=dir 0 0" in its.config.values("lxc.mount.entry")
    assert its.config.values("lxc.hook.start-host") == [f"{MOUNT_PROGRAM} /pool/photos /photos idmap=container,bind"]
    assert its.emptied == () and not any("media" in told or "photos" in told for told in its.left_out)


def test_what_is_mounted_in_a_folder_that_is_empty_comes_after_it() -> None:
    inner = "lxc.mount.entry = /srv/inner media/inner none bind,create=dir 0 0\n"
    config = Config.parse(CONFIG.replace("lxc.mount.entry = tmpfs", f"{inner}lxc.mount.entry = tmpfs"))
    places = {("/srv/inner", "/media/inner"): "/pool/inner"}
    its = isolated(config, root="dir:/root", ids=IDS, console="/console.log", brought=places)
    paths = [entry.split()[1] for entry in its.config.values("lxc.mount.entry")]
    assert paths.index("media") < paths.index("media/inner")


def test_only_devices_that_reach_nothing_but_the_kernel_are_in_it(its: Isolated) -> None:
    assert its.config.values("lxc.cgroup2.devices.allow") == ["c 10:200 rwm"]
    assert [entry for entry in its.config.values("lxc.mount.entry") if "/dev/" in entry] == [
        "/dev/net/tun dev/net/tun none bind,create=file 0 0"
    ]


@pytest.mark.parametrize(
    ("address", "gateway", "expected"),
    [
        ("10.0.0.5/24", "10.0.0.1", "10.0.0.1/24"),
        ("10.0.0.5/24", None, "10.0.0.1/24"),
        ("10.0.0.1/24", None, "10.0.0.2/24"),
        ("10.0.0.5/24", "192.0.2.1", "10.0.0.1/24"),
        ("10.0.0.5/24", "auto", "10.0.0.1/24"),
        ("10.0.0.5/32", None, None),
        ("fd00::5/64", "fd00::1", "fd00::1/64"),
    ],
)
def test_a_guest_is_asked_by_its_gateway_or_by_somebody_else_of_its_network(
    address: str, gateway: str | None, expected: t.Any
) -> None:
    assert neighbour(address, gateway) == expected
