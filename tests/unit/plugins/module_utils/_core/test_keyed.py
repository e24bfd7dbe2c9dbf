# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which thing is which item, and the comparison of the two."""

from __future__ import annotations

from unit.plugins.module_utils._guest.fake import Card
from unit.plugins.module_utils._guest.test_guest_plan import hows, plan, running, side, stopped

from ansible_collections.homelab.hybrid.plugins.module_utils._core.keyed import claim_names


def macs(number: int) -> str:
    return f"52:54:00:00:00:{number:02}"


def named(things: list[Card], **keys: object) -> dict[str, str]:
    return {name: card.ident for name, card in claim_names(things, "net", **keys).things.items()}  # type: ignore[arg-type]  # of any type


def test_a_thing_is_known_by_its_own_name_then_the_records_then_a_mark_then_its_place_then_a_hint() -> None:
    cards = [Card("own", macs(1)), *(Card(None, macs(number), f"br{number}") for number in (2, 3, 4, 5, 6))]
    found = named(
        cards,
        recorded={"kept": macs(2), "own": macs(6)},
        declared=["marked", "net3", "hinted"],
        marks={"marked": {macs(3): macs(3)}},
        hints={"hinted": {"br5"}, "net3": {"br6"}},
    )
    assert found == {
        "own": macs(1),
        "kept": macs(2),
        "marked": macs(3),
        "net3": macs(4),
        "hinted": macs(5),
        "net5": macs(6),
    }


def test_a_hint_that_fits_two_things_names_none() -> None:
    cards = [Card(None, macs(1), "br0"), Card(None, macs(2), "br0")]
    assert named(cards, declared=["lan"], hints={"lan": {"br0"}}) == {"net0": macs(1), "net1": macs(2)}


def test_no_name_is_given_twice() -> None:
    cards = [Card("net1", macs(1)), Card(None, macs(2)), Card("net1", macs(3))]
    assert sorted(named(cards)) == ["net1", "net2", "net3"]


def test_the_place_of_what_went_is_nobody_elses() -> None:
    cards = [Card(None, macs(1)), Card(None, macs(3)), Card(None, macs(4))]
    recorded = {"net0": macs(1), "net1": f"gone:{macs(2)}", "net2": macs(3)}
    assert named(cards, recorded=recorded, declared=["net1"]) == {"net0": macs(1), "net2": macs(3), "net3": macs(4)}


def test_a_recorded_name_that_nobody_declares_gives_way_to_a_mark_and_a_recorded_place_to_a_hint() -> None:
    cards = [Card(None, macs(1), "br0"), Card(None, macs(2), "br1")]
    recorded = {"old": macs(1), "net1": macs(2)}
    keys = {"declared": ["new", "lan"], "marks": {"new": {macs(1): macs(1)}}, "hints": {"lan": {"br1"}}}
    assert named(cards, recorded=recorded, **keys) == {"new": macs(1), "lan": macs(2)}


def test_a_name_that_would_move_to_another_thing_is_mistaken() -> None:
    cards = [Card("lan", macs(1)), Card("wan", macs(2)), Card(None, macs(3))]

    def mistaken(name: str, mac: str) -> bool:
        return name in claim_names(cards, "net", declared=[name], marks={name: {mac: mac}}).mistaken

    assert [mistaken("lan", macs(number)) for number in (1, 2, 3, 4)] == [False, True, True, False]
    assert [mistaken("new", macs(number)) for number in (1, 2, 3, 4)] == [True, True, False, False]


def test_what_is_not_listed_stays_unless_the_list_is_exact() -> None:
    assert plan(stopped(), networks=[]).unmanaged == ["networks[lan]"]
    assert plan(stopped()).unmanaged == []
    assert hows(stopped(), networks=[], exact=["networks"]) == {"networks[lan]": "offline"}


def test_what_runs_and_is_no_longer_defined_goes_too() -> None:
    state = running(side({}), side())
    assert hows(state, networks=[{"name": "lan", "state": "absent"}]) == {"networks[lan]": "live"}
    assert hows(state, networks=[], exact=["networks"]) == {"networks[lan]": "live"}


def test_a_key_is_unset_of_an_item_that_is_not_listed() -> None:
    state = running(side({"lan": Card("lan", vlan=10)}))
    assert hows(state, unset=["networks[lan].vlan"]) == {"networks[lan].vlan": "live"}
    assert hows(running(), unset=["networks[lan].vlan"]) == {}


def test_an_item_that_is_added_is_one_change_with_its_keys_as_detail() -> None:
    (change,) = plan(stopped(), networks=[{"name": "dmz", "bridge": "br1", "vlan": 7, "mac": macs(9)}]).changes
    assert (change.before, change.after) == (None, {"bridge": "br1", "vlan": 7, "mac": macs(9)})


def test_things_that_bear_their_names_exchange_a_mark_that_is_only_a_value() -> None:
    cards = [Card("lan", macs(1)), Card("wan", macs(2)), Card(None, macs(3))]
    swapped = {"lan": {macs(2): macs(2)}, "wan": {macs(1): macs(1)}}
    cases = [
        (swapped, True, set()),
        ({"lan": {macs(2): macs(2)}, "wan": {macs(9): macs(9)}}, True, set()),
        # The other keeps it, or nobody declares what it gets, or it bears no name of its own.
        ({"lan": {macs(2): macs(2)}}, True, {"lan"}),
        ({"lan": {macs(3): macs(3)}, "net2": {macs(1): macs(1)}}, True, {"lan", "net2"}),
        (swapped, False, {"lan", "wan"}),
    ]
    for marks, can_exchange, mistaken in cases:
        naming = claim_names(
            cards, "net", recorded={"net2": macs(3)}, declared=[*marks], marks=marks, can_exchange=can_exchange
        )
        assert {*naming.mistaken} == mistaken, marks
        assert [*naming.things] == ["lan", "wan", "net2"]
        assert all(("in a run before" in why) == can_exchange for why in naming.mistaken.values())
