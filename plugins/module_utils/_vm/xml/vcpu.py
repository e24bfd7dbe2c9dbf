# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Virtual CPUs: how many run, and how many can be plugged in."""

from __future__ import annotations

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
    topology = root.find("cpu/topology")
    if topology is None:
        return
    inner = 1
    for key in ("dies", "clusters", "cores", "threads"):
        inner *= int(topology.get(key, "1"))
    if maximum % inner == 0:
        topology.set("sockets", str(maximum // inner))
    else:
        remove(topology)
