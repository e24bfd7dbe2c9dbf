# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How a virtual machine is changed while it runs, and each option that changes then."""

from __future__ import annotations

import typing as t

from .._core import libraries
from .._core.errors import ApplyError, WaitTimeout
from .._core.options import pattern, split
from .._core.plan import Change
from .._core.waiting import wait_until
from .._guest import port
from .._host.libvirt import errors_of
from . import process
from .definition_writing import WRITE, DefinitionWriter
from .plan import held_medium
from .spec import DEVICE_REFS
from .writing import named_nodes
from .xml import cdrom, channel, controller, disk, graphics, hostdev, nic, tablet, threads
from .xml import domain as domain_xml
from .xml.node import Node

# libvirt itself has waited 5 seconds by then.
_DETACH_SECONDS = 1.0
_BALLOON_SECONDS = 2.0


class LiveWriter(DefinitionWriter):
    """The part of ``VmBackend`` that changes what runs."""

    def detach(self, change: Change) -> None:
        area, name, dummy = split(change.path)
        device = self._running(area).get(name)
        if device is not None and not self._lets_go(area, device.ident):
            self._note_held(change.path)

    def _note_held(self, path: str) -> None:
        self._note_declined(path)
        self.plan.warnings.append(f"{path}: the guest did not let it go, and has it until its next start")

    def _lets_go(self, area: str, ident: str) -> bool:
        """Ask the guest to let go of a device. Returns whether it did: it is asked, and free to ignore it."""
        library = libraries.libvirt()
        node = self._live_node(area, ident)
        if node is None:
            return True
        try:
            self.domain.detachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)
        except library.libvirtError as exc:
            if exc.get_error_code() not in (library.VIR_ERR_OPERATION_TIMEOUT, library.VIR_ERR_DEVICE_MISSING):
                raise ApplyError(f"could not detach {ident} from {self.spec.name}: {exc.get_error_message()}") from exc
        return _comes_true(lambda: self._live_node(area, ident) is None, _DETACH_SECONDS)

    def _live_node(self, area: str, ident: str) -> Node | None:
        return domain_xml.FIND[area](self._live_root(), ident)

    def _live_root(self) -> Node:
        return domain_xml.parse(self.domain.XMLDesc(libraries.libvirt().VIR_DOMAIN_XML_SECURE))

    def _note_declined(self, path: str) -> None:
        run = self._run_now()
        if run is not None:
            self.own.save(run=run.noting(declined=tuple(sorted({*run.declined, path}))))

    def _note_given_in(self, path: str) -> None:
        """What the guest declined before it does no more."""
        run = self._run_now()
        if run is not None and path in run.declined:
            self.own.save(run=run.noting(declined=tuple(its for its in run.declined if its != path)))

    def _run_now(self) -> t.Any:
        """This run of the machine, with what was noted of it so far."""
        run, noted = process.find_run(self.spec.name), self.own.record.run
        return noted if noted is not None and noted.is_of(run) else run

    def attach(self, change: Change) -> None:
        area, name, dummy = split(change.path)
        if name in self._running(area):
            return  # it is there, and was missing in the definition
        root = domain_xml.parse(self._lasting_xml())
        node = self._nodes(root)[area, name]
        try:
            with errors_of(f"attach {change.path} to {self.spec.name}", ApplyError):
                if area in ("disks", "cdroms"):
                    self._attach_for(node)
                self._attach_where_it_fits(node, lambda: (area, name) in named_nodes(self._live_root()))
        except ApplyError:
            # What QEMU does not take now it would not take at the next start either: the machine would start no more.
            self._take_back(area, name)
            raise

    def _take_back(self, area: str, name: str) -> None:
        """Take a device that could not be plugged in out of the definition."""
        root = domain_xml.parse(self._lasting_xml())
        node = self._nodes(root).get((area, name))
        if node is not None:
            node.getparent().remove(node)
            self._define(domain_xml.to_text(root))

    def _attach_where_it_fits(self, node: Node, is_there: t.Callable[[], bool]) -> None:
        """Plug the device in where the definition has it: the guest names a card by its place."""
        library = libraries.libvirt()
        try:
            self.domain.attachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)
            return
        except library.libvirtError:
            # libvirt goes on with what a run that was killed had asked for.
            if is_there():
                return
            place = node.find("address")
            if place is None or place.get("type") not in ("pci", "usb"):
                raise
            node.remove(place)
        self.domain.attachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)

    def _attach_for(self, node: Node) -> None:
        """Plug in the controllers that a disk or a drive needs, and begin the thread that serves it."""
        root, library, device = self._live_root(), libraries.libvirt(), disk.read(node)
        for number in controller.missing_scsi(root, disk.controller_at(node)) if device.bus == "scsi" else ():
            xml = domain_xml.to_text(controller.build_scsi(number, root))
            self.domain.attachDeviceFlags(xml, library.VIR_DOMAIN_AFFECT_LIVE)
        thread = device.value("iothread")
        if thread and thread not in threads.numbers(root):
            self.domain.addIOThread(thread, library.VIR_DOMAIN_AFFECT_LIVE)

    def change_live(self, change: Change) -> None:
        live = self.state.live
        if live is None:
            return
        area, name, key = split(change.path)
        device = self._running(area).get(name) if key else None
        if key and device is None:
            return  # it was plugged in by this run, as the definition has it
        now = device.value(key) if device is not None else live.values.get(change.path)
        value = self.wanted(change.path)
        if now != value:
            with errors_of(f"change {change.path} of {self.spec.name}", ApplyError):
                LIVE[pattern(change.path)](self, device, value)

    def _exchange(self, device: hostdev.Hostdev) -> None:
        """Let the running machine have the device of the definition in place of *device*."""
        name = next(name for name, other in self._running("devices").items() if other is device)
        if device.source.is_of(self._device_source(name)) and not device.value("is_unplugged"):
            return  # of what it is known by in the definition the running machine tells nothing
        if self._live_node("devices", device.ident) is not None and not self._lets_go("devices", device.ident):
            paths = [path for path in (f"devices[{name}].{key}" for key in DEVICE_REFS) if self.plan.has(path)]
            for path in paths:
                self._note_held(path)
            return
        if ("devices", name) not in named_nodes(self._live_root()):
            node = self._nodes(domain_xml.parse(self._lasting_xml()))["devices", name]
            self._attach_where_it_fits(node, lambda: ("devices", name) in named_nodes(self._live_root()))

    def _update_nic(self, device: t.Any, key: str, value: t.Any) -> None:
        """Bring one key of a card that is plugged in to its value."""
        node = self._live_node("networks", device.ident)
        if node is None:
            raise ApplyError(f"the card {device.ident} of {self.spec.name} is gone by now. Run it again")
        before = domain_xml.to_text(node)
        nic.WRITE[key](node, value)
        if domain_xml.to_text(node) != before:
            self.domain.updateDeviceFlags(domain_xml.to_text(node), libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _change_medium(self, device: cdrom.Cdrom, path: str) -> None:
        """Put the medium at *path* into a drive, or none. One that does not come out stays, unless that is permitted."""
        library = libraries.libvirt()
        name = next(name for name, other in self._running("cdroms").items() if other is device)
        option = f"cdroms[{name}].source"
        try:
            is_in = self._takes_medium(device, path) or ("eject" in self.spec.allow and self._gets_medium(device, path))
        except library.libvirtError:
            # What QEMU cannot read now it could not read at the next start either: the machine would start no more.
            self._write_back(option, self.state.persistent.cdroms[name].value("source"))
            raise
        if is_in:
            self._note_given_in(option)
            return
        self._note_declined(option)
        self.plan.warnings.append(held_medium(option))

    def _takes_medium(self, device: cdrom.Cdrom, path: str, force: int = 0) -> bool:
        """Whether the drive has the medium then. libvirt waits 5 seconds for a guest that holds another one."""
        library = libraries.libvirt()
        try:
            node = self._drive_with(device, path)
            self.domain.updateDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE | force)
        except library.libvirtError as exc:
            is_held = exc.get_error_code() in (library.VIR_ERR_OPERATION_FAILED, library.VIR_ERR_OPERATION_TIMEOUT)
            # libvirt 9.0 does not know that a drive has a tray which was plugged in while the machine ran, and does not open it.
            if not is_held and "Tray of device" not in exc.get_error_message():
                raise
            return False
        return True

    def _gets_medium(self, device: cdrom.Cdrom, path: str) -> bool:
        """The same for a guest that is not asked: where its tray cannot be opened the drive itself goes, and comes again."""
        library = libraries.libvirt()
        if self._takes_medium(device, path, library.VIR_DOMAIN_DEVICE_MODIFY_FORCE):
            return True
        node = self._drive_with(device, path)
        if not self._lets_go("cdroms", device.ident):
            return False
        self.domain.attachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)
        return True

    def _drive_with(self, device: cdrom.Cdrom, path: str) -> Node:
        """The drive as it runs, with another medium."""
        node = self._live_node("cdroms", device.ident)
        if node is None:
            raise ApplyError(f"the drive {device.ident} of {self.spec.name} is gone by now. Run it again")
        cdrom.WRITE["source"](node, path)
        return node

    def _write_back(self, path: str, value: t.Any) -> None:
        """Give the definition the value again that it had."""
        area, name, dummy = split(path)
        root = domain_xml.parse(self._lasting_xml())
        node = self._nodes(root).get((area, name))
        if node is not None:
            WRITE[pattern(path)](self, node, value)
            self._define(domain_xml.to_text(root))

    def _update_vlan(self, device: t.Any, value: int) -> None:
        self._update_nic(device, "vlan", value)
        # libvirt knows nothing of what somebody else set on the port, and leaves it.
        port.put_into_vlan(device.tap, value)

    def _set_rate(self, device: t.Any, key: str, bits: int) -> None:
        values = nic.rate_parameters({key: bits})
        self.domain.setInterfaceParameters(device.tap or device.mac, values, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _set_limits(self, device: disk.Disk) -> None:
        """All limits of a disk at once: libvirt takes those of bytes, and those of operations, as one."""
        name = next(name for name, other in self._running("disks").items() if other is device)
        values = {}
        for key, word in disk.LIMITS.items():
            path = f"disks[{name}].{key}"
            values[word] = self.wanted(path) if self.plan.has(path) else device.value(key)
        self.domain.setBlockIoTune(device.target, values, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _set_description(self, text: str) -> None:
        library = libraries.libvirt()
        kind = library.VIR_DOMAIN_METADATA_DESCRIPTION
        self.domain.setMetadata(kind, text or None, None, None, library.VIR_DOMAIN_AFFECT_LIVE)

    def _set_cores(self, count: int) -> None:
        self.domain.setVcpusFlags(count, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _set_balloon(self, memory_kib: int) -> None:
        """Ask for the memory, and see whether the guest moves at all: a request that it cannot answer is noted."""
        before = self.domain.info()[2]
        run = self._run_now()
        if run is not None:
            self.own.save(run=run.noting(balloon=(memory_kib, before)))
        self.domain.setMemoryFlags(memory_kib, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)
        if not _comes_true(lambda: self.domain.info()[2] != before, _BALLOON_SECONDS):
            self._note_declined("memory")

    def _add_agent(self) -> None:
        self.domain.attachDeviceFlags(domain_xml.to_text(channel.build()), libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _set_password(self, password: str) -> None:
        root = self._live_root()
        graphics.write_password(root, password)
        xml = domain_xml.to_text(root.find("devices/graphics"))
        self.domain.updateDeviceFlags(xml, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _plug_in(self, path: str) -> None:
        """Plug in the device at *path* of the definition, of which there is one."""
        node = domain_xml.parse(self._lasting_xml()).find(path)
        self._attach_where_it_fits(node, lambda: self._live_root().find(path) is not None)


def _comes_true(ask: t.Callable[[], bool], seconds: float) -> bool:
    try:
        return wait_until("the guest to answer", ask, timeout_seconds=seconds)
    except WaitTimeout:
        return False


# Each option that changes while the machine runs: the device of its item, and the value.
LIVE: dict[str, t.Callable[[LiveWriter, t.Any, t.Any], None]] = {
    "description": lambda backend, device, text: backend._set_description(text),
    "vcpus": lambda backend, device, count: backend._set_cores(count),
    "cpu.cores": lambda backend, device, count: backend._set_cores(count),
    "memory": lambda backend, device, memory_kib: backend._set_balloon(memory_kib),
    "agent": lambda backend, device, value: backend._add_agent(),
    "graphics.password": lambda backend, device, password: backend._set_password(password),
    "rng": lambda backend, device, value: backend._plug_in("devices/rng"),
    "tablet": lambda backend, device, value: backend._plug_in(tablet.PATH),
    "vsock": lambda backend, device, value: backend._plug_in("devices/vsock"),
    "networks[].rate_limit.in": lambda backend, device, bits: backend._set_rate(device, "rate_limit.in", bits),
    "networks[].rate_limit.out": lambda backend, device, bits: backend._set_rate(device, "rate_limit.out", bits),
    **{f"disks[].{key}": lambda backend, device, value: backend._set_limits(device) for key in disk.LIMITS},
    "cdroms[].source": lambda backend, device, path: backend._change_medium(device, path),
    "networks[].bridge": lambda backend, device, bridge: backend._update_nic(device, "bridge", bridge),
    "networks[].link": lambda backend, device, link: backend._update_nic(device, "link", link),
    "networks[].vlan": lambda backend, device, vlan: backend._update_vlan(device, vlan),
    **{f"devices[].{key}": lambda backend, device, value: backend._exchange(device) for key in ("type", *DEVICE_REFS)},
}
