# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a storage pool."""

from __future__ import annotations

import typing as t

# How the quotas of a btrfs are, on which the sizes of roots stand.
OFF, INCONSISTENT, ENFORCED = "disabled", "inconsistent", "enforced"


class Source(t.NamedTuple):
    """A device or image file as it is. *holds* is what its content says that it is (``btrfs``, ``ext4``, ``gpt``), empty where it is blank.

    *is_busy*: the kernel has it in use. *uuid* is that of its btrfs.
    """

    path: str
    is_file: bool = False
    holds: str = ""
    uuid: str | None = None
    is_busy: bool = False


class State(t.NamedTuple):
    """A storage pool as it is. *users* are the guests that stand on it, by name, and what of the host does; and whether each is at work.
    *quarantined* are the guests that lie in its quarantine, with the day until which they do.

    *is_registered*: libvirt knows it. *is_defined*: it stands, no creation of it was interrupted. *is_active*: it is started,
    and mounted where it has a source. *content* is the number of entries in its folder, ``None`` where that cannot be told.
    *owns_folder*, *owns_file_system*: this collection made the folder, or the file system on the source. *mounts* are the mount
    points in it, its own left out. *path_is_of* is another pool that has the declared folder, by whatever name, and *file_in_the_way*
    what there is in place of a folder. *file_system* is the type of the one that the path lies on, or will. *source_users* are those that have
    the declared source in use. *found* is the source, declared or recorded; ``None`` where there is no such file.
    *is_formatting*: a run that was killed had begun to format it. *quota* is ``None`` for a pool that has none. Sizes in bytes.
    """

    is_registered: bool
    is_defined: bool
    is_active: bool = False
    type: str | None = None
    path: str | None = None
    source: str | None = None
    autostart: bool = False
    warn_free: int | str = ""
    capacity: int | None = None
    available: int | None = None
    content: int | None = None
    owns_folder: bool = False
    owns_file_system: bool = False
    is_building: bool = False
    is_formatting: bool = False
    is_mounted: bool = False
    mounts: tuple[str, ...] = ()
    path_is_of: str | None = None
    file_in_the_way: str | None = None
    file_system: str = ""
    found: Source | None = None
    quota: str | None = None
    users: t.Mapping[str, bool] = {}
    quarantined: t.Mapping[str, str] = {}
    source_users: tuple[str, ...] = ()
