# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Roots as squashfs, as Ubuntu and linuxcontainers.org publish them beside archives: unpacked in the attempt's own folder, and packed as tar."""

from __future__ import annotations

import os
import re
import typing as t

from .._core import command
from .._core.errors import ApplyError
from .._core.removal import remove_tree
from . import source_file
from .state import SourceFile

# -rwxr-xr-x 0/0    1234 2026-01-01 00:00 squashfs-root/usr/bin/env; a device has its numbers in place of the size.
_ENTRY = re.compile(rb".{10} \d+/\d+ +(\d+) ")


def write_root(source: SourceFile, target: str, limit: int, keep_fds: t.Sequence[int]) -> None:
    """Write the root in *source* to the new file *target* as tar.zst. Who reads what came of it says what would reach the host.

    What is unpacked lies where only root may look meanwhile: a part of a folder that belongs to this attempt.

    :raises ApplyError, CommandError: when it is damaged, or larger than *limit* bytes.
    """
    _check_size(source, limit)
    folder = os.path.join(os.path.dirname(target), "unpacked")
    command.run(["unsquashfs", "-quiet", "-no-progress", "-dest", folder, source.path], keep_fds=keep_fds)
    packing = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--use-compress-program=zstd -q -T0"]
    command.run(["tar", *packing, "--create", "--file", target, "--directory", folder, "."], keep_fds=keep_fds)
    remove_tree(folder)


def _check_size(source: SourceFile, limit: int) -> None:
    """Before anything is unpacked: a line end in a name only makes it more."""
    total = 0
    with command.reading(["unsquashfs", "-no-progress", "-llnumeric", source.path]) as stream:
        for line in stream:
            match = _ENTRY.match(line)
            total += int(match[1]) if match else 0
            if total > limit:
                raise ApplyError(source_file.too_large(source.told, limit))
