# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network cards of a guest lay claim to once the declared items stand."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import addresses_in
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.claims import (
    CardClaim,
    addresses_of,
    cards_after,
    macs_of,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.spec import GuestSpec
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.waits import has_to_wait

LAN, DMZ = CardClaim("52:54:00:00:00:01", "br0", 10, ("10.0.0.2/24",)), CardClaim("52:54:00:00:00:02", "br1")
CARDS = {"lan": LAN, "dmz": DMZ}


@pytest.mark.parametrize(
    ("items", "more", "expected"),
    [
        ([], {}, CARDS),
        ([], {"is_exact": True}, {}),
        ([Item("lan")], {}, CARDS),
        ([Item("lan")], {"is_exact": True}, {"lan": LAN}),
        ([Item("lan", is_wanted=False)], {}, {"dmz": DMZ}),
        ([Item("lan")], {"unset": ["networks[lan].vlan"]}, {**CARDS, "lan": LAN._replace(vlan=0)}),
        ([Item("lan", values={"vlan": 20})], {}, {**CARDS, "lan": LAN._replace(vlan=20)}),
        ([Item("lan", values={"ip": "dhcp"})], {}, {**CARDS, "lan": LAN._replace(addresses=("dhcp",))}),
        ([Item("lan", values={"bridge": "br9"})], {}, {**CARDS, "lan": LAN._replace(bridge="br9")}),
        ([Item("new", values={"bridge": "br0"})], {}, {**CARDS, "new": CardClaim(bridge="br0")}),
        ([Item("new", values={"mac": "52:54:00:00:00:09"})], {}, {**CARDS, "new": CardClaim("52:54:00:00:00:09")}),
    ],
)
def test_a_declared_item_changes_what_it_names_and_nothing_else(items, more, expected):
    assert cards_after(CARDS, items, **{"is_exact": False, "unset": (), **more}) == expected


def test_a_card_of_which_nothing_is_known_claims_nothing():
    assert (macs_of([CardClaim()]), addresses_of([CardClaim(bridge="br0", addresses=("", "dhcp", "none"))])) == (
        set(),
        set(),
    )


def test_vlans_of_one_bridge_do_not_see_each_other():
    cards = [CardClaim(bridge="br0", vlan=vlan, addresses=("10.0.0.2/24",)) for vlan in (0, 10, 20)]
    places = {"br0", "br0 in VLAN 10", "br0 in VLAN 20"}
    assert addresses_of(cards) == {(place, "10.0.0.2") for place in places}


def test_an_address_is_read_whatever_stands_behind_it():
    told = addresses_in("10.0.0.2/24 10.0.0.255", "fd00::2/64", "10.0.0.3", None, "dhcp")
    assert told == ["10.0.0.2", "fd00::2", "10.0.0.3"]


@pytest.mark.parametrize(
    ("state", "power", "wait_for", "knows", "expected"),
    [
        ("started", "started", ("ip",), False, True),
        ("started", "started", ("ip",), True, False),
        ("started", "started", ("ip", "agent"), True, True),
        ("started", "stopped", ("agent",), False, True),
        ("present", "started", ("agent",), False, True),
        ("present", "stopped", ("agent",), False, False),
        ("stopped", "started", ("agent",), False, False),
        ("started", "started", (), False, False),
    ],
)
def test_a_guest_is_waited_for_where_it_will_run_and_something_is_not_known(state, power, wait_for, knows, expected):
    spec = GuestSpec("web", state, {"wait_for": wait_for})
    assert has_to_wait(spec, {"guest": {"state": power}}, knows_addresses=knows) is expected
