# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The model of a domain's definition: read into canonical values, edited in place, all else as it stands."""

from __future__ import annotations

import dataclasses
import typing as t

from ..._core.libraries import etree
from . import boot, channel, controller, disk, graphics, memory, metadata, nic, node, serial, vcpu
from .disk import Disk
from .nic import Nic
from .node import Node

SPARE_PORTS = 8
_FILES = {"boot.kernel": "kernel", "boot.initrd": "initrd", "boot.cmdline": "cmdline"}


@dataclasses.dataclass(frozen=True)
class Domain:
    """A definition or a running domain in canonical form. *values* by option path, memory in KiB.

    *free_ports* is ``None`` where devices need no port of their own.
    """

    uuid: str
    type: str
    values: t.Mapping[str, str | int | bool]
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    boot_classes: tuple[str, ...] = ()
    free_ports: int | None = None
    has_balloon: bool = True
    has_scsi: bool = False
    has_channels: bool = True
    has_cells: bool = False
    is_agent_connected: bool = False
    nvram: str = ""
    has_tpm: bool = False

    def devices(self, kind: str) -> tuple[Disk, ...] | tuple[Nic, ...]:
        """The devices behind the option *kind*: ``disks`` or ``networks``."""
        return self.disks if kind == "disks" else self.nics


def parse(xml: str) -> Node:
    """The document of *xml*, comments and blanks included."""
    parser = etree().XMLParser(remove_blank_text=False, strip_cdata=False, resolve_entities=False, no_network=True)
    return etree().fromstring(xml, parser)


def to_text(root: Node) -> str:
    return str(etree().tostring(root, encoding="unicode"))


def read(root: Node) -> Domain:
    return Domain(
        uuid=node.text_of(root, "uuid"),
        type=root.get("type", ""),
        values={
            "description": metadata.read_description(root),
            "vcpus": vcpu.read_current(root),
            "cpu.cores": vcpu.read_current(root),
            "cpu.max_cores": vcpu.read_maximum(root),
            "memory": memory.read_current(root),
            "memory_max": memory.read_maximum(root),
            **{path: boot.read_file(root, key) for path, key in _FILES.items()},
            "graphics": graphics.read(root),
            "serial": serial.read(root),
            "agent": channel.find(root) is not None,
        },
        disks=tuple(disk.read(item) for item in root.iterfind("devices/disk")),
        nics=tuple(nic.read(item) for item in root.iterfind("devices/interface")),
        boot_classes=boot.read_classes(root),
        free_ports=controller.free_ports(root),
        has_balloon=memory.has_balloon(root),
        has_scsi=controller.has_scsi(root),
        has_channels=controller.has_channels(root),
        has_cells=memory.has_cells(root),
        is_agent_connected=channel.is_connected(root),
        nvram=node.text_of(root, "os/nvram"),
        has_tpm=node.is_set(root, "devices/tpm"),
    )


def write_value(root: Node, path: str, value: t.Any) -> None:
    """Set one option that is neither an item nor the boot order."""
    if path in _FILES:
        boot.write_file(root, _FILES[path], value)
        return
    writers: dict[str, t.Callable[[Node, t.Any], None]] = {
        "description": metadata.write_description,
        "vcpus": vcpu.write_current,
        "cpu.cores": vcpu.write_current,
        "cpu.max_cores": vcpu.write_maximum,
        "memory": memory.write_current,
        "memory_max": memory.write_maximum,
        "graphics": graphics.write,
        "serial": serial.write,
        "agent": channel.write,
    }
    writers[path](root, value)


def is_definition(path: str) -> bool:
    """Whether the definition holds the option *path*; the others are flags of libvirt or stand in the record."""
    return path not in ("autostart", "tags", "protection", "state") and not path.startswith(("cloud_init.", "startup."))


def find_disk(root: Node, target: str) -> Node | None:
    return next(
        (item for item in root.iterfind("devices/disk") if node.attribute(item, "target", "dev") == target), None
    )


def find_nic(root: Node, mac: str) -> Node | None:
    cards = root.iterfind("devices/interface")
    return next((item for item in cards if node.attribute(item, "mac", "address").lower() == mac), None)


def find_device(root: Node, kind: str, ident: str) -> Node | None:
    """The node of a device of ``disks`` or ``networks`` by what its model calls *ident*."""
    return find_disk(root, ident) if kind == "disks" else find_nic(root, ident)


def add_disk(root: Node, name: str, source: str, values: t.Mapping[str, t.Any], taken: t.Collection[str] = ()) -> Node:
    """Plug in a new disk, with the SCSI controller that it may need. *taken* are targets of the running domain."""
    devices = root.find("devices")
    if values["bus"] == "scsi" and not controller.has_scsi(root):
        devices.append(controller.build_scsi())
    added = disk.build(name, source, disk.free_target(values["bus"], {*taken, *_targets(root)}), values)
    _append(devices, added, "disk")
    return added


def add_nic(root: Node, name: str, values: t.Mapping[str, t.Any]) -> Node:
    added = nic.build(name, values)
    _append(root.find("devices"), added, "interface")
    return added


def change_bus(root: Node, item: Node, bus: str, taken: t.Collection[str] = ()) -> None:
    if bus == "scsi" and not controller.has_scsi(root):
        root.find("devices").append(controller.build_scsi())
    disk.replug(item, bus, disk.free_target(bus, {*taken, *_targets(root)}))


def _targets(root: Node) -> set[str]:
    return {node.attribute(item, "target", "dev") for item in root.iterfind("devices/disk")}


def _append(devices: Node, added: Node, tag: str) -> None:
    """Behind the last device of its kind: their order is the order of the declaration."""
    last = devices.findall(tag)
    if last:
        last[-1].addnext(added)
    else:
        devices.append(added)


def new(name: str, uuid: str, accelerator: str, ports: int) -> Node:
    """The definition of an empty machine: q35, with *ports* ports for devices beside the spare ones."""
    root = node.make("domain", type="kvm" if accelerator == "kvm" else "qemu")
    root.append(node.make("name", name))
    root.append(node.make("uuid", uuid))
    system = node.child(root, "os")
    system.append(node.make("type", "hvm", arch="x86_64", machine="q35"))
    features = node.child(root, "features")
    features.extend([node.make("acpi"), node.make("apic")])
    root.append(_cpu(accelerator))
    clock = node.make("clock", offset="utc")
    clock.append(node.make("timer", name="rtc", tickpolicy="catchup"))
    clock.append(node.make("timer", name="pit", tickpolicy="delay"))
    clock.append(node.make("timer", name="hpet", present="no"))
    root.append(clock)
    devices = node.child(root, "devices")
    devices.extend(controller.build_ports(ports + SPARE_PORTS))
    devices.append(node.make("memballoon", model="virtio"))
    random = node.make("rng", model="virtio")
    random.append(node.make("backend", "/dev/urandom", model="random"))
    devices.append(random)
    return root


def _cpu(accelerator: str) -> Node:
    if accelerator == "kvm":
        return node.make("cpu", mode="host-passthrough", check="none", migratable="on")
    # Emulated, a richer model only costs: the plain one boots Debian fastest.
    cpu = node.make("cpu", mode="custom", match="exact", check="none")
    cpu.append(node.make("model", "qemu64", fallback="allow"))
    return cpu
