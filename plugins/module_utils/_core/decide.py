# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The one decision: how a declared value that differs reaches a resource. Per key, and then once over the whole plan."""

from __future__ import annotations

import enum
import typing as t

from .options import Option, Options
from .plan import Change, How, Plan, Unknown
from .value import Value


class Verdict(enum.Enum):
    """What ``decide`` says besides a ``How``."""

    NOTHING = "nothing"
    PENDING = "pending"


class _Same(enum.Enum):
    SAME = "the live value is the persistent one"


SAME = _Same.SAME


class Power(Value):
    """Whether the resource runs now, whether it will when the run ends, and whether a running one takes changes at all.

    Bridges, pools and images are always ``Power(True, True)``. A managed-saved guest runs, but takes nothing.
    """

    __slots__ = ("is_running", "takes_changes", "will_run")

    def __init__(self, is_running: bool, will_run: bool, takes_changes: bool = True) -> None:
        self.is_running = is_running
        self.will_run = will_run
        self.takes_changes = takes_changes


def decide(
    option: Option,
    declared: t.Any,
    persistent: t.Any,
    live: t.Any,
    *,
    power: Power,
    allow: t.Collection[str],
    is_declined: bool = False,
) -> How | Verdict:
    """What becomes of one key. ``None`` is not declared; an ``Unknown`` compares as equal."""
    if declared is None or isinstance(declared, Unknown) or persistent == live == declared:
        return Verdict.NOTHING
    permit = option.loss(persistent, declared)
    if permit is not None and permit not in allow and (persistent != declared or live != declared):
        return How.REFUSED
    if not (power.is_running and power.will_run):
        return How.OFFLINE if persistent != declared else Verdict.NOTHING
    if live == declared:
        return How.LIVE
    if power.takes_changes and not is_declined and option.live(live, declared):
        return How.LIVE
    return How.NEXT_BOOT if persistent != declared else Verdict.PENDING


class Draft:
    """Builds a plan key by key with ``decide``; ``finish`` takes the one decision over the whole."""

    def __init__(
        self,
        options: t.Iterable[Option],
        power: Power,
        *,
        allow: t.Collection[str] = (),
        unset: t.Collection[str] = (),
        declined: t.Collection[str] = (),
    ) -> None:
        self.options = options if isinstance(options, Options) else Options(*options)
        self.power = power
        self.allow = allow
        self.unset = unset
        self.declined = declined
        self.plan = Plan()

    def option(self, path: str) -> Option:
        return self.options[path]

    def compare(
        self, path: str, declared: t.Any, persistent: t.Any, live: t.Any = SAME, *, reason: str | None = None
    ) -> None:
        """Compare one key in canonical form. A key in ``unset`` is declared to be its off value."""
        option = self.option(path)
        if live is SAME or not self.power.is_running:
            live = persistent
        if path in self.unset:
            declared = option.off
            if persistent == live == declared:
                return
        verdict = self._decide(path, option, declared, persistent, live)
        before = persistent if persistent != declared else live
        self._note(
            verdict,
            path,
            option,
            (option.show(before), option.show(declared)),
            option.loss(persistent, declared),
            reason,
        )

    def item(
        self,
        path: str,
        wanted: bool,
        in_persistent: bool,
        in_live: bool | _Same = SAME,
        *,
        before: t.Any = None,
        after: t.Any = None,
    ) -> How | Verdict:
        """Compare the presence of an item. One that is added is one change with its keys as *after*, one that goes has them as *before*."""
        option = self.option(path)
        present_live = in_persistent if in_live is SAME or not self.power.is_running else bool(in_live)
        verdict = self._decide(path, option, wanted, in_persistent, present_live)
        shown = (None, after) if wanted else (before, None)
        self._note(verdict, path, option, shown, option.loss(in_persistent, wanted), None)
        return verdict

    def add(
        self,
        path: str,
        before: t.Any,
        after: t.Any,
        how: How = How.LIVE,
        *,
        permit: str | None = None,
        reason: str | None = None,
    ) -> Change:
        """A change that is no comparison of a key: creation, power, removal."""
        if permit is not None and permit not in self.allow:
            how = How.REFUSED
        change = Change(path, before, after, how, permit=permit, reason=reason)
        self.plan.changes.append(change)
        return change

    def finish(self, *, restart: bool = False, restart_if_needed: bool = False) -> Plan:
        """The plan, with what waits for a restart turned into a restart where one is due."""
        waiting = [change for change in self.plan.changes if change.how is How.NEXT_BOOT]
        runs_through = self.power.is_running and self.power.will_run
        if runs_through and (restart or (restart_if_needed and (waiting or self.plan.pending))):
            for change in waiting:
                change.how = How.RESTART
            for change in self.plan.pending:
                change.how = How.RESTART
                self.plan.changes.append(change)
            self.plan.pending = []
        return self.plan

    def _decide(self, path: str, option: Option, declared: t.Any, persistent: t.Any, live: t.Any) -> How | Verdict:
        return decide(
            option, declared, persistent, live, power=self.power, allow=self.allow, is_declined=path in self.declined
        )

    def _note(
        self,
        verdict: How | Verdict,
        path: str,
        option: Option,
        shown: tuple[t.Any, t.Any],
        permit: str | None,
        reason: str | None,
    ) -> None:
        if verdict is Verdict.NOTHING:
            return
        how = verdict if isinstance(verdict, How) else How.NEXT_BOOT
        change = Change(path, shown[0], shown[1], how, permit=permit, secret=option.secret, reason=reason)
        (self.plan.pending if verdict is Verdict.PENDING else self.plan.changes).append(change)
