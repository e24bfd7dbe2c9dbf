# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Virtual CPUs: how many run, and how many can be plugged in."""

from __future__ import annotations

import math
import re

from .node import Node, child, remove


def read_maximum(root: Node) -> int:
    return int(root.findtext("vcpu") or 1)


def read_current(root: Node) -> int:
    node = root.find("vcpu")
    return read_maximum(root) if node is None else int(node.get("current") or node.text or 1)


def write_maximum(root: Node, value: int) -> None:
    _write(root, min(read_current(root), value), value)


def write_current(root: Node, value: int) -> None:
    """Set how many run; the maximum follows where it is less."""
    _write(root, value, max(value, read_maximum(root)))


def _write(root: Node, current: int, maximum: int) -> None:
    node = child(root, "vcpu")
    if maximum != read_maximum(root):
        _fit_topology(root, maximum)
    node.text = str(maximum)
    if current == maximum:
        node.attrib.pop("current", None)
    else:
        node.set("current", str(current))
    # Names each CPU by number; libvirt refuses it when it does not fit the counts, and makes it anew without it.
    remove(root.find("vcpus"))


def _fit_topology(root: Node, maximum: int) -> None:
    """libvirt refuses a maximum that sockets, dies, cores and threads do not multiply to."""
    fitting = fitting_topology(root, maximum)
    for key, value in (fitting or {}).items():
        root.find("cpu/topology").set(key, str(value))


def fitting_topology(root: Node, maximum: int) -> dict[str, int] | None:
    """What of the topology changes for *maximum* CPUs: the number of sockets, or else that of their cores.

    Empty where nothing does, ``None`` where neither can be.
    """
    topology = root.find("cpu/topology")
    if topology is None:
        return {}
    counts = {key: int(topology.get(key, "1")) for key in ("sockets", "dies", "clusters", "cores", "threads")}
    for key in ("sockets", "cores"):
        others = math.prod(count for name, count in counts.items() if name != key)
        if maximum % others == 0:
            count = maximum // others
            return {} if count == counts[key] else {key: count}
    return None


def highest_named(root: Node) -> int:
    """The highest number of a CPU that something names: its place, its scheduler, its NUMA cell. -1 where nothing does."""
    sets = [cell.get("cpus", "") for cell in root.iterfind("cpu/numa/cell")]
    sets += [node.get("vcpus", "") or node.get("vcpu", "") for node in root.iterfind("cputune/*")]
    return max((int(number) for text in sets for number in re.findall(r"(?<!\^)\b\d+", text)), default=-1)
