# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a bridge. Which options there are, their rows say."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import Declared, Item
from .options import DHCP, NEVER_WITH_PORTS, ONLY_WITH_PORTS, OPTIONS, PORTS_MODE, area
from .subnet import Range, StaticHost, check_fits

ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
# libvirt keeps no larger range: each of its addresses may become a lease.
LARGEST_RANGE = 65535

_OF_PORT = re.compile(r"ports\[([^\]]*)\]\.(.*)")
# The options that are fields of a spec by their own name.
_FIELDS = ("mode", "address", "mtu", "autostart", "address6", "gateway", "gateway6", "mac", "stp", "vlan_aware")


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
    declared = OPTIONS.parse(params)
    values = declared.values
    spec = Spec(
        name=values["name"],
        state=values.get("state", "present"),
        range=_check_range(values.get("dhcp.start"), values.get("dhcp.end")),
        hosts=_parse_hosts(declared.items.get("dhcp.hosts")),
        domain=values.get("dns.domain"),
        dns_hosts=_parse_dns_hosts(declared.items.get("dns.hosts")),
        forwarders=values.get("dns.forwarders"),
        ports=_parse_ports(declared.items.get("ports")),
        exact=values.get("exact", ()),
        unset=_check_unset(declared),
        **{field: values.get(field) for field in _FIELDS},
    )
    for path in spec.exact:
        if path not in declared.items:
            raise SpecError(
                f"exact: {path} is not declared. Declare the list, an empty one to take all off", key="exact"
            )
    if spec.mode is not None:
        check_options(spec, spec.mode)
    if spec.address and spec.address != DHCP:
        hosts = tuple(StaticHost(item.name, item.mac, item.ip) for item in spec.hosts or () if not item.is_absent)
        check_fits(spec.address, (spec.range,) if spec.range else (), hosts)
    return spec


def _check_unset(declared: Declared) -> tuple[str, ...]:
    return OPTIONS.check_unset(declared.values.get("unset", ()), declared)


def _parse_hosts(items: t.Sequence[Item] | None) -> tuple[HostItem, ...] | None:
    if items is None:
        return None
    hosts = [HostItem(item.name, item.get("mac"), item.get("ip"), not item.is_wanted) for item in items]
    for host in hosts:
        if not host.is_absent and (host.mac is None or host.ip is None):
            raise SpecError(f"dhcp.hosts[{host.name}]: mac and ip are needed", key=f"dhcp.hosts[{host.name}]")
    _check_once("dhcp.hosts", "mac", [host.mac for host in hosts if not host.is_absent])
    _check_once("dhcp.hosts", "ip", [host.ip for host in hosts if not host.is_absent])
    return tuple(hosts)


def _parse_dns_hosts(items: t.Sequence[Item] | None) -> tuple[DnsItem, ...] | None:
    if items is None:
        return None
    for item in items:
        if item.is_wanted and item.get("ip") is None:
            raise SpecError(f"dns.hosts[{item.name}]: ip is needed", key=f"dns.hosts[{item.name}]")
    return tuple(DnsItem(item.name, item.get("ip"), not item.is_wanted) for item in items)


def _parse_ports(items: t.Sequence[Item] | None) -> tuple[PortItem, ...] | None:
    if items is None:
        return None
    ports = [PortItem(item.name, item.get("pvid"), item.get("vids"), not item.is_wanted) for item in items]
    for port in ports:
        pvid = 1 if port.pvid is None else port.pvid
        if pvid and pvid in (port.vids or ()):
            path = f"ports[{port.name}]"
            raise SpecError(
                f"{path}.vids: {pvid} is the VLAN of what comes without a tag (pvid). Write it there alone", key=path
            )
    return tuple(ports)


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
        if declared[key] is not None or any(area(path) == key for path in spec.unset):
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


def _check_range(start: str | None, end: str | None) -> Range | None:
    """:raises SpecError: when one end is missing, or the range runs backwards or is larger than libvirt keeps."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise SpecError("dhcp: start and end are needed together", key="dhcp.start" if start is None else "dhcp.end")
    size = int(ipaddress.IPv4Address(end)) - int(ipaddress.IPv4Address(start)) + 1
    if not 1 <= size <= LARGEST_RANGE:
        raise bad_value(
            "dhcp.end", end, f"an address that makes a range of 1 to {LARGEST_RANGE} addresses from {start}"
        )
    return start, end


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
    mode = spec.mode or OPTIONS["mode"].create
    if not spec.address and mode != "isolated":
        raise SpecError(f"address: is needed to make the bridge {spec.name} with mode {mode}", key="address")
    autostart = OPTIONS["autostart"].create if spec.autostart is None else spec.autostart
    return dataclasses.replace(spec, mode=mode, autostart=autostart)
