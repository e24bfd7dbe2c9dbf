# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A bridge with ports in the files of systemd-networkd: read from their text, and edited as text."""

from __future__ import annotations

import fnmatch
import ipaddress
import posixpath
import typing as t

from ..options import DHCP, show_vids
from .settings import DEFAULT_PVID, LinkSettings, Port
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
_EVERYTHING = {"0.0.0.0/0", "::/0"}
_FACTORS = {"K": 1024, "M": 1024**2, "G": 1024**3}

Files = t.Mapping[str, str]
Edits = dict[str, "str | None"]


class Networkd:
    """The bridge definitions in *files*. *links* has what ``[Match]`` can ask of a link: mac, type and kind."""

    name = "systemd-networkd"

    def __init__(self, files: Files, links: t.Mapping[str, t.Mapping[str, str]]) -> None:
        self.files = files
        self.links = links

    def read(self, bridge: str) -> LinkSettings | None:
        """The bridge as it is defined, ``None`` where it is not."""
        path = self._netdev(bridge)
        if path is None:
            return None
        netdev = UnitFile(self.files[path])
        found = self.effective(bridge)
        network = UnitFile(self.files[found] if found else "")
        addresses = [_interface(value) for value in _addresses(network)]
        dhcp4, dhcp6 = _dhcp(network)
        gateways = [_ip(value) for value in _gateways(network)]
        mtu = netdev.value("NetDev", "MTUBytes") or network.value("Link", "MTUBytes")
        return LinkSettings(
            addresses=_with_dhcp(dhcp4, (str(it) for it in addresses if it is not None and it.version == 4)),
            addresses6=_with_dhcp(dhcp6, (str(it) for it in addresses if it is not None and it.version == 6)),
            gateway=next((str(it) for it in gateways if it is not None and it.version == 4), ""),
            gateway6=next((str(it) for it in gateways if it is not None and it.version == 6), ""),
            mtu=_bytes(mtu),
            mac=(netdev.value("NetDev", "MACAddress") or network.value("Link", "MACAddress")).lower(),
            stp=netdev.value("Bridge", "STP").lower() in _YES,
            vlan_aware=netdev.value("Bridge", "VLANFiltering").lower() in _YES,
            ports=tuple(self._port(name, path) for name, path in sorted(self._ports(bridge).items())),
        )

    def starts(self, bridge: str) -> bool:
        """Whether it comes up with the host: what is defined does."""
        return True

    def obstacles(self, bridge: str, new_ports: t.Collection[str], changed_ports: t.Collection[str] = ()) -> list[str]:
        """Why the bridge, one of its *new_ports* or of its *changed_ports* cannot be defined, as sentences."""
        found = []
        netdev = self._netdev(bridge, anywhere=True)
        if netdev is not None and posixpath.dirname(netdev) != OURS:
            found.append(f"name: the bridge {bridge} is defined by {netdev}, which belongs to another tool")
        for key, name, own in (
            ("name", bridge, self._own_path(bridge)),
            *((f"ports[{port}]", port, self._own_path(bridge, port)) for port in new_ports),
        ):
            effective = self.effective(name)
            target = self._editable(effective, name) or own
            if (
                effective is not None
                and effective != target
                and posixpath.basename(effective) < posixpath.basename(own)
            ):
                found.append(
                    f"{key}: {effective} claims the link {name} before {own} would. Give it a later name, or exclude {name} there"
                )
            found += self._drop_ins(key, target)
        found += self._drop_ins("name", netdev or self._own_netdev(bridge))
        for port in changed_ports:
            found += self._drop_ins(f"ports[{port}]", self.effective(port) or self._own_path(bridge, port))
        found += [
            f"ports[{port}]: {path} plugs in more links than {port}. Give {port} a file of its own first"
            for port in changed_ports
            if (path := self.effective(port)) is not None and self._editable(path, port) is None
        ]
        for port in new_ports:
            effective = self._editable(self.effective(port), port)
            network = UnitFile(self.files[effective]) if effective else UnitFile()
            other = network.value("Network", "Bridge") or network.value("Network", "Bond")
            if other and other != bridge:
                found.append(f"ports[{port}]: {effective} plugs it into {other}. Take it off there first")
            elif _addresses(network) or any(_dhcp(network)):
                found.append(
                    f"ports[{port}]: {effective} gives it an address of its own. Move that to the bridge, or take it off there first"
                )
        return found

    def _drop_ins(self, key: str, target: str) -> list[str]:
        """The folder of drop-ins of a file, as a sentence. Those of all folders count, whichever the file is in."""
        folder = f"{posixpath.basename(target)}.d"
        found = {posixpath.dirname(path) for path in self.files if path.endswith(".conf")}
        return [
            f"{key}: {path} has drop-ins, which this module does not edit. Move them into {target}"
            for path in sorted(found)
            if posixpath.basename(path) == folder
        ]

    def define(self, bridge: str, wanted: LinkSettings, *, starts: bool = True) -> Edits:
        """The files that change when the bridge is to be *wanted*, each with its new text. What is defined starts with the host."""
        before = self.read(bridge) or LinkSettings()
        path = self._netdev(bridge) or self._own_netdev(bridge)
        netdev = UnitFile(self.files.get(path, ""))
        _set_once(netdev, "NetDev", "Name", bridge)
        _set_once(netdev, "NetDev", "Kind", "bridge")
        is_new = path not in self.files
        target = self._editable(self.effective(bridge), bridge) or self._own_path(bridge)
        network = UnitFile(self.files.get(target, ""))
        _set_once(network, "Match", "Name", bridge)
        # Without a carrier, as before the first guest runs, networkd would give it no address.
        _set_once(network, "Network", "ConfigureWithoutCarrier", "yes")
        if wanted.mtu != before.mtu:
            netdev.set("NetDev", "MTUBytes", [str(wanted.mtu)] if wanted.mtu else [])
            network.set("Link", "MTUBytes", [])
        if wanted.mac != before.mac:
            netdev.set("NetDev", "MACAddress", [wanted.mac] if wanted.mac else [])
            network.set("Link", "MACAddress", [])
        if is_new or wanted.stp != before.stp:
            netdev.set("Bridge", "STP", ["yes" if wanted.stp else "no"])
            # A port without spanning tree would wait for nothing before it forwards.
            netdev.set("Bridge", "ForwardDelaySec", [] if wanted.stp else ["0"])
        if wanted.vlan_aware != before.vlan_aware:
            netdev.set("Bridge", "VLANFiltering", ["yes"] if wanted.vlan_aware else [])
        if (wanted.addresses, wanted.addresses6) != (before.addresses, before.addresses6) or is_new:
            _set_addresses(network, wanted)
        if (wanted.gateway, wanted.gateway6) != (before.gateway, before.gateway6):
            _set_gateways(network, wanted)
        _drop_empty(network)
        edits: Edits = {path: netdev.render(), target: network.render()}
        for port in wanted.ports:
            edits.update(self._plug_in(bridge, port, wanted.mtu, before))
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
            if self._matches(UnitFile(self.files[path]), link):
                return path
        return None

    def _winning(self, suffix: str) -> list[str]:
        """The files by name, of those with one name the one that wins."""
        winners: dict[str, str] = {}
        for folder in reversed(FOLDERS):
            for path in self.files:
                if posixpath.dirname(path) == folder and path.endswith(suffix):
                    winners[posixpath.basename(path)] = path
        # An empty one masks those of its name.
        return [winners[name] for name in sorted(winners) if self.files[winners[name]].strip()]

    def _netdev(self, bridge: str, *, anywhere: bool = False) -> str | None:
        for path in self._winning(".netdev"):
            netdev = UnitFile(self.files[path])
            is_it = netdev.value("NetDev", "Name") == bridge and netdev.value("NetDev", "Kind") == "bridge"
            if is_it and (anywhere or posixpath.dirname(path) == OURS):
                return path
        return None

    def _own_netdev(self, bridge: str) -> str:
        return f"{OURS}/{_RANK}{bridge}.netdev"

    def _own_path(self, bridge: str, port: str | None = None) -> str:
        return f"{OURS}/{_RANK}{bridge}.network" if port is None else f"{OURS}/{_RANK}{bridge}-port-{port}.network"

    def _editable(self, path: str | None, link: str) -> str | None:
        """*path* when it is the administrator's and about *link* alone."""
        if path is None or posixpath.dirname(path) != OURS:
            return None
        match = [entry for section in UnitFile(self.files[path]).named("Match") for entry in section.entries()]
        return path if [(key, value) for dummy, dummy, key, value in match] == [("Name", link)] else None

    def _matches(self, unit: UnitFile, link: str) -> bool:
        known = self.links.get(link, {})
        entries = [entry for section in unit.named("Match") for entry in section.entries()]
        for dummy, dummy, key, value in entries:
            if key in ("Name", "Type", "Kind"):
                actual = link if key == "Name" else known.get(key.lower(), "")
                is_negated = value.startswith("!")
                if any(fnmatch.fnmatchcase(actual, pattern) for pattern in value.lstrip("!").split()) == is_negated:
                    return False
            elif key in ("MACAddress", "PermanentMACAddress"):
                if known.get("mac") not in [mac.lower().replace("-", ":") for mac in value.split()]:
                    return False
            else:
                return False
        return bool(entries)

    def _ports(self, bridge: str) -> dict[str, str]:
        """The links that the files plug into the bridge, each with its file; also such that are not there now."""
        named = {
            name
            for path in self._winning(".network")
            for value in UnitFile(self.files[path]).values("Match", "Name")
            for name in value.split()
        }
        found = {}
        for link in {*self.links, *(name for name in named if not set(name) & set("*?[!"))}:
            path = self.effective(link)
            if path is not None and UnitFile(self.files[path]).value("Network", "Bridge") == bridge:
                found[link] = path
        return found

    def _port(self, name: str, path: str) -> Port:
        unit = UnitFile(self.files[path])
        pvid = unit.value("BridgeVLAN", "PVID")
        number = 0 if pvid in ("no", "none", "false", "0") else int(pvid) if pvid.isdecimal() else DEFAULT_PVID
        vids: set[int] = set()
        for value in unit.values("BridgeVLAN", "VLAN"):
            first, dummy, last = value.partition("-")
            if first.isdecimal() and (last or first).isdecimal():
                vids.update(range(int(first), int(last or first) + 1))
        return Port(name, number, tuple(sorted(vids - {number})))

    def _plug_in(self, bridge: str, port: Port, mtu: int, before: LinkSettings) -> Edits:
        path = self._editable(self.effective(port.name), port.name) or self._own_path(bridge, port.name)
        if before.port(port.name) is not None:
            # Also a file that plugs in more links than one: what it says of the bridge stands.
            path = self.effective(port.name) or path
        unit = UnitFile(self.files.get(path, ""))
        _set_once(unit, "Match", "Name", port.name)
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


def _default_routes(network: UnitFile) -> list[Section]:
    return [
        section
        for section in network.named("Route")
        if section.values("Gateway") and not {*section.values("Destination")} - _EVERYTHING
    ]


def _addresses(network: UnitFile) -> list[str]:
    return network.values("Network", "Address") + network.values("Address", "Address")


def _gateways(network: UnitFile) -> list[str]:
    return network.values("Network", "Gateway") + [
        value for section in _default_routes(network) for value in section.values("Gateway")
    ]


def _set_addresses(network: UnitFile, wanted: LinkSettings) -> None:
    """Those that stay keep their place and their spelling."""
    left = [address for address in (*wanted.addresses, *wanted.addresses6) if address != DHCP]
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


def _set_gateways(network: UnitFile, wanted: LinkSettings) -> None:
    left = [gateway for gateway in (wanted.gateway, wanted.gateway6) if gateway]
    for section in _default_routes(network):
        values = [str(_ip(value)) for value in section.values("Gateway")]
        if not set(values) & set(left):
            network.sections.remove(section)
        left = [gateway for gateway in left if gateway not in values]
    words = [value for value in network.values("Network", "Gateway") if _ip(value) is None]
    network.set("Network", "Gateway", [*words, *left])
