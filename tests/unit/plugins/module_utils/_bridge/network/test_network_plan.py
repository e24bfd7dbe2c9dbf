# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.plan import plan_network
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings, merge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.subnet import StaticHost
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How

ALPHA = StaticHost("alpha", "52:54:00:00:00:01", "10.20.0.10")
BETA = StaticHost("beta", "52:54:00:00:00:02", "10.20.0.11")
NAMELESS = StaticHost(None, "52:54:00:00:00:03", "10.20.0.12")
FULL = NetworkSettings(
    mode="nat",
    address="10.20.0.1/24",
    ranges=(("10.20.0.100", "10.20.0.199"),),
    hosts=(ALPHA, BETA),
    domain="lab.internal",
    dns_hosts=(("gw", "10.20.0.1"), ("nas", "10.20.0.2")),
    forwarders=("192.0.2.53",),
    mtu=1400,
)
PLAIN = NetworkSettings(mode="nat", address="10.20.0.1/24")


def changed(settings, **changes):
    return NetworkSettings(**{**vars(settings), **changes})


def standing(persistent=FULL, live="same", **changes):
    live = persistent if live == "same" else live
    defaults = {
        "network": "lab0",
        "is_defined": True,
        "is_active": live is not None,
        "is_recorded": True,
        "autostart": True,
    }
    return NetworkState(**{**defaults, "persistent": persistent, "live": live, **changes})


def stopped(persistent=FULL, **changes):
    return standing(persistent, None, **changes)


def plan(actual, **params):
    return plan_network(parse({"name": "lab0", **params}), actual)


def steps(actual, **params):
    return [(change.path, change.before, change.after, change.how.value) for change in plan(actual, **params).changes]


