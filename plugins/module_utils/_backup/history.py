# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the report of a job remembers beyond its last run: of each guest the last time that it went well, and the last that it did not."""

from __future__ import annotations

import json
import typing as t

Told = t.Dict[str, t.Any]  # noqa: UP006  # evaluated by the Python of a managed host


def loaded(text: str | None) -> Told:
    """The report that *text* is; an empty one where that cannot be read, which the next run replaces."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def remembered(before: t.Mapping[str, t.Any], entries: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, Told]:
    """By guest and result the newest entry, of the report *before* and of the *entries* of this run."""
    known = before.get("last")
    found: dict[str, Told] = {guest: dict(its) for guest, its in (known if isinstance(known, dict) else {}).items()}
    for entry in entries:
        found.setdefault(str(entry["guest"]), {})[str(entry["result"])] = dict(entry)
    return found
