# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The watchdog: what becomes of a guest that does not answer it any more."""

from __future__ import annotations

from .node import Node, make, remove

DEFAULT_ACTION = "reset"


def _find(root: Node) -> Node | None:
    """The one that was put in. From libvirt 9.1 on a q35 has another one, of its own, which nothing can take out."""
    return next((node for node in root.iterfind("devices/watchdog") if node.get("model") != "itco"), None)


def read_model(root: Node) -> str:
    node = _find(root)
    return "" if node is None else str(node.get("model", ""))


def write_model(root: Node, model: str) -> None:
    node = _find(root)
    if not model:
        remove(node)
    elif node is None:
        root.find("devices").append(make("watchdog", model=model, action=_action(root)))
    else:
        remove(node.find("address"))
        node.set("model", model)


def read_action(root: Node) -> str:
    return DEFAULT_ACTION if _find(root) is None else _action(root)


def write_action(root: Node, action: str) -> None:
    """Of all that there are: QEMU knows one action for a machine."""
    for node in root.iterfind("devices/watchdog"):
        node.set("action", action)


def _action(root: Node) -> str:
    nodes = root.findall("devices/watchdog")
    return str(nodes[0].get("action", DEFAULT_ACTION)) if nodes else DEFAULT_ACTION
