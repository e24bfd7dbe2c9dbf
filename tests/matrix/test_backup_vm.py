# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines in backups: captured, stored, and brought back; raw on btrfs and qcow2 in a plain folder, running and stopped.

Proven with qemu-img, qemu-io, virsh and restic itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import taking
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import Job
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files import guestfish
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import Repository
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.capture import Captured, Wish
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.capture import captured
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import command, state_of, virsh
from ansible_collections.homelab.hybrid.tests.harness.two_pools import (
    BTRFS,
    DISKS,
    FORMATS,
    NAME,
    firmware,
    holds,
    make,
    needs_firmware,
    path_of,
    remember,
    write,
)

VM = KvmVm()
DATA = {"name": "data", "pool": machines.POOL, "size": "1M"}
RESTORE = GuestRestore()
OVER: dict[str, t.Any] = {"allow": ["overwrite"], "shutdown_timeout": 0, "force_stop": True}
REPOSITORY = f"{machines.PREFIX}-repository"
JOB = Job("nightly", REPOSITORY, guests=(NAME,))
FOLDER = Path(paths.capture_folder(NAME))


@contextlib.contextmanager
def shown(mode: str = "snapshot") -> t.Iterator[Captured]:
    """What a backup would read, and no repository."""
    FOLDER.mkdir(parents=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        stack.callback(_hide)
        yield stack.enter_context(captured(Wish(NAME, str(FOLDER), mode), Host(), lambda **begun: None, ()))


def _hide() -> None:
    assert "nbd" not in Path("/proc/self/mounts").read_text()
    shutil.rmtree(FOLDER)


@pytest.fixture
def repository(tmp_path: Path) -> t.Iterator[Repository]:
    for what, text in (("url", str(tmp_path / "repository")), ("password", "a password of a test")):
        file = Path(paths.repository_file(REPOSITORY, what))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    its = Repository(REPOSITORY)
    its.make()
    yield its
    for file in Path(paths.repository_file(REPOSITORY, "url")).parent.glob(f"{REPOSITORY}.*"):
        file.unlink()


def left_behind(pool_folder: Path) -> list[str]:
    """What of a backup is still there, as the host's own tools see it."""
    found = [str(path) for path in pool_folder.iterdir() if "+backup" in path.name]
    places = (FOLDER, Path(paths.capture_note(NAME)), Path(paths.scratch_folder(NAME)))
    found += [str(path) for path in places if path.exists()]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if "nbd" in line]
    found += [path.parent.name for path in Path("/proc").glob("[0-9]*/comm") if _is_of_capture(path)]
    if state_of(NAME) == "running" and "None" not in (job := virsh("domjobinfo", NAME)):
        found.append(job)
    return found


