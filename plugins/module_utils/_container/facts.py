# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The container as every module tells it: sizes in bytes and KiB beside what a person reads."""

from __future__ import annotations

import os
import typing as t

from .._core import startup
from .._core.units import show_memory_kib
from .._host.snapshot import Host
from . import cgroup
from .card import Card, find_nic, seen_vlan
from .idmap import root_of
from .observe import observe_guest
from .state import State


def guest_facts(name: str, host: Host) -> dict[str, t.Any]:
    """The container *name* as every module tells it: sizes in bytes and KiB beside what a person reads.

    :raises ObserveError:
    """
    return facts_of(name, observe_guest(name, host))


def facts_of(name: str, state: State) -> dict[str, t.Any]:
    """What is told of the container in *state*."""
    running = state.live
    limits = running.items if running else state.limits
    memory = cgroup.read_memory(limits)
    networks = [_card_facts(card, state) for card in state.cards.values()]
    volume = (state.record.get("volumes") or {}).get("rootfs") or {}
    pool = volume.get("pool") if volume.get("path") == state.rootfs else None
    disks = [{"name": "rootfs", "pool": pool, "path": state.rootfs, "size_bytes": None, "size": None}]
    return {
        "name": name,
        "kind": "container",
        "state": state.power if state.exists else "absent",
        "description": state.record.get("description") or "",
        "tags": list(state.record.get("tags") or ()),
        "autostart": state.config.get("lxc.start.auto") == "1",
        "startup": startup.facts(startup.recorded(state.record)),
        "vcpus": len(cgroup.read_cpus(limits)) or len(os.sched_getaffinity(0)),
        "memory_kib": memory or None,
        "memory": show_memory_kib(memory or None),
        "networks": networks,
        "mounts": [
            {"name": mount, "source": entry.source, "path": entry.path, "readonly": entry.is_readonly}
            for mount, entry in state.mounts.items()
        ],
        "disks": disks if state.rootfs and state.has_rootfs else [],
        "addresses": [address.split("/")[0] for net in networks for address in net["addresses"]],
        "uptime_seconds": running.uptime_seconds if running else None,
        "pid": running.pid if running else None,
        "image": state.record.get("image"),
        "unprivileged": root_of(state.config.values("lxc.idmap")) is not None if state.exists else None,
        "managed": bool(state.record),
    }


def _card_facts(card: Card, state: State) -> dict[str, t.Any]:
    nic = find_nic(card, state.nics)
    static = [card["ip"]] if "/" in card["ip"] else []
    return {
        "name": card.name,
        "bridge": (nic.bridge if nic else "") or card["bridge"] or None,
        "vlan": (seen_vlan(None, card, nic) if nic else card["vlan"]) or None,
        "mac": (nic.mac if nic else card["mac"]) or None,
        "device": nic.device if nic else card.device,
        "host_device": (nic.host if nic else card.pair) or None,
        "addresses": [address.cidr for address in nic.addresses] if nic else static,
        "link": ("up" if nic.bridge else "down") if nic else card["link"],
    }
