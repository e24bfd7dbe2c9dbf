# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import dataclasses
import functools
import os
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.decide import Draft, Power
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import (
    ApplyError,
    LockTimeout,
    MissingRequirement,
    NotConverged,
    RefusedError,
    SpecError,
    WaitTimeout,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Option, always, never
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import BRIDGE, GUEST

OPTIONS = (
    Option("colour", live=always),
    Option("engine", live=never),
    Option("size", live=always, loss=lambda before, after: "shrink" if before and after < before else None),
)


@dataclasses.dataclass
class FakeHost:
    """A host whose whole content is one dictionary."""

    kept: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    live: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    bridges: set[str] = dataclasses.field(default_factory=lambda: {"br0"})
    drops: int = 0

    def missing(self, reference: Reference) -> str | None:
        return None if reference.name in self.bridges else f"there is no bridge {reference.name}"

    def drop(self) -> None:
        self.drops += 1


class Car:
    """A resource in memory. *lies* are paths that apply says it wrote and did not."""

    def __init__(self, lies: t.Collection[str] = (), fails_at: str | None = None) -> None:
        self.lies = lies
        self.fails_at = fails_at
        self.waited = False

    def parse(self, params):
        if params.get("colour") == "plaid":
            raise SpecError("colour: 'plaid' is not allowed")
        return dict(params)

    def requires(self, spec):
        return (Reference(BRIDGE, spec.get("bridge", "br0")),)

    def provides(self, spec):
        return (Reference(GUEST, "car"),)

    def observe(self, spec, host):
        return host

    def plan(self, spec, state):
        draft = Draft(OPTIONS, Power(True, True), allow=spec.get("allow", ()))
        for option in OPTIONS:
            draft.compare(option.path, spec.get(option.path), state.kept.get(option.path), state.live.get(option.path))
        if spec.get("state") == "restarted":
            draft.add("state", "started", "restarted")
        return draft.finish(restart=spec.get("state") == "restarted")

    def apply(self, spec, state, plan, work):
        yield Step("begun")
        for change in plan.changes:
            if change.path == self.fails_at:
                raise ApplyError(f"{change.path} cannot be written")
            if change.path not in self.lies and change.path != "state":
                state.kept[change.path] = change.after
                if change.path != "engine" or spec.get("state") == "restarted":
                    state.live[change.path] = change.after
            yield change

    def settled(self, spec):
        return {**spec, "state": "started"}

    def facts(self, spec, state):
        return {"car": dict(state.kept)}

    def waiting(self, spec, facts):
        return functools.partial(self.wait, spec) if "never_comes" in spec else None

    def wait(self, spec, host):
        self.waited = True
        if spec.get("never_comes"):
            raise WaitTimeout("waited 1 s for godot")


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.paths, "LOCKS", str(tmp_path))


def run(host, *, car=None, dry_run=False, **params):
    return converge(car or Car(), params, host=host, dry_run=dry_run, lock_seconds=0.1)


def test_check_and_run_say_the_same_and_the_second_run_changes_nothing():
    host = FakeHost()
    check = run(host, dry_run=True, colour="red")
    assert (check.changed, host.kept) == (True, {})
    outcome = run(host, colour="red")
    assert outcome.plan.result()["diff"] == check.plan.result()["diff"]
    assert [change.done for change in outcome.plan.changes] == [True]
    assert outcome.facts == {"car": {"colour": "red"}}
    assert not run(host, colour="red").changed


def test_undeclared_key_is_left_alone():
    host = FakeHost(kept={"colour": "red"}, live={"colour": "blue"})
    assert not run(host, engine=None).changed


def test_bad_input_is_refused_before_the_host_is_read():
    host = FakeHost()
    outcome = run(host, colour="plaid")
    assert isinstance(outcome.error, SpecError)
    assert (outcome.changed, host.drops) == (False, 0)


