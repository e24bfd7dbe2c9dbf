# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on the snapshots of a guest."""

from __future__ import annotations

from .._core import paths
from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import How, Plan
from .._core.units import show_moment, show_span
from .._guest.content import Part, copied_by_itself, is_held, show_copied
from .._guest.options import TEMPLATE
from .._guest.plan import snapshot_path, stand_on
from .._guest.record import GuestRecord, Snapshot
from .._vm.firmware import NVRAM
from .spec import OPTIONS, Spec, series_of
from .state import State

# What is there before a revert becomes a snapshot of this name and a number.
ASIDE = "before-revert-"
MEMORY = "memory"


def plan_snapshot(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True), allow=spec.allow)
    its = state.record.snapshots.get(spec.name)
    if spec.state == "absent":
        _plan_removal(draft, spec, state, its)
    elif spec.state == "reverted":
        _plan_revert(draft, spec, state, its)
    else:
        if its is None or its.is_building:
            _plan_creation(draft, spec, state, its)
        _plan_series(draft, spec, state)
    return draft.finish()


def _refuse(draft: Draft, before: str, after: str, reason: str) -> None:
    draft.add("state", before, after, permit=NEVER_PERMITTED, reason=reason)


# ---- present -----------------------------------------------------------------------------------------------------------------


def _plan_creation(draft: Draft, spec: Spec, state: State, its: Snapshot | None) -> None:
    before, reverting = "building" if its else "absent", state.record.reverting
    if reverting is not None:
        _refuse(draft, before, "present", f"state: {_interrupted(spec.guest, reverting.target)}")
        return
    if state.obstacle is not None:
        _refuse(draft, before, "present", f"state: {state.obstacle}")
        return
    draft.add("state", before, "present")
    for item, part in state.parts.items():
        _plan_part(draft, item, None, str(part.volume.snapshot(spec.name)), part)
    _plan_beside(draft, spec, state, None, "kept")
    copied = sum(part.copied_bytes for part in state.parts.values())
    if copied_by_itself(state.parts, copies_itself=state.copies_itself):
        draft.plan.warnings.append(f"{spec.guest} goes on while QEMU copies at most {show_copied(copied)} as it is now")
    if stands_still(state):
        copied = 0 if state.copies_itself else copied
        copied += sum(its.copied_bytes for word, its in state.beside.items() if word != MEMORY)
        meanwhile = f" while {show_copied(copied)} are copied" if copied else ""
        draft.plan.warnings.append(f"{spec.guest} is held still{meanwhile}, so that all of it is of one moment")
    _say_what_is_left_out(draft, spec, state)
    if MEMORY in state.beside:
        draft.plan.warnings.append(f"{spec.guest} goes on while its memory is written, all but the last of it")
    elif state.power in ("started", "paused") and not state.has_agent:
        draft.plan.warnings.append(
            f"{spec.guest} runs: the snapshot holds what a power cut would leave, and what its programs had not written yet is not in it. "
            "Stop it first where that matters"
        )


def stands_still(state: State) -> bool:
    """Whether the guest is held while the snapshot is made, so that all of it is of one moment."""
    is_needed = is_held(state.power, state.parts, copies_itself=state.copies_itself)
    return is_needed or (state.power == "started" and bool(state.beside))


def _plan_beside(draft: Draft, spec: Spec, state: State, before: str | None, after: str) -> None:
    copied = sum(its.copied_bytes for its in state.beside.values())
    for word, its in state.beside.items():
        reason = None
        if word == MEMORY and state.memory_obstacle is not None:
            way = "Make the snapshot" if spec.state == "present" else "Bring its disks back"
            reason = f"{word}: {state.memory_obstacle}. {way} without it (memory: false)"
        elif copied > state.beside_available_bytes:
            reason = (
                f"{word}: takes a copy of at most {show_copied(its.copied_bytes)}, and {paths.SNAPSHOTS} has "
                f"{show_copied(state.beside_available_bytes)} left. Make room there"
            )
        size = f" (a copy of at most {show_copied(its.copied_bytes)})" if its.copied_bytes else ""
        draft.add(word, before, f"{after}{size}", permit=NEVER_PERMITTED if reason else None, reason=reason)


def _say_what_is_left_out(draft: Draft, spec: Spec, state: State) -> None:
    if state.left_out:
        draft.plan.warnings.append(
            f"{', '.join(state.left_out)}: {spec.guest} writes to it, this collection did not make it, and it is in no snapshot"
        )


def _plan_part(draft: Draft, item: str, before: str | None, after: str, part: Part) -> None:
    path, size = f"volumes[{item}]", show_copied(part.copied_bytes)
    how = f"a copy of at most {size}" if part.copied_bytes else "shares its blocks"
    reason = None
    if part.in_the_way is not None:
        reason = f"{path}: {part.in_the_way} is there already, and no record says what it is. Move it away"
    elif part.copied_bytes > part.available_bytes:
        reason = (
            f"{path}: takes a copy of at most {size}, and the storage pool {part.volume.pool} has {show_copied(part.available_bytes)} left. "
            "Make room, or use a pool of type btrfs, where a snapshot shares its blocks"
        )
    draft.add(path, before, f"{after} ({how})", permit=NEVER_PERMITTED if reason else None, reason=reason)


