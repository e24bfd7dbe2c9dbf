# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a guest and of its snapshots on the host."""

from __future__ import annotations

import itertools
import time
import typing as t

from .._container import content as container
from .._core.errors import ObserveError
from .._guest.clones import linked_clones
from .._guest.content import Content, Part
from .._guest.record import GuestRecord, Snapshot
from .._guest.recorded import load_file
from .._guest.removal import kept_snapshots
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from .._storage.driver import SNAPSHOT, Driver, Snapshotting
from .._storage.volume import Volume
from .._vm import content as machine
from . import beside
from .plan import ASIDE, MEMORY
from .spec import Spec
from .state import State


def observe(spec: Spec, host: Host) -> State:
    """Read the guest of *spec* and its snapshots through *host*.

    :raises ObserveError:
    """
    record = load_file(host.record("guests", spec.guest))
    guest = _look(spec.guest, record, host)
    drivers, its = drivers_of(host), record.snapshots.get(spec.name)
    is_new = spec.state == "present" and (its is None or its.is_building)
    parts = _parts_of(spec.name, its, guest, drivers) if is_new and guest.obstacle is None else {}
    targets, lost = _targets_of(its, host) if spec.state == "reverted" and its else ({}, ())
    is_deleting = spec.state == "absent" or spec.keep is not None
    places, used = kept_snapshots(spec.guest, record, host) if is_deleting else ({}, {})
    found = beside.find(spec, its, guest, host)
    return State(
        power=guest.power,
        now=round(time.time(), 3),
        record=record,
        parts=parts,
        targets=targets,
        aside=_aside_of(record, drivers) if spec.state == "reverted" else "",
        lost=lost,
        beside=found,
        beside_available_bytes=beside.available_bytes() if found else 0,
        obstacle=guest.obstacle,
        memory_obstacle=beside.memory_obstacle(spec, record, guest, host) if MEMORY in found else None,
        left_out=guest.left_out,
        has_agent=guest.has_agent,
        copies_itself=guest.copies_itself,
        places=places,
        used=used,
        clones=linked_clones(host, spec.guest) if spec.state == "reverted" else (),
    )


def _look(guest: str, record: GuestRecord, host: Host) -> Content:
    if guest in host.domains:
        return machine.look(guest, record, host)
    return container.look(guest, record, host) if guest in host.containers else Content()


def _parts_of(name: str, begun: Snapshot | None, guest: Content, drivers: t.Mapping[str, Driver]) -> dict[str, Part]:
    ours = begun.volumes.values() if begun else ()
    found = {}
    for item, volume in guest.volumes.items():
        kept, driver = volume.snapshot(name), drivers[volume.pool]
        in_the_way = driver.location(kept) if driver.exists(kept) and kept not in ours else None
        part = _part(volume, drivers)._replace(in_the_way=in_the_way)
        source = driver.disk_source(volume) if guest.copies_itself and part.copied_bytes else None
        # A guest writes what it likes to the beginning of a raw disk: there it names no file that the disk stands on.
        if source is not None and source.format == "qcow2":
            part = part._replace(copied_bytes=machine.copied_by_qemu(source.path))
        found[item] = part
    return found


def _aside_of(record: GuestRecord, drivers: t.Mapping[str, Driver]) -> str:
    """The name of the snapshot that what is there becomes: that of a revert which was interrupted, else the next free one."""
    if record.reverting is not None:
        return record.reverting.aside
    known = [(drivers[its.volume.pool], its.volume) for its in record.volumes.values() if its.volume.pool in drivers]
    numbered = (f"{ASIDE}{number}" for number in itertools.count(1))
    return next(
        name
        for name in numbered
        if name not in record.snapshots and not any(driver.exists(volume.snapshot(name)) for driver, volume in known)
    )


def _targets_of(snapshot: Snapshot, host: Host) -> tuple[dict[str, Part], tuple[str, ...]]:
    drivers, parts, lost = drivers_of(host), {}, []
    for item, volume in snapshot.volumes.items():
        why = absence(host, volume.pool)
        if why is not None:
            lost.append(f"{volume} ({why})")
        elif drivers[volume.pool].exists(volume):
            parts[item] = _part(volume, drivers)
        else:
            lost.append(f"{volume} is gone")
    return parts, tuple(lost)


def _part(volume: Volume, drivers: t.Mapping[str, Driver]) -> Part:
    driver = drivers[volume.pool]
    if driver.obstacle(SNAPSHOT) is not None:
        raise ObserveError(f"the storage pool {volume.pool} can make no snapshots")
    able = t.cast(Snapshotting, driver)
    return Part(volume, able.snapshot_bytes(volume), driver.usage().available, able.is_of_one_moment(volume))
