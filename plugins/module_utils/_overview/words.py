# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host tells an overview page of its guests, out of what is read of them: figures for a program, and no address and no path of the host."""

from __future__ import annotations

import re
import typing as t

from .._core.units import seconds_or_none
from .._snapshot.plan import ASIDE

Told = t.Dict[str, t.Any]  # noqa: UP006  # evaluated by the Python of a managed host
Facts = t.Mapping[str, t.Any]
# What the door for versions keeps of a guest right before it raises something: roles/_service/tasks/door.yml.
_BEFORE_UPDATE = re.compile(r"before-.+-\d{8}T\d{6}Z")
_ITEM = re.compile(r"[^\[\]]*\[(.+)\]")


class Use(t.NamedTuple):
    """What a guest has in use: its *memory* and *disk* in bytes, and when its packages changed last, in seconds since 1970."""

    memory: int | None = None
    disk: int | None = None
    updated: float | None = None


def of_guest(facts: Facts, use: Use, backup: Facts | None, pending: t.Sequence[str]) -> Told:
    """One guest, from what guest_info tells of it, from its entry in ``backups`` of host_info, and with the options that wait for a restart."""
    sizes = [disk["size_bytes"] for disk in facts["disks"] if disk.get("size_bytes")]
    times = [moment for moment in (use.updated, _raised(facts["snapshots"])) if moment is not None]
    memory = facts["memory_kib"]
    return {
        "name": facts["name"],
        "kind": facts["kind"],
        "state": facts["state"],
        "problem": facts["problem"],
        "autostart": facts["autostart"],
        "memory": memory and memory * 1024,
        "memory_used": use.memory,
        "disk": sum(sizes) or None,
        "disk_used": use.disk,
        "uptime": facts["uptime_seconds"],
        "updated": max(times, default=None),
        "restart_required": list(pending),
        "backup": backup and _backup(backup),
        "drill": backup and _drill(backup["drill"]),
    }


def _raised(snapshots: t.Iterable[Facts]) -> float | None:
    """When something was raised last of which a guest with these *snapshots*, the oldest first, did not go back."""
    found: list[float] = []
    for its in snapshots:
        if str(its["name"]).startswith(ASIDE):
            found = found[:-1]
        elif _BEFORE_UPDATE.fullmatch(str(its["name"])):
            found.append(_moment(its["created"]))
    return found[-1] if found else None


def _backup(its: Facts) -> Told:
    made = (its["backup"] or {}).get("made")
    return {"status": its["status"], "made": None if made is None else _moment(made)}


def _drill(its: Facts | None) -> Told | None:
    if its is None or its.get("ended") is None:
        return None
    return {"result": its["result"], "ended": _moment(its["ended"])}


def pending_of(journal: t.Iterable[Facts], started: t.Mapping[str, float]) -> dict[str, list[str]]:
    """The options that wait for a restart of each guest, by the last entry of it in the *journal*.

    *started* says since when each guest runs: with a later start than that entry it has what it waited for.
    """
    found: dict[str, list[str]] = {}
    for entry in journal:
        match = _ITEM.fullmatch(str(entry.get("name")))
        guest = match[1] if match else str(entry.get("name"))
        if guest in started:
            required = entry.get("restart_required") or []
            is_over = started[guest] > _moment(str(entry.get("time")))
            found[guest] = [] if is_over else [str(path) for path in required]
    return found


def _moment(text: str) -> float:
    """The seconds since 1970 of a moment in UTC, to the second as the journal has it too; what is none is long ago."""
    return seconds_or_none(f"{text[:19]}Z") or 0.0
