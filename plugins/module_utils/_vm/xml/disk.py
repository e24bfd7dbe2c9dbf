# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Disks: files and block devices. How each of their options is read and written."""

from __future__ import annotations

import string
import typing as t

from ..._core.errors import ApplyError
from . import controller, threads
from .device import Device
from .node import (
    Node,
    address_of,
    attribute,
    boot_order,
    child,
    is_set,
    make,
    name_of,
    remove,
    set_attribute,
    set_name,
    set_text,
    text_of,
)

TURNING = ("scsi", "sata", "ide")
# What libvirt refuses on other buses.
_OF_VIRTIO = ("iothread", "queues", "queue_size", "ioeventfd", "event_idx", "packed", "iommu", "ats", "page_per_vq")
_ON_SCSI = 7
_PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd", "usb": "sd"}


class Disk(Device):
    """A disk of a domain. *values* has its options in canonical form.

    *volume* is the pool and the name of a disk of the type ``volume``; *place* is what its source leads to, whatever it is called.
    """

    __slots__ = (
        "address",
        "alias",
        "boot_order",
        "device",
        "place",
        "source",
        "target",
        "type",
        "values",
        "volume",
    )

    def __init__(
        self,
        alias: str | None,
        target: str,
        source: str,
        values: t.Mapping[str, t.Any],
        *,
        type: str = "file",
        device: str = "disk",
        boot_order: int = 0,
        address: str = "",
        volume: tuple[str, str] | None = None,
        place: t.Hashable = None,
    ) -> None:
        self.alias = alias
        self.target = target
        self.source = source
        self.values = values
        self.type = type
        self.device = device
        self.boot_order = boot_order
        self.address = address
        self.volume = volume
        self.place = place

    def standing_on(self, path: str, place: t.Hashable) -> Disk:
        """The same disk, of which the host says that it stands on *path*."""
        return self.replace(source=path, values={**self.values, "source": path}, place=place)

    @property
    def bus(self) -> str:
        return t.cast(str, self.values["bus"])

    @property
    def plugs_live(self) -> bool:
        """Whether QEMU plugs and unplugs it while the guest runs."""
        return plugs_live(self.bus) and self.device != "floppy"

    @property
    def ident(self) -> str:
        return self.target

    @property
    def marks(self) -> tuple[t.Hashable, ...]:
        serial = self.values.get("serial", "")
        return tuple(mark for mark in (self.place or self.source, serial_mark(serial) if serial else "") if mark)

    @property
    def hints(self) -> tuple[str, ...]:
        return ()

    def is_known_by(self, ident: str) -> bool:
        return ident == self.target


def serial_mark(serial: str) -> t.Hashable:
    """What tells a disk from others by its serial."""
    return "serial", serial


def plugs_live(bus: str) -> bool:
    """Whether QEMU plugs and unplugs disks on *bus* while the guest runs: it does not on ``sata``, ``ide`` and ``fdc``."""
    return bus in ("virtio", "scsi", "usb")


def source_of(node: Node) -> str:
    """The path of the disk; empty for an empty drive, and for one on a network or in a pool."""
    return attribute(node, "source", "file") or attribute(node, "source", "dev")


def _read_source(node: Node) -> str | None:
    """``None`` for a drive without a medium. A disk on a network or in a pool has a source, and no path."""
    path = source_of(node)
    return None if not path and node.get("type", "file") in ("file", "block") else path


def write_source(node: Node, path: str) -> None:
    """Let the disk be the file or the block device at *path*."""
    is_block = path.startswith("/dev/")
    node.set("type", "block" if is_block else "file")
    remove(node.find("source"))
    # It tells QEMU what the old source stands on, in place of what the new one says itself.
    remove(node.find("backingStore"))
    node.append(make("source", dev=path) if is_block else make("source", file=path))


def _write_iothread(node: Node, number: int) -> None:
    """Let the disk be served by the thread *number*, or by none of its own; a machine that it is plugged into has that thread then."""
    set_attribute(node, "driver", "iothread", str(number or ""))
    root = next(node.iterancestors("domain"), None)
    if number and root is not None:
        threads.add(root, number)


def _write_flag(tag: str) -> t.Callable[[Node, bool], None]:
    def write(node: Node, value: bool) -> None:
        if value:
            child(node, tag)
        else:
            remove(node.find(tag))

    return write


# What libvirt calls the limits of a disk, in its XML and in its API.
LIMITS = {
    f"limits.{way}{what}": f"{way or 'total_'}{what}_sec"
    for what in ("iops", "bytes")
    for way in ("", "read_", "write_")
}


def _read_limit(word: str) -> t.Callable[[Node], int]:
    return lambda node: int(text_of(node, f"iotune/{word}") or 0)


def _write_limit(word: str) -> t.Callable[[Node, int], None]:
    def write(node: Node, value: int) -> None:
        set_text(node, f"iotune/{word}", str(value or ""))
        limits = node.find("iotune")
        if limits is not None and not len(limits):
            remove(limits)

    return write


