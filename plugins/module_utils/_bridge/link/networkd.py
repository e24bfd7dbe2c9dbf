# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A bridge with ports in the files of systemd-networkd: read from their text, and edited as text."""

from __future__ import annotations

import ipaddress
import posixpath
import typing as t

from ..options import DHCP, SLAAC, WORDS, show_vids
from .match import Holds, Known, is_alone, matches, named, nobody_tells, stands_here, unknown_keys
from .moved import Moved
from .settings import DEFAULT_PVID, FIELDS, LinkSettings, Port
from .unit_file import Section, UnitFile

# The folders in the order in which a file of the same name wins.
FOLDERS = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
)
OURS = FOLDERS[0]
# The first file that matches wins: ours come early, and leave room for earlier ones.
_RANK = "05-"
_YES = ("1", "yes", "y", "true", "t", "on")
_DHCP = {
    (True, True): "yes",
    (True, False): "ipv4",
    (False, True): "ipv6",
    (False, False): "no",
}
_ACCEPTS = "IPv6AcceptRA"
_EVERYTHING = {"0.0.0.0/0", "::/0"}
# What is known of a bridge before it is there.
BRIDGE = {"type": "bridge", "kind": "bridge", "driver": "bridge"}
_FACTORS = {"K": 1024, "M": 1024**2, "G": 1024**3}

Files = t.Mapping[str, str]
Edits = dict[str, "str | None"]


