# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What of a virtual machine a snapshot holds: the disks that this collection made."""

from __future__ import annotations

import os
import typing as t
from xml.etree import ElementTree

from .._core.errors import ObserveError
from .._guest.content import Content
from .._guest.record import GuestRecord
from .._host.backing import chain_of
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from .._storage.volume import Volume
from . import firmware
from .observe import read_power
from .options import SEED_DISK
from .xml import channel

_BLOCK = 512


def look(guest: str, record: GuestRecord, host: Host) -> Content:
    """The machine *guest*, which is there.

    :raises ObserveError:
    """
    with errors_of(f"read {guest}", ObserveError):
        power = read_power(host.domains[guest], host.listings)
        root = host.definition(guest).root
    paths = [path for disk in root.iterfind("devices/disk") if (path := _writable(disk))]
    places, lost = _places(record, host)
    volumes = {places[path][0]: places[path][1] for path in paths if path in places}
    left_out = tuple(path for path in paths if path not in places)
    has_agent = power == "started" and channel.is_connected(root)
    obstacle = _obstacle(guest, record, power, root, volumes, lost)
    return Content(power, volumes, obstacle, left_out, has_agent, copies_itself=power == "started")


def copied_by_qemu(path: str) -> int:
    """How many bytes QEMU copies at most of the disk at *path*: what the machine sees, with what comes of that on which it stands."""
    return sum((os.stat(place).st_blocks for place in chain_of(path)), 0) * _BLOCK


def _writable(disk: ElementTree.Element) -> str | None:
    """Where a disk lies that the machine can write to; an empty path for one that no file is behind."""
    if disk.get("device", "disk") != "disk" or disk.find("readonly") is not None:
        return None
    source = disk.find("source")
    return None if source is None else next((value for value in source.attrib.values() if value), None)


def _places(record: GuestRecord, host: Host) -> tuple[dict[str, tuple[str, Volume]], list[str]]:
    """Our volumes that are there, by their path; and why others cannot be reached."""
    drivers, found, lost = drivers_of(host), {}, []
    for item, volume in ((item, its.volume) for item, its in record.volumes.items() if item != SEED_DISK):
        driver, why = drivers.get(volume.pool), absence(host, volume.pool)
        if why is not None:
            lost.append(why)
        elif driver is not None and driver.exists(volume):
            found[driver.location(volume)] = item, volume
    return found, lost


def _obstacle(
    guest: str,
    record: GuestRecord,
    power: str,
    root: ElementTree.Element,
    volumes: t.Mapping[str, Volume],
    lost: list[str],
) -> str | None:
    if record.is_building:
        return f"{guest} is not whole: its creation was interrupted. Run homelab.hybrid.kvm_vm for it first"
    if power == "suspended":
        return (
            f"{guest} is saved to disk, and its memory goes with its disks as they are. Wake it up, or stop it, first"
        )
    for word, place in firmware.places(root).items():
        if not place:
            return f"the {firmware.WORDS[word]} of {guest} lie in no file of this host, and nothing would hold them"
    if lost:
        return f"a disk of {guest} cannot be reached: {lost[0]}"
    if not volumes:
        return f"{guest} has no disk that this collection made"
    return None
