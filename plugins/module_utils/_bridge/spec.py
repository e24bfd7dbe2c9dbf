# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a bridge: the mother of its options."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .._core.declared import check_number
from .._core.errors import SpecError, bad_value
from .._core.options import Option, always, check_unset
from .subnet import Range, StaticHost, check_fits

STATES = ("present", "started", "stopped", "absent")
MODES = ("nat", "routed", "isolated", "ports")
PORTS_MODE = "ports"
EXACT = ("dhcp.hosts", "dns.hosts", "ports")
# Which options only one of the two kinds of bridge has.
ONLY_WITH_PORTS = ("ports", "address6", "gateway", "gateway6", "mac", "stp", "vlan_aware")
NEVER_WITH_PORTS = ("dhcp", "dns")
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
    "ports": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "pvid": {"type": "int"},
            "vids": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": list(ITEM_STATES), "default": "present"},
        },
    },
    "address6": {"type": "str"},
    "gateway": {"type": "str"},
    "gateway6": {"type": "str"},
    "mac": {"type": "str"},
    "stp": {"type": "bool"},
    "vlan_aware": {"type": "bool"},
    "mtu": {"type": "int"},
    "autostart": {"type": "bool"},
    "exact": {"type": "list", "elements": "str", "choices": list(EXACT), "default": []},
    "unset": {"type": "list", "elements": "str", "default": []},
}
CONSTRAINTS: dict[str, t.Any] = {}

_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
# The kernel has its sysctl values for all links and for new ones under these names.
_NO_LINKS = ("all", "default", "lo")
# Not written ("") and leased addresses beside fixed ones.
DHCP = "dhcp"
_NO_FIXED_ADDRESS = {DHCP: DHCP, "none": ""}
_VIDS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)
_OF_PORT = re.compile(r"ports\[([^\]]*)\]\.(.*)")
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


