# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""An image from a file of this host: what it is, whether it can be used, and its copy in the store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import typing as t

from .._core import command
from .._core.errors import ApplyError, SpecError, shorten
from .._core.units import show_size
from .._host.backing import backing_file
from .state import SourceFile

_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
# How each packing is read. xz and zstd can ask for memory without end.
READERS = {
    "gzip": ("gzip", "-dc"),
    "bzip2": ("bzip2", "-dc"),
    "xz": ("xz", "-dcq", "--memlimit-decompress=1GiB"),
    "zstd": ("zstd", "-dcq", "--memory=1024MiB"),
}
_QCOW2 = b"QFI\xfb"
# FreeBSD's nano images have no partition table but a label of BSD's, in the second sector.
_DISKLABEL, _LABEL_AT = b"\x57\x45\x56\x82", 512
# Behind 32 KiB for boot code: the first descriptor of ISO 9660, or of UDF alone. Windows' media have both.
_DESCRIPTOR_AT = 32768 + 1
_DESCRIPTORS = (b"CD001", b"BEA01", b"NSR02", b"NSR03")
_HEAD = _DESCRIPTOR_AT + 5
_SQUASHFS = b"hsqs"
# Of the header of version 3: the incompatible feature that the data lie in another file, which qemu-img would open.
_EXTERNAL_DATA = 1 << 2
_BLOCK = 4096
_ALLOWED = {
    "container": "a root file system as tar, tar.gz, tar.bz2, tar.xz, tar.zst or squashfs",
    "vm": "a disk as qcow2, or as raw with a partition table, as it is or packed with gzip, bzip2, xz or zstd",
    "iso": "a medium as ISO 9660 or UDF, as it is or packed with gzip, bzip2, xz or zstd",
}
# Nodes that programs in a root have beside /dev, as Postfix does; no guest gets them, and nobody loses anything.
_HARMLESS_NODES = frozenset(("1,3", "1,5", "1,7", "1,8", "1,9", "5,0", "5,1", "5,2"))
_MOST_ENTRIES = 5_000_000
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
# -rwxr-xr-x 0/0    1234 2026-01-01 00:00 "./usr/bin/env"; a device has its numbers in place of the size.
_ENTRY = re.compile(rf"(?P<kind>.)\S+ (\d+)/(\d+) +(?P<size>\S+) \S+ \S+ {_QUOTED}(?: (?:->|link to) {_QUOTED})?")


def look(path: str, kind: str, told: str | None = None) -> SourceFile | None:
    """The file *path* as the source of an image; ``None`` where there is no such file. *told* names it to the user.

    Its packing is ``tar``, ``squashfs``, ``qcow2``, ``raw``, ``iso``, or ``gzip``, ``bzip2``, ``xz`` and ``zstd`` of one of them.

    :raises SpecError: when it is something that no image of *kind* can be made of.
    """
    told = told or f"path: {shorten(path)}"
    key = told.partition(":")[0]
    try:
        status = os.stat(path)
        # Who opens a FIFO waits until somebody writes to it.
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
            raise SpecError(f"{told} is no file. Allowed: {_ALLOWED[kind]}", key=key)
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
            status = os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SpecError(f"{told} cannot be read: {exc.strerror}. Allowed: {_ALLOWED[kind]}", key=key) from exc
    packing = _packing(kind, head)
    # What is in an archive of a root is seen when it is read.
    if kind != "container" and packing in READERS and _packing(kind, _beginning(path, packing)) in (None, *READERS):
        packing = None
    if packing is None:
        raise SpecError(f"{told} is no image of kind {kind}. Allowed: {_ALLOWED[kind]}", key=key)
    if packing == "squashfs":
        check_squashfs(told)
    if packing == "qcow2":
        other = backing_file(path) or ("another file that has its data" if _has_other_data(head) else None)
        if other:
            raise SpecError(
                f"{told} stands on {other}. Make one file of it first, with qemu-img convert -O qcow2", key=key
            )
    return SourceFile(path, packing, status.st_size, status.st_mtime_ns, told)


def check_squashfs(told: str) -> None:
    """:raises SpecError: where the program that reads what *told* names is not on this host."""
    if shutil.which("unsquashfs") is None:
        raise SpecError(
            f"{told} is a squashfs, and this host has no unsquashfs to read it. Install squashfs-tools, or take an archive",
            key=told.partition(":")[0],
        )


def _beginning(path: str, packing: str) -> bytes:
    """The first bytes of what is packed in the file *path*; none where it is damaged."""
    try:
        with command.reading([*READERS[packing], "--", path]) as stream:
            return stream.read(_HEAD)
    except command.CommandError:
        return b""


def _packing(kind: str, head: bytes) -> str | None:
    return {"container": _container_packing, "vm": _disk_packing, "iso": _medium_packing}[kind](head)


