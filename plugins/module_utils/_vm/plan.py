# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a virtual machine, beyond what it shares with every guest."""

from __future__ import annotations

import typing as t

from .._core import keyed
from .._core.decide import SAME, Draft
from .._core.errors import SpecError
from .._core.keyed import Show, Thing
from .._core.options import CREATION, Item, split
from .._core.plan import UNKNOWN, How, Plan
from .._core.units import show_size
from .._guest.device import PCI
from .._guest.installing import INSTALL
from .._guest.plan import is_half_made, plan_guest, refuse
from .._guest.state import Side
from .._image.plan import copy_path
from .address_plan import AddressPlan
from .addressing import as_compared, is_unsettled
from .bus_plan import BusPlan
from .firmware import PATHS, word_of
from .firmware_plan import TPM_PATHS, FirmwarePlan
from .hardware_plan import HardwarePlan
from .installer import installer_of
from .naming import has_new_name
from .options import CLOUD_INIT, IGNORE, NEW_INSTANCE, OPTIONS, PCI_MODELS, SEED_DISK
from .readers import obstacles, reader_of
from .spec import (
    DEVICE_REFS,
    DEVICES,
    WORDS,
    Spec,
    acts_early,
    check_limits,
    new_item,
    reads_only,
    shared_name,
    with_create_defaults,
    with_presets,
    with_source,
)
from .state import State, VmSide
from .together import ODD, values_of, written_keys
from .xml import machine, tpm
from .xml.cdrom import Cdrom
from .xml.disk import LIMITS, Disk, controller_of, plugs_live
from .xml.hostdev import Hostdev, marks_of
from .xml.nic import Nic

_NO_PORT = "none of its PCI Express ports is free"
# What takes a port of its own.
_CARDS = {"rng", "vsock"}


