# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on the real host, proven with tar, qemu-img, sfdisk and debugfs."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import libvirt
import pycdlib
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._image import copier, store
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._image.spec import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.choice import drivers_of
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.driver import Driver
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hostile import HostileCase, assert_harmless, hostile_cases
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED, Child, at_once, survive_kills

PREFIX = "hlimage"
NAME = f"{PREFIX}-main"
IMAGE = Image()
FOLDER = Path(paths.IMAGES) / NAME


@pytest.fixture
def folder(tmp_path: Path) -> t.Iterator[Path]:
    clean()
    yield tmp_path
    clean()


def clean() -> None:
    connection = libvirt.open("qemu:///system")
    for domain in connection.listAllDomains():
        if domain.name().startswith(PREFIX):
            domain.undefine()
    connection.close()
    for pattern in (f"{PREFIX}*", f".attempts/{PREFIX}*"):
        for path in Path(paths.IMAGES).glob(pattern):
            assert str(path) not in Path("/proc/self/mountinfo").read_text(), f"something is mounted in {path}"
            shutil.rmtree(path)
    for kind in ("images", "guests", "pools"):
        for record in Path(paths.record_folder(kind)).glob(f"{PREFIX}*"):
            record.unlink()


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def make_root(folder: Path, size: int = 4096) -> Path:
    """A small root file system with what a copy can lose: owners, setuid bits, file capabilities, links."""
    root = folder / "root"
    for name in ("etc", "usr/bin", "srv"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/su").write_bytes(random.Random(SEED).randbytes(size))
    (root / "usr/bin/ping").write_text("ping")
    (root / "srv/owned").write_text("owned")
    (root / "bin").symlink_to("usr/bin")
    os.chown(root / "srv/owned", 33, 65534)
    os.chmod(root / "usr/bin/su", 0o4755)
    os.setxattr(root / "usr/bin/ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    return root


def pack(root: Path, target: Path) -> Path:
    """*root* as an archive, packed as the suffix of *target* says."""
    output("tar", "-C", str(root), "--numeric-owner", "--xattrs", "--xattrs-include=*", "-caf", str(target), ".")
    return target


def make_archive(folder: Path, name: str = "root.tar.zst", size: int = 4096) -> Path:
    return pack(make_root(folder, size), folder / name)


def make_disk(path: Path, *options: str) -> Path:
    output("qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), *(() if "-b" in options else ("64M",)))
    return path


def from_path(path: Path, kind: str = "container") -> dict[str, t.Any]:
    return {"name": NAME, "kind": kind, "path": str(path)}


def left_overs() -> list[str]:
    return [str(path) for path in Path(paths.IMAGES).glob(f".attempts/{PREFIX}*")]


def assert_nothing_left() -> None:
    assert not FOLDER.exists()
    assert not Path(paths.record_path("images", NAME)).exists()
    assert not left_overs()


def disk_info(path: Path) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(output("qemu-img", "info", "--output=json", str(path))))


@pytest.mark.parametrize("suffix", ["tar.zst", "tar.xz", "tar.gz", "tar"])
def test_a_root_is_copied_with_owners_and_capabilities(folder, suffix):
    outcome = check_run_again(IMAGE, from_path(make_archive(folder, f"root.{suffix}")), ["state", "kind", "path"])
    assert [path.name for path in FOLDER.iterdir()] == ["root.tar.zst"]
    (folder / "out").mkdir()
    archive = FOLDER / "root.tar.zst"
    assert archive.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    output("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(folder / "out"), "-xpf", str(archive))
    owned = (folder / "out/srv/owned").stat()
    assert (owned.st_uid, owned.st_gid) == (33, 65534)
    assert (folder / "out/usr/bin/su").stat().st_mode & stat.S_ISUID
    assert len(os.getxattr(folder / "out/usr/bin/ping", "security.capability")) == 20
    assert outcome.facts["image"]["digest"] == f"sha256:{output('sha256sum', str(archive)).split()[0]}"
    assert outcome.facts["image"]["size_bytes"] >= 3 * 4096
    assert not left_overs()


@pytest.mark.parametrize("packing", ["qcow2", "raw"])
def test_a_disk_is_copied_as_qcow2(folder, packing):
    source = make_disk(folder / "disk.qcow2")
    if packing == "raw":
        source = folder / "disk.raw"
        source.write_bytes(b"")
        os.truncate(source, 64 * 2**20)
        subprocess.run(["sfdisk", "-q", str(source)], input="label: dos\n,\n", text=True, check=True)
    outcome = check_run_again(IMAGE, from_path(source, "vm"), ["state", "kind", "path"])
    info = disk_info(FOLDER / "disk.qcow2")
    assert (info["format"], info["virtual-size"]) == ("qcow2", 64 * 2**20)
    assert outcome.facts["image"]["size_bytes"] == 64 * 2**20
    assert source.exists()


def test_the_users_of_a_strict_host_can_reach_a_disk(folder):
    source = make_disk(folder / "disk.qcow2")
    source.chmod(0o600)
    mask = os.umask(0o077)
    try:
        check_run_again(IMAGE, from_path(source, "vm"))
    finally:
        os.umask(mask)
    for path in (Path(paths.STATE), Path(paths.IMAGES), FOLDER):
        assert path.stat().st_mode & stat.S_IXOTH, path
    assert (FOLDER / "disk.qcow2").stat().st_mode & 0o777 == 0o644


def test_an_image_is_found_by_its_name(folder):
    converge_now(IMAGE, from_path(make_archive(folder)))
    found = store.find(NAME)
    assert (found.kind, found.format, found.path) == ("container", "tar.zst", str(FOLDER / "root.tar.zst"))


def test_another_content_of_the_source_is_stale_and_changes_nothing(folder):
    source = make_archive(folder)
    converge_now(IMAGE, from_path(source))
    before = output("sha256sum", str(FOLDER / "root.tar.zst"))
    os.utime(source, ns=(1, 1))
    assert unchanged(IMAGE, from_path(source)).facts["image"]["stale"] == []
    (folder / "root/etc/new").write_text("new")
    pack(folder / "root", source)
    outcome = unchanged(IMAGE, from_path(source))
    assert outcome.facts["image"]["stale"] == ["path"]
    assert "give the new one another name" in outcome.plan.warnings[0]
    assert output("sha256sum", str(FOLDER / "root.tar.zst")) == before


def test_the_source_may_go(folder):
    source = make_archive(folder)
    converge_now(IMAGE, from_path(source))
    source.unlink()
    assert unchanged(IMAGE, from_path(source)).facts["image"]["stale"] == []


def test_an_image_goes_without_a_trace(folder):
    source = make_archive(folder)
    converge_now(IMAGE, from_path(source))
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])
    assert_nothing_left()
    assert source.exists()


def test_a_file_deleted_by_hand_is_made_again(folder):
    source = make_archive(folder)
    converge_now(IMAGE, from_path(source))
    (FOLDER / "root.tar.zst").unlink()
    check_run_again(IMAGE, from_path(source), ["state", "kind", "path"])
    assert (FOLDER / "root.tar.zst").is_file()


def test_another_image_is_left_as_it_stands(folder):
    source = make_archive(folder)
    other = {**from_path(source), "name": f"{NAME}.other"}
    converge_now(IMAGE, other)
    converge_now(IMAGE, from_path(source))
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    unchanged(IMAGE, other)
    assert store.find(f"{NAME}.other").digest == f"sha256:{output('sha256sum', str(source)).split()[0]}"


def test_a_kind_cannot_change(folder):
    converge_now(IMAGE, from_path(make_archive(folder)))
    refuse(IMAGE, {"name": NAME, "kind": "vm"}, "is of kind container; one of kind vm is another image")


def test_what_is_not_ours_in_the_store_is_never_touched(folder):
    FOLDER.mkdir(parents=True)
    (FOLDER / "precious").write_text("data")
    refuse(IMAGE, from_path(make_archive(folder)), "that this collection did not make; move it away first")
    unchanged(IMAGE, {"name": NAME, "state": "absent"})
    assert (FOLDER / "precious").read_text() == "data"


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (
            b"#!/bin/sh\n",
            "container",
            "Allowed: a root file system as tar, tar.gz, tar.bz2, tar.xz, tar.zst or squashfs",
        ),
        (b"#!/bin/sh\n", "vm", "Allowed: a disk as qcow2, or as raw with a partition table"),
    ],
)
def test_a_file_that_is_no_image_is_refused(folder, content, kind, sentence):
    (folder / "file").write_bytes(content)
    refuse(IMAGE, from_path(folder / "file", kind), sentence)
    refuse(IMAGE, from_path(folder, kind), "cannot be read: Is a directory")
    os.mkfifo(folder / "fifo")
    refuse(IMAGE, from_path(folder / "fifo", kind), "is no file")
    refuse(IMAGE, from_path("/dev/zero", kind), "is no file")


