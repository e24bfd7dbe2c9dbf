# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The cards of a guest as the inventory has them: which MAC and which fixed addresses go by its name on which bridge."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ._profiles import dictionaries
from ._recommended import answers_names

Options = t.Mapping[str, t.Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Card(t.NamedTuple):
    """A card of *guest*: its *name*, what it is plugged into, its VLAN, 0 for none, its MAC, "" where none is written, its addresses by option.

    *is_alone*: the guest has no other, so that what goes by the name of the guest is meant for it.
    """

    guest: str
    name: str
    bridge: str
    vlan: int
    mac: str
    addresses: t.Mapping[str, Address]
    is_alone: bool

    @property
    def label(self) -> str:
        """What the guest is called where names are answered."""
        return label_of(self.guest)


def cards_of(guest: Options) -> list[Card]:
    """The cards that the options of a *guest* declare; none of a guest that goes."""
    nets = [] if guest.get("state") == "absent" else wanted_networks(guest)
    return [card_of(str(guest.get("name", "")), net, is_alone=len(nets) == 1) for net in nets]


def wanted_networks(guest: Options) -> list[Options]:
    """The items of ``networks`` of a *guest* but those that go."""
    return [net for net in dictionaries(guest.get("networks")) if net.get("state") != "absent"]


def card_of(guest: str, net: Options, *, is_alone: bool) -> Card:
    """The card that *net*, an item of ``networks`` of *guest*, declares. A VLAN that is none the module refuses."""
    vlan = str(net.get("vlan") or net.get("tag") or 0)
    read = {key: read_address(net.get(key)) for key in ("ip", "ip6")}
    return Card(
        guest=guest,
        name=str(net.get("name")),
        bridge=str(net.get("bridge") or ""),
        vlan=int(vlan) if vlan.isdecimal() else 0,
        mac=read_mac(net.get("mac") or net.get("hwaddr")),
        addresses={key: address for key, address in read.items() if address is not None},
        is_alone=is_alone,
    )


def read_mac(written: t.Any) -> str:
    """The MAC as it is compared; "" where none is *written*."""
    return str(written or "").lower().replace("-", ":")


def read_address(written: t.Any) -> Address | None:
    """The address in *written* (``10.20.0.1/24``); ``None`` where there is none."""
    try:
        return ipaddress.ip_address(str(written or "").partition("/")[0])
    except ValueError:
        return None


def with_names(bridges: t.Sequence[t.Any], guests: t.Iterable[Options]) -> list[t.Any]:
    """The *bridges*, each of those that answer names with what the *guests* of their host are called, as ``dns.hosts``.

    A guest is found at its first fixed address of each family, as the lab's resolvers have it. One that has none, or goes, is no longer found
    there. What the inventory says itself of a name stands.
    """
    known = {label_of(str(its["name"])): its for its in guests if _LABEL.fullmatch(label_of(str(its["name"])))}
    return [_with_names(bridge, known) if isinstance(bridge, t.Mapping) else bridge for bridge in bridges]


def _with_names(bridge: Options, guests: t.Mapping[str, Options]) -> Options:
    dns = bridge.get("dns") or {}
    written = dns.get("hosts") if isinstance(dns, t.Mapping) else ""
    if not guests or not answers_names(bridge) or not isinstance(written or [], (list, tuple)):
        return bridge
    said = {str(host.get("name")).partition(".")[0] for host in dictionaries(written)}
    hosts = [_host(name, guest) for name, guest in guests.items() if name not in said]
    return {**bridge, "dns": {**dns, "hosts": [*(written or []), *hosts]}}


def _host(name: str, guest: Options) -> dict[str, str]:
    addresses = [address for card in cards_of(guest) for address in card.addresses.values()]
    families = {"ip" if address.version == 4 else "ip6": str(address) for address in reversed(addresses)}
    return {"name": name, **dict(sorted(families.items()))} if families else {"name": name, "state": "absent"}


def label_of(guest: str) -> str:
    """What a *guest* is called where names are answered, which have no underscore."""
    return guest.replace("_", "-")
