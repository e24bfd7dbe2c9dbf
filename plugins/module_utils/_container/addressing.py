# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Takes addresses for the cards of a container that leave the choice to the host (``auto``), each once, and records them."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core import lock
from .._core import record as records
from .._core.claims import addresses_in
from .._core.errors import ApplyError
from .._core.options import Item
from .._guest.auto_address import AUTO, Offer, Span, candidates, none_is_free, offer_of, read_offer
from .._guest.ownership import Ownership
from .._guest.recorded import load_others
from .._guest.spec import GuestSpec
from .._host import handed_out, neighbours
from .._host.snapshot import Host
from .observe import KIND
from .plan import waiting_keys, with_addresses
from .standing import standing
from .state import State


def with_taken(spec: GuestSpec, state: State, host: Host) -> State:
    """*state* with an address in the record for each that *spec* leaves to the host and that is not there yet. One is asked for before it is taken.

    :raises ApplyError: where none is free.
    """
    items = with_addresses(spec, state).wanted("networks")
    waiting = [(item, key) for item in items for key in waiting_keys(item)]
    if not waiting:
        return state
    own = Ownership(host.record("guests", spec.name))
    for item, key in waiting:
        _take(spec.name, item, key, state, host, own)
    return state.replace(record=own.record)


def _take(guest: str, item: Item, key: str, state: State, host: Host, own: Ownership) -> None:
    card = state.cards.get(item.name)
    bridge = item.get("bridge") or (card.text("bridge") if card else "")
    vlan = item.get("vlan", card["vlan"] if card else 0)
    path = f"networks[{item.name}].{key}"
    ip = item.text(key) or AUTO
    offer = read_offer(ip) or _offer_of_bridge(path, key, bridge, host)
    version = offer.network.version
    taken = [*handed_out.spans(host, bridge, version), *_of_guests(guest, host, version)]
    for cidr in candidates(offer, taken, f"{guest}/{item.name}"):
        address = cidr.partition("/")[0]
        if neighbours.who_answers(bridge, [address], vlan):
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
            taken4, taken6 = ({item.name: cidr}, {}) if key == "ip" else ({}, {item.name: cidr})
            own.save(
                kind=KIND,
                is_building=not state.exists,
                addresses={**kept.addresses, **taken4},
                addresses6={**kept.addresses6, **taken6},
            )
        return
    raise ApplyError(f"{path}: {none_is_free(ip, bridge)}")


def _offer_of_bridge(path: str, key: str, bridge: str, host: Host) -> Offer:
    family, called = ("inet", "IPv4") if key == "ip" else ("inet6", "IPv6")
    for entry in host.links.get(bridge, {}).get("addr_info", ()):
        # The network of an IPv6 address that a router told is the router's, which may tell another tomorrow.
        is_own = family == "inet" or (entry.get("scope") == "global" and not entry.get("dynamic"))
        if entry.get("family") == family and is_own:
            return offer_of(f"{entry['local']}/{entry['prefixlen']}")
    raise ApplyError(f"{path}: {bridge} has no {called} address that would tell the network")


def _of_guests(but: str, host: Host, version: int) -> t.Iterator[Span]:
    """The fixed addresses of all other containers, by their configurations and by the records."""
    found = [address for name, its in standing(host).items() if name != but for dummy, address in its.addresses]
    for name, record in load_others(host.guest_records).items():
        found += addresses_in(*record.addresses.values(), *record.addresses6.values()) if name != but else []
    for address in map(ipaddress.ip_address, found):
        if address.version == version:
            yield (int(address),) * 2
