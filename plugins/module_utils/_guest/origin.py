# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a new guest is cloned from, as far as that is the same for both kinds: its volumes, and what it takes to copy them."""

from __future__ import annotations

import typing as t

from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from .._storage.driver import SNAPSHOT, Driver, Snapshotting
from .._storage.volume import FILESYSTEM, Volume
from .content import Content, Part, Source
from .options import TEMPLATE
from .record import GuestRecord

Pools = t.Mapping[str, str]


def read_source(
    guest: str, snapshot: str | None, kind: str, record: GuestRecord, content: Content, host: Host, *, pools: Pools
) -> Source:
    """The guest of *record*, or its *snapshot*, as what another one is cloned from.

    *pools* are those that the clones of the items come to; one that is not there comes to the pool of its origin.
    """
    drivers = drivers_of(host)
    volumes, obstacle, idmap = content.volumes, content.obstacle, record.idmap
    if snapshot is not None:
        its = record.snapshots.get(snapshot)
        obstacle = _obstacle_to_snapshot(guest, snapshot, record)
        volumes, idmap = ({}, None) if its is None or obstacle else (its.volumes, its.idmap)
    elif record.reverting is not None:
        obstacle = f"a revert of {guest} to {record.reverting.target} was interrupted. Finish it first"
    obstacle = obstacle or next((why for volume in volumes.values() if (why := _lost(volume, host))), None)
    if obstacle is not None:
        return Source(kind, content, is_snapshot=snapshot is not None, obstacle=obstacle)
    places = {item: pools.get(item) or volume.pool for item, volume in volumes.items()}
    parts = {item: _part(volume, drivers[volume.pool], drivers.get(places[item])) for item, volume in volumes.items()}
    limits = {item: drivers[volume.pool].limit(volume) for item, volume in volumes.items()}
    return Source(
        kind,
        content,
        parts,
        is_snapshot=snapshot is not None,
        is_template=bool(record.value(TEMPLATE)),
        sizes={item: limit.size for item, limit in limits.items()},
        used_bytes=sum(limit.used for limit in limits.values()),
        link_obstacle=_obstacle_to_link(volumes, places, drivers),
        idmap=idmap,
        ssh_keys=record.ssh_keys,
    )


def _obstacle_to_snapshot(guest: str, snapshot: str, record: GuestRecord) -> str | None:
    its = record.snapshots.get(snapshot)
    if its is None:
        known = ", ".join(name for name, other in record.snapshots.items() if not other.is_building)
        return f"{guest} has no snapshot {snapshot}. It has: {known or 'none'}"
    return f"the snapshot {snapshot} of {guest} was never finished. Make it anew" if its.is_building else None


def _lost(volume: Volume, host: Host) -> str | None:
    why = absence(host, volume.pool)
    if why is not None:
        return f"{volume} cannot be reached: {why}"
    return None if drivers_of(host)[volume.pool].exists(volume) else f"{volume} is gone"


def _part(volume: Volume, driver: Driver, target: Driver | None) -> Part:
    if target is not None and target.pool == driver.pool and SNAPSHOT in driver.can:
        able = t.cast(Snapshotting, driver)
        return Part(volume, able.snapshot_bytes(volume), driver.usage().available, able.is_of_one_moment(volume))
    available = target.usage().available if target is not None else 0
    return Part(volume, t.cast(Snapshotting, driver).used_bytes(volume), available, is_of_one_moment=False)


def _obstacle_to_link(volumes: t.Mapping[str, Volume], places: Pools, drivers: t.Mapping[str, Driver]) -> str | None:
    for item, volume in volumes.items():
        if places[item] != volume.pool:
            return f"{item} comes to the storage pool {places[item]}, and what is linked stays in that of its origin, {volume.pool}"
        if volume.kind not in drivers[volume.pool].linked:
            what = "roots of containers" if volume.kind == FILESYSTEM else "disks"
            return f"the storage pool {volume.pool} has no linked {what}; one of type btrfs has"
    return None
