# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk stands on, whatever it is called, and who else does."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import block, disk, image, make, volume_disk
from ansible_collections.homelab.hybrid.tests.harness.machines import POOL, definition, virsh

VM = KvmVm()
NAME, OTHER = f"{machines.PREFIX}-sources", f"{machines.PREFIX}-sources-other"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}


@pytest.fixture
def device(folder: Path) -> t.Iterator[str]:
    file = folder / f"{NAME}-device.img"
    machines.command("truncate", "-s", "8M", str(file))
    device = machines.command("losetup", "-f", "--show", str(file)).strip()
    try:
        yield device
    finally:
        machines.remove_machines()
        machines.command("losetup", "-d", device)


def disks(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "disks": list(items), **more}


def test_a_device_by_another_name_is_the_same_disk_and_its_name_is_kept(folder: Path, device: str) -> None:
    by_id = folder / f"{NAME}-by-id"
    by_id.symlink_to(device)
    make(NAME, block(device))
    before = virsh("dumpxml", NAME)
    unchanged(VM, disks({"name": "data", "source": str(by_id)}))
    assert virsh("dumpxml", NAME) == before
    check_run_again(VM, disks({"name": "data", "cache": "none"}), ["disks[data].cache"])
    assert len(definition(NAME).findall("devices/disk")) == 1


@pytest.mark.parametrize("exists", [False, True])
def test_a_device_that_is_mounted_is_no_disk_of_a_machine(folder: Path, device: str, exists: bool) -> None:
    if exists:
        make(NAME)
    place = folder.parent / "mounted"
    place.mkdir(exist_ok=True)
    machines.command("mkfs.ext4", "-q", device)
    machines.command("mount", device, str(place))
    try:
        refuse(VM, disks({"name": "data", "source": device}, memory="64"), f"the mount at {place} stands on it")
    finally:
        machines.command("umount", str(place))
    check_run_again(VM, disks({"name": "data", "source": device}, memory="64"))


def test_a_device_that_the_host_swaps_to_is_no_disk_of_a_machine(folder: Path, device: str) -> None:
    machines.command("mkswap", "-q", device)
    machines.command("swapon", device)
    try:
        refuse(VM, disks({"name": "data", "source": device}, memory="64"), "the swap of the host stands on it")
    finally:
        machines.command("swapoff", device)


def test_a_physical_volume_of_lvm_in_use_is_no_disk_of_a_machine(folder: Path, device: str) -> None:
    if "device-mapper" not in Path("/proc/misc").read_text() or shutil.which("vgcreate") is None:
        pytest.skip("LVM: this kernel has no device-mapper, or lvm2 is not installed")
    group = f"{machines.PREFIX}-group"
    machines.command("vgcreate", "-q", group, device)
    machines.command("lvcreate", "-q", "-n", "data", "-l", "100%FREE", group)
    try:
        refuse(VM, disks({"name": "data", "source": device}, memory="64"), "the device /dev/dm-")
    finally:
        machines.command("vgremove", "-q", "-f", group)


def test_a_disk_lies_on_nfs(folder: Path, tmp_path: Path) -> None:
    if "nfs4" not in Path("/proc/filesystems").read_text() or shutil.which("exportfs") is None:
        pytest.skip("NFS: this kernel has no client of it, or nfs-kernel-server is not installed")
    (tmp_path / "there").mkdir()
    machines.command("exportfs", "-o", "rw,no_root_squash,insecure,fsid=0", f"127.0.0.1:{tmp_path}/there")
    (folder / "nfs").mkdir()
    machines.command("mount", "-t", "nfs4", "127.0.0.1:/", str(folder / "nfs"))
    try:
        source = str(image(folder / "nfs" / f"{NAME}.img"))
        check_run_again(VM, disks({"name": "data", "source": source}, memory="64", state="started"))
    finally:
        machines.remove_machines()
        machines.command("umount", "-l", str(folder / "nfs"))
        machines.command("exportfs", "-u", f"127.0.0.1:{tmp_path}/there")


def test_what_backs_a_device_of_the_host_is_no_disk_of_a_machine(folder: Path, device: str) -> None:
    file = str(folder / f"{NAME}-device.img")
    refuse(VM, disks({"name": "data", "source": file}, memory="64"), f"the loop device {device} stands on it")


def test_a_device_that_something_else_has_for_itself_is_no_disk_of_a_machine(folder: Path, device: str) -> None:
    """As ZFS and btrfs have the disks of their pools, which /sys does not tell."""
    wanted = disks({"name": "data", "source": device}, memory="64")
    with open(device, "rb", opener=lambda path, flags: os.open(path, flags | os.O_EXCL)):
        refuse(VM, wanted, "the host has it for itself alone")
    check_run_again(VM, wanted)


@pytest.mark.parametrize("how", ["file", "link", "volume", "base"])
def test_a_disk_of_another_machine_is_not_given_to_a_second_one(folder: Path, how: str) -> None:
    file = image(folder / f"{OTHER}.img")
    virsh("pool-refresh", POOL)
    top = folder / f"{OTHER}-top.qcow2"
    if how == "base":
        image(top, "-b", str(file), "-F", "raw", form="qcow2")
    make(OTHER, {"volume": volume_disk(POOL, file.name), "base": disk(top, form="qcow2")}.get(how, disk(file)))
    source = folder / f"{OTHER}-link.img" if how == "link" else file
    if how == "link":
        source.symlink_to(file)
    refuse(VM, disks({"name": "data", "source": str(source)}, memory="64"), f"{OTHER} stands on it")
    make(NAME, disk(image(folder / f"{NAME}.img")))
    refuse(VM, disks({"name": "disk0", "source": str(source)}, allow=["replace_disk"]), f"{OTHER} stands on it")


def test_machines_share_what_they_only_read(folder: Path) -> None:
    shown = {"name": "shown", "source": str(image(folder / f"{NAME}.img")), "readonly": True}
    for name in (NAME, OTHER):
        check_run_again(VM, disks(shown, name=name, memory="64", state="started"))


def test_a_disk_that_a_snapshot_stands_on_is_neither_deleted_nor_taken(folder: Path) -> None:
    root = {"name": "root", "pool": POOL, "size": "1M"}
    assert converge_now(VM, disks(root, memory="64")).error is None
    top = folder / f"{NAME}.root.snap"
    virsh("snapshot-create-as", NAME, "snap", "--disk-only", "--no-metadata", "--diskspec", f"vda,file={top}")
    base = folder / f"{NAME}.root.qcow2"
    refuse(VM, {**PLAIN, "state": "absent", "delete": ["disks"]}, f"{top} stands on it")
    kept = [str(base), f"{top} (not made by this collection)"]
    assert converge_now(VM, {**PLAIN, "state": "absent"}, dry_run=True).plan.kept == kept
    assert check_run_again(VM, {**PLAIN, "state": "absent"}, ["state"]).plan.kept == kept
    refuse(VM, {**PLAIN, "state": "absent", "delete": ["disks"]}, f"{top} stands on it")
    refuse(VM, disks(root, memory="64", allow=["adopt"]), f"{top} stands on it")
    top.unlink()
    check_run_again(VM, disks(root, memory="64", allow=["adopt"]))
