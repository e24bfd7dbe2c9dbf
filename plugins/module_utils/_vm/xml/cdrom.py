# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""CD-ROM drives, each with its medium or empty. How each of their options is read and written."""

from __future__ import annotations

import typing as t

from . import disk
from .device import Device
from .node import Node, address_of, attribute, boot_order, make, name_of, remove, set_attribute, set_name

# The drive or disk that cloud_init makes, which no list has.
SEED_NAME = "seed"


class Cdrom(Device):
    """A drive of a domain. *source* is the path of its medium, empty where it has none or nothing tells the path.

    *place* is what that leads to, whatever it is called. *is_open*: the guest has opened the tray.
    """

    __slots__ = ("address", "alias", "boot_order", "is_open", "place", "source", "target", "values", "volume")

    def __init__(
        self,
        alias: str | None,
        target: str,
        values: t.Mapping[str, t.Any],
        *,
        source: str = "",
        boot_order: int = 0,
        address: str = "",
        volume: tuple[str, str] | None = None,
        place: t.Hashable = None,
        is_open: bool = False,
    ) -> None:
        self.alias = alias
        self.target = target
        self.values = values
        self.source = source
        self.boot_order = boot_order
        self.address = address
        self.volume = volume
        self.place = place
        self.is_open = is_open

    def standing_on(self, path: str, place: t.Hashable) -> Cdrom:
        """The same drive, of whose medium the host says where it lies."""
        return self.replace(source=path, values={**self.values, "source": path}, place=place)

    @property
    def bus(self) -> str:
        return t.cast(str, self.values["bus"])

    @property
    def plugs_live(self) -> bool:
        return disk.plugs_live(self.bus)

    @property
    def ident(self) -> str:
        return self.target

    @property
    def marks(self) -> tuple[t.Hashable, ...]:
        """Nothing is its own: media come and go."""
        return ()

    @property
    def hints(self) -> tuple[t.Hashable, ...]:
        return (self.place or self.source,) if self.source else ()

    def is_known_by(self, ident: str) -> bool:
        return ident == self.target


def is_drive(node: Node) -> bool:
    """Whether what libvirt calls a disk is a CD-ROM drive. The seed counts as the disk that it is on every bus that knows read-only ones."""
    return bool(node.get("device") == "cdrom") and name_of(node) != SEED_NAME


def _read_source(node: Node) -> str | None:
    """``None`` for a medium of which no path is known: on a network, in a pool."""
    path = disk.source_of(node)
    return path if path or node.get("type", "file") in ("file", "block") else None


def _write_source(node: Node, path: str) -> None:
    """Put the medium at *path* into the drive, or none."""
    policy = attribute(node, "source", "startupPolicy")
    # With a medium the tray is closed, and without one nothing says where it is.
    set_attribute(node, "target", "tray", "")
    if path:
        disk.write_source(node, path)
        set_attribute(node, "source", "startupPolicy", policy)
        return
    node.set("type", "file")
    for tag in ("source", "backingStore"):
        remove(node.find(tag))


READ: dict[str, t.Callable[[Node], t.Any]] = {
    "source": _read_source,
    "bus": lambda node: attribute(node, "target", "bus"),
}
WRITE: dict[str, t.Callable[[Node, t.Any], None]] = {"source": _write_source}


def read(node: Node) -> Cdrom:
    return Cdrom(
        name_of(node),
        attribute(node, "target", "dev"),
        {key: read(node) for key, read in READ.items()},
        source=disk.source_of(node),
        boot_order=boot_order(node),
        address=address_of(node),
        volume=disk.read_volume(node),
        is_open=attribute(node, "target", "tray") == "open",
    )


def build(name: str, target: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new drive called *name*, plugged in as *target* (``sda``)."""
    node = make("disk", type="file", device="cdrom")
    node.append(make("driver", name="qemu", type="raw"))
    node.append(make("target", dev=target, bus=values["bus"]))
    node.append(make("readonly"))
    _write_source(node, values.get("source") or "")
    set_name(node, name)
    return node
