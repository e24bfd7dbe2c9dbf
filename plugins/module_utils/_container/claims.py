# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a container lays claim to."""

from __future__ import annotations

import typing as t

from .._core.claims import Claims, Space
from .._guest.claims import CardClaim, addresses_of, as_it_is, macs_of, once_it_stands, usb_mark, when_it_goes
from .._guest.device import target_of
from .._guest.spec import GuestSpec
from .._image.state import space_of
from . import cgroup
from .card import addresses_of as fixed_addresses
from .config import Config
from .plan import ContainerKind, with_addresses
from .state import State


def claims_of(spec: GuestSpec | None, state: State) -> Claims:
    """Once *spec* stands; as it is where there is none. What goes claims the root that is kept of it."""
    nets = state.config.nets()
    cards = {
        name: card_in(nets[card.number])._replace(bridge=card.text("bridge")) for name, card in state.cards.items()
    }
    memory = cgroup.read_memory(state.persistent.limits)
    if spec is None:
        nics = state.live.nics if state.live else ()
        return as_it_is(state, cards, memory_kib=memory, links=[nic.host for nic in nics])
    if spec.state == "absent":
        return when_it_goes(ContainerKind(spec, state))
    spec = with_addresses(spec, state)
    memory = 0 if "memory" in spec.unset else spec.get("memory", memory)
    return once_it_stands(
        spec, cards, memory_kib=memory, space=_space(spec, state), shared_devices=_devices(spec, state)
    )


def _devices(spec: GuestSpec, state: State) -> dict[t.Hashable, str]:
    """The USB devices of the host that are declared, and what is of one, as they are written."""
    found: dict[t.Hashable, str] = {}
    for item in spec.wanted("devices"):
        before = state.devices.get(item.name)
        target = target_of(item, before.type if before else None, before.ref if before else None)
        its = state.host_devices.get(target) if target else None
        if target is not None and its is not None and its.port:
            found[usb_mark(its.port)] = target[1]
    return found


def card_in(net: t.Mapping[str, str]) -> CardClaim:
    """What the lines of one network card lay claim to."""
    # LXC makes a digit by chance of each x.
    mac = net.get("hwaddr", "x").lower()
    vlan = net.get("veth.vlan.id", "")
    return CardClaim(
        mac="" if "x" in mac else mac,
        bridge=net.get("link", ""),
        vlan=int(vlan) if vlan.isdecimal() else 0,
        addresses=fixed_addresses(net),
    )


def claims_in(config: Config, *, is_v2: bool, is_made: bool) -> Claims:
    """What a configuration lays claim to, whatever its cards are called."""
    cards = [card_in(net) for net in config.nets().values()]
    return Claims(
        macs=macs_of(cards),
        addresses=addresses_of(cards),
        memory_kib=cgroup.read_memory(cgroup.defined(config.get, is_v2=is_v2)),
        is_made=is_made,
    )


def _space(spec: GuestSpec, state: State) -> tuple[Space, ...]:
    """Of a root that grows, or a new one that its image is unpacked into; one that was kept is there already."""
    size = spec.get("rootfs.size")
    if state.exists:
        now = state.limit.used if state.limit.size is None else state.limit.size
        return (Space("", state.root_pool, size - now),) if state.root_pool and size and size > now else ()
    pool = spec.get("rootfs.pool") or (state.source and state.source.values.get("rootfs.pool"))
    if state.has_target or pool is None:
        return ()
    # A clone takes nothing at first, but what it is cloned from may have to be made.
    copied = state.source.copied_bytes if state.source else state.image_bytes
    root = Space("", pool, size or (0 if state.is_cloned else copied))
    return (root, *([space_of(state.missing_copy, state.image_bytes)] if state.missing_copy else ()))
