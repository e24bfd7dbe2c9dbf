# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Subvolumes of btrfs: what they are, which lie in them, and how they are made and deleted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import typing as t
import uuid

from ..._core import command
from ..._core.errors import ApplyError

# include/uapi/linux/btrfs.h
_MAGIC = 0x94
_FIRST_INODE = 256
_FICLONE = 0x40049409
_AT_ONCE = 100
_LOOKUP = struct.Struct("QQ4080x")
_ROOTREF = struct.Struct("QQ")
_ROOTREFS_AT, _COUNT_AT = 8, 8 + 255 * 16
# btrfs_ioctl_search_key and btrfs_ioctl_search_header
_SEARCH_KEY = struct.Struct("7Q4I32x")
_SEARCH_ITEM = struct.Struct("QQQII")
_ALL = (1 << 64) - 1
_ROOT_TREE = 1
_ROOT_BACKREF = 144
_READ_ONLY = 2
_USER_LOOKUP = struct.Struct("QQ256s3824s")
# btrfs_ioctl_get_subvol_info_args: its id, its name, four numbers, then its own UUID, that of its origin and that of whom it was received from
_INFO_BYTES, _UUID_AT, _RECEIVED_AT = 504, 296, 328


def _ioctl(number: int, size: int, direction: int = 3) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


def ask(descriptor: int, request: int, question: bytes, size: int = 4096) -> bytearray:
    """What the kernel answers in place of *question*. Python takes more than 1024 bytes only where they can be written to.

    :raises OSError:
    """
    buffer = bytearray(question) + bytes(size - len(question))
    fcntl.ioctl(descriptor, request, buffer)
    return buffer


_INO_LOOKUP = _ioctl(18, 4096)
_TREE_SEARCH = _ioctl(17, 4096)
_GETFLAGS = _ioctl(25, 8, 2)
_FS_INFO = _ioctl(31, 1024, 2)
_SUBVOL_INFO = _ioctl(60, _INFO_BYTES, 2)
_ROOTREFS = _ioctl(61, 4096)
_INO_LOOKUP_USER = _ioctl(62, 4096)


class Nested(t.NamedTuple):
    """A subvolume in another one: its id, and its path relative to that."""

    id: int
    path: str


@contextlib.contextmanager
def opened(path: str) -> t.Iterator[int]:
    """A descriptor of the folder *path*."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def file_system_of(path: str) -> str | None:
    """The UUID of the btrfs that *path* lies on; ``None`` on other file systems."""
    try:
        with opened(os.path.realpath(path)) as descriptor:
            answer = ask(descriptor, _FS_INFO, b"", 1024)
    except OSError:
        return None
    return str(uuid.UUID(bytes=bytes(answer[16:32])))


def is_subvolume(path: str) -> bool:
    """Whether *path* is the root of a subvolume of a btrfs."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return status.st_ino == _FIRST_INODE and os.path.isdir(path) and file_system_of(path) is not None


def id_of(descriptor: int) -> int:
    """The id of the subvolume in which what is open lies."""
    return int(_LOOKUP.unpack(ask(descriptor, _INO_LOOKUP, _LOOKUP.pack(0, _FIRST_INODE)))[0])


def uuids_of(path: str) -> tuple[str, str]:
    """The UUID of the subvolume *path*, and that of the one on another host that it was received from, empty where it was not."""
    with opened(path) as descriptor:
        answer = ask(descriptor, _SUBVOL_INFO, b"", _INFO_BYTES)
    own, received = (uuid.UUID(bytes=bytes(answer[at : at + 16])) for at in (_UUID_AT, _RECEIVED_AT))
    return str(own), str(received) if received.int else ""


def is_there(descriptor: int, subvolume: int) -> bool:
    """Whether the file system of what is open has a subvolume with this id, and not only what is left of a deleted one."""
    return bool(search(descriptor, _ROOT_TREE, subvolume, _ROOT_BACKREF, _ALL))


def search(descriptor: int, tree: int, object_id: int, type: int, most: int) -> list[int]:
    """The offsets, up to *most*, of the items of one object and type in a tree of the file system of what is open."""
    found: list[int] = []
    least = 0
    while True:
        key = _SEARCH_KEY.pack(tree, object_id, object_id, least, most, 0, _ALL, type, type, 0xFFFF, 0)
        answer = ask(descriptor, _TREE_SEARCH, key)
        count, at = _SEARCH_KEY.unpack_from(answer)[9], _SEARCH_KEY.size
        if not count:
            return found
        for dummy in range(count):
            dummy, dummy, offset, dummy, length = _SEARCH_ITEM.unpack_from(answer, at)
            found.append(offset)
            at += _SEARCH_ITEM.size + length
        if found[-1] == most:
            return found
        least = found[-1] + 1


