# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The type of the machine: its chipset and, in its version, how QEMU's devices behave."""

from __future__ import annotations

from .node import Node, attribute

# libvirt writes the newest version for the word alone.
_FAMILIES = {"q35": "pc-q35-", "pc": "pc-i440fx-"}


def read(root: Node) -> str:
    return attribute(root, "os/type", "machine")


def write(root: Node, kind: str) -> None:
    root.find("os/type").set("machine", kind)


def family(kind: str) -> str:
    """``q35`` or ``pc``, the chipset of a type with or without its version; any other type is one of its own."""
    return next((word for word, start in _FAMILIES.items() if kind == word or kind.startswith(start)), kind)
