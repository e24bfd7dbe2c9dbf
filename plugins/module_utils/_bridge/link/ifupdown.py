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

from ..options import DHCP, SLAAC, show_vids
from .interfaces_file import InterfacesFile, Stanza
from .moved import Moved
from .settings import DEFAULT_PVID, FIELDS, LinkSettings, Port

FOLDER = "/etc/network"
MAIN = f"{FOLDER}/interfaces"
OURS = f"{FOLDER}/interfaces.d"
# Of the files in a source-directory ifupdown reads those with such names.
DIRECTORY_NAMES = re.compile(r"[A-Za-z0-9_-]+")
_YES = ("on", "yes", "true", "1")
_PATTERNS = ("all", "regex", "noregex")
_ALL = ("eth.*", "em.*", "en.*", "p[0-9].*")
# What the options address and address6 can say of, by family; the others (tunnel and so on) are somebody's own.
_METHODS = ("manual", "static", "dhcp")
_METHODS_OF = {"inet": _METHODS, "inet6": (*_METHODS, "auto")}
_METHOD_OF = {"": "manual", DHCP: DHCP, SLAAC: "auto"}
# Words of ifupdown2 (ifupdown-addons-interfaces(5)); the first one has a port in that VLAN alone.
_VLAN_WORDS = ("bridge_access", "bridge_pvid", "bridge_vids")
_SCRIPTS = ("pre_up", "up", "post_up", "pre_down", "down", "post_down")
# The words of ethtool's own scripts, and those of links that are put together of others.
_OF_CARD = ("link_speed", "link_duplex", "link_autoneg", "ethernet_", "offload_", "hardware_")
_OF_OTHERS = ("bond", "bridge", "vlan", "wpa", "wireless", "team", "ovs")
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
    """The bridge definitions in *files*: /etc/network/interfaces and what it sources, in that order. *links* are those of the host.

    *is_second*: ifupdown2 reads them, which has words for the VLANs of ports.
    """

    name = "ifupdown"

    def __init__(self, files: t.Mapping[str, str], links: t.Collection[str] = (), *, is_second: bool = False) -> None:
        self.files = files
        self.links = links
        self.is_second = is_second
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
        return LinkSettings(**values, ports=tuple(self._port(name, stanzas) for name in names))

    def _port(self, name: str, stanzas: t.Sequence[Stanza]) -> Port:
        if not self.is_second:
            return _port(name, stanzas, Port(name))
        return _port(name, stanzas, _port_of_words(name, [*self._all_stanzas(name), *stanzas]))

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
        moved: str = "",
    ) -> list[str]:
        """Why the bridge or one of its *new_ports* cannot be defined as *wanted*, as sentences.

        What the port *moved* has goes over to the bridge.
        """
        before = self.read(bridge)
        is_changed = before is None or (wanted or before) != before
        found = self._unreadable(bridge) if is_changed else []
        if before is not None and wanted is not None and self.is_second:
            found += self._worded(bridge, before, wanted)
        for port in new_ports:
            found += self._unmovable(port) if port == moved else []
            for path, model in self.models.items():
                for stanza in model.ifaces(port) if port != moved else ():
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

    def _worded(self, bridge: str, before: LinkSettings, wanted: LinkSettings) -> list[str]:
        """The ports whose VLANs the words of ifupdown2 give, and that are to have others."""
        changed = [port.name for port in before.ports if wanted.port(port.name) not in (None, port)]
        changed += [port.name for port in wanted.ports if before.port(port.name) is None and port.has_vlans]
        return [
            f"ports[{port}]: {self._path(bridge)} gives its VLANs with {word.replace('_', '-')}. Change them there"
            for port in changed
            for word in _VLAN_WORDS
            if _first([*self._all_stanzas(port), *self._stanzas(bridge)], word)
        ][:1]

    def _unmovable(self, port: str) -> list[str]:
        """What this module does not follow in what the files say of a link whose words the bridge is to have."""
        found = []
        for path, model in self.models.items():
            told = f"ports[{port}]: {path}"
            for stanza in model.stanzas:
                words = stanza.words
                if stanza.kind == "mapping" and any(fnmatch.fnmatchcase(port, word) for word in words[1:]):
                    found.append(
                        f"{told} has a mapping for {port}, which this module does not follow. Write what it means there"
                    )
                if stanza.kind != "iface" or len(words) < 2:
                    continue
                is_above = words[1].startswith((f"{port}:", f"{port}.")) or port in stanza.values("vlan_raw_device")
                if is_above:
                    found.append(
                        f"{told} defines {words[1]} over {port}, which would go down with it. Take it off first"
                    )
                if words[1] == port:
                    found += [f"{told} {why}" for why in _unclear_words(stanza, port)]
        return found

    def own_settings(self, link: str) -> LinkSettings | None:
        """What the files give *link* for itself, ``None`` where that is nothing, or where it is a bridge."""
        stanzas = self._stanzas(link)
        found = LinkSettings(
            **{FIELDS[row]: READ[row](stanzas) for row in ("address", "address6", "gateway", "gateway6")}
        )
        return None if _main(stanzas) is not None or found == LinkSettings() else found

    def text_without_client(self, link: str) -> str:
        """The stanzas of *link* as they are, but that no DHCP client is started or stopped by them."""
        found = InterfacesFile()
        for model in self.models.values():
            for stanza in model.ifaces(link):
                copied = Stanza(stanza.words, list(stanza.lines))
                if copied.words[3:4] == (DHCP,):
                    copied.set_words(*copied.words[:3], "manual", *copied.words[4:])
                found.stanzas.append(copied)
        return found.render()

    def _taken_over(self, bridge: str, moved: Moved) -> dict[str, str]:
        """The files in which what they say of the port *moved* is said of the bridge; the card keeps what is about the card."""
        models = {path: InterfacesFile(text) for path, text in self.files.items()}
        card = Stanza(("iface", moved.port, "inet", "manual"), [f"iface {moved.port} inet manual", ""])
        is_first = True
        for model in models.values():
            for stanza in model.ifaces(moved.port):
                card.lines[-1:-1] = _take_card_lines(stanza)
                stanza.set_words("iface", bridge, *stanza.words[2:])
                if moved.client and stanza.words[2:4] == ("inet", DHCP) and not stanza.values("client"):
                    stanza.set("client", [moved.client])
                if is_first:
                    place = model.stanzas.index(stanza)
                    model.stanzas[place:place] = [card, Stanza(("auto", bridge), [f"auto {bridge}"])]
                    for option, value in (("bridge_ports", moved.port), ("bridge_stp", "off"), ("bridge_fd", "0")):
                        stanza.set(option, [value])
                    is_first = False
        return {path: model.render() for path, model in models.items()}

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
        moved: Moved | None = None,
    ) -> Edits:
        """The files that change when the bridge is to be *wanted*, each with its new text. *starts*: it is to come up with the host.

        *words* are those that stood in the place of values before this module wrote there. What the files say of the port *moved*, they say
        of the bridge from now on.
        """
        if moved is not None:
            files = self._taken_over(bridge, moved)
            edits = files | Ifupdown(files, self.links, is_second=self.is_second).define(
                bridge, wanted, starts=starts, words=words
            )
            return {path: text for path, text in edits.items() if text != self.files.get(path)}
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

    def _all_stanzas(self, link: str) -> list[Stanza]:
        """Also those without a family and a method, as ifupdown2 has them for ports."""
        return [stanza for model in self.models.values() for stanza in model.ifaces(link)]

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


