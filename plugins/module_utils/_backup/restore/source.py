# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a guest comes back from: a repository of backups, or the copies that other hosts have sent."""

from __future__ import annotations

import contextlib
import typing as t

from ..._host.snapshot import Host
from ..stored import Stored
from .spec import Spec


class Source(t.Protocol):
    """What a restore asks. *backup* is the id of one of those that it lists, and what is in that lies below the folder of it.

    A repository raises RepositoryError, copies raise ObserveError or CommandError.
    """

    def list(self) -> list[Stored]:
        """The backups in it, the newest first."""

    def read(self, backup: str, path: str) -> str:
        """The text of a file."""

    def reading(self, backup: str, path: str) -> contextlib.AbstractContextManager[t.IO[bytes]]:
        """The content of a file, as it comes."""

    def restore(self, backup: str, target: str, *parts: str) -> None:
        """Bring files or folders back below *target*, under their whole paths."""

    def digs_holes(self) -> bool:
        """Whether that keeps the holes in files by itself."""


def load(spec: Spec, host: Host, fds: t.Sequence[int] = ()) -> Source:
    """What *spec* means, with the code that takes out of it. *fds* are descriptors of locks that hold as long as its programs work."""
    if spec.replica:
        from ..replication.source import Copies  # few restores ask for it

        return Copies(host, fds)
    from ..repository import Repository

    return Repository(spec.repository, fds)
