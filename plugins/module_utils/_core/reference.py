# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a resource requires and provides: the one source of locks, of order and of what check mode may assume."""

from __future__ import annotations

import typing as t


class ReferenceKind:
    """A kind of thing on the host by its *word*, such as ``bridge``.

    Locks are taken in the order of *rank*; what has none is not made by any resource, and has no lock. *missing* says of the
    snapshot of a host and a name why the thing cannot be used, ``None`` when it can. Not *is_needed*: who requires it does so to be
    made or changed, and stands without it. *wait* waits, in a bounded time and without locks, for what comes by itself.
    """

    __slots__ = ("is_needed", "missing", "rank", "wait", "word")

    def __init__(
        self,
        word: str,
        rank: int | None,
        missing: t.Callable[[t.Any, str], str | None],
        *,
        is_needed: bool = True,
        wait: t.Callable[[t.Any, str], None] | None = None,
    ) -> None:
        self.is_needed = is_needed
        self.wait = wait
        self.word = word
        self.rank = rank
        self.missing = missing

    def __str__(self) -> str:
        return self.word

    def __eq__(self, other: object) -> bool:
        """Kinds of one word are the same thing, though one may be allowed to miss it and the other not."""
        return isinstance(other, ReferenceKind) and self.word == other.word

    def __hash__(self) -> int:
        return hash(self.word)

    def __repr__(self) -> str:
        return f"ReferenceKind({self.word!r}, {self.rank})"


class Reference(t.NamedTuple):
    """A thing on the host by its kind and name."""

    kind: ReferenceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def in_lock_order(references: t.Iterable[Reference]) -> list[Reference]:
    """Those of *references* that have a lock, each once, in the fixed order that excludes a deadlock."""
    locked = {(item.kind.rank, item.kind.word, item.name): item for item in references if item.kind.rank is not None}
    return [locked[key] for key in sorted(locked)]