class Networkd:
    """The bridge definitions in *files*. *links* has what ``[Match]`` can ask of a link. *told* is the file that networkd
    itself has for a link, where it runs; *holds* answers what a file asks of the host."""

    name = "systemd-networkd"

    def __init__(
        self,
        files: Files,
        links: t.Mapping[str, Known],
        told: t.Mapping[str, str] | None = None,
        holds: Holds = nobody_tells,
    ) -> None:
        self.files = files
        self.links = links
        self.told = told or {}
        self.holds = holds
        self._read = {path: UnitFile(text) for path, text in files.items()}
        self._joined: dict[str, UnitFile] = {}

    def read(self, bridge: str) -> LinkSettings | None:
        """The bridge as it is defined, ``None`` where it is not."""
        path = self._netdev(bridge)
        if path is None:
            return None
        found = self.effective(bridge)
        units = _Units(self._unit(path), self._unit(found))
        values = {field: READ[row](units) for row, field in FIELDS.items()}
        ports = tuple(self._port(name, path) for name, path in sorted(self._ports(bridge).items()))
        return LinkSettings(**values, ports=ports)

    def starts(self, bridge: str) -> bool:
        """Whether it comes up with the host: what is defined does."""
        return True

    def words(self, bridge: str) -> dict[str, str]:
        """What stands in the place of a value and is none, by option path: ``unset`` brings it back."""
        path = self._netdev(bridge)
        mac = self._unit(path).value("NetDev", "MACAddress")
        return {"mac": mac} if mac and not _mac(mac) else {}

    def obstacles(
        self,
        bridge: str,
        new_ports: t.Collection[str],
        changed_ports: t.Collection[str] = (),
        wanted: LinkSettings | None = None,
        moved: str = "",
    ) -> list[str]:
        """Why the bridge, one of its *new_ports* or of its *changed_ports* cannot be defined as *wanted*, as sentences.

        What the port *moved* has goes over to the bridge.
        """
        netdev = self._netdev(bridge, anywhere=True)
        found = []
        if netdev is not None and posixpath.dirname(netdev) != OURS:
            found.append(f"name: the bridge {bridge} is defined by {netdev}, which belongs to another tool")
        before = self.read(bridge)
        if before is None or self._needs_network(before, wanted or before, bridge):
            found += self._claimed("name", bridge, self._own_path(bridge), is_kept=before is not None)
        if before is not None and wanted is not None and _routes_of(before) != _routes_of(wanted):
            found += self._unclear(bridge)
        if before is None or (wanted or before) != before:
            found += self._drop_ins("name", netdev or self._own_netdev(bridge))
        for port in new_ports:
            found += self._claimed(f"ports[{port}]", port, self._own_path(bridge, port), is_kept=False)
            found += self._occupied(bridge, port) if port != moved else []
        has_mtu = before is not None and wanted is not None and wanted.mtu != before.mtu
        kept = [port.name for port in before.ports if has_mtu and wanted.port(port.name)] if before and wanted else []
        for port in dict.fromkeys((*changed_ports, *kept)):
            found += self._drop_ins(f"ports[{port}]", self.effective(port) or self._own_path(bridge, port))
            found += self._shared(bridge, port, port in changed_ports)
        return found

    def _unclear(self, bridge: str) -> list[str]:
        """Why the addresses of a bridge that is there are not edited."""
        unit, path = self._network(bridge), self.effective(bridge)
        given = [value for key in ("Address", "Gateway") for value in unit.given("Network", key)]
        if "" in given:
            told = f"address: {path} takes addresses back with an empty line, which not every systemd does"
            return [f"{told}. Write only those there that count"]
        unclear = [value for value in _addresses(unit) if not _is_plain(value)]
        return [
            f"address: {path} leaves it to systemd what Address={value} means. Write the address and its prefix there"
            for value in unclear
        ]

    def _needs_network(self, before: LinkSettings, wanted: LinkSettings, bridge: str) -> bool:
        """Whether the .network file of a bridge that is there changes."""
        unit = self._network(bridge)
        keys = ("addresses", "addresses6", "gateway", "gateway6")
        return (
            any(getattr(before, key) != getattr(wanted, key) for key in keys)
            or (before.mtu != wanted.mtu and bool(unit.value("Link", "MTUBytes")))
            or (before.mac != wanted.mac and bool(unit.value("Link", "MACAddress")))
        )

    def _network(self, bridge: str) -> UnitFile:
        return self._unit(self.effective(bridge))

    def _unit(self, path: str | None) -> UnitFile:
        """A file with its drop-ins, as networkd reads it: only to be read."""
        if path is None:
            return UnitFile()
        if path not in self._joined:
            self._joined[path] = self._read[path].joined(self._read[more] for more in self._drop_ins_of(path))
        return self._joined[path]

    def _drop_ins_of(self, path: str) -> list[str]:
        """By their own names, of those with one name the one that wins."""
        winners: dict[str, str] = {}
        for folder in reversed(FOLDERS):
            place = f"{folder}/{posixpath.basename(path)}.d"
            winners |= {posixpath.basename(more): more for more in self.files if posixpath.dirname(more) == place}
        return [winners[name] for name in sorted(winners)]

    def _claimed(self, key: str, link: str, own: str, *, is_kept: bool) -> list[str]:
        """Why no file can be written for *link* alone. *is_kept*: what the one of now says of it must stay."""
        effective = self.effective(link)
        target = self._editable(effective, link) or own
        found = self._drop_ins(key, target)
        if effective is None or effective == target:
            return found
        if posixpath.basename(effective) < posixpath.basename(own):
            told = f"{key}: {effective} claims the link {link} before {own} would{self._why_unsure(effective, link)}"
            return [f"{told}. Give it a later name, or exclude {link} there", *found]
        if is_kept or link in named(self._unit(effective)):
            told = f"{key}: {effective} configures more links than {link}{self._why_unsure(effective, link)}"
            return [f"{told}. What it says of {link} would be lost: give {link} a file of its own first", *found]
        return found

    def _why_unsure(self, path: str, link: str) -> str:
        keys = unknown_keys(self._unit(path), link, self._known(link), self.holds)
        return f" (as {', '.join(keys)} may say)" if keys and link not in self.told else ""

    def _occupied(self, bridge: str, port: str) -> list[str]:
        effective = self._editable(self.effective(port), port)
        network = self._unit(effective)
        other = network.value("Network", "Bridge") or network.value("Network", "Bond")
        if other and other != bridge:
            return [f"ports[{port}]: {effective} plugs it into {other}. Take it off there first"]
        if _addresses(network) or any(_dhcp(network)):
            return [
                f"ports[{port}]: {effective} gives it an address of its own. Move that to the bridge, or take it off there first"
            ]
        return []

    def _shared(self, bridge: str, port: str, is_alone: bool) -> list[str]:
        """Why the file of a port is not edited: it plugs in more, and only the one shall change, or it is of another tool."""
        path = self.effective(port)
        if path is None or (self._editable(path, port) is None and is_alone):
            return (
                []
                if path is None
                else [f"ports[{port}]: {path} plugs in more links than {port}. Give {port} a file of its own first"]
            )
        if posixpath.dirname(path) != OURS:
            return [
                f"ports[{port}]: {path} plugs it in, and belongs to another tool. Give {port} a file in {OURS} first"
            ]
        return []

    def _drop_ins(self, key: str, target: str) -> list[str]:
        """The folder of drop-ins of a file, as a sentence. Those of all folders count, whichever the file is in."""
        folder = f"{posixpath.basename(target)}.d"
        found = {posixpath.dirname(path) for path in self.files if path.endswith(".conf")}
        return [
            f"{key}: {path} has drop-ins, which this module does not edit. Move them into {target}"
            for path in sorted(found)
            if posixpath.basename(path) == folder
        ]

    def define(
        self,
        bridge: str,
        wanted: LinkSettings,
        *,
        starts: bool = True,
        words: t.Mapping[str, str] | None = None,
        moved: Moved | None = None,
    ) -> Edits:
        """The files that change when the bridge is to be *wanted*, each with its new text. What is defined starts with the host.

        *words* are those that stood in the place of values before this module wrote there. What the file of the port *moved* says of it,
        the one of the bridge says from now on.
        """
        known = self.read(bridge)
        before = known or LinkSettings()
        path = self._netdev(bridge) or self._own_netdev(bridge)
        target = self._editable(self.effective(bridge), bridge) or self._own_path(bridge)
        units = _Units(UnitFile(self.files.get(path, "")), UnitFile(self.files.get(target, "")), words or {})
        if moved is not None:
            units = units._replace(network=self._taken_over(moved))
        _set_once(units.netdev, "NetDev", "Name", bridge)
        _set_once(units.netdev, "NetDev", "Kind", "bridge")
        _set_once(units.network, "Match", "Name", bridge)
        if target not in self.files or known is None:
            # Without a carrier, as before the first guest runs, networkd would give it no address.
            _set_once(units.network, "Network", "ConfigureWithoutCarrier", "yes")
        for row, field in FIELDS.items():
            if (known is None and row in ON_CREATION) or getattr(wanted, field) != getattr(before, field):
                WRITE[row](units, wanted)
        edits: Edits = {path: units.netdev.render()}
        if known is None or self._needs_network(before, wanted, bridge):
            _drop_empty(units.network)
            edits[target] = units.network.render()
        for port in wanted.ports:
            edits.update(self._plug_in(bridge, port, wanted.mtu, before, moved))
        for gone in before.ports:
            if wanted.port(gone.name) is None:
                edits.update(self._release(gone.name))
        return {path: text for path, text in edits.items() if text != self.files.get(path)}

    def forget(self, bridge: str) -> Edits:
        """The files that change, or go (``None``), when the bridge goes."""
        target = self._editable(self.effective(bridge), bridge)
        edits: Edits = {path: None for path in (self._netdev(bridge), target) if path}
        if target is not None and not posixpath.basename(target).startswith(_RANK):
            # A file that was there before the bridge is somebody's own, and stays with what the bridge had nothing to do with.
            network = UnitFile(self.files[target])
            _set_addresses(network, LinkSettings())
            _set_gateways(network, LinkSettings())
            network.set("Network", "ConfigureWithoutCarrier", [])
            _drop_empty(network)
            edits[target] = network.render()
        for port in self._ports(bridge):
            edits.update(self._release(port))
        return edits

    def effective(self, link: str) -> str | None:
        """The .network file that networkd takes for *link*: the first one that matches it."""
        for path in self._winning(".network"):
            answer = matches(self._unit(path), link, self._known(link), self.holds)
            if answer or (answer is None and self.told.get(link, path) == path):
                return path
        return None

    def _known(self, link: str) -> Known:
        is_defined = link not in self.links and self._netdev(link, anywhere=True) is not None
        return self.links.get(link, BRIDGE if is_defined else {})

    def _winning(self, suffix: str) -> list[str]:
        """The files by name, of those with one name the one that wins."""
        winners: dict[str, str] = {}
        for folder in reversed(FOLDERS):
            for path in self.files:
                if posixpath.dirname(path) == folder and path.endswith(suffix):
                    winners[posixpath.basename(path)] = path
        # An empty one masks those of its name.
        found = [winners[name] for name in sorted(winners)]
        return [path for path in found if self.files[path].strip() and not self._unit(path).is_broken]

    def _netdev(self, bridge: str, *, anywhere: bool = False) -> str | None:
        for path in self._winning(".netdev"):
            netdev = self._unit(path)
            if netdev.value("NetDev", "Name") != bridge or stands_here(netdev, self.holds) is False:
                continue
            # The first of a name makes the link, and the others are passed over.
            is_ours = anywhere or posixpath.dirname(path) == OURS
            return path if is_ours and netdev.value("NetDev", "Kind") == "bridge" else None
        return None

    def _own_netdev(self, bridge: str) -> str:
        return f"{OURS}/{_RANK}{bridge}.netdev"

    def _own_path(self, bridge: str, port: str | None = None) -> str:
        return f"{OURS}/{_RANK}{bridge}.network" if port is None else f"{OURS}/{_RANK}{bridge}-port-{port}.network"

    def _editable(self, path: str | None, link: str) -> str | None:
        """*path* when it is the administrator's and surely about *link* alone."""
        if path is None or posixpath.dirname(path) != OURS:
            return None
        unit = self._unit(path)
        is_sure = matches(unit, link, self._known(link), self.holds) or self.told.get(link) == path
        return path if is_sure and is_alone(unit, link) else None

    def _ports(self, bridge: str) -> dict[str, str]:
        """The links that the files plug into the bridge, each with its file; also such that are not there now."""
        also = {name for path in self._winning(".network") for name in named(self._unit(path))}
        found = {}
        for link in {*self.links, *also}:
            path = self.effective(link)
            if path is not None and self._unit(path).value("Network", "Bridge") == bridge:
                found[link] = path
        return found

    def _port(self, name: str, path: str) -> Port:
        unit = self._unit(path)
        pvid = unit.value("BridgeVLAN", "PVID")
        number = 0 if pvid in ("no", "none", "false", "0") else int(pvid) if pvid.isdecimal() else DEFAULT_PVID
        vids: set[int] = set()
        for value in unit.values("BridgeVLAN", "VLAN"):
            first, dummy, last = value.partition("-")
            if first.isdecimal() and (last or first).isdecimal():
                vids.update(range(int(first), int(last or first) + 1))
        return Port(name, number, tuple(sorted(vids - {number})))

    def own_settings(self, link: str) -> LinkSettings | None:
        """What the file of *link* gives it for itself, ``None`` where there is none, or where it is plugged in elsewhere."""
        unit = self._unit(self.effective(link))
        units = _Units(UnitFile(), unit)
        found = LinkSettings(
            **{FIELDS[row]: READ[row](units) for row in ("address", "address6", "gateway", "gateway6")}
        )
        return None if unit.value("Network", "Bridge") or found == LinkSettings() else found

    def _taken_over(self, moved: Moved) -> UnitFile:
        """All that the file of a port says of its network, for the bridge."""
        source = self._unit(self.effective(moved.port))
        unit = UnitFile()
        unit.add("Match")
        for section in source.sections:
            if section.name not in ("", "Match", "Link"):
                unit.add(section.name).lines = list(section.lines)
        has_lease = bool(unit.value("Network", "DHCP")) and not unit.value("DHCPv4", "ClientIdentifier")
        if moved.iaid is not None and has_lease and not unit.value("DHCPv4", "IAID"):
            # The server knows the lease by it, and another link would have another.
            unit.set("DHCPv4", "IAID", [str(moved.iaid)])
        if moved.is_told and not unit.value("Network", _ACCEPTS):
            unit.set("Network", _ACCEPTS, ["yes"])
        return unit

    def _plug_in(self, bridge: str, port: Port, mtu: int, before: LinkSettings, moved: Moved | None) -> Edits:
        path = self._editable(self.effective(port.name), port.name) or self._own_path(bridge, port.name)
        if before.port(port.name) is not None:
            # Also a file that plugs in more links than one: what it says of the bridge stands.
            path = self.effective(port.name) or path
        unit = UnitFile(self.files.get(path, ""))
        if path not in self.files:
            unit.set("Match", "Name", [port.name])
        if moved is not None and moved.port == port.name:
            source = self._unit(self.effective(port.name)).named("Link") if path not in self.files else []
            unit.sections = [it for it in (*unit.sections, *source) if it.name in ("", "Match", "Link")]
        if unit.value("Network", "Bridge") != bridge:
            unit.set("Network", "Bridge", [bridge])
        if mtu != before.mtu or (mtu and before.port(port.name) is None):
            unit.set("Link", "MTUBytes", [str(mtu)] if mtu else [])
        if port != (before.port(port.name) or Port(port.name)):
            for section in unit.named("BridgeVLAN"):
                unit.sections.remove(section)
            if port.has_vlans:
                section = unit.add("BridgeVLAN")
                section.lines = [f"PVID={port.pvid or 'no'}"]
                section.lines += [f"EgressUntagged={port.pvid}"] if port.pvid else []
                section.lines += [f"VLAN={vid}" for vid in show_vids(port.vids) or ()]
        _drop_empty(unit)
        return {path: unit.render()}

    def _release(self, port: str) -> Edits:
        path = self.effective(port)
        if path is None:
            return {}
        unit = UnitFile(self.files[path])
        unit.set("Network", "Bridge", [])
        unit.set("Link", "MTUBytes", [])
        for section in unit.named("BridgeVLAN"):
            unit.sections.remove(section)
        _drop_empty(unit)
        has_more = any(section.entries() for section in unit.sections if section.name != "Match")
        return {path: unit.render() if has_more or not posixpath.basename(path).startswith(_RANK) else None}