def test_device_nodes_in_an_image_are_told(folder):
    tree = folder / "tree"
    for name in ("dev", "etc", "usr/lib"):
        (tree / name).mkdir(parents=True)
    os.mknod(tree / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "usr/lib/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    output("tar", "-cf", str(folder / "root.tar"), "-C", str(tree), ".")
    outcome = converge_now(IMAGE, from_path(folder / "root.tar"))
    (told,) = outcome.plan.warnings
    assert "'/usr/lib/zero'" in told and "/dev/null" not in told
    assert outcome.facts["image"]["size_bytes"] < 5000


def test_a_disk_that_stands_on_another_is_refused_before_anything_is_made(folder):
    refuse(IMAGE, linked_disk(folder), "base.qcow2. Make one file of it first, with qemu-img convert -O qcow2")
    assert_nothing_left()


def test_a_file_that_is_not_there_is_assumed_by_the_check_and_refused_by_the_run(folder):
    check = converge_now(IMAGE, from_path(folder / "none"), dry_run=True)
    assert check.error is None and check.plan.assumed == [f"file {folder}/none"]
    run = converge_now(IMAGE, from_path(folder / "none"))
    assert run.error is not None and f"there is no file {folder}/none" in run.error.message
    assert not run.changed
    assert_nothing_left()


def broken_archive(folder: Path) -> dict[str, t.Any]:
    source = make_archive(folder, size=200_000)
    os.truncate(source, 100_000)
    return from_path(source)


def damaged_gzip(folder: Path) -> dict[str, t.Any]:
    source = make_archive(folder, "root.tar.gz", size=200_000)
    os.truncate(source, 100_000)
    return from_path(source)


def no_root(folder: Path) -> dict[str, t.Any]:
    (folder / "data").mkdir()
    (folder / "data/file").write_text("no root")
    return from_path(pack(folder / "data", folder / "data.tar.zst"))


def linked_disk(folder: Path) -> dict[str, t.Any]:
    base = make_disk(folder / "base.qcow2")
    return from_path(make_disk(folder / "linked.qcow2", "-b", str(base), "-F", "qcow2"), "vm")


def disk_with_data_file(folder: Path) -> dict[str, t.Any]:
    return from_path(make_disk(folder / "split.qcow2", "-o", f"data_file={folder}/data.raw"), "vm")


def damaged_disk(folder: Path) -> dict[str, t.Any]:
    (folder / "disk").write_bytes(b"QFI\xfb" + b"\xff" * 2000)
    return from_path(folder / "disk", "vm")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (broken_archive, "tar "),
        (damaged_gzip, "gzip "),
        (no_root, "the archive holds no root file system"),
        (disk_with_data_file, "stands on another file that has its data. Make one file of it first"),
        (damaged_disk, "qemu-img "),
    ],
)
def test_a_failure_leaves_nothing(folder, make, sentence):
    outcome = converge_now(IMAGE, make(folder))
    assert outcome.error is not None and sentence in outcome.error.message
    assert_nothing_left()


