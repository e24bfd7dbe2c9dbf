# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the connection to this host and its way out run through, and the refusal of what would cut them."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core.options import NEVER_PERMITTED
from .._core.plan import Change, How, Plan
from .._host.routes import Connection, DefaultRoute, Link, below

NOT_YET = (
    "A change that can cut it is refused until there is a switch that comes back by itself when the connection is lost"
)

# By the name of a link, what it carries.
Lifelines = t.Mapping[str, str]


def find_lifelines(
    links: t.Mapping[str, Link], routes: t.Sequence[DefaultRoute], connection: Connection | None
) -> dict[str, str]:
    """The links that the host is reached by and reaches others by, and those that carry them, each with a word for which."""
    found: dict[str, str] = {}
    for route in routes:
        found.update(dict.fromkeys(below(route.link, links), "the default route of this host"))
    if connection is not None:
        ends = [name for name, link in links.items() if _has_address(link, connection.own)]
        for name in (*ends, connection.link):
            found.update(dict.fromkeys(below(name, links), f"the connection to this host ({connection.own})"))
    return found


def refuse_cuts(plan: Plan, bridge: str, lifelines: Lifelines, can_cut: t.Callable[[Change], bool]) -> None:
    """Refuse those changes of *plan* that can cut what the bridge carries."""
    if bridge not in lifelines:
        return
    for change in plan.changes:
        if can_cut(change):
            change.how, change.permit = How.REFUSED, NEVER_PERMITTED
            change.reason = f"{change.path}: the bridge {bridge} carries {lifelines[bridge]}. {NOT_YET}"


def _has_address(link: Link, address: str) -> bool:
    return any(_is_same(entry.get("local", ""), address) for entry in link.get("addr_info", ()))


def _is_same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False
