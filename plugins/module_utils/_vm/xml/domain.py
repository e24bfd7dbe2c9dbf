# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The model of a domain's definition: read into canonical values, edited in place, all else as it stands."""

from __future__ import annotations

import copy
import functools
import typing as t

from ..._core.libraries import etree
from ..._guest.device import USB
from .. import firmware as remembered
from . import (
    boot,
    cdrom,
    channel,
    controller,
    cpu,
    disk,
    filesystem,
    firmware,
    graphics,
    hostdev,
    machine,
    memory,
    metadata,
    nic,
    node,
    rng,
    serial,
    tablet,
    tpm,
    variant,
    vcpu,
    vsock,
    watchdog,
)
from .cdrom import Cdrom
from .disk import Disk
from .filesystem import Share
from .hostdev import Hostdev
from .nic import Nic
from .node import Node


def _writer_of_topology(key: str) -> t.Callable[[Node, int], None]:
    return lambda root, count: cpu.write_topology(root, key, count)


READ: dict[str, t.Callable[[Node], t.Any]] = {
    "description": metadata.read_description,
    "vcpus": vcpu.read_current,
    "cpu.cores": vcpu.read_current,
    "cpu.max_cores": vcpu.read_maximum,
    "cpu.type": cpu.read_type,
    "cpu.flags": cpu.read_flags,
    **{f"cpu.topology.{key}": functools.partial(cpu.read_topology, key=key) for key in cpu.TOPOLOGY},
    "memory": memory.read_current,
    "memory_max": memory.read_maximum,
    "machine": machine.read,
    "firmware.type": firmware.read_type,
    "tpm.version": tpm.read_version,
    "tpm.model": tpm.read_model,
    "boot.kernel": lambda root: boot.read_file(root, "kernel"),
    "boot.initrd": lambda root: boot.read_file(root, "initrd"),
    "boot.cmdline": lambda root: boot.read_file(root, "cmdline"),
    "os_variant": variant.read,
    "graphics.type": graphics.read,
    "graphics.listen": graphics.read_listen,
    "graphics.port": graphics.read_port,
    "graphics.password": graphics.read_password,
    "video": graphics.read_video,
    "tablet": tablet.read,
    "serial": serial.read,
    "rng": rng.read,
    "watchdog.model": watchdog.read_model,
    "watchdog.action": watchdog.read_action,
    "vsock": vsock.read,
    "agent": lambda root: channel.find(root) is not None,
}
WRITE: dict[str, t.Callable[[Node, t.Any], None]] = {
    "description": metadata.write_description,
    "vcpus": vcpu.write_current,
    "cpu.cores": vcpu.write_current,
    "cpu.max_cores": vcpu.write_maximum,
    "cpu.type": cpu.write_type,
    "cpu.flags": cpu.write_flags,
    **{f"cpu.topology.{key}": _writer_of_topology(key) for key in cpu.TOPOLOGY},
    "memory": memory.write_current,
    "memory_max": memory.write_maximum,
    "machine": machine.write,
    "tpm.version": tpm.write_version,
    "tpm.model": tpm.write_model,
    "boot.kernel": lambda root, value: boot.write_file(root, "kernel", value),
    "boot.initrd": lambda root, value: boot.write_file(root, "initrd", value),
    "boot.cmdline": lambda root, value: boot.write_file(root, "cmdline", value),
    "os_variant": lambda root, value: variant.write(root, value, ()),
    "graphics.type": lambda root, kind: graphics.write(root, kind, variant.video_of(root)),
    "graphics.listen": graphics.write_listen,
    "graphics.port": graphics.write_port,
    "graphics.password": graphics.write_password,
    "video": graphics.write_video,
    "tablet": tablet.write,
    "serial": serial.write,
    "rng": rng.write,
    "watchdog.model": watchdog.write_model,
    "watchdog.action": watchdog.write_action,
    "vsock": vsock.write,
    "agent": channel.write,
}


