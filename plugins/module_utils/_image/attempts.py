# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Attempts at an image: begun beside the store, published into it, withdrawn from it, and what is left of them removed."""

from __future__ import annotations

import os
import tempfile

from .._core import atomic, paths
from .._core.errors import ApplyError
from .._core.removal import remove_tree
from .._host.mounts import mounts_in
from . import store


def begin(name: str) -> str:
    """A new folder for one attempt at the image *name*, on the file system of the store."""
    for folder in (paths.STATE, paths.IMAGES):
        os.makedirs(folder, exist_ok=True)
        # A strict umask of whoever made them would keep QEMU's user away from the disks.
        os.chmod(folder, os.stat(folder).st_mode & 0o7777 | 0o711)
    attempts = os.path.join(store.ATTEMPTS, name)
    os.makedirs(attempts, mode=0o700, exist_ok=True)
    return tempfile.mkdtemp(dir=attempts)


def remove_left_overs(name: str) -> None:
    """Remove what earlier attempts at the image *name* left. Only under its lock: none is at work then.

    :raises ApplyError: when something is mounted there, whose content is not ours.
    """
    folder = os.path.join(store.ATTEMPTS, name)
    mounts = mounts_in(folder)
    if mounts:
        raise ApplyError(
            f"{', '.join(mounts)} is mounted in what an earlier attempt left of the image {name}; unmount it first"
        )
    if os.path.isdir(folder):
        remove_tree(folder)


def publish(attempt: str, name: str, kind: str) -> None:
    """Give a finished attempt the image's name, in one step and safe against a power cut."""
    file = os.path.join(attempt, store.FILES[kind])
    with open(file, "rb") as stream:
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    os.chmod(attempt, 0o711)
    atomic.sync_folder(attempt)
    os.rename(attempt, store.folder_of(name))
    os.rmdir(os.path.dirname(attempt))
    atomic.sync_folder(paths.IMAGES)


def withdraw(name: str) -> None:
    """Take the image's folder out of the store, in one step; what is left to delete has no image's name any more."""
    if store.has_folder(name):
        os.rename(store.folder_of(name), os.path.join(begin(name), "withdrawn"))
