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
    """A way out of the host. *version* is 4 or 6; *gateway* is "" for a way without one; *is_told*: a router announced it."""

    version: int
    link: str
    gateway: str
    is_told: bool = False


class Connection(t.NamedTuple):
    """How the control node reaches this host: the address of each end, and the link that answers go out by ("" for none)."""

    peer: str
    own: str
    link: str


def below(name: str, links: t.Mapping[str, Link]) -> set[str]:
    """*name* and the links that carry it: the one under a VLAN, the parts of a bond, the ports of a bridge."""
    found, waiting = set(), [name]
    while waiting:
        link = waiting.pop()
        if link in found or link not in links:
            continue
        found.add(link)
        waiting += [str(links[link].get("link") or "")]
        waiting += [other for other, seen in links.items() if seen.get("master") == link]
    return found
