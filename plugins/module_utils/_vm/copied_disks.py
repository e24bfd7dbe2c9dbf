# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which disks of a virtual machine go into a backup, and why others do not."""

from __future__ import annotations

import os
import typing as t

from .._core.errors import ObserveError
from .._core.keyed import claim_names
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host import block
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of, pool_of
from .._storage.driver import Driver
from .._storage.volume import BLOCK, Volume, of_guest
from . import firmware
from .content import copied_by_qemu
from .naming import PLACES
from .observe import read_power
from .options import SEED_DISK
from .volumes import read_volume
from .xml import channel
from .xml import domain as domain_xml
from .xml.disk import Disk

# No snapshot that a user makes has this in its name.
_SCRATCH = "+backup"


class CopiedDisk(t.NamedTuple):
    """A disk by its *name* in the declaration and its *target* in the machine. *volume* is ours, ``None`` for one that was there before.

    *pool* is the storage pool that it lies in, ``None`` for one that is in no pool. *size* in bytes, of which it *used* some.
    """

    name: str
    target: str
    path: str
    format: str
    size: int
    used: int
    volume: Volume | None
    pool: str | None


class Machine(t.NamedTuple):
    """What there is to be captured of a virtual machine.

    *power* is the word of ``state``. *left_out* says of disks that are not copied why. *beside* has the places of its UEFI variables
    and its TPM (``firmware``), *seed* that of its cloud-init data.
    """

    name: str
    domain: t.Any
    power: str
    has_agent: bool
    record: GuestRecord
    disks: tuple[CopiedDisk, ...]
    left_out: t.Mapping[str, str]
    beside: t.Mapping[str, str]
    seed: str | None
    drivers: t.Mapping[str, Driver]

    def scratch_of(self, disk: CopiedDisk) -> tuple[Driver, Volume] | None:
        """The volume into which what the machine overwrites meanwhile is saved; ``None`` for a disk that lies in no pool."""
        if disk.pool is None:
            return None
        volume = disk.volume or of_guest(disk.pool, self.name, disk.name, BLOCK)
        return self.drivers[disk.pool], volume.snapshot(_SCRATCH)


def look(name: str, host: Host) -> Machine:
    """The virtual machine *name*.

    :raises ObserveError: when there is no such machine, or no copy of it would be whole.
    """
    if name not in host.domains:
        raise ObserveError(f"there is no virtual machine {name}")
    record, drivers = load_file(host.record("guests", name)), drivers_of(host)
    if record.is_building:
        raise ObserveError(f"{name} is not whole: its creation was interrupted. Run homelab.hybrid.kvm_vm for it first")
    with errors_of(f"read {name}", ObserveError):
        domain = host.domains[name]
        power = read_power(domain, host.listings)
        root = domain_xml.parse(host.definition(name).xml)
    ours = _ours(record, host, drivers)
    disks = claim_names(
        [_resolved(disk, host) for disk in domain_xml.read(root).disks],
        PLACES["disks"],
        recorded=record.names.get("disks"),
    ).things
    copied, left_out = [], {}
    for known_as, disk in disks.items():
        item, volume = ours.get(os.path.realpath(disk.source), (known_as, None))
        if item == SEED_DISK:
            continue
        why = _why_not(disk, is_ours=volume is not None)
        if why is not None:
            left_out[item] = why
            continue
        size = read_volume(disk.source)[0] if disk.value("format") != "raw" else _raw_size(disk.source)
        pool = volume.pool if volume else pool_of(os.path.realpath(disk.source), drivers)
        used = min(size, copied_by_qemu(disk.source)) or size
        copied.append(CopiedDisk(item, disk.target, disk.source, disk.value("format"), size, used, volume, pool))
    beside = firmware.places(host.definition(name).root)
    for word, place in beside.items():
        if not place:
            raise ObserveError(
                f"the {firmware.WORDS[word]} of {name} lie in no file of this host, and no backup would hold them"
            )
    has_agent = power == "started" and channel.is_connected(root)
    seeds = [path for path, (item, dummy) in ours.items() if item == SEED_DISK]
    present = {word: place for word, place in beside.items() if os.path.exists(place)}
    return Machine(
        name, domain, power, has_agent, record, tuple(copied), left_out, present, seeds[0] if seeds else None, drivers
    )


def _ours(record: GuestRecord, host: Host, drivers: t.Mapping[str, Driver]) -> dict[str, tuple[str, Volume]]:
    """Our volumes of the guest by the paths that they have.

    :raises ObserveError: when nobody can tell what is in the pool of one.
    """
    found = {}
    for item, volume in ((item, its.volume) for item, its in record.volumes.items()):
        driver, why = drivers.get(volume.pool), absence(host, volume.pool)
        if why is not None:
            raise ObserveError(f"the volume {volume} cannot be reached: {why}")
        if driver is not None and driver.exists(volume):
            found[os.path.realpath(driver.location(volume))] = item, volume
    return found


def _resolved(disk: Disk, host: Host) -> Disk:
    """The disk with its path, also of one that libvirt knows by the name of a volume."""
    if disk.volume is None:
        return disk
    pool, name = disk.volume
    with errors_of(f"find the volume {name} of the pool {pool}", ObserveError):
        path = host.pools[pool].handle.storageVolLookupByName(name).path() if pool in host.pools else ""
    return disk.standing_on(path, None) if path else disk


def _why_not(disk: Disk, *, is_ours: bool) -> str | None:
    if disk.device != "disk":
        return f"it is a {disk.device}"
    if not disk.source:
        return "it lies in no file of this host"
    if disk.value("shareable"):
        return "other machines write to it too"
    if is_ours:
        return None
    if disk.value("readonly"):
        return "the machine only reads it"
    if block.is_hardware(disk.source):
        return "it is handed over whole from the host"
    return None


def _raw_size(path: str) -> int:
    """The beginning of a raw disk is the guest's, and nothing to guess a format from."""
    try:
        with open(path, "rb") as stream:
            return stream.seek(0, os.SEEK_END)
    except OSError as exc:
        raise ObserveError(f"{path} cannot be read as a disk: {exc}") from exc
