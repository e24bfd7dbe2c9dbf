# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""In which order guests start and stop.

The role hypervisor puts this very file beside its program for a host that boots or is shut down: it needs nothing of the collection.
"""

from __future__ import annotations

import typing as t

# The options of a guest of that name: order, and up_delay and down_delay in seconds; each may be missing.
Startup = t.Mapping[str, int]

# A guest without an order starts after all that have one, and stops before them.
_WITHOUT = 10**9


def rank(startup: Startup, *, stops: bool) -> int:
    """The place of a guest among those that start, or stop: the lowest comes first."""
    order = startup.get("order", _WITHOUT)
    return -order if stops else order


def places(
    startups: t.Mapping[str, Startup], stands_on: t.Mapping[str, t.Collection[str]], *, stops: bool
) -> dict[str, tuple[int, int]]:
    """The place of each guest by its name among those that start, or stop: the lowest comes first.

    One that stands on others starts after them, and stops before them, whatever their orders say: after those of the same order, it is
    one step further on.
    """
    before = {name: [other for other in stands_on.get(name, ()) if other in startups] for name in startups}
    if stops:
        before = {name: [other for other, its in before.items() if name in its] for name in startups}
    found: dict[str, tuple[int, int]] = {}

    def place(name: str, way: tuple[str, ...]) -> tuple[int, int]:
        if name not in found:
            # A circle has no order: it is left where it closes.
            others = [place(other, (*way, name)) for other in before[name] if other not in (*way, name)]
            own = (rank(startups[name], stops=stops), 0)
            found[name] = max([own, *((order, step + 1) for order, step in others)])
        return found[name]

    for name in sorted(startups):
        place(name, ())
    return found


def delay(startups: t.Iterable[Startup], *, stops: bool) -> int:
    """How many seconds pass between guests that have started, or stopped, side by side and those of the next rank."""
    return max((startup.get("down_delay" if stops else "up_delay", 0) for startup in startups), default=0)
