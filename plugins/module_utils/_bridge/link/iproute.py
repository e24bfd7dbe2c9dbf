# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The lines for ``ip -batch`` and ``bridge -batch`` that take a bridge from what is up to what is wanted."""

from __future__ import annotations

import typing as t

from ..spec import DHCP, show_vids
from .settings import LinkSettings, Port

DEFAULT_MTU = 1500
# How a link was before it was plugged in: ``mtu``, and whether it was ``up``.
PortBefore = t.Mapping[str, t.Any]
_FAMILIES = (("addresses", "gateway", "0.0.0.0/0"), ("addresses6", "gateway6", "::/0"))


def link_lines(
    name: str, live: LinkSettings | None, wanted: LinkSettings, ports: t.Mapping[str, PortBefore]
) -> list[str]:
    """First the bridge, then its ports, then its addresses. *ports* has how each was before it was plugged in."""
    mtus = {port: int(before["mtu"]) for port, before in ports.items() if before.get("mtu")}
    lines = [] if live is not None else [_new_bridge(name, wanted)]
    before = live or LinkSettings(mac=wanted.mac, stp=wanted.stp, vlan_aware=wanted.vlan_aware)
    if wanted.mac and wanted.mac != before.mac:
        lines.append(f"link set dev {name} address {wanted.mac}")
    if wanted.stp != before.stp:
        lines.append(f"link set dev {name} type bridge stp_state {int(wanted.stp)}")
    if wanted.vlan_aware != before.vlan_aware:
        lines.append(f"link set dev {name} type bridge vlan_filtering {int(wanted.vlan_aware)}")
    for port in before.ports:
        if wanted.port(port.name) is None:
            lines.append(f"link set dev {port.name} nomaster")
            lines += give_back_lines(port.name, ports.get(port.name, {}))
    new = [port.name for port in wanted.ports if before.port(port.name) is None]
    for link in new:
        lines.append(f"link set dev {link} master {name}")
        lines.append(f"link set dev {link} up")
    lines += _mtu_lines(name, before, wanted, mtus, new)
    lines.append(f"link set dev {name} up")
    return lines + _address_lines(name, before, wanted)


def give_back_lines(port: str, before: PortBefore) -> list[str]:
    """A port becomes again what it was before."""
    lines = [f"link set dev {port} mtu {before['mtu']}"] if before.get("mtu") else []
    return [*lines, *([f"link set dev {port} down"] if before.get("up") is False else [])]


def _new_bridge(name: str, wanted: LinkSettings) -> str:
    # Without spanning tree a port would wait for nothing before it forwards.
    words = ["link add name", name, *(["address", wanted.mac] if wanted.mac else []), "type bridge forward_delay 0"]
    words.append(f"stp_state {int(wanted.stp)}")
    return " ".join([*words, *(["vlan_filtering 1"] if wanted.vlan_aware else [])])


def _mtu_lines(
    name: str, before: LinkSettings, wanted: LinkSettings, mtus: t.Mapping[str, int], new: t.Collection[str]
) -> list[str]:
    ports = [port.name for port in wanted.ports]
    if wanted.mtu:
        changed = ports if wanted.mtu != before.mtu else new
        lines = [f"link set dev {port} mtu {wanted.mtu}" for port in changed]
        return lines + ([f"link set dev {name} mtu {wanted.mtu}"] if wanted.mtu != before.mtu else [])
    if before.mtu:
        own = [f"link set dev {port} mtu {mtus[port]}" for port in ports if port in mtus]
        return [
            *own,
            f"link set dev {name} mtu {min((mtus.get(port, DEFAULT_MTU) for port in ports), default=DEFAULT_MTU)}",
        ]
    return []


def _address_lines(name: str, before: LinkSettings, wanted: LinkSettings) -> list[str]:
    lines = []
    for key, gateway, everything in _FAMILIES:
        old, new = getattr(before, key), getattr(wanted, key)
        # What a DHCP client has leased goes with the client.
        gone = [address for address in old if address not in (*new, DHCP)]
        lines += [f"address delete {address} dev {name}" for address in gone]
        # With an address the kernel drops those of the same subnet that came after it: put in again what stays.
        come = [address for address in new if address != DHCP and (gone or address not in old)]
        lines += [f"address replace {address} dev {name}" for address in come]
        via, wanted_via = getattr(before, gateway), getattr(wanted, gateway)
        if wanted_via and (via != wanted_via or gone):
            lines.append(f"route replace {everything} via {wanted_via} dev {name}")
        elif via and not wanted_via and DHCP not in new and new:
            lines.append(f"route delete {everything} via {via} dev {name}")
    return lines


def vlan_lines(live: LinkSettings | None, wanted: LinkSettings) -> list[str]:
    """All that goes first: a port has one VLAN for what comes without a tag."""
    if not wanted.vlan_aware:
        return []
    lines: list[str] = []
    for port in wanted.ports:
        old = (live.port(port.name) if live is not None and live.vlan_aware else None) or Port(port.name)
        if old == port:
            continue
        gone = sorted(({old.pvid, *old.vids} - {port.pvid, *port.vids}) - {0})
        come = sorted(set(port.vids) - set(old.vids))
        lines += [f"vlan delete dev {port.name} vid {vid}" for vid in show_vids(tuple(gone)) or ()]
        if port.pvid not in (0, old.pvid):
            lines.append(f"vlan add dev {port.name} vid {port.pvid} pvid untagged")
        lines += [f"vlan add dev {port.name} vid {vid}" for vid in show_vids(tuple(come)) or ()]
    return lines


def read_vlans(entries: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[int, tuple[int, ...]]:
    """The VLAN without a tag and those with one, from what ``bridge -j vlan`` says of a port."""
    pvid = 0
    vids: set[int] = set()
    for entry in entries:
        numbers = range(int(entry["vlan"]), int(entry.get("vlanEnd", entry["vlan"])) + 1)
        if "PVID" in entry.get("flags", ()):
            pvid = numbers[0]
        else:
            vids.update(numbers)
    return pvid, tuple(sorted(vids - {pvid}))
