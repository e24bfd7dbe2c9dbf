# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The PCI and USB devices of this host as the kernel has them, and what keeps one of them from being given away. Only reads."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic
from . import uses
from .routes import Link

if t.TYPE_CHECKING:
    from .snapshot import Host

SYS = "/sys"
MODULES = "/lib/modules"
CPUINFO = "/proc/cpuinfo"
USB_NODES = "/dev/bus/usb"
# What leads to other devices: it is no device of its own.
_BRIDGE = "0604"
# A group may hold what no driver of the host moves data with.
_HARMLESS = ("", "vfio-pci", "pci-stub", "pcieport", "shpchp")
_HUB = "09"
_AMD = "AuthenticAMD"


class PciDevice(t.NamedTuple):
    """*id* is ``vendor:product``, *kind* its class; *driver* is empty where none has it, *group* where there is no IOMMU."""

    address: str
    id: str
    kind: str = ""
    driver: str = ""
    group: str = ""

    @property
    def is_bridge(self) -> bool:
        return self.kind.startswith(_BRIDGE)


class UsbDevice(t.NamedTuple):
    """*port* is where it is plugged in (``1-2.4``) and stays; *number* is another one each time that it is plugged in."""

    port: str
    id: str
    serial: str
    bus: int
    number: int
    is_hub: bool = False

    @property
    def node(self) -> str:
        """Its node below ``USB_NODES``."""
        return f"{self.bus:03}/{self.number:03}"


class Hardware(t.NamedTuple):
    """PCI devices by address, and USB devices by port."""

    pci: t.Mapping[str, PciDevice]
    usb: t.Mapping[str, UsbDevice]

    def usb_at(self, bus: int, number: int) -> UsbDevice | None:
        return next((its for its in self.usb.values() if (its.bus, its.number) == (bus, number)), None)

    def usb_with(self, ref: str) -> list[UsbDevice]:
        """Those with this ``vendor:product`` or ``vendor:product:serial``."""
        return [its for its in self.usb.values() if ref in (its.id, f"{its.id}:{its.serial}")]


def read_hardware(dummy: Host) -> Hardware:
    """See ``Host.derived``."""
    return Hardware({its.address: its for its in _read_pci()}, {its.port: its for its in read_usb()})


def _read_pci() -> t.Iterator[PciDevice]:
    for address, folder in _devices("pci"):
        ids = [_text(folder, name).removeprefix("0x") for name in ("vendor", "device")]
        kind = _text(folder, "class").removeprefix("0x")
        yield PciDevice(address, ":".join(ids), kind, _link(folder, "driver"), _link(folder, "iommu_group"))


def read_usb() -> t.Iterator[UsbDevice]:
    """Those that are plugged in, hubs included."""
    for port, folder in _devices("usb"):
        vendor, number = _text(folder, "idVendor"), _text(folder, "devnum")
        if vendor and number.isdecimal():
            its_id, serial = f"{vendor}:{_text(folder, 'idProduct')}", _text(folder, "serial")
            is_hub = _text(folder, "bDeviceClass") == _HUB
            yield UsbDevice(port, its_id, serial, int(_text(folder, "busnum")), int(number), is_hub)


def usb_port_of(kind: str, major: int, minor: int) -> str:
    """The port of the USB device that a node (``c`` or ``b``, and its numbers) is of; empty where it is of none."""
    folder = os.path.realpath(f"{SYS}/dev/{'char' if kind == 'c' else 'block'}/{major}:{minor}")
    while folder != "/":
        if os.path.exists(f"{folder}/idVendor"):
            return os.path.basename(folder)
        folder = os.path.dirname(folder)
    return ""


def _devices(bus: str) -> list[tuple[str, str]]:
    folder = f"{SYS}/bus/{bus}/devices"
    return [(name, f"{folder}/{name}") for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []


def _text(folder: str, name: str) -> str:
    return (atomic.read_text(f"{folder}/{name}") or "").strip()


def _link(folder: str, name: str) -> str:
    return os.path.basename(os.path.realpath(f"{folder}/{name}")) if os.path.islink(f"{folder}/{name}") else ""


# ---- why a device cannot be given away, each as a part of a sentence ---------------------------------------------------------


def pci_obstacle(device: PciDevice, others: t.Collection[str], hardware: Hardware) -> str | None:
    """Why the kernel lets nobody have a PCI device. *others* are the addresses of those that the same guest gets or has."""
    if device.is_bridge:
        return f"{device.address} is a bridge to other devices. Write the address of one behind it"
    if not device.group:
        return no_iommu()
    mates = [its for its in hardware.pci.values() if its.group == device.group and its.address not in others]
    held = [its for its in mates if its is not device and not its.is_bridge and its.driver not in _HARMLESS]
    if held:
        told = ", ".join(f"{its.address} ({its.id}, driver {its.driver})" for its in held)
        return (
            f"the IOMMU group {device.group} of {device.address} goes to a guest as a whole, and this host uses {told} of it. "
            "Give those to the guest too, or put the card into another slot"
        )
    return None if _has_vfio() else _NO_VFIO.format(os.uname().release)


_NO_VFIO = (
    "the kernel {} of this host has no module vfio-pci. Debian's linux-image-amd64 has it; install that, and restart"
)


def no_iommu() -> str:
    """That there is no IOMMU in use, and how it is switched on."""
    way = "VT-d in its firmware, write intel_iommu=on into GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub"
    if _AMD in (atomic.read_text(CPUINFO) or ""):
        way = "AMD-Vi (IOMMU) in its firmware, take amd_iommu=off out of its kernel's command line if it is there"
    return f"this host has no IOMMU in use, without which no PCI device goes to a guest. Switch on {way} and restart it"


def _has_vfio() -> bool:
    if os.path.isdir(f"{SYS}/bus/pci/drivers/vfio-pci"):
        return True
    folder = f"{MODULES}/{os.uname().release}"
    return any("/vfio-pci.ko" in (atomic.read_text(f"{folder}/modules.{name}") or "") for name in ("dep", "builtin"))


def host_use(host: Host, guest: str, folder: str, lifelines: t.Mapping[str, str]) -> str | None:
    """What this host would lose with the device of *folder* in /sys and all that hangs on it. *lifelines* say of links what they carry."""
    cards, disks = _below(folder)
    for card in cards:
        link: Link = host.links.get(card, {})
        if card in lifelines:
            return f"its network card {card} carries {lifelines[card]}"
        if link.get("master"):
            return f"its network card {card} is plugged into {link['master']}"
    for disk in disks:
        why = uses.obstacle(host, guest, f"/dev/{disk}")
        if why is not None:
            return f"{why.removesuffix(' stands on it')} stands on its disk /dev/{disk}"
    return None


def folder_of(bus: str, name: str) -> str:
    """The folder of a device, without links on the way."""
    return os.path.realpath(f"{SYS}/bus/{bus}/devices/{name}")


def _below(folder: str) -> tuple[list[str], list[str]]:
    """The network cards and the disks of a device."""
    cards: list[str] = []
    disks: list[str] = []
    for place, names, dummy in os.walk(folder):
        for kind, found in (("net", cards), ("block", disks)):
            if kind in names and os.path.isdir(f"{place}/{kind}"):
                found += sorted(os.listdir(f"{place}/{kind}"))
                names.remove(kind)
    return cards, disks
