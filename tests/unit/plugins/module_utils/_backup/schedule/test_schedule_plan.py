# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned of repositories to which a host can only add."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import load
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.plan import plan_backups
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.state import State

REST: dict[str, t.Any] = {"type": "rest", "url": "http://nas:8000/lab", "password": "correct horse"}
JOB: dict[str, t.Any] = {"repository": "nas", "schedule": "daily"}


def planned(state: State, *, append_only: bool = True, **job: t.Any) -> tuple[list[str], list[str | None], list[str]]:
    """The changes that may be, why others may not, and the warnings."""
    params: dict[str, t.Any] = {"repositories": [{"name": "nas", **REST, "append_only": append_only}]}
    params["jobs"] = [{"name": "nightly", **JOB, **job}] if job else []
    plan = plan_backups(parse(params), state)
    refused = [change.reason for change in plan.refused]
    return [its.path for its in plan.changes if its not in plan.refused], refused, plan.warnings


def test_who_lets_go_of_what_is_old_is_said_once() -> None:
    paths, refused, (warning,) = planned(State(has_program=True), mode="snapshot")
    assert (paths, refused) == (["repositories[nas]", "jobs[nightly]"], [])
    assert "restic forget --prune" in warning and warning.startswith("repositories[nas]")
    standing = {"nas": {**REST, "append_only": True}}
    assert planned(State(repositories=standing, has_program=True)) == ([], [], [])
    changed = planned(State(repositories={"nas": REST}, has_program=True))
    assert changed[0] == ["repositories[nas].append_only"] and len(changed[2]) == 1


@pytest.mark.parametrize("standing", [{}, {"nas": {**REST, "append_only": True}}])
def test_a_job_that_would_let_go_of_backups_is_refused(standing: dict[str, t.Any]) -> None:
    refused = planned(State(repositories=standing), keep={"daily": 7})[1]
    assert any("jobs[nightly].keep: its repository nas is append-only" in str(each) for each in refused)
    assert planned(State(has_program=True), append_only=False, keep={"daily": 7})[1:] == ([], [])


def test_a_job_that_stands_is_named_before_its_repository_becomes_append_only() -> None:
    jobs = {"nightly": {**JOB, "keep.daily": 7}}
    (refused,) = planned(State(repositories={"nas": REST}, jobs=jobs, has_program=True))[1]
    assert str(refused).startswith("repositories[nas].append_only: nightly would let go")
    assert planned(State(repositories={"nas": REST}, jobs={"nightly": JOB}, has_program=True))[1] == []


def test_a_target_that_is_not_declared_is_no_one_to_tell() -> None:
    params: dict[str, t.Any] = {"repositories": [{"name": "nas", **REST}]}
    params["jobs"] = [{"name": "nightly", **JOB, "notify": ["phone", "mail"]}]
    assert not plan_backups(parse(params), State(has_program=True)).refused
    assert not plan_backups(parse({**params, "targets": ["mail", "phone", "chat"]}), State(has_program=True)).refused
    (refused,) = plan_backups(parse({**params, "targets": ["mail"]}), State(has_program=True)).refused
    assert refused.reason == "jobs[nightly].notify: there is no target phone. Declare it in hypervisor_notify"


def test_what_the_next_run_lets_go_of_is_said_before() -> None:
    state = State(repositories={"nas": REST}, jobs={"nightly": JOB}, has_program=True, unkept={"nightly": "it goes"})
    assert planned(state, append_only=False, keep={"last": 1})[2] == ["jobs[nightly].keep: it goes"]


def test_a_job_knows_of_its_repository() -> None:
    data = {"schema": 1, "repositories": {"nas": {"append_only": True}, "disk": {}}, "jobs": {}}
    data["jobs"] = {"a": {"repository": "nas"}, "b": {"repository": "disk"}, "c": {"repository": "none"}}
    assert {name: job.is_append_only for name, job in load(json.dumps(data)).backups.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
