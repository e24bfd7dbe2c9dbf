# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest and of what lies in its quarantine."""

from __future__ import annotations

import typing as t

from .._guest.record import GuestRecord


class Entry(t.NamedTuple):
    """One that lies in the quarantine: the *name* and the content of its *record*.

    *places* are where it lies, by what it is, *stuck* says why it can neither go nor come back, *taken* why it cannot come back alone.
    """

    name: str
    record: GuestRecord
    places: t.Mapping[str, str] = {}
    stuck: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


class State(t.NamedTuple):
    """*entries* are by their moments, the oldest first. *is_known*: there is a guest of the name, of any kind. *record* is the guest's own."""

    entries: t.Mapping[str, Entry] = {}
    is_known: bool = False
    record: GuestRecord = GuestRecord()
    told: tuple[t.Mapping[str, t.Any], ...] = ()
