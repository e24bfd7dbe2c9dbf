# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a backup has of the files that shall come out of it, and the folder that they come into."""

from __future__ import annotations

import typing as t

from ..stored import Stored
from .inner import Inner

# It lies in the folder, and says what came into it.
NOTE = ".homelab_hybrid-restored.json"


class Part(t.NamedTuple):
    """What is seen at *point* of the guest, and lies at *place* of a backup: its root (empty *point*), or one of its mounts.

    *paths* are those of it that are wanted, empty for the whole; *idmap* are the ids by which its owners are those inside.
    """

    point: str
    place: str
    paths: tuple[str, ...]
    idmap: tuple[int, int] | None = None


class FilesState(t.NamedTuple):
    """*chosen* is the backup that is meant. Of a container *parts* are those of it in which what is wanted lies, the root first and outer ones
    before inner; of a virtual machine *disks* are the files in it that are its disks, and *found* and *above* what the paths and the folders
    above them are.

    *sizes* has what each path takes, ``None`` for one that the backup has not; *obstacle* says why nobody could look. *is_free* says whether
    the folder is not there or empty, with *available_bytes* on its file system; *is_done* whether these files came into it out of this backup
    already.
    """

    chosen: Stored
    parts: tuple[Part, ...] = ()
    disks: tuple[str, ...] = ()
    found: t.Mapping[str, Inner] = {}
    above: t.Mapping[str, Inner] = {}
    sizes: t.Mapping[str, int | None] = {}
    obstacle: str | None = None
    is_free: bool = False
    is_done: bool = False
    available_bytes: int = 0
