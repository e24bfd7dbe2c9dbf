# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which backups of a guest are kept: Proxmox's words, by Proxmox's rules.

Each word looks at the backups that those before it have not settled, the newest first. It keeps the newest of each span (an hour, a day, ...),
and passes over the spans that have one which an earlier word keeps; when it has kept as many as it says, what is older is for the
next word. restic's words of the same names each count for themselves, and keep fewer.
"""

from __future__ import annotations

import datetime
import typing as t

from .config import Job
from .stored import Stored

# In the order in which they count.
WORDS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
Keep = t.Mapping[str, int]


def _week(moment: datetime.datetime) -> tuple[int, ...]:
    year, week, dummy = moment.isocalendar()
    return (year, week)


# What two backups of one span have in common.
_SPANS: dict[str, t.Callable[[datetime.datetime], tuple[t.Any, ...]]] = {
    "hourly": lambda moment: (moment.year, moment.month, moment.day, moment.hour),
    "daily": lambda moment: (moment.year, moment.month, moment.day),
    "weekly": _week,
    "monthly": lambda moment: (moment.year, moment.month),
    "yearly": lambda moment: (moment.year,),
}


def unkept(backups: t.Iterable[Stored], job: Job, guests: t.Iterable[str], host: str, now: float) -> list[Stored]:
    """Those of the *backups* of a repository that *job* made of *guests* on *host*, and does not keep at *now*."""
    # What was made while the clock was ahead would be the newest for years, and each new one not be kept.
    own = [its for its in backups if (its.job, its.host) == (job.name, host) and its.made <= now]
    return [its for guest in sorted(guests) for its in beyond([it for it in own if it.guest == guest], job.keep)]


def beyond(backups: t.Iterable[Stored], keep: Keep, zone: datetime.tzinfo | None = None) -> list[Stored]:
    """Those of the *backups* of one guest that *keep* does not keep, the newest first. *zone* is that of the host (``None``: its own).

    Without any number all are kept.
    """
    if not any(keep.get(word) for word in WORDS):
        return []
    left = sorted((its for its in backups if not its.is_protected), key=lambda its: (its.made, its.id), reverse=True)
    kept: dict[str, bool] = {}
    for word in WORDS:
        _settle(word, keep.get(word) or 0, left, kept, zone)
    return [its for its in left if not kept.get(its.id)]


def _settle(
    word: str, count: int, backups: t.Sequence[Stored], kept: dict[str, bool], zone: datetime.tzinfo | None
) -> None:
    """Let *word* settle in *kept* which of the *backups* stay, of those that are not settled yet."""

    def span_of(its: Stored) -> tuple[t.Any, ...]:
        span = _SPANS.get(word)
        return (its.id,) if span is None else span(datetime.datetime.fromtimestamp(its.made, zone))

    before = {span_of(its) for its in backups if kept.get(its.id)}
    new: set[tuple[t.Any, ...]] = set()
    for its in backups:
        span = span_of(its)
        if its.id in kept or span in before:
            continue
        if span not in new and len(new) >= count:
            return
        kept[its.id] = span not in new
        new.add(span)
