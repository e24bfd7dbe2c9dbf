# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a machine has beside its volumes, and whether its memory can be kept and woken up."""

from __future__ import annotations

import os
from xml.etree import ElementTree

from .._core import paths
from .._core.errors import ObserveError
from .._core.units import KIB, MIB
from .._guest.content import Content
from .._guest.record import GuestRecord, Snapshot
from .._host import mounts
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._vm import firmware
from .plan import MEMORY
from .spec import Spec
from .state import Beside

_BLOCK = 512
# What QEMU notes of its devices, and libvirt of the machine.
_DEVICES_BYTES = 64 * MIB


def find(spec: Spec, snapshot: Snapshot | None, content: Content, host: Host) -> dict[str, Beside]:
    """What the snapshot that is to be made holds beside the volumes, by its name; of a revert what comes back with them."""
    root = host.definition(spec.guest).root if spec.guest in host.domains else None
    places = {} if root is None else firmware.places(root)
    if spec.state == "reverted":
        words = snapshot.beside if snapshot else ()
        return {
            word: Beside(places.get(word, ""), _size_of(places.get(word, "")))
            for word in words
            if word != MEMORY or spec.memory is not False
        }
    if spec.state != "present":
        return {}
    found = {word: Beside(place, _size_of(place)) for word, place in places.items() if os.path.exists(place)}
    if spec.memory and content.power in ("started", "paused"):
        memory_kib = int(root.findtext("currentMemory", "0")) if root is not None else 0
        found[MEMORY] = Beside(copied_bytes=memory_kib * KIB + _DEVICES_BYTES)
    return found


def _size_of(place: str) -> int:
    inside = [os.path.join(top, name) for top, dummy, names in os.walk(place) for name in names]
    return sum(os.lstat(file).st_blocks * _BLOCK for file in [place, *inside] if os.path.lexists(file))


def available_bytes() -> int:
    """What is left where it is kept."""
    status = os.statvfs(mounts.existing(paths.SNAPSHOTS))
    return status.f_bavail * status.f_frsize


def memory_obstacle(spec: Spec, record: GuestRecord, content: Content, host: Host) -> str | None:
    """Why the memory of the guest cannot be kept, or of a revert not be woken up."""
    if spec.guest not in host.domains:
        return f"{spec.guest} is a container, whose programs are the host's own, and are kept in no snapshot"
    with errors_of(f"read the memory of {spec.guest}", ObserveError):
        if spec.state == "reverted":
            return _obstacle_to_waking(spec.guest, spec.name, host)
        is_held = any(its.is_held for its in record.snapshots.values())
        root = host.definition(spec.guest).root
        return _obstacle_to_keeping(spec.guest, content, root, is_paused=content.power == "paused" and not is_held)


def _obstacle_to_keeping(guest: str, content: Content, root: ElementTree.Element, *, is_paused: bool) -> str | None:
    """Why QEMU could not save it, or what comes of it would not fit together."""
    if is_paused:
        return f"{guest} is paused. Let it go on first"
    if content.left_out:
        return (
            f"{guest} writes to {content.left_out[0]}, which is in no snapshot, and would not fit to its memory later"
        )
    if root.find("devices/hostdev") is not None:
        return f"a device of the host is given to {guest}, and nobody can keep what is in it"
    if root.find("devices/filesystem") is not None:
        return f"a folder of the host is mounted in {guest}, and QEMU saves the memory of no such machine"
    return None


def _obstacle_to_waking(guest: str, name: str, host: Host) -> str | None:
    path = os.path.join(paths.snapshot_folder(guest, name), MEMORY)
    if not os.path.isfile(path):
        return f"the memory that {name} has of {guest}, {path}, is gone"
    saved = ElementTree.fromstring(host.connection.saveImageGetXMLDesc(path))
    if saved.findtext("uuid") != host.definition(guest).root.findtext("uuid"):
        return f"the memory is that of an earlier machine {guest}, which was made anew since"
    then = f"{guest} goes on with what it had then"
    for source in saved.iterfind("devices/disk/source"):
        place = source.get("file") or source.get("dev")
        if place and not os.path.exists(place):
            return f"{then}, and {place} is gone"
    for source in saved.iterfind("devices/interface/source"):
        bridge, network = source.get("bridge"), source.get("network")
        if network and network not in host.networks:
            return f"{then}, and the network {network} is gone"
        if bridge and not network and bridge not in host.links:
            return f"{then}, and the bridge {bridge} is gone"
    return None
