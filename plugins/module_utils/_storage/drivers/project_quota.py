# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The size of a folder by the project quota of ext4 or XFS."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import struct

from ..._core.errors import ApplyError
from ..._host import mounts
from ..volume import Limit, Volume

_ENFORCED = frozenset(("prjquota", "pquota"))
_WAYS = {
    "ext4": "tune2fs -O quota,project while it is not mounted, and the mount option prjquota",
    "xfs": "the mount option prjquota",
}
# include/uapi/linux/fs.h: xflags, extsize, nextents, projid, cowextsize
_FSXATTR = struct.Struct("5I8x")
_FS_IOC_FSGETXATTR, _FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
_PROJECT_IS_INHERITED = 0x200
# Linux 5.14, the same number on every architecture. It asks for no device: that of a root is often called /dev/root.
_SYS_QUOTACTL_FD = 443
_GET, _SET, _PROJECTS = 0x800007, 0x800008, 2
# include/uapi/linux/quota.h, if_dqblk: hard and soft limit in KiB, bytes in use, three of inodes, two times, what is valid
_DQBLK = struct.Struct("8QI4x")
_LIMITS_ARE_VALID = 1
_KIB = 1024


def obstacle(pool: str, path: str) -> str | None:
    """Why no folder below *path* can have a size, and what permits it; ``None`` where the file system enforces project quotas."""
    mount = mounts.mount_of(path)
    if mount.type in _WAYS and mount.options & _ENFORCED:
        return None
    place = f"lies on {mount.type} at {mount.point}"
    where = f"the storage pool {pool} of type dir {place}, which enforces no project quotas"
    if mount.type in _WAYS:
        return f"{where}. It takes {_WAYS[mount.type]}; or a pool of type btrfs"
    return f"{where}. It takes a pool of type btrfs, or a folder on ext4 or XFS that is mounted with prjquota"


def read_limit(path: str) -> Limit:
    """The bytes that the folder *path* may take, and takes."""
    if not mounts.mount_of(path).options & _ENFORCED:
        return Limit()
    project = _project_at(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        quota = bytearray(_DQBLK.size)
        if not project or not _quotactl(descriptor, _GET, project, quota):
            return Limit()
    finally:
        os.close(descriptor)
    hard, dummy, used, *_rest = _DQBLK.unpack(quota)
    return Limit(hard * _KIB or None, used=used)


def set_limit(path: str, volume: Volume, size: int | None) -> None:
    """Let the folder *path* with all that is in it take *size* bytes.

    :raises ApplyError: when the file system keeps no such quota.
    """
    project = _project_of(volume)
    if read_limit(path).size is None:
        _bring_in(path, project)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        quota = bytearray(_DQBLK.pack(-(-(size or 0) // _KIB), 0, 0, 0, 0, 0, 0, 0, _LIMITS_ARE_VALID))
        if not _quotactl(descriptor, _SET, project, quota):
            raise ApplyError(f"{volume}: the file system keeps no quota of the project {project}")
    finally:
        os.close(descriptor)


def leave(path: str) -> None:
    """Make the folder *path* and what is in it parts of no project, so that nothing of it counts for the volume that it was."""
    if mounts.mount_of(path).type in _WAYS and _project_at(path):
        _bring_in(path, 0)


def _project_at(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return int(_FSXATTR.unpack(fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))[3])
    finally:
        os.close(descriptor)


def _bring_in(folder: str, project: int) -> None:
    """Make *folder* and what is in it parts of *project*, or with 0 of none; what is made in its folders later is from birth.

    No call reaches the project of what is neither a file nor a folder before Linux 6.17; it takes next to nothing. Other file
    systems are left. The guest may run, and remove what was just seen.
    """
    device = os.stat(folder).st_dev
    for dummy, folders, names, descriptor in os.fwalk(folder):
        _mark(descriptor, project)
        folders[:] = [name for name in folders if _is_on(device, name, descriptor)]
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    _mark_file(name, descriptor, project)


def _is_on(device: int, name: str, folder: int) -> bool:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_dev == device
    except FileNotFoundError:
        return False


def _mark_file(name: str, folder: int, project: int) -> None:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        _mark(file, project)
    finally:
        os.close(file)


def _mark(descriptor: int, project: int) -> None:
    xflags, extsize, extents, dummy, cowextsize = _FSXATTR.unpack(
        fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    )
    is_inherited = bool(project) and stat.S_ISDIR(os.fstat(descriptor).st_mode)
    flags = xflags & ~_PROJECT_IS_INHERITED | (_PROJECT_IS_INHERITED if is_inherited else 0)
    attributes = _FSXATTR.pack(flags, extsize, extents, project, cowextsize)
    fcntl.ioctl(descriptor, _FS_IOC_FSSETXATTR, attributes)


def _project_of(volume: Volume) -> int:
    """A number that only this volume has, as far as two of 2^31 differ. The first 65536 are left to the administrator."""
    digest = int.from_bytes(hashlib.sha256(str(volume).encode()).digest()[:4], "big") & 0x7FFFFFFF
    return max(digest, 0x10000)


def _quotactl(descriptor: int, verb: int, project: int, quota: bytearray) -> bool:
    """Ask the kernel for a quota, or give it one. Returns whether the file system has one of this project."""
    buffer = (ctypes.c_char * len(quota)).from_buffer(quota)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SYS_QUOTACTL_FD, descriptor, verb << 8 | _PROJECTS, project, ctypes.byref(buffer)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ESRCH, errno.ENOENT):
        return False
    raise OSError(number, os.strerror(number))
