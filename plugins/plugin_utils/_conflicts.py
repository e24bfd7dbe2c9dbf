# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What guests of different hypervisors cannot both have. On one host ``layout`` refuses the same."""

from __future__ import annotations

import typing as t

from ._named import cards_of
from ._profiles import dictionaries

HIDING_MODES = ("nat", "isolated")
Options = t.Mapping[str, t.Any]


def guest_conflicts(
    guests: t.Mapping[str, t.Iterable[str]],
    hostvars: t.Mapping[str, t.Any],
    options: t.Iterable[Options],
    others: t.Collection[str] = (),
) -> list[str]:
    """A sentence for each MAC address and each address that guests of different hypervisors would share.

    *others* are guests that are not in this run: they are compared with those of the run alone, on one hypervisor too, as no layout knows them
    before they are made.
    """
    hypervisors = {name: hypervisor for hypervisor, names in guests.items() for name in names}
    hidden = {hypervisor: hiding_bridges(hostvars, hypervisor) for hypervisor in guests}
    seen: dict[tuple[str, str], str] = {}
    found = []
    for guest in options:
        name = str(guest["name"])
        hypervisor = hypervisors.get(name, "")
        for claim in claims(guest, hidden.get(hypervisor, ()), hypervisor):
            other = seen.setdefault(claim, name)
            are_apart = hypervisors.get(other) != hypervisors.get(name)
            are_in_run = (other not in others) + (name not in others)
            if other != name and are_in_run and (are_apart or are_in_run == 1):
                found.append(
                    f"{other} on {hypervisors[other]} and {name} on {hypervisors[name]} have both the {' '.join(claim)}"
                )
    return found


def hiding_bridges(hostvars: t.Mapping[str, t.Any], hypervisor: str) -> frozenset[str]:
    """The bridges behind which addresses are the host's own business."""
    if hypervisor not in hostvars:
        return frozenset()
    bridges = dictionaries(hostvars[hypervisor].get("hypervisor_bridges"))
    return frozenset(str(bridge.get("name")) for bridge in bridges if bridge.get("mode", "nat") in HIDING_MODES)


def claims(guest: Options, hidden: t.Collection[str], hypervisor: str = "") -> t.Iterator[tuple[str, str]]:
    """What the guest wants for itself alone, as the kind and the value: an address on a *hidden* bridge on its *hypervisor* alone."""
    for card in cards_of(guest):
        if card.mac:
            yield "MAC address", card.mac
        for address in card.addresses.values():
            where = f" on {card.bridge} of {hypervisor}" if card.bridge in hidden else ""
            yield "address", f"{address}{where}{f' in VLAN {card.vlan}' if card.vlan else ''}"
