# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests a drill could not tell anything of. Only reads."""

from __future__ import annotations

from ..._core.errors import ObserveError
from ..._guest.options import BACKUP_HEALTH
from ..._guest.recorded import load_file
from ..._host.libvirt import errors_of
from ..._host.snapshot import Host
from ..config import Job
from ..drill.health import parse
from ..drill.isolated_machine import is_mute
from ..guests import guests_of


def mute(job: Job, host: Host) -> tuple[str, ...]:
    """The virtual machines that drills of *job* try and of which none could tell whether they are well.

    :raises ObserveError:
    """
    return tuple(name for name in job.drill_guests or guests_of(job, host) if _is_mute(name, host))


def _is_mute(guest: str, host: Host) -> bool:
    if guest not in host.domains:
        return False
    checks = [parse(text) for text in load_file(host.record("guests", guest)).value(BACKUP_HEALTH)]
    with errors_of(f"read {guest}", ObserveError):
        return is_mute(host.definition(guest).root, checks)
