# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether this host can do for the cards of guests what is declared."""

from __future__ import annotations

from .._host import probe
from .spec import GuestSpec


def rate_obstacle(spec: GuestSpec, *queues: str) -> str | None:
    """Why no card can be limited here, as the second half of a sentence. Nothing is tried where no limit is declared."""
    if not any(key.startswith("rate_limit.") for item in spec.wanted("networks") for key in item.values):
        return None
    missing = probe.missing_queue(*queues)
    return missing and f"the kernel of this host has no {missing}, which limits are made of"