def _container_packing(head: bytes) -> str | None:
    if head.startswith(_SQUASHFS):
        return "squashfs"
    return "tar" if head[257:262] == b"ustar" else _packed(head)


def _disk_packing(head: bytes) -> str | None:
    if head.startswith(_QCOW2):
        return "qcow2"
    is_raw = head[510:512] == b"\x55\xaa" or head[_LABEL_AT:].startswith(_DISKLABEL)
    return "raw" if is_raw else _packed(head)


def _medium_packing(head: bytes) -> str | None:
    return "iso" if head[_DESCRIPTOR_AT:].startswith(_DESCRIPTORS) else _packed(head)


def _packed(head: bytes) -> str | None:
    return next((packing for magic, packing in _PACKED.items() if head.startswith(magic)), None)


def _has_other_data(head: bytes) -> bool:
    version, features = int.from_bytes(head[4:8], "big"), int.from_bytes(head[72:80], "big")
    return version >= 3 and bool(features & _EXTERNAL_DATA)


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


def read_root(path: str, told: str, limit: int) -> Root:
    """What is in the archive *path*, which *told* names to the user. tar itself reads it, as it does when it is unpacked.

    :raises ApplyError, CommandError: when it is damaged, no root file system, larger than *limit* bytes, or would reach the host.
    """
    argv = ["tar", "--list", "--verbose", "--numeric-owner", "--absolute-names", "--quoting-style=c", "--file", path]
    total, largest, count = 0, 0, 0
    tops: set[str] = set()
    way_out: set[str] = set()
    devices: list[str] = []
    with command.reading(argv) as stream:
        for line in stream:
            count += 1
            entry = _ENTRY.fullmatch(line.decode(errors="replace").rstrip("\n"))
            if entry is None:
                raise ApplyError(
                    f"{told}: the archive has an entry that no root file system has: {shorten(line[:100])}"
                )
            kind, user, group, size, name, link = entry.groups()
            parts = _parts(name)
            obstacle = _obstacle(kind, name, parts, link, way_out)
            if obstacle is None and kind in "bc" and parts[:1] != ["dev"]:
                devices.append(f"/{'/'.join(parts)}")
                obstacle = None if kind == "c" and size in _HARMLESS_NODES else f"is a device node ({kind} {size})"
            if obstacle is not None:
                raise ApplyError(
                    f"{told}: {shorten(name)} {obstacle}. Such an archive would reach its host; it is refused"
                )
            tops.update(parts[:1])
            largest = max(largest, int(user), int(group))
            total += -(-int(size) // _BLOCK) * _BLOCK + 256 if size.isdigit() else 256
            if total > limit or count > _MOST_ENTRIES:
                raise ApplyError(
                    too_large(told, limit) if total > limit else f"{told}: it holds more than {_MOST_ENTRIES} files"
                )
    if not {"etc", "usr"} <= tops:
        raise ApplyError(f"{told}: the archive holds no root file system: it has no etc and usr at its top")
    return Root(total, largest, tuple(devices))


def too_large(told: str, limit: int) -> str:
    return f"{told}: unpacked it is larger than {show_size(limit)}. Allow more with size_limit"


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _obstacle(kind: str, name: str, parts: list[str], link: str | None, way_out: set[str]) -> str | None:
    """Why an entry must not be unpacked. *way_out* are the links so far that lead out of where the archive is unpacked."""
    if name.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the archive"
    place = "/".join(parts)
    if _is_below(parts[:-1], way_out):
        return "lies behind a link that leads out of the archive"
    if kind == "h":
        target = _parts(link or "")
        if (link or "").startswith("/") or ".." in target or _is_below(target[:-1], way_out):
            return f"is a hard link to {shorten(link)}, outside of the archive"
        if "/".join(target) in way_out:
            way_out.add(place)
    elif kind == "l" and _leads_out(parts[:-1], link or ""):
        way_out.add(place)
    return None


def _is_below(parts: list[str], places: set[str]) -> bool:
    return any("/".join(parts[: length + 1]) in places for length in range(len(parts)))


def _leads_out(folder: list[str], link: str) -> bool:
    """Whether a symbolic link in *folder* leads out of the root that it is in, as the host sees it."""
    if link.startswith("/"):
        return True
    depth = len(folder)
    for part in _parts(link):
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def size_of_disk(path: str) -> int:
    """The virtual size in bytes of the disk in *path*.

    :raises CommandError: when it is damaged.
    """
    return int(disk_info(path)["virtual-size"])


def disk_info(path: str) -> dict[str, t.Any]:
    return t.cast(
        "dict[str, t.Any]", json.loads(command.run(["qemu-img", "info", "-f", "qcow2", "--output=json", path]))
    )
