# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests of a host a job is of. Only reads."""

from __future__ import annotations

from .._guest.options import TAGS
from .._guest.record import GuestRecord
from .._guest.recorded import load_others
from .._host.snapshot import Host
from .config import Job, Replication


def guests_there(host: Host) -> dict[str, GuestRecord]:
    """The guests of the host that this collection made or changed, by name."""
    records = {name: its for name, its in load_others(host.guest_records).items() if not its.is_building}
    return {name: its for name, its in sorted(records.items()) if name in host.containers or name in host.domains}


def guests_of(job: Job | Replication, host: Host) -> list[str]:
    """The guests of the host that *job* is of, by their records. One that is named is among them also when it is not there."""
    host.drop()
    wanted = [name for name, its in guests_there(host).items() if job.wants(name, its.value(TAGS))]
    return sorted({*wanted, *(name for name in job.guests if name not in job.exclude)})
