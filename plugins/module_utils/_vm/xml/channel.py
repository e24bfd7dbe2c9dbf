# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The channel of the guest agent."""

from __future__ import annotations

from .node import Node, attribute, make, remove

AGENT = "org.qemu.guest_agent.0"


def find(root: Node) -> Node | None:
    for node in root.iterfind("devices/channel"):
        if attribute(node, "target", "name") == AGENT:
            return node
    return None


def is_connected(root: Node) -> bool:
    """Whether an agent in the guest has opened it."""
    node = find(root)
    return node is not None and attribute(node, "target", "state") == "connected"


def build() -> Node:
    return _build("unix", AGENT)


def build_spice() -> Node:
    """That of SPICE's own agent: the clipboard, and a screen of the window's size."""
    return _build("spicevmc", "com.redhat.spice.0")


def _build(kind: str, name: str) -> Node:
    node = make("channel", type=kind)
    node.append(make("target", type="virtio", name=name))
    return node


def write(root: Node, value: bool) -> None:
    remove(find(root))
    if value:
        root.find("devices").append(build())
