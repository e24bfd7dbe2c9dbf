# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Takes addresses for the cards of a container that leave the choice to the host (``ip: auto``), each once, and records them."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core import lock
from .._core import record as records
from .._core.claims import addresses_in
from .._core.errors import ApplyError
from .._core.options import Item
from .._guest.auto_address import AUTO, Offer, Span, candidates, is_auto, none_is_free, offer_of, read_offer
from .._guest.ownership import Ownership
from .._guest.recorded import load_others
from .._guest.spec import GuestSpec
from .._host import handed_out, neighbours
from .._host.snapshot import Host
from .observe import KIND
from .plan import with_addresses
from .standing import standing
from .state import State


def with_taken(spec: GuestSpec, state: State, host: Host) -> State:
    """*state* with an address in the record for each card of *spec* that has none yet. One is asked for before it is taken.

    :raises ApplyError: where none is free.
    """
    waiting = [item for item in with_addresses(spec, state).wanted("networks") if is_auto(item.text("ip"))]
    if not waiting:
        return state
    own = Ownership(host.record("guests", spec.name))
    for item in waiting:
        _take(spec.name, item, state, host, own)
    return state.replace(record=own.record)


def _take(guest: str, item: Item, state: State, host: Host, own: Ownership) -> None:
    card = state.cards.get(item.name)
    bridge = item.get("bridge") or (card.text("bridge") if card else "")
    vlan = item.get("vlan", card["vlan"] if card else 0)
    path = f"networks[{item.name}].ip"
    ip = item.text("ip") or AUTO
    offer = read_offer(ip) or _offer_of_bridge(path, bridge, host)
    taken = [*handed_out.spans(host, bridge), *_of_guests(guest, host)]
    for cidr in candidates(offer, taken, f"{guest}/{item.name}"):
        address = cidr.partition("/")[0]
        # The bridge itself is in no VLAN that could be asked.
        if not vlan and neighbours.who_answers(bridge, [address]):
            continue
        with lock.allocations():
            others = load_others(records.load_all("guests"))
            if any(cidr in its.addresses.values() for name, its in others.items() if name != guest):
                continue
            addresses = {**own.record.addresses, item.name: cidr}
            own.save(kind=KIND, is_building=not state.exists, addresses=addresses)
        return
    raise ApplyError(f"{path}: {none_is_free(ip, bridge)}")


def _offer_of_bridge(path: str, bridge: str, host: Host) -> Offer:
    for entry in host.links.get(bridge, {}).get("addr_info", ()):
        if entry.get("family") == "inet":
            return offer_of(f"{entry['local']}/{entry['prefixlen']}")
    raise ApplyError(f"{path}: {bridge} has no IPv4 address that would tell the network")


def _of_guests(but: str, host: Host) -> t.Iterator[Span]:
    """The fixed addresses of all other containers, by their configurations and by the records."""
    found = [address for name, its in standing(host).items() if name != but for dummy, address in its.addresses]
    for name, record in load_others(host.guest_records).items():
        found += addresses_in(*record.addresses.values()) if name != but else []
    for address in found:
        if "." in address:
            yield (int(ipaddress.IPv4Address(address)),) * 2
