# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Trees of files are removed without leaving them: at a mount it stops, also at one that came after somebody looked."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import struct
import typing as t

from .errors import ApplyError

# Linux 5.6, the same number on every architecture; include/uapi/linux/openat2.h: flags, mode, resolve.
_SYS_OPENAT2 = 437
_OPEN_HOW = struct.Struct("3Q")
_NO_XDEV, _NO_SYMLINKS = 0x01, 0x04
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A guest nests its folders deeper than a process can have files open.
_DEEPEST = 200


def remove_tree(path: str) -> None:
    """Remove the folder *path* and all that is in it. Links are removed, not followed.

    :raises ApplyError: at a mount, whose content is not removed.
    """
    parent, name = os.path.split(path.rstrip("/"))
    outer = os.open(parent, _FLAGS & ~os.O_NOFOLLOW)
    try:
        top = _opened(outer, name, path)
        try:
            while os.listdir(top):
                _empty(top, top, path, 0)
        finally:
            os.close(top)
        _at(path, os.rmdir, name, outer)
    finally:
        os.close(outer)


def _empty(top: int, folder: int, path: str, depth: int) -> None:
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        place = f"{path}/{name}"
        if not is_folder:
            _at(place, os.unlink, name, folder)
        elif depth == _DEEPEST:
            os.rename(name, f".{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=top)
        else:
            inner = _opened(folder, name, place)
            try:
                _empty(top, inner, place, depth + 1)
            finally:
                os.close(inner)
            _at(place, os.rmdir, name, folder)


def _at(path: str, remove: t.Callable[..., None], name: str, folder: int) -> None:
    try:
        remove(name, dir_fd=folder)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise _mounted(path) from exc
        raise


def _mounted(path: str) -> ApplyError:
    return ApplyError(f"{path} is a mount in what is to be removed; unmount it first")


def _opened(folder: int, name: str, path: str) -> int:
    how = _OPEN_HOW.pack(_FLAGS, 0, _NO_XDEV | _NO_SYMLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(_SYS_OPENAT2, folder, os.fsencode(name), how, len(how)))
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    if number == errno.EXDEV:
        raise _mounted(path)
    raise OSError(number, os.strerror(number), path)
