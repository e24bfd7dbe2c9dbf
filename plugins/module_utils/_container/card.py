# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A network card: what each option of it is in the lines of the configuration, which lines it makes, and what it is while the guest runs."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core import paths
from .._core.decide import SAME
from .._core.options import Item
from .._core.value import Value
from .._guest.identity import link_name
from .._guest.options import DHCP, NO_ADDRESS, is_fixed
from .._host import vlans
from .config import ADDRESSES, Config
from .spec import takes_ip6

Net = t.Mapping[str, str]
Values = t.Mapping[str, t.Any]
Lines = dict[str, str]

NO_MTU = 1500
VETH = "veth"
# The addresses of a card and its ways out.
ADDRESSING = ("ip", "gateway", "ip6", "gateway6")
# Which options the cards of other types have; all others stand for the port of a bridge, or for what LXC takes elsewhere.
KEYS_OF = {
    "macvlan": ("mac", "mtu", *ADDRESSING),
    "vlan": ("mac", "mtu", *ADDRESSING),
    "ipvlan": ("mtu", *ADDRESSING),
    "phys": ("mac", "mtu", *ADDRESSING),
    "none": (),
    "empty": (),
}
RATE_PROGRAM = paths.PROGRAMS + "/limit-rate"


class Address(Value):
    """An address with its prefix length. *is_leased*: it has a lifetime, so the guest asked for it."""

    __slots__ = ("cidr", "is_leased")

    def __init__(self, cidr: str, is_leased: bool = False) -> None:
        self.cidr = cidr
        self.is_leased = is_leased


class Nic(Value):
    """An interface of a running container: *device* inside, *host* its other end, plugged into *bridge* unless that is empty.

    *vlan* is that of its port, 0 for none, *default_vlan* what the bridge gives to each new port; ``None`` where the bridge
    knows no VLANs. *stale* are addresses that only an earlier configuration gave it. *rates* are the bits per second that it gets
    and sends at most, 0 for no limit; ``None`` where nobody asked.
    """

    __slots__ = (
        "addresses",
        "bridge",
        "default_vlan",
        "device",
        "gateways",
        "host",
        "mac",
        "mtu",
        "rates",
        "stale",
        "vlan",
    )

    def __init__(
        self,
        device: str,
        mac: str,
        host: str = "",
        bridge: str = "",
        mtu: int = NO_MTU,
        addresses: tuple[Address, ...] = (),
        gateways: tuple[str, ...] = (),
        vlan: int | None = None,
        default_vlan: int = 0,
        rates: tuple[int, int] | None = None,
        stale: tuple[str, ...] = (),
    ) -> None:
        self.rates = rates
        self.stale = stale
        self.device = device
        self.mac = mac
        self.host = host
        self.bridge = bridge
        self.mtu = mtu
        self.addresses = addresses
        self.gateways = gateways
        self.vlan = vlan
        self.default_vlan = default_vlan

    def has(self, cidr: str) -> bool:
        return any(address.cidr == cidr for address in self.addresses)

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``. Most keys mean something only beside the card that it runs for: see ``KEYS``."""
        return SAME


class Card(Value):
    """A network card by its lines in the configuration, or as it shall be. *values* has each option by its key, canonical: off values for none.

    *device* is its name inside, *pair* that of its end on the host, empty where the kernel gives one at each start. *kind* is its type
    in LXC's words, *others* are the addresses that it has beside those of ``ip`` and ``ip6``.
    """

    __slots__ = ("device", "kind", "name", "number", "others", "pair", "values")

    def __init__(
        self,
        name: str,
        number: int,
        device: str,
        pair: str,
        values: Values,
        kind: str = VETH,
        others: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.others = others
        self.name = name
        self.number = number
        self.device = device
        self.pair = pair
        self.values = values

    def __getitem__(self, key: str) -> t.Any:
        return self.values[key]

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``."""
        return self.values[key]

    def text(self, key: str) -> str:
        return t.cast(str, self.values[key])

    def is_up(self) -> bool:
        return self.text("link") == "up"


