# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a storage pool."""

from __future__ import annotations

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .._core.units import show_size
from .spec import OPTIONS, Spec, with_create_defaults
from .state import ENFORCED, State


def plan_pool(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True), allow=spec.allow, unset=spec.unset)
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
        return draft.finish()
    if state.is_defined:
        _compare(draft, spec, state)
        _plan_quota(draft, state)
        _plan_power(draft, spec, state)
    else:
        _plan_creation(draft, with_create_defaults(spec), state)
    _warn(draft.plan, spec, state)
    return draft.finish()


def _plan_creation(draft: Draft, wanted: Spec, state: State) -> None:
    draft.add("state", "absent", "stopped" if wanted.state == "stopped" else "started")
    reason = _path_obstacle(wanted, state)
    if reason is not None:
        draft.add("path", None, wanted.path, permit=NEVER_PERMITTED, reason=reason)
    for path in OPTIONS.compared():
        if path != "source":
            draft.compare(path, wanted.values.get(path), None)
    if wanted.source is not None:
        _plan_source(draft, wanted, state)


def _path_obstacle(wanted: Spec, state: State) -> str | None:
    """Why there can be no such pool at the path, and what permits it."""
    if state.path_is_of is not None:
        return f"path: {wanted.path} is the folder of the storage pool {state.path_is_of}. Choose another, or use that pool"
    if state.file_in_the_way is not None:
        return f"path: {state.file_in_the_way} is no folder. Choose another path"
    if wanted.type != "btrfs":
        return None
    if wanted.source is None and state.file_system != "btrfs":
        return (
            f"path: {wanted.path} lies on {state.file_system}, and a pool of type btrfs on btrfs. "
            "Choose a folder on one, or write source: a device or an image file that becomes one"
        )
    if wanted.source is not None and state.content and not state.is_mounted:
        return f"path: {wanted.path} has content, which {wanted.source} would hide when it is mounted there"
    return None


def _plan_source(draft: Draft, wanted: Spec, state: State) -> None:
    found = state.found
    if found is None:
        draft.plan.assumed.append(f"source {wanted.source}")
    elif (found.is_busy or state.source_users) and not state.is_mounted:
        users = f"by {', '.join(state.source_users)}" if state.source_users else "on this host"
        reason = f"source: {wanted.source} is in use {users}. Unmount it, or take it out of what it is part of, first"
        draft.add("source", None, wanted.source, permit=NEVER_PERMITTED, reason=reason)
        return
    elif found.holds not in ("", "btrfs") and not state.is_formatting:
        reason = f"source: {wanted.source} holds {found.holds}, which is lost when it is formatted"
        draft.add("source", found.holds, wanted.source, permit="format", reason=reason)
        return
    draft.add("source", None, wanted.source)


def _compare(draft: Draft, spec: Spec, state: State) -> None:
    for path, actual in (("type", state.type), ("path", state.path), ("source", state.source)):
        declared = spec.values.get(path)
        if declared is not None and declared != actual:
            reason = f"{path}: the storage pool {spec.name} has {actual!r}; {declared!r} is another pool. Give it another name"
            draft.add(path, actual, declared, permit=NEVER_PERMITTED, reason=reason)
    draft.compare("autostart", spec.values.get("autostart"), state.autostart)
    draft.compare("warn_free", spec.values.get("warn_free"), state.warn_free)


def _plan_quota(draft: Draft, state: State) -> None:
    """btrfs gives up counting after some deletions of large trees; the sizes of the roots hold nothing then."""
    if state.type == "btrfs" and state.quota not in (ENFORCED, None):
        draft.add("quota", state.quota, ENFORCED)


def _plan_power(draft: Draft, spec: Spec, state: State) -> None:
    if spec.state == "started" and not state.is_active:
        draft.add("state", "stopped", "started")
    if spec.state == "stopped" and (state.is_active or state.is_mounted):
        running = sorted(name for name, is_running in state.users.items() if is_running)
        reason = f"state: the storage pool {spec.name} is in use, and at work on it: {', '.join(running)}"
        draft.add(
            "state",
            "started",
            "stopped",
            permit=NEVER_PERMITTED if running else None,
            reason=reason if running else None,
        )


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    before = "started" if state.is_active else "stopped" if state.is_registered else "building"
    owned = "source" if state.source else "path"
    is_ours = state.owns_file_system if state.source else state.owns_folder
    # What is in a file system that is not mounted nobody knows.
    has_data = state.content is None if state.source and not state.is_mounted else bool(state.content)
    is_there = state.found is not None if state.source else state.content is not None
    is_emptied = is_ours and is_there and (not has_data or state.is_formatting or "delete_data" in spec.allow)
    users = sorted([*state.users, *(f"{name} in the quarantine" for name in state.quarantined)])
    if users and (state.is_registered or is_emptied):
        reason = f"state: the storage pool {spec.name} is in use by {', '.join(users)}"
        draft.add("state", before, "absent", permit=NEVER_PERMITTED, reason=reason)
        return
    if state.is_registered or state.is_building:
        draft.add("state", before, "absent")
    place = state.source or state.path
    if is_emptied and state.mounts:
        reason = f"path: {', '.join(state.mounts)} is mounted in the storage pool {spec.name}; unmount it first"
        draft.add(owned, place, None, permit=NEVER_PERMITTED, reason=reason)
    elif is_emptied:
        draft.add(owned, place, None)
    elif is_there and place is not None and (state.is_registered or is_ours):
        draft.plan.kept.append(_kept(place, state, is_ours=is_ours))


def _kept(place: str, state: State, *, is_ours: bool) -> str:
    entries = (
        "not mounted" if state.content is None else "1 entry" if state.content == 1 else f"{state.content} entries"
    )
    return f"{place} ({entries})" if is_ours else f"{place} ({entries}, not made by this collection)"


def _warn(plan: Plan, spec: Spec, state: State) -> None:
    declared = spec.values.get("warn_free")
    threshold = state.warn_free if declared is None else declared
    if not threshold or not state.capacity or state.available is None:
        return
    least = state.capacity * int(threshold[:-1]) // 100 if isinstance(threshold, str) else threshold
    if state.available < least:
        free = show_size(state.available // 2**20 * 2**20) or "0"
        shown = threshold if isinstance(threshold, str) else show_size(threshold)
        lying = [f"{name} until {until}" for name, until in state.quarantined.items()]
        beside = (
            f". In its quarantine lies {', '.join(lying)}; homelab.hybrid.guest_quarantine empties it before"
            if lying
            else ""
        )
        plan.warnings.append(f"storage pool {spec.name}: only {free} are free, less than warn_free ({shown}){beside}")
