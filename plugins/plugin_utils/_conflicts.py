# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What guests of different hypervisors cannot both have. On one host ``layout`` refuses the same."""

from __future__ import annotations

import ipaddress
import typing as t

from ._profiles import dictionaries

HIDING_MODES = ("nat", "isolated")
Options = t.Mapping[str, t.Any]


def guest_conflicts(
    guests: t.Mapping[str, t.Iterable[str]], hostvars: t.Mapping[str, t.Any], options: t.Iterable[Options]
) -> list[str]:
    """A sentence for each MAC address and each address that guests of different hypervisors would share."""
    hypervisors = {name: hypervisor for hypervisor, names in guests.items() for name in names}
    hidden = {hypervisor: hiding_bridges(hostvars, hypervisor) for hypervisor in guests}
    seen: dict[tuple[str, str], str] = {}
    found = []
    for guest in options:
        name = str(guest["name"])
        for claim in claims(guest, hidden.get(hypervisors.get(name, ""), ())):
            other = seen.setdefault(claim, name)
            if hypervisors.get(other) != hypervisors.get(name):
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


def claims(guest: Options, hidden: t.Collection[str]) -> t.Iterator[tuple[str, str]]:
    """What the guest wants for itself alone, as the kind and the value."""
    if guest.get("state") == "absent":
        return
    for net in dictionaries(guest.get("networks")):
        if net.get("state") == "absent":
            continue
        mac = net.get("mac") or net.get("hwaddr")
        if mac:
            yield "MAC address", str(mac).lower().replace("-", ":")
        for key in ("ip", "ip6"):
            address = canonical(str(net.get(key) or "").partition("/")[0])
            is_word = address in ("", "dhcp", "none", "slaac") or address.startswith("auto")
            if not is_word and net.get("bridge") not in hidden:
                vlan = net.get("vlan") or net.get("tag")
                yield "address", f"{address} in VLAN {vlan}" if vlan else address


def canonical(address: str) -> str:
    """*address* as it is always written; what is none stays as it is, and is refused by the module."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
