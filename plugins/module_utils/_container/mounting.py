# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Mounts inside a running container: bind mounts of folders of the host, which only system calls can move there. And the program for those
that liblxc cannot make at a start.
"""

from __future__ import annotations

import io
import os
import types
import typing as t
import zipfile

from .._core import atomic
from .._core.errors import ApplyError
from . import binding, mapping
from .config import MOUNT_PROGRAM
from .namespaces import in_namespaces

_MNT_DETACH = 2
_PACKAGE = "bind_mount"
_MAIN = f"from {_PACKAGE}.binding import main\n\nmain()\n"


def lay_down() -> None:
    """Put the program where configurations name it: one file that is whole or not there, which Python runs."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        files = {f"{_PACKAGE}/__init__.py": "", "__main__.py": _MAIN}
        for module in (mapping, binding):
            files[f"{_PACKAGE}/{module.__name__.rpartition('.')[2]}.py"] = _source_of(module)
        for name, text in files.items():
            # Without a date of its own the same text is the same file.
            archive.writestr(zipfile.ZipInfo(name), text)
    content = b"#!/usr/bin/python3 -I\n" + stream.getvalue()
    if _read(MOUNT_PROGRAM) != content or not os.access(MOUNT_PROGRAM, os.X_OK):
        atomic.write_file(MOUNT_PROGRAM, content, mode=0o755)


def _source_of(module: types.ModuleType) -> str:
    """Also where it comes out of an archive, as Ansible sends it."""
    loader: t.Any = module.__loader__
    text: str = loader.get_source(module.__name__)
    return text


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""


def mount(pid: int, source: str, path: str, options: t.Collection[str]) -> None:
    """Bind *source* of the host to *path* inside the running container; what is missing of the path is made for root inside.

    :raises ApplyError:
    """
    try:
        with binding.detached(pid, source, options) as parts:
            is_folder, root = os.path.isdir(source), binding.root_of(pid)

            def attach() -> None:
                try:
                    binding.attach(parts, path, is_folder=is_folder, root=root)
                except OSError as exc:
                    raise ApplyError(exc.strerror or str(exc)) from exc

            in_namespaces(pid, ("mnt",), attach)
    except OSError as exc:
        raise ApplyError(
            f"{source} could not be mounted at {path} of the running container: {exc.strerror or exc}"
        ) from exc


def unmount(pid: int, path: str) -> None:
    """Take the mount at *path* away; a program that has a file of it open keeps that.

    :raises ApplyError:
    """
    in_namespaces(
        pid, ("mnt",), lambda: mapping.checked(mapping.libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}")
    )
