# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The diff of a plan as a person reads it: what was not there has no line, and what others show is left to them."""

from __future__ import annotations

import typing as t

# The items of a layout that show their own diff where a play of guests follows.
GUESTS = ("vms[", "containers[")


def shown_diff(diff: t.Any, has_guests: bool = True) -> dict[str, t.Any] | None:
    """The *diff* of a module without what is ``None``, and without guests where it *has_guests* not; ``None`` where nothing is left."""
    if not isinstance(diff, t.Mapping) or not all(
        isinstance(diff.get(side), t.Mapping) for side in ("before", "after")
    ):
        return dict(diff) if isinstance(diff, t.Mapping) else None
    found = {
        side: {
            path: value
            for path, value in diff[side].items()
            if value is not None and (has_guests or not str(path).startswith(GUESTS))
        }
        for side in ("before", "after")
    }
    return {**diff, **found} if any(found.values()) else None
