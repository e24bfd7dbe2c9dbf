# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Owners mapped for one mount: a detached copy of a folder of the host, and whether its file system takes a mapping at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import typing as t

from .namespaces import checked

_libc = ctypes.CDLL(None, use_errno=True)
# x86-64, arm64 and every architecture since 2019 share these numbers.
_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_IDMAP = 0x1, 0x100000
_CLONE_NEWUSER = 0x10000000


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


@contextlib.contextmanager
def clone_of(source: str) -> t.Iterator[int]:
    """A mount of *source* that is nowhere yet, as a descriptor.

    :raises OSError:
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    tree = checked(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags), f"open {source}")
    try:
        yield tree
    finally:
        os.close(tree)


def make_readonly(tree: int) -> None:
    """:raises OSError:"""
    _set_attributes(tree, _MOUNT_ATTR_RDONLY, 0)


def map_owners(tree: int, userns_fd: int) -> None:
    """The owners of the host are those inside the user namespace.

    :raises OSError: also where the file system knows no owners that are mapped.
    """
    _set_attributes(tree, _MOUNT_ATTR_IDMAP, userns_fd)


def _set_attributes(tree: int, attributes: int, userns_fd: int) -> None:
    wanted = _MountAttr(attr_set=attributes, userns_fd=userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    checked(
        _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), size),
        "set the attributes of the mount (its file system may not know owners that are mapped)",
    )


def takes_mapping(source: str) -> bool:
    """Whether the owners of *source* can be mapped: tried on a mount that is nowhere. NFS, FUSE and overlay cannot (kernel 6.18)."""
    try:
        with _user_namespace() as namespace, clone_of(source) as tree:
            map_owners(tree, namespace)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _user_namespace() -> t.Iterator[int]:
    """A user namespace with a map, open while it is needed."""
    ready, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _libc.unshare(_CLONE_NEWUSER)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.close(tell)
        os.read(ready, 1)
        for kind in ("uid", "gid"):
            descriptor = os.open(f"/proc/{child}/{kind}_map", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"0 100000 65536")
            finally:
                os.close(descriptor)
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield namespace
        finally:
            os.close(namespace)
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
