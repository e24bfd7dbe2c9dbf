# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The lines for ``ip -batch`` and ``bridge -batch`` that take a bridge from what is up to what is wanted."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ..options import DHCP, WORDS, show_vids
from .settings import LinkSettings, Port

DEFAULT_MTU = 1500
# How a link was before it was plugged in: ``mtu``, and whether it was ``up``.
PortBefore = t.Mapping[str, t.Any]


class Line(t.NamedTuple):
    """One line of a batch, and the options that it brings about."""

    text: str
    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Turn:
    """From what is up (*live*, ``None`` for nothing) to what is *wanted*. *ports* has how each was before it was plugged in.

    *port_mtu* is what the definition gives to new ports, 0 for nothing: that of the bridge, which may be another at this moment.
    """

    name: str
    live: LinkSettings | None
    wanted: LinkSettings
    ports: t.Mapping[str, PortBefore] = dataclasses.field(default_factory=dict)
    port_mtu: int = 0

    @property
    def before(self) -> LinkSettings:
        """What is up, also of a bridge that is made as it is wanted."""
        new = LinkSettings(mac=self.wanted.mac, stp=self.wanted.stp, vlan_aware=self.wanted.vlan_aware)
        return self.live or new

    @property
    def new_ports(self) -> list[str]:
        return [port.name for port in self.wanted.ports if self.before.port(port.name) is None]


Lines = t.Iterator[Line]


def link_lines(turn: Turn) -> list[Line]:
    """What ``ip`` does: first the bridge, then its ports, then its addresses."""
    lines = [] if turn.live is not None else [Line(_new_bridge(turn), ("state", "mac", "stp", "vlan_aware"))]
    return lines + [line for write in LINK.values() for line in write(turn)]


def vlan_lines(turn: Turn) -> list[Line]:
    """What ``bridge`` does, where the bridge knows VLANs."""
    if not turn.wanted.vlan_aware:
        return []
    return [line for port in turn.wanted.ports for write in VLANS.values() for line in write(turn, port)]


def give_back_lines(port: str, before: PortBefore) -> list[str]:
    """A port becomes again what it was before."""
    lines = [f"link set dev {port} mtu {before['mtu']}"] if before.get("mtu") else []
    return [*lines, *([f"link set dev {port} down"] if before.get("up") is False else [])]


def _new_bridge(turn: Turn) -> str:
    wanted = turn.wanted
    # Without spanning tree a port would wait for nothing before it forwards.
    words = [
        "link add name",
        turn.name,
        *(["address", wanted.mac] if wanted.mac else []),
        "type bridge forward_delay 0",
    ]
    words.append(f"stp_state {int(wanted.stp)}")
    return " ".join([*words, *(["vlan_filtering 1"] if wanted.vlan_aware else [])])


def _set_mac(turn: Turn) -> Lines:
    if turn.wanted.mac and turn.wanted.mac != turn.before.mac:
        yield Line(f"link set dev {turn.name} address {turn.wanted.mac}", ("mac",))


def _set_stp(turn: Turn) -> Lines:
    if turn.wanted.stp != turn.before.stp:
        yield Line(f"link set dev {turn.name} type bridge stp_state {int(turn.wanted.stp)}", ("stp",))


def _set_vlan_aware(turn: Turn) -> Lines:
    if turn.wanted.vlan_aware != turn.before.vlan_aware:
        text = f"link set dev {turn.name} type bridge vlan_filtering {int(turn.wanted.vlan_aware)}"
        yield Line(text, ("vlan_aware",))


def _set_ports(turn: Turn) -> Lines:
    for port in turn.before.ports:
        if turn.wanted.port(port.name) is None:
            texts = [f"link set dev {port.name} nomaster", *give_back_lines(port.name, turn.ports.get(port.name, {}))]
            yield from (Line(text, (f"ports[{port.name}]",)) for text in texts)
    for name in turn.new_ports:
        yield Line(f"link set dev {name} master {turn.name}", (f"ports[{name}]",))
        yield Line(f"link set dev {name} up", (f"ports[{name}]",))


