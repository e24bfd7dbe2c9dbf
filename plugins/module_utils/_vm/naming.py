# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which device of a domain is which item of the declaration. Never by position alone, unless nothing else names it."""

from __future__ import annotations

import typing as t

from .spec import Item
from .xml.disk import Disk
from .xml.nic import Nic

DeviceT = t.TypeVar("DeviceT", Disk, Nic)
PLACES = {"disks": "disk", "networks": "net"}


def name_devices(
    kind: str,
    devices: t.Sequence[DeviceT],
    items: t.Sequence[Item],
    claims: t.Mapping[str, str],
    hints: t.Mapping[str, t.Collection[str]],
) -> dict[str, DeviceT]:
    """The devices of a definition by name, in their order.

    The name is the alias that we gave; then the claim in the record (name to ident); then what a declared item says of it:
    *hints* has for each item the macs, paths, serials or bridges that would be its own; then the canonical place (``disk0``,
    ``net0``). Only a device that nothing has named yet is matched by a hint, and only where the hint leaves one.
    """
    named: dict[int, str] = {}
    for index, device in enumerate(devices):
        claimed = next((name for name, ident in claims.items() if ident == device.ident), None)
        name = device.alias or claimed
        if name is not None and name not in named.values():
            named[index] = name
    for item in items:
        if item.name in named.values():
            continue
        matches = [
            index
            for index, device in enumerate(devices)
            if index not in named and marks_of(device) & set(hints.get(item.name, ()))
        ]
        if len(matches) == 1:
            named[matches[0]] = item.name
    for index in range(len(devices)):
        if index not in named:
            named[index] = _place(PLACES[kind], index, set(named.values()))
    return {named[index]: device for index, device in enumerate(devices)}


def name_live_devices(
    kind: str, devices: t.Sequence[DeviceT], persistent: t.Mapping[str, DeviceT], claims: t.Mapping[str, str]
) -> dict[str, DeviceT]:
    """The devices of the running domain under the names that they have in the definition.

    One that the definition does not have (any more) is named as in a definition of its own.
    """
    named: dict[int, str] = {}
    # A card's source is a bridge, which many share; a disk's is a file of its own, also after it moved to another bus.
    marks = ["alias", "ident", "address", *(["source"] if kind == "disks" else [])]
    for attribute in marks:
        for index, device in enumerate(devices):
            mark = getattr(device, attribute)
            if index in named or not mark:
                continue
            same = [name for name, other in persistent.items() if getattr(other, attribute) == mark]
            # A device with a name of its own is never another one, even in the place that the other will have.
            free = [name for name in same if name not in named.values() and device.alias in (None, name)]
            if len(free) == 1:
                named[index] = free[0]
    rest = [device for index, device in enumerate(devices) if index not in named]
    taken: list[str] = list(persistent)
    others = name_devices(kind, rest, (), claims, {})
    result: dict[str, DeviceT] = {named[index]: devices[index] for index in named}
    for name, device in others.items():
        is_free = name not in result and (name not in taken or device.alias is not None)
        result[name if is_free else _place(name, 0, [*result, *taken])] = device
    return result


def marks_of(device: Disk | Nic) -> set[str]:
    """What tells the device from others, besides its name and place."""
    if isinstance(device, Nic):
        return {mark for mark in (device.mac, device.source) if mark}
    return {mark for mark in (device.source, device.serial) if mark}


def _place(prefix: str, index: int, taken: t.Collection[str]) -> str:
    while f"{prefix}{index}" in taken:
        index += 1
    return f"{prefix}{index}"
