# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guest runs with a device of the host. A machine has it alone: no other one, and no container, has it then. Only reads."""

from __future__ import annotations

import os
import stat
import typing as t
from xml.etree import ElementTree

from .._core import paths
from .._core.errors import ObserveError
from .._host.hardware import PciDevice, UsbDevice, usb_port_of
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .device import USB, number, pci_address


def machine_with(host: Host, guest: str, device: PciDevice | UsbDevice) -> str | None:
    """The other machine that runs with *device*."""
    if not host.domains:
        return None
    with errors_of("read the domains", ObserveError):
        others = host.definitions.items()
    running = ((name, its.root) for name, its in others if name != guest and its.is_running)
    return next((name for name, root in running if any(_is_of(device, node) for node in _taken(root))), None)


def container_with(host: Host, guest: str, device: UsbDevice) -> str | None:
    """The other container that runs with *device*, or with a serial port and the like of it."""
    running = ((name, its) for name, its in host.containers.items() if name != guest and its.is_running)
    return next((name for name, its in running if any(_leads_to(path, device) for path in its.paths)), None)


def _taken(root: ElementTree.Element) -> t.Iterator[ElementTree.Element]:
    """The devices of the host that a domain has, cards among them."""
    yield from root.iterfind("devices/hostdev")
    yield from root.iterfind("devices/interface[@type='hostdev']")


def _is_of(device: PciDevice | UsbDevice, node: ElementTree.Element) -> bool:
    place = node.find("source/address")
    if place is None or (node.get("type") == USB) != isinstance(device, UsbDevice):
        return False
    if isinstance(device, PciDevice):
        return pci_address(place) == device.address
    return (number(place.get("bus", "0")), number(place.get("device", "0"))) == (device.bus, device.number)


def _leads_to(path: str, device: UsbDevice) -> bool:
    """Whether a path of the host, of a container's configuration, is a node of *device* or has it among those of ours."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
        return usb_port_of(kind, os.major(status.st_rdev), os.minor(status.st_rdev)) == device.port
    return path.startswith(f"{paths.DEVICES}/") and os.path.lexists(f"{path}/{device.node}")
