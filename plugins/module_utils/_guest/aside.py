# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Moves what is deleted of a guest to the quarantine, and takes away for good what is past its time there.

Each move is a rename in its pool. The record of what lies there is written before the first of them, and names all; what a run that was
killed has not moved is not there, and the guest's own record names it still.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
import typing as t
import zipfile

from .._core import atomic, libraries, lock, paths
from .._core.errors import ApplyError, HybridError
from .._core.reference import Reference
from .._core.removal import remove_tree
from .._host.snapshot import GUEST, POOL, Host
from .._storage.choice import absence, drivers_of
from .._storage.driver import Driver
from .._storage.volume import Volume
from . import beside
from .ownership import Ownership
from .quarantine import MARK, all_volumes
from .record import GuestRecord, Quarantine, RecordedFile, RecordedVolume, Snapshot, dump
from .state import GuestState


class Aside:
    """Where what goes of one guest is laid."""

    def __init__(self, guest: str, own: Ownership, state: GuestState, host: Host) -> None:
        self.guest = guest
        self.own = own
        self.state = state
        self.host = host
        self.name = state.begun or _free_name(guest, host)
        self.entry = Ownership(host.record("guests", self.name))

    def begin(self, items: t.Collection[str], snapshots: t.Collection[str], definition: tuple[str, bool]) -> None:
        """Note what comes: *items*, which are volumes and files, and *snapshots*, by name. *definition* is what is known of the guest yet."""
        _lay_down()
        record, before = self.own.record, self.entry.record
        its = before.quarantine or Quarantine(self.guest, time.time(), float(self.state.quarantined_until or 0))
        if self.state.is_known or before.quarantine is None:
            told = {key: value for key, value in dump(record).items() if value is not None}
            its = its._replace(definition=definition[0], is_autostarted=definition[1], record=told)
        new = GuestRecord(
            kind=record.kind,
            image=record.image,
            origin=record.origin,
            idmap=record.idmap,
            volumes={
                **before.volumes,
                **{
                    item: RecordedVolume(self._place(item, volume.volume))
                    for item, volume in record.volumes.items()
                    if item in items
                },
            },
            files={
                **before.files,
                **{
                    item: RecordedFile(f"{file.path}{MARK}{self._moment}")
                    for item, file in record.files.items()
                    if item in items
                },
            },
            snapshots={
                **before.snapshots,
                **{name: self._kept(name, its) for name, its in record.snapshots.items() if name in snapshots},
            },
            quarantine=its._replace(is_begun=True),
        )
        self.entry.save(new)

    @property
    def pools(self) -> set[str]:
        return {volume.pool for volume in all_volumes(self.entry.record)}

    @property
    def _moment(self) -> str:
        return self.name.rpartition(MARK)[2]

    def _place(self, item: str, volume: Volume) -> Volume:
        return volume._replace(name=paths.volume_name(self.name, item))

    def _kept(self, name: str, snapshot: Snapshot) -> Snapshot:
        volumes = {item: self._place(item, volume).snapshot(name) for item, volume in snapshot.volumes.items()}
        return snapshot._replace(volumes=volumes)

    def take(self, item: str) -> None:
        """Move the volume or file *item*."""
        file = self.own.record.files.get(item)
        if file is not None:
            move_file(file.path, self.entry.record.files[item].path)
            return
        move_volume(self.own.record.volumes[item].volume, self.entry.record.volumes[item].volume, self.host)

    def take_snapshot(self, name: str) -> None:
        kept = self.entry.record.snapshots[name]
        for item, volume in self.own.record.snapshots[name].volumes.items():
            move_volume(volume, kept.volumes[item], self.host)
        move_file(paths.snapshot_folder(self.guest, name), paths.snapshot_folder(self.name, name))


def _free_name(guest: str, host: Host) -> str:
    moment = time.time()
    while True:
        name = f"{guest}{MARK}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(moment))}"
        if not host.record("guests", name).exists:
            return name
        moment += 1


def move_volume(volume: Volume, target: Volume, host: Host) -> None:
    """Let *volume* be *target*, another name in the same pool. What a run that was killed has moved stays moved."""
    driver = _driver(volume, host)
    if driver.exists(volume):
        size = driver.limit(volume).size
        driver.set_aside(volume, target)
    elif driver.exists(target):
        size = driver.limit(target).size
    else:
        return
    driver.count_apart(target, size)