def _is_of_capture(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text().strip() in ("nbdfuse", "qemu-nbd") and bool((path.parent / "cmdline").read_bytes())
    return False


def nothing_is_left(pool_folder: Path) -> bool:
    """Also of the programs, which end by themselves."""
    return bool(wait_until("nothing to be left", lambda: left_behind(pool_folder) == [], timeout_seconds=10))


def same(one: Path, other: Path, form: str) -> bool:
    return "identical" in command(
        "qemu-img", "compare", "-U", "-f", "raw", "-F", form, str(one), str(other), check=False
    )


@pytest.mark.parametrize("power", ["started", "stopped"])
def test_a_capture_shows_each_disk_as_it_is_and_leaves_nothing(pool: str, pool_folder: Path, power: str) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    if power == "started":
        virsh("start", NAME)
    with shown() as its:
        for disk in DISKS:
            facts = its.volumes[disk]
            copy = FOLDER / facts["file"]
            assert same(copy, path_of(pool, pool_folder, disk), FORMATS[pool]) and copy.stat().st_size == facts["size"]
            assert facts["pool"] == pool and facts["format"] == FORMATS[pool] and facts["used"] <= facts["size"]
            with pytest.raises(OSError):
                copy.open("r+b")
        assert f"<name>{NAME}</name>" in (FOLDER / its.definition).read_text()
        assert power == "stopped" or "Backup" in virsh("domjobinfo", NAME)
    assert its.consistent == ("crash" if power == "started" else "application")
    assert [word for word in its.warnings if "no agent answers" in word] == list(its.warnings)
    assert bool(its.warnings) is (power == "started")
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    assert nothing_is_left(pool_folder)


@needs_firmware
@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_a_capture_has_what_a_machine_remembers_beside_its_disks(pool: str, pool_folder: Path) -> None:
    make(pool)
    with firmware(pool_folder) as files:
        remember(files, b"before")
        with shown():
            assert (FOLDER / "beside/nvram").read_bytes() == files["nvram"].read_bytes()
            kept = FOLDER / "beside/tpm/tpm2/secret"
            assert kept.read_bytes() == b"before" and (kept.stat().st_uid, kept.stat().st_gid) == (1234, 1234)


@pytest.mark.parametrize("power", ["started", "stopped"])
@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_what_is_no_business_of_a_backup_is_left_out_and_named(pool: str, pool_folder: Path, power: str) -> None:
    make(pool)
    iso, other = pool_folder.parent / "some.iso", pool_folder.parent / "an,other.raw"
    iso.write_bytes(bytes(1 << 20))
    other.write_bytes(b"other" * 1024 + bytes(512 * 1024 - 5 * 1024))
    for file in (iso, other):
        file.chmod(0o666)
    virsh("attach-disk", NAME, str(iso), "sda", "--type", "cdrom", "--mode", "readonly", "--config")
    virsh("attach-disk", NAME, str(iso), "vdc", "--mode", "readonly", "--config")
    xml = f"<disk type='file'><driver type='raw'/><source file='{other}'/><target dev='vdd'/></disk>"
    (pool_folder.parent / "disk.xml").write_text(xml)
    virsh("attach-device", NAME, str(pool_folder.parent / "disk.xml"), "--config")
    if power == "started":
        virsh("start", NAME)
    with shown() as its:
        assert sorted(path.name for path in (FOLDER / "disks").iterdir()) == ["data.raw", "disk3.raw", "root.raw"]
        assert (FOLDER / "disks/disk3.raw").read_bytes() == other.read_bytes()
        assert its.volumes["disk3"]["pool"] is None and its.volumes["disk3"]["source"] == str(other)
        # What is overwritten meanwhile of a disk in no pool is saved elsewhere.
        assert len(list(Path(paths.scratch_folder(NAME)).glob("disk3+*.new"))) == (power == "started")
    assert f"the disk disk2 of {NAME} is not in its backup: the machine only reads it" in its.warnings
    assert nothing_is_left(pool_folder)


@pytest.mark.parametrize("mode", ["snapshot", "suspend"])
@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_what_is_paused_stays_so_and_what_runs_goes_on(pool: str, pool_folder: Path, mode: str) -> None:
    make(pool, "started")
    with shown(mode) as its:
        assert state_of(NAME) == "running" and its.consistent == "crash"
    virsh("suspend", NAME)
    with shown(mode) as its:
        assert state_of(NAME) == "paused" and its.consistent == "crash"
    assert state_of(NAME) == "paused" and nothing_is_left(pool_folder)
    virsh("resume", NAME)


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_a_machine_that_does_not_shut_down_is_not_captured_and_goes_on(
    pool: str, pool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.homelab.hybrid.plugins.module_utils._vm.capture._SHUTDOWN_SECONDS", 1)
    make(pool, "started")
    with pytest.raises(HybridError, match=r"did not shut down within 1 s\. Use mode: snapshot"), shown("stop"):
        raise AssertionError("it was shown")
    assert state_of(NAME) == "running" and nothing_is_left(pool_folder)


def test_a_machine_that_stops_or_starts_in_the_middle_is_not_backed_up(pool: str, pool_folder: Path) -> None:
    make(pool, "started")
    with pytest.raises(HybridError, match="stopped, or somebody ended the job"), shown():
        virsh("destroy", NAME)
        with pytest.raises(OSError):
            (FOLDER / "disks/root.raw").read_bytes()
    assert nothing_is_left(pool_folder)
    with pytest.raises(HybridError, match="was started while it was read"), shown():
        virsh("start", NAME)
    virsh("destroy", NAME)
    assert nothing_is_left(pool_folder)


def test_a_pool_that_fills_up_ends_the_backup_and_not_the_machine(
    pool: str, pool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(pool, "started")
    module = "ansible_collections.homelab.hybrid.plugins.module_utils._vm.serving"
    with pytest.raises(HybridError, match=f"{pool_folder} is nearly full: {NAME} had to go on"), shown():
        monkeypatch.setattr(f"{module}._is_full", lambda folder: True)
        wait_until("the job to end", lambda: "None" in virsh("domjobinfo", NAME), timeout_seconds=10)
    with pytest.raises(HybridError, match="would not fit"), shown():
        raise AssertionError("it was shown")
    assert state_of(NAME) == "running" and nothing_is_left(pool_folder)


CHILD = """
import importlib, os, signal, sys
ROOT = "ansible_collections.homelab.hybrid.plugins.module_utils."

def wrap(place):
    module, *owner, name = place.split(":")
    holder = importlib.import_module(ROOT + module)
    for each in owner:
        holder = getattr(holder, each)
    before = getattr(holder, name)
    def then_die(*words, **options):
        its = before(*words, **options)
        if hasattr(its, "__enter__"):
            its.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(holder, name, then_die)

wrap(sys.argv[1])
from ansible_collections.homelab.hybrid.tests.matrix.test_backup_vm import JOB, NAME, Host, taking
taking.take(NAME, JOB, Host())
"""
BOTH = (
    "_backup.taking:_Note:__call__",
    "_vm.capture:look",
    "_vm.capture:_Capture:_keep_beside",
    "_vm.capture:_mounted",
    "_vm.capture:_Capture:begin",
    "_backup.repository:Repository:back_up",
    "_vm.capture:_unmount",
)
OF_RUNNING = (
    "_vm.serving:prepare_scratch",
    "_vm.power:pause",
    "_vm.serving:begin",
    "_vm.power:resume",
    "_vm.serving:end",
)


@pytest.mark.parametrize("power", ["started", "stopped"])
@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_what_a_backup_that_was_killed_has_left_is_taken_back(
    pool: str, pool_folder: Path, power: str, repository: Repository
) -> None:
    make(pool, power)
    was = state_of(NAME)
    for number, place in enumerate((*BOTH, *(OF_RUNNING if power == "started" else ()))):
        argv = [sys.executable, "-c", CHILD, place]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL, (place, done.stderr)
        assert left_behind(pool_folder) != [], place
        if number % 2:
            assert taking.clear_all(Host()) == [NAME], place
        else:
            taking.take(NAME, JOB, Host())
        assert state_of(NAME) == was and nothing_is_left(pool_folder), place
    assert taking.clear_all(Host()) == []
    # What it had stored whole before it was killed counts.
    assert len(repository.list()) == (9 if power == "started" else 6)


def bring_back(name: str = NAME, **params: t.Any) -> Outcome:
    """The newest backup becomes the machine *name*."""
    other = {} if name == NAME else {"as": name}
    outcome = converge_now(RESTORE, {"name": NAME, "repository": REPOSITORY, **other, **params})
    assert outcome.error is None, outcome.error
    return outcome


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.lstrip(".").startswith(machines.PREFIX))


@pytest.mark.parametrize(("pool", "power"), [(machines.POOL, "stopped"), (BTRFS, "started")], indirect=["pool"])
def test_a_machine_that_was_lost_comes_back_as_it_was(
    pool: str, pool_folder: Path, power: str, repository: Repository, tmp_path: Path
) -> None:
    params = {
        "name": NAME,
        "description": "of a test",
        "tags": ["kept"],
        "autostart": True,
        "cloud_init": {"user_data": "#cloud-config\nhostname: before\n"},
        "networks": [{"name": "lan", "bridge": machines.BRIDGES[0]}],
        "disks": [{"name": disk, "pool": pool, "size": size} for disk, size in (("root", "2M"), ("data", "1M"))],
        **machines.PAPER,
    }
    outcome = converge_now(VM, {**params, "state": "stopped"})
    assert outcome.error is None, outcome.error
    write(pool, pool_folder, 7)
    copies = {disk: tmp_path / f"{disk}.copy" for disk in DISKS}
    for disk, copy in copies.items():
        shutil.copy(path_of(pool, pool_folder, disk), copy)
    if power == "started":
        virsh("start", NAME)
    taking.take(NAME, JOB, Host())
    if power == "started":
        virsh("destroy", NAME)
    before, listed = virsh("dumpxml", NAME, "--inactive", "--security-info"), files(pool_folder)
    machines.remove_machines()
    for path in pool_folder.glob(f"{NAME}.*"):
        path.unlink()
    run = check_run_again(RESTORE, {"name": NAME, "repository": REPOSITORY})
    assert run.plan.warnings == ([] if power == "stopped" else [its for its in run.plan.warnings if "power cut" in its])
    assert files(pool_folder) == listed
    for disk, copy in copies.items():
        form = FORMATS[pool]
        assert "identical" in command(
            "qemu-img", "compare", "-f", form, "-F", form, str(copy), str(path_of(pool, pool_folder, disk))
        )
    assert virsh("dumpxml", NAME, "--inactive", "--security-info") == before
    unchanged(VM, params)
    virsh("start", NAME)
    assert state_of(NAME) == "running" and virsh("dominfo", NAME).split("Autostart:")[1].split()[0] == "enable"


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_a_backup_becomes_another_machine_beside_its_own(
    pool: str, pool_folder: Path, repository: Repository, tmp_path: Path, pool_folders: dict[str, Path]
) -> None:
    card = {"name": "lan", "bridge": machines.BRIDGES[0]}
    outcome = converge_now(
        VM, {"name": NAME, "state": "stopped", "networks": [card], "disks": [DATA], **machines.PAPER}
    )
    assert outcome.error is None, outcome.error
    virsh("start", NAME)
    taking.take(NAME, JOB, Host())
    other = f"{NAME}-other"
    bring_back(other, pool=BTRFS, network=machines.BRIDGES[1])
    assert (pool_folders[BTRFS] / f"{other}.data.raw").is_file()
    one, two = machines.definition(NAME), machines.definition(other)
    for path in ("uuid", "devices/interface/mac", "devices/interface/target", "devices/interface/source"):
        mine, its = one.find(path), two.find(path)
        assert mine is not None and its is not None and (mine.text, mine.attrib) != (its.text, its.attrib), path
    virsh("start", other)
    assert state_of(NAME) == state_of(other) == "running" and machines.taps(machines.BRIDGES[1]) != []
    moved = {"name": "lan", "bridge": machines.BRIDGES[1]}
    unchanged(VM, {"name": other, "networks": [moved], "disks": [{**DATA, "pool": BTRFS, "format": "raw"}]})
    unchanged(VM, {"name": NAME, "networks": [card], "disks": [DATA]})


@needs_firmware
@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_what_a_machine_remembers_comes_back_with_it(
    pool: str, pool_folder: Path, repository: Repository, tmp_path: Path
) -> None:
    make(pool)
    with firmware(pool_folder) as files_of:
        remember(files_of, b"before")
        taking.take(NAME, JOB, Host())
        remember(files_of, b"since!")
        bring_back(**OVER)
        assert {word: path.read_bytes()[:6] for word, path in files_of.items()} == dict.fromkeys(files_of, b"before")
        other = f"{NAME}-other"
        bring_back(other)
        nvram = Path(machines.definition(other).findtext("os/nvram", ""))
        tpm = Path("/var/lib/libvirt/swtpm") / machines.definition(other).findtext("uuid", "") / "tpm2/secret"
        assert nvram != files_of["nvram"] and nvram.read_bytes()[:6] == b"before" == tpm.read_bytes()
        virsh("undefine", other, "--nvram")
        shutil.rmtree(tpm.parent.parent, ignore_errors=True)


@pytest.mark.parametrize(("pool", "power"), [(machines.POOL, "started"), (BTRFS, "stopped")], indirect=["pool"])
def test_a_backup_comes_into_a_machine_that_is_there(
    pool: str, pool_folder: Path, power: str, repository: Repository
) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    taking.take(NAME, JOB, Host())
    write(pool, pool_folder, 2)
    if power == "started":
        virsh("start", NAME)
    params = {"name": NAME, "repository": REPOSITORY, "shutdown_timeout": 0, "force_stop": True}
    refuse(RESTORE, params, "allow: [overwrite]")
    check_run_again(RESTORE, {**params, "allow": ["overwrite"]}, ["state", "volumes[root]", "volumes[data]"])
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    assert holds(pool, pool_folder, 1) and holds(pool, pool_folder, 2, end="@before-revert-1")
    unchanged(VM, {"name": NAME, "disks": [{"name": "data", "pool": pool, "size": "1M"}]})


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_single_files_of_a_machine_are_refused_where_libguestfs_is_not_installed(
    pool: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of a host where it is: tests/recovery/test_files_of_machines.py.
    monkeypatch.setattr(guestfish, "missing", lambda: "guestfish")
    make(pool)
    taking.take(NAME, JOB, Host())
    params = {"name": NAME, "repository": REPOSITORY, "paths": ["/etc/fstab"], "to": str(tmp_path / "found")}
    refuse(RESTORE, params, "install Debian's package guestfish")


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_a_backup_that_cannot_be_read_to_its_end_makes_no_machine(
    pool: str, pool_folder: Path, repository: Repository, tmp_path: Path
) -> None:
    make(pool)
    (tmp_path / "noise").write_bytes(os.urandom(512 << 10))
    command(
        "qemu-io", "-f", "qcow2", "-c", f"write -s {tmp_path / 'noise'} 0 512k", str(pool_folder / f"{NAME}.data.qcow2")
    )
    taking.take(NAME, JOB, Host())
    machines.remove_machines()
    packs = [path for path in (tmp_path / "repository/data").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)
    outcome = converge_now(RESTORE, {"name": NAME, "repository": REPOSITORY})
    assert outcome.error is not None and "restic" in outcome.error.message, outcome.error
    assert files(pool_folder) == [] and state_of(NAME) == "" and not Path(paths.record_path("guests", NAME)).exists()
