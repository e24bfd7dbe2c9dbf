# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The screen, and the video card that shows on it."""

from __future__ import annotations

from . import channel
from .node import Node, attribute, make, remove

LOOPBACK = "127.0.0.1"
_OF_SPICE = ("spicevmc", "spiceport")
_PARTS = ("channel", "redirdev", "smartcard")
_LINES = ("serial", "console", "parallel")


def _screen(root: Node) -> Node | None:
    return root.find("devices/graphics")


def read(root: Node) -> str:
    """``none``, or the kind of the first screen."""
    node = _screen(root)
    return "none" if node is None else str(node.get("type", ""))


def write(root: Node, kind: str, video: str) -> None:
    """Another kind of screen, or none at all; *video* is the card of a machine that has none yet.

    It listens where the one before did, on the host's loopback alone where there was none.
    """
    devices, before = root.find("devices"), _screen(root)
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
    address, port, password = (
        (LOOPBACK, 0, "") if before is None else (_address(before), _port(before), _password(before))
    )
    screen.append(make("listen", type="address", address=address))
    devices.append(screen)
    write_port(root, port)
    write_password(root, password)
    if kind == "spice":
        devices.append(channel.build_spice())
    if devices.find("video") is None:
        write_video(root, video)


def _address(screen: Node) -> str:
    node = screen.find("listen[@type='address']")
    return str((screen.get("listen") if node is None else node.get("address")) or LOOPBACK)


def _port(screen: Node) -> int:
    port = 0 if screen.get("autoport") == "yes" else int(screen.get("port", "-1"))
    return max(port, 0)


def _password(screen: Node) -> str:
    return str(screen.get("passwd", ""))


def read_listen(root: Node) -> str:
    """The address that it listens on; ``socket`` and the like where it listens on none."""
    node = _screen(root)
    if node is None:
        return LOOPBACK
    kind = attribute(node, "listen", "type", "address")
    return _address(node) if kind == "address" else kind


def write_listen(root: Node, address: str) -> None:
    node = _screen(root)
    if node is None:
        return
    for child in node.findall("listen"):
        remove(child)
    for name in ("listen", "socket"):
        node.attrib.pop(name, None)
    node.append(make("listen", type="address", address=address))


def read_port(root: Node) -> int:
    """The port that it is told to listen on; 0 where libvirt takes any."""
    node = _screen(root)
    return 0 if node is None else _port(node)


def write_port(root: Node, port: int) -> None:
    node = _screen(root)
    if node is not None:
        node.set("port", str(port or -1))
        node.set("autoport", "no" if port else "yes")


def read_password(root: Node) -> str:
    node = _screen(root)
    return "" if node is None else _password(node)


def write_password(root: Node, password: str) -> None:
    node = _screen(root)
    if node is not None:
        if password:
            node.set("passwd", password)
        else:
            node.attrib.pop("passwd", None)


def read_video(root: Node) -> str:
    return attribute(root, "devices/video/model", "type", "none")


def write_video(root: Node, model: str) -> None:
    """Another video card in the place of the first; what belonged to the other one goes with it."""
    devices = root.find("devices")
    node = devices.find("video")
    if node is None:
        node = make("video")
        devices.append(node)
    remove(node.find("driver"))
    remove(node.find("model"))
    if model == "none":
        # libvirt itself gives a screen without a card one.
        remove(node.find("address"))
    node.append(make("model", type=model))


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
