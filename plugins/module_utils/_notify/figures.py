# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host measures of itself and its guests, as Prometheus reads it. The figures of machines are libvirt's, and its exporter has them."""

from __future__ import annotations

import typing as t

from .._core.exposition import COUNTER, PREFIX, Metric, Told, lines
from .conditions import Pool

_OF_GUESTS = (
    Metric("running", "Whether the guest runs.", lambda its: float(its["running"])),
    Metric("autostart", "Whether the guest starts with its host.", lambda its: float(its["autostart"])),
)
_OF_CONTAINERS = (
    Metric("cpu_seconds_total", "How long processors have worked for the container.", lambda its: its["cpu"], COUNTER),
    Metric("memory_bytes", "What of its memory the container needs.", lambda its: its["memory"]),
    Metric("memory_limit_bytes", "How much memory the container may have.", lambda its: its["memory_limit"]),
    Metric("processes", "How many processes and threads the container has.", lambda its: its["processes"]),
)
_OF_POOLS = (
    Metric("capacity_bytes", "How much the storage pool can hold.", lambda its: its["capacity"]),
    Metric("available_bytes", "How much of the storage pool is free.", lambda its: its["available"]),
    Metric("warn_bytes", "How much of the storage pool should be free.", lambda its: its["least"]),
)
_OF_UNITS = (Metric("failed", "That the unit failed.", lambda dummy: 1.0),)
_OF_HOST = (
    Metric("drift_entries", "How much the last report found that is not as it is declared.", lambda its: its["drift"]),
    Metric("switch_taken_back", "Whether the last change of the network was taken back.", lambda its: its["switch"]),
    Metric("restart_required", "Whether Debian asks for a restart of the host.", lambda its: its["restart"]),
    Metric("measured_timestamp_seconds", "When the host measured all this.", lambda its: its["now"]),
)


class Guest(t.NamedTuple):
    """A guest, and what a container that runs has used: *cpu* in seconds, memory in bytes; ``None`` is not known."""

    name: str
    kind: str
    running: bool
    autostart: bool
    cpu: float | None = None
    memory: float | None = None
    memory_limit: float | None = None
    processes: float | None = None


class Measured(t.NamedTuple):
    """All that is measured at *now*, in seconds since 1970."""

    now: float
    guests: t.Sequence[Guest] = ()
    pools: t.Sequence[Pool] = ()
    failed: t.Sequence[str] = ()
    drift: int = 0
    is_taken_back: bool = False
    waits_for_restart: bool = False


def figures(its: Measured) -> str:
    """The text of the file."""
    guests: list[tuple[Told, Told]] = [({"guest": one.name, "kind": one.kind}, one._asdict()) for one in its.guests]
    pools: list[tuple[Told, Told]] = [
        ({"pool": one.name}, {"capacity": one.capacity, "available": one.available, "least": one.least})
        for one in its.pools
    ]
    host = {
        "drift": its.drift,
        "switch": float(its.is_taken_back),
        "restart": float(its.waits_for_restart),
        "now": its.now,
    }
    found = [
        *lines(f"{PREFIX}guest_", _OF_GUESTS, guests),
        *lines(f"{PREFIX}container_", _OF_CONTAINERS, [({"guest": told["guest"]}, one) for told, one in guests]),
        *lines(f"{PREFIX}pool_", _OF_POOLS, pools),
        *lines(f"{PREFIX}unit_", _OF_UNITS, [({"unit": unit}, {}) for unit in its.failed]),
        *lines(PREFIX, _OF_HOST, [({}, host)]),
    ]
    return "".join(f"{line}\n" for line in found)