def host(item, **changes):
    return {"name": item.name, "mac": item.mac, "ip": item.ip, **changes}


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (standing(), {}, []),
        (standing(), {"mode": "nat", "address": "10.20.0.1/24", "mtu": 1400, "autostart": True}, []),
        (standing(), {"address": "10.20.0.1/255.255.255.0"}, []),
        (standing(), {"dhcp": {"start": "10.20.0.100", "end": "10.20.0.199", "hosts": [host(BETA), host(ALPHA)]}}, []),
        (standing(), {"dns": {"domain": "LAB.internal", "forwarders": ["192.0.2.53"]}}, []),
        (standing(), {"autostart": False}, [("autostart", True, False, "live")]),
        (stopped(), {"autostart": False}, [("autostart", True, False, "offline")]),
        (
            standing(),
            {"dhcp": {"start": "10.20.0.50", "end": "10.20.0.199"}},
            [("dhcp.start", "10.20.0.100", "10.20.0.50", "live")],
        ),
        (
            standing(PLAIN),
            {"dhcp": {"start": "10.20.0.50", "end": "10.20.0.60"}},
            [("dhcp.start", None, "10.20.0.50", "live"), ("dhcp.end", None, "10.20.0.60", "live")],
        ),
        (
            stopped(),
            {"dhcp": {"start": "10.20.0.100", "end": "10.20.0.250"}},
            [("dhcp.end", "10.20.0.199", "10.20.0.250", "offline")],
        ),
        (
            standing(changed(FULL, ranges=(("10.20.0.20", "10.20.0.29"), ("10.20.0.100", "10.20.0.199")))),
            {"dhcp": {"start": "10.20.0.100", "end": "10.20.0.199"}},
            [],
        ),
        (
            standing(),
            {"dhcp": {"hosts": [host(ALPHA, ip="10.20.0.77")]}},
            [("dhcp.hosts[alpha].ip", "10.20.0.10", "10.20.0.77", "live")],
        ),
        (
            standing(),
            {"dhcp": {"hosts": [host(ALPHA, name="web")]}},
            [("dhcp.hosts[web].name", "alpha", "web", "live")],
        ),
        (
            standing(changed(FULL, hosts=(NAMELESS,))),
            {"dhcp": {"hosts": [host(NAMELESS, name="tv")]}},
            [("dhcp.hosts[tv].name", None, "tv", "live")],
        ),
        (
            standing(PLAIN),
            {"dhcp": {"hosts": [host(ALPHA)]}},
            [("dhcp.hosts[alpha]", None, {"mac": ALPHA.mac, "ip": ALPHA.ip}, "live")],
        ),
        (
            stopped(PLAIN),
            {"dhcp": {"hosts": [host(ALPHA)]}},
            [("dhcp.hosts[alpha]", None, {"mac": ALPHA.mac, "ip": ALPHA.ip}, "offline")],
        ),
        (
            standing(),
            {"dhcp": {"hosts": [{"name": "alpha", "state": "absent"}]}},
            [("dhcp.hosts[alpha]", host(ALPHA), None, "live")],
        ),
        (standing(PLAIN), {"dhcp": {"hosts": [{"name": "alpha", "state": "absent"}]}}, []),
        (
            standing(),
            {"dhcp": {"hosts": [host(ALPHA)]}, "exact": ["dhcp.hosts"]},
            [("dhcp.hosts[beta]", host(BETA), None, "live")],
        ),
        (
            standing(),
            {"dhcp": {"hosts": [host(ALPHA, mac=BETA.mac, ip=BETA.ip), host(BETA, mac=ALPHA.mac, ip=ALPHA.ip)]}},
            [
                ("dhcp.hosts[alpha].mac", ALPHA.mac, BETA.mac, "live"),
                ("dhcp.hosts[alpha].ip", ALPHA.ip, BETA.ip, "live"),
                ("dhcp.hosts[beta].mac", BETA.mac, ALPHA.mac, "live"),
                ("dhcp.hosts[beta].ip", BETA.ip, ALPHA.ip, "live"),
            ],
        ),
        (
            standing(),
            {"unset": ["dhcp"]},
            [
                (
                    "dhcp",
                    {"start": "10.20.0.100", "end": "10.20.0.199", "hosts": [host(ALPHA), host(BETA)]},
                    None,
                    "live",
                )
            ],
        ),
        (standing(PLAIN), {"unset": ["dhcp", "mtu", "dns.domain", "dns.forwarders"]}, []),
        (standing(), {"dns": {"domain": "home.arpa"}}, [("dns.domain", "lab.internal", "home.arpa", "restart")]),
        (stopped(), {"dns": {"domain": "home.arpa"}}, [("dns.domain", "lab.internal", "home.arpa", "offline")]),
        (standing(), {"unset": ["dns.domain"]}, [("dns.domain", "lab.internal", None, "restart")]),
        (
            standing(),
            {"dns": {"forwarders": ["192.0.2.54"]}},
            [("dns.forwarders", ["192.0.2.53"], ["192.0.2.54"], "restart")],
        ),
        (standing(), {"dns": {"forwarders": []}}, [("dns.forwarders", ["192.0.2.53"], [], "restart")]),
        (
            standing(),
            {"dns": {"hosts": [{"name": "gw", "ip": "10.20.0.3"}]}},
            [("dns.hosts[gw].ip", "10.20.0.1", "10.20.0.3", "live")],
        ),
        (
            standing(),
            {"dns": {"hosts": [{"name": "gw", "ip6": "fd00:20::1"}]}},
            [("dns.hosts[gw].ip", "10.20.0.1", None, "live"), ("dns.hosts[gw].ip6", None, "fd00:20::1", "live")],
        ),
        (
            standing(),
            {"dns": {"hosts": [{"name": "gw", "ip": "10.20.0.1"}]}, "exact": ["dns.hosts"]},
            [("dns.hosts[nas]", {"ip": "10.20.0.2"}, None, "live")],
        ),
        (
            standing(),
            {"dns": {"hosts": [{"name": "nas", "state": "absent"}]}},
            [("dns.hosts[nas]", {"ip": "10.20.0.2"}, None, "live")],
        ),
        (standing(), {"mtu": 9000}, [("mtu", 1400, 9000, "restart")]),
        (standing(), {"unset": ["mtu"]}, [("mtu", 1400, None, "restart")]),
        (standing(PLAIN), {"mtu": 9000}, [("mtu", None, 9000, "restart")]),
        (standing(changed(FULL, mode="open")), {"mode": "nat"}, [("mode", "open", "nat", "restart")]),
        (standing(), {"mode": "routed"}, [("mode", "nat", "routed", "restart")]),
        (stopped(), {"mode": "isolated"}, [("mode", "nat", "isolated", "offline")]),
        (
            standing(PLAIN),
            {"mode": "isolated", "unset": ["address"]},
            [("mode", "nat", "isolated", "restart"), ("address", "10.20.0.1/24", None, "restart")],
        ),
        (standing(changed(PLAIN, mode="isolated", address="")), {"unset": ["address"]}, []),
        (standing(changed(PLAIN, address="")), {"mode": "nat", "mtu": 1400}, [("mtu", None, 1400, "restart")]),
        (
            standing(PLAIN),
            {"address": "10.30.0.1/24"},
            [("address", "10.20.0.1/24", "10.30.0.1/24", "restart")],
        ),
        (standing(), {"state": "stopped"}, [("state", "started", "stopped", "live")]),
        (standing(users={"web": False}), {"state": "stopped"}, [("state", "started", "stopped", "live")]),
        (
            standing(),
            {"state": "stopped", "mtu": 9000},
            [("mtu", 1400, 9000, "offline"), ("state", "started", "stopped", "live")],
        ),
        (stopped(), {"state": "stopped"}, []),
        (stopped(), {"state": "started"}, [("state", "stopped", "started", "live")]),
        (stopped(is_restarting=True), {}, [("state", "restarting", "started", "live")]),
        (standing(is_restarting=True), {}, [("state", "restarting", "started", "live")]),
        (stopped(is_restarting=True), {"state": "stopped"}, [("state", "started", "stopped", "live")]),
        (standing(), {"state": "absent"}, [("state", "started", "absent", "live")]),
        (stopped(), {"state": "absent"}, [("state", "stopped", "absent", "live")]),
        (stopped(is_defined=False, is_building=True), {"state": "absent"}, [("state", "half-made", "absent", "live")]),
        (NetworkState(is_recorded=True), {"state": "absent"}, [("state", "half-made", "absent", "live")]),
        (NetworkState(), {"state": "absent"}, []),
    ],
)
def test_the_plan_from_a_state(state, params, expected):
    assert steps(state, **params) == expected


