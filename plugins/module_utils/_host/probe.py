# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the kernel answers when it is tried, in a network namespace that is gone with the program that tried."""

from __future__ import annotations

import re

from .._core import atomic, command
from .._core.errors import HybridError

VLAN_PROBE = ("ip", "link", "add", "name", "probe0", "type", "bridge", "vlan_filtering", "1")


_INGRESS = "tc qdisc add dev lo ingress && tc filter add dev lo parent ffff: protocol all u32 match u32 0 0 "
# How to see whether the kernel has each queue and action that a limit of a rate is made of.
QUEUES = {
    "htb": "tc qdisc add dev lo root handle 1: htb",
    "sfq": "tc qdisc add dev lo root sfq",
    "tbf": "tc qdisc add dev lo root tbf rate 8mbit burst 20kb latency 50ms",
    "police": _INGRESS + "action police rate 8mbit burst 20kb mtu 64kb drop flowid :1",
    "ifb": "ip link add name probe0 type ifb",
    "mirred": "ip link add name probe0 type ifb && " + _INGRESS + "action mirred egress redirect dev probe0",
}


def missing_queue(*names: str) -> str | None:
    """The first of *names* (of ``QUEUES``) that the kernel does not have."""
    return next((name for name in names if not works_apart("sh", "-c", QUEUES[name])), None)


def works_apart(*argv: str) -> bool:
    """Whether a command succeeds in a network namespace of its own."""
    try:
        command.run(["unshare", "--net", "--", *argv], timeout=20)
    except HybridError:
        return False
    return True


def read_memory() -> int:
    """The memory in bytes, by the kernel: libvirt's node information can be that of one NUMA node only."""
    return _memory("MemTotal")


def read_free_memory() -> int:
    """What of it can be had without anything being swapped out."""
    return _memory("MemAvailable")


def _memory(what: str) -> int:
    match = re.search(rf"^{what}:\s+(\d+) kB", atomic.read_text("/proc/meminfo") or "", re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0
