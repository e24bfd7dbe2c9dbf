# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Files that the disks of virtual machines stand on: the backing files of qcow2. Only reads."""

from __future__ import annotations

import os
import struct
import typing as t

_LONGEST_CHAIN = 16
# What qcow2 permits. A guest writes what it likes to the beginning of a raw disk.
_LONGEST_NAME = 1023


def chain_of(path: str) -> t.Iterator[str]:
    """The file *path*, and those that it is backed by."""
    for dummy in range(_LONGEST_CHAIN):
        yield path
        backing = backing_file(path)
        if backing is None:
            return
        path = os.path.normpath(os.path.join(os.path.dirname(path), backing.removeprefix("file:")))


def backing_file(path: str) -> str | None:
    """The backing file that the header of a qcow2 file names; ``None`` for every other file."""
    try:
        with open(path, "rb") as stream:
            header = stream.read(20)
            if len(header) < 20 or header[:4] != b"QFI\xfb":
                return None
            offset, size = struct.unpack(">QI", header[8:20])
            if not offset:
                return None
            stream.seek(offset)
            return stream.read(min(size, _LONGEST_NAME)).decode(errors="surrogateescape")
    except (OSError, OverflowError, ValueError):
        return None
