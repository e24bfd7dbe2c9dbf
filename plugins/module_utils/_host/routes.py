# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The ways out of the host, and the links that carry them."""

from __future__ import annotations

import typing as t

Link = t.Mapping[str, t.Any]


class DefaultRoute(t.NamedTuple):
    """A way out of the host. *version* is 4 or 6; *gateway* is "" for a way without one; *is_told*: a router announced it.

    *is_main*: what the main table has for everything. The others are those of policies, and halves such as 0.0.0.0/1.
    """

    version: int
    link: str
    gateway: str
    is_told: bool = False
    is_main: bool = True


class Connection(t.NamedTuple):
    """How the control node reaches this host: the address of each end, and the links that answers may go out by."""

    peer: str
    own: str
    links: tuple[str, ...]


# By the name of a tunnel, the links that its outer packets may go out by.
Outer = t.Mapping[str, t.Sequence[str]]


def below(name: str, links: t.Mapping[str, Link], outer: Outer | None = None) -> set[str]:
    """*name* and the links that carry it: the one under a VLAN, the parts of a bond, the ports of a bridge, what a tunnel goes by.

    A pair of veth leads on into the bridge that its other end is plugged into.
    """
    found, waiting = set(), [name]
    while waiting:
        link = waiting.pop()
        if link in found or link not in links:
            continue
        found.add(link)
        lower = str(links[link].get("link") or "")
        waiting.append(lower)
        if links.get(lower, {}).get("link") == link:
            waiting.append(str(links[lower].get("master") or ""))
        waiting += [other for other, seen in links.items() if seen.get("master") == link]
        waiting += (outer or {}).get(link, ())
    return found


def with_way_out(links: t.Mapping[str, Link], cards: t.Collection[str]) -> list[str]:
    """The links with an address that lead to one of *cards*; all with an address where none does."""
    addressed = [
        name
        for name, link in links.items()
        if any(entry.get("scope") == "global" for entry in link.get("addr_info", ()))
    ]
    return [name for name in addressed if below(name, links) & {*cards}] or addressed
