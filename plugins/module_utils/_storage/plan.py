# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is to do on a storage pool."""

from __future__ import annotations

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .._core.units import show_size
from .observe import State
from .spec import OPTIONS, Spec, with_create_defaults


def plan_pool(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True), allow=spec.allow, unset=spec.unset)
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
        return draft.finish()
    wanted = spec if state.is_defined else with_create_defaults(spec)
    if not state.is_defined:
        draft.add("state", "absent", "stopped" if spec.state == "stopped" else "started")
        if state.path_is_of is not None:
            reason = f"path: {wanted.path} is the folder of the storage pool {state.path_is_of}. Choose another, or use that pool"
            draft.add("path", None, wanted.path, permit=NEVER_PERMITTED, reason=reason)
    _compare(draft, wanted, state)
    if state.is_defined:
        _plan_power(draft, spec, state)
    _warn(draft.plan, wanted, state)
    return draft.finish()


def _compare(draft: Draft, wanted: Spec, state: State) -> None:
    for path, declared, actual in (("type", wanted.type, state.type), ("path", wanted.path, state.path)):
        if not state.is_defined:
            draft.compare(path, declared, None)
        elif declared is not None and declared != actual:
            reason = f"{path}: the storage pool {wanted.name} has {actual!r}; {declared!r} is another pool. Give it another name"
            draft.add(path, actual, declared, permit=NEVER_PERMITTED, reason=reason)
    draft.compare("autostart", wanted.autostart, state.autostart if state.is_defined else None)
    draft.compare("warn_free", wanted.warn_free, state.warn_free if state.is_defined else None)


def _plan_power(draft: Draft, spec: Spec, state: State) -> None:
    if spec.state == "started" and not state.is_active:
        draft.add("state", "stopped", "started")
    if spec.state == "stopped" and state.is_active:
        running = sorted(name for name, is_running in state.users.items() if is_running)
        reason = f"state: the storage pool {spec.name} is in use by running guests: {', '.join(running)}"
        draft.add(
            "state",
            "started",
            "stopped",
            permit=NEVER_PERMITTED if running else None,
            reason=reason if running else None,
        )


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    before = "started" if state.is_active else "stopped" if state.is_registered else "building"
    is_emptied = state.owns_folder and (state.content == 0 or (bool(state.content) and "delete_data" in spec.allow))
    if state.users and (state.is_registered or is_emptied):
        reason = f"state: the storage pool {spec.name} is in use by {', '.join(sorted(state.users))}"
        draft.add("state", before, "absent", permit=NEVER_PERMITTED, reason=reason)
        return
    if state.is_registered or state.is_building:
        draft.add("state", before, "absent")
    if is_emptied and state.mounts:
        reason = f"path: {', '.join(state.mounts)} is mounted in the storage pool {spec.name}; unmount it first"
        draft.add("path", state.path, None, permit=NEVER_PERMITTED, reason=reason)
    elif is_emptied:
        draft.add("path", state.path, None)
    elif state.content is not None and state.path is not None and (state.is_registered or state.owns_folder):
        entries = "1 entry" if state.content == 1 else f"{state.content} entries"
        draft.plan.kept.append(
            f"{state.path} ({entries})"
            if state.owns_folder
            else f"{state.path} ({entries}, not made by this collection)"
        )


def _warn(plan: Plan, wanted: Spec, state: State) -> None:
    threshold = wanted.warn_free if wanted.warn_free is not None else state.warn_free
    if not threshold or not state.capacity or state.available is None:
        return
    least = state.capacity * int(threshold[:-1]) // 100 if isinstance(threshold, str) else threshold
    if state.available < least:
        free = show_size(state.available // 2**20 * 2**20) or "0"
        shown = threshold if isinstance(threshold, str) else show_size(threshold)
        plan.warnings.append(f"storage pool {wanted.name}: only {free} are free, less than warn_free ({shown})")