@pytest.mark.parametrize("kind", ["container", "vm"])
def test_a_source_that_changes_while_it_is_copied_makes_no_image(folder, monkeypatch, kind):
    from ansible_collections.homelab.hybrid.plugins.module_utils._image import copying

    source = make_archive(folder) if kind == "container" else make_disk(folder / "disk.qcow2")
    copy = copying._copy

    def slow_copy(*args: t.Any) -> None:
        copy(*args)
        os.utime(source, ns=(1, 1))

    monkeypatch.setattr(copying, "_copy", slow_copy)
    outcome = converge_now(IMAGE, from_path(source, kind))
    assert outcome.error is not None and "was changed while it was copied" in outcome.error.message
    assert_nothing_left()


def test_a_failure_after_the_image_is_in_place_takes_it_back(folder, monkeypatch):
    save = Record.save

    def full_disk(record: Record, **changes: t.Any) -> None:
        if "digest" in changes:
            raise OSError(28, "No space left on device")
        save(record, **changes)

    monkeypatch.setattr(Record, "save", full_disk)
    outcome = converge_now(IMAGE, from_path(make_archive(folder)))
    assert outcome.error is not None and "No space left" in outcome.error.message
    assert_nothing_left()


def test_an_image_in_which_something_is_mounted_is_not_taken_away(folder):
    converge_now(IMAGE, from_path(make_archive(folder)))
    (FOLDER / "point").mkdir()
    output("mount", "-t", "tmpfs", "tmpfs", str(FOLDER / "point"))
    try:
        refuse(IMAGE, {"name": NAME, "state": "absent"}, f"in use by the mount at {FOLDER}/point")
    finally:
        output("umount", str(FOLDER / "point"))
    (FOLDER / "point").rmdir()


