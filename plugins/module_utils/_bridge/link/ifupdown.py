# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A bridge with ports in the files of ifupdown: read from their text, and edited as text."""

from __future__ import annotations

import fnmatch
import ipaddress
import posixpath
import re
import typing as t

from ..options import DHCP, show_vids
from .interfaces_file import InterfacesFile, Stanza
from .settings import DEFAULT_PVID, FIELDS, LinkSettings, Port

FOLDER = "/etc/network"
MAIN = f"{FOLDER}/interfaces"
OURS = f"{FOLDER}/interfaces.d"
# Of the files in a source-directory ifupdown reads those with such names.
DIRECTORY_NAMES = re.compile(r"[A-Za-z0-9_-]+")
_YES = ("on", "yes", "true", "1")
_PATTERNS = ("all", "regex", "noregex")
_ALL = ("eth.*", "em.*", "en.*", "p[0-9].*")
# What the option address can say of; the others (auto, tunnel and so on) are somebody's own.
_METHODS = ("manual", "static", "dhcp")
# What a DHCP client is told of it (interfaces(5)).
_CLIENT_OPTIONS = (
    "hostname",
    "metric",
    "leasehours",
    "leasetime",
    "vendor",
    "client",
    "request_prefix",
    "accept_ra",
    "autoconf",
)
_VLAN = re.compile(r"bridge vlan (add|del) dev (\S+) vid ([0-9]+)(?:-([0-9]+))?( pvid untagged)?")

Edits = dict[str, "str | None"]


