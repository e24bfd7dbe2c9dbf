# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The root of a container, seen from the host and read without following a link of the guest."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """The root of a container on the host."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, path: str) -> str | None:
        """The text of a regular file; ``None`` where there is none."""
        try:
            with self.folder_of(path) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            return stream.read(1 << 20).decode(errors="surrogateescape")

    def has(self, path: str) -> bool:
        """Whether there is an entry of any kind at *path*."""
        try:
            with self.folder_of(path) as (folder, name):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def folder_of(
        self, path: str, prepare: t.Callable[[int, str], None] = lambda parent, name: None
    ) -> t.Iterator[tuple[int, str]]:
        """The open folder of *path*, and its name in there. *prepare* is called for each folder on the way, before it is entered.

        :raises OSError: where the way is no folder.
        """
        *folders, name = [part for part in path.split("/") if part]
        descriptor = os.open(self.path, _FLAGS)
        try:
            for part in folders:
                prepare(descriptor, part)
                below = os.open(part, _FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor, name
        finally:
            os.close(descriptor)
