# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files come out of the backup of a virtual machine by libguestfs of Debian 12 and 13.

The file systems of the machine are made by mke2fs from a folder, which is what the files that come back are held against.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import taking
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import Repository
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import libguestfs, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, command
from ansible_collections.homelab.hybrid.tests.harness.two_pools import NAME, path_of
from ansible_collections.homelab.hybrid.tests.matrix.conftest import pool, pool_folder
from ansible_collections.homelab.hybrid.tests.matrix.test_backup_vm import JOB, REPOSITORY, RESTORE, repository

__all__ = ["pool", "pool_folder", "repository"]
pytestmark = pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
SIZES = {"root": 32, "data": 8}
TABLE = "LABEL=root / ext4 defaults 0 1\nLABEL=data /data ext4 defaults 0 2\n"
# A name that a shell, a script of guestfish and a pattern of tar would each take for something else.
ODD = '/srv/an "odd" [$name] \\x41 of *'
NOBODY = 0xFFFFFFFF
# The owner, user 77, the group, the mask and the others.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, NOBODY), (2, 6, 77), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
)
PATHS = ["/etc/hostname", "/srv/kinds", ODD, "/var/data/file", "/srv/kinds/tool", "/srv/pipe"]


@pytest.fixture(params=["bookworm", "trixie"])
def _guestfish(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{libguestfs.search_path(request.param)}:{os.environ['PATH']}")


def plant(root: Path) -> None:
    """What the machine has: an operating system, as far as one is looked for, and files of each kind."""
    for folder in ("root/etc", "root/bin", "root/srv/kinds/inner", "root/data", "root/var", "data/deep"):
        (root / folder).mkdir(parents=True)
    system = root / "root"
    (system / "etc/fstab").write_text(TABLE)
    (system / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    (system / "etc/hostname").write_text("web\n")
    (system / ODD[1:]).write_text("odd")
    (system / "var/data").symlink_to("/data/deep")
    (root / "data/deep/file").write_text("on the other disk")
    tool, kinds = system / "srv/kinds/tool", system / "srv/kinds"
    tool.write_bytes(os.urandom(200_000))
    (kinds / "inner/second").hardlink_to(tool)
    (kinds / "link").symlink_to("/nowhere/at all")
    os.mknod(kinds / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    os.mkfifo(system / "srv/pipe")
    for path in (system / ODD[1:], tool):
        os.chown(path, 1234, 2345)
        path.chmod(0o4750)
        os.setxattr(path, "user.note", b"k\x00p \\x41\n")
        os.setxattr(path, "system.posix_acl_access", ACL)
    os.chown(system / "srv", 11, 22)
    (system / "srv").chmod(0o2751)
    os.chown(kinds, 33, 44)


def make(pool_folder: Path, tree: Path | None) -> None:
    """The machine, with the file systems of *tree* on its two disks or nothing on them."""
    disks = [{"name": disk, "pool": machines.POOL, "size": f"{size}M"} for disk, size in SIZES.items()]
    outcome = converge_now(KvmVm(), {"name": NAME, "state": "stopped", **PAPER, "disks": disks})
    assert outcome.error is None, outcome.error
    for disk, size in SIZES.items() if tree else ():
        image = tree.parent / f"{disk}.raw"
        command("mke2fs", "-q", "-t", "ext4", "-L", disk, "-d", str(tree / disk), str(image), f"{size}M")
        place = str(path_of(machines.POOL, pool_folder, disk))
        command("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", str(image), place)


def lose(pool_folder: Path) -> None:
    """Nothing is left on the disks."""
    for disk, size in SIZES.items():
        place = str(path_of(machines.POOL, pool_folder, disk))
        command("qemu-io", "-f", "qcow2", "-c", f"write -z 0 {size}M", place)


def seen(path: Path) -> dict[str, t.Any]:
    """All that a file is, beside where it lies."""
    its = path.lstat()
    is_link = path.is_symlink()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {
        "mode": oct(its.st_mode),
        "owner": (its.st_uid, its.st_gid),
        "device": its.st_rdev,
        "modified": int(its.st_mtime),
        "content": os.readlink(path) if is_link else path.read_bytes() if path.is_file() else None,
        "attributes": {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    }


def left_behind() -> list[str]:
    """What of the reading is still there."""
    mounts = [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if "restic" in line or "opened" in line
    ]
    shared = [str(path) for path in Path("/dev/shm").iterdir() if "guestfs" in path.name]
    found = [str(path) for folder in ("/tmp", paths.opened_folder()) for path in Path(folder).glob("*guestfs*")]
    return mounts + shared + found + programs_with("guestfs") + programs_with("restic")


def programs_with(*words: str) -> list[str]:
    """The command lines of this host that have all of *words*, those of the tests themselves aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words) and "python" not in line:
                found.append(line[:200])
    return found


@pytest.mark.usefixtures("_guestfish")
def test_files_of_a_machine_come_into_a_folder_as_they_are_inside(
    pool: str, pool_folder: Path, repository: Repository, tmp_path: Path
) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "found"
    plant(tree)
    make(pool_folder, tree)
    taking.take(NAME, JOB, Host())
    lose(pool_folder)
    params = {"name": NAME, "repository": REPOSITORY, "paths": PATHS, "to": str(folder)}
    checked = converge_now(RESTORE, {**params, "paths": ["/etc/hostname", "/etc/none"]}, dry_run=True)
    assert checked.error is not None and "has no /etc/none" in checked.error.message
    assert "/etc/hostname" not in checked.error.message
    (tmp_path / ".found.homelab_hybrid-restore").mkdir()  # what a run that was killed has left
    check_run_again(RESTORE, params, [f"paths[{path}]" for path in PATHS])
    system = tree / "root"
    there = ["/etc/hostname", ODD, "/srv/pipe", "/srv", "/srv/kinds"]
    inner = [f"/srv/kinds/{path.relative_to(system / 'srv/kinds')}" for path in (system / "srv/kinds").rglob("*")]
    for path in [*there, *inner]:
        assert seen(folder / path[1:]) == seen(system / path[1:]), path
    assert (folder / "srv/kinds/tool").samefile(folder / "srv/kinds/inner/second")
    assert (folder / "var/data/file").read_text() == "on the other disk"
    assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (0, 0o700)
    every = {f"/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    wanted = {path for path in inner if not (system / path[1:]).is_dir() or (system / path[1:]).is_symlink()}
    assert every == {"/etc/hostname", ODD, "/srv/pipe", "/var/data/file", "/.homelab_hybrid-restored.json", *wanted}
    # What showed the repository was killed, and ends in its own time.
    wait_until("nothing to be left", lambda: left_behind() == [], timeout_seconds=10)


@pytest.mark.usefixtures("_guestfish")
@pytest.mark.parametrize("_guestfish", ["bookworm"], indirect=True)
def test_disks_without_an_operating_system_are_refused(
    pool: str, pool_folder: Path, repository: Repository, tmp_path: Path
) -> None:
    make(pool_folder, None)
    taking.take(NAME, JOB, Host())
    params = {"name": NAME, "repository": REPOSITORY, "paths": ["/etc/fstab"], "to": str(tmp_path / "found")}
    checked = converge_now(RESTORE, params, dry_run=True)
    assert checked.error is not None and "no operating system was found" in checked.error.message
    wait_until("nothing to be left", lambda: left_behind() == [], timeout_seconds=10)


READER = """
import subprocess, sys
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import Repository
with Repository(sys.argv[1]).opened() as opened:
    reader = subprocess.Popen([*opened.entering(), "sh", "-c", f"ls {opened.folder}; exec sleep 4321"])
    reader.wait()
"""


def test_nothing_is_left_of_a_reader_that_is_killed(
    pool: str, pool_folder: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{libguestfs.mounting()}:{os.environ['PATH']}")
    make(pool_folder, None)
    taking.take(NAME, JOB, Host())
    child = subprocess.Popen([sys.executable, "-c", READER, REPOSITORY], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == repository.list()[0].id
        assert len(programs_with("restic", "mount")) == 2 and programs_with("sleep", "4321")
        assert "opened" not in Path("/proc/self/mounts").read_text()
    finally:
        child.kill()
        child.wait()
    wait_until(
        "nothing to be left",
        lambda: not programs_with("mount", "opened") + programs_with("sleep", "4321"),
        timeout_seconds=10,
    )
