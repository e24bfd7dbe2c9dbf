# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A virtual machine as the modules return it."""

from __future__ import annotations

import typing as t

from .._core import startup
from .._core.units import show_memory_kib, show_size
from .._host.snapshot import Host
from .observe import Side, State, observe
from .plan import value_of
from .spec import SEED, Spec


def guest_facts(name: str, host: Host) -> dict[str, t.Any]:
    """The virtual machine *name* as it is, in the shape that both kinds of guest share.

    Sizes in bytes and memory in KiB beside what a person reads. *managed*: the collection keeps a record of it.

    :raises ObserveError:
    """
    return facts_of(name, observe(Spec(name), host))


def facts_of(name: str, state: State) -> dict[str, t.Any]:
    """The facts of what was observed."""
    side = state.live or state.persistent
    if side is None or not state.exists:
        return {**_nothing(name), "managed": state.is_managed}
    values = side.values
    addresses = [address for its in state.addresses.values() for address in its]
    return {
        "name": name,
        "kind": "vm",
        "state": state.power,
        "description": values["description"],
        "tags": list(t.cast("tuple[str, ...]", values["tags"])),
        "autostart": values["autostart"],
        "startup": startup.facts(values),
        "vcpus": values["vcpus"],
        "memory_kib": values["memory"],
        "memory": show_memory_kib(t.cast(int, values["memory"])),
        "networks": _networks(side, state),
        "disks": _disks(side, state),
        "addresses": addresses,
        "uptime_seconds": state.run.uptime_seconds if state.run else None,
        "pid": state.run.pid if state.run else None,
        "image": state.image,
        "managed": state.is_managed,
    }


def _nothing(name: str) -> dict[str, t.Any]:
    lists = ("tags", "networks", "disks", "addresses")
    keys = ("description", "autostart", "startup", "vcpus", "memory_kib", "memory", "uptime_seconds", "pid", "image")
    return {"name": name, "kind": "vm", "state": "absent", **dict.fromkeys(keys), **{key: [] for key in lists}}


def _networks(side: Side, state: State) -> list[dict[str, t.Any]]:
    return [
        {
            "name": name,
            "bridge": state.bridge_of(nic),
            "vlan": nic.vlan or None,
            "mac": nic.mac,
            "addresses": list(state.addresses.get(nic.mac, ())),
            "link": nic.link,
        }
        for name, nic in side.nics.items()
    ]


def _disks(side: Side, state: State) -> list[dict[str, t.Any]]:
    return [
        {
            "name": name,
            "pool": value_of(disk, "pool", state) or None,
            "path": disk.source or None,
            "size_bytes": state.sizes.get(disk.source),
            "size": show_size(state.sizes.get(disk.source)),
        }
        for name, disk in side.disks.items()
        if name != SEED
    ]