OPTIONS = (
    Option("mode", live=is_new, note="guests are plugged in again"),
    Option(
        "address",
        live=is_new,
        off="",
        show=lambda value: value or None,
        note="guests are plugged in again; live with `mode: ports`",
    ),
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
        note="guests are plugged in again; live with `mode: ports`; their own links keep what they have",
    ),
    Option("autostart", live=always),
    Option("ports[]", live=always),
    Option("ports[].pvid", live=always, off=1, show=lambda value: value),
    Option("ports[].vids", live=always, off=(), show=show_vids),
    Option(
        "address6",
        live=always,
        off="",
        show=lambda value: value or None,
        note="with `mode: ports`",
    ),
    Option("gateway", live=always, off="", show=lambda value: value or None),
    Option("gateway6", live=always, off="", show=lambda value: value or None),
    Option("mac", live=always, off="", show=lambda value: value or None, note="unset: the running bridge keeps it"),
    Option("stp", live=always, off=False),
    Option("vlan_aware", live=always, off=False),
)
# A bridge with ports takes everything while it is up.
LINK_OPTIONS = tuple(option.but(live=always) for option in OPTIONS)


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
class PortItem:
    """An item of ``ports``."""

    name: str
    pvid: int | None = None
    vids: tuple[int, ...] | None = None
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
    ports: tuple[PortItem, ...] | None = None
    address6: str | None = None
    gateway: str | None = None
    gateway6: str | None = None
    mac: str | None = None
    stp: bool | None = None
    vlan_aware: bool | None = None
    exact: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    @property
    def host_names(self) -> set[str]:
        return {item.name for item in self.hosts or ()}

    @property
    def unset_ports(self) -> list[str]:
        """The ports of which something is taken off."""
        return list(dict.fromkeys(match[1] for path in self.unset if (match := _OF_PORT.match(path))))


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared bridge from a module's parameters.

    :raises SpecError:
    """
    dhcp, dns = params.get("dhcp") or {}, params.get("dns") or {}
    domain = dns.get("domain")
    spec = Spec(
        name=check_link_name("name", params["name"]),
        state=params.get("state") or "present",
        mode=params.get("mode"),
        address=check_address(params.get("address")),
        range=parse_range(dhcp.get("start"), dhcp.get("end")),
        hosts=parse_hosts(dhcp.get("hosts")),
        domain=None if domain is None else check_domain("dns.domain", domain).lower(),
        dns_hosts=parse_dns_hosts(dns.get("hosts")),
        forwarders=parse_forwarders(dns.get("forwarders")),
        # The least MTU that IPv4 guests can be asked to live with; the kernel's bridges end at 65535.
        mtu=check_number("mtu", params.get("mtu"), least=576, most=65535),
        autostart=params.get("autostart"),
        ports=parse_ports(params.get("ports")),
        address6=check_address6(params.get("address6")),
        gateway=None if params.get("gateway") is None else check_ip("gateway", params["gateway"]),
        gateway6=check_gateway6(params.get("gateway6")),
        mac=None if params.get("mac") is None else check_mac("mac", params["mac"]),
        stp=params.get("stp"),
        vlan_aware=params.get("vlan_aware"),
        exact=tuple(params.get("exact") or ()),
        unset=check_unset(params.get("unset") or (), OPTIONS, lambda path: _declared(params, path)),
    )
    lists: dict[str, t.Any] = {"dhcp.hosts": spec.hosts, "dns.hosts": spec.dns_hosts, "ports": spec.ports}
    for path in spec.exact:
        if lists[path] is None:
            raise SpecError(
                f"exact: {path} is not declared. Declare the list, an empty one to take all off", key="exact"
            )
    if spec.mode is not None:
        check_options(spec, spec.mode)
    if spec.address and spec.address != DHCP:
        hosts = tuple(StaticHost(item.name, item.mac, item.ip) for item in spec.hosts or () if not item.is_absent)
        check_fits(spec.address, (spec.range,) if spec.range else (), hosts)
    return spec


def _declared(params: t.Mapping[str, t.Any], path: str) -> t.Any:
    match = _OF_PORT.match(path)
    if match:
        values = (item.get(match[2]) for item in params.get("ports") or () if item["name"] == match[1])
        return next(values, None)
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


def check_options(spec: Spec, mode: str) -> None:
    """Nothing is declared or taken off that a bridge of that mode does not have.

    :raises SpecError:
    """
    has_ports = mode == PORTS_MODE
    declared = {
        **{key: getattr(spec, key) for key in ONLY_WITH_PORTS},
        "dhcp": spec.range if spec.hosts is None else spec.hosts,
        "dns": next((value for value in (spec.domain, spec.dns_hosts, spec.forwarders) if value is not None), None),
    }
    for key in NEVER_WITH_PORTS if has_ports else ONLY_WITH_PORTS:
        if declared[key] is not None or any(re.split(r"[.\[]", path)[0] == key for path in spec.unset):
            raise SpecError(f"{key}: a bridge with mode {mode} does not have it", key=key)
    if has_ports and spec.state == "stopped":
        raise SpecError(
            f"state: a bridge with mode {mode} is up as long as it is there. Take it away with absent", key="state"
        )
    if has_ports and spec.autostart is False:
        raise SpecError(f"autostart: a bridge with mode {mode} always starts with the host", key="autostart")
    if not has_ports and spec.address == DHCP:
        raise SpecError(
            f"address: {DHCP} is for mode {PORTS_MODE}. A bridge with mode {mode} gives addresses itself", key="address"
        )
    if has_ports and spec.address == "" and spec.gateway:
        raise SpecError("gateway: needs an address of the bridge", key="gateway")
    for key, address in (("gateway", spec.address), ("gateway6", spec.address6)):
        gateway = getattr(spec, key)
        if gateway and address == DHCP:
            raise SpecError(f"{key}: comes by DHCP. Write it with a fixed address only", key=key)


def parse_ports(items: t.Sequence[t.Mapping[str, t.Any]] | None) -> tuple[PortItem, ...] | None:
    """:raises SpecError: for what is no link, no VLAN, and for each link that is there twice."""
    if items is None:
        return None
    found = []
    for item in items:
        name = check_link_name("ports[].name", item["name"])
        path = f"ports[{name}]"
        pvid = check_number(f"{path}.pvid", item.get("pvid"), least=0, most=4094)
        vids = parse_vids(f"{path}.vids", item.get("vids"))
        if vids and (pvid or 1) in vids and pvid != 0:
            raise SpecError(
                f"{path}.vids: {pvid or 1} is the VLAN of what comes without a tag (pvid). Write it there alone",
                key=path,
            )
        found.append(PortItem(name, pvid, vids, item.get("state") == "absent"))
    _check_once("ports", "name", [port.name for port in found])
    return tuple(found)


def parse_vids(key: str, values: t.Sequence[t.Any] | None) -> tuple[int, ...] | None:
    """VLANs as numbers, from numbers and ranges such as 30-39.

    :raises SpecError:
    """
    if values is None:
        return None
    found: set[int] = set()
    for value in values:
        match = _VIDS.fullmatch(str(value))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 4094:
            raise bad_value(key, value, "VLANs from 1 to 4094 and ranges of them, such as 20 and 30-39")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def check_address6(value: str | None) -> str | None:
    """The IPv6 address of the bridge with its prefix, dhcp, or none, which becomes "".

    :raises SpecError:
    """
    if value is None or value in _NO_FIXED_ADDRESS:
        return None if value is None else _NO_FIXED_ADDRESS[value]
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
        raise bad_value(
            "address6", value, "an IPv6 address with the length of its prefix, such as fd00:20::1/64, dhcp or none"
        )
    return str(interface)


def check_gateway6(value: str | None) -> str | None:
    """:raises SpecError:"""
    if value is None:
        return None
    try:
        address = ipaddress.IPv6Address(value)
        if not address.scope_id and not address.is_multicast:
            return str(address)
    except ValueError:
        pass
    raise bad_value("gateway6", value, "an IPv6 address, such as fd00:20::1 or fe80::1")


def check_address(value: str | None) -> str | None:
    """The address of the bridge and its subnet, such as 10.20.0.1/24, dhcp, or none, which becomes "".

    :raises SpecError:
    """
    if value is None or value in _NO_FIXED_ADDRESS:
        return None if value is None else _NO_FIXED_ADDRESS[value]
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        interface = None
    if interface is None or "/" not in value or not 8 <= interface.network.prefixlen <= 30:
        raise bad_value(
            "address",
            value,
            "an IPv4 address with the length of its prefix, /8 to /30, such as 10.20.0.1/24, dhcp or none",
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
    if not spec.address and mode != "isolated":
        raise SpecError(f"address: is needed to make the bridge {spec.name} with mode {mode}", key="address")
    autostart = True if spec.autostart is None else spec.autostart
    return dataclasses.replace(spec, mode=mode, autostart=autostart)
