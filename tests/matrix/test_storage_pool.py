# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools on the real host, proven with virsh and the file system."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
import typing as t
import zlib
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host import snapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import ARGUMENTS
from ansible_collections.homelab.hybrid.tests.harness import pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hostile import HostileCase, assert_harmless, hostile_cases
from ansible_collections.homelab.hybrid.tests.harness.kill import Child, at_once, survive_kills
from ansible_collections.homelab.hybrid.tests.harness.pools import run

PREFIX = "hlpool"
NAME = f"{PREFIX}-main"
POOL = StoragePool()
PATHS_OF_CREATION = ["state", "type", "path", "autostart"]


@pytest.fixture
def folder(tmp_path: Path) -> t.Iterator[Path]:
    os.chmod(tmp_path, 0o711)
    clean()
    yield tmp_path / f"{PREFIX}-folder"
    clean()


def clean() -> None:
    connection = libvirt.open("qemu:///system")
    for pool in connection.listAllStoragePools():
        if pool.name().startswith(PREFIX):
            if pool.isActive():
                pool.destroy()
            pool.undefine()
    for domain in connection.listAllDomains():
        if domain.name().startswith(PREFIX):
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            )
    connection.close()
    for record in Path(paths.record_folder("pools")).glob(f"{PREFIX}*"):
        record.unlink()


def virsh(*argv: str) -> str:
    return subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", *argv], capture_output=True, text=True, check=True
    ).stdout


def pool_info(name: str = NAME) -> dict[str, str]:
    return {
        key.strip(): value.strip()
        for key, dummy, value in (line.partition(":") for line in virsh("pool-info", name).splitlines())
    }


def names() -> list[str]:
    return [name for name in virsh("pool-list", "--all", "--name").split() if name.startswith(PREFIX)]


def defined_by_hand(folder: Path, name: str = NAME) -> None:
    folder.mkdir(exist_ok=True)
    virsh("pool-define-as", name, "dir", "--target", str(folder))
    virsh("pool-start", name)


def domain_by_hand(disk: Path, form: str = "raw") -> None:
    xml = f"""<domain type='qemu'><name>{PREFIX}-vm</name><memory unit='MiB'>16</memory><os><type arch='x86_64'>hvm</type></os>
      <devices><disk type='file'><driver name='qemu' type='{form}'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
      </devices></domain>"""
    connection = libvirt.open("qemu:///system")
    connection.defineXML(xml)
    connection.close()


def test_a_new_pool_is_active_and_starts_with_the_host(folder):
    outcome = check_run_again(
        POOL, {"name": NAME, "path": str(folder), "warn_free": "1%"}, [*PATHS_OF_CREATION, "warn_free"]
    )
    info = pool_info()
    assert (info["State"], info["Autostart"], info["Persistent"]) == ("running", "yes", "yes")
    assert f"<path>{folder}</path>" in virsh("pool-dumpxml", NAME)
    assert folder.stat().st_mode & 0o777 == 0o711
    assert outcome.facts["storage_pool"]["capacity_bytes"] == shutil.disk_usage(folder).total


def test_a_new_pool_takes_volumes(folder):
    check_run_again(POOL, {"name": NAME, "path": str(folder)})
    virsh("vol-create-as", NAME, "disk.qcow2", "1M", "--format", "qcow2")
    assert (folder / "disk.qcow2").is_file()


def test_a_new_pool_can_be_left_stopped(folder):
    check_run_again(
        POOL, {"name": NAME, "path": str(folder), "state": "stopped", "autostart": False}, PATHS_OF_CREATION
    )
    assert (pool_info()["State"], pool_info()["Autostart"]) == ("inactive", "no")


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize(
    ("declared", "undeclared", "path"),
    [
        ({"autostart": False}, {"autostart": True}, "autostart"),
        ({"warn_free": "5%"}, {"unset": ["warn_free"]}, "warn_free"),
        ({"warn_free": "2G"}, {"warn_free": "5%"}, "warn_free"),
    ],
)
def test_an_option_changes_and_changes_back(folder, is_active, declared, undeclared, path):
    state = "started" if is_active else "stopped"
    converge_now(POOL, {"name": NAME, "path": str(folder), "state": state, "autostart": True})
    check_run_again(POOL, {"name": NAME, **declared}, [path])
    assert pool_info()["State"] == ("running" if is_active else "inactive")
    assert (pool_info()["Autostart"] == "yes") is (path != "autostart")
    check_run_again(POOL, {"name": NAME, **undeclared}, [path])
    assert pool_info()["Autostart"] == "yes"


