# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The serial console."""

from __future__ import annotations

from .node import Node, is_set, make, remove


def read(root: Node) -> bool:
    return is_set(root, "devices/serial") or is_set(root, "devices/console")


def write(root: Node, value: bool) -> None:
    devices = root.find("devices")
    for node in [*devices.findall("serial"), *devices.findall("console")]:
        remove(node)
    if not value:
        return
    for tag, kind in (("serial", "isa-serial"), ("console", "serial")):
        node = make(tag, type="pty")
        node.append(make("target", type=kind, port="0"))
        devices.append(node)
