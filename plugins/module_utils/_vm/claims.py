# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a virtual machine lays claim to."""

from __future__ import annotations

import contextlib
import typing as t

from .._core.claims import Claims, Space
from .._core.errors import SpecError
from .._core.options import Item
from .._guest.claims import CardClaim, as_it_is, once_it_stands, usb_mark, when_it_goes
from .._image.state import space_of
from .addressing import as_compared
from .plan import VmKind
from .spec import DEVICE_REFS, Spec, is_shared, reads_only, with_create_defaults, with_presets, with_source
from .state import State
from .xml.hostdev import marks_of
from .xml.nic import Nic


def claims_of(spec: Spec | None, state: State) -> Claims:
    """Once *spec* stands; as it is where there is none. What goes claims the volumes that are kept of it."""
    nics = state.persistent.nics if state.exists else {}
    cards = {
        name: CardClaim(nic.mac, nic.value("bridge"), nic.value("vlan") or 0, _addresses(nic))
        for name, nic in nics.items()
    }
    if spec is None:
        live = state.live.nics if state.live else {}
        return as_it_is(state, cards, memory_kib=_memory_before(state), links=[nic.tap for nic in live.values()])
    if spec.state == "absent":
        return when_it_goes(VmKind(spec, state))
    spec = wanted = as_compared(spec, state)
    if not state.exists:
        # What it lacks its own plan says.
        with contextlib.suppress(SpecError):
            wanted = with_create_defaults(
                with_presets(with_source(spec, state.source), state.presets), presets=state.image_presets
            )
    memory = wanted.get("memory_max") or max(_memory_before(state), wanted.get("memory", 0))
    space = [space for item in wanted.wanted("disks") if (space := _space(item, state))]
    copies = state.missing_copies.items()
    space += [space_of(copy, state.image_sizes.get(image, 0)) for (dummy, image), copy in copies]
    disks, devices = _written_disks(wanted, state), _devices(wanted, state)
    return once_it_stands(spec, cards, memory_kib=memory, space=space, disks=disks, devices=devices)


def _devices(spec: Spec, state: State) -> dict[t.Hashable, str]:
    """The devices of the host that are declared, as they are written."""
    found: dict[t.Hashable, str] = {}
    for item in spec.wanted("devices"):
        source = state.device_sources.get(item.name)
        if source is not None:
            told = next(text for word in DEVICE_REFS if (text := item.text(word)) is not None)
            port = state.device_ports.get(item.name)
            found.update(dict.fromkeys([usb_mark(port)] if port else marks_of(source)[:1], told))
    return found


def _addresses(nic: Nic) -> tuple[str, ...]:
    """What it has as ``ip`` and ``ip6``, words and nothing too."""
    return (nic.value("ip"), nic.value("ip6"))


def _written_disks(spec: Spec, state: State) -> dict[t.Hashable, str]:
    """The declared sources that it alone may write."""
    there = state.persistent.things("disks") if state.exists else {}
    found: dict[t.Hashable, str] = {}
    for item in spec.wanted("disks"):
        source = item.text("source")
        before = there.get(item.name)
        if source is not None and not reads_only(item, before) and not is_shared(item, before):
            found[state.places.get(source, source)] = source
    return found


def _memory_before(state: State) -> int:
    return t.cast(int, state.persistent.values["memory_max"]) if state.exists else 0


def _space(item: Item, state: State) -> Space | None:
    """What a declared disk takes more than now; nothing where its volume was kept, and is there already."""
    if item.name in state.found:
        return None
    size = item.get("size")
    there = state.persistent.things("disks").get(item.name) if state.exists else None
    if there is not None:
        pool, now = there.value("pool"), there.value("size")
        return Space(item.name, pool, size - now) if pool and size and now and size > now else None
    pool = item.text("pool")
    return Space(item.name, pool, size or state.image_sizes.get(item.text("image") or "", 0)) if pool else None
