# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Disks: files and block devices."""

from __future__ import annotations

import dataclasses
import string
import typing as t

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

# What libvirt refuses on other buses.
_OF_VIRTIO = ("iothread", "queues", "queue_size", "ioeventfd", "event_idx", "packed", "iommu", "ats", "page_per_vq")
_PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd", "usb": "sd"}


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk of a domain in canonical form. *alias* is the name that a user's alias carries."""

    alias: str | None
    target: str
    bus: str
    device: str
    source: str
    format: str
    serial: str
    cache: str
    discard: bool
    readonly: bool
    boot_order: int = 0
    address: str = ""
    type: str = "file"

    @property
    def plugs_live(self) -> bool:
        """Whether QEMU plugs and unplugs it while the guest runs."""
        return plugs_live(self.bus) and self.device != "floppy"

    @property
    def ident(self) -> str:
        """What tells it from the other disks of the same definition."""
        return self.target

    @property
    def is_empty(self) -> bool:
        """Whether it is a drive without a medium. A disk on a network or in a pool has a source, and no path."""
        return not self.source and self.type in ("file", "block")

    def value(self, key: str) -> str | bool | None:
        """The value of an option of ``disks`` that the definition holds."""
        found: dict[str, str | bool | None] = {
            "source": None if self.is_empty else self.source,
            "format": self.format,
            "bus": self.bus,
            "serial": self.serial,
            "cache": self.cache,
            "discard": self.discard,
            "readonly": self.readonly,
        }
        return found.get(key)


def plugs_live(bus: str) -> bool:
    """Whether QEMU plugs and unplugs disks on *bus* while the guest runs: it does not on ``sata``, ``ide`` and ``fdc``."""
    return bus in ("virtio", "scsi", "usb")


def read(node: Node) -> Disk:
    return Disk(
        alias=name_of(node),
        target=attribute(node, "target", "dev"),
        bus=attribute(node, "target", "bus"),
        device=node.get("device", "disk"),
        source=attribute(node, "source", "file") or attribute(node, "source", "dev"),
        format=attribute(node, "driver", "type", "raw"),
        serial=text_of(node, "serial"),
        cache=attribute(node, "driver", "cache", "default"),
        discard=attribute(node, "driver", "discard") == "unmap",
        readonly=is_set(node, "readonly"),
        boot_order=boot_order(node),
        address=address_of(node),
        type=node.get("type", "file"),
    )


def build(name: str, source: str, target: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new disk called *name* on *source*, plugged in as *target* (``vda``)."""
    node = make("disk", type="file", device="disk")
    node.append(make("driver", name="qemu", type=values["format"]))
    set_source(node, source)
    node.append(make("target", dev=target, bus=values["bus"]))
    for key in ("serial", "cache", "discard", "readonly"):
        if key in values:
            write(node, key, values[key])
    set_name(node, name)
    return node


def write(node: Node, key: str, value: t.Any) -> None:
    """Set one option of a disk that is there. A new bus needs a new target: see ``replug``."""
    if key == "source":
        set_source(node, value)
    elif key == "format":
        set_attribute(node, "driver", "type", value)
    elif key == "serial":
        set_text(node, "serial", value)
    elif key == "cache":
        set_attribute(node, "driver", "cache", "" if value == "default" else value)
    elif key == "discard":
        set_attribute(node, "driver", "discard", "unmap" if value else "")
    elif key == "readonly":
        if value:
            child(node, "readonly")
        else:
            remove(node.find("readonly"))


def set_source(node: Node, path: str) -> None:
    is_block = path.startswith("/dev/")
    node.set("type", "block" if is_block else "file")
    remove(node.find("source"))
    # It tells QEMU what the old source stands on, in place of what the new one says itself.
    remove(node.find("backingStore"))
    node.append(make("source", dev=path) if is_block else make("source", file=path))


def replug(node: Node, bus: str, target: str) -> None:
    """Plug the disk into another bus; its old address is of no use there, nor is what the new bus does not have."""
    driver, place = node.find("driver"), node.find("target")
    for word in _OF_VIRTIO if driver is not None and bus != "virtio" else ():
        driver.attrib.pop(word, None)
    place.attrib.pop("removable", None)
    if bus == "virtio":
        place.attrib.pop("rotation_rate", None)
    set_attribute(node, "target", "dev", target)
    set_attribute(node, "target", "bus", bus)
    remove(node.find("address"))


def free_target(bus: str, taken: t.Container[str]) -> str:
    """The first target name of *bus* that no disk has: vda … vdz, vdaa …"""
    prefix = _PREFIXES[bus]
    letters = string.ascii_lowercase
    names: list[str] = [*letters, *(first + second for first in letters for second in letters)]
    for name in names:
        if prefix + name not in taken:
            return prefix + name
    raise ValueError(f"no target is left on the bus {bus}")