class Domain:
    """A definition or a running domain in canonical form. *values* by option path, memory in KiB.

    *free_ports* is ``None`` where devices need no port of their own.
    """

    __slots__ = (
        "boot_classes",
        "cdroms",
        "clusters",
        "devices",
        "disks",
        "firmware",
        "fitting_topology",
        "free_ports",
        "has_balloon",
        "has_cells",
        "has_channels",
        "has_pci_slots",
        "has_shared_memory",
        "has_usb",
        "highest_named_cpu",
        "is_agent_connected",
        "machine",
        "nics",
        "places",
        "plugs_pci_live",
        "scsi_numbers",
        "shares",
        "type",
        "uuid",
        "values",
    )

    def __init__(self, root: Node) -> None:
        self.uuid = node.text_of(root, "uuid")
        self.type = str(root.get("type", ""))
        self.machine = node.attribute(root, "os/type", "machine")
        self.values: t.Mapping[str, t.Any] = {path: read(root) for path, read in READ.items()}
        drives = [(item, cdrom.is_drive(item)) for item in root.iterfind("devices/disk")]
        self.disks: tuple[Disk, ...] = tuple(disk.read(item) for item, is_drive in drives if not is_drive)
        self.cdroms: tuple[Cdrom, ...] = tuple(cdrom.read(item) for item, is_drive in drives if is_drive)
        self.nics: tuple[Nic, ...] = read_nics(root)
        self.devices: tuple[Hostdev, ...] = hostdev.read_all(root)
        self.shares: tuple[Share, ...] = filesystem.read_all(root)
        self.has_shared_memory = filesystem.has_shared_memory(root)
        self.boot_classes = boot.read_classes(root)
        self.free_ports = controller.free_ports(root)
        self.has_balloon = memory.has_balloon(root)
        self.plugs_pci_live = controller.plugs_pci_live(root)
        self.scsi_numbers = controller.scsi_numbers(root)
        self.has_usb = controller.has_usb(root)
        self.has_pci_slots = controller.has_pci_slots(root)
        self.has_channels = controller.has_channels(root)
        self.has_cells = memory.has_cells(root)
        self.is_agent_connected = channel.is_connected(root)
        self.firmware = firmware.read(root)
        self.places: t.Mapping[str, str] = remembered.places(root)
        self.highest_named_cpu = vcpu.highest_named(root)
        self.clusters = int(node.attribute(root, "cpu/topology", "clusters", "1"))
        self.fitting_topology = functools.partial(vcpu.fitting_topology, root)


def parse(xml: str) -> Node:
    """The document of *xml*, comments and blanks included."""
    parser = etree().XMLParser(remove_blank_text=False, strip_cdata=False, resolve_entities=False, no_network=True)
    return etree().fromstring(xml, parser)


def to_text(root: Node) -> str:
    return str(etree().tostring(root, encoding="unicode"))


def read(root: Node) -> Domain:
    return Domain(root)


def find_disk(root: Node, target: str) -> Node | None:
    """The disk or the CD-ROM drive that is plugged in as *target*: they share these names."""
    return next(
        (item for item in root.iterfind("devices/disk") if node.attribute(item, "target", "dev") == target), None
    )


def read_nics(root: Node) -> tuple[Nic, ...]:
    nics = [nic.read(item) for item in root.iterfind("devices/interface")]
    macs = [its.mac for its in nics]
    return tuple(its.as_twin() if macs.count(its.mac) > 1 else its for its in nics)


def find_nic(root: Node, ident: str) -> Node | None:
    """The only card that is known by *ident*."""
    found = [item for item in root.iterfind("devices/interface") if nic.read(item).is_known_by(ident)]
    return found[0] if len(found) == 1 else None


# The node of a device by its list and by what its model calls ``ident``.
FIND: dict[str, t.Callable[[Node, str], Node | None]] = {
    "disks": find_disk,
    "cdroms": find_disk,
    "networks": find_nic,
    "devices": hostdev.find,
    "shares": filesystem.find,
}
# What libvirt calls the devices of the lists; drives are disks too.
TAGS = {"disk": "disks", "interface": "networks", "hostdev": "devices", "filesystem": "shares"}


def add_disk(root: Node, name: str, source: str, values: t.Mapping[str, t.Any], taken: t.Collection[str] = ()) -> Node:
    """Plug in a new disk, with the SCSI controller that it may need. *taken* are targets of the running domain."""
    target = _target_on(root, values["bus"], taken)
    added = disk.build(name, source, target, values)
    _append(root.find("devices"), added, "disk")
    disk.WRITE["iothread"](added, values.get("iothread", 0))
    return added