class Known(Value):
    """What of a card does not stand in the configuration: the bridge of one that is unplugged, and whether the guest asks for an address."""

    __slots__ = ("asks_dhcp", "bridge")

    def __init__(self, bridge: str = "", asks_dhcp: bool = False) -> None:
        self.bridge = bridge
        self.asks_dhcp = asks_dhcp


class Key:
    """One option of a card. *read* gives its value in the configuration, *lines* what a value stands for there (empty text for
    no line), *seen* its value while the guest runs, from the declared value, the card by its lines and the running interface.
    """

    __slots__ = ("lines", "read", "seen")

    def __init__(
        self,
        read: t.Callable[[Net, Known], t.Any],
        lines: t.Callable[[Values], Lines],
        seen: t.Callable[[t.Any, Card, Nic], t.Any],
    ) -> None:
        self.read = read
        self.lines = lines
        self.seen = seen


# ---- each option of a card -------------------------------------------------------------------------------------------------


def _read_bridge(net: Net, known: Known) -> str:
    return net.get("link") or known.bridge


def _plug_lines(values: Values) -> Lines:
    return {"link": values["bridge"] if values["link"] == "up" else ""}


def _seen_bridge(declared: str | None, card: Card, nic: Nic) -> str:
    return nic.bridge or (card.text("bridge") if not card.is_up() else "")


def _read_link(net: Net, known: Known) -> str:
    return "up" if net.get("link") else "down"


def _seen_link(declared: str | None, card: Card, nic: Nic) -> str:
    return "up" if nic.bridge else "down"


def _read_vlan(net: Net, known: Known) -> int:
    return _number(net.get("veth.vlan.id", ""))


def _vlan_lines(values: Values) -> Lines:
    vlan = values["vlan"]
    # The mode is the default, which no line needs to say that was there without a VLAN.
    return {**({"veth.mode": "bridge"} if vlan else {}), "veth.vlan.id": str(vlan or "")}


def seen_vlan(declared: int | None, card: Card, nic: Nic) -> int | None:
    """The VLAN that the running interface is in, in the form of the option; that of *card* where nothing tells another."""
    vlan: int = card["vlan"]
    return vlan if nic.vlan is None else vlans.canonical(nic.vlan, vlan, nic.default_vlan)


def _read_mac(net: Net, known: Known) -> str:
    return net.get("hwaddr", "").lower()


def _mac_lines(values: Values) -> Lines:
    return {"hwaddr": values["mac"]}


def _seen_mac(declared: str | None, card: Card, nic: Nic) -> str:
    return nic.mac


def _read_mtu(net: Net, known: Known) -> int:
    return _number(net.get("mtu", ""))


def _mtu_lines(values: Values) -> Lines:
    return {"mtu": str(values["mtu"] or "")}


def _seen_mtu(declared: int | None, card: Card, nic: Nic) -> int | None:
    kept: int = card["mtu"]
    return kept if nic.mtu == (kept or NO_MTU) else declared if nic.mtu == (declared or NO_MTU) else nic.mtu


def _read_ip(net: Net, known: Known) -> str:
    static = addresses_of(net)
    if known.asks_dhcp and not net.get("ipv4.address"):
        return DHCP
    return static[0] if static else NO_ADDRESS


def _read_ip6(net: Net, known: Known) -> str:
    """The first of IPv6, unless it is that of ``ip``."""
    if not takes_ip6(_read_ip(net, known)):
        return ""
    return next((address for address in addresses_of(net) if ":" in address), "")


def addresses_of(net: Net) -> tuple[str, ...]:
    """All fixed addresses of a card, canonical, those of IPv4 first."""
    lines = (line for key in ADDRESSES for line in net.get(key, "").split("\n") if line.strip())
    return tuple(_canonical_ip(line.split()[0]) for line in lines)