def test_a_refusal_names_path_values_and_permit_and_changes_nothing():
    host = FakeHost(kept={"size": 2, "colour": "red"}, live={"size": 2, "colour": "red"})
    outcome = run(host, size=1, colour="blue")
    assert isinstance(outcome.error, RefusedError)
    assert outcome.error.message == "size: 2 -> 1 is refused. Permit it with allow: [shrink]"
    assert outcome.result()["needed"] == ["shrink"]
    assert (outcome.changed, host.kept["colour"]) == (False, "red")
    assert run(host, size=1, allow=["shrink"]).changed


def test_a_change_that_did_not_take_is_not_converged():
    outcome = run(FakeHost(), car=Car(lies=["colour"]), colour="red")
    assert isinstance(outcome.error, NotConverged)
    assert outcome.result()["left"] == ["colour"]
    assert outcome.changed


def test_a_failure_says_what_stands_and_that_something_was_written():
    host = FakeHost()
    outcome = run(host, car=Car(fails_at="size"), colour="red", size=1)
    assert isinstance(outcome.error, ApplyError)
    assert outcome.changed
    assert [change.done for change in outcome.plan.changes] == [True, False]


def test_a_waiting_change_is_listed_on_every_run_and_changed_once():
    host = FakeHost(kept={"engine": "v6"}, live={"engine": "v6"})
    first = run(host, engine="v8")
    second = run(host, engine="v8")
    assert (first.changed, first.plan.restart_required) == (True, ["engine"])
    assert (second.changed, second.plan.restart_required) == (False, ["engine"])


def test_restarted_brings_what_waits_into_force():
    host = FakeHost(kept={"engine": "v8"}, live={"engine": "v6"})
    outcome = run(host, engine="v8", state="restarted")
    assert outcome.error is None
    assert {change.path for change in outcome.plan.changes} == {"engine", "state"}
    assert outcome.plan.restart_required == []


def test_what_is_missing_is_assumed_in_check_mode_and_an_error_in_a_run():
    check = run(FakeHost(), dry_run=True, colour="red", bridge="br9")
    assert (check.error, check.plan.assumed) == (None, ["bridge br9"])
    outcome = run(FakeHost(), colour="red", bridge="br9")
    assert isinstance(outcome.error, MissingRequirement)
    assert outcome.error.message == "there is no bridge br9"


def test_the_waits_come_last_and_keep_changed_as_it_was():
    host, car = FakeHost(), Car()
    outcome = run(host, car=car, colour="red", never_comes=True)
    assert isinstance(outcome.error, WaitTimeout)
    assert (car.waited, outcome.changed) == (True, True)


def test_that_all_is_written_is_told_behind_the_last_change_and_before_another_look():
    told: list[str] = []

    class Watched(Car):
        def observe(self, spec, host):
            told.append("look")
            return super().observe(spec, host)

    host = FakeHost()
    for dummy in range(2):
        converge(
            Watched(),
            {"colour": "red"},
            host=host,
            dry_run=False,
            report=lambda step: told.append("change"),
            written=lambda: told.append("written"),
        )
    assert told == ["look", "change", "change", "written", "look", "look"]


def test_check_mode_waits_for_nothing_and_takes_no_lock():
    car = Car()
    with lock.hold([Reference(GUEST, "car")], []):
        assert run(FakeHost(), car=car, dry_run=True, colour="red").error is None
    assert not car.waited


def test_a_held_lock_is_named_with_its_holder():
    with lock.hold([Reference(GUEST, "car")], []):
        outcome = run(FakeHost(), colour="red")
    assert isinstance(outcome.error, LockTimeout)
    assert f"guest car is in use by another run (process {os.getpid()})" in outcome.error.message


def test_each_step_is_reported_when_it_stands():
    seen: list[t.Any] = []
    converge(Car(), {"colour": "red"}, host=FakeHost(), dry_run=False, report=seen.append)
    assert [step.name if isinstance(step, Step) else step.path for step in seen] == ["begun", "colour"]
    assert all(step.done for step in seen if isinstance(step, Change))
