# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A volume that begins with what another one holds: in its pool by the means of that, in another one by a copy."""

from __future__ import annotations

import typing as t

from .._core import command
from .._core.errors import ApplyError
from .._host import mounts
from .driver import SNAPSHOT, Attempt, Cloning, Driver, Snapshotting
from .volume import FILESYSTEM, Volume


def begin(
    driver: Driver,
    volume: Volume,
    origin_driver: Driver,
    origin: Volume,
    *,
    is_linked: bool,
    size: int | None = None,
    format: str | None = None,
    keep_fds: t.Sequence[int] = (),
) -> Attempt:
    """Begin *volume*, of the pool of *driver*, with what *origin* holds, which stays as it is meanwhile.

    *is_linked*: it stands on *origin*, or shares its blocks. A tree of files has no limit: give it one when it stands. A disk has
    *size* bytes, or as many as its origin, and *format* where it is copied to another pool.

    :raises ApplyError, CommandError: nothing of it is left then.
    """
    if is_linked:
        return t.cast(Cloning, driver).clone(volume, origin, size=None if volume.kind == FILESYSTEM else size)
    if driver.pool == origin_driver.pool and SNAPSHOT in driver.can:
        return t.cast(Snapshotting, driver).restore(volume, origin, keep_fds=keep_fds)
    return _copy(driver, volume, origin_driver, origin, size, format, keep_fds)


def _copy(
    driver: Driver,
    volume: Volume,
    origin_driver: Driver,
    origin: Volume,
    size: int | None,
    format: str | None,
    keep_fds: t.Sequence[int],
) -> Attempt:
    if volume.kind == FILESYSTEM:
        place = origin_driver.location(origin)
        if mounted := mounts.mounts_in(place):
            raise ApplyError(f"{', '.join(mounted)} is mounted in {origin}, which is to be copied; unmount it first")
        attempt = driver.create(volume, keep_fds=keep_fds)
        argv = ["cp", "--archive", "--no-target-directory", place, attempt.path]
    else:
        source = origin_driver.disk_source(origin)
        attempt = driver.create(volume, size=size, format=format, keep_fds=keep_fds)
        # Into the file that is there, which has the attributes and the size that its pool wants. -U: QEMU may hold it open.
        argv = [
            "qemu-img",
            "convert",
            "-q",
            "-n",
            "-U",
            "-f",
            source.format,
            "-O",
            attempt.format,
            source.path,
            attempt.path,
        ]
    try:
        command.run(argv, keep_fds=keep_fds)
    except Exception:
        # What did not fit would keep its pool full.
        driver.purge(volume)
        raise
    return attempt
