# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the definition of a guest in a backup says, by the kind of the guest."""

from __future__ import annotations

import typing as t

from ..._container.config import Config
from ..._vm.plan import VmKind
from ..._vm.xml import domain


class Reading(t.NamedTuple):
    """*mac_prefix* begins the MACs of the cards, *bridges_of* tells of a definition, and the MACs by card, what each is plugged into."""

    mac_prefix: str
    bridges_of: t.Callable[[str, t.Mapping[str, str]], dict[str, str]]


def _bridges_of_container(text: str, macs: t.Mapping[str, str]) -> dict[str, str]:
    names = {mac.lower(): name for name, mac in macs.items()}
    found = {}
    for net in Config.parse(text).nets().values():
        name = names.get(net.get("hwaddr", "").lower())
        if name is not None and "link" in net:
            found[name] = net["link"]
    return found


def _bridges_of_machine(text: str, macs: t.Mapping[str, str]) -> dict[str, str]:
    bridges = {card.mac: card.value("bridge") for card in domain.read_nics(domain.parse(text))}
    return {name: bridges[mac] for name, mac in macs.items() if bridges.get(mac)}


READING = {
    "container": Reading("00:16:3e", _bridges_of_container),
    "vm": Reading(VmKind.mac_prefix, _bridges_of_machine),
}
