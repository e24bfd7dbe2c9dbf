# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The files of a virtual machine: volumes and the seed. Whole under their final name, or not there."""

from __future__ import annotations

import os
import time
import typing as t

from .._core import atomic, command, libraries
from .._core.converge import Work
from .._core.errors import ApplyError
from .._image.store import find

# No guest and no disk can have it in its name: the names of two guests cannot be taken for one another.
_MARK = "+"
_REFRESHES = 10


def make_volume(work: Work, guest: str, disk: str, path: str, values: t.Mapping[str, t.Any]) -> None:
    """Make an empty disk, or one that stands on an image. *values* are the keys of the disk, size in bytes or ``None``.

    :raises ApplyError, CommandError:
    """
    temporary = _temporary(guest, disk, path)
    image = find(values["image"]).path if values.get("image") else None
    try:
        _fill(temporary, image, values, work.held.fds)
    except Exception:
        # A disk that did not fit would keep its pool full.
        atomic.remove_file(temporary)
        raise
    os.chmod(temporary, 0o600)
    _publish(temporary, path)


def _fill(temporary: str, image: str | None, values: t.Mapping[str, t.Any], keep: tuple[int, ...]) -> None:
    size = [str(values["size"])] if values.get("size") else []
    if image is None:
        command.run(["qemu-img", "create", "-q", "-f", values["format"], temporary, *size], keep_fds=keep)
    elif values["format"] == "qcow2":
        backing = ["-b", image, "-F", "qcow2"]
        command.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, temporary, *size], keep_fds=keep)
    else:
        command.run(["qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", image, temporary], keep_fds=keep)
        if size:
            command.run(["qemu-img", "resize", "-q", "-f", "raw", temporary, *size], keep_fds=keep)


def write_seed(guest: str, path: str, data: bytes) -> None:
    """Put the seed in its place. It may hold secrets: libvirt gives it to QEMU's user while the machine runs."""
    remove_left_overs(guest, path)
    atomic.write_file(path, data, mode=0o600)


def grow(work: Work, path: str, format_: str, size: int) -> None:
    """Make the disk of a machine that does not run larger."""
    command.run(["qemu-img", "resize", "-q", "-f", format_, path, str(size)], keep_fds=work.held.fds)


def remove_volume(path: str) -> None:
    atomic.remove_file(path)


def remove_left_overs(guest: str, path: str) -> None:
    """What attempts that were killed left beside *path*. Only under the guest's lock: none is at work then."""
    for left in atomic.left_overs(os.path.dirname(path), f".new{_MARK}{guest}{_MARK}"):
        atomic.remove_file(left)


def refresh(work: Work, paths: t.Iterable[str]) -> None:
    """Let libvirt's pools see what was made or removed at *paths*."""
    library = libraries.libvirt()
    folders = {os.path.dirname(path) for path in paths}
    for pool in work.host.pools.values():
        if pool.path not in folders or not pool.is_active:
            continue
        for dummy in range(_REFRESHES):
            try:
                pool.handle.refresh(0)
                break
            except library.libvirtError:
                # Another run is at work in it; that one's refresh may have come before our file.
                time.sleep(0.1)


def _temporary(guest: str, disk: str, path: str) -> str:
    remove_left_overs(guest, path)
    return os.path.join(os.path.dirname(path), f".new{_MARK}{guest}{_MARK}{disk}{_MARK}{os.getpid()}")


def _publish(temporary: str, path: str) -> None:
    try:
        # Unlike a rename it never replaces what came there meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        raise ApplyError(f"{path} is there by now, and was not when the run began") from None
    finally:
        atomic.remove_file(temporary)
    atomic.sync_folder(os.path.dirname(path))
