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


def delay(startups: t.Iterable[Startup], *, stops: bool) -> int:
    """How many seconds pass between guests that have started, or stopped, side by side and those of the next rank."""
    return max((startup.get("down_delay" if stops else "up_delay", 0) for startup in startups), default=0)
