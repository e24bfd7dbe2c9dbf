# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Mounts inside a running container: bind mounts of folders of the host, which only system calls can move there."""

from __future__ import annotations

import ctypes
import os
import stat
import typing as t

from .._core.errors import ApplyError
from .idmap import root_of
from .mapping import clone_of, make_readonly, map_owners
from .namespaces import checked, in_namespaces

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_MOVE_MOUNT = 429
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MNT_DETACH = 2


def mount(pid: int, source: str, path: str, *, is_readonly: bool, is_mapped: bool, idmap: t.Sequence[str]) -> None:
    """Bind *source* of the host to *path* inside the running container; what is missing of the path is made for root inside.

    :raises ApplyError:
    """
    try:
        with clone_of(source) as tree:
            if is_mapped:
                with open(f"/proc/{pid}/ns/user", "rb") as namespace:
                    # An idmapping counts for one mount; liblxc applies it to the uppermost only, too.
                    map_owners(tree, namespace.fileno())
            if is_readonly:
                make_readonly(tree)
            _move(pid, tree, source, path, root_of(idmap) or (0, 0))
    except OSError as exc:
        raise ApplyError(
            f"{source} could not be mounted at {path} of the running container: {exc.strerror or exc}"
        ) from exc


def _move(pid: int, tree: int, source: str, path: str, root: tuple[int, int]) -> None:
    is_folder = os.path.isdir(source)

    def do() -> None:
        _make_target(path, root, is_folder)
        checked(
            _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH),
            f"mount {source} at {path}",
        )

    in_namespaces(pid, ("mnt",), do)


def _make_target(path: str, root: tuple[int, int], is_folder: bool) -> None:
    parts = [part for part in path.split("/") if part]
    for length in range(1, len(parts) + 1):
        place = "/" + "/".join(parts[:length])
        if os.path.lexists(place):
            continue
        if length < len(parts) or is_folder:
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        os.chown(place, *root, follow_symlinks=False)
    if stat.S_ISDIR(os.stat(path).st_mode) != is_folder:
        raise ApplyError(f"{path} is {'no' if is_folder else 'a'} folder inside the container")


def unmount(pid: int, path: str) -> None:
    """Take the mount at *path* away; a program that has a file of it open keeps that.

    :raises ApplyError:
    """
    in_namespaces(pid, ("mnt",), lambda: checked(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}"))
