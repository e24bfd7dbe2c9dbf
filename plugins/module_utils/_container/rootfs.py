# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The root file system of a container: unpacked beside its place, its owners shifted on disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import struct
import typing as t

from .._core import command
from .._core.atomic import sync_folder

_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_ATTEMPT = re.compile(r"[0-9a-f]{16}\.(new|gone)")
_VFS_CAP_REVISION_3 = 0x03000000
_VFS_CAP_EFFECTIVE = 0x1
_ACL_USER, _ACL_GROUP = 0x02, 0x08


def attempt_path(path: str) -> str:
    """A name beside *path* that no other attempt has."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(8)}.new")


def left_overs(path: str) -> list[str]:
    """What attempts that were killed left beside *path*."""
    folder, name = os.path.split(path)
    beginning = f".{name}."
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        os.path.join(folder, name)
        for name in names
        if name.startswith(beginning) and _ATTEMPT.fullmatch(name, len(beginning))
    )


def unpack(archive: str, folder: str, keep_fds: t.Sequence[int]) -> None:
    """Unpack a compressed tar into the new *folder*, owners and extended attributes as in the archive, without device nodes."""
    os.mkdir(folder, mode=0o700)
    # LXC gives every container a /dev of its own.
    argv = [
        "tar",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--exclude=./dev/*",
        "--exclude=dev/*",
        "-xpf",
        archive,
        "-C",
        folder,
    ]
    command.run(argv, keep_fds=keep_fds)


def shift(folder: str, root: tuple[int, int]) -> None:
    """Add *root* (uid, gid) to every owner below and of *folder*, hard links once.

    A change of owner makes the kernel drop setuid bits and file capabilities: both are put back, the capabilities in the
    form that counts only for the user namespace of *root*.
    """
    seen: set[tuple[int, int]] = set()
    _shift_entry(folder, os.lstat(folder), root)
    stack = [folder]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    identity = (status.st_dev, status.st_ino)
                    if identity in seen:
                        continue
                    seen.add(identity)
                _shift_entry(entry.path, status, root)
                if stat.S_ISDIR(status.st_mode):
                    stack.append(entry.path)


def _shift_entry(path: str, status: os.stat_result, root: tuple[int, int]) -> None:
    is_link = stat.S_ISLNK(status.st_mode)
    attributes = {} if is_link else _attributes(path)
    os.lchown(path, status.st_uid + root[0], status.st_gid + root[1])
    if is_link:
        return
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        os.chmod(path, stat.S_IMODE(status.st_mode))
    for name, value in attributes.items():
        os.setxattr(path, name, shift_capability(value, root[0]) if name == _CAPABILITY else shift_acl(value, root))


def _attributes(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {
        name: os.getxattr(path, name, follow_symlinks=False) for name in names if name == _CAPABILITY or name in _ACLS
    }


def shift_capability(value: bytes, root_uid: int) -> bytes:
    """The attribute ``security.capability`` in its third revision, for the user namespace whose root is *root_uid*."""
    (magic,) = struct.unpack_from("<I", value)
    return (
        struct.pack("<I", _VFS_CAP_REVISION_3 | (magic & _VFS_CAP_EFFECTIVE))
        + value[4:20]
        + struct.pack("<I", root_uid)
    )


def shift_acl(value: bytes, root: tuple[int, int]) -> bytes:
    """A POSIX ACL whose named users and groups are shifted."""
    shifted = bytearray(value)
    for offset in range(4, len(value) - 7, 8):
        tag, dummy, identity = struct.unpack_from("<HHI", value, offset)
        if tag in (_ACL_USER, _ACL_GROUP):
            struct.pack_into("<I", shifted, offset + 4, identity + root[0 if tag == _ACL_USER else 1])
    return bytes(shifted)


def put(attempt: str, path: str) -> None:
    """The finished *attempt* stands at *path* from now on."""
    os.chmod(attempt, 0o755)
    os.rename(attempt, path)
    sync_folder(os.path.dirname(path))


def remove(path: str) -> None:
    """Take *path* away: first out of its place, then off the disk."""
    with contextlib.suppress(FileNotFoundError):
        gone = attempt_path(path).removesuffix(".new") + ".gone"
        os.rename(path, gone)
    remove_left_overs(path)


def remove_left_overs(path: str) -> None:
    for left in left_overs(path):
        shutil.rmtree(left)
