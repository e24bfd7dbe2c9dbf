# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of resource is one row: a made-up one is planned, ordered, locked and applied, and what names kinds elsewhere has them all."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from unit.tree import PACKAGE, ROOT, SHARED

from ansible_collections.homelab.hybrid.plugins.filter import guest_options
from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import Claims
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Waiting, Work
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import LockTimeout, RefusedError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference, ReferenceKind
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._layout import crew
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import LayoutOutcome, converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.spec import Kind, arguments
from ansible_collections.homelab.hybrid.plugins.module_utils._listing import spec as listing
from ansible_collections.homelab.hybrid.plugins.plugin_utils import _inventory
from ansible_collections.homelab.hybrid.tests.harness.kill import descendants

WAIT_SECONDS = 10
GUESTS = [kind for kind in KINDS if kind.is_guest]


class Lamp(t.NamedTuple):
    """A lamp as declared. It hangs on the lamp *on*, and its user waits for the lamp *wait_for*."""

    name: str
    state: str = "present"
    colour: str | None = None
    on: str | None = None
    wait_for: str | None = None


class Lamps:
    """Lamps are files of *folder* with their colour, and beside each one what it saw while it was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reference = ReferenceKind("lamp", 7, self._missing)

    def _missing(self, dummy: Host, name: str) -> str | None:
        return None if (self.folder / name).exists() else f"there is no lamp {name}"

    def parse(self, params: t.Mapping[str, t.Any]) -> Lamp:
        if params.get("colour") == "plaid":
            raise SpecError("colour: 'plaid' is not allowed", key="colour")
        return Lamp(**{"state": "present", **params})

    def requires(self, spec: Lamp) -> tuple[Reference, ...]:
        return (Reference(self.reference, spec.on),) if spec.on else ()

    def provides(self, spec: Lamp) -> tuple[Reference, ...]:
        return (Reference(self.reference, spec.name),)

    def observe(self, spec: Lamp, dummy: Host) -> str:
        path = self.folder / spec.name
        return path.read_text() if path.exists() else "absent"

    def plan(self, spec: Lamp, state: str) -> Plan:
        changes = [Change("state", "absent", "present", How.LIVE)] if state == "absent" else []
        changes += [Change("colour", state, spec.colour, How.LIVE)] if spec.colour and spec.colour != state else []
        return Plan(changes)

    def apply(self, spec: Lamp, state: str, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        held = [each for each in (*self.provides(spec), *self.requires(spec)) if not self._is_free(each)]
        seen = {"held": [str(each) for each in held], "there": sorted(each.name for each in self.folder.iterdir())}
        (self.folder / f"{spec.name}.seen").write_text(json.dumps(seen))
        (self.folder / spec.name).write_text(spec.colour or "")
        yield from plan.changes

    def _is_free(self, reference: Reference) -> bool:
        try:
            with lock.hold([reference], [], wait_seconds=0):
                return True
        except LockTimeout:
            return False

    def is_address_free(self, address: str) -> bool:
        try:
            with lock.addresses([("br0", address)], wait_seconds=0):
                return True
        except LockTimeout:
            return False

    def settled(self, spec: Lamp) -> Lamp:
        return spec

    def facts(self, spec: Lamp, state: str) -> dict[str, t.Any]:
        return {"lamp": {"name": spec.name, "colour": state}}

    def claims(self, spec: Lamp | None, state: str) -> Claims:
        return Claims() if spec is None else Claims(folders=[spec.colour] if spec.colour else [], users=["web"])

    def standing(self, dummy: Host) -> dict[str, Claims]:
        return {}

    def promises(self, spec: Lamp) -> dict[str, t.Any]:
        return {"colour": spec.colour}

    def waiting(self, spec: Lamp, facts: t.Mapping[str, t.Any]) -> Waiting | None:
        return None if spec.wait_for is None else functools.partial(self._wait, spec)

    def _wait(self, spec: Lamp, host: Host) -> dict[str, t.Any]:
        other = self.folder / str(spec.wait_for)
        wait_until(f"the lamp {spec.wait_for}", other.exists, timeout_seconds=WAIT_SECONDS)
        return {"lamp": {"name": spec.name, "colour": "lit"}}

    def seen_by(self, name: str) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.folder / f"{name}.seen").read_text()))


class BareHost(Host):
    """A host on which there is nothing."""

    pools = networks = domains = containers = links = guest_records = {}  # type: ignore[assignment]  # areas, and empty


@pytest.fixture
def lamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lamps:
    for name in ("LOCKS", "JOURNAL"):
        monkeypatch.setattr(paths, name, str(tmp_path / name))
    (tmp_path / "lamps").mkdir()
    return Lamps(tmp_path / "lamps")


def run(
    lamps: Lamps,
    *items: dict[str, t.Any],
    dry_run: bool = False,
    report: crew.Report | None = None,
    is_guest: bool = False,
    **params: t.Any,
) -> LayoutOutcome:
    row = Kind(
        word="lamp",
        list="lamps",
        module="lamp",
        reference=lamps.reference,
        resource=lamps,
        facts="lamp",
        is_guest=is_guest,
        arguments={name: {"type": "str"} for name in Lamp._fields},
    )
    return converge_layout(
        {"lamps": items, **params}, host=BareHost, dry_run=dry_run, report=report, kinds=[*KINDS, row]
    )


def test_a_kind_of_one_row_is_planned(lamps):
    outcome = run(lamps, {"name": "hall", "colour": "red"}, dry_run=True)
    assert outcome.error is None and outcome.told["changed"]
    assert outcome.told["diff"]["after"] == {"lamps[hall].state": "present", "lamps[hall].colour": "red"}
    assert list(lamps.folder.iterdir()) == []


def test_a_kind_of_one_row_is_ordered_locked_and_applied(lamps):
    items = [{"name": "shade", "on": "hall"}, {"name": "hall", "colour": "red"}]
    outcome = run(lamps, *items, facts=True)
    assert outcome.error is None and [each["name"] for each in outcome.told["resources"]] == ["hall", "shade"]
    assert (lamps.folder / "hall").read_text() == "red"
    assert lamps.seen_by("hall")["held"] == ["lamp hall"]
    assert lamps.seen_by("shade") == {"held": ["lamp shade", "lamp hall"], "there": ["hall", "hall.seen"]}
    assert not run(lamps, *items).told["changed"]
    assert run(lamps, *items, facts=True).told["resources"][0]["facts"] == {"name": "hall", "colour": "red"}


def test_one_that_waits_makes_room_for_the_next(lamps):
    items = [{"name": "hall", "wait_for": "shade"}, {"name": "shade"}]
    outcome = run(lamps, *items, parallel=1, facts=True)
    assert outcome.error is None and outcome.told["waits"] == ["lamps[hall]"]
    assert outcome.told["resources"][0]["facts"]["colour"] == "lit"


class Wired(Lamps):
    """Lamps whose folder has another run's half-made ones, which are refused, and whose colours are addresses."""

    def plan(self, spec: Lamp, state: str) -> Plan:
        if state == "half":
            raise RefusedError(f"{spec.name} is half there. Delete it first")
        return super().plan(spec, state)

    def claims(self, spec: Lamp | None, state: str) -> Claims:
        return Claims(addresses=[("br0", spec.colour)] if spec and spec.colour else [])

    def standing(self, dummy: Host) -> dict[str, Claims]:
        lit = {path.name: path.read_text() for path in self.folder.iterdir() if path.suffix != ".seen"}
        return {name: Claims(addresses=[("br0", colour)]) for name, colour in lit.items() if colour}


