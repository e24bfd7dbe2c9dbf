# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the connection to a host and its way out run through, and what is refused there."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.lifeline import find_lifelines
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.plan import plan_network
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._host.routes import (
    Connection,
    DefaultRoute,
    below,
    with_way_out,
)

LINKS = {
    "eth0": {"master": "bond0"},
    "eth1": {"addr_info": [{"local": "10.9.0.1", "family": "inet"}]},
    "bond0": {"master": "vmbr0"},
    "vmbr0": {},
    "vmbr0.7": {"link": "vmbr0", "addr_info": [{"local": "10.7.0.1"}, {"local": "fd00:7::1"}]},
    "tap0": {"master": "lab0"},
    "lab0": {},
    "lo": {"addr_info": [{"local": "192.0.2.1"}]},
}
CONNECTION = "the connection to this host (10.7.0.1)"
BELOW = {"vmbr0.7", "vmbr0", "bond0", "eth0"}


@pytest.mark.parametrize(
    ("routes", "connections", "expected"),
    [
        ([], [], {}),
        (
            [DefaultRoute(4, "lab0", "10.20.0.2")],
            [],
            dict.fromkeys(("lab0", "tap0"), "the default route of this host"),
        ),
        ([DefaultRoute(6, "gone", "")], [], {}),
        ([], [Connection("10.7.0.9", "10.7.0.1", ())], dict.fromkeys(BELOW, CONNECTION)),
        ([], [Connection("10.7.0.9", "10.7.0.1", ("eth1",))], dict.fromkeys({*BELOW, "eth1"}, CONNECTION)),
        (
            [],
            [Connection("198.51.100.9", "192.0.2.1", ("vmbr0",))],
            dict.fromkeys({"lo", *BELOW} - {"vmbr0.7"}, "the connection to this host (192.0.2.1)"),
        ),
        ([], [Connection("UNKNOWN", "UNKNOWN", ())], {}),
    ],
    ids=lambda value: "",
)
def test_what_the_ways_of_a_host_run_through(routes, connections, expected):
    assert find_lifelines(LINKS, routes, connections) == expected


def test_an_address_is_the_same_in_each_spelling():
    assert set(find_lifelines(LINKS, [], [Connection("", "fd00:07:0::1", ())])) == BELOW


CARD = {"addr_info": [{"local": "192.0.2.10", "scope": "global"}]}


@pytest.mark.parametrize(
    ("links", "start", "expected"),
    [
        # A VLAN on a bond, and a bridge that has the bond as its port: the bridge carries nothing of it.
        (
            {
                "bond0.7": {"link": "bond0"},
                "bond0": {"master": "br0"},
                "eth0": {"master": "bond0"},
                "br0": {},
            },
            "bond0.7",
            {"bond0.7", "bond0", "eth0"},
        ),
        # The other end of a pair is plugged into a bridge, which leads out by its other ports.
        (
            {
                "mgmt": {"link": "mgmt-p"},
                "mgmt-p": {"link": "mgmt", "master": "br0"},
                "eth0": {"master": "br0"},
                "br0": {},
            },
            "mgmt",
            {"mgmt", "mgmt-p", "br0", "eth0"},
        ),
        ({"shim": {"link": "br0"}, "br0": {}, "eth0": {"master": "br0"}}, "shim", {"shim", "br0", "eth0"}),
        ({"wg0": {}, "br0": {}, "eth0": {"master": "br0"}, "lab0": {}}, "wg0", {"wg0", "br0", "eth0"}),
    ],
    ids=["VLAN on a bond", "pair", "macvlan", "tunnel"],
)
def test_what_carries_a_link(links, start, expected):
    assert below(start, links, {"wg0": ["br0"]}) == expected


def test_a_tunnel_of_which_nobody_tells_may_go_by_all_that_lead_to_a_card():
    links = {"eth0": {"master": "br0"}, "br0": CARD, "lab0": CARD, "tap0": {"master": "lab0"}, "bare": {}}
    assert with_way_out(links, {"eth0"}) == ["br0"]
    assert with_way_out(links, set()) == ["br0", "lab0"]


UPLINK = LinkSettings(
    addresses=("192.0.2.10/24",),
    addresses6=("fd00:20::10/64",),
    gateway="192.0.2.1",
    gateway6="fd00:20::1",
    mac="52:54:00:00:00:01",
    mtu=1400,
    vlan_aware=True,
    ports=(Port("eth1", 7, (20,)),),
)
CARRYING = LinkState(
    persistent=UPLINK,
    live=UPLINK,
    starts=False,
    is_made=True,
    is_recorded=True,
    links=frozenset({"eth1", "eth2"}),
    lifelines={"vmbr0": "the default route of this host"},
)


