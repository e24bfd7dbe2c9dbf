# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of a bridge: the mother of its options."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .._core.decide import Option, always, check_unset
from .._core.declared import check_number
from .._core.errors import SpecError, bad_value
from .settings import Range, Settings, StaticHost, check_fits

STATES = ("present", "started", "stopped", "absent")
MODES = ("nat", "routed", "isolated", "ports")
MODES_THERE = ("nat", "routed", "isolated")
EXACT = ("dhcp.hosts", "dns.hosts")
ITEM_STATES = ("present", "absent")
# libvirt keeps no larger range: each of its addresses may become a lease.
LARGEST_RANGE = 65535

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "mode": {"type": "str", "choices": list(MODES)},
    "address": {"type": "str"},
    "dhcp": {
        "type": "dict",
        "options": {
            "start": {"type": "str"},
            "end": {"type": "str"},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "mac": {"type": "str"},
                    "ip": {"type": "str"},
                    "state": {"type": "str", "choices": list(ITEM_STATES), "default": "present"},
                },
            },
        },
    },
    "dns": {
        "type": "dict",
        "options": {
            "domain": {"type": "str"},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "ip": {"type": "str"},
                    "state": {"type": "str", "choices": list(ITEM_STATES), "default": "present"},
                },
            },
            "forwarders": {"type": "list", "elements": "str"},
        },
    },
    "mtu": {"type": "int"},
    "autostart": {"type": "bool"},
    "exact": {"type": "list", "elements": "str", "choices": list(EXACT), "default": []},
    "unset": {"type": "list", "elements": "str", "default": []},
}
CONSTRAINTS: dict[str, t.Any] = {}

_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
# The kernel has its sysctl values for all links and for new ones under these names.
_NO_LINKS = ("all", "default", "lo")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# dnsmasq takes what begins with a digit for a lease time or an address, and libvirt refuses it.
_HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def is_new(live: t.Any, declared: t.Any) -> bool:
    """Only libvirt's start of the network brings it in; there is nothing to stop while it does not exist."""
    return live is None


def show_dhcp(value: tuple[tuple[Range, ...], tuple[StaticHost, ...]] | tuple[()] | None) -> dict[str, t.Any] | None:
    """DHCP as a whole, as it is shown when it is taken off."""
    if not value:
        return None
    ranges, hosts = value
    shown: dict[str, t.Any] = {"start": ranges[0][0], "end": ranges[0][1]} if ranges else {}
    return {**shown, "hosts": [host.shown() for host in hosts]} if hosts else shown


OPTIONS = (
    Option("mode", live=is_new, note="guests are plugged in again"),
    Option("address", live=is_new, off="", show=lambda value: value or None, note="guests are plugged in again"),
    Option("dhcp", live=always, off=(), show=show_dhcp),
    Option("dhcp.start", live=always),
    Option("dhcp.end", live=always),
    Option("dhcp.hosts[]", live=always),
    Option("dhcp.hosts[].name", live=always),
    Option("dhcp.hosts[].mac", live=always),
    Option("dhcp.hosts[].ip", live=always),
    Option("dns.domain", live=is_new, off="", show=lambda value: value or None, note="guests are plugged in again"),
    Option("dns.hosts[]", live=always),
    Option("dns.hosts[].ip", live=always),
    Option(
        "dns.forwarders",
        live=is_new,
        off=(),
        show=lambda value: None if value is None else list(value),
        note="guests are plugged in again",
    ),
    Option(
        "mtu",
        live=is_new,
        off=0,
        show=lambda value: value or None,
        note="guests are plugged in again; their own links keep what they have",
    ),
    Option("autostart", live=always),
)


@dataclasses.dataclass(frozen=True)
class HostItem:
    """An item of ``dhcp.hosts``."""

    name: str
    mac: str | None
    ip: str | None
    is_absent: bool = False

    @property
    def match_mac(self) -> str | None:
        """By which MAC address it claims an entry of another name; what goes is named exactly."""
        return None if self.is_absent else self.mac


@dataclasses.dataclass(frozen=True)
class DnsItem:
    """An item of ``dns.hosts``."""

    name: str
    ip: str | None
    is_absent: bool = False


