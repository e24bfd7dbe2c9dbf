# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The image store: one folder per image, whole or not there. What guests use of an image is in this file alone."""

from __future__ import annotations

import os
import typing as t

from .._core import paths, record
from .._core.errors import MissingRequirement
from .._host.backing import chain_of
from .record import ImageRecord
from .state import StoredImage

FILES = {"container": "root.tar.zst", "vm": "disk.qcow2", "iso": "media.iso"}
FORMATS = {"container": "tar.zst", "vm": "qcow2", "iso": "iso"}
# No image can have this name: names begin with a letter or digit.
ATTEMPTS = os.path.join(paths.IMAGES, ".attempts")


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
    its = ImageRecord.load(image.data)
    if its.is_building or its.path is None or not os.path.isfile(its.path):
        return None
    return StoredImage(
        image.name,
        t.cast(str, its.kind),
        t.cast(str, its.format),
        its.path,
        t.cast(int, its.size_bytes),
        t.cast(str, its.digest),
        largest_id=its.largest_id or 0,
        presets=its.presets,
    )


def folder_of(name: str) -> str:
    """The folder of the image *name*, which QEMU's user can pass through."""
    return os.path.join(paths.IMAGES, name)


def file_of(name: str, kind: str) -> str:
    return os.path.join(folder_of(name), FILES[kind])


def has_folder(name: str) -> bool:
    return os.path.lexists(folder_of(name))


def has_left_overs(name: str) -> bool:
    """Whether an attempt at the image *name*, or its removal, was interrupted."""
    return os.path.isdir(os.path.join(ATTEMPTS, name))


def stands_on(path: str, folder: str) -> bool:
    """Whether the file *path* or one that it is backed by lies below *folder*."""
    return any(file.startswith(folder + "/") for file in chain_of(path))
