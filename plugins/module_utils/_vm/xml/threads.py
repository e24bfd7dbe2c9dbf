# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The I/O threads of a machine, which serve disks beside its CPUs."""

from __future__ import annotations

from .node import Node, child, make, text_of


def numbers(root: Node) -> set[int]:
    """The threads that there are. Where libvirt was told how many and not which, it takes the lowest numbers that are free."""
    named = {int(node.get("id", "0")) for node in root.iterfind("iothreadids/iothread")}
    count, number = int(text_of(root, "iothreads") or 0), 1
    while len(named) < count:
        named.add(number)
        number += 1
    return named


def add(root: Node, number: int) -> None:
    """Let the machine have the thread *number*, beside those that it has."""
    known = numbers(root)
    if number in known:
        return
    named = {node.get("id") for node in root.iterfind("iothreadids/iothread")}
    threads = child(root, "iothreadids")
    threads.extend(make("iothread", id=str(one)) for one in sorted({*known, number}) if str(one) not in named)
    child(root, "iothreads").text = str(len(known) + 1)
