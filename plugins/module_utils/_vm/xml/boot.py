# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Where the machine boots from."""

from __future__ import annotations

import typing as t

from .node import Node, make, remove, set_text, text_of

FILES = ("kernel", "initrd", "cmdline")


def read_file(root: Node, key: str) -> str:
    return text_of(root, f"os/{key}")


def write_file(root: Node, key: str, value: str) -> None:
    set_text(root, f"os/{key}", value)


def read_classes(root: Node) -> tuple[str, ...]:
    """The classes of devices (``hd``, ``network``, ``cdrom``) in the order of the old way to say it.

    A sole ``hd`` is what libvirt writes by itself: no order.
    """
    classes = tuple(node.get("dev", "") for node in root.iterfind("os/boot"))
    return () if classes == ("hd",) else classes


def write_order(root: Node, devices: t.Sequence[Node]) -> None:
    """Boot from *devices* in that order; from the first disk where there is none."""
    for node in [*root.iterfind("os/boot"), *root.iterfind("devices/*/boot")]:
        remove(node)
    for number, device in enumerate(devices, 1):
        device.append(make("boot", order=str(number)))
