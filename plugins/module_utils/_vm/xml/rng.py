# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The source of randomness that the host lends."""

from __future__ import annotations

from .node import Node, is_set, make, remove


def read(root: Node) -> bool:
    return is_set(root, "devices/rng")


def write(root: Node, value: bool) -> None:
    devices = root.find("devices")
    for node in devices.findall("rng"):
        remove(node)
    if value:
        random = make("rng", model="virtio")
        random.append(make("backend", "/dev/urandom", model="random"))
        devices.append(random)
