# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What of all that is wrong a target is still to be told, and what it remembers of it."""

from __future__ import annotations

import typing as t

from .conditions import Condition, Went
from .spec import FAILURE, SUCCESS

# A little less than a day: what was told by a run at night is told again by the next one.
AGAIN_SECONDS = 23 * 3600.0
Memory = dict[str, t.Any]


class Notice(t.NamedTuple):
    """What a target is told at once: what is *wrong*, what of it was told *before*, what is *over*, and the jobs that went *well*."""

    wrong: tuple[Condition, ...] = ()
    before: tuple[Condition, ...] = ()
    over: tuple[str, ...] = ()
    well: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """It for a person, a sentence a line."""
        return [
            *(its.text for its in self.wrong),
            *(f"Still: {its.text}" for its in self.before),
            *(f"Over: {text}" for text in self.over),
            *self.well,
        ]

    @property
    def word(self) -> str:
        """The gravest of it."""
        return FAILURE if self.wrong or self.before else "over" if self.over else SUCCESS


class Target(t.NamedTuple):
    """One that is told: *on* these words, and of what is for all or for its *name*. What is for none of the targets that are *known* is for all:
    a target that is gone takes no word with it.
    """

    on: t.Collection[str]
    name: str = ""
    known: t.Collection[str] = ()

    def is_told(self, to: frozenset[str]) -> bool:
        """Whether it hears of what is for *to*."""
        return self.name in to or to.isdisjoint(self.known)


def notice_for(
    target: Target, conditions: t.Sequence[Condition], well: t.Mapping[str, Went], memory: Memory, now: float
) -> tuple[Notice | None, Memory]:
    """What *target* is to hear at *now*, and what it remembers once it has heard that.

    *well* are the jobs whose last run went well. *memory* is empty for a target that never heard anything.
    """
    known: dict[str, t.Any] = dict(memory.get("conditions") or {})
    heard: dict[str, str] = dict(memory.get("well") or {})
    lasting = {its.key for its in conditions}
    standing = {its.key: its for its in conditions if its.on in target.on and target.is_told(its.to)}
    wrong = [its for key, its in standing.items() if key not in known]
    before = [
        its
        for key, its in standing.items()
        if key in known and not its.happened and now - known[key]["told"] >= AGAIN_SECONDS
    ]
    over = [
        its["text"]
        for key, its in known.items()
        if key not in lasting and not its["happened"] and its.get("on", FAILURE) in target.on
    ]
    # What it never heard of before is no news.
    hears_well = memory and SUCCESS in target.on
    news = [
        its.text for job, its in well.items() if hears_well and heard.get(job) != its.ended and target.is_told(its.to)
    ]
    told = {its.key for its in (*wrong, *before)}
    after = {
        "conditions": {
            key: {
                "text": its.text,
                "happened": its.happened,
                "on": its.on,
                "told": now if key in told else known[key]["told"],
            }
            for key, its in standing.items()
        },
        "well": {job: its.ended for job, its in well.items()},
    }
    its_notice = Notice(tuple(wrong), tuple(before), tuple(over), tuple(news))
    return (its_notice if its_notice.lines else None), after


def subject_of(notice: Notice, host: str) -> str:
    """It in one line."""
    lines = notice.lines
    first = lines[0] if len(lines[0]) <= 100 else lines[0][:97] + "..."
    return f"{host}: {first}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
