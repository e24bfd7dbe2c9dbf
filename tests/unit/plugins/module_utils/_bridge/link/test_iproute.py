# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import iproute
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port

PORT = Port("eth1")
FULL = LinkSettings(
    addresses=("192.0.2.10/24",),
    addresses6=("fd00:20::10/64",),
    gateway="192.0.2.1",
    mtu=9000,
    mac="52:54:00:00:00:01",
    vlan_aware=True,
    ports=(PORT,),
)
BEFORE = {"eth1": {"mtu": 1500, "up": False}}
UP = "link set dev vmbr0 up"


def link_texts(live, wanted):
    return [line.text for line in iproute.link_lines(iproute.Turn("vmbr0", live, wanted, BEFORE))]


def vlan_texts(live, wanted):
    return [line.text for line in iproute.vlan_lines(iproute.Turn("vmbr0", live, wanted))]


def test_first_the_bridge_then_its_ports_then_its_addresses():
    assert link_texts(None, FULL) == [
        "link add name vmbr0 address 52:54:00:00:00:01 type bridge forward_delay 0 stp_state 0 vlan_filtering 1",
        "link set dev eth1 master vmbr0",
        "link set dev eth1 up",
        "link set dev eth1 mtu 9000",
        "link set dev vmbr0 mtu 9000",
        UP,
        "address replace 192.0.2.10/24 dev vmbr0",
        "route replace 0.0.0.0/0 via 192.0.2.1 dev vmbr0",
        "address replace fd00:20::10/64 dev vmbr0",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [UP]),
        ({"stp": True}, ["link set dev vmbr0 type bridge stp_state 1", UP]),
        ({"vlan_aware": False}, ["link set dev vmbr0 type bridge vlan_filtering 0", UP]),
        ({"mac": ""}, [UP]),
        ({"mtu": 0}, ["link set dev eth1 mtu 1500", "link set dev vmbr0 mtu 1500", UP]),
        ({"ports": ()}, ["link set dev eth1 nomaster", "link set dev eth1 mtu 1500", "link set dev eth1 down", UP]),
        (
            {"addresses": ("192.0.2.11/24",)},
            [
                UP,
                "address replace 192.0.2.11/24 dev vmbr0",
                "address delete 192.0.2.10/24 dev vmbr0",
                "address replace 192.0.2.11/24 dev vmbr0",
                "route replace 0.0.0.0/0 via 192.0.2.1 dev vmbr0",
            ],
        ),
        ({"addresses": (), "gateway": ""}, [UP, "address delete 192.0.2.10/24 dev vmbr0"]),
        ({"gateway": ""}, [UP, "route delete 0.0.0.0/0 via 192.0.2.1 dev vmbr0"]),
        ({"addresses": ("dhcp",), "gateway": ""}, [UP, "address delete 192.0.2.10/24 dev vmbr0"]),
    ],
)
def test_a_bridge_that_is_up_changes_where_it_differs(changes, expected):
    wanted = dataclasses.replace(FULL, **changes)
    assert link_texts(FULL, wanted) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (PORT, PORT, []),
        (
            PORT,
            Port("eth1", 7, (20, 30, 31)),
            [
                "vlan delete dev eth1 vid 1",
                "vlan add dev eth1 vid 7 pvid untagged",
                "vlan add dev eth1 vid 20",
                "vlan add dev eth1 vid 30-31",
            ],
        ),
        (
            Port("eth1", 7, (20, 21)),
            Port("eth1", 7, (21, 22)),
            ["vlan delete dev eth1 vid 20", "vlan add dev eth1 vid 22"],
        ),
        (
            Port("eth1", 7, (20,)),
            Port("eth1", 20, (7,)),
            ["vlan add dev eth1 vid 20 pvid untagged", "vlan add dev eth1 vid 7"],
        ),
        (PORT, Port("eth1", 0, (20,)), ["vlan delete dev eth1 vid 1", "vlan add dev eth1 vid 20"]),
        (Port("eth1", 0), PORT, ["vlan add dev eth1 vid 1 pvid untagged"]),
    ],
)
def test_the_vlans_of_a_port(before, after, expected):
    live = dataclasses.replace(FULL, ports=(before,))
    assert vlan_texts(live, dataclasses.replace(FULL, ports=(after,))) == expected
    assert vlan_texts(live, dataclasses.replace(FULL, ports=(after,), vlan_aware=False)) == []


def test_what_bridge_says_of_the_vlans_of_a_port():
    told = [{"vlan": 7, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20}, {"vlan": 30, "vlanEnd": 32}]
    assert iproute.read_vlans(told) == (7, (20, 30, 31, 32))
    assert iproute.read_vlans([{"vlan": 20}]) == (0, (20,))
    assert iproute.read_vlans([]) == (0, ())
