# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the connection to this host and its way out run through, and the refusal of what would cut them."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core.decide import Draft
from .._core.options import NEVER_PERMITTED
from .._core.plan import Change, How, Plan
from .._host.routes import Connection, DefaultRoute, Link, Outer, below

NOT_SWITCHED = "What can cut it is refused where it cannot be taken back by itself"

# By the name of a link, what it carries.
Lifelines = t.Mapping[str, str]


def find_lifelines(
    links: t.Mapping[str, Link],
    routes: t.Sequence[DefaultRoute],
    connections: t.Sequence[Connection],
    outer: Outer | None = None,
) -> dict[str, str]:
    """The links that the host is reached by and reaches others by, and those that carry them, each with a word for which."""
    found: dict[str, str] = {}
    for route in routes:
        found.update(dict.fromkeys(below(route.link, links, outer), "the default route of this host"))
    for connection in connections:
        ends = [name for name, link in links.items() if _has_address(link, connection.own)]
        for name in (*ends, *connection.links):
            found.update(dict.fromkeys(below(name, links, outer), f"the connection to this host ({connection.own})"))
    return found


def refuse_cuts(
    plan: Plan,
    kind: str,
    names: t.Collection[str],
    lifelines: Lifelines,
    can_cut: t.Callable[[Change], bool],
    *,
    is_switched: bool = False,
) -> None:
    """Refuse those changes of *plan* that can cut what the links of *names* carry; *kind* is what they are (bridge, port).

    *is_switched*: they are taken back unless they are confirmed, and that is how they come about instead.
    """
    for name in names:
        for change in plan.changes if name in lifelines else ():
            if not can_cut(change):
                continue
            if is_switched:
                change.how = change.how if change.how is How.REFUSED else How.CONFIRMED
            else:
                change.how, change.permit = How.REFUSED, NEVER_PERMITTED
                change.reason = f"{change.path}: the {kind} {name} carries {lifelines[name]}. {NOT_SWITCHED}"


def refuse_taken_route(draft: Draft, key: str, address: str, peers: t.Collection[str]) -> None:
    """Refuse an address whose subnet holds who is connected: answers would go to the bridge from then on."""
    network = ipaddress.ip_interface(address).network
    for peer in peers:
        if _is_in(peer, network):
            reason = f"{key}: the subnet {network} holds {peer}, from where this host is reached. {NOT_SWITCHED}. Choose another subnet"
            draft.add(key, None, address, permit=NEVER_PERMITTED, reason=reason)


def _has_address(link: Link, address: str) -> bool:
    return any(_is_same(entry.get("local", ""), address) for entry in link.get("addr_info", ()))


def _is_same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _is_in(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False
