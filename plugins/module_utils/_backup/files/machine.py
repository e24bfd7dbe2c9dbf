# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Brings single files out of the disks of a virtual machine, with the owners, modes and attributes that they have inside."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ..._core import command
from ..repository import Repository
from . import guestfish, inner
from .inner import Inner
from .state import FilesState

_TAR = [
    "tar",
    "--extract",
    "--file",
    "-",
    "--numeric-owner",
    "--same-permissions",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
]


def bring(state: FilesState, repository: Repository, folder: str, fds: t.Sequence[int]) -> None:
    """Bring what *state* has found into *folder*, which is there, under its whole paths.

    :raises CommandError, ObserveError, OSError:
    """
    paths = inner.outermost(state.found)
    made = [path for path in state.above if any(other.startswith(f"{path}/") for other in paths)]
    for path in made:
        os.mkdir(folder + path, mode=0o700)
    files = [path for path in paths if not state.found[path].is_folder]
    asked = [state.found[path] for path in files]
    with repository.opened() as opened, contextlib.ExitStack() as sinks:
        ask = guestfish.asking(opened, state.chosen.id, state.disks)
        lines, descriptors = [], []
        for path in paths:
            sink = _sink(state.found[path], folder + path, sinks, fds)
            if sink is not None:
                lines.append(inner.content(state.found[path], sink))
                descriptors.append(sink)
        told = ask([*lines, *inner.attributes(asked)], [*descriptors, *fds])
    for path, its, values in zip(files, asked, inner.values(told, asked), strict=True):
        _finish(its, folder + path, values)
    for path in reversed(made):
        _finish(state.above[path], folder + path, {})


def _sink(its: Inner, place: str, sinks: contextlib.ExitStack, fds: t.Sequence[int]) -> int | None:
    """What takes in the content of *its* until *sinks* is left; ``None`` where it has none, and is made at once."""
    if its.is_folder:
        os.mkdir(place, mode=0o700)
        return sinks.enter_context(command.writing([*_TAR, "--directory", place], keep_fds=fds)).fileno()
    if stat.S_ISREG(its.mode):
        return sinks.enter_context(open(place, "xb", opener=_for_root)).fileno()
    if stat.S_ISLNK(its.mode):
        os.symlink(its.target, place)
    else:
        os.mknod(place, its.mode, its.device)
    return None


def _for_root(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _finish(its: Inner, place: str, attributes: t.Mapping[str, bytes]) -> None:
    # Another owner takes capabilities and the setuid bit away.
    os.chown(place, its.uid, its.gid, follow_symlinks=False)
    if not stat.S_ISLNK(its.mode):
        os.chmod(place, stat.S_IMODE(its.mode))
    for name, value in attributes.items():
        os.setxattr(place, name, value, follow_symlinks=False)
    os.utime(place, ns=(its.modified_ns, its.modified_ns), follow_symlinks=False)
