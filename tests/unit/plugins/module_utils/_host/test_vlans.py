# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of VLANs on bridges, and the lines that bring a port into one."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import vlans


def bridge(**data):
    return {"linkinfo": {"info_kind": "bridge", "info_data": data}}


AWARE, PLAIN = bridge(vlan_filtering=1, vlan_default_pvid=7), bridge(vlan_filtering=0, vlan_default_pvid=1)
ON_A_KERNEL_WITHOUT = bridge(vlan_filtering=0)
LINKS = {"aware": AWARE, "plain": PLAIN, "eth0": {"linkinfo": {"info_kind": "veth"}}, "lo": {}}


def never() -> bool:
    raise AssertionError("the bridges tell what the kernel can")


@pytest.mark.parametrize(("name", "vlan"), [("aware", 7), ("plain", None), ("eth0", None), ("lo", None), ("no", None)])
def test_a_bridge_that_knows_vlans_has_a_default(name, vlan):
    assert vlans.default_vlan(name, LINKS) == vlan


@pytest.mark.parametrize(
    ("name", "expected", "saying"),
    [
        ("aware", {}, None),
        ("plain", {}, "the bridge plain knows no VLANs. One with mode: ports and vlan_aware: true permits it"),
        ("new", {}, None),
        ("plain", {"plain": True}, None),
        ("new", {"new": True}, None),
        ("aware", {"aware": False}, "the bridge aware knows no VLANs"),
        ("new", {"new": False}, "the bridge new knows no VLANs"),
    ],
)
def test_a_bridge_has_to_know_vlans_now_or_when_its_layout_has_changed_it(name, expected, saying):
    found = vlans.obstacle(name, LINKS, expected, never)
    assert found == saying if saying is None else found is not None and found.startswith(saying)


@pytest.mark.parametrize("links", [{"br0": ON_A_KERNEL_WITHOUT}, {"eth0": {}}])
def test_a_kernel_without_vlan_filtering_is_an_obstacle_for_every_bridge(links):
    found = vlans.obstacle("br0", links, {"br0": True}, lambda: False)
    assert found is not None and "has no VLAN filtering" in found and "CONFIG_BRIDGE_VLAN_FILTERING" in found


def test_a_host_without_bridges_is_asked_itself():
    assert vlans.obstacle("br0", {"eth0": {}}, {}, lambda: True) is None


def entry(vlan, *flags):
    return {"vlan": vlan, "flags": list(flags)}


DEFAULT = [entry(1, "PVID", "Egress Untagged")]
TEN = [entry(10, "PVID", "Egress Untagged")]
TRUNK = [*TEN, {"vlan": 20, "vlanEnd": 29}]


@pytest.mark.parametrize(
    ("entries", "wanted", "lines"),
    [
        (TEN, 10, []),
        ([], 0, []),
        (DEFAULT, 10, ["vlan delete dev p vid 1", "vlan add dev p vid 10 pvid untagged"]),
        (TEN, 1, ["vlan delete dev p vid 10", "vlan add dev p vid 1 pvid untagged"]),
        (TEN, 0, ["vlan delete dev p vid 10"]),
        ([], 10, ["vlan add dev p vid 10 pvid untagged"]),
        (TRUNK, 11, ["vlan delete dev p vid 10", "vlan add dev p vid 11 pvid untagged"]),
        ([*TEN, entry(1, "Egress Untagged")], 10, ["vlan delete dev p vid 1", "vlan add dev p vid 10 pvid untagged"]),
        ([entry(10)], 10, ["vlan add dev p vid 10 pvid untagged"]),
    ],
)
def test_a_port_belongs_to_one_vlan_without_a_tag_and_keeps_those_with_one(entries, wanted, lines):
    assert vlans.port_lines("p", entries, wanted) == lines


def test_the_vlan_of_a_port_is_the_one_without_a_tag():
    assert [vlans.vlan_of(entries) for entries in (TRUNK, [entry(20)], [])] == [10, 0, 0]


@pytest.mark.parametrize(
    ("seen", "defined", "told"),
    [(1, 0, 0), (10, 10, 10), (1, 10, 1), (10, 0, 10), (1, 1, 1), (0, 0, None), (0, 10, None)],
)
def test_the_vlan_of_the_bridge_is_none_of_the_options(seen, defined, told):
    assert vlans.canonical(seen, defined, default=1) == told


def test_a_vlan_leads_out_of_the_ports_that_are_in_it_with_a_tag_or_without() -> None:
    told = {
        "eno1": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20}, {"vlan": 30, "vlanEnd": 39}],
        "veth0": [{"vlan": 20, "flags": ["PVID", "Egress Untagged"]}],
        "br0": [{"vlan": 20, "flags": ["PVID"]}],
    }
    ports = ("eno1", "veth0", "veth1")
    assert vlans.ports_in(ports, told, 20) == [vlans.Port("eno1", 20), vlans.Port("veth0")]
    assert vlans.ports_in(ports, told, 35) == [vlans.Port("eno1", 35)]
    assert vlans.ports_in(ports, told, 40) == []
