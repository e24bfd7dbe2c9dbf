# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that are replicated to another pool over OpenSSH: their disks, and what is beside them. Proven with cmp, qemu-io and virsh."""

from __future__ import annotations

import json
import platform
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import backups, loopback_ssh, machines, pools, two_pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.machines import command, state_of, virsh

# Of the disks first the one that the machine starts from.
RESTORED = ["state", "backup", "volumes[root]", "volumes[data]"]
JOB, FAR = f"{machines.PREFIX}-far", f"{machines.PREFIX}-far"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[dict[str, Path]]:
    """The pools of ``two_pools``, and where the copies come."""
    with two_pools.surroundings() as found, loopback_ssh.serving(tmp_path_factory.mktemp("ssh")):
        beside = found[machines.POOL].parent / "other"
        beside.mkdir()
        with pools.btrfs(beside, size="512M") as point:
            place = point / "far"
            outcome = converge_now(StoragePool(), {"name": FAR, "type": "btrfs", "path": str(place)})
            assert outcome.error is None, outcome.error
            yield {**found, FAR: place}
            converge_now(backups.BACKUP, {"replications": [{"name": JOB, "state": "absent"}]})
            Path(backups.PROGRAM).unlink(missing_ok=True)
            Path(paths.replication_report(JOB)).unlink(missing_ok=True)
            converge_now(StoragePool(), {"name": FAR, "state": "absent", "allow": ["delete_data"]})


def declared() -> dict[str, t.Any]:
    wanted = {"name": JOB, "host": "127.0.0.1", "port": loopback_ssh.PORT, "pool": FAR, "schedule": "daily"}
    return {"replications": [{**wanted, "guests": [two_pools.NAME]}]}


def replicate() -> dict[str, t.Any]:
    backups.backup("replicate", JOB)
    report = json.loads(Path(paths.replication_report(JOB)).read_text(encoding="utf-8"))
    return dict(report["guests"][0])


def clean(folders: dict[str, Path]) -> None:
    """Nothing of the job, of what was kept and of the copies is left."""
    converge_now(backups.BACKUP, {"replications": [{"name": JOB, "state": "absent"}]})
    assert not [path for path in folders[two_pools.BTRFS].iterdir() if "+replica+" in path.name]
    for place in folders[FAR].glob("+replicas/*/*/*/volumes/*"):
        command("btrfs", "-q", "subvolume", "delete", str(place))
    two_pools.clean(folders)
    for path in folders[FAR].glob(f"{two_pools.NAME}*"):
        path.unlink()


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_the_disks_of_a_machine_come_whole_and_then_only_what_is_new(folders: dict[str, Path], state: str) -> None:
    two_pools.make(two_pools.BTRFS, state)
    try:
        two_pools.write(two_pools.BTRFS, folders[two_pools.BTRFS], 17)
        outcome = converge_now(backups.BACKUP, declared())
        assert outcome.error is None, outcome.error
        assert replicate()["whole"]
        two_pools.write(two_pools.BTRFS, folders[two_pools.BTRFS], 18)
        second = replicate()
        assert not second["whole"] and 0 < second["new"] <= 1 << 19, second
        (copy,) = (folders[FAR] / "+replicas" / platform.node() / two_pools.NAME).iterdir()
        for disk in two_pools.DISKS:
            path = two_pools.path_of(two_pools.BTRFS, folders[two_pools.BTRFS], disk)
            command("cmp", str(path), str(copy / "volumes" / disk / "disk.raw"))
        assert (copy / "domain.xml").read_text(encoding="utf-8") == virsh(
            "dumpxml", "--inactive", "--security-info", two_pools.NAME
        ).rstrip("\n") + "\n"
        assert state_of(two_pools.NAME) == ("running" if state == "started" else "shut off")
        third = replicate()
        assert (third["whole"], third["new"]) == (False, 0), third
    finally:
        clean(folders)


def test_a_machine_comes_up_from_its_copy_when_its_own_host_is_gone(folders: dict[str, Path]) -> None:
    two_pools.make(two_pools.BTRFS)
    try:
        two_pools.write(two_pools.BTRFS, folders[two_pools.BTRFS], 17)
        outcome = converge_now(backups.BACKUP, declared())
        assert outcome.error is None, outcome.error
        replicate()
        before = virsh("domuuid", two_pools.NAME)
        machines.remove_machines()
        for disk in two_pools.DISKS:
            two_pools.path_of(two_pools.BTRFS, folders[two_pools.BTRFS], disk).unlink(missing_ok=True)
        run = check_run_again(GuestRestore(), {"name": two_pools.NAME, "replica": True}, RESTORED)
        assert run.facts["backup"]["host"] == platform.node()
        assert two_pools.holds(two_pools.BTRFS, folders[two_pools.BTRFS], 17)
        assert (virsh("domuuid", two_pools.NAME), state_of(two_pools.NAME)) == (before, "shut off")
        # Without any of the host that it came from, into the pool of the copies.
        machines.remove_machines()
        check_run_again(GuestRestore(), {"name": two_pools.NAME, "replica": True, "pool": FAR}, RESTORED)
        assert two_pools.holds(two_pools.BTRFS, folders[FAR], 17)
    finally:
        clean(folders)


def test_a_machine_on_a_plain_folder_is_refused_with_what_helps(folders: dict[str, Path]) -> None:
    two_pools.make(machines.POOL)
    refuse(backups.BACKUP, declared(), "which is not of type btrfs and cannot be sent to another host")
    machines.remove_machines()