def _unclear_words(stanza: Stanza, port: str) -> list[str]:
    words = stanza.words
    if len(words) != 4 or words[3] not in (*_METHODS, "auto"):
        return [f"configures it with {' '.join(words[2:]) or 'no family and method'}, which this module does not move"]
    found = []
    for dummy, dummy, option, value in stanza.options():
        is_script = option in _SCRIPTS
        if option.startswith(_OF_OTHERS):
            found.append(f"has the word {option}, which this module does not move")
        if (
            is_script
            and re.search(rf"(?<![\w.-]){re.escape(port)}(?![\w.-])", value)
            and not _is_of_card(option, value)
        ):
            found.append(f"names {port} in the line {option} {value}. Write $IFACE there, which is the bridge then")
    return found


def _is_of_card(option: str, value: str) -> bool:
    """Whether it is about the card itself, whoever has its addresses."""
    return option == "mtu" or option.startswith(_OF_CARD) or (option in _SCRIPTS and _is_ethtool(value))


def _is_ethtool(value: str) -> bool:
    return any(word.endswith("ethtool") for word in value.split()[:1])


def _take_card_lines(stanza: Stanza) -> list[str]:
    taken: list[str] = []
    for start, end, option, value in reversed(stanza.options()):
        if _is_of_card(option, value):
            taken[:0] = stanza.lines[start:end]
            del stanza.lines[start:end]
    return taken


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
    if method == "auto" and stanza.words[2] == "inet6":
        return SLAAC
    address, mask = stanza.value("address"), stanza.value("netmask")
    if method != "static" or not address:
        return ""
    try:
        return str(ipaddress.ip_interface(f"{address}/{mask}" if mask and "/" not in address else address))
    except ValueError:
        return ""


def _port_of_words(name: str, stanzas: t.Sequence[Stanza]) -> Port:
    """The VLANs that ifupdown2 gives a port: by the first of *stanzas*, its own before those of the bridge, that has the word."""
    access, pvid, words = (_first(stanzas, word) for word in _VLAN_WORDS)
    if access.isdecimal():
        return Port(name, int(access))
    number = int(pvid) if pvid.isdecimal() else DEFAULT_PVID
    vids: set[int] = set()
    for word in words.replace(",", " ").split():
        first, dummy, last = word.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            vids.update(range(int(first), int(last or first) + 1))
    return Port(name, number, tuple(sorted(vids - {number})))


def _port(name: str, stanzas: t.Sequence[Stanza], given: Port) -> Port:
    """A port with what the lines of commands say of it, beside what is *given* otherwise."""
    pvid = given.pvid
    vids = set(given.vids)
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
            elif stanza.words[3:4] and stanza.words[3] in _METHODS_OF.get(family, ()):
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
        last = model.ifaces(bridge)[-1]
        # A static stanza of IPv6 switches off what the one before it switched on: inet6 auto comes last.
        is_before = family == "inet6" and last.words[2:4] == ("inet6", "auto")
        model.stanzas.insert(model.stanzas.index(last) + (0 if is_before else 1), stanza)
        _give(stanza, address)


def _give(stanza: Stanza, address: str) -> None:
    method = _METHOD_OF.get(address, "static")
    if stanza.words[3] != method:
        stanza.set_words(*stanza.words[:3], method, *stanza.words[4:])
    for option in ("netmask", "broadcast", "network", *(() if method == "static" else ("gateway",))):
        stanza.set(option, [])
    _put_first(stanza, "address", [address] if method == "static" else [])
    if address == SLAAC:
        # As a router the kernel takes what others announce only with 2.
        stanza.set("accept_ra", ["2"])
    elif method != DHCP:
        stanza.set("accept_ra", [])


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
        found = [_address(stanza) for stanza in stanzas if stanza.words[2] == family]
        fixed = [address for address in found if address not in ("", SLAAC)]
        return (*fixed, *([SLAAC] if SLAAC in found else []))

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