def plan_vm(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure.

    :raises SpecError: where something is missing that a new guest, disk or network card needs.
    """
    kind = VmKind(spec, state)
    plan = plan_guest(kind)
    if spec.state != "absent" and not state.other_kind and is_unsettled(kind.spec, state, plan):
        plan.notes.append("networks")
    for change in plan.changes:
        if change.how is How.NEXT_BOOT and change.path in kind.waiting:
            plan.warnings.append(f"{change.path}: it comes with the next start, as {kind.waiting[change.path]}")
    return plan


class VmKind(FirmwarePlan, HardwarePlan, AddressPlan, BusPlan):
    """See ``_guest.plan.Kind``."""

    word = "vm"
    options = OPTIONS
    areas = DEVICES
    # QEMU's own range.
    mac_prefix = "52:54:00"
    spec: Spec
    state: State

    def __init__(self, spec: Spec, state: State) -> None:
        super().__init__(as_compared(spec, state), state)
        # What cannot be plugged in while it runs, by path, with why.
        self.waiting: dict[str, str] = {}

    # -- a new guest and its items

    def created(self) -> Spec:
        wanted = with_presets(with_source(self.spec, self.state.source), self.state.presets)
        return with_create_defaults(wanted, self.state.formats, self.state.image_presets)

    def created_item(self, area: str, item: Item) -> Item:
        return new_item(area, item, self.state.formats, self.state.variant(self.spec), self.state.image_presets)

    def plan_creation(self, draft: Draft) -> None:
        if self.state.accelerator != "kvm" and self.state.accelerator_reason:
            draft.plan.warnings.append(f"{self.spec.name} will be emulated, and slow: {self.state.accelerator_reason}")
        if self.state.source is not None and self.state.source.parts:
            self._say_what_stays(draft)
            self._plan_firmware(draft, self.state.source.beside)
        self._check_memory(draft)
        self._plan_installer(draft)

    def _plan_installer(self, draft: Draft) -> None:
        """An installer writes to whatever disk it finds: it is begun where all of them are made for it."""
        installer = installer_of(self.spec.values)
        if installer is None:
            return
        disks = [item for item in self.spec.wanted("disks") if not ("source" in item.values and reads_only(item, None))]
        if not disks:
            raise SpecError("install: needs a disk that the system is installed on", key="install")
        if installer.answer and not installer.text:
            raise SpecError("install.answer_text: is needed for the answer", key="install.answer_text")
        least, size = installer.kind.least_bytes if installer.kind else 0, disks[0].get("size")
        if size is not None and int(size) < least:
            path = f"disks[{disks[0].name}].size"
            raise SpecError(f"{path}: the installer ({installer.answer}) takes no disk under {least} bytes", key=path)
        there = [item.name for item in disks if "source" in item.values or self._found(item) is not None]
        if there and there[0] == disks[0].name:
            draft.plan.warnings.append(
                f"install: nothing is installed, as disks[{there[0]}] has been there before and is taken as it is"
            )
        elif there and not installer.is_asked:
            reason = f"install: disks[{there[0]}] has been there before, and an installer may write to any disk. Add it when the system is installed"
            refuse(draft, INSTALL, None, installer.source, reason)
        elif self.state.installer_obstacle is not None:
            refuse(draft, INSTALL, None, installer.source, self.state.installer_obstacle)
        else:
            draft.add(INSTALL, None, installer.source, How.OFFLINE)

    def _say_what_stays(self, draft: Draft) -> None:
        """What identifies the origin inside its disks, which nobody opens here, and what its seed cannot make anew in time."""
        origin, name = self.spec.origin, self.spec.name
        reader = reader_of(self.state.presets.seed)
        if self.spec.has_seed and reader is not None and not reader.has_vendor_data:
            draft.plan.warnings.append(
                f"{reader.name} does not make anew what identifies a system: what of that lies inside the disks of {name} is that of {origin}"
            )
        elif not self.spec.has_seed:
            draft.plan.warnings.append(
                f"{name} has no seed (cloud_init). The host name, the ssh host keys and /etc/machine-id inside its disks stay what they are on "
                f"{origin}: leave them empty there before it is cloned, or run virt-sysprep on the disks of {name}"
            )
        elif not acts_early(self.spec.values):
            why = "meta_data" if "cloud_init.meta_data" in self.spec.values else "user_data"
            way = " Write dsmode: local in it where it can." if why == "meta_data" else ""
            draft.plan.warnings.append(
                f"cloud_init.{why}: cloud-init makes the /etc/machine-id of {name} anew when its network is up, as this may need it. "
                f"{name} asks for its first address as {origin} does, where DHCP goes by that id.{way}"
            )

    def details(self, draft: Draft, area: str, item: Item, *, is_live: bool) -> Show | None:
        other = self._other_area_with(item.name)
        if other is not None:
            raise SpecError(shared_name(area, item.name, other), key=f"{area}[{item.name}]")
        if area == "devices":
            return self._device_details(new_item(area, item))
        if area != "disks":
            return super().details(draft, area, item, is_live=is_live)
        full = self.created_item(area, item)
        if "source" in full.values:
            return full.values
        if not self._can_be_made(draft, full):
            return None
        self._plan_copy(draft, full)
        return self._volume_details(full)

    def _other_area_with(self, name: str) -> str | None:
        """The list in which another device stands by the name of a new one."""
        persistent = self.state.persistent if self.state.exists else None
        return next((area for area in self.areas if persistent and name in persistent.things(area)), None)

    def _device_details(self, item: Item) -> Show:
        source = self.state.device_sources.get(item.name)
        place = {"address": source.address} if source is not None and source.address else {}
        return {**item.values, **place}

    def _plan_copy(self, draft: Draft, item: Item) -> None:
        """The copy of its image that the disk is cloned from, where this guest is the first that needs it."""
        image, pool = item.text("image") or "", item.text("pool") or ""
        copy, path = self.state.missing_copies.get((pool, image)), copy_path(image, pool)
        if copy is not None and item.name not in self.state.found and not draft.plan.has(path):
            draft.add(path, None, str(copy))

    def _volume_details(self, item: Item) -> dict[str, t.Any]:
        """The keys of a disk whose volume is made or taken, with what is only known of the host."""
        found, image = self._found(item), item.text("image")
        details = {key: value for key, value in item.values.items() if OPTIONS[f"disks[].{key}"].home != CREATION}
        if "size" not in details:
            details["size"] = found.size if found else self.state.image_sizes.get(image or "", UNKNOWN)
        if image is not None and item.name not in self.state.found:
            details["image"] = image
        return details

    def _found(self, item: Item) -> t.Any:
        """The volume that stands where this one would be made. What an interrupted creation made is made anew."""
        return None if is_half_made(self.state, item.name) else self.state.found.get(item.name)

    def _can_be_made(self, draft: Draft, item: Item) -> bool:
        """Whether the volume of a new disk can be made or taken; where not, the plan says so."""
        path, pool = f"disks[{item.name}]", item.text("pool") or ""
        if pool in self.state.other_pools:
            kind = self.state.other_pools[pool]
            reason = f"{path}.pool: {pool} is of type {kind}. A disk is a file, and needs a pool that is a folder"
            refuse(draft, f"{path}.pool", None, pool, reason)
            return False
        formats = self.state.formats.get(pool)
        if formats is not None and item.get("format") not in formats:
            reason = f"{path}.format: a disk in the pool {pool} is {' or '.join(formats)}"
            refuse(draft, f"{path}.format", None, item.get("format"), reason)
            return False
        found = self._found(item)
        if found is not None:
            return self._can_be_taken(draft, item, found)
        image, size = item.text("image"), item.get("size")
        origin = self.state.source.sizes.get(item.name) if self.state.source else None
        if origin is not None and size is not None and size < origin:
            reason = (
                f"{path}.size: {show_size(size)} is less than the disk of {self.spec.origin} has ({show_size(origin)})"
            )
            refuse(draft, f"{path}.size", show_size(origin), show_size(size), reason)
            return False
        its = self.state.source.items.get(item.name, {}) if self.state.source else {}
        if "format" in its and item.get("format") != its["format"]:
            reason = f"{path}.format: a clone in the pool of its origin is {its['format']} here, as its origin or as what stands on it"
            refuse(draft, f"{path}.format", its["format"], item.get("format"), reason)
            return False
        if image is None and size is None:
            raise SpecError(f"{path}.size: is needed to make an empty disk", key=f"{path}.size")
        least = self.state.image_sizes.get(image or "", 0)
        if size is not None and size < least:
            reason = f"{path}.size: {show_size(size)} is less than the image {image} has ({show_size(least)})"
            refuse(draft, f"{path}.size", show_size(least), show_size(size), reason)
            return False
        return True

    def _can_be_taken(self, draft: Draft, item: Item, found: t.Any) -> bool:
        path, size, format_ = f"disks[{item.name}]", item.get("size"), item.get("format")
        if found.obstacle is not None:
            refuse(draft, path, found.path, None, f"{path}: {found.path} cannot be used, as {found.obstacle}")
            return False
        if found.format != format_:
            reason = f"{path}.format: {found.path} is there and is {found.format}, not {format_}"
            refuse(draft, f"{path}.format", found.format, format_, reason)
            return False
        if size is not None and size < found.size:
            reason = f"{path}.size: {found.path} is there with {show_size(found.size)}; a disk is never made smaller"
            refuse(draft, f"{path}.size", show_size(found.size), show_size(size), reason)
            return False
        if (self.state.exists and found.is_ours) or "adopt" in draft.allow:
            return True
        whose = "kept of an earlier guest of this name" if found.is_ours else "not made for this guest"
        reason = f"{path}: {found.path} is there already, {whose}. Move it away, or use it"
        refuse(draft, path, found.path, None, reason, permit="adopt")
        return False

    # -- a guest that stands

    def beyond_live(self) -> set[str]:
        live = self.state.live
        if live is None:
            return set()
        beyond = {
            path
            for path, limit in ((self.spec.cores_path, "cpu.max_cores"), ("memory", "memory_max"))
            if self.spec.get(path, 0) > live.values[limit]
        }
        if not live.domain.has_balloon:
            beyond.add("memory")
        if not live.domain.has_channels:
            beyond.add("agent")
        beyond |= {f"disks[{name}]" for name, disk in live.disks.items() if not disk.plugs_live}
        beyond |= {f"cdroms[{name}]" for name, drive in live.cdroms.items() if not drive.plugs_live}
        # QEMU limits no drive without a medium while it runs.
        empty = [name for name, disk in live.disks.items() if disk.value("source") is None]
        beyond |= {f"disks[{name}].{key}" for name in empty for key in LIMITS}
        screen = self.spec.get("graphics.type", self.state.persistent.values.get("graphics.type"))
        if screen != live.values.get("graphics.type"):
            beyond.add("graphics.password")
        if not live.domain.has_usb:
            beyond.add("tablet")
        if not live.domain.plugs_pci_live:
            beyond |= _CARDS
            beyond |= {f"disks[{name}]" for name, disk in live.disks.items() if disk.bus == "virtio"}
            beyond |= {f"networks[{name}]" for name in live.nics} | {f"shares[{name}]" for name in live.shares}
            beyond |= {f"devices[{name}]" for name, its in live.devices.items() if its.value("type") == PCI}
        beyond |= {f"networks[{name}].bridge" for name, nic in live.nics.items() if not nic.is_on_bridge}
        # A seed is read at the start, a DHCP server says the same to whoever asks.
        is_told = self.state.seed_path is not None
        beyond |= {
            f"networks[{name}].ip"
            for name, nic in live.nics.items()
            if is_told and nic.value("bridge") not in self.state.servers
        }
        self.waiting = self._waiting_items(live)
        return beyond | set(self.waiting)

    def _waiting_items(self, live: VmSide) -> dict[str, str]:
        """What is new and cannot be plugged in while it runs, by path, each with why, as a part of a sentence."""
        waiting: dict[str, str] = {}
        domain, ports, numbers = live.domain, live.domain.free_ports, live.domain.scsi_numbers
        targets = self._targets(live)
        cards = [path for path in sorted(_CARDS) if self.spec.get(path) and not live.values[path]]
        if ports is not None:
            waiting.update(dict.fromkeys(cards[ports:], _NO_PORT))
            ports = max(ports - len(cards), 0)
        for area, item in self._items_not_running(live):
            bus, path, new = self._bus_of(area, item), f"{area}[{item.name}]", {0}
            if area in ("disks", "cdroms"):
                target = self._target_on(bus, area, item, targets)
                targets.add(target)
                new = {*range(controller_of(target) + 1)} - numbers if bus == "scsi" else new
            if not plugs_live(bus):
                waiting[path] = f"nothing is plugged into {bus} while a machine runs"
            elif area == "cdroms" and not self._has_medium(item):
                waiting[path] = "libvirt plugs in no empty drive while a machine runs"
            elif bus == "usb":
                waiting.update({} if domain.has_usb else {path: "it has no USB controller"})
            elif area == "shares" and not domain.has_shared_memory:
                waiting[path] = "its memory is not shared yet"
            elif area == "devices" and item.name in self.state.device_groups:
                waiting[path] = "the devices of an IOMMU group go to a machine together"
            elif area == "networks" and (model := self._model_of(item)) in PCI_MODELS and not domain.has_pci_slots:
                waiting[path] = f"it has no slot for a card such as {model}"
            elif ports is not None and new:
                ports -= len(new)
                numbers = numbers | new if bus == "scsi" else numbers
                if ports < 0:
                    waiting[path] = _NO_PORT
        return waiting

    def _has_medium(self, item: Item) -> bool:
        """Whether a drive has one: libvirt 9.0 plugs in no empty one."""
        defined = self.state.persistent.cdroms.get(item.name)
        return bool(item.get("source", defined.value("source") if defined else ""))

    def _model_of(self, item: Item) -> str | None:
        defined = self.state.persistent.nics.get(item.name)
        return item.text("model") or (defined.value("model") if defined else None)

    def _items_not_running(self, live: VmSide) -> t.Iterator[tuple[str, Item]]:
        """Those that are declared, and those of which only a key is taken off: what the running machine lacks comes back to it too."""
        for area in self.areas:
            declared = self.spec.items(area)
            unset = [name for its, name, dummy in map(split, self.spec.unset) if its == area]
            known = {*self.state.persistent.things(area)} - {item.name for item in declared}
            items = [*declared, *(Item(name) for name in dict.fromkeys(unset) if name in known)]
            yield from ((area, item) for item in items if item.is_wanted and item.name not in live.things(area))

    def is_asked_again(self, path: str) -> bool:
        """A medium that the guest held goes where that is permitted now, or the guest has opened the tray since."""
        area, name, key = split(path)
        drive = self.state.live.cdroms.get(name) if self.state.live and (area, key) == ("cdroms", "source") else None
        return drive is not None and (drive.is_open or "eject" in self.spec.allow)

    def value(self, side: Side, path: str) -> t.Any:
        found = super().value(side, path)
        # The word alone stands for each of its versions: an upgrade of QEMU is no change.
        declared = self.spec.get(path) if path == "machine" else None
        return declared if declared is not None and declared == machine.family(found) else found

    def may_have(self, draft: Draft, path: str, declared: t.Any) -> bool:
        if path in CLOUD_INIT and self.state.exists and self.spec.get("cloud_init.on_change") == IGNORE:
            return False
        wanted = OPTIONS[path].off if path in draft.unset else declared
        obstacle = self._obstacle_to_value(path, wanted) if self.state.exists else None
        if obstacle:
            row, now = OPTIONS[path], self.state.persistent.values.get(path)
            refuse(draft, path, row.show(now), row.show(wanted), f"{path}: {obstacle}")
            return False
        reason = self.state.obstacles.get(path)
        if reason is None or declared is None:
            return True
        show = OPTIONS[path].show
        before = show(self.state.persistent.values[path]) if self.state.exists else None
        refuse(draft, path, before, show(declared), f"{path}: {_told(show(declared))} is refused, as {reason}")
        return False

    def _obstacle_to_value(self, path: str, wanted: t.Any) -> str | None:
        """Why a machine that stands cannot get the value of one of its own options."""
        name, values = self.spec.name, self.state.persistent.values
        now: t.Any = values.get(path)
        if path == "machine" and machine.family(wanted) != machine.family(now):
            return f"{name} is a {now}, and its devices have the places that they have on one. Make a new machine"
        if path in PATHS and now != wanted and PATHS[1] not in values:
            loader = self.state.persistent.domain.firmware.loader or "a firmware"
            return (
                f"{name} starts by {loader}, of which no descriptor of firmware on this host tells. Change it by hand"
            )
        if path == PATHS[0] and wanted == "uefi" != now and not self.state.persistent.domain.firmware.has_acpi:
            return f"{name} has no ACPI, which UEFI needs. Give it that by hand"
        if path in TPM_PATHS and now != wanted and values[TPM_PATHS[0]] == tpm.OTHER:
            return f"the TPM of {name} is not an emulated one. Change it by hand"
        return None

    def compare(self, draft: Draft) -> None:
        self._compare_firmware(draft)
        self._plan_tpm(draft)
        self._check_offer(draft)
        if self.state.exists:
            self._check_limits()
            self._check_cells(draft)
            self._check_balloon(draft)
            self._check_cpus(draft)
            self._note_names(draft)
            self._tell_held_media(draft)
        self._check_boot_order()
        self._check_place_of_seed(draft)
        self._check_screen(draft)
        self._check_parts(draft)
        self._check_reader_of_seed(draft)
        self._check_saving(draft)

    def _note_names(self, draft: Draft) -> None:
        """Devices that bear no name are known by the declared one from now on, whatever is said of them later."""
        for area in self.areas:
            recorded = self.state.record.names.get(area, {})
            for item in self.spec.wanted(area):
                device: t.Any = self.state.persistent.things(area).get(item.name)
                if device is not None and has_new_name(area, item.name, recorded, device):
                    draft.plan.notes.append(f"{area}[{item.name}]")

    def _tell_held_media(self, draft: Draft) -> None:
        for item in self.spec.wanted("cdroms"):
            path = f"cdroms[{item.name}].source"
            drive = self.state.live.cdroms.get(item.name) if self.state.live else None
            wanted = "" if path in draft.unset else item.get("source")
            if path in draft.declined and drive is not None and wanted is not None and not self._is_on(drive, wanted):
                draft.plan.warnings.append(held_medium(path))

    def _check_reader_of_seed(self, draft: Draft) -> None:
        """Whether what reads the seed in the machine understands what is said to it."""
        changed = [path for path in CLOUD_INIT if draft.plan.has(path)]
        if not changed:
            return
        there = self.state.persistent.values if self.state.exists and self.state.seed_path else {}
        said = {
            **{path: there.get(path) for path in CLOUD_INIT},
            **{path: self.spec.values[path] for path in CLOUD_INIT if path in self.spec.values},
        }
        said = {path: None if path in draft.unset else value for path, value in said.items()}
        for path, why in obstacles(self.state.presets.seed, said).items():
            shown = "(secret)" if OPTIONS[path].secret else OPTIONS[path].show(said[path])
            refuse(draft, path, None, shown, f"{path}: {why}")
        if not self.state.exists or not self.state.seed_path:
            return
        reader = reader_of(self.state.presets.seed)
        is_new = self.spec.get("cloud_init.on_change") == NEW_INSTANCE
        if is_new and said["cloud_init.meta_data"]:
            reason = (
                "cloud_init.on_change: the instance is the one that meta_data says. Write another instance-id there"
            )
            refuse(
                draft,
                "cloud_init.meta_data",
                None,
                OPTIONS["cloud_init.meta_data"].show(said["cloud_init.meta_data"]),
                reason,
            )
        if reader is not None and not reader.reads_again:
            draft.plan.warnings.append(
                f"cloud_init: {reader.name} reads its seed at the first start alone: what is new in it does not reach {self.spec.name}"
            )

    def _check_place_of_seed(self, draft: Draft) -> None:
        is_new = self.state.seed_path is None or not self.state.exists
        if not is_new or not draft.plan.has(*CLOUD_INIT):
            return
        reason = None
        if self.state.seed_pool(self.spec) is None:
            reason = f"cloud_init: {self.spec.name} has no disk in a pool beside which its seed could lie"
        elif self.state.foreign_seed:
            place = self.state.foreign_seed
            reason = f"cloud_init: {place} is there already, and was not made for this guest. Move it away"
        if reason:
            refuse(draft, "cloud_init", None, self.state.foreign_seed, reason)

    # -- its disks and cards

    def is_item(self, area: str, name: str) -> bool:
        return name != SEED_DISK

    def mistake(self, area: str, item: Item) -> str | None:
        drive = self._drive_of(item) if area == "disks" else None
        if drive is not None:
            return f"{drive} is {WORDS['cdroms']}. Write it under cdroms"
        return self.state.mistaken.get(area, {}).get(item.name) or self._same_as_another(area, item)

    def _drive_of(self, item: Item) -> str | None:
        """The drive that the name or the source of a disk stands for."""
        drives = self.state.persistent.cdroms if self.state.exists else {}
        source = item.text("source")
        return next(
            (name for name, its in drives.items() if name == item.name or (source and self._is_on(its, source))), None
        )

    def _same_as_another(self, area: str, item: Item) -> str | None:
        if area == "devices":
            return self._same_device(item)
        source = item.text("source") if area == "disks" and item.is_wanted else None
        if source is None:
            return None
        for other in self.spec.wanted(area):
            its = other.text("source")
            if other is item:
                return None
            if its is not None and self.state.places.get(its) == self.state.places.get(source):
                return f"{source} is the source of {other.name} too. A disk is plugged in once"
        return None

    def _same_device(self, item: Item) -> str | None:
        meant = self.state.device_sources
        if item.name not in meant:
            return None
        for other in self.spec.wanted("devices"):
            if other is item:
                return None
            if other.name in meant and set(marks_of(meant[other.name])) & set(marks_of(meant[item.name])):
                return f"it is the same device of this host as {other.name}. A device is given once"
        return None

    def live_value(self, area: str, key: str, item: Item, before: Thing, now: Thing) -> t.Any:
        if isinstance(now, Hostdev):
            return self._live_value_of_device(key, item, before, now)
        return super().live_value(area, key, item, before, now)

    def _live_value_of_device(self, key: str, item: Item, before: Thing, now: Hostdev) -> t.Any:
        """A running machine has a USB device by its number alone; one that was pulled out stays away until it is given anew."""
        if key in ("optional", "type"):
            return SAME
        if now.value("is_unplugged") and item.name not in self.state.device_sources:
            return before.value(key)
        declared, its = item.text(key), now.text(key)
        return declared if declared and its and f"{its}:".startswith(f"{declared}:") else its

    def declared_value(self, area: str, key: str, item: Item, before: Thing) -> t.Any:
        declared = super().declared_value(area, key, item, before)
        if area == "networks" and key == "gateway6" and not self._ip6_after(item, before):
            # It goes with the address that it is the way out for, of a machine that runs too.
            now = self.state.live.nics.get(item.name) if self.state.live is not None else None
            return "" if before.value(key) or (now is not None and now.value(key)) else declared
        if key == "source" and isinstance(before, (Disk, Cdrom)) and declared and self._is_on(before, declared):
            return before.value(key)
        return declared

    def _is_on(self, device: Disk | Cdrom, path: str) -> bool:
        """Whether *path* leads to what the disk stands on, or to the medium of the drive, whatever it is called."""
        return path == device.source or (device.place is not None and self.state.places.get(path) == device.place)

    def shown(self, area: str, thing: Thing) -> Show:
        if area == "disks":
            return {key: thing.value(key) for key in ("source", "size", "format", "bus")}
        if area == "cdroms":
            return {key: thing.value(key) for key in ("source", "bus")}
        if area == "shares":
            return {key: thing.value(key) for key in ("source", "readonly")}
        if area == "devices":
            return {key: thing.value(key) for key in ("type", *DEVICE_REFS) if thing.value(key)}
        keys = ("bridge", "mac", "model", *(("vlan",) if thing.value("vlan") else ()))
        return {key: thing.value(key) for key in keys}

    def check(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        if area == "cdroms":
            return self._check_drive(draft, item, before)
        if area == "devices":
            return self._can_be_given(draft, item, before)
        if area == "shares":
            return self._can_be_shared(draft, item)
        obstacle = self.state.source_obstacles.get(item.name) if area == "disks" else None
        if obstacle is not None:
            path, source = f"disks[{item.name}].source", item.text("source")
            now = before.value("source") if before is not None else None
            refuse(draft, path, now, source, f"{path}: {source} cannot be used, as {obstacle}")
            return False
        if area == "disks":
            self._assume_source(draft, item)
        if isinstance(before, Disk) and self._is_lost(item, before):
            path = f"disks[{item.name}]"
            gone = f"its file {before.source} is gone or unreadable. Bring it back (is its file system mounted?)"
            refuse(draft, path, None, before.source, f"{path}: {gone}, or take the disk away with state: absent")
            return False
        if not (self._goes_together(draft, area, item, before) and self._has_bus(draft, area, item, before)):
            return False
        if isinstance(before, Disk):
            check_limits(item, before, draft.unset)
        can = (
            self._can_have_address(draft, item, before)
            and self._can_have_address6(draft, item, before)
            and self._can_be_told(draft, item, before)
            and self._has_way_of_ipv6(draft, item, before)
        )
        return can and super().check(draft, area, item, before)

    def _check_drive(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        self._assume_source(draft, item)
        return self._goes_together(draft, "cdroms", item, before) and self._has_bus(draft, "cdroms", item, before)

    def _assume_source(self, draft: Draft, item: Item) -> None:
        source = item.text("source")
        if source in self.state.missing_sources:
            draft.plan.assumed.append(f"file {source}")

    def _can_be_shared(self, draft: Draft, item: Item) -> bool:
        source, path = item.text("source"), f"shares[{item.name}]"
        if source in self.state.missing_folders:
            draft.plan.assumed.append(f"path {source}")
        for place, value in ((path, source), (f"{path}.readonly", True)):
            if place in self.state.obstacles:
                refuse(draft, place, None, value, f"{place}: {self.state.obstacles[place]}")
                return False
        return True

    def _can_be_given(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Whether the machine can have a device of the host that it does not have yet."""
        path, name = f"devices[{item.name}]", item.name
        live = self.state.live.devices.get(name) if self.state.live is not None else before
        has_it = before is not None and all(
            before.value(key) == item.values[key] for key in DEVICE_REFS if key in item.values
        )
        is_left = (
            has_it
            and (live is None or not live.value("is_unplugged"))
            and (self.state.live is None or live is not None)
        )
        why = None if is_left else self.state.obstacles.get(path)
        if why is not None:
            key = next((key for key in DEVICE_REFS if key in item.values), "type")
            now = before.value(key) if before is not None else None
            refuse(draft, f"{path}.{key}", now, item.get(key), f"{path}: {why}")
        return why is None

    def _goes_together(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        """Whether the values of a device can be together, and be had on this host at all."""
        path = f"{area}[{item.name}]"
        new = item if before is not None else self.created_item(area, item)
        values, written = values_of(area, new, before, draft.unset), written_keys(area, item, draft.unset)
        obstacle = next((key for key in sorted(written) if f"{path}.{key}" in self.state.obstacles), None)
        odd = ODD[area](values, written)
        if obstacle is not None:
            odd = obstacle, self.state.obstacles[f"{path}.{obstacle}"]
        if odd is None:
            return True
        key, why = odd
        show, now = OPTIONS[f"{path}.{key}"].show, before.value(key) if before is not None else None
        refuse(draft, f"{path}.{key}", show(now), show(values.get(key)), f"{path}.{key}: {why}")
        return False

    def _is_lost(self, item: Item, disk: Disk) -> bool:
        """Whether nothing is left of a disk that shall stay what it is. A running machine may still have open what is gone."""
        if not disk.source or disk.source in self.state.sources:
            return False
        return self._is_on(disk, item.get("source", disk.source))

    def may_become(self, draft: Draft, path: str, declared: t.Any, before: Thing) -> bool:
        if isinstance(before, Nic) and keyed.key_of(path) == "bridge" and before.portgroup:
            group = f"the portgroup {before.portgroup} of the network {before.source}"
            reason = f"{path}: the card is in {group}, and would lose what that gives it. Move it by hand"
            refuse(draft, path, before.value("bridge"), declared, reason)
            return False
        obstacle = self._obstacle_of_kind(path, declared, before)
        if obstacle:
            refuse(draft, path, before.value(keyed.key_of(path)), declared, f"{path}: {obstacle}")
            return False
        if not isinstance(before, Disk) or keyed.key_of(path) != "size":
            return super().may_become(draft, path, declared, before)
        obstacle = _obstacle_to_growth(before)
        if obstacle:
            refuse(draft, path, show_size(before.value("size")), show_size(declared), f"{path}: {obstacle}")
        return obstacle is None

    def _obstacle_of_kind(self, path: str, declared: t.Any, before: Thing) -> str | None:
        """Why a device of its kind cannot get the value of a key."""
        key = keyed.key_of(path)
        item = self.spec.item("networks", split(path)[1])
        comes_to_bridge = item is not None and item.get("bridge") not in (None, before.value("bridge"))
        if isinstance(before, Nic) and key == "mtu" and declared and not before.takes_mtu and not comes_to_bridge:
            return f"libvirt sets none on a card of the type {before.type}"
        return None

    def reason(self, path: str, before: Thing, declared: t.Any) -> str | None:
        key = keyed.key_of(path)
        if not isinstance(before, Disk):
            return None
        if key == "size":
            return f"{path}: the disk is larger than {show_size(declared)}, and is never made smaller"
        if key in ("pool", "format"):
            place = before.source
            return f"{path}: the disk stands on {place} and is not moved or converted; give the new disk another name"
        return None

    def removed(self, draft: Draft, area: str, name: str, thing: Thing) -> None:
        if isinstance(thing, (Disk, Cdrom)) and thing.source:
            draft.plan.kept.append(thing.source)

    # -- removal

    def obstacle_to_removal(self) -> str | None:
        count = self.state.libvirt_snapshots
        if not count or "snapshots" in self.spec.delete:
            return None
        return (
            f"state: libvirt keeps {count} snapshots of {self.spec.name} that this collection did not make, and forgets them "
            "with it. Permit it with delete: [snapshots]"
        )

    def volume_path(self, name: str) -> str:
        return name if word_of(name) else f"disks[{name}]"

    def deleted_by(self, name: str) -> tuple[str, ...]:
        return ("seed",) if name == SEED_DISK else (word_of(name) or "disks",)


def _told(value: t.Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def held_medium(path: str) -> str:
    """That the medium of a drive did not come out, as a sentence."""
    return (
        f"{path}: the medium did not come out while the machine runs: the guest holds it, as while it is mounted, or libvirt is older "
        "than 9.1 and the drive was plugged in while it ran. It goes with the next boot, or with allow: [eject]"
    )


def _obstacle_to_growth(disk: Disk) -> str | None:
    if not disk.source:
        return f"{disk.target} is on no file of which the path is known. Let what made it make it larger"
    if disk.type == "block" and disk.value("format") == "raw":
        return f"{disk.source} is a device. Let what made it make it larger"
    return None
