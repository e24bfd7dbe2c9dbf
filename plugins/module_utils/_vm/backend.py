# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How virtual machines are written: what ``_guest.run`` asks of libvirt, and each option of a running machine."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import typing as t
import uuid

from .._core import atomic, libraries, lock
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement, WaitTimeout
from .._core.options import DEFINITION, Item, pattern, split
from .._core.plan import Change, How, Plan, Step
from .._core.removal import remove_tree
from .._core.waiting import wait_until
from .._guest import beside, port
from .._guest.addressing import Wish, take
from .._guest.auto_address import is_auto
from .._guest.cards import KEYS
from .._guest.content import Source, copied_by_itself
from .._guest.identity import link_name
from .._guest.installing import INSTALL
from .._guest.options import DHCP
from .._guest.ownership import Ownership
from .._guest.plan import is_half_made, wanted_value
from .._guest.record import Origin, RecordedFile, RecordedVolume
from .._guest.run import Run, Steps, check_origin
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._image.plan import COPIES
from .._storage import cloning
from .._storage import volume as volumes
from .._storage.choice import drivers_of
from .._storage.driver import Attempt, DiskSource, Driver, Snapshotting
from .._storage.volume import Volume
from . import backup, installing, power, process, reserving, seed, stillness, storage
from .addressing import Given, as_compared, given, given6, own_reservations, seed_cards
from .firmware import NVRAM, PATHS, TPM, Way, nvram_of, own_nvram, recorded_as, tpm_folder, uuid_of_tpm, word_of
from .firmware_plan import kept_tpm, way_after
from .installer import Installer, installer_of
from .naming import noted_names
from .options import CLOUD_INIT, NEW_INSTANCE, OPTIONS, SEED_DISK
from .plan import VmKind, held_medium
from .spec import DEVICE_REFS, Spec, new_item
from .state import State
from .xml import (
    boot,
    cdrom,
    channel,
    controller,
    disk,
    filesystem,
    graphics,
    hostdev,
    nic,
    tablet,
    threads,
    variant,
)
from .xml import domain as domain_xml
from .xml import firmware as firmware_xml
from .xml.node import Node, name_of, set_name

# libvirt itself has waited 5 seconds by then.
_DETACH_SECONDS = 1.0
_BALLOON_SECONDS = 2.0
# What a device without a name of its own is known by. Where that becomes another, it bears its name from then on.
_KNOWN_BY = (
    "disks[].bus",
    "cdroms[].bus",
    "networks[].mac",
    *(f"devices[].{key}" for key in ("type", *DEVICE_REFS)),
)
# Debian's cloud kernel has no driver for a SATA drive: a seed there is never seen.
_SEED_BUS = "virtio"


