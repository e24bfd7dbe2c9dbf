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

from . import guest_files

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A guest can make a file of any size, and its host has to hold what it reads.
MOST_BYTES = 16 << 20


class Tree:
    """The root of a container on the host."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, path: str) -> str | None:
        """The text of a regular file; ``None`` where there is none, or one that has an ``obstacle``."""
        try:
            with self.folder_of(path) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        try:
            # A folder cannot be opened as a stream at all.
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                data = stream.read(MOST_BYTES + 1)
        finally:
            os.close(descriptor)
        return None if len(data) > MOST_BYTES else data.decode(errors="surrogateescape")

    def obstacle(self, path: str) -> str | None:
        """Why the file at *path* can be neither read nor replaced without loss; ``None`` where it can, or there is none."""
        try:
            with self.folder_of(path) as (folder, name):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            return f"{path} is a folder inside"
        is_large = stat.S_ISREG(status.st_mode) and status.st_size > MOST_BYTES
        return f"{path} is larger than {MOST_BYTES >> 20} MiB inside" if is_large else None

    def has(self, path: str) -> bool:
        """Whether there is an entry of any kind at *path*."""
        try:
            with self.folder_of(path) as (folder, name):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def names_in(self, path: str) -> list[str]:
        """The names in the folder *path*; none where there is no such folder."""
        try:
            with self.folder_of(f"{path}/.") as (folder, dummy):
                return sorted(os.listdir(folder))
        except OSError:
            return []

    def target_obstacle(self, path: str, *, is_folder: bool) -> str | None:
        """Why nothing can be mounted at *path* when the guest starts: liblxc follows no link there, and mounts like on like."""
        parts = [part for part in path.split("/") if part]
        for place in ("/" + "/".join(parts[: length + 1]) for length in range(len(parts))):
            try:
                with self.folder_of(place) as (folder, name):
                    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            except OSError:
                return None
            if stat.S_ISLNK(mode):
                return f"{place} is a link inside. Write the path that it leads to"
            if place.count("/") < len(parts) and not stat.S_ISDIR(mode):
                return f"{place} is no folder inside"
            if place.count("/") == len(parts) and stat.S_ISDIR(mode) != is_folder:
                return f"{path} is {'no' if is_folder else 'a'} folder inside"
        return None

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


def network_manager(tree: Tree) -> str | None:
    """``networkd`` or ``ifupdown``, whichever the guest has; networkd where it has both and ifupdown has nothing to do."""
    has_networkd = tree.has("/usr/lib/systemd/systemd-networkd") or tree.has("/lib/systemd/systemd-networkd")
    has_ifupdown = tree.has("/usr/sbin/ifup") or tree.has("/sbin/ifup")
    if has_networkd and has_ifupdown:
        return "ifupdown" if guest_files.names_interfaces(tree.read("/etc/network/interfaces")) else "networkd"
    return "networkd" if has_networkd else "ifupdown" if has_ifupdown else None
