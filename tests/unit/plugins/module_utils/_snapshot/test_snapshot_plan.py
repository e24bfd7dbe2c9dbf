# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.content import Part
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import (
    GuestRecord,
    RecordedVolume,
    Revert,
    Snapshot,
    dump,
    load,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.plan import plan_snapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.spec import parse, series_of
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.state import Beside, State
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import FILESYSTEM, Volume

GIB = 1024**3
ROOT = Volume("main", "web.rootfs", FILESYSTEM)
NOW = 1_800_000_000.0
PART = Part(ROOT)


def made(name: str, age: float = 3600, **changes: t.Any) -> Snapshot:
    return Snapshot(NOW - age, {"rootfs": ROOT.snapshot(name)}, "clean")._replace(**changes)


def record(*names: str, **changes: t.Any) -> GuestRecord:
    """The first is the oldest."""
    snapshots = {name: made(name, 3600.0 * (len(names) - number)) for number, name in enumerate(names)}
    volumes = {"rootfs": RecordedVolume(ROOT)}
    return GuestRecord(exists=True, kind="container", volumes=volumes, snapshots=snapshots).replace(**changes)


def state(known: GuestRecord | None = None, power: str = "stopped", **changes: t.Any) -> State:
    known = known or record()
    return State(power=power, now=NOW, record=known, parts={"rootfs": PART}, aside="before-revert-1")._replace(
        **changes
    )


def plan(now: State, **params: t.Any) -> Plan:
    return plan_snapshot(parse({"guest": "web", "name": "before", **params}), now)


def paths(its: Plan) -> list[str]:
    return [change.path for change in its.changes]


def refusal(its: Plan) -> str:
    assert its.refused
    return str(its.refused[0].reason)


def test_one_that_is_there_is_never_made_anew() -> None:
    assert paths(plan(state())) == ["state", "volumes[rootfs]"]
    assert paths(plan(state(record("before")))) == []


def test_one_that_was_only_begun_is_made_anew() -> None:
    begun = record(snapshots={"before": made("before", is_building=True)})
    change = plan(state(begun)).changes[0]
    assert (change.before, change.after) == ("building", "present")


def test_the_size_of_a_copy_is_said_and_refused_where_there_is_no_room() -> None:
    copied = PART._replace(copied_bytes=2 * GIB, available_bytes=3 * GIB, is_of_one_moment=False)
    change = plan(state(parts={"rootfs": copied})).changes[1]
    assert change.after == "main/web.rootfs@before (a copy of at most 2GiB)"
    full = copied._replace(available_bytes=GIB)
    assert "takes a copy of at most 2GiB, and the storage pool main has 1GiB left" in refusal(
        plan(state(parts={"rootfs": full}))
    )


@pytest.mark.parametrize(
    ("power", "is_of_one_moment", "is_told"),
    [("started", False, True), ("started", True, False), ("stopped", False, False), ("paused", False, False)],
)
def test_a_guest_is_held_only_where_it_runs_and_the_pool_needs_it(
    power: str, is_of_one_moment: bool, is_told: bool
) -> None:
    parts = {"rootfs": PART._replace(is_of_one_moment=is_of_one_moment)}
    warnings = plan(state(power=power, parts=parts)).warnings
    assert any("is held still" in warning for warning in warnings) is is_told
    assert any("what a power cut would leave" in warning for warning in warnings) is (power != "stopped")


def test_what_the_agent_freezes_is_no_power_cut_and_several_disks_stand_still() -> None:
    disks = {name: Part(Volume("main", f"web.{name}", "block")) for name in ("root", "data")}
    warnings = plan(state(power="started", parts=disks, has_agent=True)).warnings
    assert len(warnings) == 1 and "is held still, so that all of it is of one moment" in warnings[0]


def test_a_running_machine_goes_on_while_it_copies_itself_and_stands_still_for_the_rest() -> None:
    copied = Part(Volume("main", "web.root", "block"), 2 * GIB, 9 * GIB, is_of_one_moment=False)
    shared = Part(Volume("fast", "web.data", "block"))
    alone = plan(state(power="started", parts={"root": copied}, has_agent=True, copies_itself=True)).warnings
    assert alone == ["web goes on while QEMU copies at most 2GiB as it is now"]
    parts = {"root": copied, "data": shared}
    both = plan(state(power="started", parts=parts, has_agent=True, copies_itself=True)).warnings
    assert both == [*alone, "web is held still, so that all of it is of one moment"]


def test_a_disk_of_somebody_else_is_told() -> None:
    warnings = plan(state(left_out=("/dev/sdb",))).warnings
    assert warnings == ["/dev/sdb: web writes to it, this collection did not make it, and it is in no snapshot"]


def test_what_is_kept_beside_the_disks_holds_the_machine_and_takes_room() -> None:
    beside = {"nvram": Beside("/vars", 1 << 20), "memory": Beside("", GIB)}
    now = state(power="started", copies_itself=True, beside=beside, beside_available_bytes=2 * GIB)
    its = plan(now)
    assert paths(its) == ["state", "volumes[rootfs]", "nvram", "memory"]
    assert its.warnings == [
        "web is held still while 1MiB are copied, so that all of it is of one moment",
        "web goes on while its memory is written, all but the last of it",
    ]
    assert "snapshots has 1GiB left. Make room there" in refusal(plan(now._replace(beside_available_bytes=GIB)))
    assert "web is paused. Make the snapshot without it (memory: false)" in refusal(
        plan(now._replace(memory_obstacle="web is paused"))
    )


def test_memory_is_asked_for_where_there_can_be_some() -> None:
    with pytest.raises(SpecError, match="memory: goes with state: present or reverted"):
        plan(state(), state="absent", memory=True)
    back = {"state": "reverted", "allow": ["revert"]}
    assert "has no memory. Bring its disks back" in refusal(plan(state(record("before")), memory=True, **back))
    other = record(snapshots={"before": made("before", beside=("nvram",), nvram="/vars.plain")})
    assert load(dump(other), exists=True).snapshots["before"].nvram == "/vars.plain"
    elsewhere = state(other, beside={"nvram": Beside("/vars.secure")})
    assert "of another firmware (/vars.plain) than web starts by now (/vars.secure)" in refusal(plan(elsewhere, **back))
    assert not plan(state(other, beside={"nvram": Beside("/vars.plain")}), **back).refused
    tpm = record(snapshots={"before": made("before", beside=("tpm",))})
    now = state(tpm, beside={"tpm": Beside()})
    assert "has the tpm of web, which has none of its own now" in refusal(plan(now, **back))
    assert load(dump(tpm), exists=True).snapshots["before"].beside == ("tpm",)


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("nightly-2026-11-26", "nightly"),
        ("hourly-20261126T1200Z", "hourly"),
        ("release_3", "release"),
        ("before2-1", "before2"),
        ("BOOT-1", "BOOT"),
        ("before", None),
        ("2026", None),
    ],
)
def test_a_series_is_what_stands_before_a_number_or_a_date(name: str, series: str | None) -> None:
    assert series_of(name) == series


