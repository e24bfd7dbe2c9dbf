# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a storage pool lays claim to, and the room that it offers."""

from __future__ import annotations

import os

from .._core.claims import Claims, Room
from .._host import remote
from .._host.snapshot import Host
from .choice import driver_of, drivers_of
from .driver import Driver
from .spec import Spec
from .state import State


def claims_of(spec: Spec | None, state: State) -> Claims:
    """Once *spec* stands. Of a pool that goes, and without a *spec*, only its users."""
    if spec is None or spec.state == "absent":
        return Claims(users=state.users)
    folder = spec.path or state.path
    is_beyond = (spec.source or state.source) and not state.is_mounted
    driver = driver_of(spec.name, spec.type or state.type or "dir", folder) if folder and not is_beyond else None
    room = room_of(driver) if driver else None
    own = spec.path if not spec.path or remote.away(spec.path) else os.path.realpath(spec.path)
    return Claims(folders=[own] if own else [], room=room)


def standing(host: Host) -> dict[str, Claims]:
    """By name, the pools that there are, each with its room."""
    return {name: Claims(room=room_of(driver)) for name, driver in drivers_of(host).items() if name in host.pools}


def room_of(driver: Driver) -> Room | None:
    """The file system that the pool lies on, or will, and what is free there; ``None`` where its server does not answer."""
    if remote.away(driver.path) is not None:
        return None
    usage = driver.usage()
    return Room(usage.device, usage.available)
