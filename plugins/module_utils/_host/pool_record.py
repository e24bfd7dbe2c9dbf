# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the record says of a storage pool. Guests, images and the look at the host read it too."""

from __future__ import annotations

import typing as t

from .._core.value import Value

Data = t.Mapping[str, t.Any]


class PoolRecord(Value):
    """The record of a storage pool, typed.

    *is_building* from before the first write until the pool stands. *path* is its folder, *type* what it is made of, *source* the device or
    image file that is mounted there, *mount* the mount point that the folder lay in when it was made; ``None`` where nothing is known.
    *owns_folder* and *owns_file_system*: this collection made them. *formatting* is the source that is being formatted or wiped.
    *warn_free* is as the option has it, ``None`` where nobody declared it.
    """

    __slots__ = (
        "formatting",
        "is_building",
        "mount",
        "owns_file_system",
        "owns_folder",
        "path",
        "source",
        "type",
        "warn_free",
    )

    def __init__(
        self,
        *,
        is_building: bool = False,
        type: str | None = None,
        path: str | None = None,
        source: str | None = None,
        mount: str | None = None,
        owns_folder: bool = False,
        owns_file_system: bool = False,
        formatting: str | None = None,
        warn_free: int | str | None = None,
    ) -> None:
        self.is_building = is_building
        self.type = type
        self.path = path
        self.source = source
        self.mount = mount
        self.owns_folder = owns_folder
        self.owns_file_system = owns_file_system
        self.formatting = formatting
        self.warn_free = warn_free

    @classmethod
    def load(cls, data: Data) -> t.Self:
        """The record of the JSON values *data*."""
        return cls(
            is_building=bool(data.get("building")),
            type=data.get("type"),
            path=data.get("path"),
            source=data.get("source"),
            mount=data.get("mount"),
            owns_folder=bool(data.get("owns_folder")),
            owns_file_system=bool(data.get("owns_file_system")),
            formatting=data.get("formatting"),
            warn_free=data.get("warn_free"),
        )

    def dump(self) -> dict[str, t.Any]:
        """The JSON values of the record; ``None`` for what it does not hold."""
        return {
            "building": self.is_building or None,
            "type": self.type,
            "path": self.path,
            "source": self.source,
            "mount": self.mount,
            "owns_folder": self.owns_folder or None,
            "owns_file_system": self.owns_file_system or None,
            "formatting": self.formatting,
            "warn_free": self.warn_free,
        }
