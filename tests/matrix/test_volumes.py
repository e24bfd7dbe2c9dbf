# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes through their drivers, proven with btrfs, lsattr, filefrag, qemu-img and the file system."""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError, ObserveError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.removal import remove_tree
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import volume as volumes
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.choice import driver_of
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.driver import LIMIT, Cloning, Driver
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.drivers import project_quota
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import BLOCK, FILESYSTEM, Volume
from ansible_collections.homelab.hybrid.tests.harness import pools
from ansible_collections.homelab.hybrid.tests.harness.pools import run

POOL = "hlvol"
ROOT = volumes.of_guest(POOL, "web", "rootfs", FILESYSTEM)
DISK = volumes.of_guest(POOL, "web", "data", BLOCK)
MIB = 1024 * 1024


@pytest.fixture(params=["dir", "btrfs"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Driver]:
    if request.param == "dir":
        yield made("dir", tmp_path / "pool")
        return
    with pools.btrfs(tmp_path, quota="full") as point:
        yield made("btrfs", point / "pool")


@pytest.fixture(params=["full", "simple"])
def quota(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def on_btrfs(quota: str, tmp_path: Path) -> t.Iterator[Cloning]:
    with pools.btrfs(tmp_path, quota=quota) as point:
        yield t.cast(Cloning, made("btrfs", point / "pool"))


def made(kind: str, folder: Path) -> Driver:
    folder.mkdir(mode=0o711)
    driver = driver_of(POOL, kind, str(folder))
    assert driver is not None
    return driver


def publish(driver: Driver, volume: Volume, **options: t.Any) -> str:
    driver.publish(driver.create(volume, **options))
    return driver.location(volume)


def names(driver: Driver) -> list[str]:
    return sorted(os.listdir(driver.path))


def subvolumes(driver: Driver) -> list[str]:
    lines = run("btrfs", "subvolume", "list", driver.path).splitlines()
    return sorted(line.split(" path ")[1] for line in lines)


def groups(driver: Driver) -> dict[str, dict[str, str]]:
    """What ``btrfs qgroup show`` says: by group its maximum and its members."""
    lines = run("btrfs", "qgroup", "show", "--sync", "--raw", "-rc", driver.path).splitlines()[2:]
    rows = [line.split() for line in lines]
    return {row[0]: {"referenced": row[1], "most": row[3], "members": row[4]} for row in rows}


def subvolume_id(path: str) -> str:
    return run("btrfs", "inspect-internal", "rootid", path).strip()


def write(path: str, size: int) -> bool:
    """Whether *size* random bytes can be written to *path*, down to the disk."""
    argv = ["dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={size // MIB}", "conv=fsync"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "quota" in done.stderr.lower(), done.stderr
    return done.returncode == 0


def archive(folder: Path) -> str:
    (folder / "tree" / "etc").mkdir(parents=True)
    (folder / "tree" / "etc" / "hostname").write_text("image\n", encoding="utf-8")
    run("tar", "-cf", folder / "root.tar", "-C", folder / "tree", ".")
    return str(folder / "root.tar")


# ---- any driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volume", [ROOT, DISK], ids=["root", "disk"])
def test_a_volume_is_there_when_it_is_published_and_not_before(driver: Driver, volume: Volume) -> None:
    attempt = driver.create(volume, size=None if volume is ROOT else 8 * MIB)
    assert not driver.exists(volume) and driver.has_left_overs(volume)
    driver.publish(attempt)
    assert driver.exists(volume) and not driver.has_left_overs(volume)
    assert names(driver) == [os.path.basename(driver.location(volume))]
    assert driver.holds(driver.location(volume)) and not driver.holds(f"{driver.path}-2/file")


@pytest.mark.parametrize("volume", [ROOT, DISK], ids=["root", "disk"])
def test_what_has_the_name_of_a_volume_is_never_replaced(driver: Driver, volume: Volume) -> None:
    attempt = driver.create(volume, size=None if volume is ROOT else 8 * MIB)
    place = Path(driver.location(volume))
    if volume is ROOT:
        place.mkdir()
    else:
        place.write_text("somebody else's", encoding="utf-8")
    before = place.stat()
    with pytest.raises(ApplyError, match="is there by now"):
        driver.publish(attempt)
    assert place.stat().st_ino == before.st_ino
    driver.purge(volume)
    assert names(driver) == [place.name]


@pytest.mark.parametrize("volume", [ROOT, DISK], ids=["root", "disk"])
def test_a_volume_goes_in_two_steps(driver: Driver, volume: Volume) -> None:
    publish(driver, volume, size=None if volume is ROOT else 8 * MIB)
    other = volumes.of_guest(POOL, "web-2", "rootfs", FILESYSTEM)
    publish(driver, other)
    driver.retire(volume)
    assert not driver.exists(volume) and driver.has_left_overs(volume)
    driver.purge(volume)
    assert names(driver) == ["web-2.rootfs"]


def test_left_overs_of_another_volume_are_left(driver: Driver) -> None:
    driver.create(volumes.of_guest(POOL, "web", "rootfs2", FILESYSTEM))
    driver.create(volumes.of_guest(POOL, "web.rootfs", "x", FILESYSTEM))
    Path(driver.path, ".web.rootfs+notes").write_text("an administrator's", encoding="utf-8")
    driver.purge(ROOT)
    assert len(names(driver)) == 3


def test_what_is_mounted_in_a_left_over_is_not_removed(driver: Driver, tmp_path: Path) -> None:
    attempt = driver.create(ROOT)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").touch()
    point = Path(attempt.path, "mnt")
    point.mkdir()
    run("mount", "--bind", tmp_path / "data", point)
    try:
        with pytest.raises(ApplyError, match="is mounted in"):
            driver.purge(ROOT)
        assert (tmp_path / "data" / "kept").exists()
    finally:
        run("umount", point)
    driver.purge(ROOT)
    assert names(driver) == []


def test_what_carries_a_mount_is_not_renamed(driver: Driver, tmp_path: Path) -> None:
    place = publish(driver, ROOT)
    link = tmp_path / "link"
    link.symlink_to(driver.path)
    by_link = t.cast(Driver, driver_of(POOL, "dir", str(link)))
    Path(place, "mnt").mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", f"{place}/mnt")
    try:
        for each in (driver, by_link):
            with pytest.raises(ApplyError, match="is mounted in"):
                each.retire(ROOT)
        assert driver.exists(ROOT)
    finally:
        run("umount", f"{place}/mnt")


@pytest.mark.parametrize("kind", ["folder", "file", "tmpfs"])
def test_a_mount_that_comes_while_a_tree_is_removed_keeps_its_content(tmp_path: Path, kind: str) -> None:
    data, tree = tmp_path / "data", tmp_path / "tree"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "kept").write_text("data", encoding="utf-8")
    (tree / "a" / "point").mkdir(parents=True)
    (tree / "a" / "file").touch()
    (tree / "link").symlink_to(data)
    point = tree / "a" / ("file" if kind == "file" else "point")
    run(*{
        "folder": ("mount", "--bind", data, point),
        "file": ("mount", "--bind", data / "deep" / "kept", point),
        "tmpfs": ("mount", "-t", "tmpfs", "tmpfs", point),
    }[kind])  # fmt: skip
    if kind == "tmpfs":
        (point / "kept").touch()
    try:
        with pytest.raises(ApplyError, match=f"{point} is a mount in what is to be removed"):
            remove_tree(str(tree))
        assert point.exists() and (kind != "tmpfs" or (point / "kept").exists())
    finally:
        run("umount", point)
    assert (data / "deep" / "kept").read_text(encoding="utf-8") == "data"
    remove_tree(str(tree))
    assert not tree.exists() and (data / "deep" / "kept").exists()


def test_folders_that_a_guest_nested_without_end_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    code = f"import os\nos.chdir('{tmp_path}/tree')\nfor n in range(3000): os.mkdir('deep'); os.chdir('deep')"
    run("python3", "-c", code)
    remove_tree(str(tmp_path / "tree"))
    assert not (tmp_path / "tree").exists()


def test_a_root_is_unpacked_from_an_archive(driver: Driver, tmp_path: Path) -> None:
    place = publish(driver, ROOT, image=archive(tmp_path))
    assert Path(place, "etc/hostname").read_text(encoding="utf-8") == "image\n"
    assert driver.lxc_root(ROOT).endswith(f":{place}")


def test_an_archive_brings_no_device_and_loses_no_folder(driver: Driver, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("dev/shm", "usr/share/dev/doc", "srv/project/dev"):
        (tree / name).mkdir(parents=True)
    (tree / "usr/share/dev/doc/readme").touch()
    (tree / "srv/project/dev/main.c").touch()
    for place in ("dev/sda", "srv/sda", "usr/share/dev/null"):
        os.mknod(tree / place, stat.S_IFBLK | 0o660, os.makedev(8, 0))
    for top in (["."], ["dev", "srv", "usr"]):
        run("tar", "-cf", tmp_path / "root.tar", "-C", tree, *top)
        place = publish(driver, ROOT, image=str(tmp_path / "root.tar"))
        assert Path(place, "usr/share/dev/doc/readme").exists() and Path(place, "srv/project/dev/main.c").exists()
        assert run("find", place, "-type", "b", "-o", "-path", "*/dev/shm") == ""
        driver.retire(ROOT)
        driver.purge(ROOT)


def test_a_damaged_archive_leaves_nothing(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive" * 1000)
    with pytest.raises(Exception, match="tar"):
        driver.create(ROOT, image=str(tmp_path / "bad.tar"))
    assert names(driver) == []


def test_a_disk_made_of_an_image_holds_what_the_image_holds(driver: Driver, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "16M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 1M", image)
    publish(driver, DISK, size=32 * MIB, image=str(image))
    source = driver.disk_source(DISK)
    assert source.format == driver.formats[0]
    run("qemu-io", "-f", source.format, "-r", "-c", "read -P 7 1M 1M", "-c", "read -P 0 16M 16M", source.path)
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", source.format, source.path))
    assert info["virtual-size"] == 32 * MIB


def test_a_raw_disk_made_of_an_image_is_as_large_as_declared(driver: Driver, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "image", "8M")
    path = publish(driver, DISK, image=str(tmp_path / "image"), size=16 * MIB, format="raw")
    assert os.stat(path).st_size == 16 * MIB


def test_a_disk_grows(driver: Driver) -> None:
    publish(driver, DISK, size=8 * MIB)
    driver.resize(DISK, 64 * MIB)
    source = driver.disk_source(DISK)
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", source.format, source.path))
    assert info["virtual-size"] == 64 * MIB


def test_a_seed_is_replaced_whole(driver: Driver) -> None:
    seed = volumes.of_guest(POOL, "web", "seed", BLOCK)
    driver.write(seed, b"old")
    driver.write(seed, b"new")
    assert names(driver) == ["web.seed.iso"]
    assert Path(driver.location(seed)).read_bytes() == b"new"
    assert driver.disk_source(seed).format == "raw"


def test_two_files_that_could_be_the_volume_are_told_apart_by_nobody(tmp_path: Path) -> None:
    driver = made("dir", tmp_path / "pool")
    publish(driver, DISK, size=8 * MIB)
    Path(driver.path, "web.data.raw").touch()
    with pytest.raises(ObserveError, match="more than once"):
        driver.location(DISK)


def test_a_pool_that_is_not_there_yet_lies_on_a_file_system(tmp_path: Path) -> None:
    driver = driver_of(POOL, "dir", str(tmp_path / "one" / "two"))
    assert driver is not None and not driver.exists(ROOT) and not driver.has_left_overs(DISK)
    status = os.statvfs(tmp_path)
    assert driver.usage().capacity == status.f_blocks * status.f_frsize


# ---- btrfs ------------------------------------------------------------------------------------------------------------


def test_a_clone_of_a_root_is_a_snapshot(on_btrfs: Cloning, tmp_path: Path) -> None:
    image = volumes.of_image(POOL, "debian", FILESYSTEM)
    on_btrfs.publish(on_btrfs.create(image, image=archive(tmp_path)), is_read_only=True)
    on_btrfs.publish(on_btrfs.clone(ROOT, image))
    assert subvolumes(on_btrfs) == ["pool/image+debian", "pool/web.rootfs"]
    shown = run("btrfs", "subvolume", "show", on_btrfs.location(ROOT))
    origin = run("btrfs", "subvolume", "show", on_btrfs.location(image))
    assert re.search(r"Parent UUID:\s+(\S+)", shown)[1] == re.search(r"\n\tUUID:\s+(\S+)", origin)[1]  # type: ignore[index]  # both are there
    assert "readonly" in origin and "readonly" not in shown
    with pytest.raises(OSError, match="Read-only"):
        Path(on_btrfs.location(image), "new").touch()


def test_a_clone_of_a_disk_shares_its_blocks_and_copies_none_on_write(on_btrfs: Cloning, tmp_path: Path) -> None:
    file = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", file, "16M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", file)
    image = volumes.of_image(POOL, "debian", BLOCK)
    on_btrfs.publish(on_btrfs.create(image, size=16 * MIB, image=str(file)), is_read_only=True)
    on_btrfs.publish(on_btrfs.clone(DISK, image, size=32 * MIB))
    place = on_btrfs.location(DISK)
    for path in (place, on_btrfs.location(image)):
        assert "C" in run("lsattr", path).split()[0]
    extents = [line for line in run("filefrag", "-v", place).splitlines() if re.match(r"\s+\d+:", line)]
    assert extents and all("shared" in line for line in extents)
    run("qemu-io", "-f", "raw", "-r", "-c", "read -P 7 0 8M", "-c", "read -P 0 16M 16M", place)
    assert os.stat(place).st_size == 32 * MIB
    run("qemu-io", "-f", "raw", "-c", "write -P 9 0 1M", place)
    run("qemu-io", "-f", "raw", "-r", "-c", "read -P 7 0 8M", on_btrfs.location(image))


def test_a_new_disk_is_never_copied_on_write(on_btrfs: Cloning) -> None:
    assert "C" in run("lsattr", publish(on_btrfs, DISK, size=8 * MIB)).split()[0]


def test_the_size_of_a_root_is_enforced_and_grows(on_btrfs: Cloning, quota: str) -> None:
    place = publish(on_btrfs, ROOT, size=40 * MIB)
    assert on_btrfs.limit(ROOT)[:2] == (40 * MIB, ())
    group = f"100/{subvolume_id(place)}" if quota == "simple" else f"0/{subvolume_id(place)}"
    assert groups(on_btrfs)[group]["most"] == str(40 * MIB)
    assert write(f"{place}/one", 10 * MIB) and not write(f"{place}/two", 40 * MIB)
    on_btrfs.resize(ROOT, 100 * MIB)
    assert on_btrfs.limit(ROOT)[:2] == (100 * MIB, ())
    assert write(f"{place}/two", 40 * MIB)
    on_btrfs.resize(ROOT, None)
    assert on_btrfs.limit(ROOT).size is None
    assert write(f"{place}/three", 70 * MIB)


def test_a_root_that_is_full_can_be_deleted(on_btrfs: Cloning) -> None:
    place = publish(on_btrfs, ROOT, size=20 * MIB)
    run("btrfs", "subvolume", "create", f"{place}/inner")
    on_btrfs.resize(ROOT, 20 * MIB)
    assert not write(f"{place}/inner/file", 40 * MIB)
    on_btrfs.retire(ROOT)
    on_btrfs.purge(ROOT)
    assert subvolumes(on_btrfs) == []


def test_a_limit_survives_a_clone_of_the_root(on_btrfs: Cloning) -> None:
    """A clone has the limit that it is given, not that of its origin, and takes none away."""
    place = publish(on_btrfs, ROOT, size=40 * MIB)
    assert write(f"{place}/file", 10 * MIB)
    other = volumes.of_guest(POOL, "web-2", "rootfs", FILESYSTEM)
    on_btrfs.publish(on_btrfs.clone(other, ROOT, size=80 * MIB))
    assert (on_btrfs.limit(ROOT).size, on_btrfs.limit(other).size) == (40 * MIB, 80 * MIB)
    assert write(f"{on_btrfs.location(other)}/more", 50 * MIB)
    assert not write(f"{place}/more", 50 * MIB)


def test_a_subvolume_that_a_guest_makes_is_held_by_the_limit(on_btrfs: Cloning, quota: str) -> None:
    place = publish(on_btrfs, ROOT, size=40 * MIB)
    Path(place, "srv").mkdir()
    run("btrfs", "subvolume", "create", f"{place}/srv/inner")
    run("btrfs", "subvolume", "create", f"{place}/srv/inner/deeper")
    limit = on_btrfs.limit(ROOT)
    # With simple quotas they are in the group of the root from birth.
    assert limit.size == 40 * MIB
    assert set(limit.outside) == (set() if quota == "simple" else {"srv/inner", "srv/inner/deeper"})
    on_btrfs.resize(ROOT, 40 * MIB)
    assert on_btrfs.limit(ROOT)[:2] == (40 * MIB, ())
    group = groups(on_btrfs)[f"100/{subvolume_id(place)}"]
    assert group["most"] == str(40 * MIB)
    members = {f"0/{subvolume_id(f'{place}/{inner}')}" for inner in ("srv/inner", "srv/inner/deeper")}
    assert members <= set(group["members"].split(","))
    assert not write(f"{place}/srv/inner/deeper/file", 60 * MIB)


def test_a_snapshot_holds_the_subvolumes_in_it_and_nothing_writes_to_it(on_btrfs: Cloning) -> None:
    place = publish(on_btrfs, ROOT)
    run("btrfs", "subvolume", "create", f"{place}/inner")
    run("btrfs", "subvolume", "create", f"{place}/inner/deeper")
    Path(place, "inner/deeper/file").write_text("before", encoding="utf-8")
    Path(place, "inner/large").write_bytes(b"x" * 3 * MIB)
    run("sync", "--file-system", place)
    assert on_btrfs.used_bytes(ROOT) > 3 * MIB
    kept = on_btrfs.snapshot(ROOT, "before-upgrade")
    Path(place, "inner/deeper/file").write_text("after", encoding="utf-8")
    there = Path(on_btrfs.location(kept))
    assert (there / "inner/deeper/file").read_text(encoding="utf-8") == "before"
    for folder in (there, there / "inner", there / "inner/deeper"):
        assert run("btrfs", "property", "get", folder, "ro").strip() == "ro=true"
    other = volumes.of_guest(POOL, "web-2", "rootfs", FILESYSTEM)
    on_btrfs.publish(on_btrfs.clone(other, kept))
    copy = Path(on_btrfs.location(other), "inner/deeper/file")
    assert copy.read_text(encoding="utf-8") == "before"
    copy.write_text("written", encoding="utf-8")
    for volume in (kept, other, ROOT):
        on_btrfs.retire(volume)
        on_btrfs.purge(volume)
    assert subvolumes(on_btrfs) == []


def test_a_snapshot_of_a_disk_keeps_what_it_holds(on_btrfs: Cloning) -> None:
    place = publish(on_btrfs, DISK, size=8 * MIB)
    run("qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", place)
    kept = on_btrfs.snapshot(DISK, "before")
    run("qemu-io", "-f", "raw", "-c", "write -P 2 0 1M", place)
    run("qemu-io", "-f", "raw", "-r", "-c", "read -P 1 0 1M", on_btrfs.location(kept))


@pytest.mark.parametrize("quota", ["full"], indirect=True)
def test_very_many_subvolumes_are_all_seen_and_deleted(on_btrfs: Cloning) -> None:
    """Docker makes as many, and btrfs names 255 at once."""
    place = publish(on_btrfs, ROOT, size=400 * MIB)
    Path(place, "docker").mkdir()
    run("sh", "-ec", f"cd {place}/docker; seq 260 | xargs -n 1 btrfs -q subvolume create")
    on_btrfs.resize(ROOT, 400 * MIB)
    assert on_btrfs.limit(ROOT).outside == ()
    on_btrfs.retire(ROOT)
    on_btrfs.purge(ROOT)
    assert subvolumes(on_btrfs) == []


def test_groups_of_roots_that_are_gone_go_too(on_btrfs: Cloning) -> None:
    for dummy in range(2):
        place = publish(on_btrfs, ROOT, size=40 * MIB)
        run("btrfs", "subvolume", "create", f"{place}/inner")
        on_btrfs.resize(ROOT, 40 * MIB)
        on_btrfs.retire(ROOT)
        on_btrfs.purge(ROOT)
        # btrfs cleans up behind a commit, which it makes by itself every 30 s.
        run("btrfs", "filesystem", "sync", on_btrfs.path)
        run("btrfs", "subvolume", "sync", "-s", "1", on_btrfs.path)
    publish(on_btrfs, ROOT)
    on_btrfs.retire(ROOT)
    on_btrfs.purge(ROOT)
    assert [group for group in groups(on_btrfs) if group.startswith("100/")] == []


def test_a_folder_that_is_no_subvolume_goes_as_a_pool_too(tmp_path: Path) -> None:
    with pools.btrfs(tmp_path) as point:
        driver = made("btrfs", point / "pool")
        driver.remove_pool()
        assert os.listdir(point) == []


def test_a_limit_on_a_file_system_without_quotas_is_an_obstacle(tmp_path: Path) -> None:
    with pools.btrfs(tmp_path) as point:
        driver = t.cast(Cloning, made("btrfs", point / "pool"))
        assert "quotas disabled" in str(driver.obstacle(LIMIT))
        publish(driver, ROOT)
        other = volumes.of_guest(POOL, "other", "rootfs", FILESYSTEM)
        for make in (driver.create, functools.partial(driver.clone, origin=ROOT)):
            with pytest.raises((ApplyError, OSError)):
                make(other, size=64 * MIB)
        assert names(driver) == [ROOT.name]
        assert driver.limit(ROOT).size is None
        run("btrfs", "quota", "enable", point)
        assert driver.obstacle(LIMIT) is None


# ---- dir --------------------------------------------------------------------------------------------------------------


def test_a_folder_without_project_quotas_says_what_would_have_them(tmp_path: Path) -> None:
    driver = made("dir", tmp_path / "pool")
    if "prjquota" in run("findmnt", "-no", "OPTIONS", "-T", tmp_path):
        pytest.skip("this file system has project quotas")
    assert re.search(r"enforces no project quotas\. It takes .* a pool of type btrfs", str(driver.obstacle(LIMIT)))


def test_what_is_in_a_root_joins_its_project_before_that_is_limited(tmp_path: Path) -> None:
    """Of a project XFS knows without quotas too. That the limit is enforced shows the ordinary machine."""
    with pools.xfs(tmp_path) as point:
        driver = made("dir", point / "pool")
        with pytest.raises((ApplyError, OSError)):
            driver.create(ROOT, size=64 * MIB)
        assert names(driver) == []
        root = Path(publish(driver, ROOT))
        (root / "srv/deep").mkdir(parents=True)
        (root / "mounted").mkdir()
        (root / "srv/deep/file").write_text("x")
        (root / "srv/link").symlink_to("/etc")
        os.mkfifo(root / "srv/fifo")
        (point / "beside").write_text("x")
        run("mount", "-t", "tmpfs", "tmpfs", root / "mounted")
        with pytest.raises((ApplyError, OSError)):
            project_quota.set_limit(str(root), ROOT, 64 * MIB)
        run("umount", root / "mounted")
        projects = {path: project_of(path) for path in (root, root / "srv", root / "srv/deep", root / "srv/deep/file")}
        (root / "srv/deep/late").write_text("x")
        assert len({*projects.values(), project_of(root / "srv/deep/late")}) == 1
        assert min(projects.values()) >= 65536
        assert project_of(point / "beside") == project_of(root / "mounted") == 0
        # As the snapshot that a revert makes of it: nothing of it counts for the root that comes in its place.
        project_quota.leave(str(root))
        (root / "srv/deep/later").touch()
        assert {project_of(path) for path in (*projects, root / "srv/deep/later")} == {0}


def project_of(path: Path) -> int:
    return int(run("lsattr", "-pd", path).split()[0])