@dataclasses.dataclass(frozen=True)
class Spec:
    """A bridge as declared. ``None`` is not written. *range* is the first and the last address that DHCP hands out."""

    name: str
    state: str = "present"
    mode: str | None = None
    address: str | None = None
    range: Range | None = None
    hosts: tuple[HostItem, ...] | None = None
    domain: str | None = None
    dns_hosts: tuple[DnsItem, ...] | None = None
    forwarders: tuple[str, ...] | None = None
    mtu: int | None = None
    autostart: bool | None = None
    exact: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    @property
    def host_names(self) -> set[str]:
        return {item.name for item in self.hosts or ()}


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared bridge from a module's parameters.

    :raises SpecError:
    """
    dhcp, dns = params.get("dhcp") or {}, params.get("dns") or {}
    domain = dns.get("domain")
    spec = Spec(
        name=check_link_name("name", params["name"]),
        state=params.get("state") or "present",
        mode=parse_mode(params.get("mode")),
        address=check_address(params.get("address")),
        range=parse_range(dhcp.get("start"), dhcp.get("end")),
        hosts=parse_hosts(dhcp.get("hosts")),
        domain=None if domain is None else check_domain("dns.domain", domain).lower(),
        dns_hosts=parse_dns_hosts(dns.get("hosts")),
        forwarders=parse_forwarders(dns.get("forwarders")),
        # The least MTU that IPv4 guests can be asked to live with; the kernel's bridges end at 65535.
        mtu=check_number("mtu", params.get("mtu"), least=576, most=65535),
        autostart=params.get("autostart"),
        exact=tuple(params.get("exact") or ()),
        unset=check_unset(params.get("unset") or (), OPTIONS, lambda path: _declared(params, path)),
    )
    lists = {"dhcp.hosts": spec.hosts, "dns.hosts": spec.dns_hosts}
    for path in spec.exact:
        if lists[path] is None:
            raise SpecError(
                f"exact: {path} is not declared. Declare the list, an empty one to take all off", key="exact"
            )
    if spec.address is not None:
        hosts = tuple(StaticHost(item.name, item.mac, item.ip) for item in spec.hosts or () if not item.is_absent)
        check_fits(Settings("nat", spec.address, ranges=(spec.range,) if spec.range else (), hosts=hosts))
    return spec


def _declared(params: t.Mapping[str, t.Any], path: str) -> t.Any:
    value: t.Any = params
    for key in path.split("."):
        value = (value or {}).get(key)
    return value


def check_link_name(key: str, value: t.Any) -> str:
    """*value* when the kernel takes it as the name of a link.

    :raises SpecError:
    """
    if not isinstance(value, str) or not _LINK.fullmatch(value) or value in _NO_LINKS:
        raise bad_value(
            key,
            value,
            "1 to 15 letters, digits, '_', '.' and '-', the first a letter or digit, as Linux names its links",
        )
    return value


def parse_mode(mode: str | None) -> str | None:
    """:raises SpecError: for a mode that is not there yet."""
    if mode is not None and mode not in MODES_THERE:
        raise SpecError(
            f"mode: {mode!r} is to come, and not there yet. Allowed now: {', '.join(MODES_THERE)}", key="mode"
        )
    return mode


def check_address(value: str | None) -> str | None:
    """The address of the bridge and its subnet, such as 10.20.0.1/24.

    :raises SpecError:
    """
    if value is None:
        return None
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        interface = None
    if interface is None or "/" not in value or not 8 <= interface.network.prefixlen <= 30:
        raise bad_value(
            "address", value, "an IPv4 address with the length of its prefix, /8 to /30, such as 10.20.0.1/24"
        )
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        raise bad_value(
            "address",
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
        raise bad_value("address", value, "an address that guests can reach")
    return str(interface)


def check_ip(key: str, value: t.Any) -> str:
    """An IPv4 address in canonical form.

    :raises SpecError:
    """
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise bad_value(key, value, "an IPv4 address, such as 10.20.0.10") from None


def parse_range(start: str | None, end: str | None) -> Range | None:
    """:raises SpecError: when one end is missing, or the range runs backwards or is larger than libvirt keeps."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise SpecError("dhcp: start and end are needed together", key="dhcp.start" if start is None else "dhcp.end")
    first, last = check_ip("dhcp.start", start), check_ip("dhcp.end", end)
    size = int(ipaddress.IPv4Address(last)) - int(ipaddress.IPv4Address(first)) + 1
    if not 1 <= size <= LARGEST_RANGE:
        raise bad_value(
            "dhcp.end", end, f"an address that makes a range of 1 to {LARGEST_RANGE} addresses from {first}"
        )
    return first, last


def parse_hosts(items: t.Sequence[t.Mapping[str, t.Any]] | None) -> tuple[HostItem, ...] | None:
    """:raises SpecError: for a bad name, MAC address or address, and for each that is there twice."""
    if items is None:
        return None
    hosts = []
    for item in items:
        name = item["name"]
        if not isinstance(name, str) or not _HOST_NAME.fullmatch(name):
            raise bad_value(
                "dhcp.hosts[].name",
                name,
                "a host name of 1 to 63 letters, digits and '-', the first a letter, without a domain",
            )
        is_absent = item.get("state") == "absent"
        mac, ip = item.get("mac"), item.get("ip")
        if not is_absent and (mac is None or ip is None):
            raise SpecError(f"dhcp.hosts[{name}]: mac and ip are needed", key=f"dhcp.hosts[{name}]")
        mac = None if mac is None else check_mac(f"dhcp.hosts[{name}].mac", mac)
        ip = None if ip is None else check_ip(f"dhcp.hosts[{name}].ip", ip)
        hosts.append(HostItem(name, mac, ip, is_absent))
    _check_once("dhcp.hosts", "name", [host.name for host in hosts])
    _check_once("dhcp.hosts", "mac", [host.mac for host in hosts if not host.is_absent])
    _check_once("dhcp.hosts", "ip", [host.ip for host in hosts if not host.is_absent])
    return tuple(hosts)


