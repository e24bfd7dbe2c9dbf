# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Takes addresses for the cards of a guest that leave the choice to the host (``auto``), each once, and records them."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core import lock
from .._core import record as records
from .._core.claims import addresses_in
from .._core.errors import ApplyError
from .._host import handed_out, neighbours
from .._host.snapshot import Host
from .auto_address import Offer, Span, candidates, has_no_network, none_is_free, offer_of, read_offer
from .cards import network_of
from .claims import CardClaim, segment
from .ownership import Ownership
from .record import GuestRecord
from .recorded import load_others


class Wish(t.NamedTuple):
    """What a card leaves to the host: the *key* ``ip`` or ``ip6``, with the words *ip* of what may be taken."""

    card: str
    key: str
    ip: str
    bridge: str
    vlan: int = 0

    @property
    def path(self) -> str:
        return f"networks[{self.card}].{self.key}"


def take(guest: str, wishes: t.Iterable[Wish], host: Host, *, kind: str, is_building: bool) -> GuestRecord:
    """The record of *guest* with an address for each of the *wishes*. One is asked for before it is taken.

    :raises ApplyError: where none is free.
    """
    own = Ownership(host.record("guests", guest))
    for wish in wishes:
        _take(guest, wish, host, own, {"kind": kind, "is_building": is_building})
    return own.record


def _take(guest: str, wish: Wish, host: Host, own: Ownership, marks: t.Mapping[str, t.Any]) -> None:
    offer = read_offer(wish.ip) or _offer_of_bridge(wish, host)
    version = offer.network.version
    taken = [*handed_out.spans(host, wish.bridge, version), *_of_guests(guest, host, version)]
    for cidr in candidates(offer, taken, f"{guest}/{wish.card}"):
        address = cidr.partition("/")[0]
        place = segment(CardClaim(bridge=wish.bridge, vlan=wish.vlan))
        if lock.is_claimed((place, address)) or neighbours.who_answers(wish.bridge, [address], wish.vlan):
            continue
        with lock.allocations():
            others = load_others(records.load_all("guests"))
            if any(
                cidr in (*its.addresses.values(), *its.addresses6.values())
                for name, its in others.items()
                if name != guest
            ):
                continue
            kept = own.record
            taken4, taken6 = ({wish.card: cidr}, {}) if wish.key == "ip" else ({}, {wish.card: cidr})
            own.save(
                **marks,
                addresses={**kept.addresses, **taken4},
                addresses6={**kept.addresses6, **taken6},
            )
        return
    raise ApplyError(f"{wish.path}: {none_is_free(wish.ip, wish.bridge)}")


def _offer_of_bridge(wish: Wish, host: Host) -> Offer:
    cidr = network_of(host.links.get(wish.bridge, {}), wish.key)
    if cidr is None:
        raise ApplyError(f"{wish.path}: {has_no_network(wish.bridge, wish.key)}")
    return offer_of(cidr)


def _of_guests(but: str, host: Host, version: int) -> t.Iterator[Span]:
    """The fixed addresses of all other guests, by the configurations of containers and by the records."""
    found = [address for name, its in host.containers.items() if name != but for address in its.addresses]
    for name, record in load_others(host.guest_records).items():
        found += addresses_in(*record.addresses.values(), *record.addresses6.values()) if name != but else []
    for address in map(ipaddress.ip_address, found):
        if address.version == version:
            yield (int(address),) * 2
