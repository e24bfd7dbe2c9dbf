# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots of containers on btrfs: their size, and the subvolumes that are made in them. Proven with btrfs itself."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import at_once, survive_kills

PATHS_OF_CREATION = ["state", "image", "rootfs.pool", "unprivileged", "hostname", "autostart"]
MIB = 1024 * 1024

pytestmark = pytest.mark.usefixtures("no_container")


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    ct.set_up("btrfs")
    yield
    ct.tear_down()


def sized(size: str) -> dict[str, t.Any]:
    return {"rootfs": {"pool": ct.POOL, "size": size}}


def show(path: Path) -> str:
    return ct.run("btrfs", "subvolume", "show", str(path))


def subvolumes() -> list[str]:
    lines = ct.run("btrfs", "subvolume", "list", str(ct.FOLDER / "pool")).splitlines()
    return sorted(line.split(" path ")[1] for line in lines)


def limits() -> set[str]:
    """The maximums of all quota groups."""
    lines = ct.run("btrfs", "qgroup", "show", "--raw", "-r", str(ct.FOLDER / "pool")).splitlines()[2:]
    return {words[3] for line in lines if (words := line.split())[3] != "none"}


def fill(place: Path, size: int) -> bool:
    """Whether so many bytes can be written below *place* on the disk, by the host."""
    argv = ["dd", "if=/dev/urandom", f"of={place}", "bs=1M", f"count={size // MIB}", "conv=fsync"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_a_new_root_is_a_snapshot_of_the_image():
    check_run_again(ct.CONTAINER, {**ct.BASE}, PATHS_OF_CREATION)
    assert ct.state() == "RUNNING"
    assert ct.values("lxc.rootfs.path") == [f"btrfs:{ct.rootfs()}"]
    origin = re.search(r"\n\tUUID:\s+(\S+)", show(ct.FOLDER / "pool" / f"image+{ct.IMAGE}"))
    parent = re.search(r"Parent UUID:\s+(\S+)", show(ct.rootfs()))
    assert origin and parent and origin[1] == parent[1]
    start = ct.record()["idmap"]["start"]
    assert ct.rootfs().stat().st_uid == (ct.rootfs() / "bin/busybox").stat().st_uid == start
    assert ct.record()["volumes"] == {"rootfs": {"pool": ct.POOL, "name": f"{ct.NAME}.rootfs", "kind": "filesystem"}}


def test_the_first_guest_of_an_image_makes_its_copy_and_the_image_takes_it_along():
    ct.run("btrfs", "property", "set", str(ct.FOLDER / "pool" / f"image+{ct.IMAGE}"), "ro", "false")
    ct.run("btrfs", "subvolume", "delete", str(ct.FOLDER / "pool" / f"image+{ct.IMAGE}"))
    copy = f"copies.{ct.IMAGE}@{ct.POOL}"
    check_run_again(ct.CONTAINER, {**ct.BASE, "state": "stopped"}, [*PATHS_OF_CREATION, copy])
    assert subvolumes() == [f"{ct.NAME}.rootfs", f"image+{ct.IMAGE}"]


def test_two_first_guests_at_once_make_one_copy():
    ct.run("btrfs", "subvolume", "delete", str(ct.FOLDER / "pool" / f"image+{ct.IMAGE}"))
    wanted = [{**ct.BASE, "state": "stopped", "name": f"{ct.PREFIX}-{letter}"} for letter in "ab"]
    assert all("msg" not in result for result in at_once(ct.CONTAINER, *wanted))
    assert subvolumes() == [f"{ct.PREFIX}-a.rootfs", f"{ct.PREFIX}-b.rootfs", f"image+{ct.IMAGE}"]


def test_the_size_of_a_root_is_enforced_and_grows_while_it_runs():
    check_run_again(ct.CONTAINER, {**ct.BASE, **sized("40M")}, [*PATHS_OF_CREATION, "rootfs.size"])
    assert str(40 * MIB) in limits()
    assert not fill(ct.rootfs() / "file", 60 * MIB)
    (ct.rootfs() / "file").unlink()
    pid = ct.pid()
    outcome = check_run_again(ct.CONTAINER, {**ct.BASE, **sized("200M")}, ["rootfs.size"])
    assert [change.how.value for change in outcome.plan.changes] == ["live"] and ct.pid() == pid
    assert str(200 * MIB) in limits() and fill(ct.rootfs() / "file", 60 * MIB)
    assert outcome.facts["guest"]["disks"][0]["size"] == "200MiB"
    refuse(ct.CONTAINER, {**ct.BASE, **sized("100M")}, "is never made smaller")
    outcome = check_run_again(ct.CONTAINER, {"name": ct.NAME, "unset": ["rootfs.size"]}, ["rootfs.size"])
    assert [change.how.value for change in outcome.plan.changes] == ["live"] and ct.pid() == pid
    assert str(200 * MIB) not in limits() and fill(ct.rootfs() / "more", 200 * MIB)


def test_a_root_gets_a_size_later_unless_it_holds_more():
    ct.make(state="stopped")
    assert fill(ct.rootfs() / "file", 60 * MIB)
    # btrfs counts at its commits, every 30 s.
    ct.run("btrfs", "filesystem", "sync", str(ct.FOLDER / "pool"))
    refuse(ct.CONTAINER, {"name": ct.NAME, **sized("40M")}, "holds")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, **sized("100M")}, ["rootfs.size"])
    assert str(100 * MIB) in limits() and not fill(ct.rootfs() / "more", 60 * MIB)


