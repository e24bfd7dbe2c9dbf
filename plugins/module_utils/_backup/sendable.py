# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Why a guest cannot be replicated. Only reads."""

from __future__ import annotations

import typing as t

from .._guest.record import GuestRecord
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from .._storage.driver import SEND, Sending
from .._vm.options import SEED_DISK


def send_obstacle(guest: str, record: GuestRecord, host: Host) -> str | None:
    """The first reason, as a sentence; ``None`` where all that the guest has in storage pools can be sent."""
    for item, its in record.volumes.items():
        # The seed of a machine is no more than a file beside.
        if item == SEED_DISK:
            continue
        why = absence(host, its.volume.pool)
        if why is not None:
            return f"{item} of {guest} cannot be reached: {why}"
        driver = drivers_of(host)[its.volume.pool]
        if SEND not in driver.can:
            return (
                f"{item} of {guest} lies in the storage pool {its.volume.pool}, which is not of type btrfs and cannot be sent to another host. "
                "Restore the guest from a backup into one that is (pool), or only back it up"
            )
        why = t.cast(Sending, driver).send_obstacle(its.volume)
        if why is not None:
            return f"{item} of {guest} cannot be replicated: {why}"
    return None
