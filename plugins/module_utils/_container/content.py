# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What of a container a snapshot holds: its root."""

from __future__ import annotations

from .._guest.content import Content
from .._guest.record import GuestRecord
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from . import live
from .config import root_of
from .listed import configs
from .state import ROOTFS

_POWERS = {"STOPPED": "stopped", "FROZEN": "paused"}


def look(guest: str, record: GuestRecord, host: Host) -> Content:
    """The container *guest*, which is there.

    :raises ObserveError:
    """
    entry = host.containers[guest]
    if entry.problem is not None:
        power = "started" if entry.is_running else "stopped"
        return Content(power, obstacle=f"LXC cannot load the configuration of {guest}: {entry.problem}")
    state = live.settled_state(live.handle(guest)) if entry.is_running else "STOPPED"
    power, obstacle = _POWERS.get(state, "started"), _obstacle(guest, record, host)
    volumes = {} if obstacle else {ROOTFS: record.volumes[ROOTFS].volume}
    return Content(power, volumes, obstacle)


def _obstacle(guest: str, record: GuestRecord, host: Host) -> str | None:
    if record.is_building:
        return f"{guest} is not whole: its creation was interrupted. Run homelab.hybrid.lxc_container for it first"
    recorded, config = record.volumes.get(ROOTFS), host.derived(configs).get(guest)
    root = root_of(config) if config else None
    if recorded is None:
        return f"the root of {guest}, {root}, is in no record of this collection, and may hold what is not the guest's"
    driver, why = drivers_of(host).get(recorded.volume.pool), absence(host, recorded.volume.pool)
    if driver is None or why is not None:
        return f"the root of {guest} cannot be reached: {why}"
    if driver.location(recorded.volume) != root:
        return f"the root of {guest} is {root}, and not the volume {recorded.volume} that this collection made"
    if not driver.exists(recorded.volume):
        return f"the root of {guest}, {root}, is gone"
    return None