def test_what_is_mounted_in_a_left_over_is_not_ours_to_delete(folder):
    left = Path(paths.IMAGES) / ".attempts" / NAME / "tmp1" / "proc"
    left.mkdir(parents=True)
    (folder / "host").mkdir()
    (folder / "host/precious").write_text("data")
    subprocess.run(["mount", "--bind", str(folder / "host"), str(left)], check=True)
    try:
        outcome = converge_now(IMAGE, {"name": NAME, "state": "absent"})
        assert (
            outcome.error is not None and f"{left} is mounted in what an earlier attempt left" in outcome.error.message
        )
        assert (folder / "host/precious").read_text() == "data"
    finally:
        subprocess.run(["umount", str(left)], check=True)
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])
    assert_nothing_left()


def guest_record(name: str, **data: t.Any) -> None:
    Record("guests", name).save(**data)


def domain_by_hand(disk: Path) -> None:
    xml = f"""<domain type='qemu'><name>{PREFIX}-vm</name><memory unit='MiB'>16</memory>
      <os><type arch='x86_64'>hvm</type></os><devices><disk type='file'><driver name='qemu' type='qcow2'/>
      <source file='{disk}'/><target dev='vda' bus='virtio'/></disk></devices></domain>"""
    connection = libvirt.open("qemu:///system")
    connection.defineXML(xml)
    connection.close()


def test_an_image_is_kept_while_a_disk_stands_on_it(folder):
    converge_now(IMAGE, from_path(make_disk(folder / "disk.qcow2"), "vm"))
    linked = make_disk(folder / "linked.qcow2", "-b", str(FOLDER / "disk.qcow2"), "-F", "qcow2")
    over = make_disk(folder / "snapshot.qcow2", "-b", str(linked), "-F", "qcow2")
    domain_by_hand(over)
    refuse(IMAGE, {"name": NAME, "state": "absent"}, f"state: the image {NAME} is in use by {PREFIX}-vm")
    over.unlink()
    make_disk(over)
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])


