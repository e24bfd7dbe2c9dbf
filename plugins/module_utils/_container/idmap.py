# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Ranges of user and group ids: every unprivileged container has one of its own."""

from __future__ import annotations

import re
import typing as t

from .._core.value import Value

COUNT = 65536
_LINE = re.compile(r"([ug]|b)\s+(\d+)\s+(\d+)\s+(\d+)")


class Range(Value):
    """Ids of the host from *start* on."""

    __slots__ = ("count", "start")

    def __init__(self, start: int, count: int = COUNT) -> None:
        self.start = start
        self.count = count

    def __lt__(self, other: Range) -> bool:
        return (self.start, self.count) < (other.start, other.count)

    @property
    def end(self) -> int:
        """The first id behind it."""
        return self.start + self.count

    def overlaps(self, other: Range) -> bool:
        return self.start < other.end and other.start < self.end

    def holds(self, other: Range) -> bool:
        return self.start <= other.start and other.end <= self.end


_ROOT = ("root", "0")


def parse_subids(text: str) -> list[Range]:
    """The ranges that a file such as ``/etc/subuid`` gives to root, by name or by number."""
    return [area for owner, area in _subids(text) if owner in _ROOT]


def parse_others(text: str) -> list[Range]:
    """Those that it gives to anybody else: root may use them too, and would share them."""
    return [area for owner, area in _subids(text) if owner not in _ROOT]


def _subids(text: str) -> t.Iterator[tuple[str, Range]]:
    for line in text.splitlines():
        owner, *numbers = line.strip().split(":")
        if len(numbers) == 2 and all(number.isdecimal() and len(number) < 20 for number in numbers) and int(numbers[1]):
            yield owner, Range(int(numbers[0]), int(numbers[1]))


def parse_idmap(values: t.Iterable[str]) -> list[Range]:
    """The ranges of the host that the ``lxc.idmap`` lines of one container use."""
    matches = (_LINE.fullmatch(value.strip()) for value in values)
    return sorted({Range(int(match.group(3)), int(match.group(4))) for match in matches if match})


def root_of(values: t.Iterable[str]) -> tuple[int, int] | None:
    """The uid and gid of the host that root of the container is; ``None`` without a map (privileged)."""
    found: dict[str, int] = {}
    for value in values:
        match = _LINE.fullmatch(value.strip())
        if match and int(match.group(2)) == 0:
            for kind in "ug" if match.group(1) == "b" else match.group(1):
                found[kind] = int(match.group(3))
    return (found["u"], found["g"]) if len(found) == 2 else None


def host_gid(values: t.Iterable[str], gid: int) -> int | None:
    """The group of the host that a group inside is; ``None`` where it is mapped to none."""
    areas = _gids(values)
    return (
        next((host + gid - inside for inside, host, count in areas if 0 <= gid - inside < count), None)
        if areas
        else gid
    )


def inside_gid(values: t.Iterable[str], gid: int) -> int | None:
    """The group inside that a group of the host is; ``None`` where it is none."""
    areas = _gids(values)
    return (
        next((inside + gid - host for inside, host, count in areas if 0 <= gid - host < count), None) if areas else gid
    )


def _gids(values: t.Iterable[str]) -> list[tuple[int, int, int]]:
    matches = (_LINE.fullmatch(value.strip()) for value in values)
    return [(int(match[2]), int(match[3]), int(match[4])) for match in matches if match and match[1] in "gb"]


def has_id(values: t.Iterable[str], kind: str, inside: int) -> bool:
    """Whether a container with these ``lxc.idmap`` lines has the id *inside*, as uid (``u``) or gid (``g``)."""
    for match in filter(None, (_LINE.fullmatch(value.strip()) for value in values)):
        first, count = int(match.group(2)), int(match.group(4))
        if match.group(1) in (kind, "b") and first <= inside < first + count:
            return True
    return False


def allocate(
    uids: t.Sequence[Range], gids: t.Sequence[Range], taken: t.Iterable[Range], count: int = COUNT
) -> Range | None:
    """The lowest range of *count* ids that root owns as uids and as gids and nobody has taken; ``None`` when none is left."""
    claimed = sorted(taken)
    starts = {area.start for area in (*uids, *gids)} | {other.end for other in claimed}
    for start in sorted(starts):
        wanted = Range(start, count)
        is_ours = any(area.holds(wanted) for area in uids) and any(area.holds(wanted) for area in gids)
        if is_ours and not any(wanted.overlaps(other) for other in claimed):
            return wanted
    return None


def lines(area: Range) -> list[str]:
    """The values of ``lxc.idmap`` that map the whole container to *area*."""
    return [f"u 0 {area.start} {area.count}", f"g 0 {area.start} {area.count}"]
