# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which values of one device go together: what libvirt and QEMU refuse, before they are asked."""

from __future__ import annotations

import typing as t

from .._core.keyed import Thing
from .._core.options import Item
from .options import OPTIONS
from .xml.disk import TURNING

# What QEMU reads and writes past the cache of the host.
_UNCACHED = ("none", "directsync")
_ATA = ("sata", "ide")

# The key that cannot be, and why.
Oddity = tuple[str, str]


def values_of(area: str, item: Item, before: Thing | None, unset: t.Collection[str]) -> dict[str, t.Any]:
    """What the keys of an item will be once *item* stands, over what it was *before*."""
    keys, path = OPTIONS.lists[area], f"{area}[{item.name}]"
    kept = {} if before is None else {key: before.value(key) for key in keys}
    off = {key: row.off for key, row in keys.items() if f"{path}.{key}" in unset}
    return {**kept, **item.values, **off}


def written_keys(area: str, item: Item, unset: t.Collection[str]) -> set[str]:
    """The keys of which the user says something."""
    path = f"{area}[{item.name}]."
    return {*item.values, *(name[len(path) :] for name in unset if name.startswith(path))}


def odd_disk(values: t.Mapping[str, t.Any], written: t.Collection[str]) -> Oddity | None:
    """What does not go together in the *values* of a disk. What nobody wrote is left as somebody made it."""
    for key, other, why in _odd_values(values):
        if key in written or other in written:
            return (key if key in written else other), why
    return None


def _odd_values(values: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str, str]]:
    """Each pair of keys that do not go together, and why. The second is empty where a disk leaves the first on its old bus."""
    bus, cache, form = values.get("bus"), values.get("cache", "default"), values.get("format")
    if values.get("io") == "native" and cache not in _UNCACHED:
        yield "io", "cache", f"io native needs the cache none or directsync, and not {cache}"
    if values.get("readonly") and bus in _ATA:
        yield "readonly", "bus", f"on {bus} only a CD-ROM is read-only. Write another bus, or write it under cdroms"
    if values.get("shareable") and form != "raw":
        yield "shareable", "format", f"machines share a disk of the format raw, and not {form}"
    if values.get("iothread") and bus != "virtio":
        yield "iothread", "", f"threads serve disks on virtio, and this one is on {bus}"
    if values.get("rotation_rate") and bus not in TURNING:
        yield "rotation_rate", "", f"a disk on {bus} does not say how it turns. One on {', '.join(TURNING)} does"


def odd_card(values: t.Mapping[str, t.Any], written: t.Collection[str]) -> Oddity | None:
    """What does not go together in the *values* of a network card."""
    model = values.get("model")
    if values.get("queues") and model != "virtio" and "queues" in written:
        return "queues", f"a card has several on virtio alone, and this one is {model}"
    return None


def odd_drive(values: t.Mapping[str, t.Any], written: t.Collection[str]) -> Oddity | None:
    """What does not go together in the *values* of a CD-ROM drive."""
    # libvirt 9.0 makes it of QEMU's usb-storage, which does not start without a medium.
    if values.get("bus") == "usb" and not values.get("source") and {"bus", "source"} & {*written}:
        key = "source" if "source" in written else "bus"
        return key, "a drive on usb has a medium. Write another bus, or take the drive away with state: absent"
    return None


ODD: t.Mapping[str, t.Callable[[t.Mapping[str, t.Any], t.Collection[str]], Oddity | None]] = {
    "disks": odd_disk,
    "cdroms": odd_drive,
    "networks": odd_card,
}
