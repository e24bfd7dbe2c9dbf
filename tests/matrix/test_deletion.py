# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is never deleted or taken over: what others stand on, what is mounted in it, what nobody can see. Proven by the file system."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse

GONE = {"name": ct.NAME, "state": "absent", "delete": ["rootfs"], "shutdown_timeout": 1, "force_stop": True}
POOL = f"{ct.PREFIX}-other"

pytestmark = pytest.mark.usefixtures("container_host", "no_container")


@contextlib.contextmanager
def mounted(*argv: str | Path, at: Path) -> t.Iterator[None]:
    ct.run("mount", *map(str, argv), str(at))
    try:
        yield
    finally:
        ct.run("umount", str(at))


@contextlib.contextmanager
def container_by_hand(name: str, config: str) -> t.Iterator[Path]:
    folder = ct.LXC / name
    folder.mkdir()
    (folder / "config").write_text(config, encoding="utf-8")
    yield folder
    ct.run("rm", "-r", str(folder))


BASE = ct.FOLDER / "away"
POINT = BASE / "point"


@pytest.fixture
def pool() -> t.Iterator[Path]:
    """A second pool, reached by a link, on a file system that can be away."""
    POINT.mkdir(parents=True)
    ct.run("truncate", "-s", "256M", str(BASE / "img"))
    ct.run("mkfs.ext4", "-q", str(BASE / "img"))
    ct.run("mount", "-o", "loop", str(BASE / "img"), str(POINT))
    os.chmod(POINT, 0o711)
    (BASE / "link").symlink_to(POINT)
    assert converge_now(StoragePool(), {"name": POOL, "path": str(BASE / "link/pool")}).error is None
    yield POINT / "pool"
    ct.clean()
    converge_now(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]})
    ct.run("umount", "-l", str(POINT))
    ct.run("rm", "-r", str(BASE))


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_a_host_folder_that_is_mounted_in_a_root_stays_whole(pool: Path, tmp_path: Path, state: str) -> None:
    ct.make(state=state, rootfs={"pool": POOL})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").touch()
    point = pool / f"{ct.NAME}.rootfs" / "mnt"
    point.mkdir()
    with mounted("--bind", tmp_path / "data", at=point):
        refuse(ct.CONTAINER, GONE, f"{point} is mounted in it; unmount that first")
        assert ct.state() == {"started": "RUNNING", "stopped": "STOPPED"}[state]
        refuse(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]}, f"in use by {ct.NAME}")
    assert (tmp_path / "data" / "kept").exists()
    check_run_again(ct.CONTAINER, GONE, ["state", "rootfs"])


@pytest.mark.parametrize(
    "config",
    [
        "lxc.rootfs.path = dir:{root}",
        "lxc.rootfs.path = overlay:{root}:/srv/hlct/delta",
        "lxc.mount.entry = {root}/home home none bind,create=dir 0 0",
    ],
)
def test_a_root_that_somebody_else_has_is_not_deleted(config: str) -> None:
    ct.make(state="stopped")
    with container_by_hand(f"{ct.PREFIX}-b", config.format(root=ct.rootfs()) + "\n"):
        refuse(ct.CONTAINER, GONE, f"{ct.PREFIX}-b stands on")
    assert ct.rootfs().is_dir()
    check_run_again(ct.CONTAINER, GONE, ["state", "rootfs"])


def test_the_base_of_snapshots_and_of_clones_is_not_deleted(tmp_path: Path) -> None:
    ct.make(state="stopped")
    clone = f"lxc.rootfs.path = overlay:{ct.rootfs()}:/srv/hlct/delta\n"
    snapshot = ct.LXC / ct.NAME / "snaps" / "snap0"
    snapshot.mkdir(parents=True)
    (snapshot / "config").write_text(clone, encoding="utf-8")
    refuse(ct.CONTAINER, GONE, f"{ct.NAME}/snap0 stands on it")
    (snapshot / "config").unlink()
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "config").write_text(clone, encoding="utf-8")
    (ct.LXC / ct.NAME / "lxc_snapshots").write_text(f"{tmp_path}\nclone\n", encoding="utf-8")
    refuse(ct.CONTAINER, GONE, "clone stands on it")


def test_a_root_whose_file_system_is_away_is_not_called_deleted(pool: Path) -> None:
    ct.make(state="stopped", rootfs={"pool": POOL})
    root = pool / f"{ct.NAME}.rootfs"
    ct.run("umount", str(POINT))
    try:
        refuse(ct.CONTAINER, GONE, f"its storage pool {POOL} is not there. Bring it back")
        (POINT / "pool").mkdir()
        refuse(ct.CONTAINER, GONE, f"the file system of its storage pool {POOL} is not mounted at {POINT}")
        new = converge_now(ct.CONTAINER, {**ct.BASE, "name": f"{ct.PREFIX}-b", "rootfs": {"pool": POOL}})
        assert f"the file system of the storage pool {POOL} is not mounted at {POINT}" in str(new.error)
        assert not any((POINT / "pool").iterdir())
        (POINT / "pool").rmdir()
    finally:
        ct.run("mount", "-o", "loop", str(BASE / "img"), str(POINT))
    assert root.is_dir()
    check_run_again(ct.CONTAINER, GONE, ["state", "rootfs"])
    assert not root.exists()


