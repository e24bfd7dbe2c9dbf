# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a bridge. Which options there are, their rows say."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import Item
from .options import AUTO, DHCP, NEVER_WITH_PORTS, ONLY_WITH_PORTS, OPTIONS, PORTS_MODE, SLAAC, WORDS, area
from .subnet import Range, StaticHost, check_fits

ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
# libvirt keeps no larger range: each of its addresses may become a lease.
LARGEST_RANGE = 65535

_OF_PORT = re.compile(r"ports\[([^\]]*)\]\.(.*)")


class Spec:
    """A bridge as declared. *values* has what was written by option path, *lists* the items of the keyed lists that were written,
    *given* the parameters as they came: another run takes them as they are."""

    __slots__ = ("exact", "given", "lists", "name", "state", "unset", "values")

    def __init__(
        self,
        name: str,
        state: str = "present",
        values: t.Mapping[str, t.Any] | None = None,
        lists: t.Mapping[str, tuple[Item, ...]] | None = None,
        exact: tuple[str, ...] = (),
        unset: tuple[str, ...] = (),
        given: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self.values: t.Mapping[str, t.Any] = values or {}
        self.lists: t.Mapping[str, tuple[Item, ...]] = lists or {}
        self.exact = exact
        self.unset = unset
        self.given: t.Mapping[str, t.Any] = given or {}

    def get(self, path: str) -> t.Any:
        """The declared value of an option that is no part of a list, ``None`` where nothing was written."""
        return self.values.get(path)

    def items(self, area: str) -> tuple[Item, ...]:
        """The declared items of a keyed list, those that shall go (not *is_wanted*) among them."""
        return self.lists.get(area, ())

    @property
    def mode(self) -> str | None:
        return self.values.get("mode")

    @property
    def range(self) -> Range | None:
        """The first and the last address that DHCP hands out."""
        first, last = self.values.get("dhcp.start"), self.values.get("dhcp.end")
        return (first, last) if first and last else None

    @property
    def host_names(self) -> set[str]:
        return {item.name for item in self.items("dhcp.hosts")}

    @property
    def unset_ports(self) -> list[str]:
        """The ports of which something is taken off."""
        return list(dict.fromkeys(match[1] for path in self.unset if (match := _OF_PORT.match(path))))


def match_mac(item: Item) -> str | None:
    """By which MAC address an item of ``dhcp.hosts`` claims an entry of another name; what goes is named exactly."""
    return item.text("mac") if item.is_wanted else None


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared bridge from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse(params)
    values = declared.values
    name, state, exact = values.pop("name"), values.pop("state", "present"), values.pop("exact", ())
    unset = OPTIONS.check_unset(values.pop("unset", ()), declared)
    spec = Spec(name, state, values, declared.items, exact, unset, params)
    _check_range(spec.get("dhcp.start"), spec.get("dhcp.end"))
    _check_hosts(spec.items("dhcp.hosts"))
    _check_dns_hosts(spec.items("dns.hosts"))
    _check_ports(spec.items("ports"))
    for path in spec.exact:
        if path not in spec.lists:
            raise SpecError(
                f"exact: {path} is not declared. Declare the list, an empty one to take all off", key="exact"
            )
    if spec.mode is not None:
        check_options(spec, spec.mode)
    address = spec.get("address")
    if address and address != DHCP:
        wanted = [item for item in spec.items("dhcp.hosts") if item.is_wanted]
        hosts = tuple(StaticHost(item.name, item.get("mac"), item.get("ip")) for item in wanted)
        check_fits(address, (spec.range,) if spec.range else (), hosts)
    return spec


def _check_hosts(items: t.Sequence[Item]) -> None:
    wanted = [item for item in items if item.is_wanted]
    for host in wanted:
        if host.get("mac") is None or host.get("ip") is None:
            raise SpecError(f"dhcp.hosts[{host.name}]: mac and ip are needed", key=f"dhcp.hosts[{host.name}]")
    for key in ("mac", "ip"):
        _check_once("dhcp.hosts", key, [host.get(key) for host in wanted])


def _check_dns_hosts(items: t.Sequence[Item]) -> None:
    for item in items:
        if item.is_wanted and item.get("ip") is None and item.get("ip6") is None:
            raise SpecError(f"dns.hosts[{item.name}]: ip or ip6 is needed", key=f"dns.hosts[{item.name}]")


def _check_ports(items: t.Sequence[Item]) -> None:
    for item in items:
        pvid = 1 if item.get("pvid") is None else item.get("pvid")
        if pvid and pvid in (item.get("vids") or ()):
            path = f"ports[{item.name}]"
            raise SpecError(
                f"{path}.vids: {pvid} is the VLAN of what comes without a tag (pvid). Write it there alone", key=path
            )


def check_options(spec: Spec, mode: str) -> None:
    """Nothing is declared or taken off that a bridge of that mode does not have.

    :raises SpecError:
    """
    has_ports = mode == PORTS_MODE
    declared = {area(path) for path in (*spec.values, *spec.lists, *spec.unset)}
    for key in NEVER_WITH_PORTS if has_ports else ONLY_WITH_PORTS:
        if key in declared:
            raise SpecError(f"{key}: a bridge with mode {mode} does not have it", key=key)
    if has_ports and spec.state == "stopped":
        raise SpecError(
            f"state: a bridge with mode {mode} is up as long as it is there. Take it away with absent", key="state"
        )
    if has_ports and spec.get("autostart") is False:
        raise SpecError(f"autostart: a bridge with mode {mode} always starts with the host", key="autostart")
    for key in () if has_ports else ("address", "address6"):
        if spec.get(key) in WORDS:
            raise SpecError(
                f"{key}: {spec.get(key)} is for mode {PORTS_MODE}. A bridge with mode {mode} gives addresses itself",
                key=key,
            )
    if has_ports and spec.get("address6") == AUTO:
        raise SpecError(
            f"address6: {AUTO} is a subnet of its own, and a bridge with mode {mode} is in one that others have. Write {SLAAC}, for "
            f"what a router announces, {DHCP}, or an address",
            key="address6",
        )
    if mode != "nat" and spec.get("nat6"):
        raise SpecError(f"nat6: a bridge with mode {mode} translates no addresses", key="nat6")
    if has_ports and spec.get("address") == "" and spec.get("gateway"):
        raise SpecError("gateway: needs an address of the bridge", key="gateway")
    for key, address in (("gateway", "address"), ("gateway6", "address6")):
        if spec.get(key) and spec.get(address) in WORDS:
            source = "by DHCP" if spec.get(address) == DHCP else "with what a router announces"
            raise SpecError(f"{key}: comes {source}. Write it with a fixed address only", key=key)


def _check_range(start: str | None, end: str | None) -> None:
    """:raises SpecError: when one end is missing, or the range runs backwards or is larger than libvirt keeps."""
    if start is None and end is None:
        return
    if start is None or end is None:
        raise SpecError("dhcp: start and end are needed together", key="dhcp.start" if start is None else "dhcp.end")
    size = int(ipaddress.IPv4Address(end)) - int(ipaddress.IPv4Address(start)) + 1
    if not 1 <= size <= LARGEST_RANGE:
        raise bad_value(
            "dhcp.end", end, f"an address that makes a range of 1 to {LARGEST_RANGE} addresses from {start}"
        )


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
    values = OPTIONS.created(spec.values)
    if not (values.get("address") or values.get("address6")) and values["mode"] != "isolated":
        raise SpecError(
            f"address: is needed to make the bridge {spec.name} with mode {values['mode']}, or address6", key="address"
        )
    return Spec(spec.name, spec.state, values, spec.lists, spec.exact, spec.unset)
