# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a guest is held, its volumes are kept or swapped, and its record is written."""

from __future__ import annotations

import contextlib
import re
import types
import typing as t
from xml.etree import ElementTree

import pytest
from unit.plugins.module_utils._guest.fake import File

from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.content import Part
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.ownership import Ownership
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import GuestRecord, dump, load
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot import apply, hands
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.spec import Spec
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.state import Beside, State
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.driver import Attempt
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Limit, Volume
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import backup

ROOT = Volume("main", "web.root", "filesystem")
DISK = Volume("main", "web.data", "block")
VOLUMES = {"root": ROOT._asdict(), "data": DISK._asdict()}


def snapshot_of(name: str, **more: t.Any) -> dict[str, t.Any]:
    volumes = {"root": ROOT.snapshot(name)._asdict(), "data": DISK.snapshot(name)._asdict()}
    return {"created": 1.0, "consistency": "clean", "volumes": volumes, **more}


class Guest:
    """The hands on a guest, a driver of its pool and its record, which note what they are asked for, in one list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: dict[str, t.Any], fails_at: str = "") -> None:
        self.told: list[str] = []
        self.fails_at = fails_at
        self.there = {ROOT, DISK}
        self.file = File("guests", "web", data)
        save, remove = self.file.save, self.file.remove

        def note_saved(**changes: t.Any) -> None:
            save(**changes)
            self.note(f"record {self.seen()}")

        def note_removed() -> None:
            remove()
            self.note("record removed")

        self.file.save, self.file.remove = note_saved, note_removed  # type: ignore[method-assign]  # of this test
        driver = types.SimpleNamespace(
            pool="main",
            exists=lambda volume: volume in self.there,
            attempts_at=lambda volume: f"/main/.{volume.name}+",
            location=lambda volume: f"/main/{volume.name}",
            disk_source=lambda volume: types.SimpleNamespace(path=f"/main/{volume.name}.raw", format="raw"),
            limit=lambda volume: Limit(1000),
            snapshot=lambda volume, name, keep_fds: self.note(f"snapshot {volume.name}@{name} holding {keep_fds}"),
            create=self.create,
            publish=self.publish,
            retire=lambda volume: self.note(f"retire {volume.name}"),
            purge=lambda volume: self.note(f"purge {volume.name}"),
            restore=lambda volume, kept, keep_fds: (
                self.note(f"restore {volume.name} of {kept.name}") or Attempt(volume, "/new")
            ),
            set_aside=self.set_aside,
            resize=lambda volume, size: self.note(f"resize {volume.name} {size}"),
            seal=lambda volume: self.note(f"seal {volume.name}"),
        )
        monkeypatch.setattr(apply, "drivers_of", lambda host: {"main": driver})
        monkeypatch.setattr(apply.os.path, "getsize", lambda path: 4096)
        monkeypatch.setattr(apply._Run, "_hands", lambda run, work: self)

    def seen(self) -> str:
        """The record in short: the snapshots with what is noted of them, a revert, and a start that is due."""
        record = load(self.file.data, exists=True)
        notes = [f"{name}{'?' * its.is_building}{'!' * its.is_held}" for name, its in record.snapshots.items()]
        notes += [f"reverting to {record.reverting.target}"] if record.reverting else []
        return ", ".join([*notes, *(["starts"] if record.due_power else [])]) or "empty"

    def note(self, what: str) -> None:
        self.told.append(what)
        if self.fails_at and what.startswith(self.fails_at):
            self.fails_at = ""
            raise ApplyError("no")

    def create(self, volume: Volume, *, size: int, format: str, keep_fds: t.Sequence[int]) -> Attempt:
        self.note(f"create {volume.name} {size} {format} holding {keep_fds}")
        return Attempt(volume, f"/main/.{volume.name}+new", format)

    def publish(self, attempt: Attempt, *, is_read_only: bool = False) -> None:
        self.there.add(attempt.volume)
        self.note(f"publish {attempt.volume.name}{' read-only' * is_read_only}")

    def set_aside(self, volume: Volume, kept: Volume) -> None:
        self.there.remove(volume)
        self.there.add(kept)
        self.note(f"set aside {kept.name}")

    # -- hands

    def hold(self, *, stops: bool, memory: str | None = None) -> bool:
        self.note(f"hold{' still' * stops}{f' {memory}' if memory else ''}")
        return not stops

    def release(self, *, stopped: bool) -> None:
        self.note(f"release{' stopped' * stopped}")

    def begin_copies(self, copies: t.Mapping[str, Attempt]) -> None:
        self.note(f"copy {', '.join(copies)}")

    def finish_copies(self) -> None:
        self.note("copied")

    def end_copies(self, beginnings: t.Collection[str]) -> None:
        self.note(f"end copies {', '.join(beginnings)}")

    def end_saving(self) -> None:
        self.note("end saving")

    def wake(self, memory: str) -> None:
        self.note(f"wake {memory}")

    def stop(self) -> None:
        self.note("stop")

    def start(self) -> None:
        self.note("start")

    def tell(self, pools: t.Collection[str]) -> list[str]:
        self.note(f"pools {', '.join(pools)}")
        return ["libvirt has not looked"]


def carry_out(guest: Guest, spec: Spec, state: State, *paths: str) -> tuple[list[str], Plan]:
    """What was done, to its end or its failure, with each change that came to stand."""
    plan = Plan([Change(path, "x", None if path.startswith("snapshots") else "y", How.LIVE) for path in paths])
    host = types.SimpleNamespace(record=lambda kind, name: guest.file)
    work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=(9,)))
    with contextlib.suppress(ApplyError):
        for step in apply.apply_snapshot(spec, state, plan, t.cast(t.Any, work)):
            if isinstance(step, Change):
                guest.told.append(f"stands {step.path}")
    return guest.told, plan


DATA: dict[str, t.Any] = {"kind": "vm", "volumes": VOLUMES}
PARTS = {"root": Part(ROOT), "data": Part(DISK)}
RUNNING = State(power="started", parts=PARTS)
COPYING = State(
    power="started", parts={"root": Part(ROOT), "data": Part(DISK, copied_bytes=9)}, copies_itself=True, has_agent=True
)
ENDED = "end copies /main/.web.root@a+, /main/.web.data@a+"
GONE = ["retire web.root@a", "purge web.root@a", "retire web.data@a", "purge web.data@a"]


def test_a_guest_is_held_while_its_volumes_are_kept_and_libvirt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, DATA)
    told, plan = carry_out(guest, Spec("web", "a"), RUNNING, "state", "volumes[root]")
    assert told == [
        "record a?!",
        "hold still",
        "snapshot web.root@a holding (9,)",
        "snapshot web.data@a holding (9,)",
        "release stopped",
        "record a",
        "pools main",
        "stands state",
        "stands volumes[root]",
    ]
    assert plan.warnings == ["libvirt has not looked"]
    assert Ownership(guest.file).record.snapshots["a"].consistency == "crash"


def test_what_a_machine_copies_itself_is_begun_while_its_file_systems_are_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Guest(monkeypatch, DATA)
    told, dummy = carry_out(guest, Spec("web", "a"), COPYING, "state")
    assert told == [
        "record a?!",
        "create web.data@a 4096 raw holding (9,)",
        "hold still",
        "copy /main/web.data.raw",
        "snapshot web.root@a holding (9,)",
        "release stopped",
        "copied",
        "publish web.data@a read-only",
        "record a",
        "pools main",
        "stands state",
    ]


def test_a_snapshot_is_frozen_where_the_agent_froze_and_clean_where_nothing_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = State(power="started", parts={"root": Part(ROOT)}, has_agent=True)
    for state, consistency in ((alone, "frozen"), (alone._replace(power="stopped", has_agent=False), "clean")):
        guest = Guest(monkeypatch, DATA)
        told, dummy = carry_out(guest, Spec("web", "a"), state, "state")
        assert Ownership(guest.file).record.snapshots["a"].consistency == consistency
        assert ("release" in told) == (consistency == "frozen")


@pytest.mark.parametrize("fails_at", ["create", "copy", "snapshot", "copied", "publish"])
def test_of_a_snapshot_that_could_not_be_made_nothing_is_left(monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    guest = Guest(monkeypatch, DATA, fails_at)
    told, dummy = carry_out(guest, Spec("web", "a"), COPYING, "state")
    assert told[-6:] == [ENDED, *GONE, "record empty"]
    assert ("release stopped" in told) == ("hold still" in told)


def test_one_that_was_begun_goes_before_it_is_made_anew_and_who_was_held_for_it_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Guest(monkeypatch, {**DATA, "snapshots": {"a": snapshot_of("a", building=True, held=True)}})
    state = State(power="stopped", parts=PARTS)
    told, dummy = carry_out(guest, Spec("web", "a"), state, "state")
    assert told[:6] == [ENDED, *GONE, "record a?!"] and "hold" not in told and "release stopped" in told


def test_snapshots_beyond_those_that_are_kept_go_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, {**DATA, "snapshots": {"a": snapshot_of("a")}})
    told, dummy = carry_out(guest, Spec("web", "b-1"), RUNNING, "snapshots[a]")
    assert told == ["record a?", ENDED, *GONE, "record empty", "pools main", "stands snapshots[a]"]


def test_a_snapshot_is_noted_as_going_before_it_goes_and_the_record_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Guest(monkeypatch, {"kind": "vm", "snapshots": {"a": snapshot_of("a", building=True, held=True)}})
    told, dummy = carry_out(guest, Spec("web", "a", "absent"), State(), "state")
    assert told == [ENDED, *GONE, "release stopped", "record empty", "pools main", "record removed", "stands state"]
    guest = Guest(monkeypatch, {**DATA, "snapshots": {"a": snapshot_of("a")}})
    told, dummy = carry_out(guest, Spec("web", "a", "absent"), State(), "state")
    assert told == ["record a?", ENDED, *GONE, "record empty", "pools main", "stands state"]


def swapped(item: str, *, is_limited: bool = False) -> list[str]:
    return [
        f"restore web.{item} of web.{item}@a",
        f"set aside web.{item}@old",
        f"publish web.{item}",
        *([f"resize web.{item} 1000"] if is_limited else []),
        f"seal web.{item}@old",
    ]


def test_a_revert_swaps_each_volume_while_the_guest_is_down_and_starts_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Guest(monkeypatch, {**DATA, "snapshots": {"a": snapshot_of("a")}})
    told, dummy = carry_out(guest, Spec("web", "a", "reverted"), State(power="started", aside="old"), "state")
    assert told == [
        "record a, old, reverting to a",
        "record a, old, reverting to a, starts",
        "stop",
        *swapped("root", is_limited=True),
        *swapped("data"),
        "record a, old, starts",
        "pools main",
        "start",
        "record a, old",
        "stands state",
    ]
    assert Ownership(guest.file).record.snapshots["old"].consistency == "clean"


def test_a_revert_that_was_killed_goes_on_where_it_was_and_a_guest_that_was_down_stays_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"a": snapshot_of("a"), "old": snapshot_of("old")}
    guest = Guest(monkeypatch, {**DATA, "snapshots": known, "reverting": {"target": "a", "aside": "old"}})
    guest.there = {ROOT, ROOT.snapshot("old"), DISK.snapshot("old")}
    told, dummy = carry_out(guest, Spec("web", "a", "reverted"), State(power="stopped", aside="old"), "state")
    assert told == [
        "resize web.root 1000",
        "seal web.root@old",
        "restore web.data of web.data@a",
        "publish web.data",
        "seal web.data@old",
        "record a, old",
        "pools main",
        "stands state",
    ]


# ---- hands -------------------------------------------------------------------------------------------------------------------


class LibvirtError(Exception):
    def get_error_message(self) -> str:
        return "no agent"

    def get_error_code(self) -> int:
        return 1


class Domain:
    """A domain of libvirt that notes its calls; those in *refused* fail. *jobs* are the types of job that it has, one by one."""

    def __init__(
        self, *refused: str, jobs: t.Sequence[int] = (), stats: t.Any = None, backup: str | None = None
    ) -> None:
        self.told: list[str] = []
        self.refused = refused
        self.jobs = list(jobs)
        self.stats = stats or {}
        self.backup = backup
        self.has_power = True
        self.power = 3
        for call in ("fsFreeze", "fsThaw", "suspend", "resume", "abortJob"):
            setattr(self, call, lambda call=call: self.tell(call))
        self.isActive = lambda: self.has_power
        self.jobInfo = lambda: [self.jobs.pop(0)]
        self.jobStats = lambda flags: self.stats
        self.XMLDesc = lambda: XML
        self.backupBegin = lambda text, checkpoint, flags: self.tell(f"begin {flags} {text}")

    def name(self) -> str:
        return "web"

    def state(self) -> list[int]:
        return [self.power]

    def backupGetXMLDesc(self) -> str:  # noqa: N802  # libvirt's name
        if self.backup is None:
            raise LibvirtError
        return self.backup

    def tell(self, what: str) -> None:
        self.told.append(what)
        if what in self.refused:
            raise LibvirtError


XML = (
    "<domain><devices>"
    "<disk><source file='/main/web.data.raw'/><target dev='vda'/></disk>"
    "<disk><source file='/other'/><target dev='vdb'/></disk>"
    "<disk device='cdrom'><target dev='sda'/></disk>"
    "</devices></domain>"
)


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "libvirtError": LibvirtError,
        "VIR_DOMAIN_PAUSED": 3,
        "VIR_DOMAIN_RUNNING": 1,
        "VIR_DOMAIN_JOB_NONE": 0,
        "VIR_DOMAIN_JOB_STATS_COMPLETED": 1,
        "VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL": 7,
        "VIR_DOMAIN_JOB_OPERATION_SNAPSHOT": 5,
        "VIR_DOMAIN_SAVE_RUNNING": 9,
        "VIR_DOMAIN_SNAPSHOT_CREATE_LIVE": 8,
        "VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA": 16,
    }
    monkeypatch.setattr(libraries, "libvirt", lambda: types.SimpleNamespace(**names))


def machine(domain: Domain, *, has_agent: bool = True) -> hands.Machine:
    work = types.SimpleNamespace(host=types.SimpleNamespace(domains={"web": domain}))
    own = Ownership(File("guests", "web", dump(GuestRecord())))
    spec = Spec("web", "a", shutdown_timeout=7, force_stop=True)
    return hands.Machine(spec, t.cast(t.Any, work), own, has_agent=has_agent, warnings=[])


def test_a_machine_is_frozen_by_its_agent_and_held_still_until_it_is_released(libvirt: None) -> None:
    domain = Domain()
    its = machine(domain)
    assert its.hold(stops=True)
    its.release(stopped=True)
    assert domain.told == ["fsFreeze", "suspend", "resume", "fsThaw"] and its.warnings == []


def test_an_agent_that_does_not_freeze_is_told_and_thawed_as_one_of_a_run_that_was_killed(libvirt: None) -> None:
    domain = Domain("fsFreeze", "fsThaw")
    its = machine(domain)
    assert not its.hold(stops=False)
    its.release(stopped=False)
    assert domain.told == ["fsFreeze", "fsThaw"] and "did not freeze its file systems (no agent)" in its.warnings[0]
    silent = Domain()
    assert not machine(silent, has_agent=False).hold(stops=False)
    silent.has_power = False
    machine(silent, has_agent=False).release(stopped=True)
    assert silent.told == []


def test_a_machine_is_stopped_with_the_time_and_the_force_that_the_user_allows(
    libvirt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[t.Any] = []
    monkeypatch.setattr(
        hands.machine_power, "stop", lambda domain, spec, own: told.append((spec.shutdown_timeout, spec.force_stop))
    )
    monkeypatch.setattr(hands.machine_power, "start", lambda domain, own: told.append("start"))
    monkeypatch.setattr(hands.storage, "refresh", lambda work, pools: [f"{pools} are busy"])
    its = machine(Domain())
    its.stop()
    its.start()
    assert told == [(7, True), "start"] and its.tell({"main"}) == ["{'main'} are busy"]


def test_a_container_is_frozen_where_it_has_to_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[t.Any] = []
    for name in ("freeze", "unfreeze", "start"):
        monkeypatch.setattr(
            hands.container_power, name, lambda guest, name=name, **how: told.append((name, guest, how))
        )
    monkeypatch.setattr(hands.container_power, "stop", lambda guest, **how: told.append((guest, how)))
    its = hands.Container(Spec("web", "a", shutdown_timeout=7), (9,))
    assert not its.hold(stops=False) and not its.hold(stops=True)
    its.release(stopped=False)
    its.release(stopped=True)
    its.stop()
    its.start()
    held = {"keep_fds": (9,)}
    assert told == [
        ("freeze", "web", held),
        ("unfreeze", "web", held),
        ("web", {"timeout": 7, "force": False, **held}),
        ("start", "web", {}),
    ]


# ---- copies that a machine makes itself --------------------------------------------------------------------------------------


def test_the_disks_that_are_asked_for_are_copied_and_the_others_are_not(libvirt: None) -> None:
    domain = Domain()
    domain.power = 1
    machine(domain).begin_copies({"/main/web.data.raw": Attempt(DISK, "/main/.new", "raw")})
    flags, text = domain.told[0].removeprefix("begin ").split(" ", 1)
    root = ElementTree.fromstring(text)
    assert flags == "7" and root.attrib == {"mode": "push"} and domain.told[1:] == []
    assert [disk.attrib for disk in root.iterfind("disks/disk")] == [
        {"name": "vda", "backup": "yes", "type": "file"},
        {"name": "vdb", "backup": "no"},
        {"name": "sda", "backup": "no"},
    ]
    assert [child.attrib for child in root.iterfind("disks/disk[@name='vda']/*")] == [
        {"file": "/main/.new"},
        {"type": "raw"},
    ]


def test_a_machine_that_stands_still_has_its_disks_back_before_they_are_copied(
    libvirt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives them up when its memory is written, and aborts when it takes back what it reads from."""
    domain = Domain()
    monkeypatch.setattr(backup.serving, "socket_of", lambda its: "/run/sock")
    monkeypatch.setattr(backup.serving, "end", lambda its: its.tell("ended"))
    monkeypatch.setattr(backup.atomic, "remove_file", lambda path: domain.told.append(f"removed {path}"))
    machine(domain).begin_copies({"/main/web.data.raw": Attempt(DISK, "/main/.web.data@a+1.new", "raw")})
    served, ended, removed, copied = domain.told
    root = ElementTree.fromstring(served.removeprefix("begin 0 "))
    place = root.find("disks/disk[@name='vda']/scratch").get("file")
    assert root.get("mode") == "pull" and root.find("server").get("socket") == "/run/sock"
    assert re.fullmatch(r"/main/\.web\.data@a\+[0-9a-f]{16}\.new", place)
    assert [disk.get("name") for disk in root.iterfind("disks/disk[@backup='no']")] == ["vdb", "sda"]
    assert ended == "ended" and removed == f"removed {place}" and copied.startswith('begin 7 <domainbackup mode="push"')


