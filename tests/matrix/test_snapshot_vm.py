# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of virtual machines, raw on btrfs and qcow2 in a plain folder, running and stopped. Proven with qemu-io, qemu-img and virsh."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import hand_made, machines, two_pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import Child
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    command,
    state_of,
    virsh,
    volume,
)
from ansible_collections.homelab.hybrid.tests.harness.two_pools import (
    BTRFS,
    FORMATS,
    NAME,
    holds,
    make,
    needs_firmware,
    remember,
    write,
)

VM = KvmVm()
SNAPSHOT = GuestSnapshot()
BEFORE: dict[str, t.Any] = {"guest": NAME, "name": "before"}
REVERT: dict[str, t.Any] = {
    **BEFORE,
    "state": "reverted",
    "allow": ["revert"],
    "shutdown_timeout": 0,
    "force_stop": True,
}
PATHS = ["state", "volumes[root]", "volumes[data]"]
KIB = 1024


def files(pool_folder: Path) -> list[str]:
    return sorted(path.name for path in pool_folder.iterdir() if path.is_file() and path.name.startswith(NAME))


def stood(params: dict[str, t.Any]) -> Outcome:
    outcome = converge_now(SNAPSHOT, params)
    assert outcome.error is None, outcome.error
    return outcome


@pytest.mark.parametrize("power", ["started", "stopped"])
def test_a_snapshot_keeps_all_disks_and_a_revert_brings_them_back(pool: str, pool_folder: Path, power: str) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    if power == "started":
        virsh("start", NAME)
    outcome = check_run_again(SNAPSHOT, BEFORE, PATHS)
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    assert outcome.facts["snapshot"]["consistency"] == ("crash" if power == "started" else "clean")
    told = " ".join(outcome.plan.warnings)
    assert ("is held still" in told) is (power == "started" and pool == BTRFS)
    assert ("goes on while QEMU copies" in told) is (power == "started" and pool != BTRFS)
    write(pool, pool_folder, 2)
    assert holds(pool, pool_folder, 1, end="@before") and holds(pool, pool_folder, 2)
    number = virsh("domid", NAME)
    refuse(SNAPSHOT, {**REVERT, "allow": []}, "allow: [revert]")
    check_run_again(SNAPSHOT, REVERT, [*PATHS, "snapshots[before-revert-1]"])
    assert holds(pool, pool_folder, 1) and holds(pool, pool_folder, 2, end="@before-revert-1")
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    assert power == "stopped" or virsh("domid", NAME) != number
    unchanged(VM, {"name": NAME, "disks": [{"name": "root", "pool": pool, "size": "2M"}]})
    listed = virsh("vol-list", pool)
    assert f"{NAME}.root@before.{FORMATS[pool]}" in listed
    if pool == BTRFS:
        assert "C" in command("lsattr", str(pool_folder / f"{NAME}.root.raw")).split()[0]
    assert volume(pool_folder / f"{NAME}.root.{FORMATS[pool]}")["virtual-size"] == 2048 * KIB
    check_run_again(SNAPSHOT, {**BEFORE, "state": "absent"}, ["state"])
    assert not [name for name in files(pool_folder) if "@before." in name]


def test_snapshots_outlive_their_machine_and_go_by_name(pool: str, pool_folder: Path) -> None:
    make(pool)
    stood(BEFORE)
    stood({**BEFORE, "name": "other"})
    gone = {"name": NAME, "state": "absent"}
    outcome = check_run_again(VM, {**gone, "delete": ["disks"]}, ["state", "disks[root]", "disks[data]"])
    kept = [f"{NAME}.{disk}@{name}.{FORMATS[pool]}" for disk in ("data", "root") for name in ("before", "other")]
    assert sorted(outcome.plan.kept) == [str(pool_folder / name) for name in kept] and files(pool_folder) == kept
    check_run_again(SNAPSHOT, {**BEFORE, "state": "absent"}, ["state"])
    check_run_again(VM, {**gone, "delete": ["snapshots"]}, ["snapshots[other]"])
    assert files(pool_folder) == []


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_snapshots_of_libvirt_are_forgotten_with_the_machine_only_where_that_is_named(
    pool: str, pool_folder: Path
) -> None:
    make(pool)
    virsh("snapshot-create-as", NAME, "theirs")
    gone = {"name": NAME, "state": "absent", "delete": ["disks"]}
    refuse(VM, gone, "Permit it with delete: [snapshots]")
    check_run_again(VM, {**gone, "delete": ["disks", "snapshots"]}, ["state", "disks[root]", "disks[data]"])
    assert state_of(NAME) == "" and files(pool_folder) == []


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_what_no_snapshot_would_be_whole_of_is_refused(pool: str, pool_folder: Path) -> None:
    make(pool, "started")
    virsh("managedsave", NAME)
    refuse(SNAPSHOT, BEFORE, "is saved to disk")
    virsh("managedsave-remove", NAME)
    other = f"{NAME}-theirs"
    hand_made.make(other, hand_made.disk(hand_made.image(pool_folder / f"{other}.raw")))
    refuse(SNAPSHOT, {**BEFORE, "guest": other}, "has no disk that this collection made")


