# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The image store: one folder per image, whole or not there. What guests use of an image is in this file alone."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import typing as t

from .._core import atomic, paths, record
from .._core.errors import ApplyError, MissingRequirement
from .._storage.mounts import mounts_in
from .state import StoredImage

FILES = {"container": "root.tar.zst", "vm": "disk.qcow2"}
FORMATS = {"container": "tar.zst", "vm": "qcow2"}
# No image can have this name: names begin with a letter or digit.
_ATTEMPTS = os.path.join(paths.IMAGES, ".attempts")
_LONGEST_CHAIN = 16
# What qcow2 permits. A guest writes what it likes to the beginning of a raw disk.
_LONGEST_NAME = 1023


def find(name: str) -> StoredImage:
    """The image *name*.

    :raises MissingRequirement: when there is none, or when it is not finished.
    """
    image = stored(record.load("images", name))
    if image is None:
        raise MissingRequirement(
            f"there is no image {name}. Make it with homelab.hybrid.image", missing=[f"image {name}"]
        )
    return image


def stored(image: record.Record) -> StoredImage | None:
    """The image of a record; ``None`` while it does not stand."""
    data = image.data
    if not image.exists or image.is_building or not os.path.isfile(data.get("path", "")):
        return None
    return StoredImage(image.name, data["kind"], data["format"], data["path"], data["size_bytes"], data["digest"])


def folder_of(name: str) -> str:
    """The folder of the image *name*, which QEMU's user can pass through."""
    return os.path.join(paths.IMAGES, name)


def file_of(name: str, kind: str) -> str:
    return os.path.join(folder_of(name), FILES[kind])


def has_folder(name: str) -> bool:
    return os.path.lexists(folder_of(name))


def begin_attempt(name: str) -> str:
    """A new folder for one attempt at the image *name*, on the file system of the store."""
    for folder in (paths.STATE, paths.IMAGES):
        os.makedirs(folder, exist_ok=True)
        # A strict umask of whoever made them would keep QEMU's user away from the disks.
        os.chmod(folder, os.stat(folder).st_mode & 0o7777 | 0o711)
    attempts = os.path.join(_ATTEMPTS, name)
    os.makedirs(attempts, mode=0o700, exist_ok=True)
    return tempfile.mkdtemp(dir=attempts)


def has_left_overs(name: str) -> bool:
    """Whether an attempt at the image *name*, or its removal, was interrupted."""
    return os.path.isdir(os.path.join(_ATTEMPTS, name))


def remove_left_overs(name: str) -> None:
    """Remove what earlier attempts at the image *name* left. Only under its lock: none is at work then.

    :raises ApplyError: when something is mounted there, whose content is not ours.
    """
    folder = os.path.join(_ATTEMPTS, name)
    mounts = mounts_in(folder)
    if mounts:
        raise ApplyError(
            f"{', '.join(mounts)} is mounted in what an earlier attempt left of the image {name}; unmount it first"
        )
    shutil.rmtree(folder, ignore_errors=True)


def publish(attempt: str, name: str, kind: str) -> None:
    """Give a finished attempt the image's name, in one step and safe against a power cut."""
    file = os.path.join(attempt, FILES[kind])
    with open(file, "rb") as stream:
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    os.chmod(attempt, 0o711)
    atomic.sync_folder(attempt)
    os.rename(attempt, folder_of(name))
    os.rmdir(os.path.dirname(attempt))
    atomic.sync_folder(paths.IMAGES)


def withdraw(name: str) -> None:
    """Take the image's folder out of the store, in one step; what is left to delete has no image's name any more."""
    if has_folder(name):
        os.rename(folder_of(name), os.path.join(begin_attempt(name), "withdrawn"))


def stands_on(path: str, folder: str) -> bool:
    """Whether the file *path* or one that it is backed by lies below *folder*."""
    return any(file.startswith(folder + "/") for file in chain_of(path))


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
