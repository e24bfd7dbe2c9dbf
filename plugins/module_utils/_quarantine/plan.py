# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on what lies in the quarantine."""

from __future__ import annotations

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .spec import ALL, LATEST, OPTIONS, Spec
from .state import Entry, State


def plan_quarantine(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=False, will_run=False))
    if spec.state == "absent":
        for moment in wanted(spec, state):
            _plan_end(draft, moment, state.entries[moment])
        return draft.finish()
    entry = to_restore(spec, state)
    if entry is not None:
        _plan_return(draft, spec, state, entry)
    elif not was_restored(spec, state):
        known = ", ".join(state.entries) or "nothing"
        reason = f"moment: {spec.moment} of {spec.name} is not in the quarantine of this host. There is {known}"
        draft.add("moment", None, spec.moment, permit=NEVER_PERMITTED, reason=reason)
    return draft.finish()


def wanted(spec: Spec, state: State) -> list[str]:
    """The moments that *spec* names and that are there."""
    moments = list(state.entries)
    if spec.moment == ALL:
        return moments
    return moments[-1:] if spec.moment == LATEST else [its for its in moments if its == spec.moment]


def to_restore(spec: Spec, state: State) -> Entry | None:
    """What is taken back: first of all what a run that was killed has begun with."""
    begun = next((its for its in state.entries.values() if its.name == state.record.returned), None)
    if begun is not None and spec.moment in (LATEST, moment_in(begun.name)):
        return begun
    if was_restored(spec, state):
        return None
    moments = wanted(spec, state)
    return state.entries[moments[-1]] if moments else None


def was_restored(spec: Spec, state: State) -> bool:
    """Whether the guest is what was taken back."""
    returned = state.record.returned
    return returned is not None and spec.moment in (LATEST, moment_in(returned))


def moment_in(name: str) -> str:
    return name.rpartition("@")[2]


def path_of(moment: str) -> str:
    """How a plan calls what lies in the quarantine since *moment*."""
    return f"quarantine[{moment}]"


def _plan_end(draft: Draft, moment: str, entry: Entry) -> None:
    shown = ", ".join(entry.places.values()) or entry.name
    if entry.stuck:
        reason = f"{path_of(moment)}: {entry.stuck[0]}"
        draft.add(path_of(moment), shown, None, permit=NEVER_PERMITTED, reason=reason)
    else:
        draft.add(path_of(moment), shown, None)


def _plan_return(draft: Draft, spec: Spec, state: State, entry: Entry) -> None:
    is_begun = state.record.returned == entry.name
    refusals = [*entry.stuck, *(() if is_begun else entry.taken)]
    if state.is_known and not is_begun:
        refusals = [f"there is a guest {spec.name}. Take that away first, also with delete: it comes to the quarantine"]
    if refusals:
        reason = f"state: {refusals[0]}"
        draft.add("state", "in the quarantine", "stopped", permit=NEVER_PERMITTED, reason=reason)
        return
    if entry.record.quarantine and entry.record.quarantine.definition:
        draft.add("state", "in the quarantine", "stopped")
    else:
        draft.plan.warnings.append(
            f"{spec.name} was no guest any more when this was deleted: what comes back is kept for one, which takes it over with allow: [adopt]"
        )
    for what, place in entry.places.items():
        draft.add(what, place, "in its place")
