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
Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]  # noqa: UP007  # the Python 3.9 of ansible-test has no | of types
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Card(t.NamedTuple):
    """A card of *guest*: what it is plugged into, its VLAN (as it is written, "" for none), its MAC, "" where none is written, and its addresses."""

    guest: str
    bridge: str
    vlan: str
    mac: str
    addresses: tuple[Address, ...]


def cards_of(guest: Options) -> list[Card]:
    """The cards that the options of a *guest* declare; none of a guest that goes."""
    if guest.get("state") == "absent":
        return []
    return [
        Card(
            guest=str(guest.get("name", "")),
            bridge=str(net.get("bridge") or ""),
            vlan=str(net.get("vlan") or net.get("tag") or ""),
            mac=str(net.get("mac") or net.get("hwaddr") or "").lower().replace("-", ":"),
            addresses=tuple(address for key in ("ip", "ip6") if (address := read_address(net.get(key))) is not None),
        )
        for net in dictionaries(guest.get("networks"))
        if net.get("state") != "absent"
    ]


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
    known = {_label(str(guest["name"])): guest for guest in guests if _LABEL.fullmatch(_label(str(guest["name"])))}
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
    addresses = [address for card in cards_of(guest) for address in card.addresses]
    families = {"ip" if address.version == 4 else "ip6": str(address) for address in reversed(addresses)}
    return {"name": name, **dict(sorted(families.items()))} if families else {"name": name, "state": "absent"}


def _label(guest: str) -> str:
    return guest.replace("_", "-")
