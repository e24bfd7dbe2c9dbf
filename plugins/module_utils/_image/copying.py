# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The copy of a file of this host as an image, in the one form that the store keeps."""

from __future__ import annotations

import os
import typing as t

from .._core import command
from .._core.errors import ApplyError
from .._core.plan import Step
from . import source_file
from .state import SourceFile


def copy_container_root(source: SourceFile, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write *source* to the new file *target* as tar.zst.

    :raises ApplyError, CommandError: when it is damaged, or changes meanwhile.
    """
    if source.packing == "zstd":
        _copy(source.path, target, keep_fds)
    else:
        plain = source.path if source.packing == "tar" else os.path.join(os.path.dirname(target), "root.tar")
        if source.packing != "tar":
            command.run(["zstd", "-q", "-d", source.path, "-o", plain], keep_fds=keep_fds)
            yield Step("source unpacked")
        command.run(["zstd", "-q", "-T0", plain, "-o", target], keep_fds=keep_fds)
        if plain != source.path:
            os.unlink(plain)
    _check_unchanged(source)
    yield Step("source copied")


def copy_vm_disk(source: SourceFile, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write *source* to the new file *target* as qcow2.

    :raises ApplyError, CommandError: when it is damaged, stands on another file, or changes meanwhile.
    """
    if source.packing == "qcow2":
        _copy(source.path, target, keep_fds)
        # Other files that a header names would be read by QEMU, which is none of the image's business.
        info = source_file.disk_info(target)
        data = info.get("format-specific", {}).get("data", {})
        foreign = info.get("backing-filename") or data.get("data-file")
        if foreign:
            raise ApplyError(source_file.stands_on(source.path, foreign))
    else:
        command.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", source.path, target], keep_fds=keep_fds)
    _check_unchanged(source)
    yield Step("source copied")


def _copy(source: str, target: str, keep_fds: t.Sequence[int]) -> None:
    command.run(["cp", "--reflink=auto", "--sparse=auto", "--", source, target], keep_fds=keep_fds)


def _check_unchanged(source: SourceFile) -> None:
    status = os.stat(source.path)
    if (status.st_size, status.st_mtime_ns) != (source.size, source.mtime_ns):
        raise ApplyError(f"path: {source.path} was changed while it was copied. Run again when it is complete")
