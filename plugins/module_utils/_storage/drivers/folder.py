# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What drivers share whose pool is a folder: the names of volumes and of attempts at them."""

from __future__ import annotations

import os
import re
import secrets
import typing as t

from ..._core import atomic, command
from ..._core.errors import ApplyError, ObserveError
from ..._core.removal import remove_tree
from ..._host import mounts
from ..driver import Attempt, DiskSource, Usage, taken
from ..volume import BLOCK, FILESYSTEM, Limit, Volume

_ATTEMPT = re.compile(r"[0-9a-f]{16}\.(new|gone)")
# An ISO image is a raw disk that a program wrote whole.
_WHOLE = "iso"


class Folder:
    """A pool whose volumes are files and folders that bear their names. See ``driver.Driver``."""

    formats: tuple[str, ...] = ("qcow2", "raw")
    cloned: frozenset[str] = frozenset()
    linked: frozenset[str] = frozenset()
    can: frozenset[str] = frozenset()
    lxc_driver = "dir"

    def __init__(self, pool: str, path: str) -> None:
        self.pool = pool
        self.path = path.rstrip("/")

    # -- reading

    def obstacle(self, ability: str) -> str | None:
        return None if ability in self.can else f"the storage pool {self.pool} cannot {ability}"

    def usage(self) -> Usage:
        status = os.statvfs(mounts.existing(self.path))
        capacity, available = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        return Usage(mounts.mount_of(self.path).device, capacity, available)

    def exists(self, volume: Volume) -> bool:
        return bool(self._found(volume))

    def location(self, volume: Volume) -> str:
        found = self._found(volume)
        return found[0] if found else self._place(volume, self.formats[0])

    def disk_source(self, volume: Volume) -> DiskSource:
        path = self.location(volume)
        extension = path.rpartition(".")[2]
        return DiskSource(path, "raw" if extension == _WHOLE else extension)

    def lxc_root(self, volume: Volume) -> str:
        return f"{self.lxc_driver}:{self.location(volume)}"

    def holds(self, path: str) -> bool:
        return path.startswith(f"{self.path}/")

    def limit(self, volume: Volume) -> Limit:
        return Limit()

    def has_left_overs(self, volume: Volume) -> bool:
        return bool(self._left_overs(volume))

    # -- writing

    def make_pool(self, *, is_new: bool = False) -> None:
        # QEMU's user and the mapped root of a container must be able to pass through.
        os.makedirs(self.path, mode=0o711, exist_ok=True)

    def remove_pool(self) -> None:
        remove_tree(os.path.realpath(self.path))

    def publish(self, attempt: Attempt, *, is_read_only: bool = False) -> None:
        volume = attempt.volume
        if self.exists(volume):
            raise taken(volume)
        if volume.kind == BLOCK:
            with open(attempt.path, "rb") as stream:
                os.fchmod(stream.fileno(), 0o400 if is_read_only else 0o600)
                os.fsync(stream.fileno())
        else:
            # In what is only cloned from, programs with the rights of root belong to the root of this host.
            os.chmod(attempt.path, 0o700 if is_read_only else 0o755)
            if is_read_only:
                self._seal(attempt.path)
        try:
            atomic.rename_new(attempt.path, self._place(volume, attempt.format))
        except FileExistsError:
            raise taken(volume) from None
        atomic.sync_folder(self.path)

    def write(self, volume: Volume, data: bytes) -> None:
        self.purge(volume)
        atomic.write_file(self._place(volume, _WHOLE), data, mode=0o600)

    def resize(self, volume: Volume, size: int | None, *, keep_fds: t.Sequence[int] = ()) -> None:
        if volume.kind == FILESYSTEM:
            self._limit(self.location(volume), volume, size)
            return
        source = self.disk_source(volume)
        command.run(["qemu-img", "resize", "-q", "-f", source.format, source.path, str(size)], keep_fds=keep_fds)

    def protect(self, volume: Volume, *, is_read_only: bool) -> None:
        path = self.location(volume)
        if volume.kind == BLOCK:
            os.chmod(path, 0o400 if is_read_only else 0o600)
        else:
            self._protect(path, is_read_only=is_read_only)

    def set_aside(self, volume: Volume, kept: Volume) -> None:
        if self.exists(kept):
            raise taken(kept)
        path = self.location(volume)
        _check_not_mounted(volume, path)
        place = self._place(kept, path.rpartition(".")[2])
        try:
            atomic.rename_new(path, place)
        except FileExistsError:
            raise taken(kept) from None
        atomic.sync_folder(self.path)

    def count_apart(self, volume: Volume, size: int | None) -> None:
        """What counts for a folder by itself goes on to, whatever its name is."""

    def retire(self, volume: Volume) -> None:
        for path in self._found(volume):
            _check_not_mounted(volume, path)
            os.rename(path, self._attempt_path(volume, "gone"))
        if os.path.isdir(self.path):
            atomic.sync_folder(self.path)

    def purge(self, volume: Volume) -> None:
        for path in self._left_overs(volume):
            _check_not_mounted(volume, path)
            self._remove(path)

    # -- snapshots, of drivers that have the ability

    def snapshot_bytes(self, volume: Volume) -> int:
        return self.used_bytes(volume)

    def used_bytes(self, volume: Volume) -> int:
        # A guest may have more subvolumes than a command line has room for.
        argv = ["du", "--one-file-system", "--summarize", "--total", "--block-size=1", "--files0-from=-"]
        told = command.run(argv, input="\0".join(self._file_systems(volume)))
        return int(told.splitlines()[-1].split()[0])

    def _file_systems(self, volume: Volume) -> list[str]:
        """Where all that belongs to the volume lies, as the kernel tells file systems apart."""
        return [self.location(volume)]

    def is_of_one_moment(self, volume: Volume) -> bool:
        return False

    def attempts_at(self, volume: Volume) -> str:
        return os.path.join(self.path, f".{volume.name}+")

    def snapshot(self, volume: Volume, name: str, *, keep_fds: t.Sequence[int] = ()) -> Volume:
        kept = volume.snapshot(name)
        self.publish(self._copy(kept, volume, keep_fds), is_read_only=True)
        return kept

    def restore(self, volume: Volume, kept: Volume, *, keep_fds: t.Sequence[int] = ()) -> Attempt:
        return self._copy(volume, kept, keep_fds)

    def seal(self, kept: Volume) -> None:
        path = self.location(kept)
        os.chmod(path, 0o400 if kept.kind == BLOCK else 0o700)
        if kept.kind == FILESYSTEM:
            self._seal(path)

    def _copy(self, volume: Volume, origin: Volume, keep_fds: t.Sequence[int]) -> Attempt:
        path, source = self._begin(volume), self.location(origin)
        try:
            # A device node of the guest is copied as one; a mount is not, and nothing of a guest is mounted where the host looks.
            argv = ["cp", "--archive", "--one-file-system", "--no-target-directory", "--reflink=auto"]
            if volume.kind == BLOCK:
                # libvirt notes in attributes of a disk who has it open.
                argv += ["--no-preserve=xattr"]
            argv += [source, path]
            command.run(argv, keep_fds=keep_fds)
            if volume.kind == FILESYSTEM:
                os.chmod(path, 0o700)
        except Exception:
            # What did not fit would keep its pool full.
            self.purge(volume)
            raise
        return Attempt(volume, path, source.rpartition(".")[2])

    # -- for the drivers

    def _seal(self, path: str) -> None:
        """Nothing writes any more to the tree of files at *path*, where the file system can see to it."""

    def _protect(self, path: str, *, is_read_only: bool) -> None:
        """The same for the tree of files of a guest, of which the limit stays."""

    def _limit(self, path: str, volume: Volume, size: int | None) -> None:
        raise ApplyError(f"{volume} can have no limit")

    def _remove(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            os.unlink(path)

    def _begin(self, volume: Volume) -> str:
        """A path for one attempt, behind which nothing is left of earlier ones."""
        self.purge(volume)
        return self._attempt_path(volume, "new")

    def _attempt_path(self, volume: Volume, end: str) -> str:
        return f"{self.attempts_at(volume)}{secrets.token_hex(8)}.{end}"

    def _left_overs(self, volume: Volume) -> list[str]:
        beginning = f".{volume.name}+"
        paths = atomic.left_overs(self.path, beginning)
        attempts = [path for path in paths if _ATTEMPT.fullmatch(os.path.basename(path), len(beginning))]
        return attempts if volume.kind == FILESYSTEM else [*attempts, *atomic.half_written(self._place(volume, _WHOLE))]

    def _place(self, volume: Volume, format: str) -> str:
        return os.path.join(self.path, volume.name if volume.kind == FILESYSTEM else f"{volume.name}.{format}")

    def _found(self, volume: Volume) -> list[str]:
        endings = ("",) if volume.kind == FILESYSTEM else (*self.formats, _WHOLE)
        places = [self._place(volume, ending) for ending in endings]
        found = [place for place in places if os.path.lexists(place)]
        if len(found) > 1:
            raise ObserveError(
                f"{volume} is there more than once: {', '.join(found)}. Move away what is not the guest's"
            )
        return found


def _check_not_mounted(volume: Volume, path: str) -> None:
    mounted = mounts.mounts_in(path)
    if mounted:
        raise ApplyError(f"{', '.join(mounted)} is mounted in what is to be removed of {volume}; unmount it first")


def unpack(archive: str, folder: str, keep_fds: t.Sequence[int]) -> None:
    """Unpack a compressed tar into *folder*, owners and extended attributes as in the archive, without device nodes.

    A node that came with an image would be a way to the devices of the host; the owner of one is shifted like that of a file.
    """
    # LXC gives every container a /dev of its own. Of a name that begins otherwise tar would leave out what lies deeper, too.
    without = ("--anchored", "--exclude=./dev/*", "--exclude=dev/*")
    argv = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", *without, "-xpf", archive, "-C", folder]
    command.run(argv, keep_fds=keep_fds)
    nodes = ["(", "-type", "b", "-o", "-type", "c", ")"]
    command.run(["find", folder, "-xdev", *nodes, "-delete"], keep_fds=keep_fds)