class _Units(t.NamedTuple):
    """The two files that define a bridge, and the words that stood in the place of values."""

    netdev: UnitFile
    network: UnitFile
    words: t.Mapping[str, str] = {}


def _mac(text: str) -> str:
    """networkd's own words (none) are no address."""
    return text.lower() if text.count(":") == 5 else ""


def _of_family(version: int, values: t.Iterable[t.Any]) -> t.Iterator[str]:
    return (str(value) for value in values if value is not None and value.version == version)


def _read_addresses(version: int) -> t.Callable[[_Units], tuple[str, ...]]:
    def read(units: _Units) -> tuple[str, ...]:
        found = _of_family(version, map(_interface, _addresses(units.network)))
        has_dhcp = _dhcp(units.network)[version == 6]
        is_told = version == 6 and not has_dhcp and _accepts(units.network)
        return (*_with_dhcp(has_dhcp, found), *([SLAAC] if is_told else []))

    return read


def _read_gateway(version: int) -> t.Callable[[_Units], str]:
    return lambda units: next(_of_family(version, map(_ip, _gateways(units.network))), "")


def _write_mac(units: _Units, wanted: LinkSettings) -> None:
    word = wanted.mac or units.words.get("mac")
    units.netdev.set("NetDev", "MACAddress", [word] if word else [])
    units.network.set("Link", "MACAddress", [])