def test_a_root_that_was_kept_is_remembered_when_a_new_one_lies_in_another_pool(pool: Path) -> None:
    ct.make(state="stopped")
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})
    ct.make(state="stopped", rootfs={"pool": POOL})
    kept = check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"]).plan.kept
    assert {*kept} == {str(ct.rootfs()), str(BASE / "link/pool" / f"{ct.NAME}.rootfs")}
    refuse(ct.CONTAINER, {**ct.BASE}, "Permit it with allow: [adopt]")
    outcome = converge_now(ct.CONTAINER, GONE)
    assert outcome.error is None and len(outcome.plan.changes) == 2
    assert not ct.rootfs().exists() and not any(pool.iterdir()) and ct.record() == {}


def test_a_strict_umask_keeps_nobody_away_from_a_pool(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o711)
    folder = tmp_path / "a" / "b"
    arguments = {"name": POOL, "path": str(folder), "_ansible_remote_tmp": str(tmp_path)}
    module = "ansible_collections.homelab.hybrid.plugins.modules.storage_pool"
    code = f"""import os, runpy
import ansible.module_utils.basic as basic
os.umask(0o077)
basic._ANSIBLE_ARGS = {json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()!r}
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    try:
        assert json.loads(done.stdout)["changed"], done.stdout + done.stderr
        assert [path.stat().st_mode & 0o001 for path in (folder, folder.parent)] == [1, 1]
    finally:
        converge_now(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]})


# ---- disks -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> t.Iterator[Path]:
    with machines.surroundings() as path:
        yield path


def test_a_disk_that_others_stand_on_is_neither_deleted_nor_adopted(folder: Path) -> None:
    vm, name = KvmVm(), f"{machines.PREFIX}-nas"
    wanted = {"name": name, "memory": "64", "disks": [{"name": "data", "pool": machines.POOL, "size": "1M"}]}
    assert converge_now(vm, wanted).error is None
    disk, top = folder / f"{name}.data.qcow2", folder / "snapshot.qcow2"
    machines.command("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk), "-F", "qcow2", str(top))
    # As an external snapshot without metadata leaves it.
    definition = machines.virsh("dumpxml", name, "--inactive").replace(str(disk), str(top))
    subprocess.run(["virsh", "-q", "-c", machines.URI, "define", "/dev/stdin"], input=definition, text=True, check=True)
    gone = {"name": name, "state": "absent", "delete": ["disks"]}
    refuse(vm, gone, f"{top} stands on it")
    kept = check_run_again(vm, {"name": name, "state": "absent"}, ["state"]).plan.kept
    assert str(disk) in kept
    refuse(vm, {**wanted, "allow": ["adopt"]}, f"{disk} cannot be used, as {top} stands on it")
    top.unlink()
    other = f"{machines.PREFIX}-other"
    assert (
        converge_now(vm, {"name": other, "memory": "64", "disks": [{"name": "x", "source": str(disk)}]}).error is None
    )
    refuse(vm, {**wanted, "allow": ["adopt"]}, f"{disk} cannot be used, as {other} stands on it")
    assert converge_now(vm, {"name": other, "state": "absent"}).error is None
    check_run_again(vm, {**wanted, "allow": ["adopt"]})


def test_a_disk_that_was_kept_is_remembered_when_a_new_one_lies_in_another_pool(folder: Path, tmp_path: Path) -> None:
    vm, name, pool = KvmVm(), f"{machines.PREFIX}-nas", f"{machines.PREFIX}-second"
    os.chmod(tmp_path, 0o711)
    assert converge_now(StoragePool(), {"name": pool, "path": str(tmp_path / "pool")}).error is None
    try:
        disk = {"name": "data", "pool": machines.POOL, "size": "1M"}
        assert converge_now(vm, {"name": name, "memory": "64", "disks": [disk]}).error is None
        assert converge_now(vm, {"name": name, "state": "absent"}).error is None
        assert converge_now(vm, {"name": name, "memory": "64", "disks": [{**disk, "pool": pool}]}).error is None
        outcome = converge_now(vm, {"name": name, "state": "absent", "delete": ["disks"]})
        assert outcome.error is None and outcome.plan.kept == []
        assert not (folder / f"{name}.data.qcow2").exists() and not any((tmp_path / "pool").iterdir())
    finally:
        machines.remove_machines()
        converge_now(StoragePool(), {"name": pool, "state": "absent", "allow": ["delete_data"]})
