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
