# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A pool that is a folder on any file system: disks are files, roots are folders."""

from __future__ import annotations

import os
import typing as t

from ..._core import command
from ..driver import LIMIT, SNAPSHOT, Attempt
from ..volume import BLOCK, FILESYSTEM, Limit, Volume
from . import project_quota
from .folder import Folder, unpack


class Dir(Folder):
    """See ``driver.Driver``. A linked disk stands on the image's file in the store, so nothing is copied into the pool.

    A snapshot is a copy, which shares its blocks where the file system can (XFS, btrfs).
    """

    can = frozenset((SNAPSHOT,))
    linked = frozenset((BLOCK,))

    def obstacle(self, ability: str) -> str | None:
        return project_quota.obstacle(self.pool, self.path) if ability == LIMIT else super().obstacle(ability)

    def limit(self, volume: Volume) -> Limit:
        if volume.kind != FILESYSTEM or not self.exists(volume):
            return Limit()
        return project_quota.read_limit(self.location(volume))

    def create(
        self,
        volume: Volume,
        *,
        size: int | None = None,
        format: str | None = None,
        image: str | None = None,
        keep_fds: t.Sequence[int] = (),
    ) -> Attempt:
        path = self._begin(volume)
        written = format or self.formats[0]
        try:
            if volume.kind == FILESYSTEM:
                os.mkdir(path, mode=0o700)
                if size is not None:
                    self._limit(path, volume, size)
                if image is not None:
                    unpack(image, path, keep_fds)
                return Attempt(volume, path)
            _make_disk(path, size, written, image, keep_fds)
        except Exception:
            # What did not fit would keep its pool full.
            self.purge(volume)
            raise
        return Attempt(volume, path, written)

    def clone(self, volume: Volume, origin: Volume, *, size: int | None = None) -> Attempt:
        """A disk that stands on *origin*: see ``driver.Cloning``."""
        path, source = self._begin(volume), self.disk_source(origin)
        try:
            _make_overlay(path, size, source.path, source.format)
        except Exception:
            self.purge(volume)
            raise
        return Attempt(volume, path, self.formats[0])

    def count_apart(self, volume: Volume, size: int | None) -> None:
        path = self.location(volume)
        if volume.kind == FILESYSTEM:
            # The project of a volume is that of its name, which another may get.
            project_quota.leave(path)
            if size is not None:
                self._limit(path, volume, size)

    def _seal(self, path: str) -> None:
        project_quota.leave(path)

    def _limit(self, path: str, volume: Volume, size: int | None) -> None:
        project_quota.set_limit(path, volume, size)


def _make_disk(path: str, size: int | None, format: str, image: str | None, keep_fds: t.Sequence[int]) -> None:
    sizes = [] if size is None else [str(size)]
    if image is not None and format == "qcow2":
        _make_overlay(path, size, image, format)
        return
    if image is None:
        command.run(["qemu-img", "create", "-q", "-f", format, path, *sizes], keep_fds=keep_fds)
        return
    command.run(["qemu-img", "convert", "-q", "-f", "qcow2", "-O", format, image, path], keep_fds=keep_fds)
    if sizes:
        command.run(["qemu-img", "resize", "-q", "-f", format, path, *sizes], keep_fds=keep_fds)


def _make_overlay(path: str, size: int | None, base: str, format: str) -> None:
    """A qcow2 that has nothing of its own yet, and stands on the file *base* of that *format*."""
    sizes = [] if size is None else [str(size)]
    command.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", format, path, *sizes])
