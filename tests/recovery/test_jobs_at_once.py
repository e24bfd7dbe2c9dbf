# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two jobs of one host that begin at the same moment: of one virtual machine, of which libvirt serves one copy at a time, and of two."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import backups, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, command, state_of, virsh
from ansible_collections.homelab.hybrid.tests.matrix.conftest import pool, pool_folder
from ansible_collections.homelab.hybrid.tests.matrix.test_backup_vm import left_behind

__all__ = ["pool", "pool_folder"]
pytestmark = pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
ONE, OTHER = f"{machines.PREFIX}-one", f"{machines.PREFIX}-other"
JOBS = (backups.JOB, f"{backups.JOB}-too")


@pytest.fixture
def store(tmp_path: Path) -> t.Iterator[Path]:
    """The place of the repository of both jobs."""
    place = tmp_path / "restic"
    backups.set_up(place)
    yield place
    gone = [{"name": job, "state": "absent"} for job in JOBS]
    assert converge_now(backups.BACKUP, {"jobs": gone}).error is None
    backups.tear_down(place)


def make(name: str, folder: Path, pattern: int) -> None:
    """A machine that runs, with *pattern* on its disk."""
    disks = [{"name": "root", "pool": machines.POOL, "size": "32M"}]
    assert converge_now(KvmVm(), {"name": name, "state": "stopped", **PAPER, "disks": disks}).error is None
    command("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} 0 24M", str(folder / f"{name}.root.qcow2"))
    virsh("start", name)


def run_both(place: Path, *guests: str) -> None:
    """Each of the jobs, of the guest of its number, begun at the same moment."""
    wanted = backups.declared(place)
    of_job = {"repository": backups.REPOSITORY, "schedule": "daily"}
    wanted["jobs"] = [{"name": job, "guests": [guest], **of_job} for job, guest in zip(JOBS, guests, strict=True)]
    assert converge_now(backups.BACKUP, wanted).error is None
    running = [
        subprocess.Popen([backups.PROGRAM, "run", job], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for job in JOBS
    ]
    for child in running:
        said = child.communicate(timeout=300)[0]
        assert child.returncode == 0, said


def stored(place: Path) -> dict[tuple[str, str], str]:
    """The id of each backup by its guest and its job, as restic lists them."""
    found = {}
    for its in backups.listed(place):
        tags = dict(tag.split("=", 1) for tag in its["tags"])
        found[tags["guest"], tags["job"]] = its["id"]
    return found


def holds(place: Path, backup: str, pattern: int, tmp_path: Path) -> bool:
    """Whether the disk in *backup* is what was written to it, as restic itself brings it back."""
    folder = tmp_path / backup[:8]
    backups.restic(place, "restore", backup, "--target", str(folder))
    (disk,) = folder.rglob("root.raw")
    told = command("qemu-io", "-r", "-f", "raw", "-c", f"read -P {pattern} 0 24M", str(disk), check=False)
    return disk.stat().st_size == 32 << 20 and "read 25165824/25165824" in told and "verification failed" not in told


def test_two_jobs_of_one_machine_are_made_one_after_the_other(
    pool: str, pool_folder: Path, store: Path, tmp_path: Path
) -> None:
    make(ONE, pool_folder, 1)
    run_both(store, ONE, ONE)
    found = stored(store)
    assert found.keys() == {(ONE, job) for job in JOBS}
    assert all(holds(store, backup, 1, tmp_path) for backup in found.values())
    assert state_of(ONE) == "running" and "None" in virsh("domjobinfo", ONE)
    wait_until("nothing to be left", lambda: left_behind(pool_folder) == [], timeout_seconds=10)


def test_two_jobs_of_two_machines_do_not_disturb_each_other(
    pool: str, pool_folder: Path, store: Path, tmp_path: Path
) -> None:
    make(ONE, pool_folder, 1)
    make(OTHER, pool_folder, 2)
    run_both(store, ONE, OTHER)
    found = stored(store)
    assert found.keys() == {(ONE, JOBS[0]), (OTHER, JOBS[1])}
    assert holds(store, found[ONE, JOBS[0]], 1, tmp_path) and holds(store, found[OTHER, JOBS[1]], 2, tmp_path)
    for name in (ONE, OTHER):
        assert state_of(name) == "running" and "None" in virsh("domjobinfo", name)
    wait_until("nothing to be left", lambda: left_behind(pool_folder) == [], timeout_seconds=10)
