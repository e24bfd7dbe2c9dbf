# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a guest's volumes hold, as far as snapshots and clones of it are made of that."""

from __future__ import annotations

import typing as t

from .._core.units import MIB, show_size
from .._storage.volume import Volume


class Part(t.NamedTuple):
    """A volume of a guest that is kept, or the one that it would become again.

    *copied_bytes* is what a copy of it takes, 0 where the blocks are shared; *available_bytes* what its pool has left.
    *is_of_one_moment*: a snapshot of it is, though the guest writes meanwhile. *in_the_way* is what has the name of its snapshot.
    """

    volume: Volume
    copied_bytes: int = 0
    available_bytes: int = 0
    is_of_one_moment: bool = True
    in_the_way: str | None = None


class Content(t.NamedTuple):
    """What a guest has to give to a snapshot or a clone of it: *volumes* by item.

    *power* is that of ``state``. *obstacle* says why nothing can be made of the guest, *left_out* are disks of it that are in no
    snapshot, *has_agent*: its agent answers, *copies_itself*: it goes on while its volumes are copied.
    """

    power: str = "absent"
    volumes: t.Mapping[str, Volume] = {}
    obstacle: str | None = None
    left_out: tuple[str, ...] = ()
    has_agent: bool = False
    copies_itself: bool = False


Parts = t.Mapping[str, Part]


class Source(t.NamedTuple):
    """The guest that a new one is cloned from, or its snapshot (*is_snapshot*).

    *kind* is its word. *content* is what it holds now, *parts* what is cloned, by item, each with what a copy of it takes in the pool
    that it comes to. *sizes* are those of the items in bytes, ``None`` without a limit; *used_bytes* is what they hold at least.
    *link_obstacle* says why nothing can be linked to them, *obstacle* why nothing can be cloned. *idmap* is that of the owners
    of its files, *ssh_keys* are those that were written for it.
    *values* are what a clone has of its definition, by option path, *items* what it has of its disks, by their names and keys.
    *beside* says of what a machine remembers beside its disks (``_vm.firmware``) of which file a clone gets a copy: of an empty one it
    gets its own, with nothing in it.
    """

    kind: str
    content: Content = Content()
    parts: Parts = {}
    is_snapshot: bool = False
    is_template: bool = False
    sizes: t.Mapping[str, int | None] = {}
    used_bytes: int = 0
    obstacle: str | None = None
    link_obstacle: str | None = None
    idmap: tuple[int, int] | None = None
    ssh_keys: tuple[str, ...] = ()
    values: t.Mapping[str, t.Any] = {}
    items: t.Mapping[str, t.Mapping[str, t.Any]] = {}
    beside: t.Mapping[str, str] = {}

    @property
    def copied_bytes(self) -> int:
        return sum(part.copied_bytes for part in self.parts.values())

    @property
    def is_held(self) -> bool:
        """Whether the guest has to be held while it is cloned."""
        content = self.content
        return not self.is_snapshot and is_held(content.power, self.parts, copies_itself=content.copies_itself)

    @property
    def runs(self) -> bool:
        """Whether what is cloned is written to meanwhile."""
        return not self.is_snapshot and self.content.power in ("started", "paused")


def is_held(power: str, parts: Parts, *, copies_itself: bool) -> bool:
    """Whether a guest has to be held while what it holds is kept, so that all of it is of one moment."""
    by_itself = copied_by_itself(parts, copies_itself=copies_itself)
    rest = [part for item, part in parts.items() if item not in by_itself]
    is_of_one_moment = len(parts) < 2 and all(part.is_of_one_moment for part in rest)
    return power == "started" and bool(rest) and not is_of_one_moment


def copied_by_itself(parts: Parts, *, copies_itself: bool) -> list[str]:
    """The items that a running machine copies itself: all as they are at one moment."""
    return [item for item, part in parts.items() if copies_itself and part.copied_bytes]


def show_copied(size_bytes: int) -> str:
    """A size for a sentence, in whole MiB."""
    return show_size(-(-size_bytes // MIB) * MIB) or "0"
