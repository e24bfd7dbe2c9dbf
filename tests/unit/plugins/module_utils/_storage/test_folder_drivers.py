# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drivers of pools that are folders do to files, subvolumes and quotas, without the rights of root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import types
import typing as t
from pathlib import Path

import pytest
from unit.descriptors import open_files

from ansible_collections.homelab.hybrid.plugins.module_utils._core import removal
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import cloning
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.driver import Attempt
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.drivers import (
    btrfs,
    folder,
    project_quota,
    qgroup,
    subvolume,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.drivers import dir as plain
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import BLOCK, FILESYSTEM, Limit, Volume

ROOT = Volume("main", "web.rootfs", FILESYSTEM)
DISK = Volume("main", "web.data", BLOCK)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


class Programs:
    """The programs that were started, in order. One that makes a file makes an empty one; *fails_at* is the beginning of one that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: str = "nothing") -> None:
        self.told: list[str] = []
        self.fails_at = fails_at
        for module in (btrfs, plain, folder, qgroup, subvolume):
            monkeypatch.setattr(module, "command", self)

    def run(self, argv: t.Sequence[str], **options: t.Any) -> str:
        self.told.append(" ".join(argv))
        if self.told[-1].startswith(self.fails_at):
            raise ApplyError("no")
        if argv[:3] == ["qemu-img", "create", "-q"]:
            Path(
                next(each for each in argv if "/" in each and each != argv[argv.index("-b") + 1 if "-b" in argv else 0])
            ).touch()
        if argv[0] == "cp":
            Path(argv[-1]).mkdir(exist_ok=True) if os.path.isdir(argv[-2]) else Path(argv[-1]).touch()
        return "4096\t/x\n"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(monkeypatch)


@pytest.fixture
def pool(tmp_path: Path) -> plain.Dir:
    driver = plain.Dir("main", str(tmp_path / "deep" / "pool"))
    mask = os.umask(0)
    try:
        driver.make_pool()
    finally:
        os.umask(mask)
    return driver


def left(driver: folder.Folder) -> list[str]:
    return sorted(os.listdir(driver.path))


# ---- folders -----------------------------------------------------------------------------------------------------------------


def test_qemus_user_passes_through_the_folder_of_a_pool_and_it_goes_as_a_whole(pool: plain.Dir) -> None:
    assert mode(pool.path) == 0o711
    Path(pool.path, "file").touch()
    pool.remove_pool()
    assert not os.path.exists(pool.path)


def test_an_attempt_is_nobody_elses_and_what_is_only_cloned_from_is_roots_alone(
    pool: plain.Dir, programs: Programs
) -> None:
    attempt = pool.create(ROOT)
    assert mode(attempt.path) == 0o700
    pool.publish(attempt)
    assert mode(pool.location(ROOT)) == 0o755
    disk = pool.create(DISK, size=9)
    pool.publish(disk, is_read_only=True)
    assert mode(pool.location(DISK)) == 0o400
    other = pool.create(DISK._replace(name="web.other"), size=9)
    pool.publish(other)
    assert mode(pool.location(other.volume)) == 0o600


def test_a_tree_that_is_kept_is_sealed_before_it_has_its_name(pool: plain.Dir, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed: list[str] = []
    monkeypatch.setattr(plain.project_quota, "leave", sealed.append)
    attempt = pool.create(ROOT)
    pool.publish(attempt, is_read_only=True)
    assert sealed == [attempt.path] and mode(pool.location(ROOT)) == 0o700


@pytest.mark.parametrize(
    ("volume", "made"),
    [
        ({"size": 9, "format": "raw"}, ["create -q -f raw PATH 9"]),
        ({"image": "/i.qcow2"}, ["create -q -f qcow2 -b /i.qcow2 -F qcow2 PATH"]),
        (
            {"image": "/i.qcow2", "format": "raw", "size": 9},
            ["convert -q -f qcow2 -O raw /i.qcow2 PATH", "resize -q -f raw PATH 9"],
        ),
    ],
)
def test_a_disk_is_made_of_what_it_is_declared_to_be(
    pool: plain.Dir, programs: Programs, volume: t.Any, made: list[str]
) -> None:
    attempt = pool.create(DISK, **volume)
    assert [each.replace(attempt.path, "PATH") for each in programs.told] == [f"qemu-img {each}" for each in made]


def test_a_root_is_limited_before_anything_is_in_it_and_unpacked_without_devices(
    pool: plain.Dir, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        plain.project_quota, "set_limit", lambda path, volume, size: programs.told.append(f"limit {size}")
    )
    attempt = pool.create(ROOT, size=9, image="/i.tar")
    assert programs.told[0] == "limit 9" and programs.told[1].startswith("tar ") and "-xpf /i.tar" in programs.told[1]
    assert programs.told[2] == f"find {attempt.path} -xdev ( -type b -o -type c ) -delete"
    pool.resize(ROOT, 10)
    assert programs.told[-1] == "limit 10"


@pytest.mark.parametrize("fails_at", ["tar", "find"])
def test_what_could_not_be_made_leaves_no_attempt(
    pool: plain.Dir, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    Programs(monkeypatch, fails_at)
    with pytest.raises(ApplyError):
        pool.create(ROOT, image="/i.tar")
    assert left(pool) == []


def test_what_could_not_be_copied_leaves_no_attempt(pool: plain.Dir, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.publish(pool.create(ROOT))

    def fail(argv: t.Sequence[str], **options: t.Any) -> str:
        Path(argv[-1]).mkdir()
        raise ApplyError("full")

    monkeypatch.setattr(folder.command, "run", fail)
    with pytest.raises(ApplyError):
        pool.restore(ROOT, ROOT)
    assert left(pool) == [ROOT.name]


def test_a_copy_holds_everything_but_what_libvirt_notes_and_other_file_systems(
    pool: plain.Dir, programs: Programs
) -> None:
    pool.publish(pool.create(ROOT))
    pool.publish(pool.create(DISK, size=9))
    programs.told.clear()
    kept = [pool.snapshot(volume, "a") for volume in (ROOT, DISK)]
    assert [each.split()[:6] for each in programs.told[:1]] == [
        ["cp", "--archive", "--one-file-system", "--no-target-directory", "--reflink=auto", pool.location(ROOT)]
    ]
    assert programs.told[1].split()[5:7] == ["--no-preserve=xattr", pool.location(DISK)]
    assert [mode(pool.location(volume)) for volume in kept] == [0o700, 0o400]
    assert mode(pool.restore(ROOT, kept[0]).path) == 0o700


def test_what_is_set_aside_has_the_name_of_a_snapshot_and_is_sealed(
    pool: plain.Dir, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[str] = []
    monkeypatch.setattr(plain.project_quota, "leave", sealed.append)
    for volume, mode_then in ((ROOT, 0o700), (DISK, 0o400)):
        pool.publish(pool.create(volume))
        kept = volume.snapshot("old")
        pool.set_aside(volume, kept)
        assert not pool.exists(volume) and pool.exists(kept)
        pool.seal(kept)
        assert mode(pool.location(kept)) == mode_then
    assert sealed == [pool.location(ROOT.snapshot("old"))]


def test_what_carries_a_mount_is_neither_set_aside_nor_retired_nor_purged(
    pool: plain.Dir, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.publish(pool.create(ROOT))
    pool.create(ROOT)
    before = left(pool)
    monkeypatch.setattr(folder.mounts, "mounts_in", lambda path: (f"{path}/mnt",))
    for act in (
        lambda: pool.set_aside(ROOT, ROOT.snapshot("old")),
        lambda: pool.retire(ROOT),
        lambda: pool.purge(ROOT),
    ):
        with pytest.raises(ApplyError, match="unmount it first"):
            act()
    assert left(pool) == before


def test_a_seed_is_written_whole_without_what_a_run_that_was_killed_left_of_one(pool: plain.Dir) -> None:
    half = Path(pool.path, f".{DISK.name}.iso.123.new")
    half.write_text("secret")
    pool.write(DISK, b"seed")
    assert left(pool) == [f"{DISK.name}.iso"] and mode(pool.location(DISK)) == 0o600
    assert Path(pool.location(DISK)).read_bytes() == b"seed"


def test_a_disk_grows_and_a_volume_goes_in_two_steps(pool: plain.Dir, programs: Programs) -> None:
    pool.publish(pool.create(DISK, size=9, format="raw"))
    place = pool.location(DISK)
    pool.resize(DISK, 10)
    assert programs.told[-1] == f"qemu-img resize -q -f raw {place} 10"
    pool.retire(DISK)
    assert not pool.exists(DISK) and pool.has_left_overs(DISK)
    pool.purge(DISK)
    assert left(pool) == []
    Path(pool.create(ROOT).path, "inner").mkdir()
    pool.create(ROOT)
    assert len(left(pool)) == 1, "an attempt goes with the next"


def test_what_is_protected_is_not_written_to_until_it_may_be_again(
    pool: plain.Dir, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.publish(pool.create(DISK, size=9))
    for is_read_only, mode_then in ((True, 0o400), (False, 0o600)):
        pool.protect(DISK, is_read_only=is_read_only)
        assert mode(pool.location(DISK)) == mode_then
    monkeypatch.setattr(subvolume, "is_subvolume", lambda path: not path.endswith("plain"))
    monkeypatch.setattr(subvolume, "seal", lambda path, is_read_only: programs.told.append(f"{path} {is_read_only}"))
    driver = btrfs.Btrfs("main", pool.path)
    programs.told.clear()
    driver.protect(ROOT, is_read_only=True)
    driver.protect(ROOT._replace(name="plain"), is_read_only=True)
    assert programs.told == [f"{pool.path}/{ROOT.name} True"]


def test_a_linked_disk_stands_on_its_origin(
    pool: plain.Dir, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.publish(pool.create(DISK, size=9))
    programs.told.clear()
    attempt = pool.clone(DISK._replace(name="new.data"), DISK, size=10)
    base = pool.location(DISK)
    assert programs.told == [f"qemu-img create -q -f qcow2 -b {base} -F qcow2 {attempt.path} 10"]
    before = left(pool)

    def fail(argv: t.Sequence[str], **options: t.Any) -> str:
        Path(argv[-1]).touch()
        raise ApplyError("full")

    monkeypatch.setattr(programs, "run", fail)
    with pytest.raises(ApplyError):
        pool.clone(DISK._replace(name="other.data"), DISK)
    assert left(pool) == before


def test_a_clone_in_another_pool_is_a_copy_and_leaves_nothing_where_that_fails(
    pool: plain.Dir, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = plain.Dir("other", str(tmp_path / "other"))
    other.make_pool()
    for volume in (ROOT, DISK):
        pool.publish(pool.create(volume, **({"size": 9} if volume is DISK else {})))
    monkeypatch.setattr(cloning, "command", programs)
    new = [volume._replace(pool="other") for volume in (ROOT, DISK)]
    programs.told.clear()
    attempts = [
        cloning.begin(other, volume, pool, origin, is_linked=False, size=9, format="raw")
        for volume, origin in zip(new, (ROOT, DISK), strict=True)
    ]
    copies = [each for each in programs.told if "create" not in each]
    assert copies == [
        f"cp --archive --no-target-directory {pool.location(ROOT)} {attempts[0].path}",
        f"qemu-img convert -q -n -U -f qcow2 -O raw {pool.location(DISK)} {attempts[1].path}",
    ]
    other.purge(new[0])
    other.purge(new[1])

    def fail(argv: t.Sequence[str], **options: t.Any) -> str:
        raise ApplyError("full")

    monkeypatch.setattr(cloning, "command", types.SimpleNamespace(run=fail))
    for volume, origin in zip(new, (ROOT, DISK), strict=True):
        with pytest.raises(ApplyError):
            cloning.begin(other, volume, pool, origin, is_linked=False)
        assert left(other) == []


def test_a_clone_in_the_same_pool_is_made_by_its_means(pool: plain.Dir, programs: Programs) -> None:
    pool.publish(pool.create(ROOT))
    pool.publish(pool.create(DISK, size=9))
    programs.told.clear()
    cloning.begin(pool, ROOT._replace(name="new.rootfs"), pool, ROOT, is_linked=False, keep_fds=(9,))
    cloning.begin(pool, DISK._replace(name="new.data"), pool, DISK, is_linked=True, size=10)
    assert programs.told[0].startswith("cp --archive --one-file-system") and "-b" in programs.told[1].split()


# ---- trees -------------------------------------------------------------------------------------------------------------------


def test_a_tree_goes_however_deep_without_what_its_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    top = tmp_path / "top"
    place = top
    for dummy in range(removal._DEEPEST + 20):
        place = place / "d"
    os.makedirs(place)
    (place / "file").touch()
    (top / "link").symlink_to(tmp_path / "outside")
    before = open_files()
    removal.remove_tree(f"{top}/")
    assert os.listdir(tmp_path) == ["outside"] and (tmp_path / "outside" / "file").exists() and open_files() <= before


def test_a_mount_in_a_tree_is_told_and_nothing_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "top" / "mounted").mkdir(parents=True)

    def rmdir(path: str, *, dir_fd: int) -> None:
        raise OSError(errno.EBUSY, "busy")

    before = open_files()
    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(ApplyError, match="top/mounted is a mount in what is to be removed"):
        removal.remove_tree(str(tmp_path / "top"))
    assert open_files() <= before


# ---- btrfs -------------------------------------------------------------------------------------------------------------------


class Quota:
    """The quota of a file system, which notes what it is told."""

    told: t.ClassVar[list[str]] = []
    is_enabled = True
    is_consistent = True

    def __init__(self, path: str) -> None:
        self.path = path

    def limit_of(self, path: str) -> Limit:
        return Limit(7)

    def enable(self, *, simple: bool) -> None:
        self.told.append(f"enable{' simple' * simple}")

    def __getattr__(self, name: str) -> t.Callable[..., None]:
        return lambda *given: self.told.append(" ".join([name, *(os.path.basename(str(each)) for each in given)]))


@pytest.fixture
def on_btrfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs) -> tuple[btrfs.Btrfs, list[str]]:
    """A pool whose subvolumes are folders, and what is done to them and to quotas."""
    told = programs.told
    monkeypatch.setattr(btrfs, "Quota", Quota)
    monkeypatch.setattr(Quota, "told", told)
    monkeypatch.setattr(btrfs.qgroup, "knows_simple", lambda: True)

    def make(path: str) -> None:
        os.mkdir(path)
        told.append("subvolume")

    def snapshot(source: str, path: str) -> None:
        os.mkdir(path)
        told.append(f"snapshot of {os.path.basename(source)}")

    def delete(path: str) -> None:
        os.rmdir(path)
        told.append("subvolume deleted")

    monkeypatch.setattr(subvolume, "is_subvolume", lambda path: os.path.isdir(path) and not path.endswith("plain"))
    monkeypatch.setattr(subvolume, "create", make)
    monkeypatch.setattr(subvolume, "snapshot", snapshot)
    monkeypatch.setattr(subvolume, "delete", delete)
    monkeypatch.setattr(subvolume, "seal", lambda path: told.append("sealed"))
    monkeypatch.setattr(subvolume, "clone_file", lambda source, target: told.append("shares its blocks"))
    monkeypatch.setattr(btrfs, "unpack", lambda image, path, keep_fds: told.append(f"unpack {image}"))
    driver = btrfs.Btrfs("main", str(tmp_path / "deep" / "pool"))
    mask = os.umask(0o077)
    try:
        driver.make_pool(is_new=True)
    finally:
        os.umask(mask)
    return driver, told


def test_a_pool_is_a_subvolume_of_its_own_that_counts(
    on_btrfs: tuple[btrfs.Btrfs, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, told = on_btrfs
    assert told == ["subvolume"] and mode(driver.path) == 0o711
    told.clear()
    monkeypatch.setattr(Quota, "is_enabled", False)
    monkeypatch.setattr(Quota, "is_consistent", False)
    driver.make_pool()
    driver.make_pool(is_new=True)
    assert told == ["enable", "recount", "enable simple", "recount"]


def test_a_pool_goes_as_a_subvolume_and_one_that_is_none_as_a_folder(
    on_btrfs: tuple[btrfs.Btrfs, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, told = on_btrfs
    told.clear()
    driver.remove_pool()
    assert told == ["lift pool", "subvolume deleted"] and not os.path.exists(driver.path)
    os.makedirs(f"{driver.path}/inner")
    monkeypatch.setattr(subvolume, "is_subvolume", lambda path: False)
    driver.remove_pool()
    assert not os.path.exists(driver.path)


def test_a_root_is_a_subvolume_that_is_limited_before_anything_is_in_it(
    on_btrfs: tuple[btrfs.Btrfs, list[str]],
) -> None:
    driver, told = on_btrfs
    told.clear()
    attempt = driver.create(ROOT, size=9, image="/i.tar")
    assert mode(attempt.path) == 0o700
    assert told == ["subvolume", f"set_limit {os.path.basename(attempt.path)} 9", "unpack /i.tar"]
    driver.publish(attempt)
    told.clear()
    driver.retire(ROOT)
    driver.purge(ROOT)
    assert [each.split()[0] for each in told] == ["lift", "subvolume", "sweep"] and left(driver) == []


def test_a_clone_shares_what_its_origin_has_and_is_limited_like_a_new_one(
    on_btrfs: tuple[btrfs.Btrfs, list[str]],
) -> None:
    driver, told = on_btrfs
    driver.publish(driver.create(ROOT))
    driver.publish(driver.create(DISK, size=9))
    os.truncate(driver.location(DISK), 4096)
    told.clear()
    root = driver.clone(ROOT._replace(name="new.rootfs"), ROOT, size=9)
    assert told == ["snapshot of web.rootfs", f"set_limit {os.path.basename(root.path)} 9"] and mode(root.path) == 0o700
    told.clear()
    disks = [driver.clone(DISK._replace(name=f"new{size}.data"), DISK, size=size) for size in (0, 8192)]
    form = "qemu-img create -q -f raw -o nocow=on"
    assert told == [each for disk in disks for each in (f"{form} {disk.path} 0", "shares its blocks")]
    assert [os.stat(disk.path).st_size for disk in disks] == [4096, 8192]


def test_a_clone_or_disk_that_could_not_be_made_leaves_no_attempt(
    on_btrfs: tuple[btrfs.Btrfs, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, dummy = on_btrfs
    driver.publish(driver.create(ROOT))

    def fail(*given: t.Any) -> None:
        raise ApplyError("full")

    monkeypatch.setattr(Quota, "set_limit", fail, raising=False)
    other = ROOT._replace(name="new.rootfs")
    for make in (lambda: driver.clone(other, ROOT, size=9), lambda: driver.create(other, size=9)):
        with pytest.raises(ApplyError):
            make()
        assert left(driver) == [ROOT.name]


def test_a_disk_of_an_image_is_written_into_a_file_that_is_never_copied_on_write(
    on_btrfs: tuple[btrfs.Btrfs, list[str]],
) -> None:
    driver, told = on_btrfs
    told.clear()
    attempt = driver.create(DISK, size=9, image="/i.qcow2")
    assert told == [
        f"qemu-img create -q -f raw -o nocow=on {attempt.path} 9",
        f"qemu-img convert -q -n --target-is-zero -f qcow2 -O raw /i.qcow2 {attempt.path}",
    ]


def test_what_is_sealed_has_no_limit_and_a_plain_folder_goes_as_one(on_btrfs: tuple[btrfs.Btrfs, list[str]]) -> None:
    driver, told = on_btrfs
    driver.publish(driver.create(ROOT))
    told.clear()
    driver.publish(driver._copy(ROOT.snapshot("a"), ROOT, ()), is_read_only=True)
    assert told[0] == "snapshot of web.rootfs" and [each.split()[0] for each in told[1:]] == ["lift", "sealed"]
    by_hand = os.path.join(driver.path, "plain")
    os.makedirs(f"{by_hand}/inner")
    driver._seal(by_hand)
    driver._remove(by_hand)
    assert not os.path.exists(by_hand)


# ---- quota groups ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, t.Any]]:
    """The folder in which the kernel shows the groups, and what there is: nested subvolumes, members, ids that are gone."""
    there: dict[str, t.Any] = {"nested": [], "members": {}, "gone": set(), "root": 257}
    monkeypatch.setattr(subvolume, "file_system_of", lambda path: "uuid")
    monkeypatch.setattr(subvolume, "id_of", lambda descriptor: there["root"])
    monkeypatch.setattr(subvolume, "nested_in", lambda path: there["nested"])
    monkeypatch.setattr(subvolume, "is_there", lambda descriptor, its: its not in there["gone"])
    monkeypatch.setattr(
        qgroup, "_members", lambda descriptor, group: frozenset(there["members"].get(group & 0xFFFF, ()))
    )
    shown = tmp_path / "qgroups"
    shown.mkdir()
    for name, text in (("enabled", "1"), ("inconsistent", "0"), ("mode", "qgroup")):
        (shown / name).write_text(f"{text}\n")
    return shown, there


def quota(tmp_path: Path) -> qgroup.Quota:
    its = qgroup.Quota(str(tmp_path))
    its.folder = str(tmp_path / "qgroups")
    return its


def show(shown: Path, group: str, limit: int | None, used: int = 0) -> None:
    (shown / group).mkdir()
    (shown / group / "limit_flags").write_text(f"{int(limit is not None)}\n")
    (shown / group / "max_referenced").write_text(f"{limit or 0}\n")
    (shown / group / "referenced").write_text(f"{used}\n")


def test_full_quotas_limit_the_root_and_a_group_of_what_is_in_it(
    groups: tuple[Path, dict[str, t.Any]], programs: Programs, tmp_path: Path
) -> None:
    shown, there = groups
    quota(tmp_path).set_limit(str(tmp_path), 9)
    assert programs.told == [f"btrfs qgroup limit 9 0/257 {tmp_path}"]
    programs.told.clear()
    there["nested"] = [subvolume.Nested(300, "in"), subvolume.Nested(301, "in2")]
    there["members"] = {257: [301]}
    (shown / "inconsistent").write_text("1\n")
    quota(tmp_path).set_limit(str(tmp_path), None)
    assert [each.removesuffix(f" {tmp_path}") for each in programs.told] == [
        "btrfs qgroup limit none 0/257",
        "btrfs qgroup create 100/257",
        "btrfs qgroup assign --no-rescan 0/300 100/257",
        "btrfs qgroup limit none 100/257",
        "btrfs quota rescan -w",
    ]


def test_simple_quotas_limit_one_group_that_holds_all(
    groups: tuple[Path, dict[str, t.Any]], programs: Programs, tmp_path: Path
) -> None:
    shown, dummy = groups
    (shown / "mode").write_text("squota\n")
    quota(tmp_path).set_limit(str(tmp_path), 9)
    assert [each.removesuffix(f" {tmp_path}") for each in programs.told] == [
        "btrfs qgroup create 100/257",
        "btrfs qgroup assign --no-rescan 0/257 100/257",
        "btrfs qgroup limit 9 100/257",
    ]


def test_a_limit_is_told_with_what_it_does_not_hold(groups: tuple[Path, dict[str, t.Any]], tmp_path: Path) -> None:
    shown, there = groups
    show(shown, "0_257", 9, used=5)
    there["nested"] = [subvolume.Nested(300, "in"), subvolume.Nested(301, "in2")]
    there["members"] = {257: [301]}
    its = quota(tmp_path)
    assert its.limit_of(str(tmp_path)) == Limit(9, ("in", "in2"), 5)
    show(shown, "100_257", 9, used=6)
    assert its.limit_of(str(tmp_path)) == Limit(9, ("in",), 5)
    (shown / "mode").write_text("squota\n")
    assert its.limit_of(str(tmp_path)) == Limit(None, (), 5)
    there["members"] = {257: [257, 300, 301]}
    assert its.limit_of(str(tmp_path)) == Limit(9, (), 6)


def test_limits_are_lifted_from_all_that_a_root_holds_and_groups_of_roots_that_are_gone_go(
    groups: tuple[Path, dict[str, t.Any]], programs: Programs, tmp_path: Path
) -> None:
    shown, there = groups
    there["nested"] = [subvolume.Nested(300, "in")]
    show(shown, "0_257", 9)
    show(shown, "100_257", 9)
    show(shown, "0_300", None)
    before = open_files()
    quota(tmp_path).lift(str(tmp_path))
    assert [each.removesuffix(f" {tmp_path}") for each in programs.told] == [
        "btrfs qgroup limit none 0/257",
        "btrfs qgroup limit none 100/257",
    ]
    programs.told.clear()
    show(shown, "100_400", 9)
    there["gone"], there["members"] = {400, 401}, {400: [401, 402]}
    quota(tmp_path).sweep()
    assert [each.removesuffix(f" {tmp_path}") for each in programs.told] == [
        "btrfs qgroup destroy 0/401",
        "btrfs qgroup destroy 100/400",
    ]
    quota(tmp_path).enable(simple=True)
    assert programs.told[-1] == f"btrfs quota enable --simple {tmp_path}" and open_files() <= before


# ---- subvolumes --------------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_opened_on_the_way_is_closed_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("/etc")
    before = open_files()
    with subvolume._opened_in(str(tmp_path), "a/b") as descriptor:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "a" / "b")
    with pytest.raises(OSError), subvolume._opened_in(str(tmp_path), "a/link"):
        pass
    with subvolume.opened(str(tmp_path)) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), tmp_path.stat())
    assert open_files() <= before


def test_subvolumes_are_found_however_deep_each_before_those_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"": [(1, "a"), (2, "b")], "a": [(3, "x/y")], "a/x/y": [(4, "z")]}

    @contextlib.contextmanager
    def opened_in(path: str, inner: str) -> t.Iterator[str]:
        yield inner

    monkeypatch.setattr(subvolume, "_opened_in", opened_in)
    monkeypatch.setattr(
        subvolume, "_children", lambda inner: [subvolume.Nested(*each) for each in there.get(inner, ())]
    )
    found = subvolume.nested_in("/r")
    assert sorted(found) == [(1, "a"), (2, "b"), (3, "a/x/y"), (4, "a/x/y/z")]
    assert [each.path for each in found if each.path.startswith("a")] == ["a", "a/x/y", "a/x/y/z"]


def test_items_of_a_tree_are_asked_for_until_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers with as many as fit, each with data of its own length behind it."""
    offsets = [5, 7, 8, 11, 12]

    def ask(descriptor: int, request: int, question: bytes) -> bytearray:
        key = subvolume._SEARCH_KEY.unpack(question)
        found = [offset for offset in offsets if key[3] <= offset <= key[4]][:2]
        head = subvolume._SEARCH_KEY.pack(*key[:9], len(found), 0)
        items = [subvolume._SEARCH_ITEM.pack(0, 0, offset, 0, offset) + bytes(offset) for offset in found]
        return bytearray(head + b"".join(items))

    monkeypatch.setattr(subvolume, "ask", ask)
    assert subvolume.search(3, 1, 257, 144, most=1000) == offsets
    assert subvolume.search(3, 1, 257, 144, most=8) == [5, 7, 8]


def test_subvolumes_in_a_folder_are_told_in_as_many_answers_as_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [([(300, 256), (301, 257)], True), ([(302, 256)], False)]

    def ioctl(descriptor: int, request: int, buffer: bytearray) -> None:
        found, is_more = answers.pop(0)
        buffer[subvolume._COUNT_AT] = len(found)
        for number, each in enumerate(found):
            subvolume._ROOTREF.pack_into(buffer, subvolume._ROOTREFS_AT + number * subvolume._ROOTREF.size, *each)
        if is_more:
            raise OSError(errno.EOVERFLOW, "more")

    def ask(descriptor: int, request: int, question: bytes) -> bytes:
        folder, tree = subvolume._ROOTREF.unpack(question)
        return subvolume._USER_LOOKUP.pack(0, 0, f"name{tree}".encode(), b"in/" if folder == 257 else b"")

    monkeypatch.setattr(subvolume.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(subvolume, "ask", ask)
    assert list(subvolume._children(3)) == [(300, "name300"), (301, "in/name301"), (302, "name302")]


def test_a_snapshot_takes_those_in_it_along_each_from_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    for path in ("source/in", "copy/in"):
        (tmp_path / path).mkdir(parents=True)
    monkeypatch.setattr(subvolume, "nested_in", lambda path: [subvolume.Nested(300, "in")])
    monkeypatch.setattr(subvolume, "id_of", lambda descriptor: 300)
    subvolume.snapshot(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert programs.told[0] == f"btrfs -q subvolume snapshot {tmp_path}/source {tmp_path}/copy"
    assert programs.told[1].startswith("btrfs -q subvolume snapshot /proc/self/fd/")
    assert programs.told[1].endswith(f" {tmp_path}/copy/in") and not (tmp_path / "copy/in").exists()
    monkeypatch.setattr(subvolume, "id_of", lambda descriptor: 301)
    (tmp_path / "copy/in").mkdir()
    with pytest.raises(ApplyError, match="was moved meanwhile"):
        subvolume.snapshot(str(tmp_path / "source"), str(tmp_path / "copy"))


def test_subvolumes_go_from_the_innermost_and_are_sealed_like_that(
    monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    monkeypatch.setattr(subvolume, "nested_in", lambda path: [subvolume.Nested(1, "a"), subvolume.Nested(2, "a/b")])
    monkeypatch.setattr(subvolume, "is_read_only", lambda path: path == "/r/a")
    subvolume.seal("/r")
    subvolume.delete("/r")
    assert programs.told == [
        *(f"btrfs property set -ts {path} ro true" for path in ("/r/a/b", "/r/a", "/r")),
        "btrfs property set -f -ts /r/a ro false",
        "btrfs -q subvolume delete /r/a/b /r/a /r",
    ]


# ---- project quotas ----------------------------------------------------------------------------------------------------------


class Kernel:
    """A file system with project quotas: the flags and the project of each inode, and the limit and use of each project in KiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, options: str = "prjquota") -> None:
        self.of: dict[int, tuple[int, int]] = {}
        self.limits: dict[int, int] = {}
        mount = types.SimpleNamespace(type="ext4", options=frozenset({options}), point="/srv")
        monkeypatch.setattr(project_quota.mounts, "mount_of", lambda path: mount)
        monkeypatch.setattr(project_quota.fcntl, "ioctl", self.ioctl)
        monkeypatch.setattr(
            project_quota.ctypes, "CDLL", lambda *given, **how: types.SimpleNamespace(syscall=self.quotactl)
        )

    def ioctl(self, descriptor: int, request: int, data: bytes) -> bytes:
        inode = os.fstat(descriptor).st_ino
        if request == project_quota._FS_IOC_FSGETXATTR:
            flags, project = self.of.get(inode, (0x40, 0))
            return struct.pack("5I8x", flags, 1, 2, project, 3)
        flags, extsize, extents, project, cowextsize = struct.unpack("5I8x", data)
        assert (extsize, extents, cowextsize) == (1, 2, 3)
        self.of[inode] = (flags, project)
        return data

    def quotactl(self, number: int, descriptor: int, command: int, project: int, quota: t.Any) -> int:
        assert number == project_quota._SYS_QUOTACTL_FD and os.fstat(descriptor)
        buffer = quota._obj
        if command == 0x800008 << 8 | 2:
            words = struct.unpack("8QI4x", buffer.raw)
            assert words[8] == 1
            self.limits[project] = words[0]
            return 0
        if project not in self.limits:
            project_quota.ctypes.set_errno(errno.ESRCH)
            return -1
        buffer.raw = struct.pack("8QI4x", self.limits[project], 0, 4096, 0, 0, 0, 0, 0, 0)
        return 0

    def seen(self, path: Path) -> tuple[int, int]:
        return self.of.get(path.stat().st_ino, (0x40, 0))


def test_a_folder_with_all_in_it_is_a_project_with_a_limit_and_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch)
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "deep" / "file").touch()
    (tmp_path / "root" / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "root" / "pipe")
    (tmp_path / "beside").touch()
    root, before = str(tmp_path / "root"), open_files()
    assert project_quota.read_limit(root) == Limit()
    project_quota.set_limit(root, ROOT, 5000)
    project = project_quota._project_of(ROOT)
    inherited = (0x40 | project_quota._PROJECT_IS_INHERITED, project)
    assert [kernel.seen(tmp_path / path) for path in ("root", "root/deep")] == [inherited] * 2
    assert kernel.seen(tmp_path / "root/deep/file") == (0x40, project) and kernel.seen(tmp_path / "beside") == (0x40, 0)
    assert len(kernel.of) == 3 and kernel.limits == {project: 5}
    assert project_quota.read_limit(root) == Limit(5 * 1024, used=4096)
    kernel.of.clear()
    kernel.of[os.stat(root).st_ino] = inherited
    project_quota.set_limit(root, ROOT, None)
    assert kernel.limits == {project: 0} and len(kernel.of) == 1, (
        "one that is limited already is not gone through again"
    )
    project_quota.leave(root)
    assert kernel.seen(tmp_path / "root") == (0x40, 0) and kernel.seen(tmp_path / "root/deep/file") == (0x40, 0)
    assert open_files() <= before


def test_other_file_systems_in_a_folder_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    for path in ("root/mounted/in", "root/own"):
        (tmp_path / path).mkdir(parents=True)
    monkeypatch.setattr(project_quota, "_is_on", lambda device, name, folder: name != "mounted")
    project_quota.set_limit(str(tmp_path / "root"), ROOT, 5000)
    assert kernel.of.keys() == {(tmp_path / path).stat().st_ino for path in ("root", "root/own")}


def test_a_file_system_that_keeps_no_quota_of_a_project_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Kernel(monkeypatch)
    monkeypatch.setattr(project_quota, "_quotactl", lambda *given: False)
    before = open_files()
    with pytest.raises(ApplyError, match="the file system keeps no quota of the project"):
        project_quota.set_limit(str(tmp_path), ROOT, 5000)
    monkeypatch.undo()
    kernel = Kernel(monkeypatch)

    def refuse(*given: t.Any) -> int:
        project_quota.ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(project_quota.ctypes, "CDLL", lambda *given, **how: types.SimpleNamespace(syscall=refuse))
    kernel.of[tmp_path.stat().st_ino] = (0, 70000)
    with pytest.raises(PermissionError):
        project_quota.read_limit(str(tmp_path))
    assert open_files() <= before


def test_a_pool_without_project_quotas_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, "noquota")
    assert "tune2fs -O quota,project" in str(project_quota.obstacle("main", "/srv"))
    assert project_quota.read_limit("/srv") == Limit()
    Kernel(monkeypatch)
    assert project_quota.obstacle("main", "/srv") is None


def test_an_attempt_that_is_published_is_its_volume(pool: plain.Dir) -> None:
    path = os.path.join(pool.path, f".{ROOT.name}+0123456789abcdef.new")
    os.mkdir(path)
    pool.publish(Attempt(ROOT, path))
    assert left(pool) == [ROOT.name]
    os.mkdir(path)
    with pytest.raises(ApplyError, match="is there by now"):
        pool.publish(Attempt(ROOT, path))
