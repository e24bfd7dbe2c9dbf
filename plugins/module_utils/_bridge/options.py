# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The options of a bridge: one row each. How a backend reads and writes them stands in its tables READ, WRITE and LIVE."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import (
    LINK_NAME,
    MAC,
    MTU,
    NEVER_PERMITTED,
    TASK,
    Check,
    Option,
    Options,
    always,
    fixed,
    listed,
    number,
    or_none,
)
from .subnet import Range, StaticHost

STATES = ("present", "started", "stopped", "absent")
MODES = ("nat", "routed", "isolated", "ports")
PORTS_MODE = "ports"
EXACT = ("dhcp.hosts", "dns.hosts", "ports")
# Which options only one of the two kinds of bridge has.
ONLY_WITH_PORTS = ("ports", "gateway", "gateway6", "mac", "stp", "vlan_aware", "confirm_timeout", "verify")
NEVER_WITH_PORTS = ("dhcp", "dns", "nat6")

# Not written ("") and leased addresses beside fixed ones.
DHCP = "dhcp"
# The host gives itself an address from what a router announces, also while it forwards.
SLAAC = "slaac"
# What is no address of its own, and brings its own way out.
WORDS = (DHCP, SLAAC)
_NO_FIXED_ADDRESS = {DHCP: DHCP, "none": ""}
_NO_FIXED_ADDRESS6 = {**_NO_FIXED_ADDRESS, SLAAC: SLAAC}
# A subnet of its own, of those that nobody else has (RFC 4193).
AUTO = "auto"
_VIDS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)
# dnsmasq takes what begins with a digit for a lease time or an address, and libvirt refuses it.
_HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ADDRESS = "an IPv4 address with the length of its prefix, /8 to /30, such as 10.20.0.1/24, dhcp or none"
_ADDRESS6 = "an IPv6 address with the length of its prefix, such as fd00:20::1/64, auto, slaac, dhcp or none"
_GATEWAY6 = "an IPv6 address, such as fd00:20::1 or fe80::1"
_IP = "an IPv4 address, such as 10.20.0.10"
_IP6 = "an IPv6 address that others reach too, such as fd00:20::10"
_DOMAIN = "a DNS name such as lab.internal"
_NAME_OF_HOST = "a host name of 1 to 63 letters, digits and '-', the first a letter, without a domain"
_SERVERS = "addresses of DNS servers, such as 192.0.2.53"
_TARGETS = "addresses that answer to ping, such as 192.0.2.1"
_VID = "VLANs from 1 to 4094 and ranges of them, such as 20 and 30-39"


def is_new(live: t.Any, declared: t.Any) -> bool:
    """Only libvirt's start of the network brings it in; there is nothing to stop while it does not exist."""
    return live is None


def _stays_on(before: t.Any, after: t.Any) -> str | None:
    return NEVER_PERMITTED if before and not after else None


def show_dhcp(value: tuple[tuple[Range, ...], tuple[StaticHost, ...]] | tuple[()] | None) -> dict[str, t.Any] | None:
    """DHCP as a whole, as it is shown when it is taken off."""
    if not value:
        return None
    ranges, hosts = value
    shown: dict[str, t.Any] = {"start": ranges[0][0], "end": ranges[0][1]} if ranges else {}
    return {**shown, "hosts": [host.shown() for host in hosts]} if hosts else shown


