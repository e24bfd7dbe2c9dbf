# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of backups stand on: a repository, a job, the program as it lies on the host; and what restic and tar say themselves."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.resource import HostBackup
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

PROGRAM = paths.PROGRAMS + "/homelab-hybrid-backup"
LINK = "/usr/local/sbin/homelab-hybrid-backup"
CHILD = Path(__file__).with_name("backup_child.py")
PASSWORD = "correct horse battery"
REPOSITORY, JOB = "hlbk-disk", "hlbk-nightly"
BACKUP = HostBackup()
# For a test of what no driver of pools has a part in.
ON_ONE_POOL = pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
# As setfacl -m u:101000:r writes it: a version, then the owner, that user, the group, the mask and the others.
ACL = struct.pack(
    "<I" + 5 * "HHI",
    2,
    *(1, 7, NOBODY := 2**32 - 1),
    *(2, 4, 101000),
    *(4, 5, NOBODY),
    *(16, 7, NOBODY),
    *(32, 0, NOBODY),
)


def declared(folder: Path, **job: t.Any) -> dict[str, t.Any]:
    """The parameters of a host with one repository, at *folder*, and one job."""
    return {
        "repositories": [{"name": REPOSITORY, "type": "local", "path": str(folder), "password": PASSWORD}],
        "jobs": [{"name": JOB, "repository": REPOSITORY, "schedule": "daily", **job}],
    }


def gone() -> dict[str, t.Any]:
    return {
        "repositories": [{"name": REPOSITORY, "state": "absent"}],
        "jobs": [{"name": JOB, "state": "absent"}],
    }


def set_up(folder: Path, **job: t.Any) -> None:
    """A host with an empty repository and a job."""
    tear_down(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    outcome = converge_now(BACKUP, declared(folder, **job))
    assert outcome.error is None, outcome.error


def tear_down(folder: Path) -> None:
    converge_now(BACKUP, gone())
    shutil.rmtree(folder, ignore_errors=True)
    for path in (PROGRAM, LINK, paths.backup_report(JOB), paths.verify_report(JOB)):
        Path(path).unlink(missing_ok=True)


def backup(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What the program on the host says and how it ends."""
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done


def report() -> dict[str, t.Any]:
    told: dict[str, t.Any] = json.loads(Path(paths.backup_report(JOB)).read_text(encoding="utf-8"))
    return told


def killed_before(step: int | str, verb: str = "run", job: str = JOB, *, fails: bool = False) -> str | None:
    """A run of *job*, or another *verb* of it, that is killed, with all that it started, before the program that it runs as the *step* th,
    or that has these words.

    Returns which that was; ``None`` where it came to its end, and *fails* there as it should.
    """
    done = subprocess.run(
        [sys.executable, str(CHILD), verb, job, str(step)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    if done.returncode == int(fails):
        return None
    assert done.returncode == -9, done.stderr
    return done.stderr.rpartition("KILLED before ")[2].strip()


def restic(folder: Path, *words: str, check: bool = True) -> str:
    """What restic itself says of the repository at *folder*."""
    done = subprocess.run(
        ["restic", "-r", str(folder), "--no-cache", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RESTIC_PASSWORD": PASSWORD},
    )
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def turn_a_byte(folder: Path) -> Path:
    """Turn one byte of the largest pack of the repository at *folder*, and return that."""
    packs = (path for path in (folder / "data").rglob("*") if path.is_file())
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    return pack


def digest(tree: Path, *leave_out: str) -> str:
    """What tar and sha256sum make of a tree: names, owners by number, modes, times, links, attributes, ACLs and content."""
    words = "--sort=name --numeric-owner --xattrs --xattrs-include=* --acls --selinux --format=posix"
    # When a file was read or its inode changed is nothing that a restore could bring back.
    times = "--pax-option=delete=atime,delete=ctime"
    excluded = [f"--exclude={path}" for path in leave_out]
    packed = subprocess.run(
        ["tar", *words.split(), times, *excluded, "-C", str(tree), "-cf", "-", "."], capture_output=True, check=True
    )
    return (
        subprocess.run(["sha256sum"], input=packed.stdout, capture_output=True, check=True).stdout.decode().split()[0]
    )


def listed(folder: Path) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = json.loads(restic(folder, "snapshots", "--json"))
    return found


def fill(root: Path) -> None:
    """Files of all kinds that a backup can lose something of."""
    top = root / "srv" / "kinds"
    top.mkdir(parents=True, exist_ok=True)
    (top / "file").write_text("content\n", encoding="utf-8")
    os.chown(top / "file", 101234, 105678)
    (top / "file").chmod(0o4750)
    os.link(top / "file", top / "hard")
    os.symlink("/nowhere/at all", top / "link")
    os.mkfifo(top / "pipe")
    os.mknod(top / "device", 0o600 | 0o020000, os.makedev(1, 3))
    with (top / "holes").open("wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(32 << 20)
        stream.write(b"middle")
    os.setxattr(top / "file", "user.note", b"kept")
    os.setxattr(top / "file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.setxattr(top / "file", "system.posix_acl_access", ACL)
    os.utime(top / "file", (1_000_000_000, 1_000_000_001))
