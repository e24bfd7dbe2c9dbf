# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on the pages to which a host tells how its guests are."""

from __future__ import annotations

import typing as t

from .._core.decide import Draft, Power
from .._core.plan import Plan
from .spec import OPTIONS, Spec
from .state import State


def plan_overview(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    after = after_all(spec, state)
    for guest in sorted({*state.guests, *after}):
        if state.guests.get(guest) != after.get(guest):
            draft.add(f"guests[{guest}]", state.guests.get(guest), after.get(guest))
    if after:
        if not state.has_program:
            draft.add("program", "missing, or of another version", "as this collection has it")
        if state.guests and not state.has_units:
            draft.add("units", "not as they were written", "as they were written")
    return draft.finish()


def after_all(spec: Spec, state: State) -> dict[str, t.Any]:
    """All guests that are told once *spec* stands."""
    if spec.is_wanted:
        return {**state.guests, str(spec.guest): spec.host}
    lost = state.gone if spec.guest is None else {spec.guest}
    return {guest: host for guest, host in state.guests.items() if guest not in lost}
