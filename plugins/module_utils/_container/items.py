# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which name belongs to which interface and mount of a configuration, and what their lines say in the user's words. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import typing as t

from .._host import vlans
from .config import Config, MountEntry, parse_entry
from .spec import Mount, Network
from .state import Live, Nic, State

ENTRY = "lxc.mount.entry"


@dataclasses.dataclass(frozen=True)
class NetLines:
    """An interface by its lines in the configuration, canonical: *gateway* empty, *mtu* and *vlan* 0 for none."""

    number: int
    bridge: str
    vlan: int
    mac: str
    ip: str
    gateway: str
    mtu: int
    link: str
    device: str
    pair: str


def claim_networks(declared: t.Iterable[Network], config: Config, macs: t.Mapping[str, str]) -> dict[str, int]:
    """The number of the interface that each name means: as recorded, else by a declared MAC, else ``net0`` and so on by number."""
    free = config.nets()
    found: dict[str, int] = {}

    def claim(name: str, is_it: t.Callable[[int, t.Mapping[str, str]], bool]) -> None:
        number = next((number for number, net in free.items() if is_it(number, net)), None)
        if name not in found and number is not None:
            found[name] = number
            del free[number]

    for name, mac in macs.items():
        claim(name, lambda number, net, mac=mac: net.get("hwaddr", "").lower() == mac)  # type: ignore[misc]
    for item in declared:
        if item.mac:
            claim(item.name, lambda number, net, mac=item.mac: net.get("hwaddr", "").lower() == mac)  # type: ignore[misc]
    for item in declared:
        claim(item.name, lambda number, net, name=item.name: name == f"net{number}")  # type: ignore[misc]
    for number in sorted(free):
        found.setdefault(f"net{number}", number)
    return found


def net_lines(name: str, number: int, state: State) -> NetLines:
    """What the configuration says of one interface; where DHCP is concerned, what the guest's own files say."""
    net = state.config.nets()[number]
    unplugged = (state.record.get("unplugged") or {}).get(name, "")
    static = net.get("ipv4.address") or net.get("ipv6.address") or ""
    asks = "dhcp" if name in state.inside.asks_dhcp else "none"
    return NetLines(
        number=number,
        bridge=net.get("link") or unplugged,
        vlan=_number(net.get("veth.vlan.id", "")),
        mac=net.get("hwaddr", "").lower(),
        ip=canonical_ip(static.split()[0]) if static.split() else asks,
        gateway=net.get("ipv4.gateway") or net.get("ipv6.gateway") or "",
        mtu=_number(net.get("mtu", "")),
        link="up" if net.get("link") else "down",
        device=net.get("name") or f"eth{number}",
        pair=net.get("veth.pair", ""),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def canonical_ip(text: str) -> str:
    try:
        return ipaddress.ip_interface(text).with_prefixlen
    except ValueError:
        return text


def live_nic(lines: NetLines, live: Live | None) -> Nic | None:
    """The interface of the running container that belongs to *lines*."""
    nics = live.nics if live else ()
    found = (
        *(nic for nic in nics if lines.mac and nic.mac == lines.mac),
        *(nic for nic in nics if lines.pair and nic.host == lines.pair),
        *(nic for nic in nics if not lines.mac and nic.device == lines.device),
    )
    return next(iter(found), None)


def live_vlan(lines: NetLines, nic: Nic | None) -> int | None:
    """The VLAN that the running interface is in, in the form of the option; that of *lines* where nothing tells another."""
    if nic is None or nic.vlan is None:
        return lines.vlan
    return vlans.canonical(nic.vlan, lines.vlan, nic.default_vlan)


def pair_name(guest: str, number: int, taken: t.Collection[str]) -> str:
    """The name of the host's end of an interface: 15 characters at most, ``GUEST.0`` where that fits and is free."""
    name = f"{guest}.{number}"
    if len(name) <= 15 and name not in taken:
        return name
    for salt in range(1000):
        digest = hashlib.sha256(f"{guest}\0{number}\0{salt}".encode()).hexdigest()
        name = f"{guest[:6]}{digest[:4]}.{number}"[:15]
        if name not in taken:
            return name
    raise RuntimeError("no name is left")


def bind_entries(config: Config) -> list[MountEntry]:
    """The folders and files of the host that the configuration binds into the container."""
    entries = (parse_entry(value) for value in config.values(ENTRY))
    return [entry for entry in entries if entry and entry.is_bind and entry.source.startswith("/")]


def claim_mounts(declared: t.Iterable[Mount], config: Config, paths: t.Mapping[str, str]) -> dict[str, MountEntry]:
    """The entry that each name means: as recorded, else by its declared path, else ``mount0`` and so on by position."""
    entries = bind_entries(config)
    free = {entry.path: entry for entry in entries}
    found: dict[str, MountEntry] = {}
    for name, path in [*paths.items(), *((item.name, item.path) for item in declared)]:
        if name not in found and path in free:
            found[name] = free.pop(path)
    for number, entry in enumerate(entries):
        if entry.path in free:
            found.setdefault(f"mount{number}", entry)
    return found


def entry_value(config: Config, entry: MountEntry) -> str:
    """The line of *entry* as it stands."""
    for value in config.values(ENTRY):
        if parse_entry(value) == entry:
            return value
    return entry.text


def new_entry(source: str, path: str, *, is_readonly: bool, is_file: bool, is_mapped: bool) -> MountEntry:
    """The entry of a bind mount; *is_mapped* makes the owners of the host those inside, so root's files are root's."""
    options = ["bind", "create=file" if is_file else "create=dir"]
    options += ["ro"] if is_readonly else []
    options += ["idmap=container"] if is_mapped else []
    return MountEntry(source, path, "none", tuple(options))


def with_options(entry: MountEntry, *, source: str, path: str, is_readonly: bool) -> MountEntry:
    """*entry* with other values, its own further options kept."""
    options = tuple(option for option in entry.options if option not in ("ro", "rw"))
    return dataclasses.replace(entry, source=source, path=path, options=options + (("ro",) if is_readonly else ()))
