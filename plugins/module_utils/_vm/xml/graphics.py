# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The screen."""

from __future__ import annotations

from .node import Node, make, remove

_LOOPBACK = "127.0.0.1"
_OF_SPICE = ("spicevmc", "spiceport")
_PARTS = ("channel", "redirdev", "smartcard")
_LINES = ("serial", "console", "parallel")


def read(root: Node) -> str:
    """``none``, or the kind of the first screen."""
    node = root.find("devices/graphics")
    return "none" if node is None else str(node.get("type", ""))


def write(root: Node, kind: str) -> None:
    """``vnc`` listens on the host's loopback alone; ``none`` takes every screen off, with what needs one."""
    devices = root.find("devices")
    for node in devices.findall("graphics"):
        remove(node)
    _remove_parts_of_spice(devices)
    if kind == "none":
        for node in devices.findall("video"):
            remove(node)
        return
    for node in devices.findall("video/model/acceleration"):
        # It needs the OpenGL of SPICE, of a screen of SDL or of egl-headless.
        remove(node)
    screen = make("graphics", type=kind, port="-1", autoport="yes")
    screen.append(make("listen", type="address", address=_LOOPBACK))
    devices.append(screen)
    if devices.find("video") is None:
        video = make("video")
        video.append(make("model", type="vga"))
        devices.append(video)


def _remove_parts_of_spice(devices: Node) -> None:
    """What libvirt refuses without SPICE. A sound card stays, and is heard no more."""
    for node in [node for tag in _PARTS for node in devices.findall(tag)]:
        if node.get("type") in _OF_SPICE:
            remove(node)
    for node in devices.findall("audio"):
        if node.get("type") == "spice":
            for name in [name for name in node.attrib if name != "id"]:
                del node.attrib[name]
            node.set("type", "none")
    for node in [node for tag in _LINES for node in devices.findall(tag)]:
        if node.get("type") in _OF_SPICE:
            node.set("type", "pty")
            remove(node.find("source"))
