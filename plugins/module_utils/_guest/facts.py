# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A guest as every module tells it: what both kinds have in one shape."""

from __future__ import annotations

import typing as t

from .._core.options import Options
from .._core.units import show_moment
from .record import GuestRecord
from .state import GuestState

_LISTS = ("tags", "networks", "disks", "addresses", "snapshots", "clones")
_KEYS = (
    *("description", "autostart", "startup", "vcpus", "memory_kib", "memory", "uptime_seconds", "pid", "image"),
    *("clone_from", "template"),
)


def nothing(name: str, kind: str) -> dict[str, t.Any]:
    """What is told of a guest that is not there."""
    lists: dict[str, t.Any] = {key: [] for key in _LISTS}
    return {"name": name, "kind": kind, "state": "absent", **dict.fromkeys(_KEYS), **lists}


def unreadable(name: str, kind: str, problem: str) -> dict[str, t.Any]:
    """What is told of a guest that is there and cannot be read."""
    return {**nothing(name, kind), "state": "unknown", "problem": problem, "managed": True}


def common(name: str, kind: str, options: Options, state: GuestState) -> dict[str, t.Any]:
    """What is told of every guest that stands."""

    def told(path: str) -> t.Any:
        return options[path].show(state.value(options[path]))

    return {
        "name": name,
        "kind": kind,
        "problem": None,
        "state": state.power,
        "description": state.value(options["description"]) or "",
        "tags": told("tags"),
        "autostart": told("autostart"),
        "startup": {key: told(f"startup.{key}") for key in ("order", "up_delay", "down_delay")},
        "image": state.record.image,
        "clone_from": _origin_of(state.record),
        "clones": list(state.clones),
        "template": told("template"),
        "snapshots": snapshots_of(state.record),
        "managed": state.is_managed,
    }


def _origin_of(record: GuestRecord) -> dict[str, t.Any] | None:
    its = record.origin
    return its and {"guest": its.guest, "snapshot": its.snapshot, "linked": its.is_linked}


def snapshots_of(record: GuestRecord) -> list[dict[str, t.Any]]:
    """What is told of the snapshots of a guest, the oldest first. One that is not whole is none."""
    whole = [(its.created, name, its) for name, its in record.snapshots.items() if not its.is_building]
    return [
        {
            "name": name,
            "created": show_moment(created),
            "consistency": its.consistency,
            "volumes": [str(volume) for volume in its.volumes.values()],
            "beside": list(its.beside),
        }
        for created, name, its in sorted(whole, key=lambda each: each[:2])
    ]