def show_vids(vids: tuple[int, ...] | None) -> list[str] | None:
    """VLANs as they are written, neighbours as a range."""
    if vids is None:
        return None
    runs: list[list[int]] = []
    for vid in vids:
        if runs and runs[-1][-1] == vid - 1:
            runs[-1].append(vid)
        else:
            runs.append([vid])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def parse_vids(key: str, values: t.Sequence[t.Any]) -> tuple[int, ...]:
    """VLANs as numbers, from numbers and ranges such as 30-39.

    :raises SpecError:
    """
    found: set[int] = set()
    for value in values:
        match = _VIDS.fullmatch(str(value))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 4094:
            raise bad_value(key, value, _VID)
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def check_address(key: str, value: str) -> str:
    """The address of the bridge and its subnet, such as 10.20.0.1/24, dhcp, or none, which becomes "".

    :raises SpecError:
    """
    if value in _NO_FIXED_ADDRESS:
        return _NO_FIXED_ADDRESS[value]
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        interface = None
    if interface is None or "/" not in value or not 8 <= interface.network.prefixlen <= 30:
        raise bad_value(key, value, _ADDRESS)
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        raise bad_value(
            key,
            value,
            f"an address of a host in {interface.network}, such as {interface.network.network_address + 1}",
        )
    if (
        interface.is_multicast
        or interface.is_loopback
        or interface.is_unspecified
        or interface.is_link_local
        or interface.is_reserved
    ):
        raise bad_value(key, value, "an address that guests can reach")
    return str(interface)


def check_address6(key: str, value: str) -> str:
    """The IPv6 address of the bridge with its prefix, auto, slaac, dhcp, or none, which becomes "".

    :raises SpecError:
    """
    if value == AUTO:
        return AUTO
    if value in _NO_FIXED_ADDRESS6:
        return _NO_FIXED_ADDRESS6[value]
    try:
        interface = ipaddress.IPv6Interface(value)
    except ValueError:
        interface = None
    if (
        interface is None
        or "/" not in value
        or interface.ip.scope_id
        or interface.is_multicast
        or interface.is_loopback
        or interface.is_unspecified
        or interface.is_link_local
    ):
        raise bad_value(key, value, _ADDRESS6)
    return str(interface)


def check_ip(key: str, value: t.Any) -> str:
    """An IPv4 address in canonical form.

    :raises SpecError:
    """
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise bad_value(key, value, _IP) from None


def check_ip6(key: str, value: t.Any) -> str:
    """An IPv6 address in canonical form. One of the link means another machine on each link.

    :raises SpecError:
    """
    try:
        address = ipaddress.IPv6Address(value)
        if not address.scope_id and not address.is_multicast and not address.is_link_local:
            return str(address)
    except ValueError:
        pass
    raise bad_value(key, value, _IP6)


def check_gateway6(key: str, value: str) -> str:
    """:raises SpecError:"""
    try:
        address = ipaddress.IPv6Address(value)
        if not address.scope_id and not address.is_multicast:
            return str(address)
    except ValueError:
        pass
    raise bad_value(key, value, _GATEWAY6)


def check_domain(key: str, value: t.Any) -> str:
    """A DNS name without a trailing dot.

    :raises SpecError:
    """
    if not isinstance(value, str) or len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise bad_value(key, value, _DOMAIN)
    return value


def _parse_domain(key: str, value: t.Any) -> str:
    return check_domain(key, value).lower()


def _check_host_name(key: str, value: t.Any) -> str:
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise bad_value(key, value, _NAME_OF_HOST)
    return value


def _parse_forwarders(key: str, values: t.Sequence[t.Any]) -> tuple[str, ...]:
    found: list[str] = []
    for value in values:
        try:
            address = str(ipaddress.ip_address(value))
        except ValueError:
            raise bad_value(key, value, _SERVERS) from None
        if address in found:
            raise SpecError(f"{key}: {address} is there twice. Each must be there once", key=key)
        found.append(address)
    return tuple(found)


def _parse_targets(key: str, values: t.Sequence[t.Any]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(value)) for value in values)
    except ValueError:
        raise bad_value(key, values, _TARGETS) from None


