# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt and the drivers of pools are asked for by each change of a virtual machine, and in which order."""

from __future__ import annotations

import contextlib
import types

import pytest
from unit.plugins.module_utils._guest.fake import File
from unit.plugins.module_utils._vm.test_plan import cdrom, disk, nic, running, side, stopped

from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError, WaitTimeout
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import run as guest_run
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.ownership import Ownership
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import RecordedFile, Run, load
from ansible_collections.homelab.hybrid.plugins.module_utils._image.plan import COPIES
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.driver import Attempt, DiskSource
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import (
    backend,
    firmware,
    live_writing,
    power,
    storage,
    writing,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.plan import plan_vm
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import Spec, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import FoundVolume, State
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import controller
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml

ROOT = Volume("main", "vm.root", "block")
RECORD = {"kind": "vm", "volumes": {"root": ROOT._asdict()}}
PLAIN = firmware.nvram_of("vm", firmware.Way(True))
PROCESS = Run(7, 8, (), None)


class LibvirtError(Exception):
    def __init__(self, code=1):
        super().__init__("no")
        self.code = code

    def get_error_message(self):
        return str(self)

    def get_error_code(self):
        return self.code


class Library:
    """libvirt's module: each of its constants is a bit of its own."""

    libvirtError = LibvirtError  # noqa: N815  # libvirt's name

    def __init__(self):
        self.known = {}

    def __getattr__(self, name):
        return self.known.setdefault(name, 1 << len(self.known))

    def names(self, flags):
        return [name.removeprefix("VIR_DOMAIN_") for name, bit in self.known.items() if flags & bit]


def xml(*disks, cards=("lan",)):
    root = domain_xml.new("vm", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "tcg")
    taken = []
    for path, value in {"memory_max": 2 << 20, "memory": 1 << 20, "cpu.max_cores": 4, "cpu.cores": 2}.items():
        domain_xml.WRITE[path](root, value)
    for name in disks or ("root",):
        domain_xml.add_disk(root, name, f"/p/vm.{name}.qcow2", {"format": "qcow2", "bus": "virtio"}, taken)
    for number, name in enumerate(cards):
        domain_xml.add_nic(
            root, name, {"bridge": "br0", "mac": f"52:54:00:00:00:0{number + 1}", "model": "virtio"}, f"tap{number}"
        )
    controller.add_ports(root)
    return domain_xml.to_text(root)


class Domain:
    """A domain of libvirt. *told* is what it was asked for; *refused* has the error of calls that fail, once each."""

    def __init__(self, told, library, text="", *, is_active=False, is_persistent=True, is_saved=False, refused=None):
        self.told, self.library = told, library
        self.lasting = self.live = text
        self.is_active, self.is_persistent, self.is_saved = is_active, is_persistent, is_saved
        self.refused = dict(refused or {})
        self.power = library.VIR_DOMAIN_RUNNING if is_active else 0
        self.balloon = 1 << 20
        self.obeys = True
        for name in (
            "blockResize",
            "setBlockIoTune",
            "setInterfaceParameters",
            "setMetadata",
            "setVcpusFlags",
            "setAutostart",
        ):
            setattr(self, name, lambda *given, name=name: self.tell(" ".join([name, *map(str, given[:2])])))
        self.hasManagedSaveImage = lambda: self.is_saved
        self.isActive = lambda: self.is_active
        self.isPersistent = lambda: self.is_persistent
        self.info = lambda: [0, 0, self.balloon]
        self.name = lambda: "vm"

    def tell(self, what):
        self.told.append(what)
        for beginning, error in list(self.refused.items()):
            if what.startswith(beginning):
                del self.refused[beginning]
                raise error

    def state(self):
        return [self.power]

    def XMLDesc(self, flags=0):  # noqa: N802  # libvirt's name
        return self.lasting if "XML_INACTIVE" in self.library.names(flags) else self.live

    def attachDeviceFlags(self, text, flags):  # noqa: N802  # libvirt's name
        place = "placed " if "<address" in text else ""
        self.tell(f"attach {place}{domain_xml.parse(text).tag}")
        root = domain_xml.parse(self.live)
        root.find("devices").append(domain_xml.parse(text))
        self.live = domain_xml.to_text(root)

    def detachDeviceFlags(self, text, flags):  # noqa: N802  # libvirt's name
        self.tell(f"detach {domain_xml.parse(text).tag}")
        if self.obeys:
            gone = domain_xml.parse(text).find("target").get("dev")
            root = domain_xml.parse(self.live)
            for node in list(root.find("devices")):
                target = node.find("target")
                if target is not None and target.get("dev") == gone:
                    root.find("devices").remove(node)
            self.live = domain_xml.to_text(root)

    def updateDeviceFlags(self, text, flags):  # noqa: N802  # libvirt's name
        node, forced = domain_xml.parse(text), "forced" if "DEVICE_MODIFY_FORCE" in self.library.names(flags) else ""
        source = node.find("source")
        told = "" if source is None else source.get("bridge") or source.get("file")
        self.tell(" ".join(filter(None, ("update", told, forced))))

    def setMemoryFlags(self, kib, flags):  # noqa: N802  # libvirt's name
        self.tell(f"balloon {kib}")
        self.balloon = kib if self.obeys else self.balloon

    def createWithFlags(self, flags):  # noqa: N802  # libvirt's name
        self.tell(f"start {' '.join(self.library.names(flags))}".strip())
        self.is_active, self.is_saved = True, False

    def managedSave(self, flags):  # noqa: N802  # libvirt's name
        self.tell("save")

    def managedSaveRemove(self, flags):  # noqa: N802  # libvirt's name
        self.tell("throw away")

    def suspend(self):
        self.tell("suspend")

    def resume(self):
        self.tell("resume")

    def shutdown(self):
        self.tell("shut down")
        self.is_active = not self.obeys

    def destroy(self):
        self.tell("switch off")
        self.is_active = False

    def undefineFlags(self, flags):  # noqa: N802  # libvirt's name
        self.tell(f"undefine {' '.join(sorted(self.library.names(flags)))}")


class Machine:
    """A host with at most one machine, a pool and what is done to both, in *told*."""

    def __init__(self, monkeypatch, state, data=None, **domain):
        self.told = []
        self.library = Library()
        self.state = state
        monkeypatch.setattr(libraries, "libvirt", lambda: self.library)
        self.domain = Domain(
            self.told, self.library, **{"text": xml(), "is_active": state.power == "started", **domain}
        )
        self.file = File("guests", "vm", data)
        tell = self.told.append
        self.there = set()
        self.driver = types.SimpleNamespace(
            pool="main",
            cloned=(),
            exists=lambda volume: volume in self.there,
            location=lambda volume: f"/p/{volume.name}.qcow2",
            disk_source=lambda volume: DiskSource(f"/p/{volume.name}.qcow2", "qcow2"),
            create=lambda volume, *, size, image, keep_fds, **how: (
                tell(f"create {volume.name} {size} {how['format']} {keep_fds}") or Attempt(volume, "/p/.new", "qcow2")
            ),
            publish=lambda attempt: tell(f"publish {attempt.volume.name}"),
            purge=lambda volume: tell(f"purge {volume.name}"),
            retire=lambda volume: tell(f"retire {volume.name}"),
            resize=lambda volume, size, keep_fds: tell(f"resize {volume.name} {size}"),
            write=lambda volume, data: tell(f"write {volume.name}"),
        )
        for part in (backend, writing):
            monkeypatch.setattr(part, "drivers_of", lambda host: {"main": self.driver})
        monkeypatch.setattr(storage, "refresh", self.refresh)
        monkeypatch.setattr(live_writing.process, "find_run", lambda name: PROCESS)
        monkeypatch.setattr(backend.seed, "build", lambda files, label: b"seed")
        monkeypatch.setattr(live_writing.port, "put_into_vlan", lambda tap, vlan: tell(f"{tap} into {vlan}"))
        monkeypatch.setattr(live_writing, "_comes_true", lambda ask, seconds: ask())
        monkeypatch.setattr(guest_run.lock, "allocations", contextlib.nullcontext)
        monkeypatch.setattr(guest_run, "check_macs", lambda guest, macs: None)

    def refresh(self, work, pools):
        names = sorted(filter(None, pools))
        if names:
            self.told.append(f"refresh {' '.join(names)}")
        return ["late"] if names else []

    def define(self, text):
        self.told.append("define")
        self.domain.lasting, self.domain.is_persistent = text, True
        return self.domain

    def work(self):
        domains = {"vm": self.domain} if self.state.power != "absent" else {}
        host = types.SimpleNamespace(
            record=lambda kind, name: self.file,
            domains=domains,
            connection=types.SimpleNamespace(defineXML=self.define),
            links={},
        )
        return types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=(9,)))

    def converge(self, **wish):
        """Carry out *wish*: what was asked for, without the changes that came to stand."""
        spec = parse({"name": "vm", **wish})
        self.plan = plan_vm(spec, self.state)
        assert self.plan.changes and not self.plan.refused
        stood = []
        try:
            for step in backend.apply_vm(spec, self.state, self.plan, self.work()):
                if isinstance(step, Change):
                    stood.append(step.path)
        except ApplyError as exc:
            self.told.append(f"failed: {exc.message}")
        else:
            assert sorted(stood) == sorted(change.path for change in self.plan.changes)
        return self.told

    @property
    def record(self):
        return Ownership(self.file).record

    def lasting(self):
        return domain_xml.parse(self.domain.lasting)


