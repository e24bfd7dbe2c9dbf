# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The subnet of a bridge and what is handed out in it: ranges and fixed addresses."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import typing as t

from .._core.errors import SpecError

Range = tuple[str, str]
# A MAC and the address that is kept for it.
Place = tuple["str | None", "str | None"]
# RFC 8200: a link with a smaller one has no IPv6.
LEAST_MTU6 = 1280


@dataclasses.dataclass(frozen=True)
class StaticHost:
    """A guest that always gets the same address. One that was made by hand may lack a name or a MAC address."""

    name: str | None
    mac: str | None
    ip: str | None

    @property
    def label(self) -> str:
        """How it is named in a path: by its name, else by its MAC address."""
        return self.name or self.mac or str(self.ip)

    @property
    def place(self) -> Place:
        """What is kept for whom, whatever it is called."""
        return self.mac, self.ip

    def shown(self) -> dict[str, str]:
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def ula_of(machine_id: str, bridge: str) -> str:
    """The first address of a subnet that nobody else has (RFC 4193), with its prefix: the same on each try on one host."""
    prefix = b"\xfd" + hashlib.sha256(f"{machine_id.strip()}/{bridge}".encode()).digest()[:5]
    return f"{ipaddress.IPv6Address(prefix.ljust(15, bytes(1)) + bytes([1]))}/64"


def network_of(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_interface(address).network


def overlapping(address: str, subnets: t.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of *subnets* (link, address in CIDR form) that share addresses with the subnet of *address*."""
    own = network_of(address)
    networks = [(link, other, network_of(other)) for link, other in subnets]
    # Networks of two families never overlap.
    return [(link, other) for link, other, network in networks if own.overlaps(network)]


def check_fits(address: str, ranges: t.Sequence[Range], hosts: t.Sequence[StaticHost]) -> None:
    """Everything that is handed out lies in the subnet of *address*, and no MAC address, name or address is given twice.

    :raises SpecError: naming the entry, also one that was there before and that nobody declared.
    """
    if not address:
        if ranges or hosts:
            raise SpecError(
                "dhcp: needs an address of the bridge, such as 10.20.0.1/24, to hand out addresses beside it",
                key="dhcp",
            )
        return
    for first, last in ranges:
        _check_range(address, first, last)
    for host in hosts:
        if host.ip is not None:
            check_usable(f"dhcp.hosts[{host.label}].ip", host.ip, address)
    for key in ("name", "mac", "ip"):
        seen: dict[str, StaticHost] = {}
        for host in hosts:
            value = getattr(host, key)
            if value is not None and value in seen:
                raise SpecError(
                    f"dhcp.hosts[{host.label}].{key}: {value} is given to {seen[value].label} already. "
                    f"Take that one off with state: absent, or choose another",
                    key=f"dhcp.hosts[{host.label}].{key}",
                )
            if value is not None:
                seen[value] = host


def check_mtu6(mtu: int, address6: t.Collection[str]) -> None:
    """:raises SpecError: where a bridge with *address6* is to have an *mtu* (0 for none) that is too small for it."""
    if address6 and 0 < mtu < LEAST_MTU6:
        raise SpecError(
            f"mtu: the kernel has IPv6 with {LEAST_MTU6} and more only, and the bridge has an address6", key="mtu"
        )


def _check_range(address: str, first: str, last: str) -> None:
    check_usable("dhcp.start", first, address)
    check_usable("dhcp.end", last, address)
    own = ipaddress.IPv4Interface(address).ip
    if ipaddress.IPv4Address(first) <= own <= ipaddress.IPv4Address(last):
        raise SpecError(f"dhcp: the range {first} - {last} holds the address of the bridge itself, {own}", key="dhcp")


def check_usable(key: str, value: str, address: str) -> None:
    """*value* can be the address of a guest in the subnet of *address*.

    :raises SpecError:
    """
    interface = ipaddress.IPv4Interface(address)
    ip = ipaddress.IPv4Address(value)
    network = interface.network
    if ip not in network or ip in (network.network_address, network.broadcast_address):
        raise SpecError(f"{key}: {value} is no address for a guest in {network}, the subnet of the bridge", key=key)
    if ip == interface.ip:
        raise SpecError(f"{key}: {value} is the address of the bridge itself", key=key)
