# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a storage pool lays claim to, and the room that it offers."""

from __future__ import annotations

import os

from .._core.claims import Claims, Room
from .._host.snapshot import Host
from .spec import Spec
from .state import State


def claims_of(spec: Spec | None, state: State) -> Claims:
    """Once *spec* stands. Of a pool that goes, and without a *spec*, only its users."""
    if spec is None or spec.state == "absent":
        return Claims(users=state.users)
    folder = spec.path or state.path
    return Claims(folders=[spec.path] if spec.path else [], room=room_in(folder) if folder else None, users=state.users)


def standing(host: Host) -> dict[str, Claims]:
    """By name, the pools that libvirt has, each with its room."""
    return {name: Claims(room=room_in(pool.path)) for name, pool in host.pools.items() if pool.path}


def room_in(folder: str) -> Room:
    """The file system that *folder* lies on, or will, by the highest folder on it, and what is free there."""
    place = os.path.realpath(folder)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    device = os.stat(place).st_dev
    while place != "/" and os.stat(os.path.dirname(place)).st_dev == device:
        place = os.path.dirname(place)
    status = os.statvfs(place)
    return Room(place, status.f_bavail * status.f_frsize)