def test_an_image_is_kept_while_guests_made_of_it_or_their_disks_are_there(folder):
    converge_now(IMAGE, from_path(make_disk(folder / "disk.qcow2"), "vm"))
    domain_by_hand(folder / "disk.qcow2")
    guest_record(f"{PREFIX}-vm", image=NAME)
    Record("pools", f"{PREFIX}-pool").save(path=str(folder), type="dir")
    make_disk(folder / f"{PREFIX}-old.root.qcow2", "-b", str(FOLDER / "disk.qcow2"), "-F", "qcow2")
    root = {"pool": f"{PREFIX}-pool", "name": f"{PREFIX}-old.root", "kind": "block"}
    guest_record(f"{PREFIX}-old", image=NAME, volumes={"root": root})
    refuse(IMAGE, {"name": NAME, "state": "absent"}, f"is in use by {PREFIX}-old (its kept disk root), {PREFIX}-vm")
    (folder / f"{PREFIX}-old.root.qcow2").rename(folder / f"{PREFIX}-old.root@before.qcow2")
    kept = {"created": 1.0, "consistency": "clean", "volumes": {"root": {**root, "name": f"{PREFIX}-old.root@before"}}}
    guest_record(f"{PREFIX}-old", volumes=None, snapshots={"before": kept})
    refuse(IMAGE, {"name": NAME, "state": "absent"}, f"in use by {PREFIX}-old (its kept snapshot before of root), ")
    for name in ("vm", "old"):
        Path(paths.record_path("guests", f"{PREFIX}-{name}")).unlink()
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])


def make_medium(folder: Path, name: str = "media.iso") -> Path:
    medium = pycdlib.PyCdlib()
    medium.new(vol_ident="MEDIUM", rock_ridge="1.09")
    medium.add_fp(io.BytesIO(b"driver"), 6, "/DRIVER.INF;1", rr_name="driver.inf")
    medium.write(str(folder / "media.iso"))
    medium.close()
    tool = {".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}.get(Path(name).suffix)
    if tool is not None:
        output(tool, "--keep", "--quiet", str(folder / "media.iso"))
    return folder / name


@pytest.mark.parametrize("name", ["media.iso", "media.iso.bz2", "media.iso.xz", "media.iso.zst"])
def test_an_iso_is_kept_as_it_is(folder, name):
    source = make_medium(folder, name)
    facts = check_run_again(IMAGE, from_path(source, "iso"), ["state", "kind", "path"]).facts["image"]
    assert [path.name for path in FOLDER.iterdir()] == ["media.iso"]
    kept = FOLDER / "media.iso"
    assert kept.read_bytes() == (folder / "media.iso").read_bytes()
    assert output("blkid", "-p", "-o", "value", "-s", "LABEL", str(kept)).strip() == "MEDIUM"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert (facts["kind"], facts["format"], facts["size_bytes"]) == ("iso", "iso", kept.stat().st_size)
    assert facts["path"] == str(kept) == store.find(NAME).path
    assert not left_overs()


def test_a_file_of_the_host_is_what_its_checksum_says(folder):
    source = make_medium(folder, "media.iso")
    digest = f"sha512:{output('sha512sum', str(source)).split()[0]}"
    other = f"sha256:{'0' * 64}"
    refuse(IMAGE, {**from_path(source, "iso"), "checksum": other}, f"{source} is sha256:")
    params = {**from_path(source, "iso"), "checksum": digest}
    facts = check_run_again(IMAGE, params, ["state", "kind", "path", "checksum"]).facts["image"]
    assert facts["stale"] == []
    assert unchanged(IMAGE, {**params, "checksum": other}).facts["image"]["stale"] == ["checksum"]


PRESETS = {
    "presets.firmware": ("bios", "uefi"),
    "presets.os_variant": ("linux", "freebsd"),
    "presets.seed": ("cloud-init", "none"),
    "presets.bus": ("virtio", "scsi"),
    "presets.user": ("debian", "root"),
    "presets.memory": ("512MiB", "1GiB"),
    "presets.disk": ("4GiB", "8GiB"),
}


def presets_of(place: int) -> dict[str, t.Any]:
    return {path.removeprefix("presets."): values[place] for path, values in PRESETS.items()}


def test_presets_are_kept_and_changed_without_a_new_image(folder):
    params = {**from_path(make_disk(folder / "disk.qcow2"), "vm"), "presets": presets_of(0)}
    made = check_run_again(IMAGE, params, ["state", "kind", "path", *PRESETS]).facts["image"]
    assert made["presets"] == presets_of(0)
    before = (FOLDER / "disk.qcow2").stat()
    changed = check_run_again(IMAGE, {"name": NAME, "presets": presets_of(1)}, [*PRESETS]).facts["image"]
    assert changed["presets"] == presets_of(1) and changed["digest"] == made["digest"]
    assert (FOLDER / "disk.qcow2").stat().st_ino == before.st_ino
    one = check_run_again(IMAGE, {"name": NAME, "presets": {"bus": "sata"}}, ["presets.bus"]).facts["image"]
    assert one["presets"] == {**presets_of(1), "bus": "sata"}
    assert unchanged(IMAGE, from_path(folder / "disk.qcow2", "vm")).facts["image"]["presets"] == one["presets"]


def test_presets_belong_to_machines(folder):
    refuse(
        IMAGE,
        {**from_path(make_archive(folder)), "presets": {"bus": "scsi"}},
        "presets: belong to what virtual machines",
    )


def test_an_iso_is_kept_while_a_drive_reads_it(folder):
    converge_now(IMAGE, from_path(make_medium(folder), "iso"))
    domain_by_hand(FOLDER / "media.iso")
    refuse(IMAGE, {"name": NAME, "state": "absent"}, f"state: the image {NAME} is in use by {PREFIX}-vm")
    connection = libvirt.open("qemu:///system")
    connection.lookupByName(f"{PREFIX}-vm").undefine()
    connection.close()
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])
    assert_nothing_left()


