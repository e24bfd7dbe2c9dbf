# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import struct

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import MissingRequirement, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._host.backing import backing_file
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Definition, Listings, Pool
from ansible_collections.homelab.hybrid.plugins.module_utils._host.lxc import Container
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._image import attempts, build, observe, source_file, store
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STATE", str(tmp_path))
    monkeypatch.setattr(paths, "IMAGES", str(tmp_path / "image_store"))
    monkeypatch.setattr(store, "ATTEMPTS", str(tmp_path / "image_store" / ".attempts"))
    return tmp_path


def qcow2(path, backing=""):
    name = backing.encode()
    header = b"QFI\xfb" + struct.pack(">IQI", 3, 104 if name else 0, len(name))
    path.write_bytes(header.ljust(104, b"\0") + name)
    return str(path)


def recorded(name, **data):
    kept = Record("images", name)
    kept.save(kind="vm", format="qcow2", size_bytes=1, digest="sha256:aa", **data)
    return kept


def test_an_image_is_found_when_it_stands(state):
    file = state / "disk.qcow2"
    file.write_text("disk")
    recorded("debian", path=str(file))
    assert store.find("debian") == store.StoredImage("debian", "vm", "qcow2", str(file), 1, "sha256:aa")


@pytest.mark.parametrize("data", [{"building": True, "path": "/etc/passwd"}, {"path": "/nonexistent"}, {}])
def test_an_image_that_does_not_stand_is_not_found(state, data):
    recorded("debian", **data)
    with pytest.raises(MissingRequirement, match="there is no image debian"):
        store.find("debian")


def test_an_attempt_becomes_the_image_in_one_step_and_is_withdrawn_in_one(state):
    assert attempts.begin("debian") != attempts.begin("debian")
    attempts.remove_left_overs("debian")
    attempt = attempts.begin("debian")
    qcow2(state / "new")
    os.chmod(state / "new", 0o600)
    os.rename(state / "new", os.path.join(attempt, "disk.qcow2"))
    attempts.publish(attempt, "debian", "vm")
    assert os.stat(store.folder_of("debian")).st_mode & 0o777 == 0o711
    assert os.stat(store.file_of("debian", "vm")).st_mode & 0o777 == 0o644
    assert os.stat(paths.IMAGES).st_mode & 0o111 == 0o111
    assert not store.has_left_overs("debian")
    attempts.withdraw("debian")
    assert not store.has_folder("debian")
    assert store.has_left_overs("debian")
    attempts.remove_left_overs("debian")
    assert not store.has_left_overs("debian")
    attempts.withdraw("debian")
    assert not store.has_folder("debian")


def test_a_strict_umask_keeps_nobody_from_the_disks(state):
    os.chmod(state, 0o700)
    mask = os.umask(0o077)
    try:
        attempt = attempts.begin("debian")
    finally:
        os.umask(mask)
    assert os.stat(paths.STATE).st_mode & 0o777 == 0o711
    assert os.stat(paths.IMAGES).st_mode & 0o777 == 0o711
    assert os.stat(attempt).st_mode & 0o777 == 0o700


def test_a_power_cut_after_publishing_loses_nothing(state, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd)))
    attempt = attempts.begin("debian")
    qcow2(state / "new")
    os.rename(state / "new", os.path.join(attempt, "disk.qcow2"))
    attempts.publish(attempt, "debian", "vm")
    assert synced == [os.path.join(attempt, "disk.qcow2"), attempt, paths.IMAGES]


def test_left_overs_of_another_image_stay(state):
    attempts.begin("debian.new")
    attempts.begin("debian")
    attempts.remove_left_overs("debian")
    assert store.has_left_overs("debian.new")


def test_a_disk_stands_on_what_its_header_names(tmp_path):
    base = qcow2(tmp_path / "base")
    middle = qcow2(tmp_path / "middle", "base")
    top = qcow2(tmp_path / "top", f"file:{middle}")
    (tmp_path / "store").mkdir()
    image = qcow2(tmp_path / "store" / "disk")
    linked = qcow2(tmp_path / "linked", image)
    assert backing_file(top) == f"file:{middle}"
    assert backing_file(base) is None
    assert backing_file("/nonexistent") is None
    assert store.stands_on(linked, str(tmp_path / "store"))
    assert store.stands_on(image, str(tmp_path / "store"))
    assert not store.stands_on(top, str(tmp_path / "store"))
    assert not store.stands_on(linked, str(tmp_path / "stor"))
    loop = qcow2(tmp_path / "loop", "loop")
    assert not store.stands_on(loop, str(tmp_path / "store"))


def host(records, folder, domains=(), containers=()):
    xml = "<domain><devices>{}</devices></domain>"
    disks = {
        name: xml.format(f"<disk><source file='{path}'/></disk>" if path else "")
        for name, path in dict(domains).items()
    }
    found, none = Host(), frozenset()
    found.__dict__.update(
        pools={"main": Pool("main", "dir", str(folder), True, True, None)},
        guest_records={name: Record("guests", name, data) for name, data in records.items()},
        domains=disks,
        definitions={name: Definition(text) for name, text in disks.items()},
        listings=Listings(none, none, none, none),
        containers={name: Container(name, "") for name in containers},
    )
    return found


