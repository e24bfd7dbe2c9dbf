# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Memory: what the guest has, up to where the balloon can grow, and the balloon itself."""

from __future__ import annotations

from .node import Node, attribute, child, is_set, kib


def read_maximum(root: Node) -> int:
    """KiB at boot: the balloon cannot give more."""
    return kib(root.find("memory"))


def read_current(root: Node) -> int:
    """KiB that the balloon leaves to the guest: without a balloon it has all of it, whatever is written."""
    if not has_balloon(root):
        return read_maximum(root)
    return kib(root.find("currentMemory")) or read_maximum(root)


def write_maximum(root: Node, value: int) -> None:
    """Set the maximum. What the guest has now is written too: libvirt would fill it in with the maximum."""
    current = min(read_current(root) or value, value) if has_balloon(root) else value
    _write(root, "memory", value)
    _write(root, "currentMemory", current)


def write_current(root: Node, value: int) -> None:
    """Set what the guest has; the maximum follows where it is less, and without a balloon always."""
    if read_maximum(root) < value or not has_balloon(root):
        _write(root, "memory", value)
    _write(root, "currentMemory", value)


def has_cells(root: Node) -> bool:
    """Whether the maximum is the sum of NUMA cells (and memory modules): libvirt takes no other."""
    return is_set(root, "cpu/numa/cell")


def has_balloon(root: Node) -> bool:
    return is_set(root, "devices/memballoon") and attribute(root, "devices/memballoon", "model") != "none"


def _write(root: Node, tag: str, value: int) -> None:
    node = child(root, tag)
    node.set("unit", "KiB")
    node.text = str(value)
