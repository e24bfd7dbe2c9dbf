# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A pool that is a folder on btrfs: roots are subvolumes, disks are raw files whose clones share their blocks."""

from __future__ import annotations

import os
import typing as t

from ..._core import command
from ..driver import CLONE, KEPT_DISK, LIMIT, SEND, SNAPSHOT, Attempt
from ..volume import BLOCK, FILESYSTEM, Limit, Volume
from . import qgroup, subvolume
from .folder import Folder, unpack
from .qgroup import Quota


class Btrfs(Folder):
    """See ``driver.Driver``.

    A disk is raw and never copied on write, from birth: a qcow2 in a file that btrfs copies on write fragments without end.
    """

    formats: tuple[str, ...] = ("raw",)
    cloned = frozenset((BLOCK, FILESYSTEM))
    linked = cloned
    can = frozenset((CLONE, SNAPSHOT, LIMIT, SEND))
    lxc_driver = "btrfs"

    def obstacle(self, ability: str) -> str | None:
        if ability == LIMIT and os.path.isdir(self.path) and not Quota(self.path).is_enabled:
            return (
                f"the file system of the storage pool {self.pool} of type btrfs has its quotas disabled. "
                "Run homelab.hybrid.storage_pool for it, which enables them"
            )
        return super().obstacle(ability)

    def limit(self, volume: Volume) -> Limit:
        path = self.location(volume)
        if volume.kind != FILESYSTEM or not subvolume.is_subvolume(path):
            return Limit()
        return Quota(path).limit_of(path)

    def make_pool(self, *, is_new: bool = False) -> None:
        if not os.path.isdir(self.path):
            os.makedirs(os.path.dirname(self.path), mode=0o711, exist_ok=True)
            # Apart from what it lies in: no snapshot of the host's root takes the guests with it.
            subvolume.create(self.path)
            os.chmod(self.path, 0o711)
        quota = Quota(self.path)
        if not quota.is_enabled:
            quota.enable(simple=is_new and qgroup.knows_simple())
        if not quota.is_consistent:
            quota.recount()

    def remove_pool(self) -> None:
        if not subvolume.is_subvolume(self.path):
            super().remove_pool()
            return
        self._remove(self.path)

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
        try:
            if volume.kind == FILESYSTEM:
                subvolume.create(path)
                os.chmod(path, 0o700)
                if size is not None:
                    self._limit(path, volume, size)
                if image is not None:
                    unpack(image, path, keep_fds)
            else:
                _make_disk(path, size, image, keep_fds)
        except Exception:
            # What did not fit would keep its pool full.
            self.purge(volume)
            raise
        return Attempt(volume, path, self.formats[0])

    def clone(self, volume: Volume, origin: Volume, *, size: int | None = None) -> Attempt:
        path = self._begin(volume)
        source = self.location(origin)
        try:
            if volume.kind == FILESYSTEM:
                subvolume.snapshot(source, path)
                os.chmod(path, 0o700)
                if size is not None:
                    self._limit(path, volume, size)
            else:
                _make_disk(path, 0, None, ())
                subvolume.clone_file(source, path)
                os.truncate(path, max(size or 0, os.stat(source).st_size))
        except Exception:
            self.purge(volume)
            raise
        return Attempt(volume, path, self.formats[0])

    def snapshot_bytes(self, volume: Volume) -> int:
        return (
            0
            if volume.kind == BLOCK or subvolume.is_subvolume(self.location(volume))
            else super().snapshot_bytes(volume)
        )

    def _file_systems(self, volume: Volume) -> list[str]:
        place = self.location(volume)
        if volume.kind == BLOCK or not subvolume.is_subvolume(place):
            return [place]
        return [place, *(os.path.join(place, its.path) for its in subvolume.nested_in(place))]

    def is_of_one_moment(self, volume: Volume) -> bool:
        place = self.location(volume)
        return volume.kind == BLOCK or (subvolume.is_subvolume(place) and not subvolume.nested_in(place))

    # -- sending and receiving

    def send_obstacle(self, volume: Volume) -> str | None:
        if volume.kind == BLOCK:
            return None
        place = self.location(volume)
        if not subvolume.is_subvolume(place):
            return f"{place} is a plain folder and no subvolume of btrfs, which alone is sent"
        inner = subvolume.nested_in(place)
        return f"{place} has the subvolume {inner[0].path} in it, which btrfs does not send along" if inner else None

    def keep_for_sending(
        self, volume: Volume, name: str, since: Volume | None, *, keep_fds: t.Sequence[int] = ()
    ) -> Volume:
        if volume.kind == FILESYSTEM:
            return self.snapshot(volume, name, keep_fds=keep_fds)
        # btrfs sends subvolumes. A disk shares its blocks with a file in one, and with that of the last one what did not change since.
        kept = volume.snapshot(name)._replace(kind=FILESYSTEM)
        path = self._begin(kept)
        file = os.path.join(path, KEPT_DISK)
        try:
            if since is None:
                subvolume.create(path)
                _make_disk(file, 0, None, ())
            else:
                subvolume.snapshot(self.location(since), path)
            source = self.location(volume)
            os.truncate(file, os.stat(source).st_size)
            subvolume.clone_file(source, file)
        except Exception:
            self.purge(kept)
            raise
        self.publish(Attempt(kept, path), is_read_only=True)
        return kept

    def kept_as(self, part: str) -> list[Volume]:
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        # Of an attempt that was killed there is ".NAME+DIGITS.new", or ".gone", alone.
        found = {name[1:].rpartition("+")[0] if name.startswith(".") else name for name in names if part in name}
        return [Volume(self.pool, name, FILESYSTEM) for name in sorted(found)]

    def identity(self, kept: Volume) -> str:
        return subvolume.uuids_of(self.location(kept))[0]

    def sending(self, kept: Volume, since: Volume | None) -> list[str]:
        parent = ["-p", self.location(since)] if since else []
        return ["btrfs", "-q", "send", *parent, self.location(kept)]

    def receiving(self, folder: str) -> list[str]:
        return ["btrfs", "-q", "receive", folder]

    def received(self, path: str) -> str:
        is_whole = subvolume.is_subvolume(path) and subvolume.is_read_only(path)
        return subvolume.uuids_of(path)[1] if is_whole else ""

    def remove_received(self, path: str) -> None:
        self._remove(path)

    def _copy(self, volume: Volume, origin: Volume, keep_fds: t.Sequence[int]) -> Attempt:
        if volume.kind == FILESYSTEM and not subvolume.is_subvolume(self.location(origin)):
            return super()._copy(volume, origin, keep_fds)
        return self.clone(volume, origin)

    def _seal(self, path: str) -> None:
        if not subvolume.is_subvolume(path):
            return
        quota = Quota(path)
        if quota.is_enabled:
            quota.lift(path)
        subvolume.seal(path)

    def _protect(self, path: str, *, is_read_only: bool) -> None:
        if subvolume.is_subvolume(path):
            subvolume.seal(path, is_read_only=is_read_only)

    def _limit(self, path: str, volume: Volume, size: int | None) -> None:
        Quota(path).set_limit(path, size)

    def _remove(self, path: str) -> None:
        if subvolume.is_subvolume(path):
            quota = Quota(path)
            if quota.is_enabled:
                quota.lift(path)
            subvolume.delete(path)
            if quota.is_enabled and path != self.path:
                Quota(self.path).sweep()
        else:
            # The root of a container made by hand and adopted: a plain folder.
            super()._remove(path)


def _make_disk(path: str, size: int | None, image: str | None, keep_fds: t.Sequence[int]) -> None:
    form = ("-f", "raw", "-o", "nocow=on")
    command.run(["qemu-img", "create", "-q", *form, path, str(size or 0)], keep_fds=keep_fds)
    if image is not None:
        # Into the file that is there: the attribute takes effect on an empty file alone.
        argv = ["qemu-img", "convert", "-q", "-n", "--target-is-zero", "-f", "qcow2", "-O", "raw", image, path]
        command.run(argv, keep_fds=keep_fds)