class Ifupdown:
    """The bridge definitions in *files*: /etc/network/interfaces and what it sources, in that order. *links* are those of the host."""

    name = "ifupdown"

    def __init__(self, files: t.Mapping[str, str], links: t.Collection[str] = ()) -> None:
        self.files = files
        self.links = links
        self.models = {path: InterfacesFile(text) for path, text in files.items()}

    def read(self, bridge: str) -> LinkSettings | None:
        """The bridge as it is defined, ``None`` where it is not."""
        stanzas = self._stanzas(bridge)
        main = _main(stanzas)
        if main is None:
            return None
        names = _expanded(
            " ".join(main.values("bridge_ports")).split(), [name for name in self.links if name != bridge]
        )
        values = {field: READ[row](stanzas) for row, field in FIELDS.items()}
        return LinkSettings(**values, ports=tuple(_port(name, stanzas) for name in names))

    def words(self, bridge: str) -> dict[str, str]:
        """What stands in the place of a value and is none, by option path: ``unset`` brings it back."""
        word = _first(self._stanzas(bridge), "hwaddress")
        return {"mac": word} if word and not READ["mac"](self._stanzas(bridge)) else {}

    def starts(self, bridge: str) -> bool:
        """Whether it comes up with the host."""
        return any(model.starts(bridge) for model in self.models.values())

    def obstacles(
        self,
        bridge: str,
        new_ports: t.Collection[str],
        changed_ports: t.Collection[str] = (),
        wanted: LinkSettings | None = None,
    ) -> list[str]:
        """Why the bridge or one of its *new_ports* cannot be defined as *wanted*, as sentences."""
        before = self.read(bridge)
        is_changed = before is None or (wanted or before) != before
        found = self._unreadable(bridge) if is_changed else []
        for port in new_ports:
            for path, model in self.models.items():
                for stanza in model.ifaces(port):
                    if stanza.words[3:4] not in (("manual",), ("auto",)) or stanza.values("address"):
                        found.append(
                            f"ports[{port}]: {path} gives it an address of its own. Move that to the bridge, or make it manual first"
                        )
                found += [
                    f"ports[{port}]: {path} plugs it into {stanza.words[1]}. Take it off there first"
                    for stanza in model.stanzas
                    if stanza.kind == "iface"
                    and stanza.words[1] != bridge
                    and port in " ".join(stanza.values("bridge_ports") + stanza.values("bond_slaves")).split()
                ]
        return found

    def _unreadable(self, bridge: str) -> list[str]:
        """What this module does not follow in the stanzas of the bridge."""
        found = []
        for path in self._paths(bridge):
            stanzas = self.models[path].ifaces(bridge)
            if any(len(stanza.words) < 4 for stanza in stanzas):
                found.append(
                    f"name: {path} defines {bridge} without a family and a method. Write them there, such as inet manual"
                )
            found += [
                f"name: {path} lets {bridge} inherit from {stanza.words[-1]}, which this module does not follow. "
                f"Write what it inherits at {bridge} itself"
                for stanza in stanzas
                if "inherits" in stanza.words
            ]
        stanzas = self._stanzas(bridge)
        main = _main(stanzas)
        if stanzas and main is None:
            found.append(f"name: {self._path(bridge)} defines {bridge} without bridge_ports. Choose another name")
        elif main is not None and set(_PATTERNS) & set(" ".join(main.values("bridge_ports")).split()):
            found.append(
                f"ports: {self._path(bridge)} chooses the ports of {bridge} by a pattern. Write their names there"
            )
        return found

    def define(
        self,
        bridge: str,
        wanted: LinkSettings,
        *,
        starts: bool = True,
        words: t.Mapping[str, str] | None = None,
    ) -> Edits:
        """The files that change when the bridge is to be *wanted*, each with its new text. *starts*: it is to come up with the host.

        *words* are those that stood in the place of values before this module wrote there.
        """
        known = self.read(bridge)
        before = known or LinkSettings()
        path = self._path(bridge)
        models = {path: InterfacesFile(self.files.get(path, ""))}
        if known is None:
            models[path].append("auto", bridge)
            main = models[path].append("iface", bridge, "inet", "manual", parted=False)
            main.set("bridge_ports", ["none"])
        else:
            models |= {other: InterfacesFile(self.files[other]) for other in self._paths(bridge) if other != path}
            main = t.cast(Stanza, _main(models[path].ifaces(bridge)))
            if starts and not self.starts(bridge):
                stanzas = models[path].stanzas
                stanzas.insert(stanzas.index(main), Stanza(("auto", bridge), [f"auto {bridge}"]))
        definition = _Definition(bridge, [*models.values()], main, words or {})
        for row, write in WRITE.items():
            field = FIELDS[row]
            if (known is None and row in ON_CREATION) or getattr(wanted, field) != getattr(before, field):
                write(definition, wanted)
        _write_ports(definition, before, wanted)
        edits = {path: one.render() for path, one in models.items()}
        return {path: text for path, text in edits.items() if text != self.files.get(path)}

    def forget(self, bridge: str) -> Edits:
        """The files that change, or go (``None``), when the bridge goes."""
        edits: Edits = {}
        for path, text in self.files.items():
            model = InterfacesFile(text)
            model.forget(bridge)
            if model.render() != text:
                edits[path] = None if model.is_blank() and path != MAIN else model.render()
        return edits

    def client_text(self, link: str) -> str:
        """Stanzas that start the DHCP clients of *link* and do nothing else, "" where it has none."""
        found = InterfacesFile()
        for model in self.models.values():
            for stanza in model.ifaces(link):
                if stanza.words[3:4] != (DHCP,):
                    continue
                copied = found.append(*stanza.words[:4])
                for dummy, dummy, option, value in stanza.options():
                    if option in _CLIENT_OPTIONS:
                        copied.add(option, [value])
        return found.render()

    def _stanzas(self, bridge: str) -> list[Stanza]:
        return [stanza for model in self.models.values() for stanza in model.ifaces(bridge) if len(stanza.words) > 3]

    def _paths(self, bridge: str) -> list[str]:
        """The files that say something of the bridge."""
        return [path for path, model in self.models.items() if model.ifaces(bridge)]

    def _path(self, bridge: str) -> str:
        """The file that defines the bridge, or where it is to be defined."""
        for path, model in self.models.items():
            if _main(model.ifaces(bridge)) is not None:
                return path
        own = posixpath.join(OURS, bridge)
        return own if self._is_read(own) else MAIN

    def own_files(self, bridge: str) -> list[str]:
        """Where the definition of the bridge is, or would be."""
        return [self._path(bridge)]

    def _is_read(self, path: str) -> bool:
        for source, model in self.models.items():
            for stanza in model.stanzas:
                for word in stanza.words[1:] if stanza.kind in ("source", "source-directory") else ():
                    pattern = sourced(source, word)
                    if stanza.kind == "source" and fnmatch.fnmatchcase(path, pattern):
                        return True
                    is_below = posixpath.dirname(path) == pattern and DIRECTORY_NAMES.fullmatch(
                        posixpath.basename(path)
                    )
                    if stanza.kind == "source-directory" and is_below:
                        return True
        return False


