# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Owners mapped for one mount: a detached copy of a folder of the host, and which of its file systems take a mapping.

It is also a part of the program that LXC runs at a start: nothing but Python's own library is imported here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import typing as t

libc = ctypes.CDLL(None, use_errno=True)
# x86-64, arm64 and every architecture since 2019 share these numbers.
_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOUNT_ATTR_IDMAP = 0x100000
_CLONE_NEWUSER = 0x10000000
# What the kernel calls the options that a mount of its own can have.
_ATTRIBUTES = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}

# A range of ids: the first of them inside, the first on the host, and how many there are.
Extent = tuple[int, int, int]


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def checked(result: int, what: str) -> int:
    """*result* of a call of libc.

    :raises OSError: when it is -1.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"could not {what}: {os.strerror(number)}")
    return result


@contextlib.contextmanager
def clone_of(source: str) -> t.Iterator[int]:
    """A mount of *source* that is nowhere yet, as a descriptor, without what is mounted below it.

    :raises OSError:
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    tree = checked(libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags), f"open {source}")
    try:
        yield tree
    finally:
        os.close(tree)


def restrict(tree: int, options: t.Iterable[str]) -> None:
    """Set what of the mount *options* (``ro``, ``nosuid``) restricts it.

    :raises OSError:
    """
    attributes = sum(_ATTRIBUTES[option] for option in set(options) & set(_ATTRIBUTES))
    if attributes:
        _set_attributes(tree, _MountAttr(attr_set=attributes))


def map_owners(tree: int, namespace: int) -> None:
    """The owners of the host are those of the user namespace.

    :raises OSError: also where the file system knows no owners that are mapped.
    """
    _set_attributes(tree, _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=namespace))


def _set_attributes(tree: int, wanted: _MountAttr) -> None:
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    checked(
        libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), size),
        "set the attributes of the mount (its file system may not know owners that are mapped)",
    )


def without_mapping(points: t.Iterable[str]) -> list[str]:
    """Those of the mount *points*, or of folders in mounts, whose owners cannot be mapped: tried on mounts that are nowhere.

    NFS, FUSE and overlay cannot (kernel 6.18).
    """
    found = []
    try:
        with user_namespace([(0, 100000, 65536)], [(0, 100000, 65536)]) as namespace:
            for point in points:
                try:
                    with clone_of(point) as tree:
                        map_owners(tree, namespace)
                except OSError:
                    found.append(point)
    except OSError:
        return list(points)
    return found


def mapped_extents(extents: t.Sequence[Extent], ids: t.Mapping[int, int]) -> list[Extent]:
    """What a mount maps: the ids of the host that *ids* names to those inside that it gives, each other to the same number inside.

    *extents* are those of the container. Nobody is what would have to be two: the id of the host that has the number of one which
    stands for another.

    :raises ValueError: for an id that the container does not have.
    """
    places = {host: place_of(inside, extents) for host, inside in ids.items()}
    gone = sorted({*ids, *ids.values()})
    found: list[Extent] = []
    for first, place, count in extents:
        start = first
        for number in [*(number for number in gone if first <= number < first + count), first + count]:
            if number > start:
                found.append((start, place + start - first, number - start))
            start = number + 1
    return sorted([*found, *((host, place, 1) for host, place in places.items())])


def place_of(inside: int, extents: t.Iterable[Extent]) -> int:
    """The id of the host that the id *inside* is.

    :raises ValueError: for one that the container does not have.
    """
    for first, place, count in extents:
        if first <= inside < first + count:
            return place + inside - first
    raise ValueError(f"the container has no id {inside}")


@contextlib.contextmanager
def user_namespace(uids: t.Sequence[Extent], gids: t.Sequence[Extent]) -> t.Iterator[int]:
    """A user namespace with these maps, open while it is needed.

    :raises OSError:
    """
    ready, tell = os.pipe2(os.O_CLOEXEC)
    wait, hold = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(hold)
        if libc.unshare(_CLONE_NEWUSER) == 0:
            os.write(tell, b"x")
        os.close(tell)
        # Until the parent closes its end, or is killed.
        os.read(wait, 1)
        os._exit(0)
    try:
        os.close(tell)
        if not os.read(ready, 1):
            raise OSError("could not make a user namespace")
        for kind, extents in (("uid", uids), ("gid", gids)):
            descriptor = os.open(f"/proc/{child}/{kind}_map", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, "".join(f"{first} {place} {count}\n" for first, place, count in extents).encode())
            finally:
                os.close(descriptor)
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield namespace
        finally:
            os.close(namespace)
    finally:
        for end in (ready, wait, hold):
            os.close(end)
        os.waitpid(child, 0)