def test_of_a_series_the_oldest_go_and_nothing_else() -> None:
    known = record("day-1", "day-2", "week-1", "day-3", "day", "daytime-1")
    assert paths(plan(state(known), name="day-4", keep=2)) == [
        "state",
        "volumes[rootfs]",
        "snapshots[day-1]",
        "snapshots[day-2]",
    ]
    assert paths(plan(state(known), name="day-3", keep=2)) == ["snapshots[day-1]"]
    assert paths(plan(state(known), name="day-1", keep=1)) == ["snapshots[day-2]", "snapshots[day-3]"]
    assert paths(plan(state(known), name="day-3", keep=3)) == []


def test_of_a_series_what_is_not_whole_counts_for_nothing() -> None:
    known = record(
        snapshots={"day-1": made("day-1", 9), "day-2": made("day-2", 5, is_building=True), "day-3": made("day-3", 1)}
    )
    assert paths(plan(state(known), name="day-3", keep=2)) == ["snapshots[day-2]"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"keep": 2}, "is one of no series"),
        ({"name": "day-1", "keep": 2, "state": "absent"}, "goes with state: present"),
        ({"name": "day-1", "keep": 0}, "keep: 0 is not allowed"),
        ({"name": "a.b"}, "name: 'a.b' is not allowed"),
        ({"name": "../etc"}, "is not allowed"),
        ({"guest": "../etc"}, "guest: '../etc' is not allowed"),
        ({"state": "gone"}, "state: 'gone' is not allowed"),
    ],
)
def test_what_cannot_be_is_refused_before_the_host_is_looked_at(params: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        parse({"guest": "web", "name": "before", **params})


def test_a_revert_needs_its_word_and_says_what_is_lost() -> None:
    now = state(record("before", "later"), power="started", targets={"rootfs": PART})
    its = plan(now, state="reverted")
    assert [change.permit for change in its.refused] == ["revert"]
    assert (
        "takes what web has written since 2027-01-15T06:00:00Z (2 hours) away. It is kept as the snapshot before-revert-1"
        in refusal(its)
    )
    its = plan(now, state="reverted", allow=["revert"])
    assert not its.refused and paths(its) == ["volumes[rootfs]", "snapshots[before-revert-1]", "state"]
    assert its.changes[-1].how is How.RESTART and "(2 hours)" in its.warnings[0]


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (state(record("one", "two")), "has no snapshot before. It has: one, two"),
        (state(record(snapshots={"before": made("before", is_building=True)})), "was never finished"),
        (state(record("before"), lost=("main/web.rootfs@before is gone",)), "is not whole"),
        (state(record("before"), obstacle="the root of web is gone"), "the root of web is gone"),
        (state(record("before", idmap=(100000, 65536))), "owners of other ids"),
        (
            state(record("before", volumes={"rootfs": RecordedVolume(ROOT._replace(pool="fast"))})),
            "is of main/web.rootfs, and web has fast/web.rootfs",
        ),
        (state(record("before", reverting=Revert("one", "before-revert-1"))), "a revert of web to one was interrupted"),
    ],
)
def test_what_no_guest_can_be_brought_back_to_is_refused_with_its_reason(now: State, sentence: str) -> None:
    assert sentence in refusal(plan(now, state="reverted", allow=["revert"]))


def test_a_revert_that_was_interrupted_comes_first() -> None:
    now = state(
        record("before", "before-revert-1", reverting=Revert("before", "before-revert-1")),
        obstacle="the root of web is gone",
    )
    assert not plan(now, state="reverted", allow=["revert"]).refused
    assert "was interrupted. Finish it first" in refusal(plan(now, name="other"))
    for name in ("before", "before-revert-1"):
        assert "was interrupted" in refusal(plan(now, name=name, state="absent"))


def test_what_is_in_use_is_not_deleted() -> None:
    now = state(record("before"), used={"snapshots[before]": "lab stands on it"})
    assert "lab stands on it" in refusal(plan(now, state="absent"))
    assert paths(plan(state(record("before")), state="absent")) == ["state"]
    assert paths(plan(state(), state="absent")) == []


def test_what_a_record_says_of_snapshots_is_read_as_it_was_written() -> None:
    known = record(
        "before", snapshots={"before": made("before", idmap=(100000, 65536), is_building=True, is_held=True)}
    )
    known = known.replace(reverting=Revert("before", "before-revert-1"))
    again = load(dump(known), exists=True)
    assert (again.snapshots, again.reverting) == (known.snapshots, known.reverting)