@pytest.mark.parametrize(
    ("persistent", "live", "params", "expected"),
    [
        (FULL, changed(FULL, hosts=(ALPHA,)), {"dhcp": {"hosts": [host(BETA)]}}, [("dhcp.hosts[beta]", "live")]),
        (changed(FULL, hosts=(ALPHA,)), FULL, {"dhcp": {"hosts": [host(BETA)]}}, [("dhcp.hosts[beta]", "live")]),
        (FULL, changed(FULL, domain=""), {"dns": {"domain": "lab.internal"}}, [("dns.domain", "restart")]),
        (changed(FULL, domain=""), FULL, {"dns": {"domain": "lab.internal"}}, [("dns.domain", "live")]),
        (FULL, changed(FULL, mtu=1500), {"mtu": 1400}, [("mtu", "restart")]),
        (FULL, changed(FULL, address=""), {"address": "10.20.0.1/24"}, [("address", "restart")]),
        (FULL, changed(FULL, address=""), {}, []),
        (
            FULL,
            changed(FULL, ranges=()),
            {"dhcp": {"start": "10.20.0.100", "end": "10.20.0.199"}},
            [("dhcp.start", "live"), ("dhcp.end", "live")],
        ),
        (
            FULL,
            changed(FULL, hosts=(ALPHA, BETA, NAMELESS)),
            {"dhcp": {"hosts": [host(ALPHA), host(BETA)]}, "exact": ["dhcp.hosts"]},
            [("dhcp.hosts[52:54:00:00:00:03]", "live")],
        ),
    ],
)
def test_what_runs_differs_from_what_is_defined(persistent, live, params, expected):
    state = standing(persistent, live)
    assert [(change.path, change.how.value) for change in plan(state, **params).changes] == expected


def test_a_new_bridge_translates_addresses_and_starts_with_the_host():
    assert steps(NetworkState(), address="10.20.0.1/24") == [
        ("state", "absent", "started", "live"),
        ("mode", None, "nat", "live"),
        ("address", None, "10.20.0.1/24", "live"),
        ("autostart", None, True, "live"),
    ]


def test_a_new_isolated_bridge_needs_no_address():
    assert steps(NetworkState(), mode="isolated") == [
        ("state", "absent", "started", "live"),
        ("mode", None, "isolated", "live"),
        ("autostart", None, True, "live"),
    ]


def test_a_new_bridge_has_everything_that_is_declared():
    found = plan(
        NetworkState(is_building=True, is_recorded=True),
        address="10.20.0.1/24",
        state="stopped",
        autostart=False,
        mtu=1400,
        dhcp={"start": "10.20.0.100", "end": "10.20.0.199", "hosts": [host(ALPHA)]},
        dns={"domain": "lab.internal", "forwarders": ["192.0.2.53"], "hosts": [{"name": "gw", "ip": "10.20.0.1"}]},
    )
    assert {change.path: change.after for change in found.changes} == {
        "state": "stopped",
        "mode": "nat",
        "address": "10.20.0.1/24",
        "dhcp.start": "10.20.0.100",
        "dhcp.end": "10.20.0.199",
        "dhcp.hosts[alpha]": {"mac": ALPHA.mac, "ip": ALPHA.ip},
        "dns.domain": "lab.internal",
        "dns.hosts[gw]": {"ip": "10.20.0.1"},
        "dns.forwarders": ["192.0.2.53"],
        "mtu": 1400,
        "autostart": False,
    }
    assert {change.how for change in found.changes} == {How.LIVE}


