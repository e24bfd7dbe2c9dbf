# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A bridge that libvirt carries, in canonical form: the same shape for what is defined, what runs and what is wanted."""

from __future__ import annotations

import dataclasses
import types
import typing as t

from ..._core.options import Item
from ..options import AUTO
from ..spec import Spec, match_mac
from ..subnet import Place, Range, StaticHost

DnsHost = tuple[str, str]
# The guests that have addresses kept for their cards, by what is kept.
Reserved = t.Mapping[Place, str]
NOBODY: Reserved = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """A bridge as libvirt can carry it. *address* and *address6* are in CIDR form, "" for none; *mtu* is 0 where none is set.

    *nat6*: what guests send by IPv6 gets the address of the host. *ranges* are the DHCP ranges by first and
    last address; *dns_hosts* pairs of name and address.
    """

    mode: str
    address: str = ""
    address6: str = ""
    nat6: bool = False
    ranges: tuple[Range, ...] = ()
    hosts: tuple[StaticHost, ...] = ()
    domain: str = ""
    dns_hosts: tuple[DnsHost, ...] = ()
    forwarders: tuple[str, ...] = ()
    mtu: int = 0

    def host(self, name: str, mac: str | None, declared: t.Collection[str]) -> StaticHost | None:
        """The static host of that name, else the one of that MAC address unless its own name is among those *declared*."""
        by_name = next((host for host in self.hosts if host.name == name), None)
        by_mac = (host for host in self.hosts if mac is not None and host.mac == mac and host.name not in declared)
        return by_name or next(by_mac, None)

    def dns_addresses(self, name: str) -> dict[str, str]:
        """What the name resolves to, as ``ip`` and ``ip6``; several of a family are joined, as no one option can have written them."""
        found: dict[str, str] = {}
        for known, ip in self.dns_hosts:
            if known == name:
                family = "ip6" if ":" in ip else "ip"
                found[family] = f"{found[family]}, {ip}" if family in found else ip
        return found

    def range_of(self, wanted: Range | None) -> Range | tuple[()]:
        """The range that is compared with *wanted*: the same one where it is there, else the first."""
        if wanted in self.ranges and wanted is not None:
            return wanted
        return self.ranges[0] if self.ranges else ()


def settled(spec: Spec, before: NetworkSettings, ula: str) -> Spec:
    """*spec* with what its words come to on a bridge that is *before*: ``auto`` is the address that stands, else *ula*.

    IPv6 that comes to a bridge with mode nat is translated as IPv4 is, unless the user wrote otherwise, and that goes with it.
    """
    values = dict(spec.values)
    if values.get("address6") == AUTO:
        values["address6"] = before.address6 or ula
    mode = spec.mode or before.mode
    address6 = "" if "address6" in spec.unset else values.get("address6", before.address6)
    if values.get("nat6") is None and "nat6" not in spec.unset and mode == "nat":
        if address6 and (mode != before.mode or not before.address6):
            values["nat6"] = True
        elif not address6 and before.address6 and before.nat6:
            values["nat6"] = False
    return Spec(spec.name, spec.state, values, spec.lists, spec.exact, spec.unset, spec.given)


def merge(settings: NetworkSettings, spec: Spec, reserved: Reserved = NOBODY) -> NetworkSettings:
    """*settings* with what *spec* declares or takes off; everything else stays, and so does what is *reserved* for guests."""

    def value(key: str, off: t.Any) -> t.Any:
        wanted = spec.get(key)
        return off if key in spec.unset else getattr(settings, key) if wanted is None else wanted

    takes_dhcp_off = "dhcp" in spec.unset
    ranges = () if takes_dhcp_off else _merge_ranges(settings, spec.range)
    hosts = () if takes_dhcp_off else _merge_hosts(settings, spec, reserved)
    domain = "" if "dns.domain" in spec.unset else spec.get("dns.domain")
    forwarders = () if "dns.forwarders" in spec.unset else spec.get("dns.forwarders")
    return NetworkSettings(
        mode=spec.mode or settings.mode,
        address=value("address", ""),
        address6=value("address6", ""),
        nat6=value("nat6", False),
        ranges=ranges,
        hosts=hosts,
        domain=settings.domain if domain is None else domain,
        dns_hosts=_merge_dns_hosts(settings, spec),
        forwarders=settings.forwarders if forwarders is None else forwarders,
        mtu=value("mtu", 0),
    )


def _merge_ranges(settings: NetworkSettings, wanted: Range | None) -> tuple[Range, ...]:
    if wanted is None or wanted in settings.ranges:
        return settings.ranges
    return (wanted, *settings.ranges[1:])


def _merge_hosts(settings: NetworkSettings, spec: Spec, reserved: Reserved) -> tuple[StaticHost, ...]:
    merged = list(settings.hosts)
    claimed = set()
    for item in spec.items("dhcp.hosts"):
        known = settings.host(item.name, match_mac(item), spec.host_names)
        if known is not None and known.place in reserved:
            continue
        if not item.is_wanted:
            merged = [host for host in merged if host is not known]
            continue
        wanted = StaticHost(item.name, item.get("mac"), item.get("ip"))
        claimed.add(wanted)
        if known is None or known not in merged:
            merged.append(wanted)
        else:
            merged[merged.index(known)] = wanted
    if "dhcp.hosts" in spec.exact:
        merged = [host for host in merged if host in claimed or host.place in reserved]
    return tuple(merged)


def _merge_dns_hosts(settings: NetworkSettings, spec: Spec) -> tuple[tuple[str, str], ...]:
    declared = {item.name: wanted_addresses(item) for item in spec.items("dns.hosts")}
    kept = [] if "dns.hosts" in spec.exact else [pair for pair in settings.dns_hosts if pair[0] not in declared]
    if "dns.hosts" not in spec.exact and all(settings.dns_addresses(name) == its for name, its in declared.items()):
        return settings.dns_hosts
    return (*kept, *((name, ip) for name, its in declared.items() for ip in its.values()))


def wanted_addresses(item: Item) -> dict[str, str]:
    """All addresses that a name shall have, as ``dns_addresses`` tells them."""
    return {key: item.get(key) for key in ("ip", "ip6") if item.is_wanted and item.get(key) is not None}
