# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The screen."""

from __future__ import annotations

from .node import Node, make, remove

_LOOPBACK = "127.0.0.1"


def read(root: Node) -> str:
    """``none``, or the kind of the first screen."""
    node = root.find("devices/graphics")
    return "none" if node is None else str(node.get("type", ""))


def write(root: Node, kind: str) -> None:
    """``vnc`` listens on the host's loopback alone; ``none`` takes every screen off, with what needs one."""
    devices = root.find("devices")
    for node in devices.findall("graphics"):
        remove(node)
    # They are parts of SPICE: libvirt refuses them without it.
    for node in [*devices.findall("channel"), *devices.findall("redirdev"), *devices.findall("audio")]:
        if node.get("type") in ("spicevmc", "spiceport", "spice"):
            remove(node)
    if kind == "none":
        for node in devices.findall("video"):
            remove(node)
        return
    screen = make("graphics", type=kind, port="-1", autoport="yes")
    screen.append(make("listen", type="address", address=_LOOPBACK))
    devices.append(screen)
    if devices.find("video") is None:
        video = make("video")
        video.append(make("model", type="vga"))
        devices.append(video)
