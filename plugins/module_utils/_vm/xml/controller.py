# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Where devices plug in."""

from __future__ import annotations

from .node import Node, make


def free_ports(root: Node) -> int | None:
    """How many PCI Express ports are free for a device that is added while the guest runs; ``None`` where it is no matter.

    Without PCI Express it is ACPI that tells the guest of a device: a machine without takes none, and lets none go.
    """
    ports = {
        int(node.get("index", "-1"))
        for node in root.iterfind("devices/controller")
        if node.get("type") == "pci" and node.get("model") == "pcie-root-port"
    }
    if not any(node.get("model") == "pcie-root" for node in root.iterfind("devices/controller")):
        return None if plugs_pci_live(root) else 0
    taken = {int(node.get("bus", "0"), 16) for node in root.iterfind("devices/*/address") if node.get("type") == "pci"}
    return len(ports - taken)


def plugs_pci_live(root: Node) -> bool:
    """Whether devices on PCI come and go while the guest runs."""
    has_express = any(node.get("model") == "pcie-root" for node in root.iterfind("devices/controller"))
    return has_express or root.find("features/acpi") is not None


def has_scsi(root: Node) -> bool:
    return any(node.get("type") == "scsi" for node in root.iterfind("devices/controller"))


def has_channels(root: Node) -> bool:
    """Whether there is a controller for channels: libvirt plugs none in while the guest runs."""
    return any(node.get("type") == "virtio-serial" for node in root.iterfind("devices/controller"))


def build_scsi() -> Node:
    """libvirt would choose an emulated LSI card, for which Debian's cloud kernel has no driver."""
    return make("controller", type="scsi", model="virtio-scsi")


def build_ports(count: int) -> list[Node]:
    root = make("controller", type="pci", index="0", model="pcie-root")
    return [
        root,
        *(make("controller", type="pci", index=str(number + 1), model="pcie-root-port") for number in range(count)),
    ]
