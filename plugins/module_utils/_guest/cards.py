# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether this host can do for the cards of guests what is declared."""

from __future__ import annotations

from .._core.reference import Reference
from .._host import probe
from .._host.links import Link, is_told
from .._host.snapshot import BRIDGE, Host
from .auto_address import AUTO
from .spec import GuestSpec

# The options of a card that may leave the choice of an address to the host.
KEYS = ("ip", "ip6")


def rate_obstacle(spec: GuestSpec, *queues: str) -> str | None:
    """Why no card can be limited here, as the second half of a sentence. Nothing is tried where no limit is declared."""
    if not any(key.startswith("rate_limit.") for item in spec.wanted("networks") for key in item.values):
        return None
    missing = probe.missing_queue(*queues)
    return missing and f"the kernel of this host has no {missing}, which limits are made of"


def bare_bridges(spec: GuestSpec, host: Host) -> frozenset[tuple[str, str]]:
    """The bridges of cards that take any address of a network which no address of the bridge tells, each with ``ip`` or ``ip6``.

    What a layout makes of one nobody knows yet.
    """
    asked = {
        (item.text("bridge") or "", key) for item in spec.wanted("networks") for key in KEYS if item.text(key) == AUTO
    }
    return frozenset(
        (name, key)
        for name, key in asked
        if name in host.links
        and Reference(BRIDGE, name) not in host.expected
        and network_of(host.links[name], key) is None
    )


def network_of(bridge: Link, key: str) -> str | None:
    """The address of a *bridge*, with the length of its prefix, that tells the network out of which ``ip`` or ``ip6`` is taken."""
    family = "inet" if key == "ip" else "inet6"
    for entry in bridge.get("addr_info", ()):
        # The network of an IPv6 address that a router told is the router's, which may tell another tomorrow.
        is_own = family == "inet" or (entry.get("scope") == "global" and not is_told(entry))
        if entry.get("family") == family and is_own:
            return f"{entry['local']}/{entry['prefixlen']}"
    return None