@pytest.mark.parametrize(
    ("state", "params", "sentence"),
    [
        (standing(users={"web": True, "db": False}), {"state": "stopped"}, "in use by running guests: web"),
        (standing(users={"web": True, "db": False}), {"state": "absent"}, "in use by guests: db, web"),
        (stopped(users={"db": False}), {"state": "absent"}, "in use by guests: db"),
        (standing(ports=("tap7",)), {"state": "stopped"}, "in use by tap7, plugged in by somebody else"),
        (standing(ports=("tap7",)), {"state": "absent"}, "in use by tap7"),
        (NetworkState(obstacle="name: taken"), {"address": "10.20.0.1/24"}, "name: taken"),
        (
            NetworkState(subnets=(("eth0", "10.20.0.9/16"),)),
            {"address": "10.20.0.1/24"},
            "address: the subnet 10.20.0.0/24 overlaps with 10.20.0.0/16 of the link eth0",
        ),
        (standing(PLAIN, subnets=(("eth0", "10.30.0.9/25"),)), {"address": "10.30.0.1/24"}, "of the link eth0"),
        (stopped(subnets=(("eth0", "10.20.0.9/24"),)), {"state": "started"}, "of the link eth0"),
    ],
)
def test_the_plan_refuses(state, params, sentence):
    found = plan(state, **params)
    assert any(sentence in (change.reason or "") for change in found.refused)


def test_a_bridge_that_runs_is_left_beside_an_overlapping_link():
    state = standing(subnets=(("eth0", "10.20.0.9/24"),))
    assert steps(state, autostart=False, address="10.20.0.1/24") == [("autostart", True, False, "live")]


def test_entries_that_nobody_declares_are_left_and_named():
    found = plan(standing(), dhcp={"hosts": [host(ALPHA)]}, dns={"hosts": [{"name": "nas", "ip": "10.20.0.2"}]})
    assert (found.changes, found.unmanaged) == ([], ["dhcp.hosts[beta]", "dns.hosts[gw]"])
    assert plan(standing(), mtu=1400).unmanaged == []


@pytest.mark.parametrize(
    ("state", "params", "sentence"),
    [
        (NetworkState(), {}, "address: is needed to make the bridge lab0 with mode nat"),
        (NetworkState(), {"mode": "routed"}, "address: is needed to make the bridge lab0 with mode routed"),
        (standing(PLAIN), {"unset": ["address"]}, "address: is needed with mode nat. Only a bridge with mode isolated"),
        (
            standing(changed(PLAIN, mode="isolated", address="")),
            {"mode": "routed"},
            "address: is needed with mode routed",
        ),
        (
            NetworkState(),
            {"mode": "isolated", "dns": {"domain": "lab.internal"}},
            "dns: needs an address of the bridge",
        ),
        (
            standing(),
            {"mode": "isolated", "unset": ["address"]},
            "dhcp: needs an address of the bridge",
        ),
        (
            standing(),
            {"dhcp": {"start": "10.9.0.1", "end": "10.9.0.9"}},
            "dhcp.start: 10.9.0.1 is no address for a guest",
        ),
        (standing(), {"dhcp": {"start": "10.20.0.0", "end": "10.20.0.9"}}, "dhcp.start: 10.20.0.0 is no address"),
        (standing(), {"dhcp": {"start": "10.20.0.9", "end": "10.20.0.255"}}, "dhcp.end: 10.20.0.255 is no address"),
        (
            standing(),
            {"dhcp": {"hosts": [host(ALPHA, ip="10.21.0.1")]}},
            "dhcp.hosts[alpha].ip: 10.21.0.1 is no address",
        ),
        (standing(), {"dhcp": {"hosts": [host(ALPHA, ip=BETA.ip)]}}, "10.20.0.11 is given to"),
        (standing(), {"dhcp": {"hosts": [host(ALPHA, mac=BETA.mac)]}}, "52:54:00:00:00:02 is given to"),
        (standing(), {"address": "10.30.0.1/24"}, "is no address for a guest in 10.30.0.0/24"),
        (
            standing(changed(PLAIN, address="")),
            {"dhcp": {"start": "10.20.0.5", "end": "10.20.0.9"}},
            "dhcp: needs an address of the bridge",
        ),
    ],
)
def test_what_does_not_fit_is_refused(state, params, sentence):
    with pytest.raises(SpecError) as caught:
        plan(state, **params)
    assert sentence in caught.value.message


