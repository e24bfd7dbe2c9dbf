# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a mount of the host."""

from __future__ import annotations

import typing as t

from .._core.decide import Draft, Power
from .._core.options import DEFINITION, NEVER_PERMITTED
from .._core.plan import Plan
from .spec import OPTIONS, Spec, check_whole
from .state import State

# What a mount is: another value of it means unmounting first.
DEFINED = OPTIONS.compared(DEFINITION)


def values_after(spec: Spec, state: State) -> dict[str, t.Any]:
    """What the mount is once *spec* stands."""
    before = dict(state.values) if state.exists else OPTIONS.created({})
    taken_off = {path: OPTIONS[path].off for path in spec.unset}
    return {**before, **spec.values, **taken_off}


def plan_mount(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure.

    :raises SpecError: for what does not go together.
    """
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True), unset=spec.unset)
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
        return draft.finish()
    wanted = values_after(spec, state)
    check_whole(spec.path, wanted)
    if not state.has_client:
        _without_client(draft, spec, state, wanted["type"])
        return draft.finish()
    if state.obstacle is not None:
        draft.add("path", None, spec.path, permit=NEVER_PERMITTED, reason=f"path: {state.obstacle}")
        return draft.finish()
    if not state.exists:
        draft.add("state", "absent", "present")
    for path in OPTIONS.compared():
        before = state.values.get(path) if state.exists else None
        draft.compare(path, wanted.get(path) if not state.exists else spec.values.get(path), before)
    changed = [change.path for change in draft.plan.changes if change.path in DEFINED]
    if state.exists and changed and state.users:
        reason = f"{changed[0]}: {spec.path} is mounted anew for that, and {_named(state.users)} on it. Stop it first"
        draft.add(changed[0], None, wanted.get(changed[0]), permit=NEVER_PERMITTED, reason=reason)
    if state.exists and not state.is_whole and not changed:
        draft.add("units", "not as they were written", "as they were written")
    return draft.finish()


def _without_client(draft: Draft, spec: Spec, state: State, type_: str) -> None:
    reason = f"the kernel of this host has no client of {type_}, so nothing can be mounted at {spec.path}"
    if spec.leaves_out:
        draft.plan.warnings.append(f"{reason}. It is left out")
    else:
        draft.add("type", None, type_, permit=NEVER_PERMITTED, reason=f"type: {reason}")


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    if not state.exists and not state.is_building:
        return
    if state.users:
        reason = f"state: {_named(state.users)} on what is mounted at {spec.path}"
        draft.add("state", "present", "absent", permit=NEVER_PERMITTED, reason=reason)
        return
    draft.add("state", "present" if state.exists else "building", "absent")


def _named(users: t.Sequence[str]) -> str:
    return f"{', '.join(users)} {'stands' if len(users) == 1 else 'stand'}"
