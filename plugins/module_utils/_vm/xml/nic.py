# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Network cards."""

from __future__ import annotations

import dataclasses
import typing as t

from .node import Node, address_of, attribute, boot_order, child, make, name_of, remove, set_attribute, set_name

# Of other kinds of cards. libvirt refuses them on a bridge.
_NOT_OF_A_BRIDGE = ("target", "script", "downscript", "ip", "route", "backend", "portForward", "virtualport")


@dataclasses.dataclass(frozen=True)
class Nic:
    """A network card of a domain in canonical form. *source* is a bridge, or for type ``network`` a virtual network.

    *is_on_bridge* holds of a running card whose tap is a port of a bridge.

    *vlan* is 0 for none, and text for a trunk: ``10,20``. ``None``: its port takes nothing without a tag.
    """

    alias: str | None
    mac: str
    type: str
    source: str
    model: str
    link: str
    mtu: int
    vlan: int | str | None = 0
    boot_order: int = 0
    address: str = ""
    tap: str = ""
    is_on_bridge: bool = True

    @property
    def ident(self) -> str:
        return self.mac

    def value(self, key: str) -> str | int | None:
        """The value of an option of ``networks`` that the definition holds. The bridge is resolved by who knows the networks."""
        found: dict[str, str | int | None] = {
            "vlan": self.vlan,
            "mac": self.mac,
            "model": self.model,
            "link": self.link,
            "mtu": self.mtu,
        }
        return found.get(key)


def read(node: Node) -> Nic:
    kind = node.get("type", "")
    return Nic(
        alias=name_of(node),
        mac=attribute(node, "mac", "address").lower(),
        type=kind,
        source=attribute(node, "source", kind),
        model=attribute(node, "model", "type"),
        link=attribute(node, "link", "state", "up"),
        mtu=int(attribute(node, "mtu", "size", "0")),
        vlan=read_vlan(node),
        boot_order=boot_order(node),
        address=address_of(node),
        tap=attribute(node, "target", "dev"),
        is_on_bridge=kind == "bridge" or bool(attribute(node, "source", "bridge")),
    )


def read_vlan(node: Node) -> int | str:
    """The VLAN of the card, or as text those of a trunk."""
    tags = [tag.get("id", "0") for tag in node.iterfind("vlan/tag")]
    is_plain = attribute(node, "vlan", "trunk") != "yes" and node.find("vlan/tag[@nativeMode]") is None
    return int("".join(tags) or 0) if len(tags) < 2 and is_plain else ",".join(tags)


def build(name: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new network card called *name* with the keys of ``networks``."""
    node = make("interface", type="bridge")
    for key in ("mac", "bridge", "vlan", "model", "mtu", "link"):
        if key in values:
            write(node, key, values[key])
    set_name(node, name)
    return node


def write(node: Node, key: str, value: t.Any) -> None:
    """Set one option of a card that is there."""
    if key == "bridge":
        set_bridge(node, value)
    elif key == "vlan":
        write_vlan(node, value)
    elif key == "mac":
        set_attribute(node, "mac", "address", value)
    elif key == "model":
        set_attribute(node, "model", "type", value)
    elif key == "link":
        if value == "up":
            remove(node.find("link"))
        else:
            set_attribute(node, "link", "state", value)
    elif key == "mtu":
        if value:
            set_attribute(node, "mtu", "size", str(value))
        else:
            remove(node.find("mtu"))


def write_vlan(node: Node, vlan: int) -> None:
    """What the card sends and gets without a tag belongs to *vlan*; 0 takes the element away, with what it said of a trunk."""
    if vlan == read_vlan(node):
        return
    remove(node.find("vlan"))
    if vlan:
        child(node, "vlan").append(make("tag", id=str(vlan)))


def set_bridge(node: Node, bridge: str) -> None:
    """Plug the card into *bridge*, directly: containers share it, so no virtual network may stand between."""
    if node.get("type") not in ("bridge", "network"):
        for tag in _NOT_OF_A_BRIDGE:
            for found in node.findall(tag):
                remove(found)
    node.set("type", "bridge")
    source = node.find("source")
    if source is None:
        node.append(make("source", bridge=bridge))
        return
    for name in list(source.attrib):
        del source.attrib[name]
    for inner in list(source):
        remove(inner)
    source.set("bridge", bridge)
