# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a path leads to, whatever it is called: links, bind mounts and other names of a device lead to the same thing. Only reads."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .._core import atomic
from . import remote

# A device by its number, or a file or folder by its file system and inode, or a path that leads to nothing yet.
Identity = t.Union[tuple[str, int, int], tuple[str, str]]  # noqa: UP007  # the Python 3.9 of ansible-test has no | of types

_DEVICE = re.compile(r"/dev/block/(\d+):(\d+)")
_OF_KERNEL = "/sys/dev/block"


def identity(path: str) -> Identity:
    """What tells that which *path* leads to from everything else of this host."""
    number = _DEVICE.fullmatch(path)
    if number:
        return "device", int(number[1]), int(number[2])
    # What lies on a server that does not answer is known by its name alone.
    if remote.away(path) is not None:
        return "path", path
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "path", os.path.realpath(path)
    if stat.S_ISBLK(status.st_mode):
        return "device", os.major(status.st_rdev), os.minor(status.st_rdev)
    return "inode", status.st_dev, status.st_ino


def same(one: str, other: str) -> bool:
    """Whether both lead to the same file, folder or block device."""
    return one == other or identity(one) == identity(other)


def above(path: str, known: dict[str, frozenset[Identity]]) -> frozenset[Identity]:
    """What *path* leads to, and the folders that it lies in. *known* keeps what was found of folders."""
    found = known.get(path)
    if found is None:
        real = os.path.realpath(path) if remote.away(path) is None and os.path.islink(path) else path
        parent = os.path.dirname(path)
        found = frozenset((identity(path),))
        if real != path:
            found |= above(real, known)
        elif parent != path:
            found |= above(parent, known)
        known[path] = found
    return found


def related(path: str) -> frozenset[Identity]:
    """What *path* leads to; of a block device its partitions too, and of a partition the disk."""
    own = identity(path)
    if own[0] != "device":
        return frozenset((own,))
    folder = os.path.realpath(f"{_OF_KERNEL}/{':'.join(str(number) for number in own[1:])}")
    parts = [_number(os.path.join(folder, name)) for name in _subfolders(folder) if _is_partition(folder, name)]
    disk = _number(os.path.dirname(folder)) if _is_partition(folder, "") else None
    return frozenset([own, *(number for number in [*parts, disk] if number)])


def _subfolders(folder: str) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.is_dir()] if os.path.isdir(folder) else []


def _is_partition(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "partition"))


def _number(folder: str) -> Identity | None:
    major, dummy, minor = (atomic.read_text(f"{folder}/dev") or "").strip().partition(":")
    return ("device", int(major), int(minor)) if minor.isdecimal() and major.isdecimal() else None