@pytest.fixture
def firmware(pool: str, pool_folder: Path) -> t.Iterator[dict[str, Path]]:
    make(pool)
    with two_pools.firmware(pool_folder) as files:
        yield files


def remembered(firmware: dict[str, Path]) -> list[bytes]:
    return [path.read_bytes()[:5] for path in firmware.values()]


@needs_firmware
@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
@pytest.mark.parametrize("power", ["started", "stopped"])
def test_what_the_firmware_and_a_tpm_remember_comes_back_with_the_disks(
    pool: str, pool_folder: Path, firmware: dict[str, Path], power: str
) -> None:
    write(pool, pool_folder, 1)
    remember(firmware, b"first")
    if power == "started":
        virsh("start", NAME)
    outcome = check_run_again(SNAPSHOT, BEFORE, [*PATHS, "nvram", "tpm"])
    assert any("is held still" in warning for warning in outcome.plan.warnings) is (power == "started")
    assert outcome.facts["snapshot"]["beside"] == ["nvram", "tpm"]
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    if power == "started":
        virsh("destroy", NAME)
    remember(firmware, b"later")
    write(pool, pool_folder, 2)
    owners = [(path.stat().st_uid, path.stat().st_mode) for path in firmware.values()]
    check_run_again(SNAPSHOT, REVERT, [*PATHS, "nvram", "tpm", "snapshots[before-revert-1]"])
    assert holds(pool, pool_folder, 1) and remembered(firmware) == [b"first", b"first"]
    assert [(path.stat().st_uid, path.stat().st_mode) for path in firmware.values()] == owners
    stood({**REVERT, "name": "before-revert-1"})
    assert holds(pool, pool_folder, 2) and remembered(firmware) == [b"later", b"later"]
    virsh("start", NAME)
    kept = Path(paths.SNAPSHOTS) / NAME
    assert kept.stat().st_mode & 0o077 == 0 or kept.parent.stat().st_mode & 0o077 == 0
    outcome = converge_now(VM, {"name": NAME, "state": "absent", "shutdown_timeout": 0, "force_stop": True})
    assert outcome.error is None and str(kept / "before") in outcome.plan.kept
    stood({**BEFORE, "state": "absent"})
    check_run_again(
        VM,
        {"name": NAME, "state": "absent", "delete": ["disks", "snapshots"]},
        ["disks[root]", "disks[data]", "snapshots[before-revert-1]", "snapshots[before-revert-2]"],
    )
    assert not kept.exists() and files(pool_folder) == []


@needs_firmware
@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
@pytest.mark.parametrize("number", [1, 4])
def test_a_snapshot_with_memory_that_is_killed_is_made_anew(
    pool: str, pool_folder: Path, firmware: dict[str, Path], number: int
) -> None:
    virsh("start", NAME)
    live = {**BEFORE, "memory": True}
    steps = Child(SNAPSHOT, live, kill_at=number).finish()[0]
    assert steps == ["record written", "snapshot of root", "snapshot of data", "nvram kept", "tpm kept"][:number]
    stood(live)
    assert state_of(NAME) == "running" and len(files(pool_folder)) == 4 and not list(pool_folder.glob(".*"))
    assert sorted(path.name for path in (Path(paths.SNAPSHOTS) / NAME / "before").iterdir()) == [
        "memory",
        "nvram",
        "tpm",
    ]
    assert virsh("snapshot-list", NAME) == "" and virsh("domblklist", NAME).count("@") == 0
    stood({**BEFORE, "state": "absent"})


