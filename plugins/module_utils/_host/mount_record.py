# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the record says of a mount of the host from elsewhere. The look at the host reads it too, and the program that starts guests."""

from __future__ import annotations

import typing as t

from .._core.value import Value

Data = t.Mapping[str, t.Any]


class MountRecord(Value):
    """The record of a mount, typed.

    *path* is where it is mounted, *source* what, by the file system *type* with the *options* that were declared. *wait_for_guest* is
    the guest of this host that serves it, which has *wait_timeout* seconds to answer. *owns_folder*: this collection made the folder.
    """

    __slots__ = ("is_building", "options", "owns_folder", "path", "source", "type", "wait_for_guest", "wait_timeout")

    def __init__(
        self,
        *,
        is_building: bool = False,
        path: str = "",
        type: str | None = None,
        source: str | None = None,
        options: tuple[str, ...] = (),
        wait_for_guest: str = "",
        wait_timeout: int = 0,
        owns_folder: bool = False,
    ) -> None:
        self.is_building = is_building
        self.path = path
        self.type = type
        self.source = source
        self.options = options
        self.wait_for_guest = wait_for_guest
        self.wait_timeout = wait_timeout
        self.owns_folder = owns_folder

    @classmethod
    def load(cls, data: Data) -> t.Self:
        """The record of the JSON values *data*."""
        return cls(
            is_building=bool(data.get("building")),
            path=str(data.get("path") or ""),
            type=data.get("type"),
            source=data.get("source"),
            options=tuple(data.get("options") or ()),
            wait_for_guest=str(data.get("wait_for_guest") or ""),
            wait_timeout=int(data.get("wait_timeout") or 0),
            owns_folder=bool(data.get("owns_folder")),
        )

    def dump(self) -> dict[str, t.Any]:
        """The JSON values of the record; ``None`` for what it does not hold."""
        return {
            "building": self.is_building or None,
            "path": self.path or None,
            "type": self.type,
            "source": self.source,
            "options": list(self.options) or None,
            "wait_for_guest": self.wait_for_guest or None,
            "wait_timeout": self.wait_timeout or None,
            "owns_folder": self.owns_folder or None,
        }