def move_file(source: str, target: str) -> None:
    """The same of a file or folder of the host."""
    if not os.path.lexists(source):
        return
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        atomic.rename_new(source, target)
    except FileExistsError:
        raise ApplyError(f"{target} is there by now, and was not when the run began") from None
    atomic.sync_folder(os.path.dirname(target))
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(source))  # of the last snapshot of a guest


def _driver(volume: Volume, host: Host) -> Driver:
    driver = drivers_of(host).get(volume.pool)
    if driver is None or (why := absence(host, volume.pool)) is not None:
        raise ApplyError(f"{volume}: {why if driver else absence(host, volume.pool)}")
    return driver


def settle(name: str, host: Host) -> None:
    """Nothing more comes to *name*, which a run has begun: it is what did come, and nothing where that is nothing."""
    entry = Ownership(host.record("guests", name))
    record, drivers = entry.record, drivers_of(host)
    if record.quarantine is None:
        return

    def is_there(volume: Volume) -> bool:
        driver = drivers.get(volume.pool)
        return driver is None or absence(host, volume.pool) is not None or driver.exists(volume)

    left = record.replace(
        volumes={item: its for item, its in record.volumes.items() if is_there(its.volume)},
        files={item: its for item, its in record.files.items() if os.path.lexists(its.path)},
        snapshots={item: its for item, its in record.snapshots.items() if any(map(is_there, its.volumes.values()))},
        quarantine=record.quarantine._replace(is_begun=False),
    )
    if left.volumes or left.files or left.snapshots:
        entry.save(left)
    else:
        entry.remove()


def empty(name: str, host: Host) -> None:
    """Delete for good what lies in the quarantine as *name*. The lock of its guest is held.

    :raises ApplyError: where its pool is not there, or something is mounted in it.
    """
    entry = Ownership(host.record("guests", name))
    record = entry.record
    volumes = all_volumes(record)
    drivers = {volume: _driver(volume, host) for volume in volumes}
    for volume, driver in drivers.items():
        driver.retire(volume)
        driver.purge(volume)
    for file in record.files.values():
        if os.path.isdir(file.path) and not os.path.islink(file.path):
            remove_tree(file.path)
        else:
            atomic.remove_file(file.path)
    for snapshot in record.snapshots:
        beside.remove(name, snapshot)
    entry.remove()
    look_again({volume.pool for volume in volumes}, host)


def look_again(pools: t.Collection[str], host: Host) -> None:
    """Let libvirt see what moved. The files are what counts: where it cannot look now it does so when it starts the pool."""
    for pool in (its for name, its in host.pools.items() if name in pools and its.is_active):
        with contextlib.suppress(libraries.libvirt().libvirtError):
            pool.handle.refresh(0)


def _locks(guest: str, record: GuestRecord) -> tuple[list[Reference], list[Reference]]:
    """What is locked while something of the quarantine of *guest* goes, and what stays as it is meanwhile."""
    pools = sorted({volume.pool for volume in all_volumes(record)})
    return [Reference(GUEST, guest)], [Reference(POOL, pool) for pool in pools]


def main() -> int:
    """Take away what is past its time. Returns how much of it could not go."""
    failed = 0
    host = Host()
    for name, file in sorted(host.guest_records.items()):
        try:
            record = Ownership(file).record
            if record.quarantine is None or record.quarantine.until > time.time():
                continue
            with lock.hold(*_locks(record.quarantine.guest, record)):
                host.drop()
                if host.record("guests", name).exists:
                    empty(name, host)
            sys.stdout.write(f"{name} was in the quarantine long enough, and is gone\n")
        except (HybridError, OSError) as exc:
            failed += 1
            sys.stderr.write(f"{name}: {exc}\n")
    return failed


def _lay_down() -> None:
    """The code that takes it away again lies on the host by itself: a copy of the archive that runs. A developer's tree has none."""
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is None:
        return
    packed = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            # Ansible's own wrapper adds a file that each other Python takes for its site's.
            if name != "sitecustomize.py":
                target.writestr(name, source.read(name))
    atomic.write_file(paths.QUARANTINE_CODE, packed.getvalue(), mode=0o600)