@needs_firmware
@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
@pytest.mark.parametrize("moment", ["nvram in place", "tpm set aside", "record complete"])
def test_a_revert_of_firmware_and_memory_that_is_killed_is_finished(
    pool: str, pool_folder: Path, firmware: dict[str, Path], moment: str
) -> None:
    remember(firmware, b"first")
    virsh("start", NAME)
    stale = Path(paths.snapshot_folder(NAME, "before")) / "nvram"
    stale.parent.mkdir(parents=True)
    stale.touch()
    stood({**BEFORE, "memory": True})
    virsh("destroy", NAME)
    remember(firmware, b"later")
    words = ["nvram set aside", "nvram in place", "tpm set aside", "tpm in place", "record complete"]
    assert Child(SNAPSHOT, REVERT, kill_at=8 + words.index(moment)).finish()[0][-1] == moment
    stood(REVERT)
    assert state_of(NAME) == "running"
    virsh("destroy", NAME)
    assert remembered(firmware) == [b"first", b"first"]
    stood({**REVERT, "name": "before-revert-1"})
    assert remembered(firmware) == [b"later", b"later"]


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_memory_that_could_not_wake_up_is_refused_and_the_disks_come_back_alone(pool: str, pool_folder: Path) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    assert converge_now(VM, {"name": NAME, "networks": [{"name": "lan", "bridge": machines.BRIDGES[1]}]}).error is None
    live = {**BEFORE, "memory": True}
    virsh("start", NAME, "--paused")
    refuse(SNAPSHOT, live, "Let it go on first. Make the snapshot without it (memory: false)")
    virsh("resume", NAME)
    check_run_again(SNAPSHOT, live, [*PATHS, "memory"])
    refuse(SNAPSHOT, {**REVERT, "name": "other", "memory": True}, "has no snapshot other")
    command("ip", "link", "del", machines.BRIDGES[1])
    try:
        refuse(
            SNAPSHOT,
            REVERT,
            f"and the bridge {machines.BRIDGES[1]} is gone. Bring its disks back without it (memory: false)",
        )
    finally:
        command("ip", "link", "add", machines.BRIDGES[1], "type", "bridge")
    virsh("destroy", NAME)
    check_run_again(SNAPSHOT, {**REVERT, "memory": False}, [*PATHS, "snapshots[before-revert-1]"])
    assert state_of(NAME) == "shut off" and holds(pool, pool_folder, 1)
    refuse(SNAPSHOT, {**REVERT, "name": "before-revert-1", "memory": True}, "has no memory. Bring its disks back")
    theirs = hand_made.image(pool_folder / f"{NAME}-theirs.raw")
    virsh("attach-disk", NAME, str(theirs), "vdz", "--config")
    virsh("start", NAME)
    refuse(SNAPSHOT, {**live, "name": "other"}, f"writes to {theirs}, which is in no snapshot")


@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
def test_a_disk_that_is_not_ours_is_told_and_left_out(pool: str, pool_folder: Path) -> None:
    make(pool)
    theirs = hand_made.image(pool_folder / f"{NAME}-theirs.raw")
    virsh("attach-disk", NAME, str(theirs), "vdz", "--config")
    outcome = check_run_again(SNAPSHOT, BEFORE, PATHS)
    assert any(f"{theirs}: " in warning and "in no snapshot" in warning for warning in outcome.plan.warnings)


@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
def test_a_machine_that_was_held_when_a_run_was_killed_goes_on_with_the_next(pool: str, pool_folder: Path) -> None:
    make(pool, "started")
    steps = Child(SNAPSHOT, BEFORE, kill_at=2).finish()[0]
    assert steps == ["record written", "snapshot of root"] and state_of(NAME) == "paused"
    assert f"{NAME}.root@before.raw" in files(pool_folder)
    assert converge_now(SNAPSHOT, {**BEFORE, "name": "never", "state": "absent"}).facts["snapshots"] == []
    stood(BEFORE)
    assert state_of(NAME) == "running" and len(files(pool_folder)) == 4 and not list(pool_folder.glob(".*"))


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_copies_of_a_running_machine_that_were_interrupted_are_made_anew(pool: str, pool_folder: Path) -> None:
    """QEMU goes on with what the killed run has begun. A disk on an image is whole by itself in the snapshot."""
    make(pool)
    linked = {"name": "linked", "pool": pool, "image": machines.IMAGE}
    assert converge_now(VM, {"name": NAME, "disks": [linked]}).error is None
    write(pool, pool_folder, 1)
    virsh("start", NAME)
    assert Child(SNAPSHOT, BEFORE, kill_at=2).finish()[0] == ["record written", "copies begun"]
    assert state_of(NAME) == "running"
    stood(BEFORE)
    assert state_of(NAME) == "running" and holds(pool, pool_folder, 1, end="@before")
    assert len(files(pool_folder)) == 6 and not list(pool_folder.glob(".*"))
    assert "backing-filename" in volume(pool_folder / f"{NAME}.linked.qcow2")
    assert "backing-filename" not in volume(pool_folder / f"{NAME}.linked@before.qcow2")
    assert virsh("checkpoint-list", NAME, "--name") == virsh("snapshot-list", NAME, "--name") == ""
    assert virsh("domblklist", NAME).count("@") == 0


@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
@pytest.mark.parametrize("moment", ["data set aside", "data in place", "root set aside"])
def test_a_revert_of_a_machine_that_is_killed_is_finished(pool: str, pool_folder: Path, moment: str) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    stood(BEFORE)
    write(pool, pool_folder, 2)
    steps = [f"{disk} {what}" for disk in ("data", "root") for what in ("restored beside", "set aside", "in place")]
    number = 2 + steps.index(moment)
    assert Child(SNAPSHOT, REVERT, kill_at=number).finish()[0][-1] == moment
    stood(REVERT)
    assert holds(pool, pool_folder, 1) and holds(pool, pool_folder, 2, end="@before-revert-1")
    assert len(files(pool_folder)) == 6 and not list(pool_folder.glob(".*"))
