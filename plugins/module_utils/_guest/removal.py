# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is kept of a guest, and what stands in the way of deleting it. Only reads."""

from __future__ import annotations

import os
import typing as t

from .._core import paths
from .._core.errors import ObserveError
from .._host.libvirt import errors_of
from .._host.mounts import mounts_in
from .._host.snapshot import Host
from .._host.uses import obstacle
from .._storage.choice import absence, drivers_of
from .clones import linked_clones
from .plan import snapshot_path, stand_on
from .record import GuestRecord

Snapshots = t.Mapping[str, tuple[str, ...]]


def obstacle_to_deletion(guest: str, place: str, host: Host) -> str | None:
    """Why the folder or file *place* of *guest* cannot be deleted now, as a sentence; ``None`` where nothing is in the way.

    :raises ObserveError:
    """
    mounts = mounts_in(place)
    if mounts:
        return f"{', '.join(mounts)} is mounted in it; unmount that first"
    if not host.domains:
        return obstacle(host, guest, place)  # a bare host has not even the library whose errors would be read
    with errors_of("read the domains", ObserveError):
        return obstacle(host, guest, place)


def kept_snapshots(guest: str, record: GuestRecord, host: Host) -> tuple[Snapshots, dict[str, str]]:
    """Where each snapshot of *guest* lies, by its name; and why some cannot be deleted now, by their paths.

    :raises ObserveError:
    """
    drivers = drivers_of(host)
    found: dict[str, tuple[str, ...]] = {}
    used = {}
    for name, snapshot in record.snapshots.items():
        places: list[str] = []
        for volume in snapshot.volumes.values():
            driver, why = drivers.get(volume.pool), absence(host, volume.pool)
            if driver is not None and driver.exists(volume):
                places.append(driver.location(volume))
                why = obstacle_to_deletion(guest, places[-1], host)
            elif why is not None:
                places.append(f"{volume} ({why})")
            clones = linked_clones(host, guest, name)
            why = f"{stand_on('it', clones)}. Take them away first" if clones else why
            if why is not None:
                used[snapshot_path(name)] = why
        folder = paths.snapshot_folder(guest, name)
        if snapshot.beside and os.path.isdir(folder):
            places.append(folder)
        found[name] = tuple(places)
    return found, used
