# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port, merge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._host.routes import DefaultRoute

AWARE = LinkSettings(vlan_aware=True)


@pytest.mark.parametrize("params", [{"vlan_aware": False}, {"unset": ["vlan_aware"]}], ids=str)
@pytest.mark.parametrize(
    "state", [LinkState(persistent=AWARE, live=AWARE), LinkState(persistent=LinkSettings(), live=AWARE)]
)
def test_a_bridge_knows_vlans_as_long_as_guests_are_in_them(state, params):
    spec = parse({"name": "vmbr0", "mode": "ports", **params})
    assert plan_link(spec, state).refused == []
    state = dataclasses.replace(state, vlan_users=("camera", "web"))
    (refused,) = plan_link(spec, state).refused
    assert refused.reason == (
        "vlan_aware: these guests are in VLANs of the bridge: camera, web. Take vlan off their networks first"
    )
    assert plan_link(parse({"name": "vmbr0", "mode": "ports", "vlan_aware": True}), state).refused == []


TRUNK = LinkSettings(vlan_aware=True, ports=(Port("bond0", 10, (20, 30)),))
ON_TRUNK = LinkState(persistent=TRUNK, live=TRUNK, links=frozenset({"bond0"}))


@pytest.mark.parametrize("ports", [None, [], [{"name": "bond0"}]], ids=str)
def test_what_is_taken_off_a_port_goes_listed_or_not(ports):
    spec = parse({"name": "vmbr0", "mode": "ports", "ports": ports, "unset": ["ports[bond0].vids", "ports[gone].pvid"]})
    plan = plan_link(spec, ON_TRUNK)
    assert [(change.path, change.before, change.after) for change in plan.changes] == [
        ("ports[bond0].vids", ["20", "30"], [])
    ]
    assert merge(TRUNK, spec).ports == (Port("bond0", 10, ()),)
    assert plan.unmanaged == []


def test_a_vlan_of_a_port_is_not_at_once_with_and_without_a_tag():
    spec = parse({"name": "vmbr0", "mode": "ports", "ports": [{"name": "bond0", "vids": ["10", "20"]}]})
    with pytest.raises(SpecError, match=r"ports\[bond0\].vids: 10 is the VLAN of what comes without a tag"):
        plan_link(spec, ON_TRUNK)


@pytest.mark.parametrize(
    ("defined", "wanted", "expected"),
    [
        ((), "slaac", ("slaac",)),
        (("fd00::1/64",), "slaac", ("slaac",)),
        (("dhcp",), "slaac", ("slaac",)),
        (("fd00::1/64", "slaac"), "slaac", ("fd00::1/64", "slaac")),
        # A fixed address stands beside what a router announces.
        (("slaac",), "fd00::1/64", ("fd00::1/64", "slaac")),
        (("fd00::1/64", "slaac"), "fd00::2/64", ("fd00::2/64", "slaac")),
        (("fd00::1/64", "slaac"), "", ()),
        (("slaac",), None, ("slaac",)),
    ],
)
def test_what_a_router_announces_is_an_address_of_its_own_kind(defined, wanted, expected):
    spec = parse({"name": "vmbr0", "mode": "ports", **({"address6": wanted or "none"} if wanted is not None else {})})
    assert merge(LinkSettings(addresses6=defined), spec).addresses6 == expected


def test_an_address_beside_what_a_router_announces_comes_and_does_not_replace_it():
    before = dataclasses.replace(TRUNK, addresses6=("slaac",), gateway6="")
    state = dataclasses.replace(ON_TRUNK, persistent=before, live=before)
    plan = plan_link(parse({"name": "vmbr0", "address6": "fd00::1/64"}), state)
    assert [(it.path, it.before, it.after) for it in plan.changes] == [("address6", None, "fd00::1/64")]
    plan = plan_link(parse({"name": "vmbr0", "unset": ["address6"]}), state)
    assert [(it.path, it.before, it.after) for it in plan.changes] == [("address6", "slaac", None)]


def test_what_a_router_announces_would_be_a_second_way_out():
    state = dataclasses.replace(ON_TRUNK, default_routes=(DefaultRoute(6, "eth9", "fe80::1"),))
    (refused,) = plan_link(parse({"name": "vmbr0", "address6": "slaac"}), state).refused
    assert refused.reason.startswith("address6: the default route of this host goes through eth9")