def test_a_subvolume_that_the_container_makes_is_limited_and_deleted_with_it():
    ct.make(**sized("100M"))
    make_inside("srv/inner")
    make_inside("srv/inner/deeper")
    unchanged(ct.CONTAINER, {"name": ct.NAME})
    check_run_again(ct.CONTAINER, {"name": ct.NAME, **sized("100M")}, ["rootfs.size"])
    assert not fill(ct.rootfs() / "srv/inner/deeper/file", 150 * MIB)
    assert f"{ct.NAME}.rootfs/srv/inner/deeper" in subvolumes()
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, ["state", "rootfs"])
    assert subvolumes() == [f"image+{ct.IMAGE}"]


def make_inside(path: str) -> None:
    """What systemd-tmpfiles and Docker do in a container: its root makes a subvolume, in the namespaces of the container."""
    (ct.rootfs() / "srv").mkdir(exist_ok=True)
    start = ct.record()["idmap"]["start"]
    os.chown(ct.rootfs() / "srv", start, start)
    folder, name = os.path.split(path)
    # BTRFS_IOC_SUBVOL_CREATE, with btrfs_ioctl_vol_args: a descriptor, and the name in 4088 bytes.
    script = (
        "import fcntl, os\n"
        f"folder = os.open('/{folder}', os.O_RDONLY)\n"
        f"fcntl.ioctl(folder, 0x5000940E, bytearray(bytes(8) + b'{name}'.ljust(4088, b'\\0')))\n"
    )
    child = _in_container(str(ct.pid()), script)
    assert child.returncode == 0, child.stderr
    assert (ct.rootfs() / path).stat().st_ino == 256


def _in_container(pid: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run Python of the host with the ids, the mounts and the root of the container: it has none of its own."""
    code = (
        "import fcntl, os\n"
        f"user, mount, root = (os.open(f'/proc/{pid}/' + name, os.O_RDONLY) for name in ('ns/user', 'ns/mnt', 'root'))\n"
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.setns(user, 0) == 0 and libc.setns(mount, 0) == 0, os.strerror(ctypes.get_errno())\n"
        "os.fchdir(root); os.chroot('.'); os.setgroups([]); os.setgid(0); os.setuid(0)\n"
        f"{script}"
    )
    return subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False)


def test_a_root_that_is_kept_is_named_and_used_again():
    ct.make(state="stopped")
    (ct.rootfs() / "precious").write_text("data", encoding="utf-8")
    outcome = check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"])
    assert outcome.plan.kept == [str(ct.rootfs())]
    refuse(ct.CONTAINER, {**ct.BASE}, "was kept of an earlier")
    converge_now(ct.CONTAINER, {**ct.BASE, **sized("100M"), "allow": ["adopt"]})
    assert ct.state() == "RUNNING" and (ct.rootfs() / "precious").exists() and str(100 * MIB) in limits()


def test_creation_survives_every_kill():
    wanted = {**ct.BASE, **sized("100M")}

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "RUNNING"
        assert subvolumes() == [f"{ct.NAME}.rootfs", f"image+{ct.IMAGE}"]
        assert str(100 * MIB) in limits()
        start = ct.record()["idmap"]["start"]
        assert (ct.rootfs() / "bin/busybox").stat().st_uid == start

    def begin() -> None:
        ct.clean()
        if (ct.FOLDER / "pool" / f"image+{ct.IMAGE}").exists():
            ct.run("btrfs", "subvolume", "delete", str(ct.FOLDER / "pool" / f"image+{ct.IMAGE}"))

    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify)


def test_removal_survives_every_kill():
    def begin() -> None:
        ct.clean()
        ct.make(**sized("100M"))
        make_inside("srv/inner")

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "" and ct.record() == {}
        assert subvolumes() == [f"image+{ct.IMAGE}"]

    survive_kills(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, begin=begin, verify=verify)


def test_a_folder_of_the_pool_belongs_to_the_user_of_the_service_inside():
    """Also what lies in a subvolume of it, which is no mount of its own."""
    ct.make()
    media = ct.FOLDER / "pool" / "media"
    media.mkdir()
    ct.run("btrfs", "subvolume", "create", str(media / "films"))
    try:
        ct.run("chown", "-R", "41234:41234", str(media))
        mount = {"name": "media", "source": str(media), "path": "/srv/media", "map_ids": ["both 41234 105"]}
        check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [mount]}, ["mounts[media]"])
        assert ct.inside("stat", "-c", "%u:%g", "/srv/media", "/srv/media/films").split() == ["105:105"] * 2
        check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [mount], "state": "restarted"})
        assert ct.inside("stat", "-c", "%u:%g", "/srv/media", "/srv/media/films").split() == ["105:105"] * 2
    finally:
        ct.clean()
        ct.run("btrfs", "subvolume", "delete", str(media / "films"), check=False)
        ct.run("rm", "-rf", str(media))