def _set_mtu(turn: Turn) -> Lines:
    wanted, before = turn.wanted.mtu, turn.before.mtu
    ports = [port.name for port in turn.wanted.ports]
    known = {port: int(told["mtu"]) for port, told in turn.ports.items() if told.get("mtu")}
    if wanted == before:
        mtu = turn.port_mtu or wanted
        yield from (Line(f"link set dev {port} mtu {mtu}", (f"ports[{port}]",)) for port in turn.new_ports if mtu)
        return
    if wanted:
        mtus = dict.fromkeys(ports, wanted)
    elif before:
        mtus = {port: known[port] for port in ports if port in known}
        wanted = min((known.get(port, DEFAULT_MTU) for port in ports), default=DEFAULT_MTU)
    else:
        return
    yield from (Line(f"link set dev {link} mtu {mtu}", ("mtu",)) for link, mtu in {**mtus, turn.name: wanted}.items())


def _set_up(turn: Turn) -> Lines:
    yield Line(f"link set dev {turn.name} up", ("state",))


def _gone(turn: Turn, field: str) -> list[str]:
    """The addresses that are taken off. What a DHCP client has leased goes with the client."""
    return [address for address in getattr(turn.before, field) if address not in (*getattr(turn.wanted, field), *WORDS)]


def _set_addresses(path: str, field: str, turn: Turn) -> Lines:
    gone, old = _gone(turn, field), getattr(turn.before, field)
    wanted = [address for address in getattr(turn.wanted, field) if address not in WORDS]
    # With the last address the kernel drops all routes of the link, those of others included: what is new comes first.
    lines = [f"address replace {address} dev {turn.name}" for address in wanted if address not in old]
    lines += [f"address delete {address} dev {turn.name}" for address in gone]
    # With an address the kernel drops those of the same subnet that came after it: put in again what stays.
    lines += [f"address replace {address} dev {turn.name}" for address in wanted if gone]
    yield from (Line(text, (path,)) for text in lines)


def _set_gateway(path: str, addresses: str, everything: str, turn: Turn) -> Lines:
    via, wanted = getattr(turn.before, path), getattr(turn.wanted, path)
    new = getattr(turn.wanted, addresses)
    if wanted and (via != wanted or _gone(turn, addresses)):
        # The kernel drops a way out with the address that it needs: then its return is a part of that change.
        owner = path if via != wanted else path.replace("gateway", "address")
        yield Line(f"route replace {everything} via {wanted} dev {turn.name}", (owner,))
    elif via and not wanted and DHCP not in new and new:
        yield Line(f"route delete {everything} via {via} dev {turn.name}", (path,))


def _old_port(turn: Turn, port: Port) -> Port:
    live = turn.live
    return (live.port(port.name) if live is not None and live.vlan_aware else None) or Port(port.name)


def _set_pvid(turn: Turn, port: Port) -> Lines:
    old, path = _old_port(turn, port), f"ports[{port.name}].pvid"
    if old.pvid not in (0, port.pvid, *port.vids):
        yield Line(f"vlan delete dev {port.name} vid {old.pvid}", (path,))
    if port.pvid not in (0, old.pvid):
        yield Line(f"vlan add dev {port.name} vid {port.pvid} pvid untagged", (path,))


def _set_vids(turn: Turn, port: Port) -> Lines:
    old, path = _old_port(turn, port), f"ports[{port.name}].vids"
    gone = tuple(sorted({*old.vids} - {port.pvid, *port.vids}))
    come = tuple(sorted({*port.vids} - {*old.vids}))
    yield from (Line(f"vlan delete dev {port.name} vid {vid}", (path,)) for vid in show_vids(gone) or ())
    yield from (Line(f"vlan add dev {port.name} vid {vid}", (path,)) for vid in show_vids(come) or ())


# How each option comes into a bridge that is up, in the order of the lines.
LINK: dict[str, t.Callable[[Turn], Lines]] = {
    "mac": _set_mac,
    "stp": _set_stp,
    "vlan_aware": _set_vlan_aware,
    "ports[]": _set_ports,
    "mtu": _set_mtu,
    "state": _set_up,
    "address": functools.partial(_set_addresses, "address", "addresses"),
    "gateway": functools.partial(_set_gateway, "gateway", "addresses", "0.0.0.0/0"),
    "address6": functools.partial(_set_addresses, "address6", "addresses6"),
    "gateway6": functools.partial(_set_gateway, "gateway6", "addresses6", "::/0"),
}
VLANS: dict[str, t.Callable[[Turn, Port], Lines]] = {"ports[].pvid": _set_pvid, "ports[].vids": _set_vids}


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
