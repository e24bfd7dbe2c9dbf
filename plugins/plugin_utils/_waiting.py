# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What of the guests only a restart brings into force, as sentences at the end of a run."""

from __future__ import annotations

import typing as t

Told = t.Mapping[str, t.Any]


def waiting(layouts: t.Iterable[t.Any]) -> list[str]:
    """A sentence for each guest of the results *layouts* that runs with something else than is written. Results without guests say nothing."""
    found = {}
    for layout in layouts:
        for item in layout.get("resources") or () if isinstance(layout, t.Mapping) else ():
            if item.get("restart_required"):
                found[str(item["name"])] = sentence(item)
    return [found[name] for name in sorted(found)]


def sentence(item: Told) -> str:
    changes = {str(change["path"]): change for change in item.get("plan") or ()}
    options = [option(str(path), changes.get(str(path))) for path in item["restart_required"]]
    return (
        f"{item['name']} runs without {', '.join(options)} until it is restarted: by restart_policy: if_needed in its guest_spec, "
        "by state: restarted, or by itself"
    )


def option(path: str, change: Told | None) -> str:
    """An option and, where this run wrote it, its new value."""
    after = None if change is None else change.get("after")
    return path if after is None or isinstance(after, (dict, list)) else f"{path} {after}"
