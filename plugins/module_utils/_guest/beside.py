# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What a snapshot of a machine has beside its volumes, files and folders in a folder of its own. Each is whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from .._core import atomic, paths
from .._core.removal import remove_tree

# swtpm locks its folder while it runs.
_LOCKS = shutil.ignore_patterns(".lock")


def make_folder(guest: str, name: str) -> None:
    """Make the folder of the snapshot *name* anew: what is in it is for the administrator alone, as the guest's memory is."""
    remove(guest, name)
    os.makedirs(paths.snapshot_folder(guest, name), mode=0o700)
    os.chmod(paths.SNAPSHOTS, 0o700)


def keep(source: str, target: str) -> None:
    """Copy the file or folder *source* to *target*, unless that is there or *source* is not."""
    if not os.path.lexists(target) and os.path.lexists(source):
        put(source, target)


def put(source: str, target: str) -> None:
    """Make *target* what *source* is, with its owners; what is there goes."""
    beside = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.new")
    _remove(beside)
    if os.path.isdir(source):
        shutil.copytree(source, beside, symlinks=True, ignore=_LOCKS)
    else:
        shutil.copy2(source, beside, follow_symlinks=False)
    for path in _inside(beside):
        _own_as(source + path.removeprefix(beside), path)
    if os.path.isdir(target):
        _remove(target)
    os.replace(beside, target)
    atomic.sync_folder(os.path.dirname(target))


def remove(guest: str, name: str) -> None:
    """Remove all of it that is there of the snapshot *name*."""
    folder = paths.snapshot_folder(guest, name)
    _remove(folder)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(folder))  # the last one of its guest


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        atomic.remove_file(path)


def _inside(path: str) -> t.Iterator[str]:
    """*path* and, of a folder, all that is in it."""
    yield path
    for folder, names, files in os.walk(path):
        yield from (os.path.join(folder, name) for name in (*names, *files))


def _own_as(source: str, path: str) -> None:
    status = os.lstat(source)
    os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    if not os.path.islink(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
