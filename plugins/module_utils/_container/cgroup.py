# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Control groups by what an option means: the names of both families, and their values in one canonical form."""

from __future__ import annotations

import typing as t

from . import cpuset

V1, V2 = "lxc.cgroup.", "lxc.cgroup2."
PERIOD_US = 100_000
# A v1 hierarchy without a limit shows the largest number of whole pages.
_V1_UNLIMITED = 1 << 62

Items = t.Mapping[str, str]


def memory_items(memory_kib: int, swap_kib: int) -> tuple[dict[str, str], dict[str, str]]:
    """The items (v1, v2) of a memory limit and of the swap on top of it; an empty text is none. 0 and -1 are no limit."""
    total = str((memory_kib + swap_kib) * 1024) if memory_kib and swap_kib >= 0 else ""
    first = {
        "memory.limit_in_bytes": str(memory_kib * 1024) if memory_kib else "",
        "memory.memsw.limit_in_bytes": total,
    }
    return first, {
        "memory.max": first["memory.limit_in_bytes"],
        "memory.swap.max": str(swap_kib * 1024) if swap_kib >= 0 else "",
    }


def limit_items(limit: float) -> tuple[dict[str, str], dict[str, str]]:
    """The items (v1, v2) of a quota of *limit* CPUs; 0 is none."""
    quota = round(limit * PERIOD_US)
    if not quota:
        return {"cpu.cfs_period_us": "", "cpu.cfs_quota_us": ""}, {"cpu.max": ""}
    return {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}, {"cpu.max": f"{quota} {PERIOD_US}"}


def weight_items(weight: int) -> tuple[dict[str, str], dict[str, str]]:
    """The items (v1, v2) of a share of CPU time, 100 being everybody's; v1 counts 1024 for that."""
    return {"cpu.shares": str(max(2, weight * 1024 // 100))}, {"cpu.weight": str(weight)}


def cpuset_items(cpus: str) -> tuple[dict[str, str], dict[str, str]]:
    return {"cpuset.cpus": cpus}, {"cpuset.cpus": cpus}


def pids_items(pids: int) -> tuple[dict[str, str], dict[str, str]]:
    return {"pids.max": str(pids) if pids else ""}, {"pids.max": str(pids) if pids else ""}


# What the kernel takes for "no limit": an item of a running container cannot be taken away.
UNLIMITED = {
    "memory.limit_in_bytes": "-1",
    "memory.memsw.limit_in_bytes": "-1",
    "memory.max": "max",
    "memory.swap.max": "max",
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": str(PERIOD_US),
    "cpu.max": f"max {PERIOD_US}",
    "pids.max": "max",
}


def read_bytes(text: str | None) -> int:
    """Bytes of a limit, 0 for none. liblxc passes suffixes on to the kernel, which knows K, M and G."""
    text = (text or "").strip()
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    digits = text[:-1] if factor > 1 else text
    number = int(digits) * factor if digits.isdecimal() else 0
    return 0 if number >= _V1_UNLIMITED else number


def read_memory(items: Items) -> int:
    """The memory limit in KiB, 0 for none."""
    return read_bytes(items.get("memory.max") or items.get("memory.limit_in_bytes")) // 1024


def read_swap(items: Items) -> int:
    """The swap on top of the memory in KiB, -1 for no limit."""
    if "memory.swap.max" in items:
        text = items["memory.swap.max"].strip()
        return -1 if text in ("max", "") else read_bytes(text) // 1024
    total, memory = read_bytes(items.get("memory.memsw.limit_in_bytes")), read_bytes(items.get("memory.limit_in_bytes"))
    return (total - memory) // 1024 if total and memory else -1


def read_limit(items: Items) -> float:
    """The quota in CPUs, 0 for none."""
    if "cpu.max" in items:
        words = items["cpu.max"].split()
        quota, period = words[0] if words else "", words[1] if len(words) > 1 else str(PERIOD_US)
    else:
        quota, period = (
            items.get("cpu.cfs_quota_us", "").strip(),
            items.get("cpu.cfs_period_us", "").strip() or str(PERIOD_US),
        )
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return 0.0
    return round(int(quota) / int(period), 2)


def read_weight(items: Items, declared: int | None) -> int:
    """The share of CPU time. Several weights have the same v1 share: *declared* is taken where it is one of them."""
    if items.get("cpu.weight", "").strip().isdecimal():
        return int(items["cpu.weight"])
    text = items.get("cpu.shares", "").strip()
    if not text.isdecimal():
        return 100
    if declared is not None and weight_items(declared)[0]["cpu.shares"] == text:
        return declared
    return max(1, round(int(text) * 100 / 1024))


def read_pids(items: Items) -> int:
    """The most processes, 0 for no limit."""
    text = items.get("pids.max", "").strip()
    return int(text) if text.isdecimal() else 0


def cpu_seconds(items: Items) -> float | None:
    """How long processors have worked for it; ``None`` where neither family says it."""
    if items.get("cpuacct.usage", "").strip().isdecimal():
        return int(items["cpuacct.usage"]) / 1e9
    words = items.get("cpu.stat", "").split()
    return int(words[words.index("usage_usec") + 1]) / 1e6 if "usage_usec" in words else None


def read_cpus(items: Items) -> tuple[int, ...]:
    """The CPUs that it is bound to; none when it may use all."""
    return cpuset.parse(items.get("cpuset.cpus", ""))


V1_ITEMS = (
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.shares",
    "cpuset.cpus",
    "pids.max",
)
V2_ITEMS = ("memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "cpuset.cpus", "pids.max")


def family(*, is_v2: bool) -> tuple[str, tuple[str, ...]]:
    """The prefix of the keys, and the items, of the family of control groups that a host has."""
    return (V2, V2_ITEMS) if is_v2 else (V1, V1_ITEMS)


def defined(values: t.Callable[[str], str | None], *, is_v2: bool) -> dict[str, str]:
    """The items that a configuration sets for the family of control groups that this host has. *values* looks a key up in it."""
    prefix, names = family(is_v2=is_v2)
    return {item: value for item in names if (value := values(prefix + item))}
