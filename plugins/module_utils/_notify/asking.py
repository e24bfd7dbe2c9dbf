# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Asks a guest in which a monitoring runs for its alerts."""

from __future__ import annotations

from .._container.capture import run_inside
from .._core.errors import ObserveError
from .._host.snapshot import Host
from .._vm.capture import runner
from .alerts import PROGRAM

_SECONDS = 30


def ask(guest: str, host: Host) -> str:
    """What the program of *guest* prints.

    :raises HybridError: which says why it does not.
    """
    container, machine = host.containers.get(guest), host.domains.get(guest)
    if container is None and machine is None:
        raise ObserveError("there is no such guest on this host")
    if not (container.is_running if container is not None else machine is not None and machine.is_active):
        raise ObserveError("it does not run")
    words = (f"exec {PROGRAM}",)
    said = run_inside(guest, *words, seconds=_SECONDS) if container is not None else runner(guest, _SECONDS)(*words)
    if said.rc:
        raise ObserveError(said.stderr.strip().rpartition("\n")[2] or f"{PROGRAM} ended with {said.rc}")
    return said.stdout
