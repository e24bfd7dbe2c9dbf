# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a person reads: the description."""

from __future__ import annotations

from .node import Node, make, set_text, text_of


def read_description(root: Node) -> str:
    return text_of(root, "description")


def write_description(root: Node, text: str) -> None:
    if text and root.find("description") is None:
        root.insert(_place(root), make("description"))
    set_text(root, "description", text)


def _place(root: Node) -> int:
    heads = ("name", "uuid", "genid", "title")
    return max((position + 1 for position, node in enumerate(root) if node.tag in heads), default=0)
