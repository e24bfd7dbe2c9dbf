# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""An image from a file of this host: what it is, whether it can be used, and its copy in the store."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import typing as t

from .._core import command
from .._core.errors import ApplyError, SpecError, shorten
from .._host.backing import backing_file
from .state import SourceFile

_TAR_MAGICS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz"}
_QCOW2 = b"QFI\xfb"
_BLOCK = 4096
_ALLOWED = {
    "container": "a root file system as tar, tar.gz, tar.xz or tar.zst",
    "vm": "a disk as qcow2, or as raw with a partition table",
}


def look(path: str, kind: str) -> SourceFile | None:
    """The file *path* as the source of an image; ``None`` where there is no such file.

    :raises SpecError: when it is something that no image of *kind* can be made of.
    """
    try:
        status = os.stat(path)
        # Who opens a FIFO waits until somebody writes to it.
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
            raise SpecError(f"path: {shorten(path)} is no file. Allowed: {_ALLOWED[kind]}", key="path")
        with open(path, "rb") as stream:
            head = stream.read(512)
            status = os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SpecError(
            f"path: {shorten(path)} cannot be read: {exc.strerror}. Allowed: {_ALLOWED[kind]}", key="path"
        ) from exc
    packing = _container_packing(head) if kind == "container" else _disk_packing(head)
    if packing is None:
        raise SpecError(f"path: {shorten(path)} is no image of kind {kind}. Allowed: {_ALLOWED[kind]}", key="path")
    backing = backing_file(path) if packing == "qcow2" else None
    if backing:
        raise SpecError(stands_on(path, backing), key="path")
    return SourceFile(path, packing, status.st_size, status.st_mtime_ns)


def stands_on(path: str, other: str) -> str:
    return f"path: {path} stands on {other}. Make one file of it first, with qemu-img convert -O qcow2"


def _container_packing(head: bytes) -> str | None:
    if head[257:262] == b"ustar":
        return "tar"
    return next((packing for magic, packing in _TAR_MAGICS.items() if head.startswith(magic)), None)


def _disk_packing(head: bytes) -> str | None:
    if head.startswith(_QCOW2):
        return "qcow2"
    return "raw" if head[510:512] == b"\x55\xaa" else None


def digest_of(path: str) -> str:
    """``sha256:`` and the hexadecimal digest of the content of *path*."""
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


class Root(t.NamedTuple):
    """What is in the archive of a root file system.

    *size* in bytes is what it takes unpacked, in blocks of 4 KiB. *largest_id* is the largest uid or gid of an owner, *devices*
    are the device nodes in it, outside of /dev.
    """

    size: int
    largest_id: int
    devices: tuple[str, ...]


def read_root(path: str) -> Root:
    """What is in the archive *path*.

    :raises ApplyError, CommandError: when it is damaged or no root file system.
    """
    listing = command.run(["tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=escape", "--file", path])
    total, largest, tops, devices = 0, 0, set(), []
    for line in listing.splitlines():
        # "-rwxr-xr-x 0/0    1234 2026-01-01 00:00 ./usr/bin/env"; a device has its numbers in place of the size.
        kind, owner, size, dummy, dummy, name = line.split(None, 5)
        name = name.removeprefix("./")
        top = name.partition("/")[0].partition(" -> ")[0]
        tops.add(top)
        largest = max(largest, *(int(number) for number in owner.split("/")))
        if kind[0] in "bc" and top != "dev":
            devices.append(f"/{name}")
        elif size.isdigit():
            total += -(-int(size) // _BLOCK) * _BLOCK + 256
    if not {"etc", "usr"} <= tops:
        raise ApplyError("path: the archive holds no root file system: it has no etc and usr at its top")
    return Root(total, largest, tuple(devices))


def size_of_disk(path: str) -> int:
    """The virtual size in bytes of the disk in *path*.

    :raises CommandError: when it is damaged.
    """
    return int(disk_info(path)["virtual-size"])


def disk_info(path: str) -> dict[str, t.Any]:
    return t.cast(
        "dict[str, t.Any]", json.loads(command.run(["qemu-img", "info", "-f", "qcow2", "--output=json", path]))
    )
