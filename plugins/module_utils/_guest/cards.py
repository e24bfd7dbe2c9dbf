# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether this host can do for the cards of guests what is declared."""

from __future__ import annotations

from .._core.reference import Reference
from .._host import probe
from .._host.snapshot import BRIDGE, Host
from .auto_address import AUTO
from .spec import GuestSpec


def rate_obstacle(spec: GuestSpec, *queues: str) -> str | None:
    """Why no card can be limited here, as the second half of a sentence. Nothing is tried where no limit is declared."""
    if not any(key.startswith("rate_limit.") for item in spec.wanted("networks") for key in item.values):
        return None
    missing = probe.missing_queue(*queues)
    return missing and f"the kernel of this host has no {missing}, which limits are made of"


def bare_bridges(spec: GuestSpec, host: Host) -> frozenset[str]:
    """The bridges without an IPv4 address of cards that take any address of their network. What a layout makes of one nobody knows yet."""
    asked = {item.text("bridge") for item in spec.wanted("networks") if item.text("ip") == AUTO}
    there = {name: host.links[name] for name in asked if name is not None and name in host.links}
    return frozenset(
        name
        for name, link in there.items()
        if Reference(BRIDGE, name) not in host.expected
        and not any(entry.get("family") == "inet" for entry in link.get("addr_info", ()))
    )
