# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The devices of the host that a machine has or gets: which one is meant, and what keeps it from going there. Only reads."""

from __future__ import annotations

import typing as t

from .._core.options import Item
from .._guest.device import PCI, USB
from .._guest.holders import container_with, machine_with
from .._host import hardware, links
from .._host.hardware import Hardware, PciDevice, UsbDevice, read_hardware
from .._host.snapshot import Host
from .spec import Spec
from .xml.hostdev import Hostdev, Source

_UNPLUGGED = "{} (unplugged)"


def sources_of(spec: Spec, host: Host) -> tuple[dict[str, Source], dict[str, str]]:
    """The device that each declared one means; and why there is none, as a part of a sentence."""
    found: dict[str, Source] = {}
    missing: dict[str, str] = {}
    for item in spec.wanted("devices"):
        meant = _meant(item, host.derived(read_hardware)) if any(map(item.get, ("address", "id", "port"))) else None
        if isinstance(meant, Source):
            found[item.name] = meant
        elif meant is not None:
            missing[item.name] = meant
    return found, missing


def _meant(item: Item, there: Hardware) -> Source | str:
    if item.get("type") == PCI:
        return _pci_meant(item, there)
    port, ref = item.text("port"), item.text("id")
    if port is not None:
        its = there.usb.get(port)
        return f"nothing is plugged into the USB port {port} of this host" if its is None else _pinned(its)
    found = there.usb_with(str(ref))
    vendor, product, *serial = str(ref).split(":", 2)
    if len(found) > 1:
        told = ", ".join(f"{its.port}" + (f" (serial {its.serial})" if its.serial else "") for its in found)
        return f"{len(found)} USB devices {ref} are plugged in: {told}. Write {vendor}:{product}:SERIAL, or the port of one"
    if not serial and (found or item.get("optional")):
        return Source(USB, id=f"{vendor}:{product}")
    return _pinned(found[0], found[0].id) if found else f"there is no USB device {ref} on this host"


def _pinned(its: UsbDevice, its_id: str = "") -> Source:
    return Source(USB, id=its_id, bus=its.bus, number=its.number)


def _pci_meant(item: Item, there: Hardware) -> Source | str:
    address, ref = item.text("address"), item.text("id")
    if address is not None:
        return (
            Source(PCI, address=address) if address in there.pci else f"there is no PCI device {address} on this host"
        )
    found = [its.address for its in there.pci.values() if its.id == ref]
    if len(found) == 1:
        return Source(PCI, address=found[0])
    if found:
        return f"{len(found)} PCI devices of this host are {ref}: {', '.join(found)}. Write the address of one"
    return f"there is no PCI device {ref} on this host"


# What is told of a device, from its definition and from what the host has.
KEYS = ("type", "optional", "address", "id", "port")


def described(device: Hostdev, host: Host) -> Hostdev:
    """The device with what the host knows of it. A running machine has each USB device by the number that it had when it was plugged in."""
    there, source = host.derived(read_hardware), device.source
    if source.type == PCI:
        known = there.pci.get(source.address)
        return device.with_values(address=source.address, id=known.id if known else None, port=None)
    its = there.usb_at(source.bus, source.number) if source.is_pinned else None
    if its is not None and source.id in ("", its.id):
        its_id = f"{its.id}:{its.serial}" if its.serial else its.id
        return device.with_values(address=None, id=its_id, port=its.port)
    gone = _UNPLUGGED.format(source.id or f"bus {source.bus} device {source.number}")
    if source.is_pinned:
        return device.with_values(address=None, id=gone, port=gone, is_unplugged=True)
    return device.with_values(address=None, id=source.id, port=None)


def obstacles(
    spec: Spec,
    host: Host,
    sources: t.Mapping[str, Source],
    defined: t.Mapping[str, Hostdev],
    running: t.Mapping[str, Hostdev] | None,
) -> dict[str, str]:
    """Why devices that the machine does not have yet, or not while it runs, cannot go to it, as a part of a sentence."""
    has = {device.ident for name, device in defined.items() if running is None or name in running}
    new = {name: source for name, source in sources.items() if source.ident not in has}
    if not new:
        return {}
    from .._bridge.lifeline import find_lifelines  # few machines get a device

    there = host.derived(read_hardware)
    lifelines = find_lifelines(
        host.links, links.read_default_routes(), links.read_connections(), links.read_outer(host.links)
    )
    given = {source.address for source in sources.values()} | {device.source.address for device in defined.values()}
    found = {}
    for name, source in new.items():
        device = _device_of(source, there)
        if device is None:
            continue
        why = _obstacle(spec.name, device, host, lifelines, given)
        if why is not None:
            found[name] = why
    return found


def ports_of(sources: t.Mapping[str, Source], host: Host) -> dict[str, str]:
    """The ports of the USB devices that are meant, as far as they are plugged in, by the names of the declared ones."""
    found = {name: _device_of(source, host.derived(read_hardware)) for name, source in sources.items()}
    return {name: its.port for name, its in found.items() if isinstance(its, UsbDevice)}


def _device_of(source: Source, there: Hardware) -> PciDevice | UsbDevice | None:
    if source.type == PCI:
        return there.pci.get(source.address)
    if source.is_pinned:
        return there.usb_at(source.bus, source.number)
    return next(iter(there.usb_with(source.id)), None)


def _obstacle(
    guest: str, device: PciDevice | UsbDevice, host: Host, lifelines: t.Mapping[str, str], given: t.Collection[str]
) -> str | None:
    owner = machine_with(host, guest, device)
    if owner is None and isinstance(device, UsbDevice):
        owner = container_with(host, guest, device)
    if owner is not None:
        return f"{owner} runs with it"
    if isinstance(device, PciDevice):
        folder = hardware.folder_of("pci", device.address)
        use = hardware.host_use(host, guest, folder, lifelines)
        return use or hardware.pci_obstacle(device, given, host.derived(read_hardware))
    if device.is_hub:
        return f"{device.port} is a hub. Write the port of what is plugged into it"
    return hardware.host_use(host, guest, hardware.folder_of("usb", device.port), lifelines)


def shared_groups(spec: Spec, host: Host, sources: t.Mapping[str, Source]) -> frozenset[str]:
    """The declared PCI devices that are of one IOMMU group with another one: none of them can be given while the host has the other."""
    there = host.derived(read_hardware)
    groups = {
        name: its.group
        for name, source in sources.items()
        if (its := there.pci.get(source.address)) is not None and its.group
    }
    return frozenset(name for name, group in groups.items() if [*groups.values()].count(group) > 1)
