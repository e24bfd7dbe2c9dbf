# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The updates for security that wait on a host and in its guests, by what apt knows of there."""

from __future__ import annotations

import re
import typing as t

from .conditions import Condition
from .spec import UPDATES

# apt has it with the label and the archive of each source: (3.0.17-1 Debian-Security:12/stable-security [amd64]).
_INSTALLED = re.compile(r"^Inst (\S+) \[\S+\] \((.*)$", re.MULTILINE)
_SECURITY = re.compile(r"\bDebian-Security:|-security[ ,)]")
_FETCHED = re.compile(r"^Fetched (\d*)$", re.MULTILINE)
# Whoever has not looked for so long knows nothing. Debian's own timer looks each day, where it is told to.
STALE_SECONDS = 30 * 86400.0
_MOST_NAMES = 5


class Pending(t.NamedTuple):
    """The packages with an update for security, and when lists were *fetched* last, in seconds since 1970 (0 where never)."""

    packages: tuple[str, ...]
    fetched: int


def pending_of(text: str) -> Pending | None:
    """What apt said; ``None`` where there is none."""
    match = _FETCHED.search(text)
    if match is None:
        return None
    names = {name for name, told in _INSTALLED.findall(text) if _SECURITY.search(told)}
    return Pending(tuple(sorted(names)), int(match[1] or 0))


def of_updates(found: t.Mapping[str, Pending], now: float) -> t.Iterator[Condition]:
    """That updates for security wait, and who does not know of any, of the host (by an empty name) and its guests."""
    waiting = [f"{_name(name)} ({_told(its.packages)})" for name, its in found.items() if its.packages]
    if waiting:
        yield Condition("updates", f"Updates for security wait: {', '.join(waiting)}", on=UPDATES)
    stale = [_name(name) for name, its in found.items() if now - its.fetched > STALE_SECONDS]
    if stale:
        days = round(STALE_SECONDS / 86400)
        text = f"Nobody has looked for updates in the last {days} days: {', '.join(stale)}. apt-get update does, and apt-daily.timer each day"
        yield Condition("updates unknown", text, on=UPDATES)


def _name(name: str) -> str:
    return name or "the host itself"


def _told(packages: t.Sequence[str]) -> str:
    more = len(packages) - _MOST_NAMES
    return f"{', '.join(packages[:_MOST_NAMES])}{f' and {more} more' if more > 0 else ''}"