def nested_in(path: str) -> list[Nested]:
    """The subvolumes in the subvolume *path*, however deep, each before those that lie in it."""
    found: list[Nested] = []
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with _opened_in(path, inner) as descriptor:
            for nested in _children(descriptor):
                there = Nested(nested.id, os.path.join(inner, nested.path))
                found.append(there)
                waiting.append(there.path)
    return found


@contextlib.contextmanager
def _opened_in(path: str, inner: str, expected: int | None = None) -> t.Iterator[int]:
    """A descriptor of the folder *inner* below *path*; no link in it is followed, whatever the guest makes of its files."""
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(opened(path))
        for part in [part for part in inner.split("/") if part]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(part, flags, dir_fd=descriptor)
            stack.callback(os.close, descriptor)
        if expected is not None and id_of(descriptor) != expected:
            raise ApplyError(f"{path}/{inner} was moved meanwhile. Run again")
        yield descriptor


def _children(descriptor: int) -> t.Iterator[Nested]:
    """The subvolumes directly in the one whose root is open."""
    buffer = bytearray(4096)
    is_last = False
    while not is_last:
        try:
            fcntl.ioctl(descriptor, _ROOTREFS, buffer)
            is_last = True
        except OSError as exc:
            # 255 are in the buffer, which also says where to go on. Docker makes that many.
            if exc.errno != errno.EOVERFLOW:
                raise
        for number in range(buffer[_COUNT_AT]):
            tree, folder = _ROOTREF.unpack_from(buffer, _ROOTREFS_AT + number * _ROOTREF.size)
            where = _USER_LOOKUP.unpack(ask(descriptor, _INO_LOOKUP_USER, _ROOTREF.pack(folder, tree)))
            name, path = (os.fsdecode(text.partition(b"\0")[0]) for text in where[2:])
            yield Nested(tree, path + name)


def create(path: str) -> None:
    """A new, empty subvolume at *path*."""
    command.run(["btrfs", "-q", "subvolume", "create", path])


def snapshot(source: str, path: str) -> None:
    """A writable snapshot of the subvolume *source* at *path*, those in it included.

    Each is whole, at a moment of its own. Where the snapshot of the outer one has a subvolume, btrfs leaves an empty folder.
    """
    nested = nested_in(source)
    command.run(["btrfs", "-q", "subvolume", "snapshot", source, path])
    for inner in nested:
        with _opened_in(source, inner.path, inner.id) as descriptor:
            place = os.path.join(path, inner.path)
            os.rmdir(place)
            # The guest may run and move its folders: what is open stays the same.
            argv = ["btrfs", "-q", "subvolume", "snapshot", f"/proc/self/fd/{descriptor}", place]
            command.run(argv, keep_fds=[descriptor])


def seal(path: str, *, is_read_only: bool = True) -> None:
    """Nothing writes any more to the subvolume *path* and to those in it; not *is_read_only*: one may again."""
    for place in [*(os.path.join(path, nested.path) for nested in reversed(nested_in(path))), path]:
        command.run(["btrfs", "property", "set", "-ts", place, "ro", str(is_read_only).lower()])


def delete(path: str) -> None:
    """Delete the subvolume *path* and those in it. Only where no guest is at work.

    :raises CommandError:
    """
    places = [path, *(os.path.join(path, inner.path) for inner in nested_in(path))]
    for place in places:
        # What lies in one that is read-only cannot go before it.
        if len(places) > 1 and is_read_only(place):
            command.run(["btrfs", "property", "set", "-f", "-ts", place, "ro", "false"])
    places.reverse()
    for first in range(0, len(places), _AT_ONCE):
        command.run(["btrfs", "-q", "subvolume", "delete", *places[first : first + _AT_ONCE]])


def is_read_only(path: str) -> bool:
    """Whether nothing writes to the subvolume *path*."""
    with opened(path) as descriptor:
        return bool(int.from_bytes(ask(descriptor, _GETFLAGS, b"", 8), "little") & _READ_ONLY)


def clone_file(source: str, target: str) -> None:
    """The empty file *target* shares the blocks of *source* from now on. Both have the same attribute about copying on write."""
    with open(source, "rb") as origin, open(target, "r+b") as stream:
        fcntl.ioctl(stream.fileno(), _FICLONE, origin.fileno())
