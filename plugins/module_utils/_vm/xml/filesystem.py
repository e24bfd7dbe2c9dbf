# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Folders of the host that a machine shares by virtiofs. The guest mounts one by its tag, which is its name here."""

from __future__ import annotations

import typing as t

from .device import Device
from .node import Node, address_of, attribute, child, is_set, make, name_of, remove, set_attribute, set_name

AUTO = "auto"
_DRIVER = "virtiofs"


class Share(Device):
    """A share of a domain. *alias* is the name that a user's alias carries, *tag* what the guest mounts."""

    __slots__ = ("address", "alias", "tag", "values")

    def __init__(self, alias: str | None, tag: str, values: t.Mapping[str, t.Any], *, address: str = "") -> None:
        self.alias = alias
        self.tag = tag
        self.values = values
        self.address = address

    @property
    def ident(self) -> str:
        return self.tag

    @property
    def marks(self) -> tuple[t.Hashable, ...]:
        return (tag_mark(self.tag),)

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.values["source"],)

    def is_known_by(self, ident: str) -> bool:
        return ident == self.tag


def tag_mark(tag: str) -> t.Hashable:
    """What tells a share from others."""
    return "tag", tag


def nodes(root: Node) -> list[Node]:
    """Those of virtiofs; what is shared by 9p is left alone."""
    return [node for node in root.iterfind("devices/filesystem") if attribute(node, "driver", "type") == _DRIVER]


def read_all(root: Node) -> tuple[Share, ...]:
    return tuple(read(node) for node in nodes(root))


def read(node: Node) -> Share:
    values = {key: read(node) for key, read in READ.items()}
    return Share(name_of(node), attribute(node, "target", "dir"), values, address=address_of(node))


def find(root: Node, tag: str) -> Node | None:
    return next((node for node in nodes(root) if attribute(node, "target", "dir") == tag), None)


def has_shared_memory(root: Node) -> bool:
    """Whether another process can see the memory of the machine, as virtiofsd has to: all of it, or that of each NUMA cell."""
    cells = [node.get("memAccess", "") for node in root.iterfind("cpu/numa/cell")]
    is_shared = attribute(root, "memoryBacking/access", "mode") == "shared"
    return all(access == "shared" or (is_shared and not access) for access in cells) if cells else is_shared


def share_memory(root: Node) -> None:
    """Let other processes see the memory of the machine. What it is made of stays, where it can be shared."""
    if has_shared_memory(root):
        return
    if attribute(root, "memoryBacking/source", "type") not in ("file", "memfd"):
        set_attribute(root, "memoryBacking/source", "type", "memfd")
    set_attribute(root, "memoryBacking/access", "mode", "shared")
    for cell in root.iterfind("cpu/numa/cell[@memAccess]"):
        cell.set("memAccess", "shared")


def build(name: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new share called *name*."""
    node = make("filesystem", type="mount", accessmode="passthrough")
    node.append(make("driver", type=_DRIVER))
    _write_source(node, values["source"])
    node.append(make("target", dir=name))
    for key in ("readonly", "cache"):
        if key in values:
            WRITE[key](node, values[key])
    set_name(node, name)
    return node


def _write_source(node: Node, path: str) -> None:
    # A virtiofsd that somebody else runs is known by its socket.
    remove(node.find("source"))
    node.append(make("source", dir=path))


def _write_readonly(node: Node, value: bool) -> None:
    if value:
        child(node, "readonly")
    else:
        remove(node.find("readonly"))


def _write_cache(node: Node, mode: str) -> None:
    if mode != AUTO:
        set_attribute(node, "binary/cache", "mode", mode)
        return
    remove(node.find("binary/cache"))
    binary = node.find("binary")
    if binary is not None and not len(binary) and not binary.attrib:
        remove(binary)


READ: dict[str, t.Callable[[Node], t.Any]] = {
    "source": lambda node: attribute(node, "source", "dir") or attribute(node, "source", "socket"),
    "readonly": lambda node: is_set(node, "readonly"),
    "cache": lambda node: attribute(node, "binary/cache", "mode", AUTO),
}
WRITE: dict[str, t.Callable[[Node, t.Any], None]] = {
    "source": _write_source,
    "readonly": _write_readonly,
    "cache": _write_cache,
}
