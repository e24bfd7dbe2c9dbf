# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Devices of the host that a guest gets: by what each type is known, and what the host has of one."""

from __future__ import annotations

from .._core.options import Item
from .._core.value import Value

NODE, SERIAL, USB, PCI = "node", "serial", "usb", "pci"
# By which option a device of each type is known.
KNOWN_BY = {NODE: "path", SERIAL: "id", USB: "id"}
BY_ID = "/dev/serial/by-id"

Target = tuple[str, str]


class HostDevice(Value):
    """A device of the host that is there. *kind* is ``c`` or ``b``, *mode* that of its node, *group* the name of the group that has it."""

    __slots__ = ("group", "kind", "major", "minor", "mode")

    def __init__(self, kind: str, major: int, minor: int, mode: int, group: str) -> None:
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = mode
        self.group = group

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
