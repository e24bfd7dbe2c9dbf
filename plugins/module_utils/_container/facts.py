# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The container as every module tells it: sizes in bytes and KiB beside what a person reads."""

from __future__ import annotations

import os
import typing as t

from .._core.units import show_memory_kib, show_size
from .._guest.facts import common
from .._host.snapshot import Host
from .card import Card, seen_vlan
from .observe import KIND, observe_guest
from .options import OPTIONS
from .state import ROOTFS, State


def guest_facts(name: str, host: Host) -> dict[str, t.Any]:
    """The container *name* as every module tells it: sizes in bytes and KiB beside what a person reads.

    :raises ObserveError:
    """
    return facts_of(name, observe_guest(name, host))


def facts_of(name: str, state: State) -> dict[str, t.Any]:
    """What is told of the container in *state*."""
    side = state.live or state.persistent
    memory: int = side.values["memory"]
    networks = [_card_facts(card, state) for card in state.cards.values()]
    pool, size = (state.root_pool if state.owns_rootfs else None), state.limit.size
    disks = [{"name": ROOTFS, "pool": pool, "path": state.rootfs, "size_bytes": size, "size": show_size(size)}]
    return {
        **common(name, KIND, OPTIONS, state),
        "problem": state.problem and f"LXC cannot load its configuration: {state.problem}",
        "state": state.power if state.exists else "absent",
        "vcpus": side.values["cpu.cores"] or len(os.sched_getaffinity(0)),
        "memory_kib": memory or None,
        "memory": show_memory_kib(memory or None),
        "networks": networks,
        "mounts": [
            {
                "name": mount,
                "source": entry.source,
                "path": entry.path,
                "readonly": entry.is_readonly,
                "mapped": entry.is_mapped,
                "map_ids": list(entry.ids),
                "backup": entry.is_backed_up,
            }
            for mount, entry in state.mounts.items()
        ],
        "devices": [
            {"name": name, "type": device.type, "path": device.path, "mode": device.mode, "gid": device.gid}
            for name, device in state.devices.items()
        ],
        "disks": disks if state.has_rootfs else [],
        "addresses": [address.split("/")[0] for net in networks for address in net["addresses"]],
        "uptime_seconds": state.live.uptime_seconds if state.live else None,
        "pid": state.live.pid if state.live else None,
        "unprivileged": side.values["unprivileged"] if state.exists else None,
    }


def _card_facts(card: Card, state: State) -> dict[str, t.Any]:
    nic = state.nics.get(card.name)
    static = [card[key] for key in ("ip", "ip6") if "/" in card[key]]
    return {
        "name": card.name,
        "bridge": (nic.bridge if nic else "") or card["bridge"] or None,
        "vlan": (seen_vlan(None, card, nic) if nic else card["vlan"]) or None,
        "mac": (nic.mac if nic else card["mac"]) or None,
        "device": nic.device if nic else card.device,
        "host_device": (nic.host if nic else card.pair) or None,
        "ip": card["ip"],
        "ip6": card["ip6"] or None,
        "addresses": [address.cidr for address in nic.addresses] if nic else static,
        "link": ("up" if nic.bridge else "down") if nic else card["link"],
    }
