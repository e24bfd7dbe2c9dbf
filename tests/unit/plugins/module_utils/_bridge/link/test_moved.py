# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new bridge takes over from its only port: in the plan, and in the files of systemd-networkd."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.moved import Moved, wanted_of
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._host.routes import DefaultRoute

MAC = "52:54:00:00:00:01"
FIXED = LinkSettings(
    addresses=("192.0.2.10/24", "192.0.2.11/24"), addresses6=("fd00:2::10/64",), gateway="192.0.2.1", mac=MAC
)
LEASED = LinkSettings(addresses=("dhcp",), mac=MAC)
BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports", "ports": [{"name": "eth0"}]}
LINKS = {"eth0": {"mac": MAC, "type": "ether"}}
STATE = LinkState(
    can_switch=True,
    can_lease=True,
    links=frozenset({"eth0"}),
    lifelines={"eth0": "the default route of this host"},
    default_routes=(DefaultRoute(4, "eth0", "192.0.2.1"),),
    peers=("192.0.2.9",),
)
OWN = "/etc/systemd/network/10-lan.network"
ANY = "/etc/systemd/network/80-ethernet.network"
NEW, PORT, NETDEV = (f"/etc/systemd/network/05-vmbr0{end}" for end in (".network", "-port-eth0.network", ".netdev"))


@pytest.mark.parametrize(
    ("settings", "params", "expected"),
    [
        (
            FIXED,
            {},
            {"address": "192.0.2.10/24", "address6": "fd00:2::10/64", "gateway": "192.0.2.1", "mac": MAC},
        ),
        (LEASED, {}, {"address": "dhcp", "mac": MAC}),
        (
            LEASED,
            {"address": "192.0.2.20/24", "gateway": "192.0.2.1"},
            {"address": "192.0.2.20/24", "gateway": "192.0.2.1"},
        ),
        (FIXED, {"address": "192.0.2.20/24"}, {"address": "192.0.2.20/24", "gateway": None}),
        (FIXED, {"mac": "52:54:00:00:00:09"}, {"mac": "52:54:00:00:00:09"}),
    ],
    ids=str,
)
def test_what_is_not_declared_comes_from_the_port_and_all_of_it_is_confirmed(
    settings: LinkSettings, params: dict[str, t.Any], expected: dict[str, t.Any]
) -> None:
    plan = plan_link(parse({**BRIDGE, **params}), dataclasses.replace(STATE, moved=Moved("eth0", settings)))
    assert plan.refused == []
    assert {change.how.value for change in plan.changes} == {"confirmed"}
    found = {change.path: change.after for change in plan.changes}
    assert {path: found.get(path) for path in expected} == expected


def test_all_addresses_of_the_port_go_along() -> None:
    assert wanted_of(parse(BRIDGE), LinkSettings(), Moved("eth0", FIXED)).addresses == FIXED.addresses
    other = parse({**BRIDGE, "address": "192.0.2.20/24"})
    assert wanted_of(other, LinkSettings(), Moved("eth0", FIXED)).addresses == ("192.0.2.20/24",)


def test_a_file_of_the_port_alone_becomes_that_of_the_bridge() -> None:
    text = (
        "[Match]\nName=eth0\n\n[Link]\nMTUBytes=1400\n\n[Network]\n# ours\nAddress=192.0.2.10/24\nGateway=192.0.2.1\n\n"
        "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.2\n"
    )
    backend = Networkd({OWN: text}, LINKS)
    settings = backend.own_settings("eth0")
    assert settings == LinkSettings(addresses=("192.0.2.10/24",), gateway="192.0.2.1")
    moved = Moved("eth0", dataclasses.replace(settings, mac=MAC))
    edits = backend.define("vmbr0", wanted_of(parse(BRIDGE), LinkSettings(), moved), moved=moved)
    assert edits[OWN] == "[Match]\nName=eth0\n\n[Link]\nMTUBytes=1400\n\n[Network]\nBridge=vmbr0\n"
    assert f"MACAddress={MAC}" in (edits[NETDEV] or "")
    assert edits[NEW] == (
        "[Match]\nName=vmbr0\n\n[Network]\n# ours\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nConfigureWithoutCarrier=yes\n\n"
        "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.2\n"
    )


def test_a_file_of_many_links_stays_and_the_lease_keeps_its_number() -> None:
    backend = Networkd({ANY: "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"}, LINKS)
    moved = Moved("eth0", dataclasses.replace(LEASED, addresses6=("dhcp",)), iaid=7)
    edits = backend.define("vmbr0", wanted_of(parse(BRIDGE), LinkSettings(), moved), moved=moved)
    assert ANY not in edits
    assert edits[PORT] == "[Match]\nName=eth0\n\n[Network]\nBridge=vmbr0\n"
    assert "DHCP=yes" in (edits[NEW] or "") and "[DHCPv4]\nIAID=7\n" in (edits[NEW] or "")


def test_a_bridge_takes_what_a_router_told_its_port_though_no_file_says_so() -> None:
    # systemd has it on for a card, and in its newer versions off for a bridge.
    backend = Networkd({ANY: "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"}, LINKS)
    moved = Moved("eth0", dataclasses.replace(LEASED, addresses6=("dhcp",)), is_told=True)
    edits = backend.define("vmbr0", wanted_of(parse(BRIDGE), LinkSettings(), moved), moved=moved)
    assert "DHCP=yes\nIPv6AcceptRA=yes\n" in (edits[NEW] or "")
    backend = Networkd({OWN: "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.10/24\n"}, LINKS)
    moved = Moved("eth0", LinkSettings(addresses=("192.0.2.10/24",), addresses6=("slaac",)), is_told=True)
    wanted = wanted_of(parse(BRIDGE), LinkSettings(), moved)
    assert wanted.addresses6 == ("slaac",)
    assert "IPv6AcceptRA=yes\n" in (backend.define("vmbr0", wanted, moved=moved)[NEW] or "")


def test_a_client_that_tells_its_mac_address_has_no_number() -> None:
    backend = Networkd({ANY: "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nClientIdentifier=mac\n"}, LINKS)
    moved = Moved("eth0", LEASED, iaid=7)
    edits = backend.define("vmbr0", wanted_of(parse(BRIDGE), LinkSettings(), moved), moved=moved)
    assert "IAID" not in (edits[NEW] or "")


def test_a_link_that_has_nothing_or_is_plugged_in_gives_nothing() -> None:
    for text in ("[Match]\nName=eth0\n", "[Match]\nName=eth0\n\n[Network]\nBridge=br9\nAddress=192.0.2.10/24\n"):
        assert Networkd({OWN: text}, LINKS).own_settings("eth0") is None