def test_copies_are_waited_for_and_a_failure_of_qemu_is_told(libvirt: None) -> None:
    done = Domain(jobs=[1, 0], stats={"success": True})
    machine(done).finish_copies()
    assert done.jobs == [] and done.told == []
    with pytest.raises(ApplyError, match="could not copy the disks of web: no space"):
        machine(Domain(jobs=[0], stats={"success": False, "errmsg": "no space"})).finish_copies()


def test_a_wait_that_is_interrupted_ends_the_copies(libvirt: None, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Domain(jobs=[2, 0])
    wait = backup.wait_until

    def interrupted(what: str, ask: t.Callable[[], bool], *, timeout_seconds: float) -> object:
        if timeout_seconds == backup._LONGEST_SECONDS:
            raise KeyboardInterrupt
        return wait(what, ask, timeout_seconds=timeout_seconds)

    monkeypatch.setattr(backup, "wait_until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine(domain).finish_copies()
    assert domain.told == ["abortJob"] and domain.jobs == []


def test_copies_of_others_go_on_and_those_of_a_run_that_was_killed_end(libvirt: None) -> None:
    text = "<domainbackup><disks><disk><target file='/main/.web.data@a+1.new'/></disk></disks></domainbackup>"
    for domain, beginnings, told in (
        (Domain(backup=text.replace("target", "scratch"), jobs=[0]), ["/main/.web.data@a+"], ["abortJob"]),
        (Domain(backup=text, jobs=[0]), ["/main/.web.data@a+"], ["abortJob"]),
        (Domain(backup=text), ["/main/.web.data@b+"], []),
        (Domain(), ["/main/.web.data@a+"], []),
    ):
        machine(domain).end_copies(beginnings)
        assert domain.told == told and domain.jobs == []
    stopped = Domain(backup=text)
    stopped.has_power = False
    machine(stopped).end_copies(["/main/.web.data@a+"])
    assert stopped.told == []


# ---- what a machine has beside its volumes -----------------------------------------------------------------------------------

WITH_MEMORY = {apply.MEMORY: Beside(), "nvram": Beside("/var/nvram")}


@pytest.fixture
def beside_of(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[Guest], Guest]:
    """Lets the guest note what is done to the files of its snapshots too, those of the machine being there."""

    def bind(guest: Guest) -> Guest:
        exists = apply.os.path.exists
        monkeypatch.setattr(apply.paths, "SNAPSHOTS", "/s")
        monkeypatch.setattr(apply.beside, "make_folder", lambda name, its: guest.note(f"folder of {its}"))
        monkeypatch.setattr(apply.beside, "keep", lambda source, target: guest.note(f"keep {source} as {target}"))
        monkeypatch.setattr(apply.beside, "put", lambda source, target: guest.note(f"put {source} to {target}"))
        monkeypatch.setattr(apply.beside, "remove", lambda name, its: guest.note(f"files of {its} removed"))
        monkeypatch.setattr(apply.os.path, "exists", lambda path: path == "/var/nvram" or exists(path))
        return guest

    return bind


Bind = t.Callable[[Guest], Guest]


def test_memory_and_variables_are_kept_while_the_machine_stands_still(
    monkeypatch: pytest.MonkeyPatch, beside_of: Bind
) -> None:
    guest = beside_of(Guest(monkeypatch, DATA))
    state = State(power="started", parts={"root": Part(ROOT)}, beside=WITH_MEMORY)
    told, dummy = carry_out(guest, Spec("web", "a"), state, "state")
    assert told == [
        "record a?!",
        "folder of a",
        "hold still /s/web/a/memory",
        "snapshot web.root@a holding (9,)",
        "keep /var/nvram as /s/web/a/nvram",
        "release stopped",
        "record a",
        "pools main",
        "stands state",
    ]
    its = Ownership(guest.file).record.snapshots["a"]
    assert (its.consistency, its.beside, its.nvram) == ("live", (apply.MEMORY, "nvram"), "/var/nvram")


def test_a_machine_that_a_run_that_was_killed_left_still_goes_on_before_its_memory_is_written_anew(
    monkeypatch: pytest.MonkeyPatch, beside_of: Bind
) -> None:
    begun = snapshot_of("a", building=True, held=True, beside=[apply.MEMORY])
    guest = beside_of(Guest(monkeypatch, {**DATA, "snapshots": {"a": begun}}, "snapshot"))
    state = State(power="started", parts={"root": Part(ROOT)}, beside=WITH_MEMORY)
    told, dummy = carry_out(guest, Spec("web", "a"), state, "state")
    given_up = ["end saving", ENDED, *GONE, "files of a removed"]
    assert told[:6] == given_up[:6] and told[6:11] == [
        given_up[6],
        "record a?!",
        "folder of a",
        "release stopped",
        "hold still /s/web/a/memory",
    ]
    assert told[-5:] == [
        "end copies /main/.web.root@a+",
        "retire web.root@a",
        "purge web.root@a",
        "files of a removed",
        "record empty",
    ]


def test_a_revert_puts_back_what_was_beside_and_the_machine_wakes_up_where_it_was(
    monkeypatch: pytest.MonkeyPatch, beside_of: Bind
) -> None:
    kept = {
        "a": {**snapshot_of("a"), "volumes": {"root": ROOT.snapshot("a")._asdict()}, "beside": [apply.MEMORY, "nvram"]}
    }
    guest = beside_of(Guest(monkeypatch, {**DATA, "snapshots": kept}))
    state = State(power="started", aside="old", beside=WITH_MEMORY)
    told, dummy = carry_out(guest, Spec("web", "a", "reverted"), state, "state")
    assert told == [
        "folder of old",
        "record a, old, reverting to a",
        "record a, old, reverting to a, starts",
        "stop",
        *swapped("root", is_limited=True),
        "keep /var/nvram as /s/web/old/nvram",
        "put /s/web/a/nvram to /var/nvram",
        "record a, old, starts",
        "pools main",
        "wake /s/web/a/memory",
        "record a, old",
        "stands state",
    ]
    aside = Ownership(guest.file).record.snapshots["old"]
    assert (aside.beside, aside.nvram) == (("nvram",), "/var/nvram")


def test_memory_is_written_without_freezing_what_would_be_frozen_when_it_wakes_up(libvirt: None) -> None:
    domain = Domain()
    domain.snapshotCreateXML = lambda text, flags: domain.tell(f"{flags} {text}")
    assert not machine(domain).hold(stops=True, memory="/s/memory")
    (told,) = domain.told
    flags, text = told.split(" ", 1)
    root = ElementTree.fromstring(text)
    assert flags == "24" and [child.attrib for child in root.iterfind("memory")] == [
        {"snapshot": "external", "file": "/s/memory"}
    ]
    assert [disk.attrib for disk in root.iterfind("disks/disk")] == [
        {"name": "vda", "snapshot": "manual"},
        {"name": "vdb", "snapshot": "manual"},
        {"name": "sda", "snapshot": "no"},
    ]


def test_writing_that_a_run_that_was_killed_began_is_ended_and_other_jobs_go_on(libvirt: None) -> None:
    for operation, told in ((5, ["abortJob"]), (6, [])):
        domain = Domain(jobs=[1, 0], stats={"operation": operation})
        domain.jobStats = lambda domain=domain: domain.stats
        machine(domain).end_saving()
        assert domain.told == told and (domain.jobs == []) == bool(told)


def test_a_machine_wakes_up_from_its_memory_and_is_told_what_to_do_where_it_does_not(libvirt: None) -> None:
    domain = Domain()
    domain.connect = lambda: types.SimpleNamespace(restoreFlags=lambda *given: domain.tell(str(given)))
    machine(domain).wake("/s/memory")
    assert domain.told == ["('/s/memory', None, 9)"]
    domain.refused = ("('/s/memory', None, 9)",)
    with pytest.raises(ApplyError, match="revert with memory: false"):
        machine(domain).wake("/s/memory")
