# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the rows say of an option is what the plan answers."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import settings as link_settings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import settings as network_settings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.plan import plan_network
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.options import LINK, NETWORK, OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import pattern
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "tools"))
import apply_cells

HOST = {"name": "web", "mac": "52:54:00:00:00:01", "ip": "10.20.0.20"}
# What an option needs beside it.
BESIDE = {
    "dhcp.start": {"dhcp": {"end": "10.20.0.50"}},
    "dhcp.end": {"dhcp": {"start": "10.20.0.10"}},
}
NAT = NetworkSettings("nat", "10.20.0.9/24")
PORTS = LinkSettings(addresses=("10.20.0.9/24",), vlan_aware=True, ports=(Port("eth1"),))
ITEMS = {"dhcp.hosts": HOST, "dns.hosts": {"name": "nas", "ip": "10.20.0.30"}, "ports": {"name": "eth1"}}


def wish(path, value, mode):
    """The parameters that declare *value*; of an item whether it is there."""
    params = {"name": "lab0", **mode}
    area, brackets, key = path.partition("[]")
    if brackets:
        item = {**ITEMS[area], **({"state": "present" if value else "absent"} if not key else {key[1:]: value})}
        value, path = [item], area
    *folders, name = path.split(".")
    place = params
    for folder in folders:
        place = place.setdefault(folder, dict(BESIDE.get(path, {}).get(folder, {})))
    place[name] = value
    return parse(params)


def answers(plan, path):
    return {change.how for change in plan.changes if pattern(change.path) == path}


def cases(options):
    for row in options:
        if not row.is_compared or row.type == "dict":
            continue
        written = row.check.samples if row.check and row.type != "item" else None
        for way, (before, after) in apply_cells.directions(row).items():
            low, high = written or (min(before, after), max(before, after)) if not row.choices else (before, after)
            first, second = (high, low) if way in ("shrink", "remove", "off") else (low, high)
            yield pytest.param(row.path, way, first, second, id=f"{row.path}-{way}")


def expected(options, path, way, power):
    verdict, permit = apply_cells.cells(options[path], power)[way]
    assert permit is None
    return How.RESTART if options is NETWORK and verdict == "next_boot" else How(verdict)


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize(("path", "way", "first", "second"), list(cases(NETWORK)))
def test_the_cell_of_a_network_is_what_its_plan_answers(path, way, first, second, is_active):
    base = dataclasses.replace(NAT, address6="fd00:20::1/64") if path == "nat6" else NAT
    before = network_settings.merge(base, wish(path, first, {}))
    state = NetworkState(
        network="lab0",
        is_defined=True,
        is_active=is_active,
        autostart=first if path == "autostart" else True,
        persistent=before,
        live=before if is_active else None,
    )
    power = apply_cells.RUNNING if is_active else apply_cells.STOPPED
    assert answers(plan_network(wish(path, second, {}), state), path) == {expected(NETWORK, path, way, power)}


@pytest.mark.parametrize("is_up", [True, False])
@pytest.mark.parametrize(("path", "way", "first", "second"), list(cases(LINK)))
def test_the_cell_of_a_bridge_with_ports_is_what_its_plan_answers(path, way, first, second, is_up):
    power = apply_cells.RUNNING if is_up else apply_cells.STOPPED
    if path == "mode" or (path, second) == ("autostart", False):
        # Another mode is another kind of bridge, and what a file defines starts: both are refused before there is a plan.
        assert expected(LINK, path, way, power) is How.REFUSED
        return
    mode = {"mode": "ports"}
    base = dataclasses.replace(PORTS, addresses6=("fd00:20::9/64",)) if path.endswith("6") else PORTS
    base = dataclasses.replace(base, ports=()) if path == "ports[]" else base
    before = base if path == "autostart" else link_settings.merge(base, wish(path, first, mode))
    state = LinkState(
        persistent=before,
        live=before if is_up else None,
        starts=path != "autostart",
        links=frozenset({"eth1"}),
        has_vlans=True,
    )
    assert answers(plan_link(wish(path, second, mode), state), path) == {expected(LINK, path, way, power)}


def test_a_row_is_of_one_kind_of_bridge_or_of_both():
    assert {row.path for row in NETWORK} | {row.path for row in LINK} == {row.path for row in OPTIONS}
    assert {row.path for row in NETWORK} & {row.path for row in LINK} == {
        *("name", "state", "mode", "address", "address6", "mtu", "autostart", "exact", "unset"),
    }
