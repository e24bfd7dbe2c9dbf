# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Measures a host and its guests. Only reads; the figures of containers are those of their control groups."""

from __future__ import annotations

import time
import typing as t

from .._bridge.switch.read import read_switch
from .._container import cgroup, live
from .._container.listed import configs
from .._core.errors import HybridError
from .._host.snapshot import Host
from .figures import Guest, Measured
from .look import failed_units, read_drift, read_pools, waits_for_restart


def measure(host: Host, say: t.Callable[[str], None]) -> Measured:
    """All that is measured of *host*. What cannot be read is left out, and is *said*."""

    def part(name: str, read: t.Callable[[], t.Sequence[t.Any]]) -> t.Sequence[t.Any]:
        try:
            return read()
        except HybridError as exc:
            say(f"<4>{name} could not be measured: {exc.message}")
            return ()

    return Measured(
        now=time.time(),
        guests=[
            *part("virtual machines", lambda: _machines(host)),
            *part("containers", lambda: _containers(host)),
        ],
        pools=part("storage pools", lambda: read_pools(host)),
        failed=part("units", failed_units),
        drift=len(read_drift()),
        is_taken_back=read_switch().word == "rolled_back",
        waits_for_restart=waits_for_restart() is not None,
    )


def _machines(host: Host) -> list[Guest]:
    return [Guest(name, "vm", its.is_active, its.autostart) for name, its in sorted(host.domains.items())]


def _containers(host: Host) -> list[Guest]:
    kept = host.derived(configs)
    found = []
    for name, its in sorted(host.containers.items()):
        autostart = kept[name].get("lxc.start.auto") == "1"
        used = _used(name) if its.is_running else {}
        found.append(Guest(name, "container", its.is_running, autostart, **used))
    return found


def _used(name: str) -> dict[str, float | None]:
    """Nothing of one that went meanwhile."""
    try:
        container = live.handle(name)
        items = {item: live.get_item(container, item) or "" for item in _ITEMS}
    except (HybridError, RuntimeError):
        return {}
    limit = cgroup.read_bytes(items["memory.max"] or items["memory.limit_in_bytes"])
    memory = live.memory_in_use(items["memory.stat"]) * 1024 if items["memory.stat"] else None
    processes = int(items["pids.current"]) if items["pids.current"].isdecimal() else None
    return {"cpu": cgroup.cpu_seconds(items), "memory": memory, "memory_limit": limit or None, "processes": processes}


_ITEMS = (
    "cpuacct.usage",
    "cpu.stat",
    "memory.stat",
    "memory.max",
    "memory.limit_in_bytes",
    "pids.current",
)
