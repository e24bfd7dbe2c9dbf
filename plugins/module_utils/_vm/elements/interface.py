# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Network cards."""

from __future__ import annotations

import dataclasses
import typing as t

from .node import Node, address_of, attribute, boot_order, make, name_of, remove, set_attribute, set_name


@dataclasses.dataclass(frozen=True)
class Nic:
    """A network card of a domain in canonical form. *source* is a bridge, or for type ``network`` a virtual network."""

    alias: str | None
    mac: str
    type: str
    source: str
    model: str
    link: str
    mtu: int
    boot_order: int = 0
    address: str = ""
    tap: str = ""

    @property
    def ident(self) -> str:
        return self.mac

    def value(self, key: str) -> str | int | None:
        """The value of an option of ``networks`` that the definition holds. The bridge is resolved by who knows the networks."""
        found: dict[str, str | int] = {"mac": self.mac, "model": self.model, "link": self.link, "mtu": self.mtu}
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
        boot_order=boot_order(node),
        address=address_of(node),
        tap=attribute(node, "target", "dev"),
    )


def build(name: str, values: t.Mapping[str, t.Any]) -> Node:
    """A new network card called *name* with the keys of ``networks``."""
    node = make("interface", type="bridge")
    for key in ("mac", "bridge", "model", "mtu", "link"):
        if key in values:
            write(node, key, values[key])
    set_name(node, name)
    return node


def write(node: Node, key: str, value: t.Any) -> None:
    """Set one option of a card that is there."""
    if key == "bridge":
        set_bridge(node, value)
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


def set_bridge(node: Node, bridge: str) -> None:
    """Plug the card into *bridge*, directly: containers share it, so no virtual network may stand between."""
    node.set("type", "bridge")
    source = node.find("source")
    if source is None:
        node.append(make("source", bridge=bridge))
        return
    for name in list(source.attrib):
        del source.attrib[name]
    source.set("bridge", bridge)