def _write_mtu(units: _Units, wanted: LinkSettings) -> None:
    units.netdev.set("NetDev", "MTUBytes", [str(wanted.mtu)] if wanted.mtu else [])
    units.network.set("Link", "MTUBytes", [])


def _write_stp(units: _Units, wanted: LinkSettings) -> None:
    units.netdev.set("Bridge", "STP", ["yes" if wanted.stp else "no"])
    # A port without spanning tree would wait for nothing before it forwards.
    units.netdev.set("Bridge", "ForwardDelaySec", [] if wanted.stp else ["0"])


def _write_vlan_aware(units: _Units, wanted: LinkSettings) -> None:
    units.netdev.set("Bridge", "VLANFiltering", ["yes"] if wanted.vlan_aware else [])


def _write_addresses(units: _Units, wanted: LinkSettings) -> None:
    _set_addresses(units.network, wanted)


def _write_gateways(units: _Units, wanted: LinkSettings) -> None:
    _set_gateways(units.network, wanted)


def _set_once(unit: UnitFile, section: str, key: str, value: str) -> None:
    if not unit.values(section, key):
        unit.set(section, key, [value])


def _drop_empty(unit: UnitFile) -> None:
    for name in ("Link", "Network", "BridgeVLAN"):
        unit.drop_empty(name)


