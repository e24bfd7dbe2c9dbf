# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which device of a domain is which item of the declaration."""

from __future__ import annotations

import typing as t

from .._core.keyed import claim_names, free_place, gone, is_place, without_gone
from .xml.cdrom import Cdrom
from .xml.disk import Disk
from .xml.filesystem import Share
from .xml.hostdev import Hostdev
from .xml.nic import Nic

PLACES = {"disks": "disk", "cdroms": "cdrom", "networks": "net", "devices": "device", "shares": "share"}
DeviceT = t.TypeVar("DeviceT", Disk, Cdrom, Nic, Hostdev, Share)
# A card's source is a bridge, which many share; a disk's is a file of its own, also after it moved to another bus.
# What another device may have after it.
_PLACES_OF = ("address", "source")
_SAME_BY = {
    "disks": ("alias", "ident", "address", "source"),
    "cdroms": ("alias", "ident", "address", "source"),
    "networks": ("alias", "ident", "address"),
    "devices": ("alias", "ident", "address"),
    "shares": ("alias", "ident", "address"),
}


def name_live_devices(
    area: str, devices: t.Sequence[DeviceT], persistent: t.Mapping[str, DeviceT], recorded: t.Mapping[str, str]
) -> dict[str, DeviceT]:
    """The devices of the running domain under the names that they have in the definition.

    One that the definition does not have (any more) is named as in a definition of its own.
    """
    named: dict[int, str] = {}
    known = without_gone(recorded)
    # One that goes may have the place of one that comes: its recorded name tells it from the other.
    by_record = {
        index: name for index, its in enumerate(devices) for name, ident in known.items() if its.is_known_by(ident)
    }
    for attribute in _SAME_BY[area]:
        for index, device in enumerate(devices):
            mark = getattr(device, attribute)
            if index in named or not mark:
                continue
            same = [name for name, other in persistent.items() if getattr(other, attribute) == mark]
            # A device with a name of its own is never another one, even in the place that the other will have.
            own = device.alias or (by_record.get(index) if attribute in _PLACES_OF else None)
            if attribute == "address":
                # One that bears a name in the definition, and is not known to be this one, comes to this place with the next start.
                same = [
                    name for name in same if not _is_new_there(name, persistent[name], device, by_record.get(index))
                ]
            free = [name for name in same if name not in named.values() and own in (None, name)]
            if len(free) == 1:
                named[index] = free[0]
    rest = [device for index, device in enumerate(devices) if index not in named]
    result: dict[str, DeviceT] = {named[index]: devices[index] for index in named}
    for name, device in claim_names(rest, PLACES[area], recorded=known).things.items():
        is_free = name not in result and (name not in persistent or device.alias is not None)
        result[name if is_free else free_place(PLACES[area], 0, [*result, *persistent])] = device
    return result


def _is_new_there(name: str, defined: DeviceT, running: DeviceT, known: str | None) -> bool:
    """Whether the device that a definition has in the place of a *running* one, which the record knows as *known*, is another one."""
    return defined.alias is not None and running.alias is None and known != name


def noted_names(
    recorded: t.Mapping[str, str], devices: t.Mapping[str, DeviceT], removed: t.Collection[str] = ()
) -> dict[str, str]:
    """The names to be recorded of *devices* that bear none themselves; *removed* are the names of those that went."""
    known = {name: device.ident for name, device in devices.items() if device.alias is None}
    # One that was given another name has no old one.
    kept = {name: ident for name, ident in recorded.items() if name in known or ident not in known.values()}
    names = {**kept, **known}
    return {name: gone(ident) if name in removed else ident for name, ident in names.items()}


def has_new_name(area: str, name: str, recorded: t.Mapping[str, str], device: DeviceT) -> bool:
    """Whether a device has to be known by a name that nothing but the declaration gives it."""
    return device.alias is None and not is_place(name, PLACES[area]) and recorded.get(name) != device.ident
