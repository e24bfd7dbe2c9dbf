# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import itertools

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.decide import SAME, Draft, Power, Verdict, decide
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import (
    NEVER_PERMITTED,
    Option,
    always,
    check_unset,
    grows,
    is_added,
    never,
    pattern,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import UNKNOWN, How

RUNNING = Power(is_running=True, will_run=True)
STOPPED = Power(is_running=False, will_run=False)
STOPPING = Power(is_running=True, will_run=False)
STARTING = Power(is_running=False, will_run=True)
SAVED = Power(is_running=True, will_run=True, takes_changes=False)

LIVE = Option("key", live=always)
COLD = Option("key", live=never)
GROWING = Option("key", live=grows)


def loses(before: object, after: object) -> str | None:
    return "shrink" if isinstance(before, int) and isinstance(after, int) and after < before else None


LOSING = Option("key", live=always, loss=loses)


@pytest.mark.parametrize(
    ("option", "declared", "persistent", "live", "power", "verdict"),
    [
        (LIVE, None, 1, 2, RUNNING, Verdict.NOTHING),
        (LIVE, 1, 1, 1, RUNNING, Verdict.NOTHING),
        (LIVE, UNKNOWN, 1, 1, RUNNING, Verdict.NOTHING),
        (LIVE, 2, 1, 1, RUNNING, How.LIVE),
        (LIVE, 2, 2, 1, RUNNING, How.LIVE),  # live drift
        (COLD, 2, 1, 2, RUNNING, How.LIVE),  # only the definition is written
        (COLD, 2, 1, 1, RUNNING, How.NEXT_BOOT),
        (COLD, 2, 2, 1, RUNNING, Verdict.PENDING),
        (LIVE, 2, 1, 1, STOPPED, How.OFFLINE),
        (COLD, 2, 1, 1, STOPPED, How.OFFLINE),
        (COLD, 2, 1, 1, STARTING, How.OFFLINE),
        (COLD, 2, 1, 1, STOPPING, How.OFFLINE),
        (COLD, 2, 2, 1, STOPPING, Verdict.NOTHING),
        (LIVE, 2, 1, 1, SAVED, How.NEXT_BOOT),
        (LIVE, 2, 2, 1, SAVED, Verdict.PENDING),
        (GROWING, 4, 2, 2, RUNNING, How.LIVE),
        (GROWING, 1, 2, 2, RUNNING, How.NEXT_BOOT),
        (GROWING, 4, 2, None, RUNNING, How.LIVE),
        (LOSING, 1, 2, 2, RUNNING, How.REFUSED),
        (LOSING, 1, 2, 2, STOPPED, How.REFUSED),
        (LOSING, 3, 2, 2, RUNNING, How.LIVE),
    ],
)
def test_one_key(option, declared, persistent, live, power, verdict):
    assert decide(option, declared, persistent, live, power=power, allow=()) is verdict


def test_a_permitted_loss_is_decided_like_any_other_change():
    assert decide(LOSING, 1, 2, 2, power=RUNNING, allow=("shrink",)) is How.LIVE
    assert decide(LOSING, 1, 2, 2, power=STOPPED, allow=("shrink",)) is How.OFFLINE


def test_what_the_guest_declined_waits_for_the_end_of_this_run_of_it():
    assert decide(LIVE, 2, 1, 1, power=RUNNING, allow=(), is_declined=True) is How.NEXT_BOOT
    assert decide(LIVE, 2, 2, 1, power=RUNNING, allow=(), is_declined=True) is Verdict.PENDING
    assert decide(LIVE, 2, 1, 1, power=STOPPED, allow=(), is_declined=True) is How.OFFLINE


def test_nothing_is_planned_where_declared_persistent_and_live_are_one():
    values = (0, 1, "", "a", False, (), {})
    for value, power in itertools.product(values, (RUNNING, STOPPED, STOPPING, STARTING, SAVED)):
        assert decide(COLD, value, value, value, power=power, allow=()) is Verdict.NOTHING


def test_an_option_of_a_stopped_guest_has_no_live_value():
    draft = Draft((COLD,), STOPPED)
    draft.compare("key", 1, 1, 99)
    assert not draft.finish().changed


def test_an_item_that_is_added_is_one_change_with_its_keys():
    draft = Draft((Option("networks[]", live=always),), RUNNING)
    verdict = draft.item("networks[lan]", True, False, after={"bridge": "br0"})
    (change,) = draft.finish().changes
    assert verdict is How.LIVE
    assert (change.path, change.before, change.after) == ("networks[lan]", None, {"bridge": "br0"})


def test_an_item_that_cannot_leave_a_running_guest_leaves_at_the_next_boot():
    draft = Draft((Option("disks[]", live=is_added),), RUNNING)
    draft.item("disks[data]", False, True, True, before={"size": "1GiB"})
    plan = draft.finish()
    assert [(change.path, change.how, change.after) for change in plan.changes] == [
        ("disks[data]", How.NEXT_BOOT, None)
    ]


def test_unset_compares_with_the_off_value():
    option = Option("description", live=always, off="")
    draft = Draft((option,), RUNNING, unset=("description",))
    draft.compare("description", None, "old")
    draft_again = Draft((option,), RUNNING, unset=("description",))
    draft_again.compare("description", None, "")
    assert [change.after for change in draft.finish().changes] == [""]
    assert not draft_again.finish().changed


def test_without_permission_to_restart_a_change_waits_and_is_listed():
    draft = Draft((COLD,), RUNNING)
    draft.compare("key", 2, 1, 1)
    plan = draft.finish()
    assert plan.changed
    assert plan.restart_required == ["key"]


def test_what_waits_already_is_listed_and_no_change():
    draft = Draft((COLD,), RUNNING)
    draft.compare("key", 2, 2, 1)
    plan = draft.finish()
    assert not plan.changed
    assert plan.restart_required == ["key"]


@pytest.mark.parametrize("persistent", [1, 2])
def test_restart_if_needed_takes_what_waits_with_it(persistent):
    draft = Draft((COLD,), RUNNING)
    draft.compare("key", 2, persistent, 1)
    plan = draft.finish(restart_if_needed=True)
    assert [(change.path, change.how) for change in plan.changes] == [("key", How.RESTART)]
    assert plan.restart_required == []


def test_restart_if_needed_leaves_live_changes_alone():
    draft = Draft((LIVE,), RUNNING)
    draft.compare("key", 2, 1, 1)
    assert [change.how for change in draft.finish(restart_if_needed=True).changes] == [How.LIVE]


def test_a_refused_change_names_its_permit():
    draft = Draft((LOSING,), RUNNING)
    draft.compare("key", 1, 2, 2)
    (change,) = draft.finish().refused
    assert change.permit == "shrink"


def test_what_nothing_permits_stays_refused():
    draft = Draft((), RUNNING, allow=("delete_data",))
    draft.add("state", "started", "absent", permit=NEVER_PERMITTED)
    assert draft.finish().refused


def test_live_value_left_out_is_the_persistent_one():
    draft = Draft((COLD,), RUNNING)
    draft.compare("key", 1, 1, SAME)
    assert not draft.finish().changed


def test_the_row_of_an_items_key():
    assert pattern("networks[lan].vlan") == "networks[].vlan"
    assert pattern("cpu.limit") == "cpu.limit"


DNS = (Option("dns.servers", off=()), Option("dns.search", off=()))


@pytest.mark.parametrize(
    ("path", "declared", "says"),
    [
        ("nonsense", {}, "nonsense"),
        ("size", {}, "cannot be taken off"),
        ("description", {"description": "x"}, "at once"),
        ("dns", {"dns.search": ()}, "dns.search is declared and unset at once"),
        ("rootfs", {}, "'rootfs' cannot be taken off"),
    ],
)
def test_unset_is_refused(path, declared, says):
    table = (Option("description", off=""), Option("size"), *DNS, Option("rootfs.pool"), Option("rootfs.size", off=0))
    with pytest.raises(SpecError, match=says):
        check_unset([path], table, declared.get)


def test_unset_of_a_dictionary_takes_off_all_of_its_options():
    assert check_unset(["dns", "dns.search"], DNS, {}.get) == ("dns.servers", "dns.search")
    table = (Option("dhcp", off=None), Option("dhcp.start", off=""), *DNS)
    assert check_unset(["dhcp"], table, {}.get) == ("dhcp",), "one that is an option itself stays one"


def test_unset_of_a_key_of_an_item():
    assert check_unset(["networks[lan].vlan"], (Option("networks[].vlan", off=0),), {}.get) == ("networks[lan].vlan",)
