# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A bridge with ports in canonical form: the same shape for what is defined, what is up and what is wanted."""

from __future__ import annotations

import dataclasses
import typing as t

from ..options import DHCP, SLAAC, WORDS
from ..spec import Spec

# The VLAN of what comes without a tag, unless the port says otherwise: the kernel's own default.
DEFAULT_PVID = 1

# The field of each option that is no item.
FIELDS = {
    "mtu": "mtu",
    "mac": "mac",
    "stp": "stp",
    "vlan_aware": "vlan_aware",
    "address": "addresses",
    "address6": "addresses6",
    "gateway": "gateway",
    "gateway6": "gateway6",
}


@dataclasses.dataclass(frozen=True)
class Port:
    """A link that is plugged in. *pvid* 0: what comes without a tag is dropped. *vids* are those with a tag."""

    name: str
    pvid: int = DEFAULT_PVID
    vids: tuple[int, ...] = ()

    @property
    def has_vlans(self) -> bool:
        return self.pvid != DEFAULT_PVID or bool(self.vids)


@dataclasses.dataclass(frozen=True)
class LinkSettings:
    """A Linux bridge with ports. Addresses are in CIDR form, ``dhcp``, or last ``slaac``; *mtu* 0 and *mac* "" are left to the kernel."""

    addresses: tuple[str, ...] = ()
    addresses6: tuple[str, ...] = ()
    gateway: str = ""
    gateway6: str = ""
    mtu: int = 0
    mac: str = ""
    stp: bool = False
    vlan_aware: bool = False
    ports: tuple[Port, ...] = ()

    def port(self, name: str) -> Port | None:
        return next((port for port in self.ports if port.name == name), None)


def chosen(addresses: tuple[str, ...], wanted: str | None) -> str:
    """The address that is compared with *wanted*: the same one where it is there, else the first; "" for none."""
    if wanted and wanted in addresses:
        return wanted
    # What a router announces stands beside a fixed address, and gives way to none.
    is_fixed = wanted is not None and wanted not in ("", *WORDS)
    return next((address for address in addresses if not (is_fixed and address == SLAAC)), "")


def chosen_live(live: tuple[str, ...], wanted: str | None, defined: tuple[str, ...]) -> str:
    """The same of what is up, where *defined* is what the files say: the kernel has its addresses in an order of its own."""
    return _replaced(live, wanted, defined) if wanted and wanted not in live else chosen(live, wanted)


def _replaced(addresses: tuple[str, ...], wanted: str, defined: tuple[str, ...]) -> str:
    """The one that gives way to *wanted*: the one that is defined in its place, else one that nobody has defined."""
    if wanted not in defined:
        return chosen(defined, wanted)
    return next((address for address in addresses if address not in defined), "")


def _merge_addresses(
    addresses: tuple[str, ...], wanted: str | None, defined: tuple[str, ...], *, is_off: bool
) -> tuple[str, ...]:
    if is_off or wanted == "":
        return ()
    if wanted is None or (wanted in addresses and wanted in defined):
        return addresses
    if wanted in WORDS:
        return (wanted,)
    gone = (_replaced(addresses, wanted, defined), wanted, DHCP)
    return (wanted, *(address for address in addresses if address not in gone))


def merge(settings: LinkSettings, spec: Spec, defined: LinkSettings | None = None) -> LinkSettings:
    """*settings* with what *spec* declares or takes off; everything else stays. *defined* is what the files say where *settings* is up."""
    base = defined or settings

    def value(key: str, off: t.Any) -> t.Any:
        wanted = spec.get(key)
        return off if key in spec.unset else getattr(settings, key) if wanted is None else wanted

    addresses = _merge_addresses(
        settings.addresses, spec.get("address"), base.addresses, is_off="address" in spec.unset
    )
    addresses6 = _merge_addresses(
        settings.addresses6, spec.get("address6"), base.addresses6, is_off="address6" in spec.unset
    )
    # A way out needs an address of its own, and DHCP brings its own way out.
    has_gateway, has_gateway6 = (bool(found) and DHCP not in found for found in (addresses, addresses6))
    return LinkSettings(
        addresses=addresses,
        addresses6=addresses6,
        gateway=value("gateway", "") if has_gateway else "",
        gateway6=value("gateway6", "") if has_gateway6 else "",
        mtu=value("mtu", 0),
        mac=value("mac", ""),
        stp=value("stp", False),
        vlan_aware=value("vlan_aware", False),
        ports=_merge_ports(settings, spec),
    )


def _merge_ports(settings: LinkSettings, spec: Spec) -> tuple[Port, ...]:
    declared = {item.name: item for item in spec.items("ports")}
    merged = []
    for port in settings.ports:
        item = declared.pop(port.name, None)
        if item is None and "ports" not in spec.exact:
            merged.append(_merge_port(port, None, None, spec.unset))
        elif item is not None and item.is_wanted:
            merged.append(_merge_port(port, item.get("pvid"), item.get("vids"), spec.unset))
    for item in declared.values():
        if item.is_wanted:
            merged.append(_merge_port(Port(item.name), item.get("pvid"), item.get("vids"), ()))
    return tuple(merged)


def _merge_port(port: Port, pvid: int | None, vids: tuple[int, ...] | None, unset: t.Collection[str]) -> Port:
    if f"ports[{port.name}].pvid" in unset:
        pvid = DEFAULT_PVID
    if f"ports[{port.name}].vids" in unset:
        vids = ()
    pvid = port.pvid if pvid is None else pvid
    vids = port.vids if vids is None else vids
    return Port(port.name, pvid, tuple(vid for vid in vids if vid != pvid))
