# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The copies on this host, as a restore asks for them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t

from ..._core import atomic, command, lock
from ..._core.errors import ObserveError
from ..._host.snapshot import Host
from ..._storage.driver import KEPT_DISK
from ..._storage.volume import BLOCK
from ..stored import Stored, short
from .copies import Copy, copies_of
from .naming import VOLUMES

# The host that it comes from may send what is new right now.
_WAIT_SECONDS = 600.0


class Copies:
    """See ``restore.source.Source``. What is read of a copy is of it as a whole: none goes meanwhile."""

    def __init__(self, host: Host, fds: t.Sequence[int] = ()) -> None:
        self.host = host
        self.fds = fds

    def _copies(self) -> dict[str, Copy]:
        return {_id_of(its): its for its in copies_of(self.host)}

    def list(self) -> list[Stored]:
        found = [
            Stored(
                backup,
                its.manifest.made,
                its.manifest.guest,
                its.manifest.kind,
                "",
                its.manifest.consistent,
                its.origin,
                its.folder,
            )
            for backup, its in self._copies().items()
        ]
        return sorted(found, key=lambda its: its.made, reverse=True)

    @contextlib.contextmanager
    def _held(self, backup: str, path: str) -> t.Iterator[str]:
        """Where *path* lies in the copy, which stays meanwhile.

        :raises ObserveError: when it is gone.
        """
        its, gone = self._copies().get(backup), f"the copy {short(backup)} has made room for a newer one. Run again"
        if its is None:
            raise ObserveError(gone)
        with lock.replicating(f"{its.origin}+{its.manifest.guest}", wait_seconds=_WAIT_SECONDS):
            place = _place(its, path)
            if not os.path.lexists(place):
                raise ObserveError(gone)
            yield place

    def read(self, backup: str, path: str) -> str:
        with self._held(backup, path) as place:
            return atomic.read_text(place) or ""

    @contextlib.contextmanager
    def reading(self, backup: str, path: str) -> t.Iterator[t.IO[bytes]]:
        with self._held(backup, path) as place, open(place, "rb") as stream:
            yield stream

    def restore(self, backup: str, target: str, *parts: str) -> None:
        for path in parts:
            with self._held(backup, path) as place:
                come = os.path.join(target, path.lstrip("/"))
                os.makedirs(os.path.dirname(come), exist_ok=True)
                # In the pool of the copies it takes no room until it is written to.
                command.run(
                    ["cp", "--archive", "--reflink=auto", "--no-target-directory", place, come], keep_fds=self.fds
                )

    def digs_holes(self) -> bool:
        return True


def _id_of(its: Copy) -> str:
    """As a repository would give it one."""
    return hashlib.sha256(f"{its.pool}/{its.origin}/{its.manifest.guest}/{its.moment}".encode()).hexdigest()


def _place(its: Copy, path: str) -> str:
    """What would lie at *path* in a backup: the volumes of a copy have folders of their own."""
    for item, volume in its.manifest.volumes.items():
        if path == os.path.join(its.folder, volume["file"]):
            place = os.path.join(its.folder, VOLUMES, item)
            return os.path.join(place, KEPT_DISK) if volume["kind"] == BLOCK else place
    return path
