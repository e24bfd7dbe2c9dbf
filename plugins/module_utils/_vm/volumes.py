# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The volumes of a machine: which they are, where they lie, and what is in them. Only reads."""

from __future__ import annotations

import json
import typing as t

from .._core import command
from .._core.errors import ObserveError
from .._core.options import Item
from .._guest.record import GuestRecord
from .._storage import volume as volumes
from .._storage.driver import Driver
from .._storage.volume import BLOCK, Volume

Drivers = t.Mapping[str, Driver]


def volume_of(guest: str, item: Item) -> Volume | None:
    """The volume of a declared disk that is there or would be made; ``None`` for one that is on a source."""
    pool = item.text("pool")
    return None if pool is None or "source" in item.values else volumes.of_guest(pool, guest, item.name, BLOCK)


def place_of(guest: str, item: Item, drivers: Drivers) -> str | None:
    """Where the volume of a declared disk lies or would lie; ``None`` while its pool is not known."""
    volume = volume_of(guest, item)
    driver = drivers.get(volume.pool) if volume else None
    return driver.location(volume) if volume and driver else None


def recorded_places(record: GuestRecord, drivers: Drivers) -> dict[str, str]:
    """Where our volumes that are there lie, by disk."""
    ours = {name: (recorded.volume, drivers.get(recorded.volume.pool)) for name, recorded in record.volumes.items()}
    return {
        name: driver.location(volume)
        for name, (volume, driver) in ours.items()
        if driver is not None and driver.exists(volume)
    }


def read_volume(path: str) -> tuple[int, str]:
    """The virtual size in bytes and the format of a disk file.

    :raises ObserveError: when it is no disk file.
    """
    try:
        # -U: QEMU may have it open.
        said = json.loads(command.run(["qemu-img", "info", "-U", "--output=json", path]))
    except (command.CommandError, ValueError) as exc:
        raise ObserveError(f"{path} cannot be read as a disk: {exc}") from exc
    return said["virtual-size"], said["format"]
