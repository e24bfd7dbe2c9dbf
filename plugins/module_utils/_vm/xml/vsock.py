# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The socket between the guest and its host."""

from __future__ import annotations

import typing as t

from .node import Node, attribute, make, remove

AUTO = "auto"


def read(root: Node) -> str | int:
    """The number (CID) by which the guest is called, ``auto`` where libvirt takes a free one at each start; 0 without a socket."""
    if root.find("devices/vsock") is None:
        return 0
    if attribute(root, "devices/vsock/cid", "auto") == "yes":
        return AUTO
    return int(attribute(root, "devices/vsock/cid", "address", "0"))


def write(root: Node, value: t.Any) -> None:
    devices = root.find("devices")
    for node in devices.findall("vsock"):
        remove(node)
    if value:
        socket = make("vsock", model="virtio")
        number = {"auto": "yes"} if value == AUTO else {"auto": "no", "address": str(value)}
        socket.append(make("cid", **number))
        devices.append(socket)
