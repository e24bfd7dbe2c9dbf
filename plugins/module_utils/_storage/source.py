# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The file system on a pool's source: made, mounted now and with the host, unmounted, wiped.

*keep_fds* are the descriptors of the pool's lock, which then holds until the program has ended, also when this process is killed.
"""

from __future__ import annotations

import os
import typing as t

from .._core import atomic, command, lock
from . import fstab


def make_file_system(source: str, pool: str, keep_fds: t.Sequence[int]) -> None:
    """Make a btrfs on *source*. The plan has made sure that nothing is lost.

    :raises CommandError:
    """
    command.run(["mkfs.btrfs", "--quiet", "--force", "--label", pool, source], keep_fds=keep_fds)


def uuid_of(source: str) -> str:
    """The UUID of the btrfs on *source*.

    :raises CommandError:
    """
    return command.run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", source]).strip()


def mount(pool: str, source: str, path: str, keep_fds: t.Sequence[int], *, is_file: bool) -> None:
    """Mount *source* at *path*, now and whenever the host starts.

    :raises CommandError:
    """
    device = source if is_file else f"UUID={uuid_of(source)}"
    _change_fstab(lambda text: fstab.with_line(text, pool, fstab.line_of(pool, device, path, is_file=is_file)))
    if not os.path.ismount(path):
        command.run(["mount", path], keep_fds=keep_fds)


def unmount(path: str, keep_fds: t.Sequence[int]) -> None:
    """Unmount *path* until the next start of the host.

    :raises CommandError: while something is at work in it.
    """
    if os.path.ismount(path):
        command.run(["umount", path], keep_fds=keep_fds)


def forget(pool: str) -> None:
    """Mount the pool no more when the host starts."""
    _change_fstab(lambda text: fstab.without_line(text, pool))


def wipe(source: str, keep_fds: t.Sequence[int]) -> None:
    """Take what a file system is known by off *source*. It is blank again."""
    command.run(["wipefs", "--all", "--quiet", source], keep_fds=keep_fds)
    with open(source, "r+b") as stream:
        # The old superblock's neighbourhood is what tells a blank device from one with data.
        stream.write(bytes(1024 * 1024))
        stream.flush()
        os.fsync(stream.fileno())


def _change_fstab(change: t.Callable[[str], str]) -> None:
    # Pools that are made at the same time share the file.
    with lock.allocations():
        before = atomic.read_text(fstab.PATH) or ""
        after = change(before)
        if after != before:
            mode = os.stat(fstab.PATH).st_mode & 0o7777 if os.path.exists(fstab.PATH) else 0o644
            atomic.write_file(fstab.PATH, after, mode=mode)