@pytest.fixture
def wired(lamps: Lamps) -> Wired:
    return Wired(lamps.folder)


OTHER_RUN = """
import sys, time
from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference, ReferenceKind
paths.LOCKS, path, colour, address = sys.argv[1:]
lamp = Reference(ReferenceKind("lamp", 7, None), "hall")
with lock.addresses([("br0", address)]) if address else lock.hold([lamp], []):
    print("held", flush=True)
    time.sleep(0.5)
    open(path, "w").write(colour)
"""


@contextlib.contextmanager
def other_run(path: Path, colour: str, *, address: str = "") -> t.Iterator[None]:
    """While it lasts another process holds the lamp hall, or an *address*, and at last writes *path*."""
    argv = [sys.executable, "-c", OTHER_RUN, paths.LOCKS, str(path), colour, address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build")}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_another_run_is_at_work_on_is_planned_again_when_that_is_done(wired, dry_run):
    (wired.folder / "hall").write_text("half")
    check = run(wired, {"name": "hall", "colour": "red"}, dry_run=True)
    assert check.error is not None and "Delete it first" in check.error.message
    assert not Path(paths.LOCKS).exists(), "a check makes no file"
    with other_run(wired.folder / "hall", "red"):
        outcome = run(wired, {"name": "hall", "colour": "red"}, dry_run=dry_run)
    assert outcome.error is None and not outcome.told["changed"]


def test_what_nobody_is_at_work_on_stays_refused(wired):
    (wired.folder / "hall").write_text("half")
    outcome = run(wired, {"name": "hall", "colour": "red"}, {"name": "shade"})
    assert outcome.told["msg"].startswith("1 of 2 failed: lamp hall: hall is half there. Delete it first")
    assert (wired.folder / "shade").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_who_is_refused_while_another_run_does_not_end_is_told_of_that_run(wired, monkeypatch, dry_run):
    for hold in (lock.hold, lock.hold_still):
        monkeypatch.setattr(hold.__wrapped__, "__kwdefaults__", {"wait_seconds": 0.1})
    (wired.folder / "hall").write_text("half")
    with other_run(wired.folder / "hall", "red"):
        outcome = run(wired, {"name": "hall", "colour": "red"}, {"name": "shade"}, dry_run=dry_run)
    assert "lamp hall is in use by another run (process" in outcome.told["msg"]
    assert (wired.folder / "shade").exists() is not dry_run


def test_an_address_that_another_layout_is_just_giving_away_is_taken(wired):
    with other_run(wired.folder / "shade", "10.0.0.9", address="10.0.0.9"):
        outcome = run(wired, {"name": "hall", "colour": "10.0.0.9"})
    assert outcome.error is not None
    assert "have both the address 10.0.0.9 on br0" in outcome.error.message
    assert not (wired.folder / "hall").exists()


@pytest.mark.parametrize(("message", "is_free"), [({"step": "begun"}, False), ({"waiting": True}, True)], ids=str)
def test_a_worker_whose_layout_is_gone_keeps_its_addresses_until_it_only_waits(lamps, message, is_free):
    def work(dummy: crew.Message, tell: crew.Tell) -> crew.Message:
        tell(message)
        time.sleep(WAIT_SECONDS)
        return {}

    spawner = crew.Spawner(work)
    with lock.addresses([("br0", "10.0.0.9")]) as held:
        channel = spawner.start({}, [*held.values()])
    try:
        with channel.makefile() as stream:
            assert json.loads(stream.readline()) == message
        # It tells first, and then lets go.
        deadline = time.monotonic() + 10
        while is_free and not lamps.is_address_free("10.0.0.9") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_free == lamps.is_address_free("10.0.0.9")
    finally:
        (worker,) = descendants(spawner.pid)
        os.kill(worker, signal.SIGKILL)
        channel.close()
        spawner.close()


def test_no_process_is_left_of_a_run(lamps):
    # Other tests of the same process may have children of their own.
    before = children()
    run(lamps, {"name": "hall"})
    assert children() <= before


def children() -> set[str]:
    """The processes that this one has started and not yet buried."""
    return set(Path("/proc/thread-self/children").read_text().split())


def test_what_depends_on_a_failed_item_of_a_kind_of_one_row_is_skipped(lamps):
    outcome = run(lamps, {"name": "shade", "on": "hall"}, {"name": "hall", "colour": "plaid"})
    told = {each["name"]: each for each in outcome.told["resources"]}
    assert told["shade"]["skipped"] == "depends on lamp hall, which failed" and told["hall"]["failed"]
    assert list(lamps.folder.iterdir()) == []


def test_the_plan_of_all_is_reported_before_the_first_step_and_each_change_when_it_stands(lamps):
    reports = []
    run(lamps, {"name": "hall", "colour": "red"}, report=reports.append)
    assert [change["path"] for change in reports[0]["plan"]] == ["lamps[hall].state", "lamps[hall].colour"]
    assert [each["stands"] for each in reports if "stands" in each] == ["state", "colour"]


def test_a_check_tells_what_would_be_skipped(lamps):
    outcome = run(lamps, {"name": "shade", "on": "hall"}, {"name": "hall", "colour": "plaid"}, dry_run=True)
    told = {each["name"]: each for each in outcome.told["resources"]}
    assert told["shade"]["skipped"] == "depends on lamp hall, which failed"


class Noticing(Lamps):
    """Lamps that look at what the layout promises, warn, assume and learn."""

    def observe(self, spec: Lamp, host: Host) -> str:
        promised = {reference.name: promise for reference, promise in host.expected.items()}
        (self.folder / f"{spec.name}.promised").write_text(json.dumps(promised))
        return super().observe(spec, host)

    def plan(self, spec: Lamp, state: str) -> Plan:
        plan = super().plan(spec, state)
        plan.warnings.append(f"{spec.name} flickers")
        plan.assumed += [f"lamp {spec.on}"] if spec.on else []
        if state != "absent":
            plan.notes.append("seen")
        return plan


def test_what_the_layout_makes_is_promised_to_the_others_and_not_assumed(lamps):
    outcome = run(
        Noticing(lamps.folder), {"name": "hall", "colour": "red"}, {"name": "shade", "on": "hall"}, dry_run=True
    )
    assert json.loads((lamps.folder / "shade.promised").read_text()) == {
        "hall": {"colour": "red"},
        "shade": {"colour": None},
    }
    assert outcome.told["assumed"] == [] and outcome.warnings == ["hall flickers", "shade flickers"]


def test_what_a_record_learns_needs_a_worker_though_nothing_changes(lamps):
    run(lamps, {"name": "hall"})
    (lamps.folder / "hall.seen").unlink()
    outcome = run(Noticing(lamps.folder), {"name": "hall"})
    assert not outcome.told["changed"] and (lamps.folder / "hall.seen").exists()


class Removing(Noticing):
    """Lamps that go, too: a guest among them with its address, which is its colour, and with the folders that it has."""

    def plan(self, spec: Lamp, state: str) -> Plan:
        if spec.state == "absent":
            return Plan([] if state == "absent" else [Change("state", "present", "absent", How.LIVE)])
        return super().plan(spec, state)

    def apply(self, spec: Lamp, state: str, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        yield from super().apply(spec, state, plan, work)
        if spec.state == "absent":
            (self.folder / spec.name).unlink()

    def claims(self, spec: Lamp | None, state: str) -> Claims:
        colour = state if spec is None else spec.colour
        return Claims(
            addresses=[("br0", colour)] if colour and (spec is None or spec.state != "absent") else [], users=["old"]
        )

    def standing(self, dummy: Host) -> dict[str, Claims]:
        lit = [path for path in self.folder.iterdir() if "." not in path.name]
        return {path.name: self.claims(None, path.read_text()) for path in lit}


def test_what_is_taken_away_is_promised_to_nobody(lamps):
    removing = Removing(lamps.folder)
    run(removing, {"name": "hall", "colour": "red"})
    outcome = run(removing, {"name": "hall", "state": "absent"}, {"name": "shade"})
    assert outcome.error is None and not (lamps.folder / "hall").exists()
    assert json.loads((lamps.folder / "shade.promised").read_text()).keys() <= {"shade"}


def test_a_guest_gets_the_address_of_one_that_goes_before_it(lamps):
    removing = Removing(lamps.folder)
    run(removing, {"name": "old", "colour": "red"}, is_guest=True)
    going = {"name": "old", "state": "absent"}
    outcome = run(removing, {"name": "new", "colour": "red"}, going, is_guest=True)
    assert outcome.error is None, outcome.told
    assert "old" not in lamps.seen_by("new")["there"] and (lamps.folder / "new").exists()


def test_a_bug_in_a_plan_fails_its_item_alone_with_its_traceback(lamps, monkeypatch):
    plan = Lamps.plan
    monkeypatch.setattr(
        Lamps, "plan", lambda its, spec, state: plan(its, spec, state) if spec.name != "odd" else {}["key"]
    )
    outcome = run(lamps, {"name": "odd"}, {"name": "hall"})
    told = {each["name"]: each for each in outcome.told["resources"]}
    assert told["odd"]["failed"] and "KeyError: 'key'" in told["odd"]["msg"] and (lamps.folder / "hall").exists()


def test_a_worker_writes_its_line_in_the_journal(lamps):
    run(lamps, {"name": "hall"})
    files = [path for path in Path(paths.JOURNAL).rglob("*") if path.is_file()]
    assert any("lamps[hall]" in path.read_text() for path in files)


def test_a_second_look_is_at_the_host_as_it_is_then(wired, monkeypatch):
    dropped = []

    def drop(host):
        dropped.append(host)

    monkeypatch.setattr(BareHost, "drop", drop)
    (wired.folder / "hall").write_text("half")
    run(wired, {"name": "hall", "colour": "red"}, dry_run=True)
    assert len(dropped) == 1


def test_what_a_kind_of_one_row_requires_has_to_be_there(lamps):
    outcome = run(lamps, {"name": "shade", "on": "hall"})
    assert outcome.error is not None
    assert "lamp shade needs lamp hall: there is no lamp hall, or name it in this layout" in outcome.error.message


def test_what_a_kind_of_one_row_claims_is_compared(lamps):
    outcome = run(lamps, {"name": "hall", "colour": "red"}, {"name": "shade", "colour": "red"})
    assert outcome.error is not None
    assert outcome.error.message == "lamp hall and lamp shade have both the folder red"
    assert list(lamps.folder.iterdir()) == []


def test_every_resource_with_a_module_is_a_row():
    # A snapshot and a return from the quarantine are what somebody does, and no part of what a host is declared to have. What is mounted there
    # from elsewhere is of its role, and so is who is told of it, and what it shows.
    others = {"_mount", "_notify", "_overview", "_quarantine", "_snapshot"}
    folders = {path.parent.name for path in SHARED.glob("*/resource.py")} - others
    assert {type(kind.resource).__module__ for kind in KINDS} == {
        f"{PACKAGE}.plugins.module_utils.{folder}.resource" for folder in folders
    }
    for kind in KINDS:
        assert (ROOT / "plugins" / "modules" / f"{kind.module}.py").is_file()


def test_locks_of_kinds_are_taken_in_the_order_in_which_they_are_made():
    ranks = [kind.reference.rank for kind in KINDS]
    assert None not in ranks and ranks == sorted(t.cast("list[int]", ranks))


def test_what_the_control_node_calls_guests_are_those_of_the_rows():
    words = [kind.word for kind in GUESTS]
    assert {kind.word: kind.list for kind in GUESTS} == _inventory.KINDS
    assert [*guest_options.KINDS] == [*listing.KINDS] == words


def tasks_with(playbook: str, action: str) -> list[dict[str, t.Any]]:
    plays = yaml.safe_load((ROOT / "playbooks" / f"{playbook}.yml").read_text())
    return [task[action] for play in plays for task in play.get("tasks", ()) if action in task]


@pytest.mark.parametrize(("playbook", "kinds"), [("hypervisors", KINDS), ("report", KINDS), ("guests", GUESTS)])
def test_the_playbooks_hand_on_every_list(playbook, kinds):
    (options,) = tasks_with(playbook, "homelab.hybrid.layout")
    lists = [name for name in options if name in {kind.list for kind in KINDS}]
    assert lists == [kind.list for kind in kinds] and set(options) <= set(arguments(KINDS))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
def test_a_lab_is_taken_away_with_everything_of_every_kind(kind):
    (options,) = tasks_with("destroy", f"homelab.hybrid.{kind.module}")
    assert options["state"] == "absent" and options.get("delete", []) == [*kind.delete]


@pytest.mark.parametrize("kind", GUESTS, ids=lambda kind: str(kind.word))
def test_clone_from_has_a_short_form_in_a_task_and_in_a_layout(kind: Kind) -> None:
    task = {"name": "web", "clone_from": "guest=base,mode=full"}
    read = ArgumentSpecValidator(kind.arguments).validate(task)
    layout = ArgumentSpecValidator(arguments(KINDS)).validate({kind.list: [task]})
    for told in (read.validated_parameters, layout.validated_parameters[kind.list][0]):
        assert told["clone_from"] == {"guest": "base", "snapshot": None, "mode": "full"}
    assert read.error_messages == layout.error_messages == []
