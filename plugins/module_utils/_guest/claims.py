# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a guest lays claim to, as it is, once its spec stands, and when it goes. What its kind knows, its kind brings along."""

from __future__ import annotations

import typing as t

from .._core.claims import Address, Claims, Space, addresses_in
from .._core.options import Item
from .auto_address import is_of_ipv6
from .device import USB
from .plan import Kind
from .spec import GuestSpec
from .state import GuestState


class CardClaim(t.NamedTuple):
    """A network card: its MAC, empty where nothing says it, what it is plugged into, its VLAN (0 for none) and fixed addresses."""

    mac: str = ""
    bridge: str = ""
    vlan: int | str = 0
    addresses: tuple[str, ...] = ()


Cards = t.Mapping[str, CardClaim]


def as_it_is(state: GuestState, cards: Cards, *, memory_kib: int, links: t.Iterable[str]) -> Claims:
    """What it has now, *links* being the ends of its cards on the host. A MAC that is recorded is its own, plugged in or not."""
    return Claims(
        macs=macs_of(cards.values()) | {*state.record.macs.values()},
        addresses=addresses_of(cards.values()),
        memory_kib=memory_kib,
        paths=state.owned.values(),
        links=[link for link in links if link],
    )


def foreseen(spec: GuestSpec) -> dict[str, t.Any]:
    """What others may know of a guest before *spec* stands: its cards, as far as they are declared."""
    return {"networks": tuple(cards_after({}, spec.wanted("networks"), is_exact=False, unset=()).values())}


def when_it_goes(kind: Kind) -> Claims:
    """What is left of it: the volumes that no word of ``delete`` names."""
    words = {*kind.spec.delete}
    return Claims(paths=[path for name, path in kind.state.owned.items() if not words & {*kind.deleted_by(name)}])


def once_it_stands(
    spec: GuestSpec,
    cards: Cards,
    *,
    memory_kib: int,
    space: t.Sequence[Space],
    disks: t.Mapping[t.Hashable, str] | None = None,
    devices: t.Mapping[t.Hashable, str] | None = None,
    shared_devices: t.Mapping[t.Hashable, str] | None = None,
) -> Claims:
    """What it has once *spec* stands, where it has *cards* now."""
    after = cards_after(cards, spec.items("networks"), is_exact="networks" in spec.exact, unset=spec.unset).values()
    return Claims(
        macs=macs_of(after),
        addresses=addresses_of(after),
        memory_kib=memory_kib,
        space=space,
        disks=disks,
        devices=devices,
        shared_devices=shared_devices,
    )


def usb_mark(port: str) -> t.Hashable:
    """What tells a USB device of the host from others, for guests of every kind: where it is plugged in."""
    return (USB, port)


def cards_after(
    cards: Cards, items: t.Iterable[Item], *, is_exact: bool, unset: t.Collection[str]
) -> dict[str, CardClaim]:
    """The *cards*, by name, once *items* stand. *is_exact*: what is not listed goes."""
    items = tuple(items)
    listed = {item.name for item in items}
    found = {name: card for name, card in cards.items() if name not in listed and not is_exact}
    for item in items:
        if not item.is_wanted:
            continue
        before, values = cards.get(item.name, CardClaim()), item.values
        vlan = 0 if f"networks[{item.name}].vlan" in unset else before.vlan
        found[item.name] = CardClaim(
            mac=values.get("mac") or before.mac,
            bridge=values.get("bridge") or before.bridge,
            vlan=values.get("vlan") or vlan,
            addresses=_addresses_after(before.addresses, values.get("ip"), values.get("ip6")),
        )
    return found


def _addresses_after(before: tuple[str, ...], ip: str | None, ip6: str | None) -> tuple[str, ...]:
    """Once those that are written (*ip* of IPv4 or alone, *ip6* beside it) stand."""
    if ip is None and ip6 is None:
        return before
    four = [address for address in before if ":" not in address] if ip is None else [ip]
    six = [address for address in before if ":" in address] if ip6 is None else [ip6]
    is_alone = ip is not None and (is_of_ipv6(ip) or not any(":" not in address for address in before))
    return (*four, *(() if ip6 is None and is_alone else six))


def macs_of(cards: t.Iterable[CardClaim]) -> set[str]:
    return {card.mac for card in cards if card.mac}


def addresses_of(cards: t.Iterable[CardClaim]) -> set[Address]:
    return {(segment(card), address) for card in cards for address in addresses_in(*card.addresses)}


def segment(card: CardClaim) -> str:
    """Where its addresses must be alone: VLANs of one bridge do not see each other."""
    return f"{card.bridge} in VLAN {card.vlan}" if card.vlan else card.bridge
