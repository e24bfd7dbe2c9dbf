# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Devices of the host that a guest gets: by what each type is known, and what the host has of one."""

from __future__ import annotations

import re
import typing as t

from .._core.options import Item
from .._core.value import Value

NODE, SERIAL, USB, PCI = "node", "serial", "usb", "pci"
# By which option a device of each type is known.
KNOWN_BY = {NODE: "path", SERIAL: "id", USB: "id"}
BY_ID = "/dev/serial/by-id"
# The parts of a PCI address as libvirt writes it, each with its digits.
PCI_PARTS = {"domain": 4, "bus": 2, "slot": 2, "function": 1}

Target = tuple[str, str]


class HostDevice(Value):
    """A device of the host that is there. *kind* is ``c`` or ``b``, *mode* that of its node, *group* the name of the group that has it.

    *port* is where the USB device that it is of is plugged in, empty where it is of none.
    """

    __slots__ = ("group", "kind", "major", "minor", "mode", "port")

    def __init__(self, kind: str, major: int, minor: int, mode: int, group: str, port: str = "") -> None:
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = mode
        self.group = group
        self.port = port

    @property
    def numbers(self) -> str:
        return f"{self.kind} {self.major}:{self.minor}"

    def rule(self, type_: str) -> str:
        """Which devices a control group has to let through. What is plugged in again comes with another minor number."""
        return f"{self.numbers if type_ == NODE else f'{self.kind} {self.major}:*'} rwm"


def target_of(item: Item, type_: str | None, ref: str | None) -> Target | None:
    """The type of a declared device and what it is known by, over the *type_* and *ref* that it has; ``None`` where that is not said."""
    wanted = item.text("type") or type_ or NODE
    found = item.text(KNOWN_BY[wanted]) or (ref if wanted == type_ else None)
    return (wanted, found) if found else None


def pci_address(node: t.Any) -> str:
    """``0000:03:00.0`` of a node that says domain, bus, slot and function, in whatever base."""
    if node is None:
        return ""
    domain, bus, slot, function = (f"{number(str(node.get(word, '0'))):0{width}x}" for word, width in PCI_PARTS.items())
    return f"{domain}:{bus}:{slot}.{function}"


def number(text: str) -> int:
    """A number as libvirt reads it: 0x10 is 16, 010 is 8 and 10 is 10."""
    octal = re.fullmatch(r"0[0-7]+", text)
    return int(text, 8) if octal else int(text, 0)