def _interface(value: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    try:
        return ipaddress.ip_interface(value)
    except ValueError:
        return None


def _ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; words such as _dhcp4 are none."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _bytes(text: str) -> int:
    factor = _FACTORS.get(text[-1:].upper(), 1)
    digits = text[:-1] if factor > 1 else text
    return int(digits) * factor if digits.isdecimal() else 0


def _with_dhcp(is_on: bool, addresses: t.Iterable[str]) -> tuple[str, ...]:
    return (DHCP, *addresses) if is_on else tuple(addresses)


def _dhcp(network: UnitFile) -> tuple[bool, bool]:
    """Whether DHCP is on for IPv4 and for IPv6."""
    value = network.value("Network", "DHCP").lower()
    is_both = value in (*_YES, "both")
    return is_both or value in ("ipv4", "v4"), is_both or value in ("ipv6", "v6")


def _accepts(network: UnitFile) -> bool:
    """Whether it says that the link takes what a router announces. Where nothing says it systemd decides: of a bridge, or while
    the host forwards, the newer ones take nothing."""
    return network.value("Network", _ACCEPTS).lower() in _YES


def _default_routes(network: UnitFile) -> list[Section]:
    return [
        section
        for section in network.named("Route")
        if section.values("Gateway") and not {*section.values("Destination")} - _EVERYTHING
    ]


def _addresses(network: UnitFile) -> list[str]:
    # An empty line takes none back in systemd 252.
    return [value for value in network.given("Network", "Address") if value] + network.values("Address", "Address")


def _gateways(network: UnitFile) -> list[str]:
    found = [value for value in network.given("Network", "Gateway") if value]
    return found + [value for section in _default_routes(network) for value in section.values("Gateway")]


def _is_plain(value: str) -> bool:
    """Whether it says which address it is: without a prefix, and of an address of zeros, systemd chooses."""
    interface = _interface(value)
    return interface is not None and "/" in value and not interface.ip.is_unspecified


def _routes_of(settings: LinkSettings) -> tuple[t.Any, ...]:
    return settings.addresses, settings.addresses6, settings.gateway, settings.gateway6


def _set_addresses(network: UnitFile, wanted: LinkSettings) -> None:
    """Those that stay keep their place and their spelling."""
    left = [address for address in (*wanted.addresses, *wanted.addresses6) if address not in WORDS]
    for section in network.named("Address"):
        values = [str(_interface(value)) for value in section.values("Address")]
        if values and not set(values) & set(left):
            network.sections.remove(section)
        left = [address for address in left if address not in values]
    spelled = {str(_interface(value)): value for value in network.values("Network", "Address")}
    network.set("Network", "Address", [spelled.get(address, address) for address in left])
    has_dhcp = (DHCP in wanted.addresses, DHCP in wanted.addresses6)
    if _dhcp(network) != has_dhcp:
        network.set("Network", "DHCP", [_DHCP[has_dhcp]])
    # A lease of IPv6 needs what is announced for its way out.
    if not has_dhcp[1] and _accepts(network) != (SLAAC in wanted.addresses6):
        network.set("Network", _ACCEPTS, ["yes"] if SLAAC in wanted.addresses6 else [])


def _set_gateways(network: UnitFile, wanted: LinkSettings) -> None:
    left = [gateway for gateway in (wanted.gateway, wanted.gateway6) if gateway]
    for section in _default_routes(network):
        values = [str(_ip(value)) for value in section.values("Gateway")]
        if not set(values) & set(left):
            network.sections.remove(section)
        left = [gateway for gateway in left if gateway not in values]
    words = [value for value in network.values("Network", "Gateway") if _ip(value) is None]
    network.set("Network", "Gateway", [*words, *left])


# How each option is read and written; ports have files of their own.
READ: dict[str, t.Callable[[_Units], t.Any]] = {
    "address": _read_addresses(4),
    "address6": _read_addresses(6),
    "gateway": _read_gateway(4),
    "gateway6": _read_gateway(6),
    "mtu": lambda units: _bytes(units.netdev.value("NetDev", "MTUBytes") or units.network.value("Link", "MTUBytes")),
    "mac": lambda units: _mac(units.netdev.value("NetDev", "MACAddress") or units.network.value("Link", "MACAddress")),
    "stp": lambda units: units.netdev.value("Bridge", "STP").lower() in _YES,
    "vlan_aware": lambda units: units.netdev.value("Bridge", "VLANFiltering").lower() in _YES,
}
WRITE: dict[str, t.Callable[[_Units, LinkSettings], None]] = {
    "address": _write_addresses,
    "address6": _write_addresses,
    "gateway": _write_gateways,
    "gateway6": _write_gateways,
    "mtu": _write_mtu,
    "mac": _write_mac,
    "stp": _write_stp,
    "vlan_aware": _write_vlan_aware,
}
# What a new bridge has a line for, whatever it is.
ON_CREATION = ("address", "stp")
