# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The copy of a file of this host, fetched or given, as an image: unpacked with bounds, in the one form that the store keeps."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import command
from .._core.errors import ApplyError
from .._core.plan import Step
from . import source_file, squashed, unified
from .state import SourceFile

_CHUNK = 1 << 20
# What a download writes unpacked leaves a part of the room that there is: a bomb must not fill the host.
_USABLE = 0.9


def copy_container_root(source: SourceFile, target: str, limit: int, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write *source* to the new file *target* as tar.zst.

    :raises ApplyError, CommandError: when it is damaged, becomes larger than *limit* bytes, or changes meanwhile.
    """
    if source.packing == "squashfs":
        squashed.write_root(source, target, limit, keep_fds)
    elif unified.is_unified(source.path):
        with (
            command.writing(["zstd", "-q", "-T0", "-o", target], keep_fds=keep_fds) as packed,
            _plain(source, limit, keep_fds) as archive,
        ):
            unified.write_root(archive, packed, source.told)
    elif source.packing == "zstd":
        _copy(source.path, target, keep_fds)
    elif source.packing == "tar":
        command.run(["zstd", "-q", "-T0", source.path, "-o", target], keep_fds=keep_fds)
    else:
        with command.writing(["zstd", "-q", "-T0", "-o", target], keep_fds=keep_fds) as packed:
            for chunk in _unpacked(source, limit, keep_fds):
                packed.write(chunk)
    _check_unchanged(source)
    yield Step("source copied")


def copy_vm_disk(
    source: SourceFile,
    target: str,
    limit: int,
    keep_fds: t.Sequence[int],
    check: t.Callable[[str], None] = lambda path: None,
) -> t.Iterator[Step]:
    """Write *source* to the new file *target* as qcow2. *check* looks at its unpacked content before anything is made of it.

    :raises ApplyError, CommandError: when it is damaged, becomes larger than *limit* bytes, or changes meanwhile.
    :raises SpecError: when it is no disk, or stands on another file.
    """
    disk = source
    if source.packing not in ("qcow2", "raw"):
        plain = os.path.join(os.path.dirname(target), "disk")
        _write_sparsely(_unpacked(source, limit, keep_fds), plain)
        yield Step("source unpacked")
        disk = t.cast(SourceFile, source_file.look(plain, "vm", f"{source.told}, unpacked,"))
    check(disk.path)
    if disk.packing == "raw":
        command.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", disk.path, target], keep_fds=keep_fds)
    elif disk is source:
        _copy(source.path, target, keep_fds)
    else:
        os.rename(disk.path, target)
    if source_file.size_of_disk(target) > limit:
        raise ApplyError(source_file.too_large(source.told, limit))
    if disk is not source and disk.packing == "raw":
        os.unlink(disk.path)
    _check_unchanged(source)
    yield Step("source copied")


def copy_iso(source: SourceFile, target: str, limit: int, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write *source* to the new file *target*, unpacked and otherwise as it is.

    :raises ApplyError, CommandError: when it is damaged, becomes larger than *limit* bytes, or changes meanwhile.
    """
    if source.size > limit:
        raise ApplyError(source_file.too_large(source.told, limit))
    if source.packing == "iso":
        _copy(source.path, target, keep_fds)
    else:
        _write_sparsely(_unpacked(source, limit, keep_fds), target)
    _check_unchanged(source)
    yield Step("source copied")


def _unpacked(source: SourceFile, limit: int, keep_fds: t.Sequence[int]) -> t.Generator[bytes, None, None]:
    total = 0
    with command.reading([*source_file.READERS[source.packing], "--", source.path], keep_fds=keep_fds) as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                raise ApplyError(source_file.too_large(source.told, limit))
            yield chunk


@contextlib.contextmanager
def _plain(source: SourceFile, limit: int, keep_fds: t.Sequence[int]) -> t.Iterator[t.IO[bytes]]:
    """The archive *source* without its packing."""
    if source.packing == "tar":
        with open(source.path, "rb") as stream:
            yield stream
    else:
        with contextlib.closing(_unpacked(source, limit, keep_fds)) as chunks:
            yield t.cast("t.IO[bytes]", _Chunks(chunks))


class _Chunks:
    """What comes in *chunks*, as a file that is read from its beginning on."""

    def __init__(self, chunks: t.Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        """As many bytes; fewer at the end alone."""
        found = bytearray()
        while len(found) < size:
            self._left = self._left or memoryview(next(self._chunks, b""))
            if not self._left:
                break
            count = size - len(found)
            found += self._left[:count]
            self._left = self._left[count:]
        return bytes(found)


def _write_sparsely(chunks: t.Iterable[bytes], target: str) -> None:
    """Write *chunks* to the new file *target*, with holes where there is nothing."""
    system = os.statvfs(os.path.dirname(target))
    room = int(system.f_bavail * system.f_frsize * _USABLE)
    empty = bytes(_CHUNK)
    with open(target, "wb") as stream:
        for chunk in chunks:
            if chunk == empty:
                stream.seek(len(chunk), os.SEEK_CUR)
                continue
            room -= len(chunk)
            if room < 0:
                raise ApplyError(f"{os.path.dirname(target)} has no room for it unpacked")
            stream.write(chunk)
        stream.truncate(stream.tell())


def _copy(source: str, target: str, keep_fds: t.Sequence[int]) -> None:
    command.run(["cp", "--reflink=auto", "--sparse=auto", "--", source, target], keep_fds=keep_fds)


def _check_unchanged(source: SourceFile) -> None:
    status = os.stat(source.path)
    if (status.st_size, status.st_mtime_ns) != (source.size, source.mtime_ns):
        raise ApplyError(f"{source.told} was changed while it was copied. Run again when it is complete")