ADDRESS = Check(check_address, _ADDRESS, ("10.20.0.1/24", "10.20.0.2/24"))
ADDRESS6 = Check(check_address6, _ADDRESS6, ("fd00:20::1/64", "fd00:20::2/64"))
IP = Check(check_ip, _IP, ("10.20.0.10", "10.20.0.11"))
IP6 = Check(check_ip6, _IP6, ("fd00:20::10", "fd00:20::11"))
GATEWAY6 = Check(check_gateway6, _GATEWAY6, ("fd00:20::a", "fd00:20::b"))
DOMAIN = Check(_parse_domain, _DOMAIN, ("lab.internal", "home.internal"))
DNS_NAME = Check(check_domain, _DOMAIN, ("nas", "router"))
HOST_NAME = Check(_check_host_name, _NAME_OF_HOST, ("web", "mail"))
SERVERS = Check(_parse_forwarders, _SERVERS, (["192.0.2.53"], ["192.0.2.54"]))
TARGETS = Check(_parse_targets, _TARGETS, (["192.0.2.1"], ["192.0.2.1", "2001:db8::1"]))
VIDS = Check(parse_vids, _VID, (["20"], ["20", "30-39"]))

_AGAIN = "guests are plugged in again"

OPTIONS = Options(
    Option("name", check=LINK_NAME, required=True, home=TASK),
    Option("state", choices=STATES, default="present", home=TASK),
    Option("mode", choices=MODES, create="nat", live=is_new, note=_AGAIN),
    Option("address", check=ADDRESS, live=is_new, off="", show=or_none, note=_AGAIN),
    Option("address6", check=ADDRESS6, live=is_new, off="", show=or_none, note=_AGAIN),
    Option("nat6", "bool", live=is_new, off=False, note=_AGAIN),
    Option("dhcp", "dict", live=always, off=(), show=show_dhcp),
    Option("dhcp.start", check=IP, live=always),
    Option("dhcp.end", check=IP, live=always),
    Option("dhcp.hosts[]", "item", HOST_NAME, live=always),
    Option("dhcp.hosts[].name", check=HOST_NAME, required=True, live=always),
    Option("dhcp.hosts[].mac", check=MAC, live=always),
    Option("dhcp.hosts[].ip", check=IP, live=always),
    Option("dns.domain", check=DOMAIN, live=is_new, off="", show=or_none, note=_AGAIN),
    Option("dns.hosts[]", "item", DNS_NAME, live=always),
    Option("dns.hosts[].ip", check=IP, live=always, show=or_none),
    Option("dns.hosts[].ip6", check=IP6, live=always, show=or_none),
    Option("dns.forwarders", "list", SERVERS, live=is_new, off=(), show=listed, note=_AGAIN),
    Option("ports[]", "item", LINK_NAME, live=always),
    Option("ports[].pvid", "int", number(0, 4094), live=always, off=1),
    Option("ports[].vids", "list", VIDS, live=always, off=(), show=show_vids),
    Option("gateway", check=IP, live=always, off="", show=or_none),
    Option("gateway6", check=GATEWAY6, live=always, off="", show=or_none),
    Option("mac", check=MAC, live=always, off="", show=or_none, note="unset: the running bridge keeps it"),
    Option("stp", "bool", live=always, off=False),
    Option("vlan_aware", "bool", live=always, off=False),
    Option("mtu", "int", MTU, live=is_new, off=0, show=or_none, note=f"{_AGAIN}; their own links keep what they have"),
    Option("autostart", "bool", create=True, live=always),
    Option("confirm_timeout", "int", number(10, 3600), home=TASK),
    Option("verify", "list", TARGETS, home=TASK),
    Option("exact", "list", choices=EXACT, default=(), home=TASK),
    Option("unset", "list", default=(), home=TASK),
)


def area(path: str) -> str:
    """The first word of a path: ``ports`` of ``ports[eth1].pvid``."""
    return re.split(r"[.\[]", path)[0]


# What libvirt carries is started anew for what its running network does not take; a bridge with ports takes all while it is up.
NETWORK = Options(*(row for row in OPTIONS if area(row.path) not in ONLY_WITH_PORTS))
# Its files never leave it down, and none of the others becomes one of them.
_LOSSES = {"mode": fixed, "autostart": _stays_on}
LINK = Options(
    *(
        row.but(live=always, loss=_LOSSES.get(row.path, row.loss))
        for row in OPTIONS
        if area(row.path) not in NEVER_WITH_PORTS
    )
)