def add_cdrom(root: Node, name: str, values: t.Mapping[str, t.Any], taken: t.Collection[str] = ()) -> Node:
    """Plug in a new CD-ROM drive, likewise."""
    added = cdrom.build(name, _target_on(root, values["bus"], taken), values)
    _append(root.find("devices"), added, "disk")
    return added


def _target_on(root: Node, bus: str, taken: t.Collection[str]) -> str:
    """A free target on *bus*, which has its controller then."""
    target = disk.free_target(bus, {*taken, *disk.targets(root.find("devices"))})
    controller.add_for(bus, root, disk.controller_of(target))
    return target


def add_nic(root: Node, name: str, values: t.Mapping[str, t.Any], tap: str) -> Node:
    """Plug in a new card; its end on the host is called *tap*."""
    added = nic.build(name, values, tap)
    _append(root.find("devices"), added, "interface")
    return added


def add_device(root: Node, name: str, source: hostdev.Source, values: t.Mapping[str, t.Any]) -> Node:
    """Plug in a device of the host."""
    if source.type == USB:
        controller.add_for(USB, root)
    added = hostdev.build(name, source, values)
    _append(root.find("devices"), added, "hostdev")
    return added


def add_share(root: Node, name: str, values: t.Mapping[str, t.Any]) -> Node:
    """Share a folder of the host, and with it the memory that it is served through."""
    filesystem.share_memory(root)
    added = filesystem.build(name, values)
    _append(root.find("devices"), added, "filesystem")
    return added


def _append(devices: Node, added: Node, tag: str) -> None:
    """Behind the last device of its kind: their order is the order of the declaration."""
    last = devices.findall(tag)
    if last:
        last[-1].addnext(added)
    else:
        devices.append(added)


def new(name: str, uuid: str, accelerator: str, kind: str = "q35") -> Node:
    """The definition of an empty machine of the type *kind*. What it gets says how many ports it needs: see ``add_ports``."""
    root = node.make("domain", type="kvm" if accelerator == "kvm" else "qemu")
    root.append(node.make("name", name))
    root.append(node.make("uuid", uuid))
    system = node.child(root, "os")
    system.append(node.make("type", "hvm", arch="x86_64", machine=kind))
    features = node.child(root, "features")
    features.extend([node.make("acpi"), node.make("apic")])
    root.append(cpu.build_default(accelerator))
    clock = node.make("clock", offset="utc")
    clock.append(node.make("timer", name="rtc", tickpolicy="catchup"))
    clock.append(node.make("timer", name="pit", tickpolicy="delay"))
    clock.append(node.make("timer", name="hpet", present="no"))
    root.append(clock)
    devices = node.child(root, "devices")
    devices.append(node.make("memballoon", model="virtio"))
    return root


def add_ports(root: Node) -> None:
    """Give a new machine the ports that its devices take, and some for those that come while it runs."""
    if machine.family(node.attribute(root, "os/type", "machine")) == "q35":
        controller.add_ports(root)


def take_firmware(root: Node, like: Node, nvram: str) -> None:
    """Let the machine *root* start by the firmware of *like*, with UEFI variables of its own in the file *nvram*, and with such a TPM."""
    system, theirs = node.child(root, "os"), like.find("os")
    # Of what runs libvirt 9.0 says no more that it has chosen, and takes no features where it does not choose.
    tags = ("firmware", "loader", "nvram") if theirs is not None and theirs.get("firmware") else ("loader", "nvram")
    for tag in tags if theirs is not None and nvram else ():
        system.extend(copy.deepcopy(item) for item in theirs.findall(tag))
    if theirs is not None and theirs.get("firmware"):
        system.set("firmware", theirs.get("firmware"))
    variables = system.find("nvram")
    if variables is not None and variables.find("source") is not None:
        node.set_attribute(variables, "source", "file", nvram)
    elif variables is not None:
        variables.text = nvram
    secure = like.find("features/smm")
    if secure is not None:
        node.child(root, "features").append(copy.deepcopy(secure))
    for theirs in like.findall("devices/tpm[backend]"):
        its = copy.deepcopy(theirs)
        # Where its state lies, and where it is plugged in, are its own.
        for path in ("backend/source", "alias", "address"):
            node.remove(its.find(path))
        if node.attribute(its, "backend", "type") == "emulator":
            node.child(root, "devices").append(its)
