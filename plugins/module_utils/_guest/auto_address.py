# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""An address that is taken once (``ip: auto``): out of which ones, and which is next."""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import typing as t

from .._core.claims import Network

AUTO = "auto"
# From the first to the last, as numbers.
Span = tuple[int, int]


# Of a span of IPv6 the first addresses alone: they are short to write, and no machine gives itself one of them (SLAAC).
_SPAN6 = 0x10000


# What may be taken, as it is written, by the option for it.
_SUCH = {"ip": ("IPv4", "auto:10.20.0.65-10.20.0.99/24"), "ip6": ("IPv6", "auto:fd00:20::100-fd00:20::1ff/64")}


class Offer(t.NamedTuple):
    """What may be taken: the *spans* of the *network*."""

    network: Network
    spans: tuple[Span, ...]


def is_auto(ip: str | None) -> bool:
    """Whether ``networks[].ip`` or ``networks[].ip6`` leaves the choice of an address to the host."""
    return ip is not None and (ip == AUTO or ip.startswith(f"{AUTO}:"))


def is_of_ipv6(ip: str) -> bool:
    """Whether *ip* is an address of IPv6, or offers some."""
    return ":" in ip.removeprefix(f"{AUTO}:")


def read_offer(ip: str) -> Offer | None:
    """What ``auto:10.20.0.65-10.20.0.99,10.20.0.120-10.20.0.126/24`` offers; ``None`` where that is left to the bridge.

    :raises ValueError:
    """
    if ip == AUTO:
        return None
    ranges, slash, length = ip.partition(":")[2].partition("/")
    ends = [tuple(map(ipaddress.ip_address, each.split("-"))) for each in ranges.split(",")]
    if not slash or not length.isdecimal() or any(len(pair) != 2 or int(pair[0]) > int(pair[1]) for pair in ends):
        raise ValueError(ip)
    network = ipaddress.ip_network(f"{ends[0][0]}/{length}", strict=False)
    if any(address not in network for pair in ends for address in pair):
        raise ValueError(ip)
    return Offer(network, tuple((int(pair[0]), int(pair[1])) for pair in ends))


def offer_of(cidr: str) -> Offer:
    """The whole network of an address."""
    network = ipaddress.ip_interface(cidr).network
    return Offer(network, ((int(network[0]), int(network[-1])),))


def fits(ip: str, cidr: str, version: int) -> bool:
    """Whether *cidr* is what ``auto`` could have taken: what has been taken stays while it is of the same network.

    *version* is that of IP where *ip* does not tell it.
    """
    try:
        offer, interface = read_offer(ip), ipaddress.ip_interface(cidr)
    except ValueError:
        return False
    return interface.version == version if offer is None else interface.network == offer.network


def is_empty(ip: str) -> bool:
    """Whether what *ip* offers has no address for a machine, whoever has taken what."""
    offer = read_offer(ip)
    return offer is not None and next(candidates(offer, (), ""), None) is None


def none_is_free(ip: str, bridge: str) -> str:
    """The sentence for a card that finds no address on *bridge*."""
    offer = read_offer(ip)
    return f"no address{'' if offer is None else f' of {offer.network}'} that may be taken on {bridge} is free"


def has_no_network(bridge: str, key: str) -> str:
    """The sentence for a card that takes any address of *bridge*, which has none itself; *key* is ``ip`` or ``ip6``."""
    family, such = _SUCH[key]
    return f"{bridge} has no {family} address that would tell the network. Write what may be taken, such as {such}, or an address"


def candidates(offer: Offer, taken: t.Collection[Span], seed: str) -> t.Iterator[str]:
    """The addresses of *offer* that are in none of the spans *taken*, with the length of the prefix.

    They begin at a place that *seed* tells: what is made anew under its name finds its address again where nobody took it.
    """
    network = offer.network
    spans = [(low, min(high, low + _SPAN6) if network.version == 6 else high) for low, high in sorted(offer.spans)]
    first, last = int(network[0]), int(network[-1])
    # The first and the last of IPv4 mean all; the first of IPv6 any router (RFC 4291, 2.6.1).
    ends = {first, *({last} if network.version == 4 else ())} if network.prefixlen < network.max_prefixlen - 1 else {0}
    total = sum(high - low + 1 for low, high in spans)
    place = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % total
    for number in itertools.chain(_numbers(spans, place, total), _numbers(spans, 0, place)):
        if number not in ends and not any(low <= number <= high for low, high in taken):
            yield f"{network[number - first]}/{network.prefixlen}"


def _numbers(spans: t.Iterable[Span], start: int, end: int) -> t.Iterator[int]:
    """Those from the place *start* to the one before *end*."""
    for low, high in spans:
        size = high - low + 1
        yield from range(low + max(start, 0), low + min(end, size))
        start, end = start - size, end - size
