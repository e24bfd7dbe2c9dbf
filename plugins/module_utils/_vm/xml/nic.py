# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Network cards. How each of their options is read and written."""

from __future__ import annotations

import typing as t

from .device import Device
from .node import Node, address_of, attribute, boot_order, child, make, name_of, remove, set_attribute, set_name

# Of other kinds of cards. libvirt refuses them on a bridge.
_NOT_OF_A_BRIDGE = ("target", "script", "downscript", "ip", "route", "backend", "portForward", "virtualport")

_WITH_MTU = ("bridge", "network", "ethernet", "vhostuser")


class Nic(Device):
    """A network card of a domain. *source* is a bridge, or for type ``network`` a virtual network.

    *is_on_bridge* holds of a running card whose tap is a port of a bridge. *values* has its options in canonical form: the
    VLAN is 0 for none, and text for a trunk: ``10,20``. ``None``: its port takes nothing without a tag. *is_twin*: another card
    of the domain has its MAC, as ``<teaming>`` demands.
    """

    __slots__ = (
        "address",
        "alias",
        "boot_order",
        "is_on_bridge",
        "is_twin",
        "portgroup",
        "source",
        "tap",
        "type",
        "values",
    )

    def __init__(
        self,
        alias: str | None,
        source: str,
        values: t.Mapping[str, t.Any],
        *,
        type: str = "bridge",
        boot_order: int = 0,
        address: str = "",
        tap: str = "",
        is_on_bridge: bool = True,
        is_twin: bool = False,
        portgroup: str = "",
    ) -> None:
        self.alias = alias
        self.source = source
        self.values = values
        self.type = type
        self.boot_order = boot_order
        self.address = address
        self.tap = tap
        self.is_on_bridge = is_on_bridge
        self.is_twin = is_twin
        self.portgroup = portgroup

    def as_twin(self) -> Nic:
        """The same card, whose MAC another one has too."""
        return self.replace(is_twin=True)

    @property
    def mac(self) -> str:
        return t.cast(str, self.values["mac"])

    @property
    def ident(self) -> str:
        return f"{self.mac} at {self.address}" if self.is_twin else self.mac

    @property
    def takes_mtu(self) -> bool:
        return self.type in _WITH_MTU

    def is_known_by(self, ident: str) -> bool:
        return ident in (self.mac, f"{self.mac} at {self.address}")

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.mac,) if self.mac else ()

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.source,) if self.source else ()


def _read_vlan(node: Node) -> int | str:
    """The VLAN of the card, or as text those of a trunk."""
    tags = [tag.get("id", "0") for tag in node.iterfind("vlan/tag")]
    is_plain = attribute(node, "vlan", "trunk") != "yes" and node.find("vlan/tag[@nativeMode]") is None
    return int("".join(tags) or 0) if len(tags) < 2 and is_plain else ",".join(tags)


def _write_vlan(node: Node, vlan: int) -> None:
    """What the card sends and gets without a tag belongs to *vlan*; 0 takes the element away, with what it said of a trunk."""
    if vlan == _read_vlan(node):
        return
    remove(node.find("vlan"))
    if vlan:
        child(node, "vlan").append(make("tag", id=str(vlan)))


def _write_link(node: Node, value: str) -> None:
    if value == "up":
        remove(node.find("link"))
    else:
        set_attribute(node, "link", "state", value)


def _write_mtu(node: Node, value: int) -> None:
    if value:
        set_attribute(node, "mtu", "size", str(value))
    else:
        remove(node.find("mtu"))


def _write_bridge(node: Node, bridge: str) -> None:
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


# What libvirt refuses on another model.
_OF_VIRTIO = ("queues", "rx_queue_size", "tx_queue_size", "ioeventfd", "event_idx", "txmode", "rss", "rss_hash_report")


def _write_model(node: Node, model: str) -> None:
    set_attribute(node, "model", "type", model)
    driver = node.find("driver")
    for word in _OF_VIRTIO if driver is not None and model != "virtio" else ():
        driver.attrib.pop(word, None)


def _write_queues(node: Node, count: int) -> None:
    set_attribute(node, "driver", "queues", str(count or ""))
    driver = node.find("driver")
    if driver is not None and not driver.attrib and not len(driver):
        remove(driver)


def _write_mac(node: Node, mac: str) -> None:
    set_attribute(node, "mac", "address", mac)


# libvirt counts kilobytes a second, of 1000 bytes as tc does, and says them as the guest sees them.
_BITS = 8_000
RATES = {"rate_limit.in": "inbound", "rate_limit.out": "outbound"}


def _read_rate(word: str) -> t.Callable[[Node], int]:
    return lambda node: int(attribute(node, f"bandwidth/{word}", "average", "0")) * _BITS


def _write_rate(word: str) -> t.Callable[[Node, int], None]:
    def write(node: Node, bits: int) -> None:
        remove(node.find(f"bandwidth/{word}"))
        if bits:
            child(node, "bandwidth").append(make(word, average=str(bits // _BITS)))
        limits = node.find("bandwidth")
        if limits is not None and not len(limits):
            remove(limits)

    return write


def rate_parameters(values: t.Mapping[str, int]) -> dict[str, int]:
    """What libvirt's API takes for rates in bits per second, by option key."""
    return {f"{RATES[key]}.average": bits // _BITS for key, bits in values.items()}


READ: dict[str, t.Callable[[Node], t.Any]] = {
    # A virtual network by its own name: who knows the networks says which bridge that is.
    "bridge": lambda node: attribute(node, "source", node.get("type", "")),
    "vlan": _read_vlan,
    "mac": lambda node: attribute(node, "mac", "address").lower(),
    "model": lambda node: attribute(node, "model", "type"),
    "queues": lambda node: int(attribute(node, "driver", "queues", "0")),
    "link": lambda node: attribute(node, "link", "state", "up"),
    "mtu": lambda node: int(attribute(node, "mtu", "size", "0")),
    **{key: _read_rate(word) for key, word in RATES.items()},
}
WRITE: dict[str, t.Callable[[Node, t.Any], None]] = {
    "mac": _write_mac,
    "bridge": _write_bridge,
    "vlan": _write_vlan,
    "model": _write_model,
    "queues": _write_queues,
    "mtu": _write_mtu,
    "link": _write_link,
    **{key: _write_rate(word) for key, word in RATES.items()},
}


def read(node: Node) -> Nic:
    kind = node.get("type", "")
    return Nic(
        name_of(node),
        attribute(node, "source", kind),
        {key: read(node) for key, read in READ.items()},
        type=kind,
        boot_order=boot_order(node),
        address=address_of(node),
        tap=attribute(node, "target", "dev"),
        is_on_bridge=kind == "bridge" or bool(attribute(node, "source", "bridge")),
        portgroup=attribute(node, "source", "portgroup"),
    )


def build(name: str, values: t.Mapping[str, t.Any], tap: str) -> Node:
    """A new network card called *name* with the keys of ``networks``; its end on the host is called *tap*."""
    node = make("interface", type="bridge")
    for key, write in WRITE.items():
        if key in values:
            write(node, values[key])
    set_attribute(node, "target", "dev", tap)
    set_name(node, name)
    return node