def check_mac(key: str, value: t.Any) -> str:
    """A MAC address of one host, in lower case.

    :raises SpecError:
    """
    mac = value.lower() if isinstance(value, str) else ""
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise bad_value(key, value, "the MAC address of one guest, such as 52:54:00:12:34:56")
    return mac


def check_domain(key: str, value: t.Any) -> str:
    """A DNS name without a trailing dot.

    :raises SpecError:
    """
    if not isinstance(value, str) or len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise bad_value(key, value, "a DNS name such as lab.internal")
    return value


def parse_dns_hosts(items: t.Sequence[t.Mapping[str, t.Any]] | None) -> tuple[DnsItem, ...] | None:
    """:raises SpecError: for a name that DNS does not have, a missing address, and a name that is there twice."""
    if items is None:
        return None
    hosts = []
    for item in items:
        name = check_domain("dns.hosts[].name", item["name"])
        is_absent = item.get("state") == "absent"
        if item.get("ip") is None and not is_absent:
            raise SpecError(f"dns.hosts[{name}]: ip is needed", key=f"dns.hosts[{name}]")
        ip = None if item.get("ip") is None else check_ip(f"dns.hosts[{name}].ip", item["ip"])
        hosts.append(DnsItem(name, ip, is_absent))
    _check_once("dns.hosts", "name", [host.name for host in hosts])
    return tuple(hosts)


def parse_forwarders(values: t.Sequence[t.Any] | None) -> tuple[str, ...] | None:
    """:raises SpecError: for what is no address."""
    if values is None:
        return None
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_address(value)))
        except ValueError:
            raise bad_value("dns.forwarders", value, "addresses of DNS servers, such as 192.0.2.53") from None
    _check_once("dns", "forwarders", found)
    return tuple(found)


def _check_once(path: str, key: str, values: t.Sequence[str | None]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise SpecError(f"{path}: the {key} {value!r} is there twice. Each must be there once", key=path)
        seen.add(value)


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new bridge gets where the user wrote nothing.

    :raises SpecError: without an address where nothing can stand in for it.
    """
    mode = spec.mode or "nat"
    if spec.address is None and mode != "isolated":
        raise SpecError(f"address: is needed to make the bridge {spec.name} with mode {mode}", key="address")
    autostart = True if spec.autostart is None else spec.autostart
    return dataclasses.replace(spec, mode=mode, autostart=autostart)


def merge(settings: Settings, spec: Spec) -> Settings:
    """*settings* with what *spec* declares or takes off; everything else stays."""
    takes_dhcp_off = "dhcp" in spec.unset
    ranges = () if takes_dhcp_off else _merge_ranges(settings, spec.range)
    hosts = () if takes_dhcp_off else _merge_hosts(settings, spec)
    domain = "" if "dns.domain" in spec.unset else spec.domain
    forwarders = () if "dns.forwarders" in spec.unset else spec.forwarders
    mtu = 0 if "mtu" in spec.unset else spec.mtu
    return Settings(
        mode=spec.mode or settings.mode,
        address="" if "address" in spec.unset else spec.address or settings.address,
        ranges=ranges,
        hosts=hosts,
        domain=settings.domain if domain is None else domain,
        dns_hosts=_merge_dns_hosts(settings, spec),
        forwarders=settings.forwarders if forwarders is None else forwarders,
        mtu=settings.mtu if mtu is None else mtu,
    )


def _merge_ranges(settings: Settings, wanted: Range | None) -> tuple[Range, ...]:
    if wanted is None or wanted in settings.ranges:
        return settings.ranges
    return (wanted, *settings.ranges[1:])


def _merge_hosts(settings: Settings, spec: Spec) -> tuple[StaticHost, ...]:
    merged = list(settings.hosts)
    claimed = set()
    for item in spec.hosts or ():
        known = settings.host(item.name, item.match_mac, spec.host_names)
        if item.is_absent:
            merged = [host for host in merged if host is not known]
            continue
        wanted = StaticHost(item.name, item.mac, item.ip)
        claimed.add(wanted)
        if known is None or known not in merged:
            merged.append(wanted)
        else:
            merged[merged.index(known)] = wanted
    if "dhcp.hosts" in spec.exact:
        merged = [host for host in merged if host in claimed]
    return tuple(merged)


def _merge_dns_hosts(settings: Settings, spec: Spec) -> tuple[tuple[str, str], ...]:
    declared = {item.name: None if item.is_absent else item.ip for item in spec.dns_hosts or ()}
    kept = [] if "dns.hosts" in spec.exact else [pair for pair in settings.dns_hosts if pair[0] not in declared]
    if "dns.hosts" not in spec.exact and all(settings.dns_address(name) == ip for name, ip in declared.items()):
        return settings.dns_hosts
    return (*kept, *((name, ip) for name, ip in declared.items() if ip is not None))