def sourced(path: str, word: str) -> str:
    """What the file *path* means by a word behind source: relative to its own folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), word))


def _main(stanzas: t.Sequence[Stanza]) -> Stanza | None:
    """The stanza that makes it a bridge."""
    return next((stanza for stanza in stanzas if stanza.values("bridge_ports")), None)


def _first(stanzas: t.Sequence[Stanza], option: str) -> str:
    return next((stanza.value(option) for stanza in stanzas if stanza.values(option)), "")


def _expanded(words: t.Sequence[str], links: t.Sequence[str]) -> list[str]:
    """The ports that bridge-utils takes: names, or what its patterns find of *links*."""
    found: list[str] = []
    is_pattern = False
    for word in words:
        if word in ("regex", "noregex"):
            is_pattern = word == "regex"
        elif word == "all":
            found += [name for name in links if any(_is_like(pattern, name) for pattern in _ALL)]
        elif is_pattern:
            found += [name for name in links if _is_like(word, name)]
        elif word != "none":
            found.append(word)
    return list(dict.fromkeys(found))


def _is_like(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _address(stanza: Stanza) -> str:
    method = stanza.words[3]
    if method == "dhcp":
        return DHCP
    address, mask = stanza.value("address"), stanza.value("netmask")
    if method != "static" or not address:
        return ""
    try:
        return str(ipaddress.ip_interface(f"{address}/{mask}" if mask and "/" not in address else address))
    except ValueError:
        return ""


def _port(name: str, stanzas: t.Sequence[Stanza]) -> Port:
    pvid = DEFAULT_PVID
    vids: set[int] = set()
    for line in (value for stanza in stanzas for option in ("up", "post_up") for value in stanza.values(option)):
        match = _VLAN.fullmatch(line)
        if match is None or match[2] != name:
            continue
        numbers = range(int(match[3]), int(match[4] or match[3]) + 1)
        if match[1] == "del":
            pvid = 0 if pvid in numbers else pvid
        elif match[5]:
            pvid = numbers[0]
        else:
            vids.update(numbers)
    return Port(name, pvid, tuple(sorted(vids - {pvid})))


def _vlan_lines(port: Port) -> list[str]:
    if not port.has_vlans:
        return []
    lines = [f"bridge vlan del dev {port.name} vid {DEFAULT_PVID}"] if port.pvid != DEFAULT_PVID else []
    lines += (
        [f"bridge vlan add dev {port.name} vid {port.pvid} pvid untagged"] if port.pvid not in (0, DEFAULT_PVID) else []
    )
    return lines + [f"bridge vlan add dev {port.name} vid {vid}" for vid in show_vids(port.vids) or ()]


def _set_addresses(models: t.Sequence[InterfacesFile], bridge: str, family: str, wanted: tuple[str, ...]) -> None:
    """Stanzas whose address stays are left, and those of another method; the others get the new addresses, or go."""
    left = list(wanted)
    loose = []
    for model in models:
        for stanza in model.ifaces(bridge, family):
            if stanza.words[3:4] and _address(stanza) in left:
                left.remove(_address(stanza))
            elif stanza.words[3:4] and stanza.words[3] in _METHODS:
                loose.append((model, stanza))
    for model, stanza in loose:
        if left:
            _give(stanza, left.pop(0))
        elif stanza.values("bridge_ports"):
            _give(stanza, "")
        else:
            model.remove(stanza)
    for address in left:
        model = models[0]
        stanza = model.append("iface", bridge, family, "manual", parted=False)
        model.stanzas.remove(stanza)
        model.stanzas.insert(model.stanzas.index(model.ifaces(bridge)[-1]) + 1, stanza)
        _give(stanza, address)


def _give(stanza: Stanza, address: str) -> None:
    method = "manual" if not address else DHCP if address == DHCP else "static"
    if stanza.words[3] != method:
        stanza.set_words(*stanza.words[:3], method, *stanza.words[4:])
    for option in ("netmask", "broadcast", "network", *(() if method == "static" else ("gateway",))):
        stanza.set(option, [])
    _put_first(stanza, "address", [address] if method == "static" else [])


def _put_first(stanza: Stanza, option: str, values: list[str]) -> None:
    """Set an option; a new one comes before all others, as people write it."""
    if stanza.values(option) or not values or not stanza.options():
        stanza.set(option, values)
        return
    start = stanza.options()[0][0]
    indent = re.match(r"\s*", stanza.lines[start])
    stanza.lines[start:start] = [f"{indent[0] if indent else ''}{option} {value}" for value in values]


def _set_gateway(models: t.Sequence[InterfacesFile], bridge: str, family: str, gateway: str) -> None:
    found = [stanza for model in models for stanza in model.ifaces(bridge, family)]
    stanzas = [stanza for stanza in found if stanza.words[3:4] == ("static",)]
    holders = [stanza for stanza in stanzas if stanza.values("gateway")] or stanzas[:1]
    for stanza in holders[1:]:
        stanza.set("gateway", [])
    for stanza in holders[:1]:
        at = [option[1] for option in stanza.options() if option[2] == "address"]
        if gateway and not stanza.values("gateway") and at:
            indent = re.match(r"\s*", stanza.lines[at[0] - 1])
            stanza.lines.insert(at[0], f"{indent[0] if indent else ''}gateway {gateway}")
        else:
            stanza.set("gateway", [gateway] if gateway else [])


class _Definition(t.NamedTuple):
    """The stanzas of a bridge in their files, *main* the one that makes it a bridge."""

    bridge: str
    models: t.Sequence[InterfacesFile]
    main: Stanza
    words: t.Mapping[str, str]

    def stanzas(self) -> list[Stanza]:
        return [stanza for model in self.models for stanza in model.ifaces(self.bridge)]

    def set(self, option: str, values: t.Sequence[str]) -> None:
        """In the stanza that has the option, else in the main one."""
        holders = (stanza for stanza in self.stanzas() if stanza.values(option))
        next(holders, self.main).set(option, values)


def _read_addresses(family: str) -> t.Callable[[t.Sequence[Stanza]], tuple[str, ...]]:
    def read(stanzas: t.Sequence[Stanza]) -> tuple[str, ...]:
        found = (_address(stanza) for stanza in stanzas if stanza.words[2] == family)
        return tuple(address for address in found if address)

    return read


def _read_gateway(version: int) -> t.Callable[[t.Sequence[Stanza]], str]:
    def read(stanzas: t.Sequence[Stanza]) -> str:
        values = (value for stanza in stanzas for value in stanza.values("gateway") if _is_ip(value))
        found = (ipaddress.ip_address(value) for value in values)
        return next((str(address) for address in found if address.version == version), "")

    return read


def _read_mac(stanzas: t.Sequence[Stanza]) -> str:
    # The first word may be the class of hardware (ether), and another one than an address is ifupdown's own (random).
    words = _first(stanzas, "hwaddress").split()[-1:] or _first(stanzas, "bridge_hw").split()[-1:]
    return words[0].lower() if words and words[0].count(":") == 5 else ""


def _read_mtu(stanzas: t.Sequence[Stanza]) -> int:
    mtu = _first(stanzas, "mtu")
    return int(mtu) if mtu.isdecimal() else 0


def _write_addresses(family: str, field: str) -> t.Callable[[_Definition, LinkSettings], None]:
    return lambda definition, wanted: _set_addresses(
        definition.models, definition.bridge, family, getattr(wanted, field)
    )


def _write_gateway(family: str, field: str) -> t.Callable[[_Definition, LinkSettings], None]:
    return lambda definition, wanted: _set_gateway(definition.models, definition.bridge, family, getattr(wanted, field))


def _write_stp(definition: _Definition, wanted: LinkSettings) -> None:
    definition.set("bridge_stp", ["on" if wanted.stp else "off"])
    # Without spanning tree a port would wait for nothing before it forwards; with it the kernel refuses so short a wait.
    definition.set("bridge_fd", [] if wanted.stp else ["0"])


def _write_vlan_aware(definition: _Definition, wanted: LinkSettings) -> None:
    definition.set("bridge_vlan_aware", ["yes"] if wanted.vlan_aware else [])


def _write_mac(definition: _Definition, wanted: LinkSettings) -> None:
    for stanza in definition.stanzas():
        stanza.set("bridge_hw", [])
    word = wanted.mac or definition.words.get("mac")
    definition.set("hwaddress", [word] if word else [])


def _write_mtu(definition: _Definition, wanted: LinkSettings) -> None:
    definition.set("mtu", [str(wanted.mtu)] if wanted.mtu else [])


def _write_ports(definition: _Definition, before: LinkSettings, wanted: LinkSettings) -> None:
    names, old_names = ([port.name for port in side.ports] for side in (wanted, before))
    if names != old_names:
        definition.main.set("bridge_ports", [" ".join(names) or "none"])
    for name in dict.fromkeys((*old_names, *names)):
        old, new = before.port(name) or Port(name), wanted.port(name) or Port(name)
        if old == new:
            continue
        for stanza in definition.stanzas():
            for option in ("up", "post_up"):
                stanza.drop(option, _is_vlan_line_of(name))
        definition.main.add("up", _vlan_lines(new))


def _is_vlan_line_of(port: str) -> t.Callable[[str], bool]:
    def is_it(value: str) -> bool:
        match = _VLAN.fullmatch(value)
        return match is not None and match[2] == port

    return is_it


# How each option is read and written, in the order of the lines of a new bridge; ports have lines of their own.
READ: dict[str, t.Callable[[t.Sequence[Stanza]], t.Any]] = {
    "address": _read_addresses("inet"),
    "address6": _read_addresses("inet6"),
    "gateway": _read_gateway(4),
    "gateway6": _read_gateway(6),
    "stp": lambda stanzas: _first(stanzas, "bridge_stp") in _YES,
    # bridge-utils takes no other word for it.
    "vlan_aware": lambda stanzas: _first(stanzas, "bridge_vlan_aware") == "yes",
    "mac": _read_mac,
    "mtu": _read_mtu,
}
WRITE: dict[str, t.Callable[[_Definition, LinkSettings], None]] = {
    "address": _write_addresses("inet", "addresses"),
    "address6": _write_addresses("inet6", "addresses6"),
    "gateway": _write_gateway("inet", "gateway"),
    "gateway6": _write_gateway("inet6", "gateway6"),
    "stp": _write_stp,
    "vlan_aware": _write_vlan_aware,
    "mac": _write_mac,
    "mtu": _write_mtu,
}
# What a new bridge has a line for, whatever it is.
ON_CREATION = ("stp",)
