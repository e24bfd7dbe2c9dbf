# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The one run of every resource: parse, lock, observe, plan, apply, and plan again until nothing is left. Knows no Ansible."""

from __future__ import annotations

import contextlib
import typing as t

from . import lock
from .errors import ApplyError, HybridError, MissingRequirement, NotConverged, RefusedError, shorten
from .options import NEVER_PERMITTED
from .plan import Change, How, Plan, Step
from .reference import Reference

if t.TYPE_CHECKING:
    from .claims import Claims  # only a layout compares claims

SpecT = t.TypeVar("SpecT")
StateT = t.TypeVar("StateT")
Params = t.Mapping[str, t.Any]
Report = t.Callable[["Change | Step"], None]


class Work:
    """What ``apply`` works with: the host, and the locks that its writing children inherit."""

    __slots__ = ("held", "host")

    def __init__(self, host: t.Any, held: lock.Held) -> None:
        self.host = host
        self.held = held


# Waits on a host and returns the facts anew; ``None`` where there is more to do once that came true. Raises ``WaitTimeout``.
Waiting = t.Callable[[t.Any], "dict[str, t.Any] | None"]


class Resource(t.Protocol[SpecT, StateT]):
    """One kind of thing that converges. ``observe``, ``apply``, ``standing`` and what ``waiting`` returns apart all is pure."""

    def parse(self, params: Params) -> SpecT:
        """What the user wrote, normalised. Raises ``SpecError``."""

    def requires(self, spec: SpecT) -> t.Sequence[Reference]:
        """What must exist before; it is locked shared."""

    def provides(self, spec: SpecT) -> t.Sequence[Reference]:
        """What this makes; it is locked exclusively."""

    def observe(self, spec: SpecT, host: t.Any) -> StateT:
        """Read the host through its snapshot; of what is not there a state too, never ``None``. Raises ``ObserveError``."""

    def plan(self, spec: SpecT, state: StateT) -> Plan:
        """What is to do."""

    def apply(self, spec: SpecT, state: StateT, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        """The only code that writes: yields each change of *plan* that stands, and named steps between."""

    def settled(self, spec: SpecT) -> SpecT:
        """What must hold after apply: *spec*, with a one-time wish (``restarted``) turned into what it leads to."""

    def facts(self, spec: SpecT, state: StateT) -> dict[str, t.Any]:
        """What is returned of the resource."""

    def waiting(self, spec: SpecT, facts: t.Mapping[str, t.Any]) -> Waiting | None:
        """What waits, without locks, for what the user named and *facts* do not know yet; ``None`` where there is nothing of it."""

    def claims(self, spec: SpecT | None, state: StateT) -> Claims:
        """What it lays claim to once *spec* stands; as it is without one. What goes has *paths* that are kept of it."""

    def standing(self, host: t.Any) -> t.Mapping[str, Claims]:
        """What all of its kind on the host lay claim to as they are, by name: what one listing tells. Raises ``ObserveError``."""

    def promises(self, spec: SpecT) -> t.Mapping[str, t.Any]:
        """What others may count on before *spec* stands (``Host.expected``), by option path; what is not declared is not promised."""


class OutsideLayout(t.Generic[SpecT, StateT]):
    """The rest of a resource that is no part of a layout: it stands on nothing, takes nothing from anybody, and is there when apply ends."""

    def requires(self, spec: SpecT) -> tuple[Reference, ...]:
        return ()

    def settled(self, spec: SpecT) -> SpecT:
        return spec

    def waiting(self, spec: SpecT, facts: t.Mapping[str, t.Any]) -> Waiting | None:
        return None

    def claims(self, spec: SpecT | None, state: StateT) -> Claims:
        from .claims import Claims  # only a layout compares claims

        return Claims()

    def standing(self, host: t.Any) -> dict[str, Claims]:
        return {}

    def promises(self, spec: SpecT) -> dict[str, t.Any]:
        return {}


class Outcome:
    """How a run ended. ``changed`` of a failed run says whether anything was written. ``state`` is what a rehearsal observed."""

    __slots__ = ("changed", "error", "facts", "plan", "state")

    def __init__(
        self,
        plan: Plan,
        changed: bool,
        facts: dict[str, t.Any] | None = None,
        error: HybridError | None = None,
        state: t.Any = None,
    ) -> None:
        self.plan = plan
        self.changed = changed
        self.facts = facts if facts is not None else {}
        self.error = error
        self.state = state

    def result(self) -> dict[str, t.Any]:
        """Everything that a module returns."""
        told: dict[str, t.Any] = {"changed": self.changed, **self.plan.result(), **self.facts}
        if self.error is not None:
            told.update(self.error.facts)
            told["msg"] = self.error.message
        return told


class _Run:
    """What must survive a failure: the plan, and whether anything was written."""

    def __init__(self, report: Report | None, written: t.Callable[[], None] | None = None) -> None:
        self.report = report
        self.written = written
        self.plan = Plan()
        self.has_written = False
        self.facts: dict[str, t.Any] = {}
        self.state: t.Any = None

    def note(self, step: Change | Step) -> None:
        self.has_written = True
        if isinstance(step, Change):
            step.done = True
        if self.report is not None:
            self.report(step)


def converge(
    resource: Resource[t.Any, t.Any],
    params: Params,
    *,
    host: t.Any,
    dry_run: bool,
    report: Report | None = None,
    written: t.Callable[[], None] | None = None,
    waits: t.Callable[[], None] | None = None,
    unawaited: t.Container[Reference] = (),
    lock_seconds: float = lock.WAIT_SECONDS,
) -> Outcome:
    """Converge one resource, or with *dry_run* say what would be done.

    *report* is called for each change and step that stands, *written* when all of them do and only another look is left, *waits* when
    the locks are free and only waiting is left. What is *unawaited* cannot come by itself now.
    Errors of the collection are returned in the outcome; anything else is a bug and keeps its traceback.
    """
    run = _Run(report, written)
    try:
        spec = resource.parse(params)
        if dry_run:
            return rehearse(resource, spec, host=host)
        for reference in resource.requires(spec):
            if reference.kind.wait is not None and reference not in unawaited:
                reference.kind.wait(host, reference.name)
        _perform_locked(resource, spec, host, run, lock_seconds)
        while (waiting := resource.waiting(spec, run.facts)) is not None:
            if waits is not None:
                waits()
            host.drop()
            told = waiting(host)
            if told is not None:
                run.facts = told
                break
            before = run.plan
            try:
                _perform_locked(resource, spec, host, run, lock_seconds)
            finally:
                run.plan = before.followed_by(run.plan)
    except HybridError as exc:
        return Outcome(run.plan, run.has_written, run.facts, error=exc)
    return Outcome(run.plan, run.plan.changed, run.facts)


def rehearse(resource: Resource[t.Any, t.Any], spec: t.Any, *, host: t.Any) -> Outcome:
    """Say what would be done for *spec*, which *resource* has parsed."""
    run = _Run(None)
    try:
        _rehearse(resource, spec, host, run)
    except HybridError as exc:
        return Outcome(run.plan, False, run.facts, exc, run.state)
    return Outcome(run.plan, run.plan.changed, run.facts, None, run.state)


def _rehearse(resource: Resource[t.Any, t.Any], spec: t.Any, host: t.Any, run: _Run) -> None:
    run.state = state = resource.observe(spec, host)
    run.plan = resource.plan(spec, state)
    missing = {item: why for item in resource.requires(spec) if (why := host.missing(item))}
    run.plan.assumed.extend(map(str, missing))
    run.plan.warnings.extend(why for item, why in missing.items() if not item.kind.is_needed)
    refuse(run.plan)
    run.facts = resource.facts(spec, state)


def _perform_locked(resource: Resource[t.Any, t.Any], spec: t.Any, host: t.Any, run: _Run, lock_seconds: float) -> None:
    with lock.hold(resource.provides(spec), resource.requires(spec), wait_seconds=lock_seconds) as held:
        _perform(resource, spec, Work(host, held), run)


def _perform(resource: Resource[t.Any, t.Any], spec: t.Any, work: Work, run: _Run) -> None:
    host = work.host
    host.drop()  # what was read before the locks were held may be old
    missing = {item: why for item in resource.requires(spec) if (why := host.missing(item))}
    state = resource.observe(spec, host)
    run.plan = resource.plan(spec, state)
    refuse(run.plan)
    if any(item.kind.is_needed or run.plan.changed for item in missing):
        raise MissingRequirement("; ".join(dict.fromkeys(missing.values())), missing=list(map(str, missing)))
    run.plan.warnings.extend(missing.values())
    if run.plan.changed or run.plan.notes:
        _apply(resource, spec, state, work, run)
        if run.written is not None:
            run.written()
        host.drop()
        settled = resource.settled(spec)
        state = resource.observe(settled, host)
        again = resource.plan(settled, state)
        # What went knows no more what is kept of it, or says less of it: "DISK (not mounted)" was "DISK (3 entries)".
        told = {place.partition(" (")[0] for place in run.plan.kept}
        run.plan.kept = [*run.plan.kept, *(place for place in again.kept if place.partition(" (")[0] not in told)]
        run.plan.unmanaged = again.unmanaged
        check_converged(again, run.plan)
    run.facts = resource.facts(spec, state)


def _apply(resource: Resource[t.Any, t.Any], spec: t.Any, state: t.Any, work: Work, run: _Run) -> None:
    steps = t.cast("t.Generator[Change | Step, None, None]", resource.apply(spec, state, run.plan, work))
    with contextlib.closing(steps):
        try:
            for step in steps:
                run.note(step)
        except OSError as exc:
            raise ApplyError(f"{type(exc).__name__}: {exc}") from exc


def refuse(plan: Plan) -> None:
    """Stop here when the plan holds a loss that nobody permitted.

    :raises RefusedError: naming each path, what it would become, and the word that permits it.
    """
    if not plan.refused:
        return
    sentences, words = [], set()
    for change in plan.refused:
        before, after = change.shown()
        sentence = change.reason or f"{change.path}: {shorten(before)} -> {shorten(after)} is refused"
        if change.permit and change.permit != NEVER_PERMITTED:
            sentence += f". Permit it with allow: [{change.permit}]"
            words.add(change.permit)
        sentences.append(sentence)
    raise RefusedError("; ".join(sentences), needed=sorted(words))


def check_converged(again: Plan, applied: Plan) -> None:
    """Nothing may be left of the *applied* plan in the one made *again*, except what waits for a restart.

    :raises NotConverged:
    """
    left = {change.path: change.shown() for change in again.changes}
    if left:
        told = ", ".join(f"{path} ({shorten(before)}, not {shorten(after)})" for path, (before, after) in left.items())
        raise NotConverged(f"applied, and yet these differ still: {told}", left=list(left))
    undone = [change.path for change in applied.changes if not change.done and change.path not in applied.awaited]
    if undone:
        raise NotConverged(f"these changes were planned and never confirmed: {', '.join(undone)}", left=undone)
    known = {change.path for change in applied.changes if change.how is How.NEXT_BOOT} | {
        change.path for change in applied.pending
    }
    applied.pending.extend(change for change in again.pending if change.path not in known)