def recorded(state, data=None):
    return state.replace(record=load(RECORD if data is None else data, exists=True))


# ---- a running machine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"description": "x"}, ["setMetadata 1 x"]),
        ({"vcpus": 3}, ["setVcpusFlags 3 1"]),
        ({"memory": "512"}, ["balloon 524288"]),
        ({"networks": [{"name": "lan", "bridge": "br1"}]}, ["update br1"]),
        ({"networks": [{"name": "lan", "vlan": 10}]}, ["update br0", "tap0 into 10"]),
        ({"networks": [{"name": "lan", "rate_limit": {"in": "8Mbit"}}]}, ["setInterfaceParameters"]),
        ({"disks": [{"name": "root", "limits": {"read_iops": 9}}]}, ["setBlockIoTune vda"]),
        ({"agent": True}, ["attach channel"]),
    ],
)
def test_each_option_of_a_running_machine_is_written_and_then_given_to_it(monkeypatch, wish, told):
    live = side(nics=(tapped(),))
    machine = Machine(monkeypatch, recorded(running(side(nics=(tapped(),)), live)), RECORD)
    before = machine.domain.lasting
    found = machine.converge(**wish)
    assert found[0] == "define" and machine.domain.lasting != before
    assert len(found) == len(told) + 1
    assert all(one.split()[0] == other.split()[0] for one, other in zip(found[1:], told, strict=True)), found
    assert all(one.startswith(other) for one, other in zip(found[1:], told, strict=True) if "set" not in other), found