@pytest.mark.parametrize(
    "params",
    [
        {"address": "192.0.2.11/24"},
        {"address": "none", "gateway": None},
        {"unset": ["address"]},
        {"address6": "fd00:20::11/64"},
        {"gateway": "192.0.2.2"},
        {"unset": ["gateway"]},
        {"unset": ["gateway6"]},
        {"mtu": 1300},
        {"unset": ["mtu"]},
        {"mac": "52:54:00:00:00:02"},
        {"stp": True},
        {"vlan_aware": False, "ports": [], "exact": ["ports"]},
        {"ports": [{"name": "eth1", "state": "absent"}]},
        {"ports": [], "exact": ["ports"]},
        {"ports": [{"name": "eth1", "pvid": 8}]},
        {"unset": ["ports[eth1].vids"]},
        {"state": "absent"},
    ],
    ids=str,
)
def test_what_can_cut_a_lifeline_is_refused(params):
    spec = parse({"name": "vmbr0", "mode": "ports", **params})
    plan = plan_link(spec, CARRYING)
    assert plan.changes and plan.refused == plan.changes
    for change in plan.changes:
        assert (
            f"{change.path}: the bridge vmbr0 carries the default route of this host. What can cut it is refused"
            in change.reason
        )
    assert plan_link(spec, dataclasses.replace(CARRYING, lifelines={})).refused == []


def test_an_address_beside_the_control_node_is_confirmed_where_there_is_who_confirms():
    spec = parse({"name": "vmbr0", "mode": "ports", "address": "192.0.2.11/24"})
    state = dataclasses.replace(CARRYING, can_switch=True, peers=("192.0.2.9",))
    assert [change.how.value for change in plan_link(spec, state).changes] == ["confirmed"]
    assert plan_link(spec, dataclasses.replace(state, can_switch=False)).refused


def test_what_can_cut_a_lifeline_is_confirmed_where_there_is_who_confirms():
    params = {"address": "192.0.2.11/24", "ports": [{"name": "eth1", "pvid": 8}, {"name": "eth2"}]}
    plan = plan_link(
        parse({"name": "vmbr0", "mode": "ports", **params}), dataclasses.replace(CARRYING, can_switch=True)
    )
    assert plan.refused == []
    hows = {change.path: change.how.value for change in plan.changes}
    assert hows == {"address": "confirmed", "ports[eth1].pvid": "confirmed", "ports[eth2]": "live"}


@pytest.mark.parametrize(
    "params", [{"ports": [{"name": "eth2"}]}, {"autostart": True}, {"address": "192.0.2.10/24"}, {}], ids=str
)
def test_what_cuts_nothing_is_done_on_a_lifeline(params):
    assert plan_link(parse({"name": "vmbr0", "mode": "ports", **params}), CARRYING).refused == []


@pytest.mark.parametrize(
    ("key", "address", "link"), [("address", "10.9.0.2/16", "eth1"), ("address6", "fd00:9::2/64", "eth2")]
)
def test_a_subnet_of_another_link_is_refused_in_both_families(key, address, link):
    subnets = (("eth1", "10.9.0.1/24"), ("eth2", "fd00:9::1/64"))
    bare = LinkSettings(ports=UPLINK.ports)
    state = dataclasses.replace(CARRYING, persistent=bare, live=bare, lifelines={}, subnets=subnets)
    refused = plan_link(parse({"name": "vmbr0", "mode": "ports", key: address}), state).refused
    assert f"of the link {link}. Choose another subnet" in refused[0].reason


NAT = NetworkSettings(mode="nat", address="10.20.0.1/24")


@pytest.mark.parametrize("peer", ["10.20.0.9", "fd00:20::9"])
def test_a_subnet_that_holds_who_is_connected_is_refused(peer):
    params = {"address": "10.20.0.1/24"} if "." in peer else {"address6": "fd00:20::1/64"}
    new = LinkState(peers=(peer,), links=frozenset({"eth1"}))
    refused = plan_link(parse({"name": "br1", "mode": "ports", "ports": [{"name": "eth1"}], **params}), new).refused
    assert f"holds {peer}, from where this host is reached. What can cut it is refused" in refused[0].reason
    if "address" in params:
        refused = plan_network(parse({"name": "lab1", **params}), NetworkState(peers=(peer, "UNKNOWN"))).refused
        assert f"holds {peer}, from where this host is reached. What can cut it is refused" in refused[0].reason


GATEWAY_IS_A_GUEST = NetworkState(
    network="lab0",
    is_defined=True,
    is_active=True,
    is_recorded=True,
    autostart=True,
    persistent=NAT,
    live=NAT,
    lifelines={"lab0": "the default route of this host"},
)


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "routed"},
        {"address": "10.20.0.2/24"},
        {"mtu": 1400},
        {"dns": {"domain": "lab.internal"}},
        {"state": "stopped"},
        {"state": "absent"},
    ],
    ids=str,
)
def test_a_network_that_carries_a_lifeline_is_not_started_anew(params):
    spec = parse({"name": "lab0", **params})
    plan = plan_network(spec, GATEWAY_IS_A_GUEST)
    assert plan.changes and plan.refused == plan.changes
    assert "the bridge lab0 carries the default route of this host" in plan.changes[0].reason
    assert plan_network(spec, dataclasses.replace(GATEWAY_IS_A_GUEST, lifelines={})).refused == []


def test_what_a_running_network_takes_is_done_on_a_lifeline():
    params = {"name": "lab0", "autostart": False, "dhcp": {"start": "10.20.0.5", "end": "10.20.0.9"}}
    assert plan_network(parse(params), GATEWAY_IS_A_GUEST).refused == []
    stopped = dataclasses.replace(GATEWAY_IS_A_GUEST, is_active=False, live=None)
    assert plan_network(parse({"name": "lab0", "mtu": 1400}), stopped).refused == []
