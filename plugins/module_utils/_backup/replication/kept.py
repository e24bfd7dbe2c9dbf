# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What this host keeps of guests that it replicates: by it only what is new has to be sent."""

from __future__ import annotations

import typing as t

from ..._core import lock
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import SEND, Sending
from .naming import PART, Kept, guest_of, read_kept


def kept_of(job: str, host: Host, guest: str | None = None) -> list[Kept]:
    """What is kept for *job*, of one guest or of all, the newest first."""
    able = [t.cast(Sending, its) for its in drivers_of(host).values() if SEND in its.can]
    found = [its for driver in able for volume in driver.kept_as(PART) if (its := read_kept(volume)) is not None]
    mine = [its for its in found if its.job == job and guest in (None, guest_of(its))]
    return sorted(mine, key=lambda its: its.moment, reverse=True)


def drop(kept: t.Iterable[Kept], host: Host) -> None:
    """Let go of it.

    :raises ApplyError, CommandError:
    """
    for its in kept:
        driver = drivers_of(host)[its.volume.pool]
        driver.retire(its.volume)
        driver.purge(its.volume)


def drop_orphans(job: str, guests: t.Collection[str], host: Host) -> list[str]:
    """Let go of what is kept of guests that are gone, or that *job* is no longer of. Returns the volumes that it was of."""
    orphans = [its for its in kept_of(job, host) if guest_of(its) not in guests]
    for its in orphans:
        with lock.backing_up(guest_of(its), wait_seconds=lock.WAIT_SECONDS):
            drop([its], host)
    return sorted({its.origin for its in orphans})
