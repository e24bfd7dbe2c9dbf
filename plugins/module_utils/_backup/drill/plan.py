# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which backups a drill tries, and what is told of it."""

from __future__ import annotations

import typing as t

from ..._core import paths
from ..._core.errors import ObserveError
from ..._core.units import show_moment
from ..config import RANDOM, Job
from ..stored import Stored, short
from ..words import FAILED, OK
from .health import Answer


class Tried(t.NamedTuple):
    """How the drill of one backup of *guest* went: *seconds* until all was well, by what they were spent for, *answers* of what was asked
    last, *left_out* what the guest had to do without. *problem* says why it came to no answers.
    """

    guest: str
    backup: Stored | None = None
    seconds: t.Mapping[str, float] = {}
    answers: tuple[Answer, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_well(self) -> bool:
        return self.problem is None and all(its.is_well for its in self.answers)

    @property
    def error(self) -> str | None:
        """Why it failed, as a sentence."""
        ill = [f"{its.check}: {its.said}" for its in self.answers if not its.is_well]
        return self.problem or ("; ".join(ill) or None)

    def told(self) -> dict[str, t.Any]:
        """What the report has of it."""
        its = self.backup
        told: dict[str, t.Any] = {"guest": self.guest, "result": OK if self.is_well else FAILED}
        told |= (
            {}
            if its is None
            else {"backup": short(its.id), "made": show_moment(its.made), "consistent": its.consistent}
        )
        told |= {"error": self.error} if self.error else {}
        return {
            **told,
            "recovery_seconds": round(sum(self.seconds.values()), 1) if self.is_well else None,
            "seconds": dict(self.seconds),
            "checks": [answer.told() for answer in self.answers],
            "left_out": list(self.left_out),
        }


class Place(t.NamedTuple):
    """An *address* of what is tried, with the length of the prefix, in a *segment* of its network; *gateways* are its ways out there."""

    address: str
    prefix: int
    segment: int
    gateways: tuple[str, ...] = ()


def scratch_name(guest: str) -> str:
    """The name under which the backup of *guest* is tried."""
    return guest + paths.DRILL_MARK


def picked(backups: t.Sequence[Stored], job: Job, guest: str, host: str, draw: t.Callable[[int], int]) -> Stored:
    """The one of *backups*, the newest first, that a drill of *job* tries of *guest* on *host*. *draw* tells a number below another.

    :raises ObserveError: when there is none.
    """
    its = [it for it in backups if (it.guest, it.job, it.host) == (guest, job.name, host)]
    if not its:
        raise ObserveError(f"the job {job.name} has made no backup of it on this host yet")
    return its[draw(len(its))] if job.drill_pick == RANDOM else its[0]


def merged(before: t.Any, tried: t.Sequence[Tried], when: str) -> list[dict[str, t.Any]]:
    """The drills that a report has of guests: those of *before*, and in their places the new ones, which ended at *when*."""
    known = {its["guest"]: its for its in before if isinstance(its, t.Mapping) and "guest" in its} if before else {}
    found = {**known, **{its.guest: {**its.told(), "ended": when} for its in tried}}
    return [dict(found[guest]) for guest in sorted(found)]