def test_a_pool_is_started_and_stopped(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    check_run_again(POOL, {"name": NAME, "state": "stopped"}, ["state"])
    assert pool_info()["State"] == "inactive"
    unchanged(POOL, {"name": NAME, "state": "present"})
    check_run_again(POOL, {"name": NAME, "state": "started"}, ["state"])
    assert pool_info()["State"] == "running"


def test_an_empty_pool_leaves_nothing_behind(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    check_run_again(POOL, {"name": NAME, "state": "absent"}, ["state", "path"])
    assert names() == []
    assert not folder.exists()
    assert not Path(paths.record_path("pools", NAME)).exists()


def test_content_is_kept_and_named_and_taken_up_again(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    (folder / "precious").write_text("data")
    outcome = check_run_again(POOL, {"name": NAME, "state": "absent"}, ["state"])
    assert outcome.plan.kept == [f"{folder} (1 entry)"]
    assert (folder / "precious").read_text() == "data"
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state", "path"])
    assert not folder.exists()


def test_kept_content_can_be_deleted_later(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    (folder / "precious").write_text("data")
    converge_now(POOL, {"name": NAME, "state": "absent"})
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["path"])
    assert not folder.exists()
    assert not Path(paths.record_path("pools", NAME)).exists()


def test_a_folder_that_was_there_before_is_never_deleted(folder):
    folder.mkdir()
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state"])
    assert folder.is_dir()
    assert not Path(paths.record_path("pools", NAME)).exists()


def test_a_pool_made_by_hand_is_changed_without_permission_and_owned_never(folder):
    defined_by_hand(folder)
    (folder / "precious").write_text("data")
    check_run_again(
        POOL, {"name": NAME, "path": str(folder), "autostart": True, "warn_free": "1%"}, ["autostart", "warn_free"]
    )
    assert json.loads(Path(paths.record_path("pools", NAME)).read_text()).get("owns_folder") is None
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state"])
    assert (folder / "precious").exists()


def test_another_pool_is_left_as_it_stands(folder, tmp_path):
    defined_by_hand(tmp_path / f"{PREFIX}-other", f"{PREFIX}-other")
    before = virsh("pool-dumpxml", f"{PREFIX}-other")
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    converge_now(POOL, {"name": NAME, "state": "absent"})
    assert virsh("pool-dumpxml", f"{PREFIX}-other") == before


def test_a_folder_is_that_of_one_pool(folder):
    defined_by_hand(folder, f"{PREFIX}-other")
    refuse(POOL, {"name": NAME, "path": str(folder)}, f"is the folder of the storage pool {PREFIX}-other")


def test_a_pool_cannot_become_another(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    refuse(POOL, {"name": NAME, "path": str(folder) + "2", "autostart": False}, "is another pool. Give it another name")


def test_a_pool_that_a_guest_stands_on_is_not_removed(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    domain_by_hand(folder / "disk.qcow2")
    refuse(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, f"in use by {PREFIX}-vm")
    check_run_again(POOL, {"name": NAME, "state": "stopped"}, ["state"])


@pytest.fixture
def link(folder, tmp_path):
    """Another name of the folder."""
    path = tmp_path / f"{PREFIX}-link"
    path.symlink_to(folder)
    return path


BY_ANOTHER_NAME = {
    "a disk through a link": "<devices><disk type='file'><source file='{link}/disk.img'/><target dev='vda'/></disk></devices>",
    "a backing file": "<devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='{apart}/top.qcow2'/>"
    "<target dev='vda'/></disk></devices>",
    "a disk by its volume": "<devices><disk type='volume'><source pool='{pool}' volume='disk.img'/><target dev='vda'/></disk></devices>",
    "a kernel": "<os><kernel>{folder}/vmlinuz</kernel></os>",
    "what firmware remembers": "<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
    "<nvram>{link}/vars.fd</nvram></os>",
    "a CD-ROM": "<devices><disk type='file' device='cdrom'><source file='{link}/x.iso'/><target dev='sda' bus='sata'/></disk></devices>",
    "virtiofs": "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><devices><filesystem type='mount'>"
    "<driver type='virtiofs'/><source dir='{link}/shared'/><target dir='x'/></filesystem></devices>",
}


@pytest.mark.parametrize("what", BY_ANOTHER_NAME)
def test_a_machine_stands_on_a_pool_by_any_name_that_it_has(folder, link, tmp_path, what):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    run("qemu-img", "create", "-q", "-f", "raw", folder / "disk.img", "1M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", folder / "disk.img", "-F", "raw", tmp_path / "top.qcow2")
    rest = BY_ANOTHER_NAME[what].format(folder=folder, link=link, pool=NAME, apart=tmp_path)
    head = f"<domain type='qemu'><name>{PREFIX}-vm</name><memory unit='MiB'>16</memory><features><acpi/></features>"
    system = rest.removeprefix("<os>").partition("</os>")[0] if rest.startswith("<os>") else ""
    devices = "" if system else rest
    connection = libvirt.open("qemu:///system")
    connection.defineXML(f"{head}<os><type arch='x86_64' machine='q35'>hvm</type>{system}</os>{devices}</domain>")
    connection.close()
    refuse(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, f"in use by {PREFIX}-vm")
    assert (folder / "disk.img").exists()
    virsh("undefine", f"{PREFIX}-vm", "--keep-nvram")
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state", "path"])
    assert not folder.exists()


def test_a_snapshot_stands_on_the_disk_that_its_machine_had(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    run("qemu-img", "create", "-q", "-f", "qcow2", folder / "disk.qcow2", "1M")
    domain_by_hand(folder / "disk.qcow2", form="qcow2")
    virsh("snapshot-create-as", f"{PREFIX}-vm", "before")
    virsh("detach-disk", f"{PREFIX}-vm", "vda", "--config")
    assert "disk.qcow2" not in virsh("dumpxml", f"{PREFIX}-vm")
    gone = {"name": NAME, "state": "absent", "allow": ["delete_data"]}
    refuse(POOL, gone, f"in use by {PREFIX}-vm")
    virsh("snapshot-delete", f"{PREFIX}-vm", "before", "--metadata")
    check_run_again(POOL, gone, ["state", "path"])


@pytest.mark.parametrize(
    "line",
    [
        "lxc.rootfs.path = dir:{link}/web",
        "lxc.rootfs.path = overlay:{link}/web:/srv/{name}",
        "lxc.mount.entry = {link}/data data none bind,create=dir 0 0",
        "lxc.rootfs = {folder}/web",
    ],
)
def test_a_container_stands_on_a_pool_by_any_name_that_it_has(folder, link, line):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    (folder / "web").mkdir()
    config = Path(f"/var/lib/lxc/{PREFIX}-ct/config")
    config.parent.mkdir()
    try:
        config.write_text(line.format(folder=folder, link=link, name=PREFIX) + "\n", encoding="utf-8")
        refuse(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, f"in use by {PREFIX}-ct")
    finally:
        shutil.rmtree(config.parent)
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state", "path"])


def test_a_running_machine_keeps_a_pool_started_by_its_volumes(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    run("qemu-img", "create", "-q", "-f", "raw", folder / "disk.img", "1M")
    virsh("pool-refresh", NAME)
    source = f"<source pool='{NAME}' volume='disk.img'/>"
    connection = libvirt.open("qemu:///system")
    domain = connection.createXML(
        f"<domain type='qemu'><name>{PREFIX}-vm</name><memory unit='MiB'>16</memory><os><type arch='x86_64'>hvm</type></os>"
        # QEMU's own user may not pass through pytest's folder.
        "<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>"
        f"<devices><disk type='volume'>{source}<target dev='vda' bus='virtio'/></disk></devices></domain>",
        libvirt.VIR_DOMAIN_START_PAUSED,
    )
    try:
        refuse(POOL, {"name": NAME, "state": "stopped"}, f"at work on it: {PREFIX}-vm")
    finally:
        domain.destroy()
        connection.close()


def test_what_the_host_itself_has_in_use_is_no_folder_to_delete(folder, tmp_path):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    (folder / "data").mkdir()
    point = tmp_path / "point"
    point.mkdir()
    gone = {"name": NAME, "state": "absent", "allow": ["delete_data"]}
    run("mount", "--bind", folder / "data", point)
    try:
        refuse(POOL, gone, f"in use by the mount at {point}")
    finally:
        run("umount", point)
    run("truncate", "-s", "1M", folder / "data" / "img")
    loop = run("losetup", "--find", "--show", folder / "data" / "img").strip()
    try:
        refuse(POOL, gone, f"in use by the loop device {loop}")
    finally:
        run("losetup", "--detach", loop)
    check_run_again(POOL, gone, ["state", "path"])


def test_a_folder_is_that_of_one_pool_by_whatever_name(folder, link, tmp_path):
    converge_now(POOL, {"name": f"{PREFIX}-other", "path": str(folder)})
    sentence = f"is the folder of the storage pool {PREFIX}-other"
    refuse(POOL, {"name": NAME, "path": str(link)}, sentence)
    point = tmp_path / "point"
    point.mkdir()
    run("mount", "--bind", folder, point)
    try:
        refuse(POOL, {"name": NAME, "path": str(point)}, sentence)
    finally:
        run("umount", point)


def test_a_file_is_no_folder_of_a_pool(folder):
    folder.write_text("data", encoding="utf-8")
    refuse(POOL, {"name": NAME, "path": str(folder)}, f"path: {folder} is no folder")
    refuse(POOL, {"name": NAME, "path": str(folder / "below")}, f"path: {folder} is no folder")
    assert folder.read_text(encoding="utf-8") == "data"


def test_a_mount_in_a_pool_keeps_it_from_being_deleted(folder):
    converge_now(POOL, {"name": NAME, "path": str(folder)})
    (folder / "nfs").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder / "nfs")], check=True)
    try:
        refuse(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, "is mounted in the storage pool")
    finally:
        subprocess.run(["umount", str(folder / "nfs")], check=True)


def test_a_pool_without_a_path_is_refused():
    refuse(POOL, {"name": NAME}, "path: is needed to make the storage pool")


def test_creation_survives_every_kill(folder):
    def begin() -> None:
        clean()
        shutil.rmtree(folder, ignore_errors=True)

    def verify(outcome: t.Any) -> None:
        info = pool_info()
        assert (info["State"], info["Autostart"]) == ("running", "yes")
        assert json.loads(Path(paths.record_path("pools", NAME)).read_text()) == {
            "mount": run("findmnt", "--noheadings", "--output", "TARGET", "--target", folder).strip(),
            "owns_folder": True,
            "path": str(folder),
            "schema": 1,
            "type": "dir",
            "warn_free": "1%",
        }
        assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]

    survive_kills(POOL, {"name": NAME, "path": str(folder), "warn_free": "1%"}, begin=begin, verify=verify, moments=6)


def test_removal_survives_every_kill(folder):
    def begin() -> None:
        clean()
        shutil.rmtree(folder, ignore_errors=True)
        converge_now(POOL, {"name": NAME, "path": str(folder)})
        for number in range(50):
            (folder / f"file{number}").write_text("data")

    def verify(outcome: t.Any) -> None:
        assert names() == []
        assert not folder.exists()

    survive_kills(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, begin=begin, verify=verify)


def test_a_kill_keeps_the_content(folder):
    def begin() -> None:
        clean()
        folder.mkdir(exist_ok=True)
        (folder / "precious").write_text("data")
        converge_now(POOL, {"name": NAME, "path": str(folder)})

    def verify(outcome: t.Any) -> None:
        assert (folder / "precious").read_text() == "data"

    survive_kills(POOL, {"name": NAME, "state": "absent"}, begin=begin, verify=verify)


def test_two_runs_at_once_make_one_pool(folder):
    params = {"name": NAME, "path": str(folder)}
    first, second = at_once(POOL, params, params)
    assert "msg" not in first
    assert "msg" not in second
    assert sorted([first["changed"], second["changed"]]) == [False, True]
    assert names() == [NAME]


def test_a_run_waits_for_the_one_that_holds_the_pool(folder):
    with lock.hold([Reference(snapshot.POOL, NAME)], []):
        outcome = converge_locked({"name": NAME, "path": str(folder)})
    assert outcome.error is not None
    assert f"pool {NAME} is in use by another run (process {os.getpid()})" in outcome.error.message
    assert names() == []


def converge_locked(params: dict[str, t.Any]) -> t.Any:
    from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
    from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

    return converge(POOL, params, host=Host(), dry_run=False, lock_seconds=0.2)


# ---- btrfs ------------------------------------------------------------------------------------------------------------

BTRFS = {"name": NAME, "type": "btrfs"}
PATHS_ON_SOURCE = ["state", "type", "path", "autostart", "source"]


@pytest.fixture
def source(tmp_path: Path) -> t.Iterator[Path]:
    """An image file, blank; what a pool left mounted from it goes."""
    os.chmod(tmp_path, 0o711)
    image = tmp_path / f"{PREFIX}.img"
    unmounted(image)
    yield image
    unmounted(image)


def unmounted(image: Path) -> None:
    """The host as it is without a pool on *image*, which is blank."""
    clean()
    point = image.parent / "point"
    while os.path.ismount(point):
        run("umount", "-l", point)
    fstab = Path("/etc/fstab")
    lines = fstab.read_text(encoding="utf-8").splitlines(keepends=True) if fstab.exists() else []
    if any(f"pool={PREFIX}" in line for line in lines):
        fstab.write_text("".join(line for line in lines if f"pool={PREFIX}" not in line), encoding="utf-8")
    if point.is_dir():
        point.rmdir()
    image.unlink(missing_ok=True)
    run("truncate", "-s", "512M", image)


def on_source(image: Path, **params: t.Any) -> dict[str, t.Any]:
    return {**BTRFS, "path": str(image.parent / "point"), "source": str(image), **params}


def file_system_at(path: str | Path) -> str:
    return run("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", path).split()[0]


def quota_is_enabled(path: str | Path) -> bool:
    return subprocess.run(["btrfs", "qgroup", "show", str(path)], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("quota", [None, "simple", "full"])
def test_a_folder_on_btrfs_becomes_a_pool_whose_quotas_hold(tmp_path, quota):
    clean()
    with pools.btrfs(tmp_path, quota=quota, size="512M") as point:
        folder = point / "new" / "pool"
        check_run_again(POOL, {**BTRFS, "path": str(folder)}, PATHS_OF_CREATION)
        assert quota_is_enabled(folder)
        assert run("btrfs", "subvolume", "list", point).split()[-1] == "new/pool"
        assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o711
        run("btrfs", "subvolume", "create", folder / "kept")
        outcome = check_run_again(POOL, {"name": NAME, "state": "absent"}, ["state"])
        assert outcome.plan.kept == [f"{folder} (1 entry)"]
        check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["path"])
        assert run("btrfs", "subvolume", "list", point) == ""
    clean()


def test_quotas_that_were_disabled_are_enabled_again(tmp_path):
    clean()
    with pools.btrfs(tmp_path, size="512M") as point:
        converge_now(POOL, {**BTRFS, "path": str(point / "pool")})
        run("btrfs", "quota", "disable", point)
        check_run_again(POOL, {"name": NAME}, ["quota"])
        assert quota_is_enabled(point)
        converge_now(POOL, {"name": NAME, "state": "absent"})
    clean()


def test_a_pool_of_btrfs_on_another_file_system_is_refused(folder):
    refuse(
        POOL, {**BTRFS, "path": str(folder)}, "a pool of type btrfs on btrfs. Choose a folder on one, or write source"
    )


def test_a_blank_source_is_formatted_and_mounted_with_the_host(source):
    check_run_again(POOL, on_source(source), PATHS_ON_SOURCE)
    point = source.parent / "point"
    assert file_system_at(point) == "btrfs" and quota_is_enabled(point)
    line = next(line for line in Path("/etc/fstab").read_text(encoding="utf-8").splitlines() if str(point) in line)
    assert line.split()[:3] == [str(source), str(point), "btrfs"] and "loop,nofail" in line
    assert pool_info()["State"] == "running"
    run("umount", point)
    run("mount", point)


def test_a_pool_that_is_made_stopped_does_not_stay_mounted(source):
    check_run_again(POOL, {**on_source(source), "state": "stopped"}, PATHS_ON_SOURCE)
    point = source.parent / "point"
    assert not os.path.ismount(point) and pool_info()["State"] == "inactive"
    check_run_again(POOL, {"name": NAME, "state": "started"}, ["state"])
    assert file_system_at(point) == "btrfs"


def write_physical_volume(path: Path) -> None:
    """What ``pvcreate`` writes for others to see, which is not on every host: the label of LVM in the second sector."""
    content = struct.pack("<I8s32s", 32, b"LVM2 001", b"homelab".ljust(32, b"0")).ljust(512 - 20, b"\0")
    check = zlib.crc32(content, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    with path.open("r+b") as stream:
        stream.seek(512)
        stream.write(struct.pack("<8sQI", b"LABELONE", 1, check) + content)


@pytest.mark.parametrize("kind", ["ext4", "swap", "data", "lvm"])
def test_a_source_that_holds_something_is_formatted_with_permission_alone(source, kind):
    if kind == "data":
        source.write_bytes(b"precious" * 1000)
        run("truncate", "-s", "512M", source)
    elif kind == "lvm":
        write_physical_volume(source)
        assert "LVM2_member" in run("blkid", "-p", source)
    else:
        run(*{"ext4": ("mkfs.ext4", "-q"), "swap": ("mkswap",)}[kind], source)
    refuse(POOL, on_source(source), "is lost when it is formatted. Permit it with allow: [format]")
    check_run_again(POOL, on_source(source, allow=["format"]), PATHS_ON_SOURCE)
    assert file_system_at(source.parent / "point") == "btrfs"
    unchanged(POOL, on_source(source, allow=["format"]))


def test_a_source_that_holds_a_btrfs_is_never_formatted(source):
    run("mkfs.btrfs", "-q", source)
    before = run("blkid", "-p", "-s", "UUID", "-o", "value", source)
    check_run_again(POOL, on_source(source, allow=["format"]), PATHS_ON_SOURCE)
    Path(source.parent, "point", "precious").write_text("data", encoding="utf-8")
    assert run("blkid", "-p", "-s", "UUID", "-o", "value", source) == before
    outcome = check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state"])
    assert outcome.plan.kept == [f"{source} (1 entry, not made by this collection)"]
    assert run("blkid", "-p", "-s", "UUID", "-o", "value", source) == before
    assert not (source.parent / "point").exists()


def test_a_source_that_is_in_use_is_refused(source):
    run("mkfs.ext4", "-q", source)
    other = source.parent / "other"
    other.mkdir()
    run("mount", "-o", "loop", source, other)
    try:
        refuse(POOL, on_source(source, allow=["format"]), "is in use by the loop device /dev/loop")
    finally:
        run("umount", other)


def test_a_source_that_the_host_swaps_to_is_refused(source):
    device = run("losetup", "--find", "--show", source).strip()
    run("mkswap", "-q", device)
    run("swapon", device)
    try:
        refuse(POOL, on_source(source, source=device, allow=["format"]), "is in use by the swap of the host")
    finally:
        run("swapoff", device)
        run("losetup", "--detach", device)


def test_a_source_that_is_the_disk_of_a_machine_is_refused(source):
    domain_by_hand(source)
    refuse(POOL, on_source(source, allow=["format"]), f"source: {source} is in use by {PREFIX}-vm")


def test_a_source_is_unmounted_and_mounted_with_its_pool(source):
    converge_now(POOL, on_source(source))
    point = source.parent / "point"
    check_run_again(POOL, {"name": NAME, "state": "stopped"}, ["state"])
    assert not os.path.ismount(point) and pool_info()["State"] == "inactive"
    check_run_again(POOL, {"name": NAME, "state": "started"}, ["state"])
    assert os.path.ismount(point) and pool_info()["State"] == "running"


def test_a_pool_whose_source_is_not_mounted_is_missing_and_mounted_when_it_starts(source):
    """As after a start of the host without its disk: libvirt has the pool active in the empty folder."""
    converge_now(POOL, on_source(source))
    point = source.parent / "point"
    run("umount", point)
    assert pool_info()["State"] == "running"
    assert f"{source}, is not mounted" in str(snapshot.Host().missing(Reference(snapshot.POOL, NAME)))
    check_run_again(POOL, {"name": NAME, "state": "started"}, ["state"])
    assert os.path.ismount(point) and snapshot.Host().missing(Reference(snapshot.POOL, NAME)) is None


def test_what_is_on_a_source_is_kept_and_taken_up_again(source):
    converge_now(POOL, on_source(source))
    point = source.parent / "point"
    (point / "precious").write_text("data", encoding="utf-8")
    outcome = check_run_again(POOL, {"name": NAME, "state": "absent"}, ["state"])
    assert outcome.plan.kept == [f"{source} (1 entry)"]
    assert not point.exists() and str(point) not in Path("/etc/fstab").read_text(encoding="utf-8")
    converge_now(POOL, on_source(source))
    assert (point / "precious").read_text(encoding="utf-8") == "data"
    check_run_again(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]}, ["state", "source"])
    assert run("wipefs", "--no-act", source) == ""
    assert not Path(paths.record_path("pools", NAME)).exists()


def test_a_source_that_is_missing_is_assumed_and_then_needed(source):
    source.unlink()
    outcome = converge_now(POOL, on_source(source))
    assert outcome.error is not None and f"there is no {source}" in outcome.error.message
    assert names() == []


def test_a_killed_run_holds_the_lock_until_its_last_writer_has_ended(source, monkeypatch):
    programs = source.parent / "bin"
    programs.mkdir()
    slow = programs / "mkfs.btrfs"
    begun, ended = source.parent / "begun", source.parent / "ended"
    program = shutil.which("mkfs.btrfs")
    slow.write_text(f'#!/bin/sh\ntouch {begun}\nsleep 2\n{program} "$@"\ntouch {ended}\n')
    slow.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(programs), prepend=os.pathsep)
        child = Child(POOL, on_source(source))
        while not begun.exists():
            time.sleep(0.05)
        child.process.kill()
        child.finish()
    outcome = converge_now(POOL, on_source(source))
    assert outcome.error is None, outcome.error
    assert ended.exists()
    converge_now(POOL, {"name": NAME, "state": "absent", "allow": ["delete_data"]})


def test_creation_on_a_source_survives_every_kill(source):
    def verify(outcome: t.Any) -> None:
        point = source.parent / "point"
        assert file_system_at(point) == "btrfs" and quota_is_enabled(point)
        assert pool_info()["State"] == "running"
        assert Path("/etc/fstab").read_text(encoding="utf-8").count(str(point)) == 1
        assert not json.loads(Path(paths.record_path("pools", NAME)).read_text()).keys() & {"building", "formatting"}

    survive_kills(POOL, on_source(source), begin=lambda: unmounted(source), verify=verify, moments=4)


def test_removal_of_a_source_survives_every_kill(source):
    def begin() -> None:
        unmounted(source)
        converge_now(POOL, on_source(source))

    def verify(outcome: t.Any) -> None:
        assert names() == []
        assert not (source.parent / "point").exists()
        assert run("wipefs", "--no-act", source) == ""
        assert not Path(paths.record_path("pools", NAME)).exists()

    survive_kills(POOL, {"name": NAME, "state": "absent"}, begin=begin, verify=verify)


HOSTILE = hostile_cases(ARGUMENTS, {"name": NAME, "path": f"/run/{PREFIX}/pool"})


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_text_is_refused_or_kept_to_the_letter(case: HostileCase):
    def remove() -> None:
        path = case.params["path"] if case.params["path"].startswith(f"/run/{PREFIX}/") else None
        converge_now(POOL, {"name": case.params["name"], "state": "absent"})
        clean()
        if path:
            shutil.rmtree(f"/run/{PREFIX}", ignore_errors=True)

    is_ours = bool(case.params["name"].startswith(PREFIX) and str(case.params["path"]).startswith(f"/run/{PREFIX}"))
    assert_harmless(POOL, case, is_ours=lambda params: is_ours, remove=remove)
