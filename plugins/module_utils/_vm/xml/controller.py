# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Where devices plug in."""

from __future__ import annotations

from .node import Node, make, remove


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


def has_usb(root: Node) -> bool:
    """Whether there is a USB controller; libvirt adds one by itself where nothing is said of any."""
    return any(
        node.get("type") == "usb" and node.get("model") != "none" for node in root.iterfind("devices/controller")
    )


def has_ide(root: Node) -> bool:
    """Whether the machine has IDE: that of the type ``pc`` has, and no other."""
    system = root.find("os/type")
    machine = "" if system is None else str(system.get("machine", ""))
    return machine == "pc" or machine.startswith("pc-i440fx")


def add_for(bus: str, root: Node) -> None:
    """Plug in the controller that disks on *bus* need, where there is none. What libvirt adds itself it chooses well, but for SCSI."""
    devices = root.find("devices")
    if bus == "scsi" and not has_scsi(root):
        devices.append(build_scsi())
    elif bus == "usb" and not has_usb(root):
        for node in devices.findall("controller[@type='usb']"):
            remove(node)
        devices.append(make("controller", type="usb", model="qemu-xhci"))


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
