# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of virtual machines on btrfs, proven with lsattr, filefrag, qemu-img and virsh."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    IMAGE,
    PAPER,
    attribute,
    command,
    definition,
    device,
    virsh,
    volume,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-main"
POOL = f"{machines.PREFIX}-btrfs"
COPY = f"image+{IMAGE}.raw"
WANTED: dict[str, t.Any] = {
    "name": NAME,
    "state": "stopped",
    **PAPER,
    "image": IMAGE,
    "disks": [{"name": "root", "pool": POOL, "size": "16M"}, {"name": "data", "pool": POOL, "size": "2M"}],
    "cloud_init": {"user": "admin"},
}


@pytest.fixture(scope="module")
def pool() -> t.Iterator[Path]:
    with machines.surroundings() as beside, pools.btrfs(beside.parent, size="512M") as point:
        outcome = converge_now(StoragePool(), {"name": POOL, "type": "btrfs", "path": str(point / "pool")})
        assert outcome.error is None, outcome.error
        yield point / "pool"
        machines.remove_machines()
        outcome = converge_now(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]})
        assert outcome.error is None, outcome.error


@pytest.fixture
def folder(pool: Path) -> t.Iterator[Path]:
    clean(pool)
    yield pool
    clean(pool)


def clean(pool: Path) -> None:
    machines.remove_machines()
    for path in pool.iterdir():
        path.unlink()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_its_disks_are_raw_and_that_of_an_image_shares_its_blocks(folder: Path) -> None:
    outcome = check_run_again(VM, WANTED)
    assert f"copies.{IMAGE}@{POOL}" in [change.path for change in outcome.plan.changes]
    assert names(folder) == [f"{NAME}.data.raw", f"{NAME}.root.raw", f"{NAME}.seed.iso", COPY]
    disk = device(definition(NAME), "disk", "root")
    assert attribute(disk, "source", "file") == str(folder / f"{NAME}.root.raw")
    assert attribute(disk, "driver", "type") == "raw"
    assert volume(folder / f"{NAME}.root.raw")["virtual-size"] == 16 << 20
    for name in (f"{NAME}.root.raw", f"{NAME}.data.raw", COPY):
        assert "C" in command("lsattr", str(folder / name)).split()[0]
    lines = command("filefrag", "-v", str(folder / f"{NAME}.root.raw")).splitlines()
    assert all("shared" in line for line in lines if re.match(r"\s+\d+:", line))


def test_a_disk_of_another_format_is_refused(folder: Path) -> None:
    disks = [{"name": "root", "pool": POOL, "size": "16M", "format": "qcow2"}]
    refuse(VM, {**WANTED, "disks": disks}, f"a disk in the pool {POOL} is raw")


def test_a_disk_grows_while_the_machine_runs_and_while_it_does_not(folder: Path) -> None:
    outcome = converge_now(VM, {**WANTED, "state": "started"})
    assert outcome.error is None, outcome.error
    path = folder / f"{NAME}.data.raw"
    check_run_again(VM, {"name": NAME, "disks": [{"name": "data", "size": "4M"}]}, ["disks[data].size"])
    assert volume(path)["virtual-size"] == 4 << 20 and "C" in command("lsattr", str(path)).split()[0]
    check_run_again(VM, {"name": NAME, "state": "stopped", **PAPER})
    check_run_again(VM, {"name": NAME, "disks": [{"name": "data", "size": "8M"}]}, ["disks[data].size"])
    assert volume(path)["virtual-size"] == 8 << 20


def test_its_seed_changes(folder: Path) -> None:
    converge_now(VM, WANTED)
    before = (folder / f"{NAME}.seed.iso").read_bytes()
    check_run_again(VM, {"name": NAME, "cloud_init": {"user": "other"}}, ["cloud_init.user"])
    assert (folder / f"{NAME}.seed.iso").read_bytes() != before
    assert names(folder) == [f"{NAME}.data.raw", f"{NAME}.root.raw", f"{NAME}.seed.iso", COPY]


def test_its_disks_are_kept_and_used_again_and_deleted(folder: Path) -> None:
    converge_now(VM, WANTED)
    outcome = check_run_again(VM, {"name": NAME, "state": "absent"}, ["state"])
    assert sorted(outcome.plan.kept) == [str(folder / f"{NAME}.{end}") for end in ("data.raw", "root.raw", "seed.iso")]
    outcome = converge_now(VM, {**WANTED, "allow": ["adopt"]})
    assert outcome.error is None, outcome.error
    params = {"name": NAME, "state": "absent", "delete": ["disks", "seed"]}
    check_run_again(VM, params, ["state", "disks[root]", "disks[data]", "disks[seed]"])
    assert names(folder) == [COPY]


def test_a_pool_on_btrfs_names_the_machines_that_stand_on_it(folder: Path) -> None:
    converge_now(VM, WANTED)
    refuse(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]}, f"in use by {NAME}")


def test_creation_survives_every_kill(folder: Path) -> None:
    def verify(outcome: t.Any) -> None:
        assert names(folder) == [f"{NAME}.data.raw", f"{NAME}.root.raw", f"{NAME}.seed.iso", COPY]
        assert NAME in virsh("list", "--all", "--name").split()
        assert volume(folder / f"{NAME}.root.raw")["virtual-size"] == 16 << 20

    survive_kills(VM, WANTED, begin=lambda: clean(folder), verify=verify)
