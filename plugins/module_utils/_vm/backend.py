# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How virtual machines are written: what ``_guest.run`` asks of libvirt, and each option of a running machine."""

from __future__ import annotations

import functools
import os
import time
import typing as t

from .._core import atomic, libraries
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement
from .._core.options import split
from .._core.plan import Change, How, Plan, Step
from .._core.removal import remove_tree
from .._guest import beside
from .._guest.addressing import Wish, take
from .._guest.auto_address import is_auto
from .._guest.cards import KEYS
from .._guest.installing import INSTALL
from .._guest.options import DHCP
from .._guest.record import RecordedFile
from .._guest.run import Run, Steps, check_origin
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._storage.choice import drivers_of
from . import installing, power, reserving, seed, storage
from .addressing import Given, as_compared, given, given6, own_reservations, seed_cards
from .disk_writing import DiskWriter
from .firmware import NVRAM, TPM, nvram_of, recorded_as, tpm_folder, word_of
from .installer import Installer, installer_of
from .live_writing import LiveWriter
from .naming import noted_names
from .options import CLOUD_INIT, NEW_INSTANCE, OPTIONS, SEED_DISK
from .plan import VmKind
from .spec import Spec
from .state import State
from .xml import domain as domain_xml


def apply_vm(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt or the guest refuses a step.
    :raises MissingRequirement: when what it is cloned from, a medium or the source of a disk, does not exist; nothing was written then.
    """
    check_origin(spec, state)
    if state.missing_sources:
        names = ", ".join(state.missing_sources)
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


class VmBackend(LiveWriter, DiskWriter):
    """See ``_guest.run.Backend``."""

    word = "vm"
    options = OPTIONS

    def __init__(self, spec: Spec, state: State, plan: Plan, work: Work) -> None:
        super().__init__(spec, state, plan, work)
        if spec.state != "absent":
            self._plan_volumes()

    # -- record

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

    def _new_tpm(self) -> str:
        now = self.state.persistent.values["tpm.version"] if self.state.exists else ""
        if now or not self.plan.has("tpm.version") or not self.wanted("tpm.version"):
            return ""
        return tpm_folder(self.state.persistent.domain.uuid if self.state.exists else self._uuid)

    def _removed(self) -> set[tuple[str, str]]:
        """The devices that this run has taken away, by list and name."""
        items = [(change, *split(change.path)) for change in self.plan.changes]
        return {(area, name) for change, area, name, key in items if name and not key and change.after is None}

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

    # -- its seed and flags

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
        data = seed.build(files, seed.label_in(values))
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
        if not self.state.exists or self.state.seed_path is None or self.spec.leaves_seed or self._has_own_files:
            return False
        keys = [split(change.path) for change in self.plan.changes]
        names = {name for area, name, key in keys if area == "networks" and key in ("", "ip", "mac", "bridge")}
        cards, nics = seed_cards(self.spec, self.state, self.plan), self.state.persistent.nics
        # One that asks by DHCP, and was told so, finds its way with an older seed too.
        plain = DHCP, ""
        before = {name: nics[name].value("told") for name in names if name in nics}
        told = {name: (cards[name].ip, cards[name].ip6) for name in names if name in cards}
        return any((its, before.get(name, plain)) != (plain, plain) for name, its in told.items())

    @property
    def _has_own_files(self) -> bool:
        """Whether nothing of the cards is in the seed."""
        return bool(self.spec.get("cloud_init.files", self.state.persistent.values.get("cloud_init.files")))

    def set_flag(self, change: Change) -> None:
        with errors_of(f"set {change.path} of {self.spec.name}", ApplyError):
            FLAGS[change.path](self, self.wanted(change.path))

    def _set_autostart(self, value: bool) -> None:
        self.domain.setAutostart(int(value))

    # -- an installer

    def begin_installation(self) -> None:
        known = self.own.record.volumes
        made = [known[item.name] for item in self.spec.wanted("disks") if item.name in known]
        own = [self._driver(its.volume).location(its.volume) for its in made if its.is_fresh]
        installing.begin(self.work.host, self.domain, self._installer, own)

    def end_installation(self) -> None:
        installing.clear(self.spec.name)

    # -- removal

    def stop_for_good(self) -> None:
        # Nothing is lost by a hard stop where the disks go as well, or where the guest never ran.
        is_deleted = "disks" in self.spec.delete and self.state.quarantined_until is None
        is_lost = is_deleted or not self.state.exists or self.state.is_left_to_installer
        power.stop(self.domain, self.spec, self.own, hard=is_lost)

    def definition(self) -> tuple[str, bool]:
        library = libraries.libvirt()
        with errors_of(f"read {self.spec.name}", ApplyError):
            flags = library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE
            return self.domain.XMLDesc(flags), bool(self.domain.autostart())

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


# Each flag that libvirt keeps beside the definition.
FLAGS: dict[str, t.Callable[[VmBackend, t.Any], None]] = {"autostart": VmBackend._set_autostart}
