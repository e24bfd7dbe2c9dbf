# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The addresses of a guest: as its agent says, as the DHCP server leased them, as the kernel saw them."""

from __future__ import annotations

import ipaddress
import json
import typing as t

from .._core import command, libraries
from .._host.snapshot import Host
from .xml.nic import Nic


def read(host: Host, domain: t.Any, nics: t.Sequence[Nic], *, is_agent_connected: bool) -> dict[str, tuple[str, ...]]:
    """The addresses of the running *domain* by MAC, without loopback and link-local ones."""
    found: dict[str, list[str]] = {nic.mac: [] for nic in nics}
    if is_agent_connected:
        _add(found, _from_agent(domain))
    if not all(found.values()):
        missing = {mac for mac, known in found.items() if not known}
        seen = {nic.source for nic in nics}
        leases = _from_leases(host, seen, missing)
        _add(found, {mac: leases[mac] for mac in missing if leases.get(mac)})
    if not all(found.values()):
        neighbours = _from_neighbours()
        _add(found, {mac: neighbours[mac] for mac, known in found.items() if not known and mac in neighbours})
    return {mac: tuple(known) for mac, known in found.items()}


def _add(found: dict[str, list[str]], more: t.Mapping[str, t.Iterable[str]]) -> None:
    for mac, addresses in more.items():
        if mac in found:
            found[mac].extend(address for address in addresses if address not in found[mac] and is_useful(address))


def is_useful(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local)


def _from_agent(domain: t.Any) -> dict[str, list[str]]:
    library = libraries.libvirt()
    try:
        interfaces = domain.interfaceAddresses(library.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
    except library.libvirtError:
        return {}
    found: dict[str, list[str]] = {}
    for interface in interfaces.values():
        mac = (interface.get("hwaddr") or "").lower()
        found.setdefault(mac, []).extend(address["addr"] for address in interface.get("addrs") or ())
    return found


def _from_leases(host: Host, sources: t.Collection[str], macs: t.Collection[str]) -> dict[str, list[str]]:
    library = libraries.libvirt()
    found: dict[str, list[str]] = {}
    for network in host.networks.values():
        if not network.is_active or not {network.name, network.bridge} & set(sources):
            continue
        try:
            leases = network.handle.DHCPLeases(None, 0)
        except library.libvirtError:
            continue
        for lease in leases:
            if lease.get("mac") in macs:
                found.setdefault(lease["mac"], []).append(lease["ipaddr"])
    return found


def _from_neighbours() -> dict[str, list[str]]:
    try:
        entries = json.loads(command.run(["ip", "-j", "neigh", "show"]) or "[]")
    except (command.CommandError, ValueError):
        return {}
    found: dict[str, list[str]] = {}
    for entry in entries:
        if "lladdr" in entry and "FAILED" not in entry.get("state", ()):
            found.setdefault(entry["lladdr"].lower(), []).append(entry["dst"])
    return found