def test_users_are_guests_made_of_it_and_disks_that_stand_on_it(state, tmp_path):
    os.makedirs(store.folder_of("debian"))
    image = tmp_path / "image_store/debian/disk.qcow2"
    qcow2(image)
    linked = qcow2(tmp_path / "vm.root.qcow2", str(image))
    free = qcow2(tmp_path / "vm.data.qcow2")
    root, data = (Volume("main", f"vm.{name}", "block")._asdict() for name in ("root", "data"))
    kept = {"volumes": {"root": root, "data": data}, "image": "debian"}
    records = {
        "web": {"image": "debian"},
        "gone": {"image": "debian"},
        "new": {"image": "debian", "building": True},
        "other": {"image": "other"},
        "vm": {"image": "debian", "volumes": {"root": root}},
        "removed": kept,
    }
    found = observe.users_of(
        "debian",
        record.load("images", "debian"),
        host(records, tmp_path, {"vm": linked, "byhand": linked, "apart": free}, ["web", "other"]),
    )
    assert found == ("byhand", "new", "removed (its kept disk root)", "vm", "web")


@pytest.mark.parametrize(
    ("head", "kind", "packing"),
    [
        (b"QFI\xfb", "vm", "qcow2"),
        (b"\0" * 510 + b"\x55\xaa", "vm", "raw"),
        (b"\x28\xb5\x2f\xfd", "container", "zstd"),
        (b"\x1f\x8b", "container", "gzip"),
        (b"\xfd7zXZ\x00", "container", "xz"),
        (b"\0" * 257 + b"ustar", "container", "tar"),
    ],
)
def test_a_file_is_known_by_its_content(tmp_path, head, kind, packing):
    (tmp_path / "file").write_bytes(head)
    found = source_file.look(str(tmp_path / "file"), kind)
    assert (found.packing, found.size) == (packing, len(head))
    other = "vm" if kind == "container" else "container"
    with pytest.raises(SpecError, match=f"is no image of kind {other}. Allowed: "):
        source_file.look(str(tmp_path / "file"), other)


def test_a_file_that_is_not_there_is_none_and_a_folder_is_refused(tmp_path):
    assert source_file.look(str(tmp_path / "none"), "vm") is None
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        source_file.look(str(tmp_path), "vm")


def test_the_same_content_is_the_same_source(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"QFI\xfb")
    seen = source_file.look(str(path), "vm")
    origin = {"path": str(path), "size": 4, "mtime_ns": seen.mtime_ns, "digest": source_file.digest_of(str(path))}
    assert observe.is_same_source(seen, origin) is True
    os.utime(path, ns=(1, 1))
    assert observe.is_same_source(source_file.look(str(path), "vm"), origin) is True
    path.write_bytes(b"QFI\xfb2")
    assert observe.is_same_source(source_file.look(str(path), "vm"), origin) is False
    assert observe.is_same_source(None, origin) is None
    assert observe.is_same_source(seen, {"build": {}}) is None


@pytest.mark.parametrize(("content", "gib"), [(0, 2), (600 * 2**20, 2), (1200 * 2**20, 3), (3 * 2**30, 5)])
def test_a_disk_has_room_for_its_content_in_whole_gibibytes(content, gib):
    assert build.disk_size(content) == gib * 2**30


def test_hard_links_are_counted_once(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 5000)
    alone = build.tree_size(str(tmp_path))
    os.link(tmp_path / "one", tmp_path / "two")
    assert build.tree_size(str(tmp_path)) == alone > 8192


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "I: hello\nE: Unable to locate package vimm\nE: setup failed: E: apt-get\nE: mmdebstrap failed to run\n",
            "Unable to locate package vimm",
        ),
        ("W: odd\nlast words\n", "W: odd; last words"),
        ("", "no message"),
    ],
)
def test_an_error_of_apt_is_told_without_the_machinery(stderr, told):
    assert build._complaints(stderr) == told


def test_a_boot_loader_that_does_not_fit_is_refused(tmp_path):
    for name, size in (("boot", 512), ("core", 4 * 2**20), ("disk", 512)):
        (tmp_path / name).write_bytes(b"\0" * size)
    with pytest.raises(build.ApplyError, match="does not fit"):
        build._write_boot_loader(*(str(tmp_path / name) for name in ("disk", "boot", "core")))


def test_the_boot_loader_leaves_the_partition_table(tmp_path):
    (tmp_path / "boot").write_bytes(b"B" * 512)
    (tmp_path / "core").write_bytes(b"C" * 1300)
    (tmp_path / "disk").write_bytes(b"T" * 512 + b"\0" * 2**21)
    build._write_boot_loader(*(str(tmp_path / name) for name in ("disk", "boot", "core")))
    disk = (tmp_path / "disk").read_bytes()
    assert disk[440:512] == b"T" * 72
    assert struct.unpack("<Q", disk[0x5C:0x64]) == (2048,)
    core = disk[2048 * 512 :]
    assert struct.unpack("<QHH", core[0x1F4:0x200]) == (2049, 2, 0x820)
    assert core[512:1300] == b"C" * 788


@pytest.mark.parametrize("numbers", [b"\xff" * 12, bytes(7) + b"\x10" + b"\xff" * 4])
def test_a_disk_with_a_header_that_a_guest_made_up_stands_on_nothing_of_ours(tmp_path, numbers):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"QFI\xfb\0\0\0\3" + numbers + bytes(4096))
    assert not store.stands_on(str(disk), "/images/one")
