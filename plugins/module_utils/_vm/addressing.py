# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How the cards of a virtual machine come to their addresses: what the DHCP server of their bridge keeps for them."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._core.options import Item
from .._core.plan import Plan
from .._guest.auto_address import fits, is_auto
from .._guest.options import DHCP, NO_ADDRESS
from .._guest.record import GuestRecord, Reserved
from .._host.dhcp import Reservation, Server
from .options import OPTIONS
from .seed_card import Card
from .spec import Spec
from .state import State
from .xml.nic import Nic

# dnsmasq takes what begins with a digit for a lease time or an address, and libvirt refuses it.
_HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


# The options of a card that a seed alone tells.
_IN_SEED = ("gateway", "dns", "ip6", "gateway6")


class Given(t.NamedTuple):
    """What a card has once the run is over: its *address* with the length of the prefix, and what the network keeps for it, if anything."""

    address: str
    kept: Reserved | None


def with_addresses(spec: Spec, record: GuestRecord) -> Spec:
    """*spec* with the addresses that were taken for its cards with ``auto``."""
    if "networks" not in spec.lists:
        return spec

    def with_address(item: Item) -> Item:
        known = {
            key: cidr
            for key, taken, version in (("ip", record.addresses, 4), ("ip6", record.addresses6, 6))
            if is_auto(wish := item.text(key)) and (cidr := taken.get(item.name)) and fits(wish or "", cidr, version)
        }
        return item.with_values({**item.values, **known}) if known else item

    return spec.replace(lists={**spec.lists, "networks": tuple(map(with_address, spec.items("networks")))})


def as_compared(spec: Spec, state: State) -> Spec:
    """*spec* with the addresses that were taken, and without what its seed alone tells the cards where that stays as it is."""
    spec = with_addresses(spec, state.record)
    if not (state.exists and spec.leaves_seed):
        return spec
    nics: t.Mapping[str, Nic] = state.persistent.nics
    left: set[str] = set()

    def without_left(item: Item) -> Item:
        nic = nics.get(item.name)
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")
        keys = {*_IN_SEED, *(() if bridge in state.servers else ("ip",))}
        left.update(f"networks[{item.name}].{key}" for key in keys)
        return item.with_values({key: value for key, value in item.values.items() if key not in keys})

    networks = tuple(map(without_left, spec.items("networks")))
    lists = {**spec.lists, "networks": networks} if "networks" in spec.lists else spec.lists
    return spec.replace(lists=lists, unset=tuple(path for path in spec.unset if path not in left))


def is_address(ip: str | None) -> bool:
    """Whether ``networks[].ip`` is an address by now: no word, and no choice that is left to the host."""
    return ip is not None and ip[0].isdigit()


def is_address6(ip6: str | None) -> bool:
    """Whether ``networks[].ip6`` is an address by now."""
    return bool(ip6) and not is_auto(ip6)


def without(declared: str | None) -> str:
    """What a card without an address of its own has: who asks without being known, and who asks for none, are the same to all but a seed."""
    return NO_ADDRESS if declared == NO_ADDRESS else DHCP


def kept_ip(server: Server, mac: str, declared: str | None) -> str:
    """What the card with *mac* gets of *server*, as ``networks[].ip`` says it: where its two sides differ, what is not as *declared*."""
    word = without(declared)
    found = [word if ip is None else f"{ip}/{server.network.prefixlen}" for ip in server.ips_for(mac)]
    return next((ip for ip in found if ip != declared), found[0])


def owner_of_mac(server: Server, mac: str) -> Reservation | None:
    return next((kept for kept in server.reservations if kept.mac == mac), None)


def owner_of_ip(server: Server, ip: str) -> Reservation | None:
    return next((kept for kept in server.reservations if kept.ip == ip), None)


def misfit(server: Server, bridge: str, cidr: str) -> str | None:
    """Why *cidr* is no address for a guest of *server*."""
    interface, network = ipaddress.IPv4Interface(cidr), server.network
    if interface.network != network:
        return f"{cidr} is not in {network}, the subnet of the bridge {bridge}"
    if interface.ip == ipaddress.IPv4Interface(server.address).ip:
        return f"{interface.ip} is the address of the bridge {bridge} itself"
    return None