def tapped():
    card = nic()
    card.tap = "tap0"
    return card


def test_what_the_guest_was_asked_for_is_noted_with_what_it_declined(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    machine.domain.obeys = False
    machine.converge(memory="512")
    assert (machine.record.run.balloon, machine.record.run.declined) == ((512 << 10, 1 << 20), ("memory",))


CD = '<disk type="file" device="cdrom"><source file="/iso/a.iso"/><target dev="sda" bus="scsi"/><readonly/><alias name="ua-cd"/></disk>'
HELD, UNREADABLE = "VIR_ERR_OPERATION_FAILED", "VIR_ERR_SYSTEM_ERROR"


def with_drive(monkeypatch, refused, drive=None):
    """A running machine whose drive has a medium; *refused* says with which errors libvirt answers updates, by their beginnings."""
    drive = drive or cdrom()
    state = recorded(running(side(cdroms=(cdrom(),)), side(cdroms=(drive,))))
    machine = Machine(monkeypatch, state, RECORD, text=xml().replace("</devices>", f"{CD}</devices>"))
    machine.domain.refused = {what: LibvirtError(getattr(machine.library, code)) for what, code in refused.items()}
    return machine


@pytest.mark.parametrize(
    ("refused", "wish", "told", "declined"),
    [
        ({}, {}, ["define", "update /iso/b.iso"], False),
        ({"update": HELD}, {}, ["define", "update /iso/b.iso"], True),
        ({}, {"allow": ["eject"]}, ["define", "update /iso/b.iso"], False),
        ({"update": HELD}, {"allow": ["eject"]}, ["define", "update /iso/b.iso", "update /iso/b.iso forced"], False),
    ],
)
def test_a_medium_that_the_guest_holds_is_only_taken_where_that_is_permitted(
    monkeypatch, refused, wish, told, declined
):
    machine = with_drive(monkeypatch, refused)
    assert machine.converge(cdroms=[{"name": "cd", "source": "/iso/b.iso"}], **wish) == told
    run = machine.record.run
    assert (run is not None and run.declined == ("cdroms[cd].source",)) is declined
    assert bool(machine.plan.warnings) is declined
    assert machine.lasting().find("devices/disk[@device='cdrom']/source").get("file") == "/iso/b.iso"


def test_a_drive_whose_tray_libvirt_does_not_open_is_plugged_in_again_where_that_is_permitted(monkeypatch):
    machine = with_drive(monkeypatch, {})
    stuck = LibvirtError()
    stuck.args = ("Tray of device 'ua-cd' is not open",)
    machine.domain.refused = {"update /iso/b.iso forced": stuck, "update": stuck}
    told = machine.converge(cdroms=[{"name": "cd", "source": "/iso/b.iso"}], allow=["eject"])
    assert told == ["define", "update /iso/b.iso", "update /iso/b.iso forced", "detach disk", "attach disk"]
    assert machine.record.run is None and not machine.plan.warnings


def test_a_medium_that_the_guest_held_once_is_forgotten_when_it_goes(monkeypatch):
    machine = with_drive(monkeypatch, {}, cdrom(is_open=True))
    machine.file.data = {
        **RECORD,
        "run": {"pid": 7, "start": 8, "declined": ["cdroms[cd].source", "memory"], "balloon": None},
    }
    machine.converge(cdroms=[{"name": "cd", "source": "/iso/b.iso"}])
    assert machine.record.run.declined == ("memory",)


def test_a_medium_that_qemu_cannot_read_leaves_the_definition_as_it_was(monkeypatch):
    machine = with_drive(monkeypatch, {"update": UNREADABLE})
    told = machine.converge(cdroms=[{"name": "cd", "source": "/iso/b.iso"}])
    assert told[:3] == ["define", "update /iso/b.iso", "define"] and told[3].startswith("failed")
    assert machine.lasting().find("devices/disk[@device='cdrom']/source").get("file") == "/iso/a.iso"


@pytest.mark.parametrize(
    ("more", "wish", "how"), [({}, {}, None), ({"is_open": True}, {}, "live"), ({}, {"allow": ["eject"]}, "live")]
)
def test_a_held_medium_is_asked_for_again_where_the_guest_may_give_in(more, wish, how):
    persistent, live = side(cdroms=(cdrom(source=""),)), side(cdroms=(cdrom(**more),))
    state = running(persistent, live, declined=("cdroms[cd].source",))
    found = plan_vm(parse({"name": "vm", "cdroms": [{"name": "cd", "source": ""}], **wish}), state)
    change = found.get("cdroms[cd].source")
    assert (change.how.value if change else None) == how
    assert bool(found.warnings) is (how is None) and (found.restart_required == ["cdroms[cd].source"]) is (how is None)


def test_flags_are_kept_beside_the_definition(monkeypatch):
    assert Machine(monkeypatch, recorded(stopped()), RECORD).converge(autostart=True) == ["setAutostart 1"]


@pytest.mark.parametrize("obeys", [True, False])
def test_a_disk_is_taken_out_and_who_declines_is_noted(monkeypatch, obeys):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    machine.domain.obeys = obeys
    assert machine.converge(disks=[{"name": "root", "state": "absent"}]) == ["detach disk", "define"]
    assert (machine.record.run and machine.record.run.declined) == (None if obeys else ("disks[root]",))
    assert machine.lasting().find("devices/disk") is None


@pytest.mark.parametrize("code", ["VIR_ERR_OPERATION_TIMEOUT", "VIR_ERR_INTERNAL_ERROR"])
def test_a_guest_that_takes_its_time_declines_and_other_errors_are_told(monkeypatch, code):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    machine.domain.refused = {"detach": LibvirtError(getattr(machine.library, code))}
    told = machine.converge(disks=[{"name": "root", "state": "absent"}])
    assert ("failed: could not detach vda from vm: no" in told) == (code != "VIR_ERR_OPERATION_TIMEOUT")


NEW_DISK = {"name": "new", "pool": "main", "size": "1"}


def test_a_new_disk_is_made_defined_and_plugged_in_where_the_definition_has_it(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    told = machine.converge(disks=[NEW_DISK])
    made = ["create vm.new 1073741824 qcow2 (9,)", "publish vm.new", "refresh main", "define"]
    assert told[:4] == made and told[4].startswith("attach ") and told[4].endswith("disk") and len(told) == 5
    assert "late" in machine.plan.warnings
    assert [node.get("file") for node in machine.lasting().iterfind("devices/disk/source")] == [
        "/p/vm.root.qcow2",
        "/p/vm.new.qcow2",
    ]
    assert machine.record.volumes["new"].volume == Volume("main", "vm.new", "block")


def test_a_disk_that_cannot_be_plugged_in_leaves_the_definition_again(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD, refused={"attach": LibvirtError()})
    machine.domain.attachDeviceFlags = lambda text, flags: (
        machine.domain.tell("attach") or machine.domain.tell("attach")
    )
    monkeypatch.setattr(machine.domain, "tell", always_refusing(machine))
    told = machine.converge(disks=[NEW_DISK])
    assert told[-2:] == ["define", "failed: could not attach disks[new] to vm: no"]
    assert len(machine.lasting().findall("devices/disk")) == 1


def always_refusing(machine):
    def tell(what):
        machine.told.append(what)
        raise LibvirtError

    return tell


def test_a_card_whose_place_is_taken_is_plugged_in_elsewhere(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    place = "<address type='pci' domain='0' bus='9' slot='0' function='0'/>"
    machine.domain.refused = {"attach placed": LibvirtError()}
    define = machine.define

    def placed(text):
        root = domain_xml.parse(text)
        for node in root.iterfind("devices/interface"):
            if node.find("address") is None:
                node.append(domain_xml.parse(place))
        return define(domain_xml.to_text(root))

    machine.define = placed
    told = machine.converge(networks=[{"name": "dmz", "bridge": "br1"}])
    assert told[-2:] == ["attach placed interface", "attach interface"]


def test_the_first_scsi_disk_brings_its_controller(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    told = machine.converge(disks=[{**NEW_DISK, "bus": "scsi"}])
    assert [each.split()[-1] for each in told[-2:]] == ["controller", "disk"]


def test_a_disk_that_is_plugged_in_grows_through_qemu_and_one_that_is_not_through_its_driver(monkeypatch):
    wish = {"disks": [{"name": "root", "size": "8"}]}
    told = Machine(monkeypatch, recorded(running()), RECORD).converge(**wish)
    assert told[:2] == ["blockResize vda 8589934592", "refresh main"]
    told = Machine(monkeypatch, recorded(stopped()), RECORD).converge(**wish)
    assert told[:2] == ["resize vm.root 8589934592", "refresh main"]
    monkeypatch.setattr(
        storage, "command", types.SimpleNamespace(run=lambda argv, keep_fds: grown.append((argv, keep_fds)))
    )
    grown = []
    told = Machine(monkeypatch, stopped(), {"kind": "vm"}).converge(**wish)
    assert grown == [(["qemu-img", "resize", "-q", "-f", "qcow2", "/p/vm.root.qcow2", "8589934592"], (9,))]
    assert told[0] == "refresh main"


def test_a_device_that_is_known_by_what_changes_bears_its_name_from_then_on(monkeypatch):
    machine = Machine(monkeypatch, recorded(stopped()), RECORD)
    root = machine.lasting()
    card = root.find("devices/interface")
    card.remove(card.find("alias"))
    machine.domain.lasting = machine.domain.live = domain_xml.to_text(root)
    machine.converge(networks=[{"name": "lan", "mac": "52:54:00:00:00:09"}])
    card = machine.lasting().find("devices/interface")
    assert card.find("mac").get("address") == "52:54:00:00:00:09" and card.find("alias").get("name") == "ua-lan"


def test_disks_and_cards_are_booted_from_in_the_declared_order_and_a_bus_moves(monkeypatch):
    machine = Machine(monkeypatch, recorded(stopped()), RECORD)
    machine.converge(boot={"order": ["lan", "root"]}, disks=[{"name": "root", "bus": "sata"}])
    root = machine.lasting()
    assert (
        root.find("devices/interface/boot").get("order") == "1" and root.find("devices/disk/boot").get("order") == "2"
    )
    assert root.find("devices/disk/target").get("bus") == "sata"


def test_a_machine_that_was_started_without_a_definition_gets_one_first(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD, is_persistent=False)
    assert machine.converge(description="x")[:2] == ["define", "define"] and machine.domain.is_persistent


# ---- a new machine -----------------------------------------------------------------------------------------------------------

ABSENT = State(power="absent", formats={"main": ("qcow2", "raw")}, machine_id="m", bridges={})
NEW = {
    "state": "stopped",
    "memory": "1GiB",
    "vcpus": 1,
    "disks": [{"name": "root", "pool": "main", "size": "1"}],
    "networks": [{"name": "lan", "bridge": "br0"}],
    "cloud_init": {"user": "joe"},
}


def test_a_new_machine_has_its_disks_and_its_seed_before_it_is_defined(monkeypatch):
    machine = Machine(monkeypatch, ABSENT)
    told = machine.converge(**NEW)
    assert told[:5] == [
        "create vm.root 1073741824 qcow2 (9,)",
        "publish vm.root",
        "refresh main",
        "write vm.cloud-init",
        "refresh main",
    ] or told[:3] == [
        "create vm.root 1073741824 qcow2 (9,)",
        "publish vm.root",
        "refresh main main",
    ]
    assert told[-1] == "define" or "define" in told
    root = machine.lasting()
    assert len(root.findall("devices/disk")) == 2 and len(root.findall("devices/interface")) == 1
    mac = root.find("devices/interface/mac").get("address")
    assert machine.record.macs == {"lan": mac} and root.findtext("uuid") == machine.record.uuid


def test_what_a_creation_that_was_killed_has_made_goes_before_the_next(monkeypatch):
    data = {**RECORD, "building": True, "volumes": {"root": {**ROOT._asdict(), "fresh": True}}}
    state = State(power="stopped", formats={"main": ("qcow2", "raw")}, machine_id="m", record=load(data, exists=True))
    machine = Machine(monkeypatch, state, data, is_active=True)
    told = machine.converge(**NEW)
    assert told[0] == "purge vm.root" and told[1] == "switch off" and told[2].startswith("undefine ")
    assert told[3:5] == ["retire vm.root", "purge vm.root"] and "create vm.root 1073741824 qcow2 (9,)" in told


UEFI_AND_TPM = {"firmware": {"type": "uefi"}, "tpm": {"version": "2.0"}}


def test_what_a_new_machine_remembers_is_ours_and_its_own(monkeypatch):
    machine = Machine(monkeypatch, ABSENT)
    machine.converge(**NEW, **UEFI_AND_TPM)
    root, record = machine.lasting(), machine.record
    folder = firmware.tpm_folder(record.uuid)
    assert record.files == {"nvram": RecordedFile(PLAIN), "tpm": RecordedFile(folder)}
    assert root.findtext("os/nvram") == PLAIN and root.findtext("uuid") == record.uuid
    assert root.find("devices/tpm").get("model") == "tpm-crb"


def test_what_is_kept_of_an_earlier_machine_is_taken_with_its_uuid(monkeypatch):
    folder = firmware.tpm_folder("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    data = {"kind": "vm", "files": {"nvram": {"path": PLAIN}, "tpm": {"path": folder}}}
    state = ABSENT.replace(record=load(data, exists=True), remembered={PLAIN, folder})
    machine = Machine(monkeypatch, state, data)
    machine.converge(**NEW, **UEFI_AND_TPM, allow=["adopt"])
    assert machine.record.files == {"nvram": RecordedFile(PLAIN), "tpm": RecordedFile(folder)}
    assert machine.lasting().findtext("uuid") == firmware.uuid_of_tpm(folder)


def test_what_a_machine_that_was_never_made_remembers_goes_and_nothing_else(monkeypatch, tmp_path):
    ours, kept, tpm = tmp_path / "vars", tmp_path / "kept", tmp_path / "tpm"
    for path in (ours, kept, tpm / "tpm2"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    files = {
        "nvram": {"path": str(ours), "fresh": True},
        "nvram@kept": {"path": str(kept)},
        "tpm": {"path": str(tpm), "fresh": True},
        "tpm@none": {"path": str(tmp_path / "none"), "fresh": True},
    }
    data = {"kind": "vm", "building": True, "files": files}
    machine = Machine(monkeypatch, ABSENT.replace(record=load(data, exists=True)), data)
    machine.converge(**NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert machine.record.files == {"nvram@kept": RecordedFile(str(kept))}


@pytest.mark.parametrize("is_there", [False, True])
def test_the_tpm_that_a_machine_gets_is_ours_unless_something_is_in_its_place(monkeypatch, is_there):
    state = recorded(stopped())
    folder = firmware.tpm_folder(state.persistent.domain.uuid)
    machine = Machine(monkeypatch, state.replace(remembered={folder} if is_there else ()), RECORD)
    machine.converge(tpm={"version": "2.0"})
    assert machine.record.files == ({} if is_there else {"tpm": RecordedFile(folder)})


def test_a_disk_that_is_kept_of_an_earlier_machine_is_taken_and_grows(monkeypatch):
    state = ABSENT.replace(
        found={"root": FoundVolume("/p/vm.root.qcow2", "qcow2", 1 << 20, True)}, record=load(RECORD, exists=True)
    )
    machine = Machine(monkeypatch, state, RECORD)
    told = machine.converge(**{**NEW, "cloud_init": None, "allow": ["adopt"]})
    assert "resize vm.root 1073741824" in told and not any(each.startswith("create") for each in told)
    assert not machine.record.volumes["root"].is_fresh


def test_a_new_disk_that_no_later_run_declares_is_forgotten_with_what_was_half_made(monkeypatch):
    other = Volume("main", "vm.other", "block")
    data = {"kind": "vm", "building": True, "volumes": {"other": {**other._asdict(), "fresh": True}}}
    machine = Machine(monkeypatch, ABSENT.replace(record=load(data, exists=True)), data)
    assert machine.converge(**NEW)[:3] == ["purge vm.other", "retire vm.other", "purge vm.other"]
    assert "other" not in machine.record.volumes


def test_the_copy_of_an_image_stands_when_the_disks_do(monkeypatch):
    machine = Machine(monkeypatch, recorded(stopped()), RECORD)
    spec = parse({"name": "vm"})
    plan = plan_vm(spec, machine.state)
    plan.changes.append(Change(f"{COPIES}x", None, "copy", How.LIVE))
    built = backend.VmBackend(spec, machine.state, plan, machine.work())
    assert plan.changes[-1] in list(built.make_volumes())


def test_a_machine_is_stopped_and_started_for_what_waits(monkeypatch):
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    assert machine.converge(state="restarted", shutdown_timeout=1) == ["shut down", "start"]
    machine = Machine(monkeypatch, recorded(running()), RECORD)
    assert machine.converge(state="stopped", shutdown_timeout=1) == ["shut down"]


def test_all_limits_of_a_disk_are_given_at_once(monkeypatch):
    limits = []
    machine = Machine(monkeypatch, recorded(running(side((disk(**{"limits.iops": 5}),)))), RECORD)
    machine.domain.setBlockIoTune = lambda target, values, flags: limits.append((target, values))
    machine.converge(disks=[{"name": "root", "limits": {"iops": 9}}])
    ((target, values),) = limits
    assert target == "vda" and values.pop("total_iops_sec") == 9 and len(values) == 5 and not any(values.values())


def test_the_disks_of_a_template_are_protected_and_its_seed_is_not(monkeypatch):
    seed = {"pool": "main", "name": f"vm.{backend.SEED_DISK}", "kind": "block"}
    gone = {"pool": "main", "name": "vm.gone", "kind": "block"}
    data = {"kind": "vm", "volumes": {"root": ROOT._asdict(), "gone": gone, backend.SEED_DISK: seed}}
    machine = Machine(monkeypatch, recorded(stopped(), data), data)
    machine.there = {ROOT, Volume(**seed)}
    machine.driver.protect = lambda volume, is_read_only: machine.told.append(f"protect {volume.name} {is_read_only}")
    spec = parse({"name": "vm"})
    backend.VmBackend(spec, machine.state, plan_vm(spec, machine.state), machine.work()).protect(is_read_only=True)
    assert machine.told == ["protect vm.root True"]


# ---- its end -----------------------------------------------------------------------------------------------------------------


def test_a_machine_is_taken_away_with_what_is_named(monkeypatch):
    owned = {"root": "/p/vm.root.qcow2"}
    machine = Machine(monkeypatch, recorded(running()).replace(owned=owned), RECORD)
    told = machine.converge(state="absent", delete=["disks"])
    undefined = "undefine UNDEFINE_CHECKPOINTS_METADATA UNDEFINE_KEEP_NVRAM UNDEFINE_KEEP_TPM UNDEFINE_MANAGED_SAVE"
    assert told == ["switch off", undefined, "purge vm.root", "retire vm.root", "purge vm.root", "refresh main"]
    machine = Machine(monkeypatch, recorded(running()).replace(owned=owned), RECORD)
    told = machine.converge(state="absent", delete=["snapshots"])
    assert told[0] == "shut down" and "UNDEFINE_SNAPSHOTS_METADATA" in told[1]
    machine = Machine(monkeypatch, recorded(running()).replace(owned=owned), RECORD)
    machine.domain.shutdown = lambda: None
    built = backend.VmBackend(
        parse({"name": "vm", "state": "absent"}),
        machine.state,
        plan_vm(parse({"name": "vm", "state": "absent"}), machine.state),
        machine.work(),
    )
    built._undefine(machine.domain)
    assert machine.told[0] == "switch off", "one that runs is not left running without a definition"


def test_the_volumes_of_a_snapshot_go_and_libvirt_sees_it(monkeypatch):
    kept = {"created": 1.0, "consistency": "clean", "volumes": {"root": ROOT.snapshot("a")._asdict()}}
    data = {**RECORD, "snapshots": {"a": kept}}
    state = recorded(running(), data)
    machine = Machine(monkeypatch, state, data)
    spec = parse({"name": "vm", "state": "absent"})
    built = backend.VmBackend(spec, state, plan_vm(spec, state), machine.work())
    monkeypatch.setattr(backend.beside, "remove", lambda guest, name: machine.told.append(f"files of {guest}@{name}"))
    built.remove_snapshot("a")
    assert (
        machine.told == ["retire vm.root@a", "purge vm.root@a", "files of vm@a", "refresh main"]
        and "late" in built.plan.warnings
    )


def test_a_seed_that_no_record_knows_is_written_where_it_lies(monkeypatch, tmp_path):
    place = tmp_path / "seed.iso"
    state = recorded(stopped(side(cloud_init__user="jane"), seed_path=str(place)))
    machine = Machine(monkeypatch, state, RECORD)
    machine.converge(cloud_init={"user": "joe"})
    assert place.read_bytes() == b"seed" and place.stat().st_mode & 0o777 == 0o600


def test_a_seed_of_ours_is_written_by_its_driver(monkeypatch):
    name = f"vm.{backend.SEED_DISK}"
    data = {
        **RECORD,
        "volumes": {**RECORD["volumes"], backend.SEED_DISK: {"pool": "main", "name": name, "kind": "block"}},
    }
    state = recorded(stopped(seed_path=f"/p/{name}.qcow2"), data)
    machine = Machine(monkeypatch, state, data)
    assert machine.converge(cloud_init={"user": "joe"})[:3] == [f"write {name}", "refresh main"]


# ---- power -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def switched(monkeypatch):
    def switch(act, *, data=None, **domain):
        library = Library()
        monkeypatch.setattr(libraries, "libvirt", lambda: library)
        monkeypatch.setattr(power.process, "find_run", lambda name: PROCESS)
        own = Ownership(File("guests", "vm", data or {"kind": "vm"}))
        its = Domain([], library, **{"text": xml(), **domain})
        act(its, own)
        return its.told, own.record

    return switch


def wish(**params):
    return Spec("vm", values={"shutdown_timeout": 1, **params})


@pytest.mark.parametrize(
    ("now", "target", "told"),
    [
        ("started", "suspended", ["save"]),
        ("stopped", "started", ["start"]),
        ("stopped", "paused", ["start START_PAUSED"]),
        ("started", "paused", ["suspend"]),
        ("paused", "started", ["resume"]),
    ],
)
def test_a_machine_is_switched_from_each_power_to_each_other(switched, now, target, told):
    def act(domain, own):
        backend.VmBackend.switch(types.SimpleNamespace(domain=domain, own=own, _boots_once=lambda: None), now, target)

    found, dummy = switched(act)
    assert found == told


def test_what_the_balloon_is_asked_for_by_a_start_is_noted_and_not_by_one_that_wakes_up(switched):
    dummy, record = switched(power.start)
    assert record.run.balloon == (1 << 20, 2 << 20)
    dummy, record = switched(power.start, is_saved=True)
    assert record.run is None


def test_what_came_true_by_itself_is_no_failure(switched):
    told, dummy = switched(power.start, is_active=True, refused={"start": LibvirtError()})
    assert told == ["start"]
    with pytest.raises(ApplyError, match="could not start vm"):
        switched(power.start, refused={"start": LibvirtError()})


def test_a_saved_machine_wakes_up_to_shut_down_and_is_thrown_away_by_force_alone(switched):
    told, dummy = switched(lambda domain, own: power.stop(domain, wish(), own), is_saved=True)
    assert told == ["start", "shut down"]
    told, dummy = switched(lambda domain, own: power.stop(domain, wish(force_stop=True), own), is_saved=True)
    assert told == ["throw away"]


def test_a_machine_that_ended_just_now_is_off(switched):
    def stop(domain, own):
        domain.shutdown = lambda: domain.destroy() or domain.tell("shut down")
        power.stop(domain, wish(), own)

    told, dummy = switched(stop, is_active=True, refused={"shut down": LibvirtError()})
    assert told == ["switch off", "shut down"]


def test_a_paused_machine_goes_on_to_shut_down(switched):
    def stop(domain, own):
        domain.power = domain.library.VIR_DOMAIN_PAUSED
        power.stop(domain, wish(), own)

    told, dummy = switched(stop, is_active=True)
    assert told == ["resume", "shut down"]


def test_a_guest_that_lost_the_first_request_is_asked_again_and_switched_off_by_force_alone(switched, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(power.time, "monotonic", lambda: clock[0])

    def wait(what, ask, *, timeout_seconds):
        for seconds in (1, 1, 5):
            assert not ask()
            clock[0] += seconds
        raise WaitTimeout("too long")

    monkeypatch.setattr(power, "wait_until", wait)

    def stop(**params):
        def act(domain, own):
            domain.obeys = False
            power.stop(domain, wish(**params), own)

        return act

    told, dummy = switched(stop(force_stop=True), is_active=True)
    assert told == ["shut down", "switch off"]
    with pytest.raises(ApplyError, match="did not shut down within 1 s"):
        switched(stop(), is_active=True)
    clock[0] = 100.0
    monkeypatch.setattr(power, "_ASK_AGAIN_SECONDS", 2.0)
    told, dummy = switched(stop(force_stop=True), is_active=True)
    assert told == ["shut down", "shut down", "switch off"]


# ---- volumes -----------------------------------------------------------------------------------------------------------------


def made(monkeypatch, values, *, clones=False, fails=False):
    told = []
    image = types.SimpleNamespace(name="debian", kind="vm", path="/i.qcow2")
    monkeypatch.setattr(storage.store, "find", lambda name: image)
    monkeypatch.setattr(storage.copies, "copy_in", lambda name, kind, driver: "copy" if clones else None)
    monkeypatch.setattr(
        storage.copier, "make", lambda image, driver, fds: iter([told.append(f"copy of {image.name} {fds}")])
    )

    def publish(attempt):
        told.append(f"publish {attempt}")
        if fails:
            raise ApplyError("full")

    driver = types.SimpleNamespace(
        create=lambda volume, **how: told.append(f"create {how}") or "new",
        clone=lambda volume, copy, size: told.append(f"clone {copy} {size}") or "clone",
        publish=publish,
        purge=lambda volume: told.append("purge"),
    )
    work = types.SimpleNamespace(held=types.SimpleNamespace(fds=(9,)))
    with contextlib.suppress(ApplyError):
        list(storage.make_volume(work, driver, ROOT, values))
    return told


def test_a_disk_is_empty_stands_on_an_image_or_is_a_clone_of_its_copy(monkeypatch):
    how = {"size": 9, "format": "raw", "image": None, "keep_fds": (9,)}
    assert made(monkeypatch, {"size": 9, "format": "raw"}) == [f"create {how}", "publish new"]
    how = {"size": None, "format": "qcow2", "image": "/i.qcow2", "keep_fds": (9,)}
    assert made(monkeypatch, {"image": "debian", "format": "qcow2"}) == [f"create {how}", "publish new"]
    cloned = made(monkeypatch, {"image": "debian", "format": "raw", "size": 9}, clones=True)
    assert cloned == ["copy of debian (9,)", "clone copy 9", "publish clone"]


def test_a_disk_that_could_not_be_made_leaves_nothing(monkeypatch):
    assert made(monkeypatch, {"size": 9, "format": "raw"}, fails=True)[-2:] == ["publish new", "purge"]
