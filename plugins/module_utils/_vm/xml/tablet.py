# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The pointer that is where the mouse of the screen's viewer is."""

from __future__ import annotations

from .node import Node, make, remove

PATH = "devices/input[@type='tablet']"


def read(root: Node) -> bool:
    return root.find(PATH) is not None


def write(root: Node, value: bool) -> None:
    for node in root.findall(PATH):
        remove(node)
    if value:
        root.find("devices").append(make("input", type="tablet", bus="usb"))