def _plan_series(draft: Draft, spec: Spec, state: State) -> None:
    if spec.keep is None or draft.plan.refused:
        return
    for name in beyond(spec, state.record):
        _plan_deletion(draft, name, state)


def beyond(spec: Spec, record: GuestRecord) -> list[str]:
    """The snapshots of the series of *spec* that are not whole, and the oldest beyond those that it keeps. The declared one stays."""
    series = series_of(spec.name)
    others = [name for name in record.snapshots if name != spec.name and series_of(name) == series]
    others.sort(key=lambda name: (not record.snapshots[name].is_building, record.snapshots[name].created, name))
    broken = sum(record.snapshots[name].is_building for name in others)
    return others[: max(broken, len(others) + 1 - (spec.keep or 1))]


# ---- absent ------------------------------------------------------------------------------------------------------------------


def _plan_removal(draft: Draft, spec: Spec, state: State, its: Snapshot | None) -> None:
    if its is None:
        return
    before, reverting = "building" if its.is_building else "present", state.record.reverting
    if reverting is not None and spec.name in reverting:
        _refuse(draft, before, "absent", f"state: {_interrupted(spec.guest, reverting.target)}")
    elif (why := state.used.get(snapshot_path(spec.name))) is not None:
        _refuse(draft, before, "absent", f"state: {why}")
    else:
        draft.add("state", before, "absent")


def _plan_deletion(draft: Draft, name: str, state: State) -> None:
    path = snapshot_path(name)
    why = state.used.get(path)
    before = ", ".join(state.places.get(name, ())) or name
    draft.add(path, before, None, permit=NEVER_PERMITTED if why else None, reason=f"{path}: {why}" if why else None)


# ---- reverted ----------------------------------------------------------------------------------------------------------------


def _plan_revert(draft: Draft, spec: Spec, state: State, its: Snapshot | None) -> None:
    reason = _obstacle_to_revert(spec, state, its)
    if its is None or reason is not None:
        _refuse(draft, "absent" if its is None else "present", "reverted", f"state: {reason}")
        return
    aside, then = state.aside, show_moment(its.created)
    for item, part in state.targets.items():
        _plan_part(draft, item, "as it is", f"as of {then}", part)
    _plan_beside(draft, spec, state, "as it is", f"as of {then}")
    draft.add(snapshot_path(aside), None, "what is there now")
    lost = f"what {spec.guest} has written since {then} ({show_span(state.now - its.created)})"
    how = How.RESTART if state.power in ("started", "paused") else How.LIVE
    kept = f"It is kept as the snapshot {aside}"
    draft.add(
        "state",
        "present",
        "reverted",
        how,
        permit="revert",
        reason=f"state: a revert to {spec.name} takes {lost} away. {kept}",
    )
    if not draft.plan.refused:
        if MEMORY in state.beside:
            draft.plan.warnings.append(
                f"{spec.guest} goes on where it was then, with the memory and the clock of {then}"
            )
        _say_what_is_left_out(draft, spec, state)
        draft.plan.warnings.append(f"the revert to {spec.name} takes {lost} away. {kept}")


def _obstacle_to_revert(spec: Spec, state: State, its: Snapshot | None) -> str | None:
    reverting = state.record.reverting
    if reverting is not None and reverting.target != spec.name:
        return _interrupted(spec.guest, reverting.target)
    if its is None:
        known = ", ".join(name for name, other in state.record.snapshots.items() if not other.is_building)
        return f"{spec.guest} has no snapshot {spec.name}. It has: {known or 'none'}"
    if its.is_building:
        return f"the snapshot {spec.name} was never finished. Make it anew (state: present), or delete it"
    if state.clones:
        return f"{stand_on(spec.guest, state.clones)}, and it is not reverted. Take them away first"
    if state.record.value(TEMPLATE):
        return f"{spec.guest} is a template, and what it holds is not changed. Write template: false for it first"
    if spec.memory and MEMORY not in its.beside:
        return f"the snapshot {spec.name} has no memory. Bring its disks back without it (memory: false)"
    gone = next((word for word, kept in state.beside.items() if word != MEMORY and not kept.place), None)
    if gone is not None:
        return f"the snapshot {spec.name} has the {gone} of {spec.guest}, which has none of its own now"
    place = state.beside[NVRAM].place if NVRAM in state.beside else ""
    if its.nvram and place and its.nvram != place:
        return (
            f"the snapshot {spec.name} has the UEFI variables of another firmware ({its.nvram}) than {spec.guest} starts by now ({place}). "
            "Let it start by that one first (homelab.hybrid.kvm_vm, firmware)"
        )
    if state.lost:
        return f"the snapshot {spec.name} is not whole: {', '.join(state.lost)}"
    if state.obstacle is not None and reverting is None:
        return state.obstacle
    for item, volume in its.volumes.items():
        now = state.record.volumes.get(item)
        if now is None or now.volume.snapshot(spec.name) != volume:
            has = f"{spec.guest} has {now.volume if now else 'none of that name'}"
            return f"the snapshot {spec.name} is of {str(volume).rpartition('@')[0]}, and {has}"
    if its.idmap != state.record.idmap:
        return f"the files of {spec.name} have owners of other ids than {spec.guest} has now. It was made anew since"
    return None


def _interrupted(guest: str, target: str) -> str:
    return f"a revert of {guest} to {target} was interrupted. Finish it first: state: reverted with name: {target}"
