# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a storage pool on the host."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .._host.snapshot import Host, path_users
from .mounts import mounts_in
from .spec import Spec


@dataclasses.dataclass(frozen=True)
class State:
    """A storage pool as it is. *users* are the guests that stand on it, by name, and whether each runs.

    *is_registered*: libvirt knows it. *is_defined*: it stands, no creation of it was interrupted. *content* is the number
    of entries in its folder, ``None`` where there is no folder. *owns_folder*: this collection made the folder. *mounts*
    are the mount points in it. *path_is_of* is another pool that has the declared folder. Sizes in bytes.
    """

    is_registered: bool
    is_defined: bool
    is_active: bool = False
    type: str | None = None
    path: str | None = None
    autostart: bool = False
    warn_free: int | str = ""
    capacity: int | None = None
    available: int | None = None
    content: int | None = None
    owns_folder: bool = False
    is_building: bool = False
    mounts: tuple[str, ...] = ()
    path_is_of: str | None = None
    users: t.Mapping[str, bool] = dataclasses.field(default_factory=dict)


def observe(spec: Spec, host: Host) -> State:
    """Read the pool of *spec* through *host*.

    :raises ObserveError:
    """
    record = host.record("pools", spec.name)
    pool = host.pools.get(spec.name)
    path = pool.path if pool else record.data.get("path")
    is_defined = pool is not None and not record.is_building
    return State(
        is_registered=pool is not None,
        is_defined=is_defined,
        is_active=pool is not None and pool.is_active,
        type=pool.type if pool else None,
        path=path,
        autostart=pool is not None and pool.autostart,
        warn_free=record.data.get("warn_free", "") if is_defined else "",
        capacity=pool.capacity if pool else None,
        available=pool.available if pool else None,
        content=count_entries(path),
        owns_folder=bool(record.data.get("owns_folder")) and record.data.get("path") == path,
        is_building=record.is_building,
        mounts=mounts_in(path),
        path_is_of=_owner_of(spec, host),
        users=path_users(host, path) if path else {},
    )


def _owner_of(spec: Spec, host: Host) -> str | None:
    others = (pool for pool in host.pools.values() if pool.name != spec.name and pool.path)
    return next((pool.name for pool in others if pool.path == spec.path), None)


def count_entries(path: str | None) -> int | None:
    """How many entries the folder *path* has; ``None`` where it is no folder."""
    if path is None or not os.path.isdir(path):
        return None
    return len(os.listdir(path))