SIX = changed(PLAIN, address6="fd00:20::1/64")


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (standing(SIX), {"address6": "auto"}, []),
        (standing(SIX), {"address6": "fd00:20:0::1/64"}, []),
        (
            standing(PLAIN, ula="fd12::1/64"),
            {"address6": "auto"},
            [("address6", None, "fd12::1/64", "restart"), ("nat6", False, True, "restart")],
        ),
        (
            standing(PLAIN),
            {"address6": "fd00::1/64", "nat6": False},
            [("address6", None, "fd00::1/64", "restart")],
        ),
        # Whose guests have addresses of their own keeps that, also with another address.
        (standing(SIX), {"address6": "fd00::1/64"}, [("address6", "fd00:20::1/64", "fd00::1/64", "restart")]),
        (
            standing(changed(SIX, mode="routed")),
            {"mode": "nat"},
            [("mode", "routed", "nat", "restart"), ("nat6", False, True, "restart")],
        ),
        (
            standing(changed(SIX, nat6=True)),
            {"unset": ["address6"]},
            [("address6", "fd00:20::1/64", None, "restart"), ("nat6", True, False, "restart")],
        ),
        (
            standing(SIX, changed(SIX, address6="")),
            {"address6": "auto"},
            [("address6", None, "fd00:20::1/64", "restart")],
        ),
    ],
)
def test_ipv6_comes_and_goes_with_what_belongs_to_it(state, params, expected):
    assert steps(state, **params) == expected


@pytest.mark.parametrize(
    ("state", "params", "is_refused"),
    [
        (NetworkState(lost_links=("eth0",)), {"address6": "fd00::1/64"}, True),
        (NetworkState(lost_links=("eth0",)), {"address6": "fd00::1/64", "state": "stopped"}, False),
        (NetworkState(lost_links=("eth0",)), {"address6": "fd00::1/64", "mode": "isolated"}, False),
        (stopped(SIX, lost_links=("eth0",)), {"state": "started"}, True),
        (standing(SIX, lost_links=("eth0",)), {"mtu": 1400}, True),
        (standing(SIX, lost_links=("eth0",)), {"autostart": False}, False),
        (standing(PLAIN, lost_links=("eth0",)), {"mtu": 1400}, False),
    ],
)
def test_no_start_takes_the_routes_that_a_router_told(state, params, is_refused):
    refused = [change.path for change in plan(state, **params).changes if change.how is How.REFUSED]
    assert refused == (["address6"] if is_refused else [])


OF_GUEST = {ALPHA.place: "web"}


def test_what_a_guest_has_kept_is_no_drift_of_an_exact_list():
    exact = {"dhcp": {"hosts": []}, "exact": ["dhcp.hosts"]}
    assert steps(standing(reserved=OF_GUEST), **exact) == [("dhcp.hosts[beta]", BETA.shown(), None, "live")]
    assert plan(standing(reserved=OF_GUEST), dhcp={"hosts": [host(BETA)]}).unmanaged == []
    assert merge(FULL, parse({"name": "lab0", **exact}), OF_GUEST).hosts == (ALPHA,)
    same = {"dhcp": {"hosts": [host(ALPHA, name="other"), host(BETA)]}, "exact": ["dhcp.hosts"]}
    assert steps(standing(reserved=OF_GUEST), **same) == []
    assert merge(FULL, parse({"name": "lab0", **same}), OF_GUEST).hosts == (ALPHA, BETA)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"dhcp": {"hosts": [host(ALPHA, ip="10.20.0.13")]}}, "is kept for 52:54:00:00:00:01 of the guest web"),
        ({"dhcp": {"hosts": [{"name": "alpha", "state": "absent"}]}}, "is kept for 52:54:00:00:00:01 of the guest web"),
        ({"unset": ["dhcp"]}, "dhcp: addresses are kept for guests: web (networks[].ip). Take these off first"),
    ],
)
def test_what_a_guest_has_kept_is_changed_there(params, why):
    (change,) = plan(standing(reserved=OF_GUEST), **params).refused
    assert why in change.reason


def test_an_address_that_a_guest_has_kept_is_declared_for_nobody_else():
    with pytest.raises(SpecError, match=r"dhcp.hosts\[tv\].ip: 10.20.0.10 is kept for the guest web"):
        plan(standing(reserved=OF_GUEST), dhcp={"hosts": [host(NAMELESS, name="tv", ip="10.20.0.10")]})