def given(spec: Spec, state: State, plan: Plan) -> dict[str, Given]:
    """The cards that have a fixed address once *plan* is carried out, by name."""
    found = {}
    nics: t.Mapping[str, Nic] = state.persistent.nics if state.exists else {}
    for name in dict.fromkeys((*nics, *(item.name for item in spec.wanted("networks")))):
        change = plan.get(f"networks[{name}]")
        if change is not None and change.after is None:
            continue
        item, nic = spec.item("networks", name) or Item(name), nics.get(name)
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")
        mac = item.text("mac") or (nic.mac if nic else "") or (change.after["mac"] if change else "")
        server, address = state.servers.get(bridge), _address_after(item, spec, state)
        stays = nic is not None and nic.value("bridge") == bridge and nic.value("ip") == address
        if address is None or (item.text("ip") is None and not _goes_along(address, server, bridge, stays=stays)):
            continue
        found[name] = Given(address, Reserved(bridge, mac, address.partition("/")[0]) if server else None)
    return found


def _goes_along(address: str, server: Server | None, bridge: str, *, stays: bool) -> bool:
    """Whether what a card was given before can stay its own on *bridge*. *stays*: it is where it was, and has it."""
    return stays if server is None else misfit(server, bridge, address) is None


def _address_after(item: Item, spec: Spec, state: State) -> str | None:
    ip = item.text("ip")
    if f"networks[{item.name}].ip" in spec.unset:
        return None
    address = state.record.addresses.get(item.name) if ip is None else ip
    return address if is_address(address) else None


def seed_cards(spec: Spec, state: State, plan: Plan) -> dict[str, Card]:
    """What the seed tells the cards that there are once *plan* is carried out: what a DHCP server keeps, the card asks for."""
    found = {}
    nics: t.Mapping[str, Nic] = state.persistent.nics if state.exists else {}
    for name in dict.fromkeys((*nics, *(item.name for item in spec.wanted("networks")))):
        change, nic = plan.get(f"networks[{name}]"), nics.get(name)
        if change is not None and change.after is None:
            continue
        item = spec.item("networks", name) or Item(name)
        mac = item.text("mac") or (nic.mac if nic else "") or (change.after["mac"] if change else "")
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")

        def value(key: str, item: Item = item, nic: Nic | None = nic) -> t.Any:
            off = OPTIONS[f"networks[].{key}"].off
            if f"networks[{item.name}].{key}" in spec.unset:
                return off
            known = nic.value(key) if nic is not None else None
            return item.get(key, off if known is None else known)

        ip = value("ip")
        if bridge in state.servers:
            card = Card(mac, NO_ADDRESS if ip == NO_ADDRESS else DHCP)
        else:
            card = Card(mac, ip, value("gateway") if is_address(ip) else "", tuple(value("dns")))
        ip6 = value("ip6")
        found[name] = card._replace(ip6=ip6, gateway6=value("gateway6")) if is_address6(ip6) else card
    return found


def given6(spec: Spec, state: State, plan: Plan) -> dict[str, str]:
    """The cards that a seed tells an address of IPv6 once *plan* is carried out, by name."""
    return {name: card.ip6 for name, card in seed_cards(spec, state, plan).items() if card.ip6}


def own_reservations(cards: t.Mapping[str, Given], state: State) -> tuple[Reserved, ...]:
    """Those of *cards* that are ours to keep: not what the bridge itself keeps for a card, which is the same address then."""
    found = []
    for its in cards.values():
        server = state.servers.get(its.kept.bridge) if its.kept else None
        if its.kept is None or server is None:
            continue
        there = owner_of_mac(server, its.kept.mac)
        if its.kept in state.record.reservations or there is None or there.ip != its.kept.ip or there.owner:
            found.append(its.kept)
    return tuple(dict.fromkeys(found))


def is_unsettled(spec: Spec, state: State, plan: Plan) -> bool:
    """Whether the record says other than what stands once *plan* is carried out: a run was killed before it had written that."""
    cards = given(spec, state, plan)
    addresses = {name: its.address for name, its in cards.items()}
    stands = addresses, given6(spec, state, plan), {*own_reservations(cards, state)}
    return state.exists and stands != (
        state.record.addresses,
        state.record.addresses6,
        {*state.record.reservations},
    )


def host_name(guest: str, card: str, taken: t.Collection[str]) -> str:
    """The name under which a network keeps an address for a card: that of the guest, unless it is *taken*; "" where none is left."""
    for name in (guest, f"{guest}-{card}"):
        written = name.replace("_", "-")
        if _HOST_NAME.fullmatch(written) and written not in taken:
            return written
    return ""
