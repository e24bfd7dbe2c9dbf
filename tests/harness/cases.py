# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one case: check, run, run again, each beside what the host says itself."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome, Resource, converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.tests.harness.fingerprint import differences, fingerprint

Params = t.Mapping[str, t.Any]
AnyResource = Resource[t.Any, t.Any]


def converge_now(resource: AnyResource, params: Params, *, dry_run: bool = False) -> Outcome:
    """One run with a fresh look at the host."""
    return converge(resource, params, host=Host(), dry_run=dry_run, lock_seconds=60)


def check_run_again(resource: AnyResource, params: Params, paths: t.Collection[str] | None = None) -> Outcome:
    """Check, run and run again. Returns the outcome of the run.

    The check leaves the host as it was and says what the run then does, word for word; every change of the run stands;
    the second run changes nothing. *paths*, where given, are the paths of the plan in any order.
    """
    before = fingerprint()
    check = converge_now(resource, params, dry_run=True)
    assert check.error is None, f"check: {check.error}"
    assert not (found := differences(before, fingerprint())), f"the check changed the host: {found}"
    run = converge_now(resource, params)
    assert run.error is None, f"run: {run.error}"
    assert told(check) == told(run), "the run did not do what the check said"
    assert all(change.done for change in run.plan.changes)
    assert run.plan.restart_required[: len(check.plan.restart_required)] == check.plan.restart_required
    if paths is not None:
        assert sorted(change.path for change in run.plan.changes) == sorted(paths)
    if params.get("state") not in ("restarted", "reverted"):
        again = unchanged(resource, params)
        waiting = {change.path for change in run.plan.changes if change.how is How.NEXT_BOOT}
        assert waiting <= set(again.plan.restart_required), "what waits for a restart must stay listed"
    return run


def check_and_run(resource: AnyResource, params: Params, look: t.Callable[[], t.Any]) -> Outcome | None:
    """A run that does what its check says, or ``None`` where both refuse alike. *look* reads what neither a check nor a refusal changes."""
    before = look()
    check = converge_now(resource, params, dry_run=True)
    assert look() == before
    run = converge_now(resource, params)
    if check.error is not None or run.error is not None:
        assert check.error is not None and run.error is not None, f"{check.error} | {run.error}"
        assert check.error.message == run.error.message and not run.changed
        assert look() == before
        return None
    assert told(check) == told(run)
    return run


def unchanged(resource: AnyResource, params: Params) -> Outcome:
    """A run that must find nothing to do."""
    again = converge_now(resource, params)
    assert again.error is None, f"second run: {again.error}"
    assert not again.changed, f"the second run changes {[change.report() for change in again.plan.changes]}"
    return again


def refuse(resource: AnyResource, params: Params, saying: str) -> str:
    """Check and run fail alike, before anything is changed, with a sentence that contains *saying*. Returns it."""
    before = fingerprint()
    check = converge_now(resource, params, dry_run=True)
    run = converge_now(resource, params)
    for name, outcome in (("check", check), ("run", run)):
        assert outcome.error is not None, f"the {name} did not fail"
        assert not outcome.changed, f"the {name} failed after a change"
        assert saying in outcome.error.message, f"{name}: {outcome.error.message!r} does not say {saying!r}"
    assert check.error is not None and run.error is not None and check.error.message == run.error.message
    assert not (found := differences(before, fingerprint())), f"a refused run changed the host: {found}"
    return run.error.message


def told(outcome: Outcome) -> dict[str, t.Any]:
    """What check and run must have in common."""
    result = outcome.plan.result()
    plan = [{key: value for key, value in change.items() if key != "done"} for change in result["plan"]]
    return {"changed": outcome.changed, "plan": plan, "diff": result["diff"]}
