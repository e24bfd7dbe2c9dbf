# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones and templates of virtual machines, raw on btrfs and qcow2 in a plain folder. Proven with qemu-io, qemu-img and virsh."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, state_of, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-base"
BTRFS = f"{machines.PREFIX}-btrfs"
FORMATS = {BTRFS: "raw", machines.POOL: "qcow2"}
TEMPLATE: dict[str, t.Any] = {"name": NAME, "template": True}


@pytest.fixture(scope="module")
def folders() -> t.Iterator[dict[str, Path]]:
    with machines.surroundings() as beside, pools.btrfs(beside.parent, size="512M") as point:
        outcome = converge_now(StoragePool(), {"name": BTRFS, "type": "btrfs", "path": str(point / "pool")})
        assert outcome.error is None, outcome.error
        yield {machines.POOL: beside, BTRFS: point / "pool"}
        machines.remove_machines()
        outcome = converge_now(StoragePool(), {"name": BTRFS, "state": "absent", "allow": ["delete_data"]})
        assert outcome.error is None, outcome.error


@pytest.fixture(params=[BTRFS, machines.POOL])
def pool(request: pytest.FixtureRequest, folders: dict[str, Path]) -> t.Iterator[str]:
    clean(folders)
    yield request.param
    clean(folders)


@pytest.fixture
def folder(pool: str, folders: dict[str, Path]) -> Path:
    return folders[pool]


def clean(folders: dict[str, Path]) -> None:
    machines.remove_machines()
    for path in folders[BTRFS].iterdir():
        path.unlink()


def make(pool: str, state: str = "stopped") -> None:
    disks = [{"name": "root", "pool": pool, "size": "2M"}, {"name": "data", "pool": pool, "size": "1M"}]
    outcome = converge_now(VM, {"name": NAME, "state": "stopped", **PAPER, "disks": disks})
    assert outcome.error is None, outcome.error
    if state == "started":
        virsh("start", NAME)


def modes(pool: str, folder: Path) -> set[int]:
    paths = [folder / f"{NAME}.{disk}.{FORMATS[pool]}" for disk in ("root", "data")]
    return {stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_a_template_is_never_started_and_its_disks_are_not_written_to(pool: str, folder: Path) -> None:
    make(pool, state="started")
    refuse(VM, TEMPLATE, f"{NAME} runs, and a template does not. Stop it first")
    check_run_again(
        VM, {**TEMPLATE, "state": "stopped", "force_stop": True, "shutdown_timeout": 0}, ["state", "template"]
    )
    assert modes(pool, folder) == {0o400}
    refuse(VM, {"name": NAME, "state": "started"}, f"{NAME} is a template")
    refuse(VM, {"name": NAME, "disks": [{"name": "root", "size": "3M"}]}, "write template: false")
    check_run_again(VM, {"name": NAME, "unset": ["template"], "state": "started"}, ["template", "state"])
    assert (state_of(NAME), modes(pool, folder) & {0o400}) == ("running", set())
