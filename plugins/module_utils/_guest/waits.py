# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Whether there is anything to wait for."""

from __future__ import annotations

import typing as t

_RESTING = ("absent", "stopped", "paused", "suspended")


class Waits(t.Protocol):
    """Of a guest as declared, what says whether it is waited for."""

    @property
    def state(self) -> str: ...

    @property
    def wait_for(self) -> tuple[str, ...]: ...


def has_to_wait(spec: Waits, facts: t.Mapping[str, t.Any], *, knows_addresses: bool) -> bool:
    """Whether a guest with *facts* has to be looked at for what the user waits for: not for addresses that are known already."""
    wanted = set(spec.wait_for)
    state = facts["guest"]["state"] if spec.state == "present" else spec.state
    if not wanted or state in _RESTING:
        return False
    return wanted != {"ip"} or not knows_addresses
