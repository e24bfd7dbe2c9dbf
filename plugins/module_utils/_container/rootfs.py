# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The owners in the root of a container, shifted on disk to the ids that it is mapped to, from those of an image or of a container."""

from __future__ import annotations

import os
import stat
import struct
import typing as t

_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_VFS_CAP_REVISION = 0xFF000000
_VFS_CAP_REVISION_3 = 0x03000000
_VFS_CAP_EFFECTIVE = 0x1
_ACL_USER, _ACL_GROUP = 0x02, 0x08


class Shift(t.NamedTuple):
    """What is added to a *uid* and to a *gid*, of those ids alone that are among *ids* (first, count), where these are said."""

    uid: int
    gid: int
    ids: tuple[int, int] | None = None

    def user(self, uid: int) -> int:
        return uid + self.uid if self._concerns(uid) else uid

    def group(self, gid: int) -> int:
        return gid + self.gid if self._concerns(gid) else gid

    def _concerns(self, number: int) -> bool:
        return self.ids is None or self.ids[0] <= number < self.ids[0] + self.ids[1]


def shift(folder: str, by: Shift) -> None:
    """Shift every owner below and of *folder*, which may be a file, hard links once.

    A change of owner makes the kernel drop setuid bits and file capabilities: both are put back, the capabilities in the
    form that counts only for the user namespace of the root that it has then.
    """
    seen: set[tuple[int, int]] = set()
    _shift_entry(folder, os.lstat(folder), by)
    stack = [folder] if stat.S_ISDIR(os.lstat(folder).st_mode) else []
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    identity = (status.st_dev, status.st_ino)
                    if identity in seen:
                        continue
                    seen.add(identity)
                _shift_entry(entry.path, status, by)
                if stat.S_ISDIR(status.st_mode):
                    stack.append(entry.path)


def _shift_entry(path: str, status: os.stat_result, by: Shift) -> None:
    is_link = stat.S_ISLNK(status.st_mode)
    attributes = {} if is_link else _attributes(path)
    os.lchown(path, by.user(status.st_uid), by.group(status.st_gid))
    if is_link:
        return
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        os.chmod(path, stat.S_IMODE(status.st_mode))
    for name, value in attributes.items():
        os.setxattr(path, name, shift_capability(value, by) if name == _CAPABILITY else shift_acl(value, by))


def _attributes(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {
        name: os.getxattr(path, name, follow_symlinks=False) for name in names if name == _CAPABILITY or name in _ACLS
    }


def shift_capability(value: bytes, by: Shift) -> bytes:
    """The attribute ``security.capability`` in its third revision, for the user namespace of the root that it has then.

    One in an image counts for the root that there is. One of an earlier revision in a container is of the root of the host, and stays so.
    """
    (magic,) = struct.unpack_from("<I", value)
    if by.ids and magic & _VFS_CAP_REVISION != _VFS_CAP_REVISION_3:
        return value
    root_uid = by.user(struct.unpack_from("<I", value, 20)[0]) if by.ids else by.uid
    return (
        struct.pack("<I", _VFS_CAP_REVISION_3 | (magic & _VFS_CAP_EFFECTIVE))
        + value[4:20]
        + struct.pack("<I", root_uid)
    )


def shift_acl(value: bytes, by: Shift) -> bytes:
    """A POSIX ACL whose named users and groups are shifted."""
    shifted = bytearray(value)
    for offset in range(4, len(value) - 7, 8):
        tag, dummy, identity = struct.unpack_from("<HHI", value, offset)
        if tag in (_ACL_USER, _ACL_GROUP):
            struct.pack_into("<I", shifted, offset + 4, by.user(identity) if tag == _ACL_USER else by.group(identity))
    return bytes(shifted)
