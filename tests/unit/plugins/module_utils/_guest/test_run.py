# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one order in which a guest is written, and that a change is told when it stands: not before, and not in bulk at the end."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from unit.plugins.module_utils._guest.fake import (
    OPTIONS,
    Card,
    PaperBackend,
    PaperKind,
    declared,
    running,
    side,
    stopped,
)

from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import FLAG, Options
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import run as run_file
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.plan import plan_guest
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import RecordedVolume, load
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.run import Run
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.state import GuestState
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume

NEW: dict[str, t.Any] = {
    "state": "started",
    "image": "debian",
    "memory": "1GiB",
    "tags": ["a"],
    "files": "text",
    "networks": [{"name": "lan", "bridge": "br0"}],
}
CHANGED: dict[str, t.Any] = {
    "description": "x",
    "tags": ["a"],
    "autostart": True,
    "memory": "2GiB",
    "files": "text",
    "disk": 2,
    "networks": [
        {"name": "lan", "bridge": "br1"},
        {"name": "old", "state": "absent"},
        {"name": "dmz", "bridge": "br0"},
    ],
}


@pytest.fixture(autouse=True)
def claimed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The MACs that a run asks for under the lock."""
    asked: dict[str, str] = {}
    monkeypatch.setattr(run_file.lock, "allocations", contextlib.nullcontext)
    monkeypatch.setattr(run_file, "check_macs", lambda guest, macs: asked.update(macs))
    return asked


def carry_out(actual: GuestState, backend: PaperBackend, **params: t.Any) -> Plan:
    """The plan, with what was told of it as done, also where the backend fails."""
    kind = PaperKind(declared(**params), actual)
    plan = plan_guest(kind)
    assert not plan.refused
    with contextlib.suppress(OSError):
        for step in Run(backend, kind.spec, actual, plan).steps():
            if isinstance(step, Change):
                assert not step.done, f"{step.path} was told twice"
                step.done = True
    return plan


def two_cards() -> GuestState:
    return running(side({"lan": Card("lan"), "old": Card("old", "52:54:00:00:00:02")}), machine_id="m")


# What must have been done before a change of that path may be told. A path that is not here needs the definition.
NEEDS = {
    "state": "switch stopped started",
    "tags": "claims first",
    "disk": "resize disk",
    "files": "files",
    "autostart": "flag autostart",
    "networks[old]": "detach networks[old]",
    "networks[dmz]": "attach networks[dmz]",
    "networks[lan].bridge": "live networks[lan].bridge",
    "description": "live description",
    "memory": "live memory",
}


@pytest.mark.parametrize(("state", "params"), [(GuestState(machine_id="m"), NEW), (two_cards(), CHANGED)])
def test_everything_is_told_once_and_in_the_one_order(state: GuestState, params: dict[str, t.Any]) -> None:
    backend = PaperBackend()
    plan = carry_out(state, backend, **params)
    assert plan.changes and all(change.done for change in plan.changes)
    order = [
        "clear",
        "claims first",
        "detach networks[old]",
        "volumes",
        "resize disk",
        "files",
        "definition",
    ]
    # A new guest stands with its flags, or not at all.
    order += ["claims final", "flag autostart"] if state.exists else ["flag autostart", "claims final"]
    order += ["attach networks[dmz]", "live memory", "switch stopped started"]
    assert [each for each in backend.asked if each in order] == [each for each in order if each in backend.asked]
    assert ("clear" in backend.asked) == (not state.exists)


@pytest.mark.parametrize("fails_at", range(1, 17))
def test_a_change_that_was_not_made_is_never_told(fails_at: int) -> None:
    backend = PaperBackend(fails_at)
    plan = carry_out(two_cards(), backend, **CHANGED)
    for change in plan.changes:
        assert change.done <= (NEEDS.get(change.path, "definition") in backend.asked), change.path
    assert all(change.done for change in plan.changes) != backend.has_failed


def test_what_a_new_seed_says_is_told_when_the_definition_has_it() -> None:
    for fails_at, done in ((5, False), (6, True)):
        backend = PaperBackend(fails_at)
        backend.has_seed = False
        plan = carry_out(stopped(), backend, files="text")
        assert backend.asked[:4] == ["claims first", "volumes", "files", "definition"][: fails_at - 1]
        assert [change.done for change in plan.changes] == [done]
    backend = PaperBackend(fails_at=4)
    assert [change.done for change in carry_out(stopped(), backend, files="text").changes] == [True]


def test_macs_are_claimed_when_they_are_new_and_given_back_when_the_definition_has_others(
    claimed: dict[str, str],
) -> None:
    data = {"kind": "paper", "macs": {"lan": "52:54:00:00:00:01", "gone": "52:54:00:00:00:07"}}
    params = {"networks": [{"name": "lan", "mac": "52:54:00:00:00:09"}, {"name": "dmz", "bridge": "br0"}]}
    backend = PaperBackend(fails_at=4, data=data)
    plan = carry_out(stopped(machine_id="m", record=load(data, exists=True)), backend, **params)
    added = plan.get("networks[dmz]").after["mac"]
    assert claimed == {"lan": "52:54:00:00:00:09", "dmz": added}
    assert backend.own.record.macs == {**data["macs"], "dmz": added}
    backend = PaperBackend(data=data)
    carry_out(stopped(machine_id="m", record=load(data, exists=True)), backend, **params)
    assert backend.own.record.macs == {"lan": "52:54:00:00:00:09", "gone": "52:54:00:00:00:07", "dmz": added}


def test_progress_names_what_is_no_change_of_its_own() -> None:
    def steps(actual: GuestState, **params: t.Any) -> list[str]:
        kind = PaperKind(declared(**params), actual)
        plan = plan_guest(kind)
        run = Run(PaperBackend(), kind.spec, actual, plan)
        return [step.name for step in run.steps() if not isinstance(step, Change)]

    changed = ["record written", "networks[old] detached", "volume made", "files written", "definition written"]
    assert steps(two_cards(), **CHANGED) == [*changed, "record complete"]
    assert steps(running(), state="stopped")[:2] == ["record written", "powered down"]
    assert steps(running(power="suspended"), state="started")[:2] == ["record written", "woken up"]
    assert "stopped for the restart" in steps(running(), state="restarted")
    assert steps(running(), state="absent") == ["powered down", "definition removed", "cleared"]


def test_a_guest_that_is_to_stay_stopped_is_not_started_by_a_later_run() -> None:
    data = {"kind": "paper", "due_power": "started"}
    backend = PaperBackend(data=data)
    carry_out(stopped(record=load(data, exists=True)), backend, state="stopped", memory="2GiB")
    assert backend.own.record.due_power is None


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_of_a_creation_that_fails_nothing_stands_before_the_definition_does(fails_at: int) -> None:
    backend = PaperBackend(fails_at)
    plan = carry_out(GuestState(machine_id="m"), backend, **NEW)
    done = {change.path for change in plan.changes if change.done}
    if "claims final" not in backend.asked:
        assert not done
    assert ("state" in done) == ("switch stopped started" in backend.asked)


def fails_at_memory(backend: PaperBackend) -> t.Callable[[t.Any], None]:
    def change_live(change: t.Any) -> None:
        if change.path == "memory":
            raise ZeroDivisionError
        backend._ask("live")

    return change_live


def test_what_the_definition_alone_holds_is_told_when_it_stands_though_the_live_value_fails() -> None:
    backend = PaperBackend()
    backend.change_live = fails_at_memory(backend)  # type: ignore[method-assign]  # the writer of this test
    kind = PaperKind(declared(memory="2GiB", networks=[{"name": "lan", "mtu": 9000}]), running())
    plan = plan_guest(kind)
    done = []
    with pytest.raises(ZeroDivisionError):
        for step in Run(backend, kind.spec, running(), plan).steps():
            done += [step.path] if isinstance(step, Change) else []
    assert done == ["networks[lan].mtu"]


def test_a_restart_happens_once_and_after_everything_else() -> None:
    backend = PaperBackend()
    params = {"networks": [{"name": "lan", "mtu": 9000, "bridge": "br1"}], "restart_policy": "if_needed"}
    plan = carry_out(running(), backend, **params)
    assert all(change.done for change in plan.changes)
    assert backend.asked[-3:] == ["live networks[lan].bridge", "stop", "start"] and backend.asked.count("stop") == 1


def test_what_counts_as_soon_as_it_is_written_has_no_live_writer() -> None:
    backend = PaperBackend()
    plan = carry_out(running(), backend, resolver="192.0.2.1")
    assert [(change.how.value, change.done) for change in plan.changes] == [("live", True)]
    assert "files" in backend.asked and "live resolver" not in backend.asked
    backend = PaperBackend(fails_at=backend.asked.index("files") + 1)
    assert not carry_out(running(), backend, resolver="192.0.2.1").changes[0].done


def test_a_guest_that_somebody_holds_is_held_again_after_a_restart() -> None:
    for wish, power in (("paused", "started"), ("paused", "paused")):
        backend = PaperBackend(data={"kind": "paper", "due_power": "started"})
        params = {"networks": [{"name": "lan", "mtu": 9000}], "restart_policy": "if_needed", "state": wish}
        carry_out(running(power=power), backend, **params)
        held = [each for each in backend.asked if each.startswith(("start", "switch"))]
        assert held == (["start", "switch started paused"] if power == "started" else [])


def test_a_start_that_was_due_is_forgotten_with_a_restart() -> None:
    backend = PaperBackend(data={"kind": "paper", "due_power": "started"})
    carry_out(running(), backend, state="restarted")
    assert backend.asked[-2:] == ["stop", "start"] and backend.own.record.due_power is None


def test_a_guest_that_is_stopped_is_powered_down_before_it_is_changed() -> None:
    backend = PaperBackend()
    carry_out(running(), backend, state="stopped", memory="2GiB")
    assert backend.asked == ["claims first", "stop", "volumes", "definition", "claims final"]


def test_a_saved_guest_is_woken_up_before_it_is_changed() -> None:
    backend = PaperBackend()
    plan = carry_out(running(power="suspended"), backend, state="started", memory="2GiB")
    assert backend.asked[:2] == ["claims first", "start"] and "live memory" in backend.asked
    assert all(change.done for change in plan.changes) and not any("switch" in each for each in backend.asked)


def test_the_record_says_what_a_killed_creation_was_about() -> None:
    backend = PaperBackend(fails_at=3)
    carry_out(GuestState(machine_id="m"), backend, **NEW)
    record = backend.own.record
    assert (
        record.is_building
        and record.due_power == "started"
        and record.image == "debian"
        and record.volumes["root"].is_fresh
    )
    assert record.options == {"tags": ["a"]} and list(record.macs) == ["lan"]


def test_a_creation_that_was_killed_before_its_start_is_started_by_the_next_run() -> None:
    record = load({"kind": "paper", "due_power": "started"}, exists=True)
    backend = PaperBackend(data={"kind": "paper", "due_power": "started"})
    plan = carry_out(stopped(record=record), backend)
    assert [change.path for change in plan.changes] == ["state"] and backend.asked[-1] == "switch stopped started"
    assert backend.own.record.due_power is None


@pytest.mark.parametrize(("due", "power"), [("started", "started"), ("started", "paused"), ("paused", "paused")])
def test_a_power_that_the_guest_has_come_to_is_due_no_more(due: str, power: str) -> None:
    data = {"kind": "paper", "due_power": due}
    backend = PaperBackend(data=data)
    plan = carry_out(running(power=power, record=load(data, exists=True)), backend)
    assert not plan.changed and plan.notes == ["state"]
    assert backend.own.record.due_power is None and not any("switch" in each for each in backend.asked)


@pytest.mark.parametrize(
    ("power", "switch"), [("stopped", "switch stopped paused"), ("started", "switch started paused")]
)
def test_a_guest_that_was_to_be_paused_when_it_was_made_is_paused_by_the_next_run(power: str, switch: str) -> None:
    data = {"kind": "paper", "due_power": "paused"}
    backend, make = PaperBackend(data=data), stopped if power == "stopped" else running
    carry_out(make(record=load(data, exists=True)), backend)
    assert backend.asked[-1] == switch and backend.own.record.due_power is None


def test_a_power_that_is_due_is_forgotten_behind_it_and_stays_due_when_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = {"kind": "paper", "due_power": "started"}
    backend = PaperBackend(data=data)
    seen: list[str | None] = []
    monkeypatch.setattr(backend, "switch", lambda now, target: seen.append(backend.own.record.due_power))
    carry_out(stopped(record=load(data, exists=True)), backend)
    assert seen == ["started"] and backend.own.record.due_power is None
    whole, failing = PaperBackend(data=data), PaperBackend(data=data)
    carry_out(stopped(record=load(data, exists=True)), whole)
    failing.fails_at = len(whole.asked)
    carry_out(stopped(record=load(data, exists=True)), failing)
    assert [*failing.asked, whole.asked[-1]] == whole.asked and failing.own.record.due_power == "started"


def test_a_creation_that_was_killed_comes_to_its_power_though_the_next_run_leaves_the_power_as_it_is() -> None:
    data = {"kind": "paper", "building": True, "due_power": "started"}
    backend = PaperBackend(data=data)
    plan = carry_out(GuestState(machine_id="m", record=load(data, exists=True)), backend, **{**NEW, "state": "present"})
    assert plan.get("state").after == "started" and backend.asked[-1] == "switch stopped started"


def test_a_guest_that_is_to_stay_stopped_forgets_a_start_though_nothing_else_is_to_do() -> None:
    data = {"kind": "paper", "due_power": "started"}
    backend = PaperBackend(data=data)
    plan = carry_out(stopped(record=load(data, exists=True)), backend, state="stopped")
    assert plan.notes == ["state"] and backend.own.record.due_power is None


@pytest.mark.parametrize(("state", "due"), [("present", "started"), ("paused", "paused")])
def test_of_a_restart_that_fails_in_the_middle_the_power_is_due(state: str, due: str) -> None:
    params = {"networks": [{"name": "lan", "mtu": 9000}], "restart_policy": "if_needed", "state": state}
    whole = PaperBackend()
    carry_out(running(), whole, **params)
    assert whole.own.record.due_power is None
    backend = PaperBackend(fails_at=whole.asked.index("start") + 1)
    carry_out(running(), backend, **params)
    assert backend.asked[-1] == "stop" and backend.own.record.due_power == due


def test_the_flags_of_a_new_guest_are_set_before_its_record_is_complete_and_told_behind_it() -> None:
    backend = PaperBackend()
    backend.options = Options(*(row.but(home=FLAG) if row.path == "autostart" else row for row in OPTIONS))
    kind = PaperKind(declared(**NEW), GuestState(machine_id="m"))
    kind.options = backend.options
    plan = plan_guest(kind)
    told = [
        step.name if isinstance(step, Step) else step.path for step in Run(backend, kind.spec, kind.state, plan).steps()
    ]
    assert backend.asked.index("flag autostart") < backend.asked.index("claims final")
    assert told.index("record complete") < told.index("autostart")


def test_a_removal_keeps_the_record_of_what_is_kept_and_forgets_it_with_the_last_volume() -> None:
    data = {"kind": "paper", "tags": ["a"], "volumes": {"root": {"pool": "main", "name": "web.root", "kind": "block"}}}
    state = running(record=load(data, exists=True), owned={"root": "/p/web.root"})
    backend = PaperBackend(data=data)
    plan = carry_out(state, backend, state="absent")
    assert plan.kept == ["/p/web.root"] and backend.asked == ["stop for good", "undefine", "clear"]
    assert backend.own.record.volumes == {"root": RecordedVolume(Volume("main", "web.root", "block"))}
    assert not backend.own.record.options
    backend = PaperBackend(data=data)
    plan = carry_out(state, backend, state="absent", delete=["volumes"])
    assert [(change.path, change.done) for change in plan.changes] == [("state", True), ("volumes[root]", True)]
    assert backend.asked[-1] == "remove root" and not backend.own.record.exists and not backend.file.exists


def test_a_snapshot_goes_before_the_record_forgets_it_and_one_that_was_never_made_with_the_guest() -> None:
    volume = {"pool": "main", "name": "web.root@a", "kind": "block"}
    kept = {"created": 1.0, "consistency": "clean", "volumes": {"root": volume}}
    data = {"kind": "paper", "snapshots": {"a": kept, "never": kept}}
    backend = PaperBackend(data=data)
    known: list[list[str]] = []
    backend.remove_snapshot = lambda name: known.append([name, *backend.own.record.snapshots])  # type: ignore[attr-defined]  # of this test
    state = running(record=load(data, exists=True), snapshots={"a": ("/p/a",)})
    kind = PaperKind(declared(state="absent"), state)
    plan = plan_guest(kind)
    plan.changes.append(Change("snapshots[a]", "x", None, How.LIVE))
    told = [step.path for step in Run(backend, kind.spec, state, plan).steps() if isinstance(step, Change)]
    assert told == ["state", "snapshots[a]"] and known == [["a", "a"]] and not backend.own.record.exists


def test_a_volume_that_is_no_item_and_is_taken_over_stands_with_a_new_definition_and_goes_by_its_path() -> None:
    state, backend = GuestState(machine_id="m"), PaperBackend()
    kind = PaperKind(declared(**NEW), state)
    plan = plan_guest(kind)
    plan.changes.append(Change("rootfs", None, "/p/root", How.LIVE))
    assert "rootfs" in [step.path for step in Run(backend, kind.spec, state, plan).steps() if isinstance(step, Change)]
    data = {"kind": "paper", "volumes": {"rootfs": {"pool": "main", "name": "web.root", "kind": "block"}}}
    backend = PaperBackend(data=data)
    there = running(record=load(data, exists=True), owned={"rootfs": "/p/web.root"})
    kind = PaperKind(declared(state="absent"), there)
    plan = plan_guest(kind)
    plan.changes.append(Change("rootfs", "/p/web.root", None, How.LIVE))
    list(Run(backend, kind.spec, there, plan).steps())
    assert backend.asked[-1] == "remove rootfs" and not backend.own.record.exists


def test_what_the_record_learns_without_a_change_is_written() -> None:
    backend = PaperBackend(data={"kind": "paper"})
    state = running()
    kind = PaperKind(declared(), state)
    list(Run(backend, kind.spec, state, plan_guest(kind)).steps())
    assert backend.asked == ["claims first"] and "root" in backend.own.record.volumes


@pytest.mark.parametrize("template", [True, False])
def test_the_volumes_of_a_template_are_protected_behind_what_is_written_to_them_and_freed_before(
    template: bool,
) -> None:
    data = {"kind": "paper", "template": not template or None}
    for fails_at, is_told in ((0, True), (3 if template else 2, False)):
        backend = PaperBackend(fails_at, data=dict(data))
        state = stopped(record=load(data, exists=True))
        plan = carry_out(state, backend, template=template, files="text")
        asked = [
            "claims first",
            *(["volumes", "files", "protect True"] if template else ["protect False", "volumes", "files"]),
        ]
        assert backend.asked[:4] == (asked if is_told else asked[: fails_at - 1])
        assert plan.get("template").done is is_told
        assert bool(backend.own.record.options.get("template")) is (template is is_told)


def test_a_template_that_goes_leaves_volumes_that_can_be_written_to() -> None:
    data = {
        "kind": "paper",
        "template": True,
        "volumes": {"root": {"pool": "main", "name": "web.root", "kind": "block"}},
    }
    backend = PaperBackend(data=data)
    carry_out(stopped(record=load(data, exists=True), owned={"root": "/p/web.root"}), backend, state="absent")
    assert "protect False" in backend.asked and backend.own.record.volumes


def test_of_several_volumes_that_are_deleted_none_comes_back_into_the_record() -> None:
    names = ("root", "data")
    data = {
        "kind": "paper",
        "volumes": {name: {"pool": "main", "name": f"web.{name}", "kind": "block"} for name in names},
    }
    backend = PaperBackend(data=data)
    state = running(record=load(data, exists=True), owned={name: f"/p/web.{name}" for name in names})
    carry_out(state, backend, state="absent", delete=["volumes"])
    assert backend.asked[-2:] == ["remove root", "remove data"] and not backend.own.record.exists
