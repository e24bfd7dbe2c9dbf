# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""PCI and USB devices of the host that a machine has.

libvirt knows a PCI device by its address, and a USB device by vendor and product, or by the number that it has until it is pulled out.
"""

from __future__ import annotations

import re
import typing as t

from ..._core.value import Value
from ..._guest.device import PCI, PCI_PARTS, USB, number, pci_address
from .device import Device
from .node import Node, address_of, attribute, child, make, name_of, remove, set_name

KINDS = (PCI, USB)


class Source(Value):
    """Which device of the host: a PCI device by its *address*; a USB device by its *id*, by *bus* and *number*, or by both."""

    __slots__ = ("address", "bus", "id", "number", "type")

    def __init__(self, type: str, *, address: str = "", id: str = "", bus: int = 0, number: int = 0) -> None:
        self.type = type
        self.address = address
        self.id = id
        self.bus = bus
        self.number = number

    @property
    def is_pinned(self) -> bool:
        """Whether a USB device is meant by the number that it has now."""
        return bool(self.number)

    def is_of(self, wanted: Source) -> bool:
        """Whether this device of a running domain is the one that is *wanted*."""
        if wanted.type != USB or not wanted.is_pinned:
            return (self.type, self.address, self.id) == (wanted.type, wanted.address, wanted.id)
        return (self.bus, self.number) == (wanted.bus, wanted.number)

    @property
    def ident(self) -> str:
        return self.address or f"{self.id}@{self.bus}.{self.number}"


class Hostdev(Device):
    """A device of a domain. *alias* is the name that a user's alias carries, *values* has its options as far as the host tells them."""

    __slots__ = ("address", "alias", "source", "values")

    def __init__(
        self, alias: str | None, source: Source, *, address: str = "", values: t.Mapping[str, t.Any] | None = None
    ) -> None:
        self.alias = alias
        self.source = source
        self.address = address
        self.values: t.Mapping[str, t.Any] = values or {"type": source.type}

    def text(self, key: str) -> str:
        return str(self.values.get(key) or "")

    @property
    def ident(self) -> str:
        return self.source.ident

    @property
    def marks(self) -> tuple[t.Hashable, ...]:
        """A running domain tells the number of each USB device: it says no more than what it has of its id."""
        return marks_of(self.source)

    @property
    def hints(self) -> tuple[str, ...]:
        return ()

    def is_known_by(self, ident: str) -> bool:
        """A running domain knows the number of what its definition knows by its id alone."""
        its_id, dummy, number = ident.partition("@")
        return ident == self.ident or (bool(its_id) and self.source.id == its_id and number in ("", "0.0"))


def marks_of(source: Source) -> tuple[t.Hashable, ...]:
    """What tells one device from others."""
    if source.type == PCI:
        return ((PCI, source.address),)
    marks = [(USB, source.bus, source.number) if source.is_pinned else None, (USB, source.id) if source.id else None]
    return tuple(mark for mark in marks if mark)


def read_all(root: Node) -> tuple[Hostdev, ...]:
    """The PCI and USB devices in their order. What another kind of device takes of the host is none of them."""
    return tuple(read(node) for node in nodes(root))


def nodes(root: Node) -> list[Node]:
    found = root.iterfind("devices/hostdev")
    return [node for node in found if node.get("mode", "subsystem") == "subsystem" and node.get("type") in KINDS]


def read(node: Node) -> Hostdev:
    is_optional = attribute(node, "source", "startupPolicy") in ("optional", "requisite")
    values = {"type": node.get("type"), "optional": is_optional}
    return Hostdev(name_of(node), read_source(node), address=address_of(node), values=values)


def read_source(node: Node) -> Source:
    if node.get("type") == PCI:
        return Source(PCI, address=pci_address(node.find("source/address")))
    ids = [number(attribute(node, f"source/{word}", "id", "0")) for word in ("vendor", "product")]
    bus, device = (number(attribute(node, "source/address", word, "0")) for word in ("bus", "device"))
    return Source(USB, id=f"{ids[0]:04x}:{ids[1]:04x}" if any(ids) else "", bus=bus, number=device)


def find(root: Node, ident: str) -> Node | None:
    """The only device that is known by *ident*."""
    found = [node for node in nodes(root) if read(node).is_known_by(ident)]
    return found[0] if len(found) == 1 else None


def build(name: str, source: Source, values: t.Mapping[str, t.Any]) -> Node:
    """A new device called *name*; libvirt takes it from the host's driver when the machine gets it, and gives it back after."""
    node = make("hostdev", mode="subsystem", type=source.type)
    write_source(node, source)
    write_optional(node, bool(values.get("optional")))
    set_name(node, name)
    return node


def write_source(node: Node, source: Source) -> None:
    """Let *node* be another device of the host. Where it is plugged in stays as it is, unless it is one of another kind."""
    if node.get("type") != source.type:
        node.set("type", source.type)
        remove(node.find("address"))
    place = child(node, "source")
    for old in list(place):
        remove(old)
    if source.type == PCI:
        node.set("managed", "yes")
        place.attrib.pop("startupPolicy", None)
        parts = re.split(r"[:.]", source.address)
        place.append(make("address", **{word: f"0x{part}" for word, part in zip(PCI_PARTS, parts, strict=True)}))
        return
    node.attrib.pop("managed", None)
    remove(node.find("rom"))
    if source.id:
        vendor, dummy, product = source.id.partition(":")
        place.extend([make("vendor", id=f"0x{vendor}"), make("product", id=f"0x{product}")])
    if source.is_pinned:
        place.append(make("address", bus=str(source.bus), device=str(source.number)))


def write_optional(node: Node, value: bool) -> None:
    """Whether the machine starts without it."""
    place = child(node, "source")
    if value:
        place.set("startupPolicy", "optional")
    else:
        place.attrib.pop("startupPolicy", None)