def _read_gateway(net: Net, known: Known) -> str:
    """That of the family of ``ip``."""
    return net.get("ipv4.gateway" if takes_ip6(_read_ip(net, known)) else "ipv6.gateway", "")


def _read_gateway6(net: Net, known: Known) -> str:
    return net.get("ipv6.gateway", "") if takes_ip6(_read_ip(net, known)) else ""


def _address_lines(values: Values) -> Lines:
    ip = values["ip"] if is_fixed(values["ip"]) else ""
    gateway = values["gateway"] if ip else ""
    is_six = ":" in ip
    return {
        "ipv4.address": "" if is_six else ip,
        "ipv4.gateway": "" if is_six else gateway,
        "ipv6.address": ip if is_six else values["ip6"],
        "ipv6.gateway": gateway if is_six else values["gateway6"],
    }


def _seen_ip(declared: str | None, card: Card, nic: Nic) -> t.Any:
    """An address that the guest got by itself cannot be told from what it was asked for: only a fixed one has a live value."""
    if declared is None or not is_fixed(declared) or not card.is_up():
        return SAME
    if nic.has(declared):
        return nic.stale[0] if nic.stale else declared
    return card["ip"] if card["ip"] != declared else next((address.cidr for address in nic.addresses), NO_ADDRESS)


def _seen_ip6(declared: str | None, card: Card, nic: Nic) -> t.Any:
    """One that the guest gave itself is told from a fixed one by its lifetime."""
    if declared is None or not card.is_up():
        return SAME
    if declared and nic.has(declared):
        return declared
    kept = card.text("ip6")
    if kept != declared and nic.has(kept):
        return kept
    fixed = (address.cidr for address in nic.addresses if ":" in address.cidr and not address.is_leased)
    return next(fixed, "") if declared else ""


def _seen_gateway(declared: str | None, card: Card, nic: Nic) -> t.Any:
    return _seen_way("gateway", declared, card, nic)


def _seen_gateway6(declared: str | None, card: Card, nic: Nic) -> t.Any:
    return _seen_way("gateway6", declared, card, nic)


def _seen_way(key: str, declared: str | None, card: Card, nic: Nic) -> t.Any:
    if declared is None or not card.is_up():
        return SAME
    kept = card.text(key)
    if not declared:
        return kept if kept in nic.gateways else ""
    if declared in nic.gateways:
        return declared
    return kept if kept != declared else next(iter(nic.gateways), "")


RATES = ("rate_limit.in", "rate_limit.out")


def script_of(net: Net) -> str | None:
    """The program of somebody else that LXC runs when the card comes or goes."""
    scripts = (net.get("script.up", ""), net.get("script.down", ""))
    return next((script for script in scripts if script and not script.startswith(RATE_PROGRAM + " ")), None)


def _rates(net: Net) -> tuple[int, int]:
    program, *words = net.get("script.up", "").split()[:3] or [""]
    is_ours = program == RATE_PROGRAM and len(words) == 2 and all(word.isdecimal() for word in words)
    return (int(words[0]), int(words[1])) if is_ours else (0, 0)


def _rate_lines(values: Values) -> Lines:
    """LXC runs the program with more words behind these, when the card comes and before it goes."""
    rates = (values["rate_limit.in"], values["rate_limit.out"])
    line = f"{RATE_PROGRAM} {rates[0]} {rates[1]}" if any(rates) else ""
    return {"script.up": line, "script.down": line}


def _rate(place: int) -> Key:
    return Key(
        lambda net, known: _rates(net)[place],
        _rate_lines,
        lambda declared, card, nic: SAME if nic.rates is None else nic.rates[place],
    )


