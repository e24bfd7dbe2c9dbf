# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest and of its snapshots."""

from __future__ import annotations

import typing as t

from .._guest.content import Part
from .._guest.record import GuestRecord


class Beside(t.NamedTuple):
    """What a machine has beside its volumes: its *place* (of its memory, none), and what a copy of it takes at most."""

    place: str = ""
    copied_bytes: int = 0


class State(t.NamedTuple):
    """A guest as far as its snapshots concern it.

    *power* is that of ``_guest.state``, *now* seconds since 1970. *parts* are what a snapshot of it holds, by item, *targets* the
    volumes of the snapshot that is asked for; *lost* names those of them that are not there. *aside* is the name that what is
    there gets by a revert. *obstacle* says why nothing can be made of the guest, *left_out* are disks of it that are in no
    snapshot, *has_agent*: its agent answers, *copies_itself*: it goes on while its volumes are copied. *places* and *used* are what
    ``_guest.removal.kept_snapshots`` says, where any may be deleted. *clones* are the guests whose volumes
    stand on those of the guest.
    """

    power: str = "absent"
    now: float = 0
    record: GuestRecord = GuestRecord()
    parts: t.Mapping[str, Part] = {}
    targets: t.Mapping[str, Part] = {}
    aside: str = ""
    lost: tuple[str, ...] = ()
    beside: t.Mapping[str, Beside] = {}
    beside_available_bytes: int = 0
    obstacle: str | None = None
    memory_obstacle: str | None = None
    left_out: tuple[str, ...] = ()
    has_agent: bool = False
    copies_itself: bool = False
    used: t.Mapping[str, str] = {}
    places: t.Mapping[str, tuple[str, ...]] = {}
    clones: tuple[str, ...] = ()
