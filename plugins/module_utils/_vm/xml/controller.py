# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Where devices plug in."""

from __future__ import annotations

import itertools

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


def scsi_numbers(root: Node) -> set[int]:
    """The numbers of the SCSI controllers. Those that say none get the lowest that are free."""
    nodes = [node for node in root.iterfind("devices/controller") if node.get("type") == "scsi"]
    found = {int(node.get("index", "0")) for node in nodes if node.get("index")}
    for dummy in range(len(nodes) - len(found)):
        found.add(next(number for number in itertools.count() if number not in found))
    return found


def has_usb(root: Node) -> bool:
    """Whether there is a USB controller; libvirt adds one by itself where nothing is said of any."""
    return any(
        node.get("type") == "usb" and node.get("model") != "none" for node in root.iterfind("devices/controller")
    )


def add_for(bus: str, root: Node, number: int = 0) -> None:
    """Plug in the controllers that disks on *bus* need, of SCSI up to *number*. What libvirt adds itself it chooses well, but for SCSI."""
    devices = root.find("devices")
    if bus == "scsi":
        devices.extend(build_scsi(its, root) for its in missing_scsi(root, number))
    elif bus == "usb" and not has_usb(root):
        for node in devices.findall("controller[@type='usb']"):
            remove(node)
        devices.append(make("controller", type="usb", model="qemu-xhci"))


def missing_scsi(root: Node, number: int) -> list[int]:
    """The SCSI controllers up to *number* that are not there."""
    known = scsi_numbers(root)
    return [its for its in range(number + 1) if its not in known]


def has_channels(root: Node) -> bool:
    """Whether there is a controller for channels: libvirt plugs none in while the guest runs."""
    return any(node.get("type") == "virtio-serial" for node in root.iterfind("devices/controller"))


def build_scsi(number: int, root: Node) -> Node:
    """As those that are there. libvirt would choose an emulated LSI card, for which Debian's cloud kernel has no driver."""
    first = root.find("devices/controller[@type='scsi']")
    model = first.get("model") if first is not None else None
    return make("controller", type="scsi", index=str(number), model=model or "virtio-scsi")


def has_pci_slots(root: Node) -> bool:
    """Whether a card that is none of PCI Express finds a slot while the guest runs."""
    models = {node.get("model") for node in root.iterfind("devices/controller") if node.get("type") == "pci"}
    return "pcie-root" not in models or bool(models & {"pcie-to-pci-bridge", "dmi-to-pci-bridge", "pci-bridge"})


def add_ports(root: Node) -> None:
    """Give a new machine the ports that its devices take, and some for devices that come while it runs."""
    devices = root.find("devices")
    taken = _ports_taken(root)
    count = _PORTS if taken + _LEAST_SPARE <= _PORTS else taken + _SPARE
    devices.insert(0, make("controller", type="pci", index="0", model="pcie-root"))
    for number in range(1, count + 1):
        devices.insert(number, make("controller", type="pci", index=str(number), model="pcie-root-port"))


def _ports_taken(root: Node) -> int:
    """How many ports libvirt will fill, with the controllers that it adds by itself: for USB, and for channels."""
    devices = root.find("devices")
    taken = sum(len(devices.findall(tag)) for tag in _ON_PORTS)
    taken += sum(1 for node in devices.iterfind("disk/target") if node.get("bus") == "virtio")
    taken += sum(1 for node in devices.iterfind("hostdev") if node.get("type") == "pci")
    taken += sum(1 for node in devices.iterfind("controller") if node.get("type") in ("scsi", "virtio-serial", "usb"))
    has_usb = devices.find("controller[@type='usb']") is not None
    has_serial = devices.find("controller[@type='virtio-serial']") is not None
    needs_serial = devices.find("channel/target[@type='virtio']") is not None
    return taken + (not has_usb) + (needs_serial and not has_serial)


# Each takes a port of its own; a card that is none of PCI Express takes one for the bridge that it needs.
_ON_PORTS = ("interface", "filesystem", "rng", "memballoon", "vsock", "watchdog")
# As many as have I/O space, which is 64 KiB of which firmware gives each port 4. With 15 Linux 6.1 says of one that there is none left, and with
# OVMF of the board's SMBus too (QEMU 7.2): only old cards need it. SeaBIOS and OVMF boot with 120 as well, and take 60 ms for each where they
# are emulated. virt-install makes 14.
_PORTS = 14
# Where these leave too few for what comes while it runs, it gets more, and some without I/O space.
_LEAST_SPARE, _SPARE = 6, 8
