# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How the cards of a virtual machine come to their addresses: whether they can have them, and who tells them."""

from __future__ import annotations

import typing as t

from .._core import keyed
from .._core.decide import Draft
from .._core.keyed import Thing
from .._core.options import Item
from .._guest.auto_address import AUTO, has_no_network, is_empty, none_is_free
from .._guest.options import NEEDS_IP6, is_fixed, is_reachable
from .._guest.plan import Kind, refuse
from .._host.dhcp import Server
from .._image import presets
from .addressing import is_address, is_address6, misfit, owner_of_ip, owner_of_mac
from .options import OPTIONS
from .readers import reader_of
from .spec import Spec
from .state import State


class AddressPlan(Kind):
    """The part of ``VmKind`` that plans the addresses of cards."""

    spec: Spec
    state: State

    def _can_have_address(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        ip, now = item.text("ip"), before.value("ip") if before is not None else None
        bridge = item.text("bridge") or (before.value("bridge") if before is not None else "")
        server, is_there = self.state.servers.get(bridge), before is not None and before.value("bridge") == bridge
        if ip is None or not is_fixed(ip) or (is_there and ip == now):
            return True
        path = f"networks[{item.name}].ip"
        if not is_address(ip):
            return self._can_take_one(draft, item, before)
        reason = (
            self._obstacle_to_address(item, ip, before, bridge) if server else self._without_server(item, ip, before)
        )
        if reason is not None:
            refuse(draft, path, now, ip, f"{path}: {reason}")
        return reason is None

    def _can_take_one(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Whether the host can choose an address of the bridge: what that offers has one, and somebody tells the guest which."""
        ip, path = item.text("ip") or AUTO, f"networks[{item.name}].ip"
        bridge = item.text("bridge") or (before.value("bridge") if before is not None else "")
        server = self.state.servers.get(bridge)
        reason = self._kept_already(item, before, bridge, server) if server else self._without_server(item, "", before)
        if is_empty(ip):
            reason = none_is_free(ip, bridge)
        elif reason is None and ip == AUTO and (bridge, "ip") in self.state.bare_bridges:
            reason = has_no_network(bridge, "ip")
        if reason is None:
            draft.plan.assumed.append(f"a free address on {bridge}")
        else:
            refuse(draft, path, None, AUTO, f"{path}: {reason}")
        return reason is None

    def _kept_already(self, item: Item, before: Thing | None, bridge: str, server: Server) -> str | None:
        """Why a card cannot take any address of *server*, which keeps one for it already."""
        mac = item.text("mac") or (before.value("mac") if before is not None else self.mac_of(item))
        its = owner_of_mac(server, mac)
        if its is None or its.owner == self.spec.name:
            return None
        return (
            f"{bridge} keeps {its.ip} for this card, {mac}, by {its.label}. Write {its.ip}/{server.network.prefixlen}"
        )

    def _without_server(self, item: Item, cidr: str, before: Thing | None) -> str | None:
        """Why nothing tells a card on a bridge without a DHCP server its address; a bridge that is not there yet may get one."""
        bridge = item.text("bridge") or (before.value("bridge") if before is not None else "")
        if bridge not in self.state.bridges_there:
            return None
        untold = self._without_seed(f"the bridge {bridge} has no DHCP server of this host")
        return untold or self._answers(cidr.partition("/")[0], bridge)

    def _without_seed(self, without: str) -> str | None:
        """Why no seed tells a card its address, which nothing else does: that it is *without* something."""
        name = self.spec.name
        if not self.spec.has_seed and (not self.state.exists or self.state.seed_path is None):
            return (
                f"{without}, and {name} has no seed (cloud_init) that would tell it its address. "
                "Configure it inside, or give it cloud_init"
            )
        files = self.state.persistent.values.get("cloud_init.files") if self.state.exists else None
        if self.spec.get("cloud_init.files", files):
            return f"cloud_init.files is all that {name} is told. Write its address there"
        path, reader = "cloud_init.network_config", reader_of(self.state.presets.seed)
        if reader is None:
            return f"nothing in {name} reads a seed that would tell it its address. Configure it inside"
        if self.state.presets.seed not in (None, presets.CLOUD_INIT):
            return f"{reader.name} is told its addresses in {path} alone. Write it there"
        kept = self.state.persistent.values.get(path) if self.state.exists and path not in self.spec.unset else None
        if self.spec.get(path, kept):
            return f"{path} says how {name} comes to its addresses. Write it there, or take that off"
        return None

    def _can_have_address6(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Whether the address of IPv6 that a card is to get is free, and its seed can tell it."""
        ip6, path = item.text("ip6"), f"networks[{item.name}].ip6"
        now, there = (before.value("ip6"), before.value("bridge")) if before is not None else ("", "")
        bridge = item.text("bridge") or there
        if not ip6 or (ip6, bridge) == (now, there):
            return True
        reason = self._without_seed("no DHCP server keeps addresses of IPv6")
        if is_address6(ip6):
            reason = reason or self._answers(ip6.partition("/")[0], bridge)
        elif is_empty(ip6):
            reason = none_is_free(ip6, bridge)
        elif reason is None and ip6 == AUTO and (bridge, "ip6") in self.state.bare_bridges:
            reason = has_no_network(bridge, "ip6")
        if reason is not None:
            show = OPTIONS[path].show
            refuse(draft, path, show(now), show(ip6), f"{path}: {reason}")
        elif not is_address6(ip6):
            draft.plan.assumed.append(f"a free IPv6 address on {bridge}")
        return reason is None

    def _has_way_of_ipv6(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Whether the gateway of a fixed address of IPv6 is one for what the card has, or is to have."""
        path, ip6 = f"networks[{item.name}].gateway6", self._ip6_after(item, before)
        now = before.value("gateway6") if before is not None else ""
        way = item.text("gateway6") or ("" if path in draft.unset or not ip6 else now)
        if not way or not {"ip6", "gateway6"} & item.values.keys():
            return True
        reason = None
        if not ip6:
            reason = NEEDS_IP6
        elif not is_reachable(way, ip6):
            reason = f"{way} is not in the network of {ip6}. Write another gateway6"
        if reason is not None:
            refuse(draft, path, now or None, way, f"{path}: {reason}")
        return reason is None

    def _ip6_after(self, item: Item, before: Thing | None) -> str:
        now = before.value("ip6") if before is not None else ""
        return "" if f"networks[{item.name}].ip6" in self.spec.unset else t.cast(str, item.get("ip6", now) or "")

    def _answers(self, address: str, bridge: str, *own: str) -> str | None:
        """That somebody else on *bridge* has the *address*, as a sentence; *own* are MACs of the machine that it does not have yet."""
        who = self.state.answering.get(address)
        if who is None or who in {*own, *self._own_macs, *self.state.taken_macs}:
            return None
        return f"{address} answers on {bridge} already, from {who}. Choose another, or take it off there"

    @property
    def _own_macs(self) -> set[str]:
        return {card.value("mac") for card in self.state.persistent.things("networks").values()}

    def _obstacle_to_address(self, item: Item, cidr: str, before: Thing | None, bridge: str) -> str | None:
        server, address, own = self.state.servers[bridge], cidr.partition("/")[0], self.spec.name
        why = misfit(server, bridge, cidr)
        if why is not None:
            return why
        mac = item.text("mac") or (before.value("mac") if before is not None else self.mac_of(item))
        other = owner_of_ip(server, address)
        if other is not None and other.mac != mac and other.owner != own:
            way = "or take it off there" if other.owner else f"take it off there, or give this card the MAC {other.mac}"
            return f"{address} is kept for {other.label}, by {bridge}. Choose another, {way}"
        its = owner_of_mac(server, mac)
        if its is not None and its.ip != address and its.owner != own:
            return f"{bridge} keeps {its.ip} for this card, {mac}, by {its.label}. Change it there"
        lessee = self.state.leases.get(bridge, {}).get(address)
        if lessee is not None and lessee not in {mac, *self._own_macs}:
            return (
                f"{bridge} has leased {address} to {lessee}. Choose another, or give it this one when the lease is over"
            )
        return self._answers(address, bridge, mac)

    def _can_be_told(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Whether a gateway and DNS servers reach the guest: with an address of a seed, or as the DHCP server says them."""
        bridge = item.text("bridge") or (before.value("bridge") if before is not None else "")
        server, now = self.state.servers.get(bridge), before
        for key in ("gateway", "dns"):
            value, path = item.get(key), f"networks[{item.name}].{key}"
            if not value or (now is not None and now.value(key) == value):
                continue
            reason = None
            if server is not None and value != server.address.partition("/")[0]:
                reason = f"the DHCP server of {bridge} tells its guests (dns, address). Take it off here"
            elif server is None:
                reason = self._without_server(item, "", before)
            if reason is not None:
                refuse(draft, path, None, keyed.show(OPTIONS[path], value), f"{path}: {reason}")
                return False
        return True
