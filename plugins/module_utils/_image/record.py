# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the record says of an image."""

from __future__ import annotations

import typing as t

from .._core.value import Value
from .._storage import volume as volumes
from .._storage.volume import Volume
from . import presets as told
from .presets import Presets

Data = t.Mapping[str, t.Any]


class ImageRecord(Value):
    """The record of an image, typed.

    *is_building* from before the first write until the image stands. *kind* is of which guests it is, *format* and *path* its file in the
    store, *size_bytes* what it takes unpacked or the size of the disk, *digest* that of the file, *largest_id* the largest uid or gid in it.
    *origin* is what it was made of, see ``state.State``; *download* the file that it was fetched into, by its name among the downloads.
    *copies* were begun in pools, by the name of the pool, whether or not they stand. *presets* are what a machine that is made of it gets
    where its user writes nothing. ``None`` where nothing is known.
    """

    __slots__ = (
        "copies",
        "digest",
        "download",
        "format",
        "is_building",
        "kind",
        "largest_id",
        "origin",
        "path",
        "presets",
        "size_bytes",
    )

    def __init__(
        self,
        *,
        is_building: bool = False,
        kind: str | None = None,
        format: str | None = None,
        path: str | None = None,
        size_bytes: int | None = None,
        digest: str | None = None,
        largest_id: int | None = None,
        origin: Data | None = None,
        download: str | None = None,
        copies: t.Mapping[str, Volume] | None = None,
        presets: Presets | None = None,
    ) -> None:
        self.is_building = is_building
        self.kind = kind
        self.format = format
        self.path = path
        self.size_bytes = size_bytes
        self.digest = digest
        self.largest_id = largest_id
        self.origin: Data = origin or {}
        self.download = download
        self.copies: t.Mapping[str, Volume] = copies or {}
        self.presets = presets or Presets()

    @classmethod
    def load(cls, data: Data) -> t.Self:
        """The record of the JSON values *data*."""
        return cls(
            is_building=bool(data.get("building")),
            kind=data.get("kind"),
            format=data.get("format"),
            path=data.get("path"),
            size_bytes=data.get("size_bytes"),
            digest=data.get("digest"),
            largest_id=data.get("largest_id"),
            origin=data.get("origin"),
            download=data.get("download"),
            copies={pool: volumes.from_record(copy) for pool, copy in (data.get("copies") or {}).items()},
            presets=told.from_record(data.get("presets") or {}),
        )

    def dump(self) -> dict[str, t.Any]:
        """The JSON values of the record; ``None`` for what it does not hold."""
        return {
            "building": self.is_building or None,
            "kind": self.kind,
            "format": self.format,
            "path": self.path,
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "largest_id": self.largest_id,
            "origin": dict(self.origin) or None,
            "download": self.download,
            "copies": {pool: volumes.to_record(copy) for pool, copy in self.copies.items()} or None,
            "presets": self.presets.known() or None,
        }
