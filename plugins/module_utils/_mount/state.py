# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a mount on the host."""

from __future__ import annotations

import typing as t

from .._core.value import Value


class State(Value):
    """A mount as it is.

    *values* by option path, those of the record and of the file of credentials. *exists*: it was made; *is_whole*: its units are as they
    were written, and systemd mounts when somebody asks. *obstacle* says why there can be none at the path, *users* are the
    guests that stand on it. *has_client*: the kernel can mount the type.
    """

    __slots__ = ("exists", "has_client", "is_building", "is_whole", "obstacle", "owns_folder", "users", "values")

    def __init__(
        self,
        *,
        exists: bool = False,
        is_building: bool = False,
        values: t.Mapping[str, t.Any] | None = None,
        is_whole: bool = False,
        has_client: bool = True,
        obstacle: str | None = None,
        users: tuple[str, ...] = (),
        owns_folder: bool = False,
    ) -> None:
        self.exists = exists
        self.is_building = is_building
        self.values: t.Mapping[str, t.Any] = values or {}
        self.is_whole = is_whole
        self.has_client = has_client
        self.obstacle = obstacle
        self.users = users
        self.owns_folder = owns_folder
