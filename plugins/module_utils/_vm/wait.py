# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The conditions that ``wait_for`` names, each bounded and named in the error."""

from __future__ import annotations

import typing as t

from .._core.errors import WaitTimeout
from .._core.waiting import wait_until
from .._host import firewall, neighbours
from .._host.snapshot import Host
from .answering import answers, greets
from .facts import facts_of, unseen_addresses
from .observe import observe
from .spec import Spec

_EVERY_SECONDS = 0.5


def wait_for(spec: Spec, host: Host) -> None:
    """Wait for each condition in the order in which it is written.

    :raises WaitTimeout: naming the first that did not come true.
    """
    conditions: dict[str, tuple[str, t.Callable[[], t.Any]]] = {
        "agent": (f"the agent in {spec.name} to answer", lambda: answers(host.domains[spec.name])),
        "ip": (f"an address of {spec.name}", lambda: has_addresses(spec, host)),
        "ssh": (f"ssh in {spec.name} to answer", lambda: any(greets(address) for address in addresses(spec, host))),
    }
    for name in spec.wait_for:
        what, ask = conditions[name]
        try:
            wait_until(what, ask, timeout_seconds=spec.wait_timeout, every_seconds=_EVERY_SECONDS)
        except WaitTimeout as exc:
            if name != "ip":
                raise
            raise firewall.explained(exc) from exc


def has_addresses(spec: Spec, host: Host) -> bool:
    """Whether each card that has a fixed one has it; where none has, whether there is any.

    A guest that was told its address by a seed, and has no agent, speaks to nobody by itself: its bridge is asked.
    """
    facts = _look(spec, host)
    unseen = unseen_addresses(facts)
    if not unseen:
        return bool(facts["addresses"])
    places: dict[tuple[str, int], dict[str, str]] = {}
    for net, address in unseen:
        vlan = net["vlan"] if isinstance(net["vlan"], int) else 0
        places.setdefault((net["bridge"], vlan), {})[address] = net["mac"]
    return all(
        neighbours.who_answers(bridge, macs, vlan, as_neighbour=True) == macs for (bridge, vlan), macs in places.items()
    )


def addresses(spec: Spec, host: Host) -> list[str]:
    """The addresses that the guest has now, and those that it is to have."""
    facts = _look(spec, host)
    return [*facts["addresses"], *(address for dummy, address in unseen_addresses(facts))]


def _look(spec: Spec, host: Host) -> dict[str, t.Any]:
    host.drop()
    return facts_of(spec.name, observe(Spec(spec.name), host))
