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


def works_apart(*argv: str) -> bool:
    """Whether a command succeeds in a network namespace of its own."""
    try:
        command.run(["unshare", "--net", "--", *argv], timeout=20)
    except HybridError:
        return False
    return True


def read_memory() -> int:
    """The memory in bytes, by the kernel: libvirt's node information can be that of one NUMA node only."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", atomic.read_text("/proc/meminfo") or "", re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0