KEYS = {
    "bridge": Key(_read_bridge, _plug_lines, _seen_bridge),
    "vlan": Key(_read_vlan, _vlan_lines, seen_vlan),
    "mac": Key(_read_mac, _mac_lines, _seen_mac),
    "link": Key(_read_link, _plug_lines, _seen_link),
    "mtu": Key(_read_mtu, _mtu_lines, _seen_mtu),
    "ip": Key(_read_ip, _address_lines, _seen_ip),
    "gateway": Key(_read_gateway, _address_lines, _seen_gateway),
    "ip6": Key(_read_ip6, _address_lines, _seen_ip6),
    "gateway6": Key(_read_gateway6, _address_lines, _seen_gateway6),
    "rate_limit.in": _rate(0),
    "rate_limit.out": _rate(1),
}


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _canonical_ip(text: str) -> str:
    try:
        return ipaddress.ip_interface(text).with_prefixlen
    except ValueError:
        return text


# ---- the card as a whole ---------------------------------------------------------------------------------------------------


def claim_cards(guest: str, declared: t.Iterable[Item], config: Config, macs: t.Mapping[str, str]) -> dict[str, int]:
    """The number of the card that each name means: by a declared MAC, else as recorded, else ``net0`` and so on by number.

    A name that is recorded for one card does not move to another, nor does a card leave a name that is declared too. One that
    bears its name on the host is known by that first: its MAC may be in the record as that of another, after an exchange.
    """
    free = config.nets()
    found: dict[str, int] = {}
    items = list(declared)

    def claim(name: str, is_it: t.Callable[[int, Net], bool]) -> None:
        number = next((number for number, net in free.items() if is_it(number, net)), None)
        if name not in found and number is not None:
            found[name] = number
            del free[number]

    def claim_mac(name: str, mac: str) -> None:
        # Two cards may have one MAC: then the place tells them apart.
        claim(name, lambda number, net: mac_in(net) == mac and name == f"net{number}")
        claim(name, lambda number, net: mac_in(net) == mac)

    def claim_own(name: str) -> None:
        claim(name, lambda number, net: bears_name(guest, name, net.get("veth.pair", "")))

    there = {mac_in(net) for net in free.values()}
    recorded = {name: mac for name, mac in macs.items() if mac in there}
    held = {mac for name, mac in recorded.items() if any(item.name == name for item in items)}
    for item in items:
        if item.name in macs:
            claim_own(item.name)
    for item in items:
        mac = item.text("mac")
        if mac and item.name not in recorded and mac not in held:
            claim_mac(item.name, mac)
    for name in macs:
        claim_own(name)
    for name, mac in recorded.items():
        claim_mac(name, mac)
    for item in items:
        claim(item.name, lambda number, net, name=item.name: name == f"net{number}")  # type: ignore[misc]  # mypy sees no type of name=item.name
    for number in sorted(free):
        found.setdefault(f"net{number}", number)
    return found


def bears_name(guest: str, card: str, pair: str) -> bool:
    """Whether the end on the host that is called *pair* was named after the *card* of that name."""
    return pair == link_name(guest, card, ())


def mac_in(net: Net) -> str:
    return net.get("hwaddr", "").lower()


def device_names(nets: t.Mapping[int, Net]) -> dict[int, str]:
    """The names of the cards inside by their numbers: the kernel gives the first that is free where no line does."""
    taken = {net["name"] for net in nets.values() if net.get("name")}
    found = {}
    for number in sorted(nets):
        found[number] = nets[number].get("name") or free_device(taken)
        taken.add(found[number])
    return found


def free_device(taken: t.Collection[str], number: int = 0) -> str:
    """The first name from *number* on that no card has."""
    while f"eth{number}" in taken:
        number += 1
    return f"eth{number}"


