# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The DHCP server of a virtual network: for whom it keeps which address."""

from __future__ import annotations

import ipaddress
import typing as t
from xml.etree import ElementTree

# The bridge, the MAC and the address of a reservation.
Place = tuple[str, str, str]


class Reservation(t.NamedTuple):
    """The address *ip* that is kept for whoever has *mac*. *owner* is the guest that has it kept, "" where the bridge itself says so."""

    mac: str
    ip: str
    name: str = ""
    owner: str = ""

    @property
    def label(self) -> str:
        """How sentences call it."""
        return f"the guest {self.owner}" if self.owner else f"dhcp.hosts[{self.name or self.mac}] of the bridge"


class Server(t.NamedTuple):
    """The server of a bridge with *address*: what its network is defined to keep, and what it keeps as it runs, ``None`` while it does not."""

    address: str
    defined: tuple[Reservation, ...] = ()
    running: tuple[Reservation, ...] | None = None

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """All that is kept, once each."""
        return tuple(dict.fromkeys((*self.defined, *(self.running or ()))))

    def ips_for(self, mac: str) -> list[str | None]:
        """The address that is kept for *mac* in the definition, and in the network that runs."""
        sides = (self.defined, *([] if self.running is None else [self.running]))
        return [next((kept.ip for kept in side if kept.mac == mac), None) for side in sides]

    def once_kept(self, declared: t.Mapping[str, tuple[str, str] | None]) -> Server:
        """It when the bridge itself keeps what is *declared*: the MAC and the address by name, ``None`` for what goes."""
        wanted = [Reservation(*place, name) for name, place in declared.items() if place is not None]
        macs = {its.mac for its in wanted}

        def side(kept: tuple[Reservation, ...]) -> tuple[Reservation, ...]:
            left = [its for its in kept if its.owner or (its.name not in declared and its.mac not in macs)]
            places = {(its.mac, its.ip) for its in left}
            return (*left, *(its for its in wanted if (its.mac, its.ip) not in places))

        return Server(self.address, side(self.defined), None if self.running is None else side(self.running))

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Interface(self.address).network


def read_server(
    bridge: str, xml: str, live_xml: str | None, owners: t.Mapping[Place, str], gone: t.Collection[str] = ()
) -> Server | None:
    """The server of the network that makes *bridge*; ``None`` where it hands out no IPv4. What is kept for guests that are *gone* is free."""
    ip = _ip(ElementTree.fromstring(live_xml or xml))
    if ip is None:
        return None
    server = Server(
        address=str(ipaddress.IPv4Interface(f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask') or '32'}")),
        defined=_kept(bridge, xml, owners, gone),
        running=None if live_xml is None else _kept(bridge, live_xml, owners, gone),
    )
    has_range = any(found is not None for found in (ip.find("dhcp/range"), _range(xml)))
    # Without a range it answers those that an address is kept for by the bridge itself.
    return server if has_range or any(not kept.owner for kept in server.reservations) else None


def _range(xml: str) -> ElementTree.Element | None:
    ip = _ip(ElementTree.fromstring(xml))
    return None if ip is None else ip.find("dhcp/range")


def _ip(root: ElementTree.Element) -> ElementTree.Element | None:
    four = (ip for ip in root.iterfind("ip") if ip.get("family", "ipv4") == "ipv4" and ip.get("address"))
    return next(four, None)


def _kept(bridge: str, xml: str, owners: t.Mapping[Place, str], gone: t.Collection[str]) -> tuple[Reservation, ...]:
    ip = _ip(ElementTree.fromstring(xml))
    found = []
    for host in ip.iterfind("dhcp/host") if ip is not None else ():
        mac, address = host.get("mac", "").lower(), host.get("ip", "")
        found.append(Reservation(mac, address, host.get("name", ""), owners.get((bridge, mac, address), "")))
    return tuple(kept for kept in found if kept.owner not in gone or not kept.owner)
