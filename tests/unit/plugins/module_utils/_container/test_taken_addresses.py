# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.plan import with_addresses
from ansible_collections.homelab.hybrid.plugins.module_utils._container.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import GuestRecord, dump, load

SLICE = "auto:10.0.0.65-10.0.0.70/24"
SLICE6 = "auto:fd00::65-fd00::70/64"


def card(name: str = "lan", **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "bridge": "br0", **keys}


def spec_of(*cards: dict[str, t.Any]) -> t.Any:
    return parse({"name": "web", "networks": list(cards)})


def test_two_cards_of_one_bridge_may_both_leave_the_choice_and_have_ipv6_beside_it() -> None:
    spec = spec_of(card(ip="auto", ip6="fd00::1/64"), card("other", ip="auto"))
    assert [item.get("ip") for item in spec.items("networks")] == ["auto", "auto"]


@pytest.mark.parametrize(
    "keys",
    [
        {"ip": "auto:x/24"},
        {"ip": "auto:10.0.0.2-10.0.0.1/24"},
        {"ip": "dhcp", "ip6": SLICE},
        {"ip": SLICE6, "ip6": "auto"},
    ],
)
def test_what_offers_nothing_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=r"networks\[lan\]\.ip6?: "):
        spec_of(card(**keys))


def test_a_recorded_address_is_meant_while_it_is_of_the_network() -> None:
    spec = spec_of(card(ip=SLICE))

    def with_record(cidr: str) -> t.Any:
        return (
            with_addresses(spec, State(record=GuestRecord(addresses={"lan": cidr}))).item("networks", "lan").get("ip")
        )

    assert with_record("10.0.0.9/24") == "10.0.0.9/24"
    assert with_record("10.0.1.9/24") == SLICE


def test_a_recorded_address_of_ipv6_is_meant_too() -> None:
    spec = spec_of(card(ip="auto", ip6="auto"))
    record = GuestRecord(addresses={"lan": "10.0.0.9/24"}, addresses6={"lan": "fd00::9/64"})
    item = with_addresses(spec, State(record=record)).item("networks", "lan")
    assert (item.get("ip"), item.get("ip6")) == ("10.0.0.9/24", "fd00::9/64")


def test_a_record_keeps_the_addresses() -> None:
    kept = GuestRecord(addresses={"lan": "10.0.0.9/24"}, addresses6={"lan": "fd00::9/64"})
    record = load(dump(kept), exists=True)
    assert record.addresses == {"lan": "10.0.0.9/24"} and record.addresses6 == {"lan": "fd00::9/64"}
    assert record.options == {}
