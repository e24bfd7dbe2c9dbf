# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print, a line each, what the file systems of a guest cannot do: ``probe.py '{"handles": [FOLDER...], "copies": [[FOLDER, VERSIONS]...]}'``.

Of folders that are not there yet the one above them is asked. Nothing is left behind.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import sys
from pathlib import Path

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
HANDLE_BYTES = 128
FICLONE = 0x40049409
NO_HANDLES = (
    "NFS-Ganesha opens files by their handles, which this guest may not: it is a container. Make it a virtual machine (guest_kind: vm), "
    "or serve SMB alone (nas_share_nfs: false)"
)


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * HANDLE_BYTES)]


def existing(path: str) -> str:
    found = Path(path)
    while not found.is_dir():
        found = found.parent
    return str(found)


def handles(folder: str) -> str:
    """Why a file of *folder* cannot be opened by its handle; nothing where it can."""
    libc = ctypes.CDLL(None, use_errno=True)
    mount = os.open(existing(folder), os.O_RDONLY | os.O_DIRECTORY)
    handle, number = Handle(bytes=HANDLE_BYTES), ctypes.c_int()
    try:
        file = os.open(existing(folder), os.O_RDWR | os.O_TMPFILE, 0o600)
    except OSError:
        # One that nobody writes to, or that knows no files without a name: a folder has a handle too.
        file = mount
    if libc.name_to_handle_at(file, b"", ctypes.byref(handle), ctypes.byref(number), AT_EMPTY_PATH) != 0:
        return f"the file system of {folder} has no handles of files, by which NFS-Ganesha opens them"
    # An inode without a name has no way back from its handle on some file systems: that it is not found says that one may ask.
    if libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY) < 0 and ctypes.get_errno() == errno.EPERM:
        return NO_HANDLES
    return ""


def copies(folder: str, versions: str) -> str:
    """Why versions of *folder* cannot share its blocks; nothing where they can."""
    places = [existing(folder), existing(versions)]
    try:
        source, target = (os.open(place, os.O_RDWR | os.O_TMPFILE, 0o600) for place in places)
        os.write(source, b"x" * 4096)
        fcntl.ioctl(target, FICLONE, source)
    except OSError as exc:
        reason = "they lie on two file systems" if exc.errno == errno.EXDEV else exc.strerror
        return (
            f"versions of {folder} cannot share their blocks with it in {versions} ({reason}), which needs one btrfs or XFS. Say another "
            "versions.folder, or in versions.format the names of snapshots that others make"
        )
    return ""


def main() -> int:
    asked = json.loads(sys.argv[1])
    found = [handles(folder) for folder in asked["handles"]] + [copies(*each) for each in asked["copies"]]
    sys.stdout.writelines(f"{sentence}\n" for sentence in dict.fromkeys(filter(None, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
