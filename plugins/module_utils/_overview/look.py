# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Looks at what a host tells an overview page. Only reads."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import typing as t

from .._backup.seen import read_backups
from .._container.live import get_item, handle, memory_in_use
from .._container.tree import Tree
from .._core import libraries
from .._core.errors import HybridError
from .._host.probe import read_free_memory, read_memory
from .._host.snapshot import Host
from .._listing.read import read_guests
from .._notify.look import read_pools, waits_for_restart
from .._run import journal
from .._storage import volume as volumes
from .._storage.choice import drivers_of
from .words import Told, Use, of_guest, pending_of

# What dpkg writes whenever a package changes.
_STATUS = "/var/lib/dpkg/status"
_ENTRIES = 500


def look(host: Host, name: str) -> Told:
    """What the host, which the page knows as *name*, tells of itself and its guests."""
    now = time.time()
    guests = read_guests({}, host)["guests"]
    started = {its["name"]: now - its["uptime_seconds"] for its in guests if its["uptime_seconds"] is not None}
    pending = pending_of(journal.read(_ENTRIES), started)
    backups = {its["guest"]: its for its in read_backups(host, now)["backups"]}
    memory = read_memory()
    return {
        "schema": 1,
        "host": name,
        "told": now,
        "memory": memory,
        "memory_used": memory - read_free_memory(),
        "pools": _pools(host),
        "restart": waits_for_restart(),
        "guests": [
            of_guest(its, _use(its, host), backups.get(its["name"]), pending.get(its["name"], [])) for its in guests
        ],
    }


def _pools(host: Host) -> list[Told]:
    # What of them cannot be read is told by hypervisor_notify; the guests are told of all the same.
    with contextlib.suppress(HybridError):
        return [
            {"name": its.name, "capacity": its.capacity, "used": its.capacity - its.available, "least": its.least}
            for its in read_pools(host)
        ]
    return []


def _use(facts: t.Mapping[str, t.Any], host: Host) -> Use:
    """What a guest has in use; what it does not tell is not known."""
    if facts["kind"] == "vm":
        memory = _memory_of_machine(facts["name"], host) if facts["state"] == "started" else None
        return Use(memory, _taken(facts["disks"]))
    # A link may not be its last part: nothing of the guest is followed.
    root = f"/proc/{facts['pid']}/root/." if facts["pid"] else next((disk["path"] for disk in facts["disks"]), None)
    memory = _memory_of_container(facts["name"]) if facts["pid"] else None
    return Use(memory, _counted(facts, host), _changed(root) if root else None)


def _memory_of_container(name: str) -> int | None:
    container = handle(name)
    with contextlib.suppress(HybridError):
        text = get_item(container, "memory.stat")
        return memory_in_use(text) * 1024 if text else None
    return None


def _memory_of_machine(name: str, host: Host) -> int | None:
    try:
        stats = host.domains[name].memoryStats()
    except (KeyError, libraries.libvirt().libvirtError):
        return None
    # The guest's own word where its balloon has one, and else what its process takes of the host.
    if "available" in stats and "usable" in stats:
        return int(stats["available"] - stats["usable"]) * 1024
    return int(stats["rss"]) * 1024 if "rss" in stats else None


def _counted(facts: t.Mapping[str, t.Any], host: Host) -> int | None:
    """What the root of a container holds, where its file system counts that."""
    for disk in facts["disks"]:
        driver = drivers_of(host).get(disk["pool"])
        if driver is not None:
            root = volumes.of_guest(disk["pool"], facts["name"], volumes.ROOT, volumes.FILESYSTEM)
            with contextlib.suppress(HybridError, OSError):
                return driver.limit(root).used or None
    return None


def _taken(disks: t.Iterable[t.Mapping[str, t.Any]]) -> int | None:
    """What the disks of a machine that are files take of their file systems."""
    taken = 0
    for disk in disks:
        with contextlib.suppress(OSError):
            its = os.stat(disk["path"] or "")
            taken += its.st_blocks * 512 if stat.S_ISREG(its.st_mode) else 0
    return taken or None


def _changed(root: str) -> float | None:
    """When the packages of a container changed last."""
    with contextlib.suppress(OSError), Tree(root).folder_of(_STATUS) as (folder, name):
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    return None