READ: dict[str, t.Callable[[Node], t.Any]] = {
    "source": _read_source,
    "format": lambda node: attribute(node, "driver", "type", "raw"),
    "bus": lambda node: attribute(node, "target", "bus"),
    "serial": lambda node: text_of(node, "serial"),
    "cache": lambda node: attribute(node, "driver", "cache", "default"),
    "discard": lambda node: attribute(node, "driver", "discard") == "unmap",
    "io": lambda node: attribute(node, "driver", "io", "default"),
    "iothread": lambda node: int(attribute(node, "driver", "iothread", "0")),
    "readonly": lambda node: is_set(node, "readonly"),
    "shareable": lambda node: is_set(node, "shareable"),
    "rotation_rate": lambda node: int(attribute(node, "target", "rotation_rate", "0")),
    **{key: _read_limit(word) for key, word in LIMITS.items()},
}
WRITE: dict[str, t.Callable[[Node, t.Any], None]] = {
    "source": write_source,
    "format": lambda node, value: set_attribute(node, "driver", "type", value),
    "serial": lambda node, value: set_text(node, "serial", value),
    "cache": lambda node, value: set_attribute(node, "driver", "cache", "" if value == "default" else value),
    "discard": lambda node, value: set_attribute(node, "driver", "discard", "unmap" if value else ""),
    "io": lambda node, value: set_attribute(node, "driver", "io", "" if value == "default" else value),
    "iothread": _write_iothread,
    "readonly": _write_flag("readonly"),
    "shareable": _write_flag("shareable"),
    "rotation_rate": lambda node, value: set_attribute(node, "target", "rotation_rate", str(value or "")),
    **{key: _write_limit(word) for key, word in LIMITS.items()},
}


def read(node: Node) -> Disk:
    return Disk(
        name_of(node),
        attribute(node, "target", "dev"),
        source_of(node),
        {key: read(node) for key, read in READ.items()},
        type=node.get("type", "file"),
        device=node.get("device", "disk"),
        boot_order=boot_order(node),
        address=address_of(node),
        volume=read_volume(node),
    )


def read_volume(node: Node) -> tuple[str, str] | None:
    """The pool and the name of the volume that it stands on; ``None`` where libvirt is told of none."""
    pool, volume = attribute(node, "source", "pool"), attribute(node, "source", "volume")
    return (pool, volume) if pool and volume else None


def build(name: str, source: str, target: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new disk called *name* on *source*, plugged in as *target* (``vda``)."""
    node = make("disk", type="file", device="disk")
    node.append(make("driver", name="qemu", type=values["format"]))
    write_source(node, source)
    node.append(make("target", dev=target, bus=values["bus"]))
    for key, write in WRITE.items():
        if key in values and key not in ("source", "format"):
            write(node, values[key])
    set_name(node, name)
    return node


def write_bus(node: Node, bus: str, taken: t.Collection[str]) -> None:
    """Plug the disk into another bus; its old address is of no use there, nor is what the new bus does not have.

    *taken* are targets of the running domain.
    """
    devices = node.getparent()
    target = free_target(bus, {*taken, *targets(devices)})
    controller.add_for(bus, devices.getparent(), controller_of(target))
    driver, place = node.find("driver"), node.find("target")
    for word in _OF_VIRTIO if driver is not None and bus != "virtio" else ():
        driver.attrib.pop(word, None)
    place.attrib.pop("removable", None)
    if bus not in TURNING:
        place.attrib.pop("rotation_rate", None)
    set_attribute(node, "target", "dev", target)
    set_attribute(node, "target", "bus", bus)
    remove(node.find("address"))


def targets(devices: Node) -> set[str]:
    """The targets (``vda``) that the disks among *devices* have."""
    return {attribute(item, "target", "dev") for item in devices.iterfind("disk")}


def free_target(bus: str, taken: t.Container[str]) -> str:
    """The first target name of *bus* that no disk has: vda … vdz, vdaa …

    :raises ApplyError: when all are taken.
    """
    prefix = _PREFIXES[bus]
    letters = string.ascii_lowercase
    names: list[str] = [*letters, *(first + second for first in letters for second in letters)]
    for name in names:
        if prefix + name not in taken:
            return prefix + name
    raise ApplyError(f"no target is left on the bus {bus}")


def controller_of(target: str) -> int:
    """The number of the SCSI controller that libvirt plugs a disk of that target (``sda``) into: seven go into each."""
    number = 0
    for letter in target[2:]:
        number = number * 26 + string.ascii_lowercase.index(letter) + 1
    return (number - 1) // _ON_SCSI


def controller_at(node: Node) -> int:
    """The number of the SCSI controller that the disk is plugged into."""
    number = attribute(node, "address", "controller")
    return int(number) if number else controller_of(attribute(node, "target", "dev"))
