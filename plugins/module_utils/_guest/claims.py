# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the network cards of a guest lay claim to, as they are and once the declared items stand."""

from __future__ import annotations

import typing as t

from .._core.claims import Address, addresses_in
from .._core.options import Item


class CardClaim(t.NamedTuple):
    """A network card: its MAC, empty where nothing says it, what it is plugged into, its VLAN (0 for none) and fixed addresses."""

    mac: str = ""
    bridge: str = ""
    vlan: int | str = 0
    addresses: tuple[str, ...] = ()


def cards_after(
    cards: t.Mapping[str, CardClaim], items: t.Iterable[Item], *, is_exact: bool, unset: t.Collection[str]
) -> dict[str, CardClaim]:
    """The *cards*, by name, once *items* stand. *is_exact*: what is not listed goes."""
    items = tuple(items)
    listed = {item.name for item in items}
    found = {name: card for name, card in cards.items() if name not in listed and not is_exact}
    for item in items:
        if not item.is_wanted:
            continue
        before, values = cards.get(item.name, CardClaim()), item.values
        ip = values.get("ip")
        vlan = 0 if f"networks[{item.name}].vlan" in unset else before.vlan
        found[item.name] = CardClaim(
            mac=values.get("mac") or before.mac,
            bridge=values.get("bridge") or before.bridge,
            vlan=values.get("vlan") or vlan,
            addresses=before.addresses if ip is None else (ip,),
        )
    return found


def macs_of(cards: t.Iterable[CardClaim]) -> set[str]:
    return {card.mac for card in cards if card.mac}


def addresses_of(cards: t.Iterable[CardClaim]) -> set[Address]:
    return {(segment(card), address) for card in cards for address in addresses_in(*card.addresses)}


def segment(card: CardClaim) -> str:
    """Where its addresses must be alone: VLANs of one bridge do not see each other."""
    return f"{card.bridge} in VLAN {card.vlan}" if card.vlan else card.bridge