def read_cards(
    numbers: t.Mapping[str, int], config: Config, *, unplugged: t.Mapping[str, str], asks_dhcp: t.Collection[str]
) -> dict[str, Card]:
    """The cards of *config* by name. *numbers* are those of ``claim_cards``, *unplugged* the bridges of cards without one."""
    nets = config.nets()
    devices = device_names(nets)
    found = {}
    for name, number in numbers.items():
        net, known = nets[number], Known(unplugged.get(name, ""), name in asks_dhcp)
        values = {key: row.read(net, known) for key, row in KEYS.items()}
        found[name] = Card(
            name,
            number,
            devices[number],
            net.get("veth.pair", ""),
            values,
            net.get("type", VETH),
            tuple(address for address in addresses_of(net) if address not in (values["ip"], values["ip6"])),
        )
    return found


def find_nic(card: Card, nics: t.Iterable[Nic]) -> Nic | None:
    """The interface of the running container that belongs to *card*."""
    there = tuple(nics)
    mac = card["mac"]
    alike = [nic for nic in there if mac and nic.mac == mac]
    # Two cards may have one MAC, as those of a team do: then their names tell them apart.
    own = [nic for nic in alike if nic.host == card.pair or nic.device == card.device]
    found = (
        *(nic for nic in there if card.pair and nic.host == card.pair),
        *(own if len(alike) > 1 else alike),
        *(nic for nic in there if not mac and nic.device == card.device),
    )
    return next(iter(found), None)


def has_its_address(card: Card, nic: Nic) -> bool:
    """Whether a card that is to have an address has it: of one that asks by DHCP a lease, where a router's announcement came first."""
    if card["ip"] != DHCP:
        return bool(nic.addresses)
    # A lease of IPv6 is of one address, and one that the guest gives itself of a whole subnet.
    return any(":" not in address.cidr or address.cidr.endswith("/128") for address in nic.addresses)


def changed_card(card: Card, item: Item, off: t.Mapping[str, t.Any]) -> Card:
    """*card* as it shall be: what is declared, and the keys that are taken *off*, over what is there."""
    values = {**card.values, **item.values, **off}
    if not is_fixed(values["ip"]):
        values["gateway"] = ""
    if not takes_ip6(values["ip"]):
        values["ip6"] = ""
    if not values["ip6"]:
        values["gateway6"] = ""
    return card.replace(values=values)


def new_card(number: int, item: Item, device: str, pair: str) -> Card:
    """A card that is not there yet, with every line that one of ours has. *item* is complete, its MAC among the rest."""
    values = {key: row.read({}, Known()) for key, row in KEYS.items()}
    return Card(item.name, number, device, pair, {**values, **item.values})


def write_card(config: Config, old: Card | None, new: Card) -> Config:
    """*config* with the lines of *new*: of one that is there those of the options that change, all others stay as they are."""
    # liblxc takes the keys of a type only after the type.
    birth = {"type": VETH, "link": "", "flags": "up", "name": new.device, "veth.pair": new.pair}
    lines: Lines = birth if old is None else {} if old.pair == new.pair else {"veth.pair": new.pair}
    for key, row in KEYS.items():
        if old is None or (key not in ADDRESSING and old[key] != new[key]):
            lines.update(row.lines(new.values))
    for key, value in lines.items():
        full = f"lxc.net.{new.number}.{key}"
        config = config.set(full, value) if value else config.unset(full)
    return config if old is None else _readdress(config, old, new)


def _readdress(config: Config, old: Card, new: Card) -> Config:
    """*config* with other addresses and ways out of its own: what else the card has stays."""
    before, after = (_address_lines(card.values) for card in (old, new))
    for key, value in after.items():
        full = f"lxc.net.{new.number}.{key}"
        if value == before[key]:
            continue
        if key in ADDRESSES:
            values = config.values(full)
            place = next((n for n, line in enumerate(values) if _canonical_ip(line.split()[0]) == before[key]), None)
            if place is None:
                values = [value, *values]
            else:
                values[place : place + 1] = [value] if value else []
            config = config.set_all(full, values)
        else:
            config = config.set(full, value) if value else config.unset(full)
    return config
