# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Small steps on a parsed document: read, make and remove nodes, leaving all else as it stands."""

from __future__ import annotations

import re
import typing as t

from ..._core.libraries import etree

Node = t.Any
_ALIAS = "ua-"
_UNITS = {
    "": 1024, "b": 1, "bytes": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2, "g": 1024**3, "gib": 1024**3,
    "t": 1024**4, "tib": 1024**4, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip


def make(tag: str, text: str | None = None, /, **attributes: str) -> Node:
    """A new node; an attribute that is called like a Python word ends in ``_``."""
    node = etree().Element(tag, {key.rstrip("_"): value for key, value in attributes.items()})
    node.text = text
    return node


def child(parent: Node, path: str) -> Node:
    """The node at *path* (``a/b``) below *parent*, made where it is missing."""
    node = parent
    for tag in path.split("/"):
        found = node.find(tag)
        if found is None:
            found = etree().SubElement(node, tag)
        node = found
    return node


def remove(node: Node | None) -> None:
    """Take *node* out of its document; the text behind it stays."""
    if node is None or node.getparent() is None:
        return
    parent, before = node.getparent(), node.getprevious()
    if node.tail and node.tail.strip():
        if before is not None:
            before.tail = (before.tail or "") + node.tail
        else:
            parent.text = (parent.text or "") + node.tail
    parent.remove(node)


def set_text(parent: Node, path: str, text: str) -> None:
    """Set the text of the node at *path*; empty text removes it."""
    if text:
        child(parent, path).text = text
    else:
        remove(parent.find(path))


def set_attribute(parent: Node, path: str, name: str, value: str) -> None:
    """Set one attribute of the node at *path*; an empty value removes it."""
    if value:
        child(parent, path).set(name, value)
        return
    node = parent.find(path)
    if node is not None:
        node.attrib.pop(name, None)


def attribute(parent: Node, path: str, name: str, default: str = "") -> str:
    node = parent.find(path)
    return default if node is None else str(node.get(name, default))


def text_of(parent: Node, path: str) -> str:
    return str(parent.findtext(path) or "")


def is_set(parent: Node, path: str) -> bool:
    return parent.find(path) is not None


def kib(node: Node | None) -> int:
    """The KiB that a node with an attribute ``unit`` says, 0 where there is none."""
    if node is None:
        return 0
    return int(node.text or 0) * _UNITS[node.get("unit", "").lower()] // 1024


def name_of(device: Node) -> str | None:
    """The name that a user's alias carries, ``None`` for a device that libvirt named."""
    alias = attribute(device, "alias", "name")
    return alias[len(_ALIAS) :] if alias.startswith(_ALIAS) else None


def set_name(device: Node, name: str) -> None:
    set_attribute(device, "alias", "name", _ALIAS + name)


def address_of(device: Node) -> str:
    """Where the device is plugged in, as text that is equal for the same place; empty where libvirt has not said."""
    address = device.find("address")
    if address is None:
        return ""
    return ",".join(f"{key}={value}" for key, value in sorted(address.attrib.items()) if key != "multifunction")


def boot_order(device: Node) -> int:
    value = attribute(device, "boot", "order")
    return int(value) if re.fullmatch(r"\d+", value) else 0