def test_a_disk_with_a_label_of_bsd_is_a_disk(folder):
    disk = folder / "nano.img"
    disk.write_bytes(bytes(512) + bytes.fromhex("57455682") + bytes(8 << 20))
    check_run_again(IMAGE, from_path(disk, "vm"), ["state", "kind", "path"])
    assert disk_info(FOLDER / "disk.qcow2")["virtual-size"] == disk.stat().st_size + -disk.stat().st_size % 512


def test_an_iso_is_neither_built_nor_asked_for_of_a_server(folder):
    refuse(IMAGE, {"name": NAME, "kind": "iso", "build": {"suite": "trixie"}}, "build: an ISO is not built")
    streams = {"server": "https://images.example.org", "distribution": "debian", "release": "trixie"}
    refuse(
        IMAGE, {"name": NAME, "kind": "iso", "simplestreams": streams}, "simplestreams: servers of images have no ISO"
    )


def test_creation_survives_every_kill(folder):
    source = make_archive(folder, "root.tar.xz", size=2_000_000)

    def verify(outcome: t.Any) -> None:
        output("tar", "-tf", str(FOLDER / "root.tar.zst"))
        assert [path.name for path in FOLDER.iterdir()] == ["root.tar.zst"]
        assert not json.loads(Path(paths.record_path("images", NAME)).read_text()).get("building")
        assert not left_overs()

    survive_kills(IMAGE, from_path(source), begin=clean, verify=verify)


def test_creation_of_a_disk_survives_every_kill(folder):
    source = make_disk(folder / "disk.qcow2")

    def verify(outcome: t.Any) -> None:
        output("qemu-img", "check", "-q", str(FOLDER / "disk.qcow2"))
        assert not left_overs()

    survive_kills(IMAGE, from_path(source, "vm"), begin=clean, verify=verify)


def test_creation_of_an_iso_survives_every_kill(folder):
    source = make_medium(folder, "media.iso.xz")

    def verify(outcome: t.Any) -> None:
        assert (FOLDER / "media.iso").read_bytes() == (folder / "media.iso").read_bytes()
        assert not left_overs()

    survive_kills(IMAGE, {**from_path(source, "iso"), "presets": {"seed": "none"}}, begin=clean, verify=verify)


def test_removal_survives_every_kill(folder):
    source = make_archive(folder)

    def begin() -> None:
        clean()
        converge_now(IMAGE, from_path(source))

    survive_kills(IMAGE, {"name": NAME, "state": "absent"}, begin=begin, verify=lambda outcome: assert_nothing_left())


def test_a_killed_creation_can_be_removed(folder):
    source = make_archive(folder)
    steps = len(Child(IMAGE, from_path(source)).finish()[0])
    for number in range(1, steps):
        clean()
        Child(IMAGE, from_path(source), kill_at=number).finish()
        check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"] if number < steps else None)
        assert_nothing_left()