def apply_vm(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt or the guest refuses a step.
    :raises MissingRequirement: when what it is cloned from, or a medium, does not exist; nothing was written then.
    """
    check_origin(spec, state)
    if state.missing_media:
        names = ", ".join(state.missing_media)
        raise MissingRequirement(f"there is no {names} on this host", missing=[f"file {names}"])
    _check_folders(state)
    with errors_of(f"change {spec.name}", ApplyError):
        if spec.state != "absent":
            state = _with_taken(as_compared(spec, state), state, work.host)
            spec = as_compared(spec, state)
        wanted = spec if state.exists or spec.state == "absent" else VmKind(spec, state).created()
        backend = VmBackend(wanted, state, plan, work)
        yield from Run(backend, wanted, state, plan, installs=backend).steps()


def _with_taken(spec: Spec, state: State, host: Host) -> State:
    """*state* with an address in the record for each card that leaves the choice to the host and has none yet."""
    wishes = []
    for item in spec.wanted("networks"):
        nic = state.persistent.things("networks").get(item.name) if state.exists else None
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")
        vlan = item.get("vlan", nic.value("vlan") if nic else 0)
        wanted = {key: ip for key in KEYS if (ip := item.text(key)) is not None and is_auto(ip)}
        wishes += [Wish(item.name, key, ip, bridge, vlan) for key, ip in wanted.items()]
    if not wishes:
        return state
    return state.replace(
        record=take(
            spec.name, wishes, host, kind=VmBackend.word, is_building=not state.exists or state.record.is_building
        )
    )


def _check_folders(state: State) -> None:
    """Whether the folders are there that are to be shared: what would have made them came before.

    :raises MissingRequirement:
    """
    missing = [f"path {path}" for path in state.missing_folders]
    if missing:
        raise MissingRequirement(f"there is no {', '.join(missing)}, which a share needs", missing=missing)


class VmBackend:
    """See ``_guest.run.Backend``."""

    word = "vm"
    options = OPTIONS

    def __init__(self, spec: Spec, state: State, plan: Plan, work: Work) -> None:
        self.spec = spec
        self.state = state
        self.plan = plan
        self.work = work
        self.own = Ownership(work.host.record("guests", spec.name))
        self.taken = self._taken_targets()
        # The volumes that this run makes, and those that it takes over.
        self.made: dict[str, RecordedVolume] = {}
        self.adopted: dict[str, RecordedVolume] = {}
        if spec.state != "absent":
            self._plan_volumes()

    @functools.cached_property
    def domain(self) -> t.Any:
        """The domain, with a definition: one that was started without (``virsh create``) is gone as soon as it does not run."""
        library = libraries.libvirt()
        domain = self.work.host.domains[self.spec.name]
        with errors_of(f"define {self.spec.name}", ApplyError):
            if domain.isPersistent():
                return domain
            return self._define(domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))

    def _define(self, xml: str) -> t.Any:
        return self.work.host.connection.defineXML(xml)

    def wanted(self, path: str) -> t.Any:
        """What *path* is to become, in canonical form."""
        return wanted_value(OPTIONS, self.spec, path)

    @property
    def _variant(self) -> str:
        return self.state.variant(self.spec)

    def _taken_targets(self) -> list[str]:
        live = self.state.live
        if live is None:
            return []
        return [its.target for its in live.disks.values()] + [its.target for its in live.cdroms.values()]

    def defined(self, area: str) -> t.Mapping[str, t.Any]:
        """The devices of the machine by name; those of a half-made one are none."""
        return self.state.persistent.things(area) if self.state.exists else {}

    def _running(self, area: str) -> t.Mapping[str, t.Any]:
        """The devices of the running machine by name."""
        return self.state.live.things(area) if self.state.live else {}

    # -- record

    def _plan_volumes(self) -> None:
        for item in self.spec.wanted("disks"):
            change = self.plan.get(f"disks[{item.name}]")
            is_new = change is not None and item.name not in self.defined("disks")
            if not is_new or "pool" not in item.values:
                continue
            found = self.state.found.get(item.name)
            volume = volumes.of_guest(str(item.get("pool")), self.spec.name, item.name, volumes.BLOCK)
            if found is not None and not is_half_made(self.state, item.name):
                self.adopted[item.name] = RecordedVolume(volume)
            else:
                self.made[item.name] = RecordedVolume(volume, is_fresh=not self.state.exists)
        if self.plan.has(*CLOUD_INIT) and (not self.state.exists or self.state.seed_path is None):
            place = volumes.of_guest(str(self.state.seed_pool(self.spec)), self.spec.name, SEED_DISK, volumes.BLOCK)
            self.made[SEED_DISK] = RecordedVolume(place, is_fresh=not self.state.exists)

    def _driver(self, volume: Volume) -> Driver:
        driver = drivers_of(self.work.host).get(volume.pool)
        if driver is None:
            raise ApplyError(f"the storage pool {volume.pool} has no driver on this host")
        return driver

    def _remove(self, volume: Volume) -> None:
        driver = self._driver(volume)
        driver.retire(volume)
        driver.purge(volume)

    def claims(self, *, is_final: bool) -> dict[str, t.Any]:
        if is_final:
            names = {"names": self._names(removed=self._removed())} if self.state.exists else {}
            return {**names, **self._addresses}
        known = self.own.record.volumes_with({**self.adopted, **self.made})
        kept = dict.fromkeys((*self.own.record.reservations, *own_reservations(self.given, self.state)))
        claims = {"volumes": known, "reservations": tuple(kept)}
        if self.state.exists:
            return {**claims, "names": self._names(), "files": self._files()}
        install = self._installer.begun(time.time()) if self.plan.has(INSTALL) else None
        new = {"uuid": self._uuid, "presets": self.state.presets, "install": install}
        return {**claims, **new, "names": {}, "files": self._files()}

    @property
    def _installer(self) -> Installer:
        return t.cast(Installer, installer_of(self.spec.values))

    @functools.cached_property
    def given(self) -> dict[str, Given]:
        """The cards that have a fixed address once the run is over, by name."""
        return given(self.spec, self.state, self.plan)

    @property
    def _addresses(self) -> dict[str, t.Any]:
        return {
            "addresses": {name: its.address for name, its in self.given.items()},
            "addresses6": given6(self.spec, self.state, self.plan),
        }

    def settle_addresses(self) -> Steps:
        wanted = own_reservations(self.given, self.state)
        names = {its.kept: name for name, its in self.given.items() if its.kept}
        for kept in self.own.record.reservations:
            if kept not in wanted and reserving.give_up(self.work.host, kept):
                yield Step(f"{kept.ip} on {kept.bridge} given up")
        for kept in wanted:
            if reserving.keep(self.work.host, kept, self.spec.name, names[kept]):
                yield Step(f"{kept.ip} on {kept.bridge} kept")
        self.own.save(reservations=wanted, **self._addresses)
        for name in self.given if self.state.live else ():
            path = f"networks[{name}].ip"
            change = self.plan.get(path)
            if change is not None and change.how is How.NEXT_BOOT:
                self._note_declined(path)

    def free_addresses(self) -> Steps:
        for kept in self.own.record.reservations:
            if reserving.give_up(self.work.host, kept):
                yield Step(f"{kept.ip} on {kept.bridge} given up")
        if self.own.record.reservations:
            self.own.save(reservations=())

    def _files(self) -> dict[str, RecordedFile]:
        """What the machine remembers beside its disks and is ours, with what this run gives it."""
        files = dict(self.own.record.files)
        new = {NVRAM: self._new_nvram(), TPM: self._new_tpm()}
        for word, path in new.items():
            known = {name: its.path for name, its in files.items()}
            is_there = path in self.state.remembered
            # What somebody else has left where the TPM of this machine has its place stays theirs.
            if path and path not in known.values() and not (self.state.exists and is_there):
                is_fresh = not (self.state.exists or is_there)
                files[recorded_as(word, path, known)] = RecordedFile(path, is_fresh=is_fresh)
        return files

    def _new_nvram(self) -> str:
        """The UEFI variables that a new machine gets, or one that starts by another firmware; empty where there are none."""
        if not self.state.exists and self._cloned_nvram:
            return self._cloned_nvram
        way = self._new_way
        return nvram_of(self.spec.name, way) if way is not None and way.is_uefi else ""

    @property
    def _new_way(self) -> Way | None:
        """By what the machine starts from now on; ``None`` where its definition says so already, whatever waits for a restart."""
        way, now = way_after(self.spec, self.state), self.state.persistent.values if self.state.exists else {}
        is_same = all(now.get(path, Way().values[path]) == value for path, value in way.values.items())
        return way if self.plan.has(*PATHS) and not is_same else None

    @property
    def _cloned_nvram(self) -> str:
        """Where a clone has UEFI variables."""
        beside = self.state.source.beside if self.state.source else {}
        return own_nvram(self.spec.name, beside[NVRAM]) if NVRAM in beside else ""

    def _new_tpm(self) -> str:
        now = self.state.persistent.values["tpm.version"] if self.state.exists else ""
        if now or not self.plan.has("tpm.version") or not self.wanted("tpm.version"):
            return ""
        return tpm_folder(self.state.persistent.domain.uuid if self.state.exists else self._uuid)

    def _removed(self) -> set[tuple[str, str]]:
        """The devices that this run has taken away, by list and name."""
        items = [(change, *split(change.path)) for change in self.plan.changes]
        return {(area, name) for change, area, name, key in items if name and not key and change.after is None}

    @functools.cached_property
    def _uuid(self) -> str:
        # libvirt keeps the state of a TPM by it.
        kept = kept_tpm(self.state) if self.plan.has(TPM) else None
        return uuid_of_tpm(kept) if kept else str(uuid.uuid4())

    def _names(self, removed: t.Collection[tuple[str, str]] = ()) -> dict[str, dict[str, str]]:
        """The names of devices that do not bear one themselves, in the lists that are declared.

        Those that nobody declares keep their places too: what goes beside them moves none of them to another name.
        """
        names = {area: dict(its) for area, its in self.own.record.names.items()}
        for area in VmKind.areas:
            if area in self.spec.lists:
                gone = [name for its, name in removed if its == area]
                names[area] = noted_names(names.get(area, {}), self.defined(area), gone)
        return names

    def clear(self) -> Steps:
        if self.own.record.holds is not None:
            self._let_go(self.own.record.holds)
            yield Step("held guest released")
        drivers = drivers_of(self.work.host)
        for recorded in self.own.record.volumes.values():
            if recorded.volume.pool in drivers:
                # A run that was killed may have left a part of a seed, and secrets in it.
                drivers[recorded.volume.pool].purge(recorded.volume)
        if not self.own.record.is_building:
            return
        domain = self.work.host.domains.get(self.spec.name)
        if domain is not None and self.state.power != "absent" and self.spec.state != "absent":
            self._undefine(domain)
            yield Step("half-made domain removed")
        known = dict(self.own.record.volumes)
        for name in [name for name, recorded in known.items() if recorded.is_fresh]:
            self._remove(known.pop(name).volume)
        files = dict(self.own.record.files)
        for name in [name for name, recorded in files.items() if recorded.is_fresh]:
            _remove_file(name, files.pop(name).path)
        installing.clear(self.spec.name)
        self.own.save(volumes=known, files=files, install=None)
        yield Step("half-made volumes removed")

    # -- power

    def stop(self) -> None:
        power.stop(self.domain, self.spec, self.own)

    def start(self) -> None:
        power.start(self.domain, self.own, once=self._boots_once())

    def _boots_once(self) -> tuple[str, tuple[str, ...]] | None:
        """The definition with the device before all others that the machine boots from for once, and its own order."""
        name = self.spec.get("boot.once")
        if name is None:
            return None
        root = domain_xml.parse(self._lasting_xml())
        lasting = self.state.persistent.values["boot.order"] if self.state.exists else ()
        order: tuple[str, ...] = self.wanted("boot.order") if self.plan.has("boot.order") else lasting
        # Without an order it boots from its first disk. In an order that names devices nothing else is booted from.
        disks = [its for area, its in self._nodes(root) if area == "disks" and its != SEED_DISK]
        rest = [its for its in order if not its.startswith("class:")] or disks[:1]
        self._write_boot_order(root, list(dict.fromkeys((name, *rest))))
        return domain_xml.to_text(root), order

    def switch(self, now: str, target: str) -> None:
        if target == "suspended":
            power.suspend(self.domain)
        elif now == "stopped":
            power.start(self.domain, self.own, paused=target == "paused", once=self._boots_once())
        elif target == "paused":
            power.pause(self.domain)
        else:
            power.resume(self.domain)

    # -- what runs

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
                    self._attach_for(disk.read(node))
                self._attach_where_it_fits(node, lambda: (area, name) in _named_nodes(self._live_root()))
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

    def _attach_for(self, device: disk.Disk) -> None:
        """Plug in the controller that a disk or a drive needs, and begin the thread that serves it."""
        root, library = self._live_root(), libraries.libvirt()
        if device.bus == "scsi" and not controller.has_scsi(root):
            xml = domain_xml.to_text(controller.build_scsi())
            self.domain.attachDeviceFlags(xml, library.VIR_DOMAIN_AFFECT_LIVE)
        number = device.value("iothread")
        if number and number not in threads.numbers(root):
            self.domain.addIOThread(number, library.VIR_DOMAIN_AFFECT_LIVE)

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
        if ("devices", name) not in _named_nodes(self._live_root()):
            node = self._nodes(domain_xml.parse(self._lasting_xml()))["devices", name]
            self._attach_where_it_fits(node, lambda: ("devices", name) in _named_nodes(self._live_root()))

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

    # -- what lasts

    def make_volumes(self) -> Steps:
        new = {**self.made, **self.adopted}
        wanted = [item for item in self.spec.wanted("disks") if item.name in new]
        items = {
            item.name: new_item("disks", item, self.state.formats, self._variant, self.state.image_presets)
            for item in wanted
        }
        cloned = {name: its.volume for name, its in self.made.items() if name in self._cloned}
        if cloned:
            yield from self._clone_disks(cloned, items)
        for name, recorded in self.made.items():
            volume = recorded.volume
            if name not in (SEED_DISK, *cloned) and not self._driver(volume).exists(volume):
                yield from storage.make_volume(self.work, self._driver(volume), volume, items[name].values)
                yield Step(f"volume {name} made")
        yield from (change for change in self.plan.changes if change.path.startswith(COPIES))
        for name, recorded in self.adopted.items():
            size = items[name].get("size")
            if size is not None:
                self._driver(recorded.volume).resize(recorded.volume, size, keep_fds=self.work.held.fds)
                yield Step(f"volume {name} taken")
        self.plan.warnings += storage.refresh(self.work, [recorded.volume.pool for recorded in new.values()])

    @property
    def _cloned(self) -> t.Collection[str]:
        """The disks that a new machine has of its origin."""
        return self.state.source.parts if self.state.source and not self.state.exists else ()

    def _clone_disks(self, targets: t.Mapping[str, Volume], items: t.Mapping[str, Item]) -> Steps:
        source, origin = t.cast(Source, self.state.source), t.cast(Origin, self.own.record.origin)
        attempts: dict[str, Attempt] = {}
        by_itself = (
            [] if source.is_snapshot else copied_by_itself(source.parts, copies_itself=source.content.copies_itself)
        )
        try:
            with self._held(origin.guest, source, is_copying=bool(by_itself)):
                copies = {}
                for name in by_itself:
                    disk = self._origin_of(name)
                    size, form = source.sizes[name], str(items[name].get("format"))
                    attempts[name] = self._driver(targets[name]).create(
                        targets[name], size=size, format=form, keep_fds=self.work.held.fds
                    )
                    copies[disk.path] = attempts[name]
                with self._still(origin.guest, source):
                    if copies:
                        backup.begin(self.work.host.domains[origin.guest], copies)
                    for name, volume in targets.items():
                        if name not in attempts:
                            attempts[name] = self._begin_clone(name, volume, items[name], is_linked=origin.is_linked)
                            yield Step(f"{name} cloned")
                    if place := source.beside.get(NVRAM):
                        beside.keep(place, self._cloned_nvram)
                        yield Step("nvram copied")
                if copies:
                    yield Step("copies begun")
                    backup.finish(self.work.host.domains[origin.guest])
            for name, attempt in attempts.items():
                driver, size = self._driver(attempt.volume), items[name].get("size")
                driver.publish(attempt)
                if size is not None and size > (source.sizes[name] or 0) and not origin.is_linked:
                    driver.resize(attempt.volume, size, keep_fds=self.work.held.fds)
                yield Step(f"volume {name} made")
        except Exception:
            # A disk that did not fit would keep its pool full.
            for volume in targets.values():
                self._driver(volume).purge(volume)
            raise

    def _origin_of(self, name: str) -> DiskSource:
        volume = t.cast(Source, self.state.source).parts[name].volume
        return self._driver(volume).disk_source(volume)

    def _begin_clone(self, name: str, volume: Volume, item: Item, *, is_linked: bool) -> Attempt:
        origin = t.cast(Source, self.state.source).parts[name].volume
        return cloning.begin(
            self._driver(volume),
            volume,
            self._driver(origin),
            origin,
            is_linked=is_linked,
            size=item.get("size"),
            format=item.get("format"),
            keep_fds=self.work.held.fds,
        )

    @contextlib.contextmanager
    def _held(self, name: str, source: Source, *, is_copying: bool) -> t.Iterator[None]:
        """Our record says of a running machine that it is held or copies itself: who was killed ends that in the next run."""
        if not (source.is_held or is_copying or (source.runs and source.content.has_agent)):
            yield
            return
        with lock.holding(name):
            self.own.save(holds=name)
            try:
                yield
            finally:
                self.own.save(holds=None)

    @contextlib.contextmanager
    def _still(self, name: str, source: Source) -> t.Iterator[None]:
        has_agent = source.runs and source.content.has_agent
        if not (source.is_held or has_agent):
            yield
            return
        domain, is_frozen = self.work.host.domains[name], False
        try:
            is_frozen = stillness.hold(domain, stops=source.is_held, has_agent=has_agent, warnings=self.plan.warnings)
            yield
        finally:
            stillness.release(domain, stopped=source.is_held, is_frozen=is_frozen)

    def _let_go(self, name: str) -> None:
        """End what a run that was killed has begun on the machine *name*."""
        with lock.holding(name):
            domain = self.work.host.domains.get(name)
            if domain is not None:
                ours = [its.volume for its in self.own.record.volumes.values() if its.is_fresh]
                backup.end(domain, [t.cast(Snapshotting, self._driver(volume)).attempts_at(volume) for volume in ours])
                stillness.release(domain, stopped=True, is_frozen=False)
            self.own.save(holds=None)

    def resize(self, change: Change) -> None:
        name, size = split(change.path)[1], self.wanted(change.path)
        device, plugged = self.state.persistent.disks[name], self._running("disks").get(name)
        if change.how is How.LIVE and plugged is not None and plugged.source == device.source:
            with errors_of(f"grow the disk {device.target} of {self.spec.name}", ApplyError):
                self.domain.blockResize(plugged.target, size, libraries.libvirt().VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        elif self._is_ours(name, device.source):
            volume = self.own.record.volumes[name].volume
            self._driver(volume).resize(volume, size, keep_fds=self.work.held.fds)
        else:
            storage.grow(self.work, device.source, str(device.value("format")), size)
        self.plan.warnings += storage.refresh(self.work, [device.value("pool")])

    def _is_ours(self, name: str, path: str | None) -> bool:
        """Whether the disk that is on *path* is on a volume of ours."""
        recorded = self.own.record.volumes.get(name)
        driver = drivers_of(self.work.host).get(recorded.volume.pool) if recorded else None
        return recorded is not None and driver is not None and driver.location(recorded.volume) == path

    def protect(self, *, is_read_only: bool) -> None:
        for name, recorded in self.own.record.volumes.items():
            driver = self._driver(recorded.volume)
            if name != SEED_DISK and driver.exists(recorded.volume):
                driver.protect(recorded.volume, is_read_only=is_read_only)

    def write_files(self, changes: t.Sequence[Change]) -> Steps:
        if not changes and not self._tells_addresses:
            return
        lasting = self.state.persistent.values if self.state.exists and self.state.seed_path else {}
        values = seed.merged(
            self.spec.values, {key: lasting[key] for key in CLOUD_INIT if key in lasting}, self.spec.unset
        )
        files = self._seed_files(values, self.state.seed_instance)
        if self.spec.get("cloud_init.on_change") == NEW_INSTANCE and self.state.exists and self.state.seed_path:
            files = self._seed_files(values, seed.another_instance(self.spec.name, files, self.state.seed_instance))
        data = seed.build(files)
        if SEED_DISK in self.made or self._is_ours(SEED_DISK, self.state.seed_path):
            volume = self.own.record.volumes[SEED_DISK].volume
            self._driver(volume).write(volume, data)
            self.plan.warnings += storage.refresh(self.work, [volume.pool])
        else:
            atomic.write_file(str(self.state.seed_path), data, mode=0o600)
        yield Step("seed made")

    def _seed_files(self, values: t.Mapping[str, t.Any], instance: str | None) -> dict[str, str]:
        is_clone, reader = self.own.record.origin is not None, self.state.presets.seed
        cards = seed_cards(self.spec, self.state, self.plan)
        return seed.render(self.spec.name, values, cards, is_clone=is_clone, reader=reader, instance=instance)

    def has_files_plugged_in(self) -> bool:
        return SEED_DISK not in self.made

    @property
    def _tells_addresses(self) -> bool:
        """Whether the plan changes what the seed that is there tells the cards."""
        if not self.state.exists or self.state.seed_path is None or self.spec.leaves_seed:
            return False
        keys = [split(change.path) for change in self.plan.changes]
        names = {name for area, name, key in keys if area == "networks" and key in ("", "ip", "mac", "bridge")}
        cards, nics = seed_cards(self.spec, self.state, self.plan), self.state.persistent.nics
        # One that asks by DHCP, and was told so, finds its way with an older seed too.
        plain = DHCP, ""
        before = {name: nics[name].value("told") for name in names if name in nics}
        told = {name: (cards[name].ip, cards[name].ip6) for name in names if name in cards}
        return any((its, before.get(name, plain)) != (plain, plain) for name, its in told.items())

    def write_definition(self) -> bool:
        if not self.state.exists:
            with errors_of(f"define {self.spec.name}", ApplyError):
                self.domain = self._define(domain_xml.to_text(self._new_definition()))
            return True
        with errors_of(f"read the definition of {self.spec.name}", ApplyError):
            root = domain_xml.parse(self._lasting_xml())
        before = domain_xml.to_text(root)
        self._edit(root)
        if domain_xml.to_text(root) == before:
            return False
        with errors_of(f"change the definition of {self.spec.name}", ApplyError):
            self.domain = self._define(domain_xml.to_text(root))
        return True

    def _lasting_xml(self) -> str:
        library = libraries.libvirt()
        return t.cast(str, self.domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))

    def _new_definition(self) -> Node:
        root = domain_xml.new(self.spec.name, self._uuid, self.state.accelerator, self.spec.get("machine"))
        source, origin = self.state.source, self.own.record.origin
        if source is not None and source.beside and origin is not None:
            like = domain_xml.parse(self.work.host.definition(origin.guest).xml)
            domain_xml.take_firmware(root, like, self._cloned_nvram)
        self._edit(root)
        domain_xml.add_ports(root)
        return root

    def _edit(self, root: Node) -> None:
        """Every change of the plan that the definition holds, however it reaches the running machine."""
        nodes = self._nodes(root)
        for change in self.plan.changes:
            if change.path not in OPTIONS or OPTIONS[change.path].home != DEFINITION or change.path == "boot.order":
                continue
            area, name, key = split(change.path)
            node = nodes.get((area, name)) if name else root
            if name and not key:
                self._edit_item(root, area, name, node, change)
            elif node is None:
                raise ApplyError(f"{area}[{name}] of {self.spec.name} is gone by now. Run it again")
            else:
                if pattern(change.path) in _KNOWN_BY:
                    set_name(node, name)
                WRITE[pattern(change.path)](self, node, self.wanted(change.path))
        if SEED_DISK in self.made:
            volume = self.made[SEED_DISK].volume
            place = self._driver(volume).disk_source(volume).path
            self._add_seed(root, place)
        if self.plan.has("boot.order"):
            WRITE["boot.order"](self, root, self.wanted("boot.order"))

    def _add_seed(self, root: Node, place: str) -> None:
        bus = self.state.presets.bus or _SEED_BUS
        if bus == "sata":
            # A disk there cannot be read-only.
            domain_xml.add_cdrom(root, SEED_DISK, {"bus": bus, "source": place}, self.taken)
        else:
            domain_xml.add_disk(root, SEED_DISK, place, {"format": "raw", "bus": bus, "readonly": True}, self.taken)

    def _edit_item(self, root: Node, area: str, name: str, node: Node | None, change: Change) -> None:
        if change.after is None:
            if node is not None:
                node.getparent().remove(node)
        elif node is None:
            item = self.spec.item(area, name)
            if item is None:
                raise ApplyError(f"{area}[{name}] of {self.spec.name} is planned and not declared")
            full = new_item(area, item, self.state.formats, self._variant, self.state.image_presets)
            if area == "networks":
                tap = link_name(self.spec.name, name, self.work.host.links)
                domain_xml.add_nic(root, name, {**full.values, "mac": change.after["mac"]}, tap)
            elif area == "cdroms":
                domain_xml.add_cdrom(root, name, full.values, self.taken)
            elif area == "shares":
                domain_xml.add_share(root, name, full.values)
            elif area == "devices":
                domain_xml.add_device(root, name, self._device_source(name), full.values)
            else:
                self._add_disk(root, full)

    def _device_source(self, name: str) -> hostdev.Source:
        return self.state.device_sources[name]

    def _write_device(self, node: Node, dummy: t.Any) -> None:
        """All that says which device of the host it is."""
        hostdev.write_source(node, self._device_source(t.cast(str, name_of(node))))

    def _add_disk(self, root: Node, item: Item) -> None:
        source = item.text("source")
        if source is not None:
            domain_xml.add_disk(root, item.name, source, item.values, self.taken)
            return
        volume = {**self.made, **self.adopted}[item.name].volume
        place = self._driver(volume).disk_source(volume)
        domain_xml.add_disk(root, item.name, place.path, {**item.values, "format": place.format}, self.taken)

    def _nodes(self, root: Node) -> dict[tuple[str, str], Node]:
        """The devices in *root* by list and name."""
        found = {}
        for area in VmKind.areas:
            for name, device in self.defined(area).items():
                node = domain_xml.FIND[area](root, device.ident)
                if node is not None:
                    found[area, name] = node
        return {**found, **_named_nodes(root)}

    def _write_firmware(self, root: Node, dummy: t.Any) -> None:
        """All that says by what the machine starts. A clone has it of its origin."""
        if not self.state.exists and self._cloned_nvram:
            return
        way = self._new_way
        if way is not None:
            firmware_xml.write(root, way, nvram_of(self.spec.name, way))

    def _write_bus(self, node: Node, bus: str) -> None:
        disk.write_bus(node, bus, self.taken)

    def _write_variant(self, root: Node, value: str) -> None:
        variant.write(root, value, self.state.hyperv)

    def _write_boot_order(self, root: Node, names: t.Sequence[str]) -> None:
        nodes = {name: node for (dummy, name), node in self._nodes(root).items()}
        boot.write_order(root, [nodes[name] for name in names if name in nodes])

    def set_flag(self, change: Change) -> None:
        with errors_of(f"set {change.path} of {self.spec.name}", ApplyError):
            FLAGS[change.path](self, self.wanted(change.path))

    def _set_autostart(self, value: bool) -> None:
        self.domain.setAutostart(int(value))

    # -- an installer

    def begin_installation(self) -> None:
        installing.begin(self.work.host, self.domain, self._installer)

    def end_installation(self) -> None:
        installing.clear(self.spec.name)

    # -- removal

    def stop_for_good(self) -> None:
        # Nothing is lost by a hard stop where the disks go as well, or where the guest never ran.
        is_lost = "disks" in self.spec.delete or not self.state.exists or self.state.is_left_to_installer
        power.stop(self.domain, self.spec, self.own, hard=is_lost)

    def undefine(self) -> None:
        self._undefine(self.domain)
        installing.clear(self.spec.name)

    def _undefine(self, domain: t.Any) -> None:
        library = libraries.libvirt()
        flags = library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | library.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        if "snapshots" in self.spec.delete:
            flags |= library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        with errors_of(f"undefine {self.spec.name}", ApplyError):
            if domain.isActive():
                domain.destroy()
            # Without the word for it libvirt removes what a TPM has sealed the disks with.
            domain.undefineFlags(flags | library.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | library.VIR_DOMAIN_UNDEFINE_KEEP_TPM)

    def remove_volume(self, name: str) -> None:
        if name in self.own.record.files:
            _remove_file(name, self.own.record.files[name].path)
            return
        volume = self.own.record.volumes[name].volume
        self._remove(volume)
        self.plan.warnings += storage.refresh(self.work, [volume.pool])

    def remove_snapshot(self, name: str) -> None:
        volumes = self.own.record.snapshots[name].volumes.values()
        for volume in volumes:
            self._remove(volume)
        beside.remove(self.spec.name, name)
        self.plan.warnings += storage.refresh(self.work, {volume.pool for volume in volumes})


def _remove_file(name: str, path: str) -> None:
    """Delete what a record calls *name*: the folder of a TPM, or a file."""
    if word_of(name) != TPM:
        atomic.remove_file(path)
    elif os.path.isdir(path):
        remove_tree(path)


def _named_nodes(root: Node) -> dict[tuple[str, str], Node]:
    """The devices that bear a name of their own, by list and name."""
    found = {}
    for tag, area in domain_xml.TAGS.items():
        for node in root.iterfind(f"devices/{tag}"):
            name = name_of(node)
            if name is not None:
                found["cdroms" if tag == "disk" and cdrom.is_drive(node) else area, name] = node
    return found


def _comes_true(ask: t.Callable[[], bool], seconds: float) -> bool:
    try:
        return wait_until("the guest to answer", ask, timeout_seconds=seconds)
    except WaitTimeout:
        return False


def _on_node(write: t.Callable[[Node, t.Any], None]) -> t.Callable[[VmBackend, Node, t.Any], None]:
    return lambda backend, node, value: write(node, value)


# Each option that the definition holds, on the whole document or on the node of its item.
WRITE: dict[str, t.Callable[[VmBackend, Node, t.Any], None]] = {
    **{path: _on_node(write) for path, write in domain_xml.WRITE.items()},
    **{f"disks[].{key}": _on_node(write) for key, write in disk.WRITE.items()},
    **{f"cdroms[].{key}": _on_node(write) for key, write in cdrom.WRITE.items()},
    **{f"networks[].{key}": _on_node(write) for key, write in nic.WRITE.items()},
    **dict.fromkeys(PATHS, VmBackend._write_firmware),
    "disks[].bus": VmBackend._write_bus,
    "cdroms[].bus": VmBackend._write_bus,
    **{f"shares[].{key}": _on_node(write) for key, write in filesystem.WRITE.items()},
    **{f"devices[].{key}": VmBackend._write_device for key in ("type", *DEVICE_REFS)},
    "devices[].optional": _on_node(hostdev.write_optional),
    "boot.order": VmBackend._write_boot_order,
    "os_variant": VmBackend._write_variant,
}
# Each flag that libvirt keeps beside the definition.
FLAGS: dict[str, t.Callable[[VmBackend, t.Any], None]] = {"autostart": VmBackend._set_autostart}
# Each option that changes while the machine runs: the device of its item, and the value.
LIVE: dict[str, t.Callable[[VmBackend, t.Any, t.Any], None]] = {
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
