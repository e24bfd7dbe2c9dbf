# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest and of its snapshots."""

from __future__ import annotations

import typing as t

from .._guest.record import GuestRecord
from .._storage.volume import Volume


class Part(t.NamedTuple):
    """A volume of the guest, or its snapshot that it would be reverted to.

    *copied_bytes* is what a copy of it takes, 0 where the blocks are shared; *available_bytes* what its pool has left.
    *is_of_one_moment*: a snapshot of it is, though the guest writes meanwhile. *in_the_way* is what has the name of its snapshot.
    """

    volume: Volume
    copied_bytes: int = 0
    available_bytes: int = 0
    is_of_one_moment: bool = True
    in_the_way: str | None = None


class Guest(t.NamedTuple):
    """A guest as far as its snapshots concern it: see ``State``. *volumes* are what a snapshot of it holds, by item."""

    power: str = "absent"
    volumes: t.Mapping[str, Volume] = {}
    obstacle: str | None = None
    left_out: tuple[str, ...] = ()
    has_agent: bool = False
    copies_itself: bool = False


class State(t.NamedTuple):
    """A guest as far as its snapshots concern it.

    *power* is that of ``_guest.state``, *now* seconds since 1970. *parts* are what a snapshot of it holds, by item, *targets* the
    volumes of the snapshot that is asked for; *lost* names those of them that are not there. *aside* is the name that what is
    there gets by a revert. *obstacle* says why nothing can be made of the guest, *left_out* are disks of it that are in no
    snapshot, *has_agent*: its agent answers, *copies_itself*: it goes on while its volumes are copied. *places* and *used* are what
    ``_guest.removal.kept_snapshots`` says, where any may be deleted.
    """

    power: str = "absent"
    now: float = 0
    record: GuestRecord = GuestRecord()
    parts: t.Mapping[str, Part] = {}
    targets: t.Mapping[str, Part] = {}
    aside: str = ""
    lost: tuple[str, ...] = ()
    obstacle: str | None = None
    left_out: tuple[str, ...] = ()
    has_agent: bool = False
    copies_itself: bool = False
    used: t.Mapping[str, str] = {}
    places: t.Mapping[str, tuple[str, ...]] = {}
