# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bridge lays claim to."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.claims import claims_of, standing
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import Reservation

NAT = NetworkSettings("nat", "10.0.0.1/24")
NETWORK = NetworkState(is_defined=True, persistent=NAT, live=NAT, users={"web": True})
PORTS = LinkSettings(addresses=("10.0.0.1/24",), addresses6=("fd00::1/64",))


def claims(there, /, **params):
    return claims_of(parse({"name": "br0", **params}), there)


def test_it_claims_its_own_addresses_where_it_is_plugged_in():
    assert claims(NetworkState(), address="10.0.0.1/24").addresses == {("br0", "10.0.0.1")}
    assert claims(NETWORK).addresses == {("br0", "10.0.0.1")}
    both = {("br0", "10.0.0.1"), ("br0", "fd00::1")}
    assert claims(LinkState(persistent=PORTS)).addresses == both
    assert claims(LinkState(persistent=PORTS), mode="ports", unset=["address"]).addresses == {("br0", "fd00::1")}
    assert claims(LinkState(), mode="ports", address="dhcp").addresses == frozenset()


@pytest.mark.parametrize(
    ("state", "address", "is_new"),
    [
        (NetworkState(), "10.0.0.1/24", True),
        (NETWORK, "10.0.0.1/24", False),
        (NETWORK, "10.0.1.1/24", True),
        (LinkState(persistent=PORTS, live=PORTS), "10.0.0.1/24", False),
        (LinkState(persistent=PORTS, live=LinkSettings()), "10.0.0.1/24", True),
    ],
)
def test_its_subnet_is_new_where_the_run_brings_it(state, address, is_new):
    assert claims(state, address=address).subnets == ((ip_network(address, strict=False), is_new),)


def test_what_is_not_declared_or_leased_is_no_subnet_of_the_layout():
    assert claims(NETWORK).subnets == claims(LinkState(), mode="ports", address="dhcp").subnets == ()


def test_it_keeps_addresses_for_the_macs_of_its_dhcp_hosts():
    hosts = [
        {"name": "web", "mac": "52:54:00:00:00:01", "ip": "10.0.0.9"},
        {"name": "old", "state": "absent", "ip": "10.0.0.8"},
    ]
    kept = claims(NETWORK, dhcp={"start": "10.0.0.10", "end": "10.0.0.20", "hosts": hosts}).reservations
    assert kept == (Reservation("the DHCP host web", "52:54:00:00:00:01", ("br0", "10.0.0.9")),)


def test_a_bridge_that_goes_claims_nothing_and_names_its_users():
    gone = claims(NETWORK, state="absent")
    assert (gone.users, gone.addresses) == ({"web"}, frozenset())
    assert claims_of(None, NETWORK).users == {"web"}


def test_the_bridges_of_the_kernel_stand_with_their_addresses():
    links = {
        "br0": {"linkinfo": {"info_kind": "bridge"}, "addr_info": [{"local": "10.0.0.1"}, {"local": "fe80::1"}]},
        "eth0": {"addr_info": [{"local": "192.0.2.1"}]},
    }
    found = standing(links)
    assert set(found) == {"br0"} and found["br0"].addresses == {("br0", "10.0.0.1"), ("br0", "fe80::1")}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"mode": "ports", "vlan_aware": True}, {"vlan_aware": True}),
        ({"vlan_aware": False}, {"vlan_aware": False}),
        ({"unset": ["vlan_aware"]}, {"vlan_aware": False}),
        ({"mtu": 9000}, {}),
        ({"address": "10.20.0.1/24", "mtu": 9000}, {"address": "10.20.0.1/24"}),
    ],
)
def test_guests_count_on_what_it_says_of_vlans_and_on_its_address(params, expected):
    assert Bridge().promises(parse({"name": "br0", **params})) == expected


def test_guests_count_on_the_addresses_that_it_keeps() -> None:
    web, gone = (
        {"name": "web", "mac": "52-54-00-00-00-0A", "ip": "10.20.0.5"},
        {"name": "tv", "state": "absent"},
    )
    promised = Bridge().promises(parse({"name": "br0", "dhcp": {"hosts": [web, gone]}}))
    assert promised == {"dhcp.hosts": {"web": ("52:54:00:00:00:0a", "10.20.0.5"), "tv": None}}