def test_two_runs_at_once_make_one_image(folder):
    params = from_path(make_archive(folder, "root.tar.xz", size=2_000_000))
    first, second = at_once(IMAGE, params, params)
    assert "msg" not in first and "msg" not in second
    assert sorted([first["changed"], second["changed"]]) == [False, True]
    assert first["image"] == second["image"]


def test_ubuntu_is_refused_before_anything_is_made_where_the_host_names_no_mirror_of_it(folder):
    params = {"name": NAME, "kind": "container", "build": {"suite": "noble"}}
    refuse(IMAGE, params, "no http or https mirror of Ubuntu's archive")
    assert_nothing_left()


def test_a_container_root_is_built_though_a_first_build_was_killed(folder):
    params = {"name": NAME, "kind": "container", "build": {"suite": "trixie", "packages": ["file"]}}
    child = Child(IMAGE, params)
    moment = random.Random(SEED).uniform(3, 15)
    time.sleep(moment)
    child.kill()
    child.finish()
    print(f"killed after {moment:.1f} s (seed {SEED})")
    outcome = check_run_again(IMAGE, params, ["state", "kind", "build.suite", "build.packages"])
    assert not left_overs()
    root = folder / "out"
    root.mkdir()
    archive = str(FOLDER / "root.tar.zst")
    output(
        "tar",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--exclude=./dev/*",
        "-C",
        str(root),
        "-xpf",
        archive,
    )
    assert_container_root(root)
    assert (root / "usr/bin/file").exists()
    assert "VERSION_CODENAME=trixie" in (root / "etc/os-release").read_text()
    assert outcome.facts["image"]["size_bytes"] > 100 * 2**20
    stale = unchanged(IMAGE, {**params, "build": {"suite": "bookworm", "packages": []}})
    assert stale.facts["image"]["stale"] == ["build.suite", "build.packages"]


def assert_container_root(root: Path) -> None:
    assert (root / "etc/machine-id").read_text() == ""
    for absent in ("etc/hostname", "etc/resolv.conf"):
        assert not os.path.lexists(root / absent), absent
    assert not list((root / "etc/ssh").glob("ssh_host_*"))
    assert "ping_group_range = 0 65535" in (root / "etc/sysctl.d/50-ping-group-range.conf").read_text()
    assert (root / "bin").is_symlink()
    sources = (root / "etc/apt/sources.list").read_text()
    assert re.findall(r"deb \[signed-by=\S+\] https?://\S+ (trixie\S*) main", sources)[0] == "trixie"
    assert (root / "usr/share/keyrings/debian-archive-keyring.gpg").stat().st_size
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        assert (root / certificate.relative_to("/")).read_bytes() == certificate.read_bytes()
        assert (root / "etc/ssl/certs" / f"{certificate.stem}.pem").is_symlink()
    units = root / "etc/systemd/system"
    assert (units / "ssh.service.requires/ssh-host-keys.service").is_symlink()
    assert (units / "multi-user.target.wants/systemd-networkd.service").is_symlink()
    assert not list(units.glob("*.wants/systemd-networkd-wait-online.service"))
    for program in ("usr/bin/python3", "usr/bin/sudo", "usr/sbin/sshd", "usr/lib/systemd/systemd"):
        assert (root / program).exists(), program


def test_a_vm_disk_is_planned_by_its_recipe(folder):
    """The demo builds and boots one; ``clones.py`` looks at what is on it."""
    check = converge_now(IMAGE, {"name": NAME, "kind": "vm", "build": {"suite": "bookworm"}}, dry_run=True)
    assert check.error is None, check.error
    assert [change.path for change in check.plan.changes] == ["state", "kind", "build.suite", "build.firmware"]
    assert_nothing_left()


HOSTILE_SOURCE = Path(f"/run/{PREFIX}/root.tar")
# ---- copies in pools --------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(folder: Path) -> t.Iterator[Driver]:
    """A pool of btrfs on a file system of its own."""
    name = f"{PREFIX}-pool"
    with pools.btrfs(folder, size="512M") as point:
        converge_now(StoragePool(), {"name": name, "type": "btrfs", "path": str(point / "pool")})
        yield drivers_of(Host())[name]
        clean()
        converge_now(StoragePool(), {"name": name, "state": "absent", "allow": ["delete_data"]})


def copied(driver: Driver) -> list[str]:
    return [step.name for step in copier.make(store.find(NAME), driver, ())]


def test_a_root_is_copied_into_a_pool_once_and_goes_with_its_image(folder, pool):
    converge_now(IMAGE, from_path(make_archive(folder)))
    assert copied(pool)[-1] == f"image {NAME} in the pool {PREFIX}-pool"
    assert copied(pool) == []
    copy = Path(pool.path, f"image+{NAME}")
    assert output("btrfs", "property", "get", str(copy), "ro").strip() == "ro=true"
    assert (copy / "srv/owned").stat().st_uid == 33 and (copy / "usr/bin/su").stat().st_mode & 0o4000
    # Nobody on the host gets to the programs in it that run as root.
    assert copy.stat().st_mode & 0o777 == 0o700
    outcome = check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state", f"copies.{NAME}@{PREFIX}-pool"])
    assert outcome.plan.changes[1].before == f"{PREFIX}-pool/image+{NAME}"
    assert os.listdir(pool.path) == []
    assert_nothing_left()


def test_a_disk_is_copied_into_a_pool_as_a_raw_file(folder, pool):
    disk = make_disk(folder / "disk.qcow2")
    output("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", str(disk))
    converge_now(IMAGE, from_path(disk, "vm"))
    copied(pool)
    copy = Path(pool.path, f"image+{NAME}.raw")
    output("qemu-io", "-f", "raw", "-r", "-c", "read -P 7 0 1M", str(copy))
    assert copy.stat().st_size == 64 * 1024**2
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state", f"copies.{NAME}@{PREFIX}-pool"])
    assert os.listdir(pool.path) == []


def test_an_image_goes_without_the_pool_that_its_copy_lay_in(folder, pool):
    converge_now(IMAGE, from_path(make_archive(folder)))
    copied(pool)
    params = {"name": f"{PREFIX}-pool", "state": "absent", "allow": ["delete_data"]}
    assert converge_now(StoragePool(), params).error is None
    assert converge_now(IMAGE, {"name": NAME, "state": "absent"}).error is None
    assert_nothing_left()


def test_the_removal_of_an_image_with_a_copy_survives_every_kill(folder, pool):
    archive = make_archive(folder)

    def begin() -> None:
        converge_now(IMAGE, from_path(archive))
        copied(pool)

    def verify(outcome: t.Any) -> None:
        assert os.listdir(pool.path) == []
        assert_nothing_left()

    survive_kills(IMAGE, {"name": NAME, "state": "absent"}, begin=begin, verify=verify, moments=2)


HOSTILE = hostile_cases(ARGUMENTS, {"name": NAME, "kind": "container", "path": str(HOSTILE_SOURCE)})


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_text_is_refused_or_kept_to_the_letter(case: HostileCase):
    clean()
    HOSTILE_SOURCE.parent.mkdir(exist_ok=True)
    if not HOSTILE_SOURCE.exists():
        make_archive(HOSTILE_SOURCE.parent, HOSTILE_SOURCE.name)

    def remove() -> None:
        clean()
        shutil.rmtree(HOSTILE_SOURCE.parent, ignore_errors=True)

    is_ours = bool(case.params["name"].startswith(PREFIX))
    assert_harmless(IMAGE, case, is_ours=lambda params: is_ours, remove=remove)


@pytest.mark.parametrize("name", ["root disk", "--root", "it's $(id); `id`", "Zo\u00eb \u202e"])
def test_a_source_is_a_file_name_and_nothing_else(folder, name):
    source = folder / f"{name}.tar"
    os.rename(make_archive(folder, "root.tar"), source)
    check_run_again(IMAGE, from_path(source), ["state", "kind", "path"])
