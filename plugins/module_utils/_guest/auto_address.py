# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""An address that is taken once (``ip: auto``): out of which ones, and which is next."""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t

AUTO = "auto"
# From the first to the last, as numbers.
Span = tuple[int, int]


class Offer(t.NamedTuple):
    """What may be taken: the *spans* of the *network*."""

    network: ipaddress.IPv4Network
    spans: tuple[Span, ...]


def is_auto(ip: str | None) -> bool:
    """Whether ``networks[].ip`` leaves the choice of an address to the host."""
    return ip is not None and (ip == AUTO or ip.startswith(f"{AUTO}:"))


def read_offer(ip: str) -> Offer | None:
    """What ``auto:10.20.0.65-10.20.0.99,10.20.0.120-10.20.0.126/24`` offers; ``None`` where that is left to the bridge.

    :raises ValueError:
    """
    if ip == AUTO:
        return None
    ranges, slash, length = ip.partition(":")[2].partition("/")
    ends = [tuple(map(ipaddress.IPv4Address, each.split("-"))) for each in ranges.split(",")]
    if not slash or not length.isdecimal() or any(len(pair) != 2 or pair[0] > pair[1] for pair in ends):
        raise ValueError(ip)
    network = ipaddress.IPv4Network(f"{ends[0][0]}/{length}", strict=False)
    if any(address not in network for pair in ends for address in pair):
        raise ValueError(ip)
    return Offer(network, tuple((int(pair[0]), int(pair[1])) for pair in ends))


def offer_of(cidr: str) -> Offer:
    """The whole network of an address."""
    network = ipaddress.IPv4Interface(cidr).network
    return Offer(network, ((int(network[0]), int(network[-1])),))


def fits(ip: str, cidr: str) -> bool:
    """Whether *cidr* is what ``auto`` could have taken: what has been taken stays while it is of the same network."""
    try:
        offer, interface = read_offer(ip), ipaddress.IPv4Interface(cidr)
    except ValueError:
        return False
    return offer is None or interface.network == offer.network


def is_empty(ip: str) -> bool:
    """Whether what *ip* offers has no address for a machine, whoever has taken what."""
    offer = read_offer(ip)
    return offer is not None and next(candidates(offer, (), ""), None) is None


def none_is_free(ip: str, bridge: str) -> str:
    """The sentence for a card that finds no address on *bridge*."""
    offer = read_offer(ip)
    return f"no address{'' if offer is None else f' of {offer.network}'} that may be taken on {bridge} is free"


def candidates(offer: Offer, taken: t.Collection[Span], seed: str) -> t.Iterator[str]:
    """The addresses of *offer* that are in none of the spans *taken*, with the length of the prefix.

    They begin at a place that *seed* tells: what is made anew under its name finds its address again where nobody took it.
    """
    total = sum(last - first + 1 for first, last in offer.spans)
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % total
    ends = {int(offer.network[0]), int(offer.network[-1])} if offer.network.prefixlen < 31 else set[int]()
    for index in range(total):
        place = (start + index) % total
        for first, last in offer.spans:
            if place <= last - first:
                number = first + place
                break
            place -= last - first + 1
        if number not in ends and not any(low <= number <= high for low, high in taken):
            yield f"{ipaddress.IPv4Address(number)}/{offer.network.prefixlen}"
