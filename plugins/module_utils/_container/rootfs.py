# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The owners in the root of a container, shifted on disk to the ids that it is mapped to."""

from __future__ import annotations

import os
import stat
import struct

_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_VFS_CAP_REVISION_3 = 0x03000000
_VFS_CAP_EFFECTIVE = 0x1
_ACL_USER, _ACL_GROUP = 0x02, 0x08


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
