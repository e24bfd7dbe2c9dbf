# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do to bring a guest back from a backup."""

from __future__ import annotations

from ..._core.decide import Draft, Power
from ..._core.options import NEVER_PERMITTED
from ..._core.plan import How, Plan
from ..._core.units import show_moment
from ..._guest.capture import CRASH
from ..._guest.content import show_copied
from .spec import OPTIONS, Spec
from .state import State


def plan_restore(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True), allow=spec.allow)
    if state.is_there:
        return draft.finish()
    before = "absent" if state.power == "absent" else "present"
    its = f"the {'copy' if spec.replica else 'backup'} {state.chosen}"
    if state.obstacle is not None or state.manifest is None:
        draft.add("state", before, "restored", permit=NEVER_PERMITTED, reason=f"state: {state.obstacle}")
        return draft.finish()
    needed = state.manifest.used_bytes
    if needed > state.available_bytes:
        reason = (
            f"pool: {its} takes {show_copied(needed)}, and the storage pool has {show_copied(state.available_bytes)} left. "
            "Make room, or choose another pool"
        )
        draft.add("state", before, "restored", permit=NEVER_PERMITTED, reason=reason)
        return draft.finish()
    if before == "present":
        _plan_overwrite(draft, spec, state, its)
    else:
        _plan_creation(draft, spec, state, its)
    for name, mount in state.manifest.mounts.items() if not draft.plan.refused else ():
        draft.plan.warnings.append(
            f"{its} has what lay in mounts[{name}] of {spec.source} too, {mount['source']} of {state.manifest.host}, which stays as it is: "
            f"paths: [{mount['path']}] brings it into a folder (to)"
        )
    if state.manifest.consistent == CRASH and not draft.plan.refused:
        draft.plan.warnings.append(f"{its} holds what a power cut would have left of {spec.source}")
    return draft.finish()


def _plan_overwrite(draft: Draft, spec: Spec, state: State, its: str) -> None:
    lost = f"what {spec.name} has written since {show_moment(state.chosen.made)}"
    how = How.RESTART if state.power in ("started", "paused") else How.LIVE
    draft.add(
        "state",
        "present",
        f"restored from {its}",
        how,
        permit="overwrite",
        reason=f"state: {spec.name} is there, and {its} takes {lost} away. It is kept as a snapshot",
    )
    for item, volume in state.volumes.items():
        draft.add(f"volumes[{item}]", "as it is", f"{volume} as of {show_moment(state.chosen.made)}")
    if not draft.plan.refused:
        draft.plan.warnings.append(
            f"{its} takes {lost} away. It is kept as a snapshot (before-revert). What {spec.name} is stays as it is declared"
        )


def _plan_creation(draft: Draft, spec: Spec, state: State, its: str) -> None:
    draft.add("state", "absent", "started" if spec.start else "stopped")
    draft.add("backup", None, its)
    manifest = state.manifest
    for item, volume in state.volumes.items():
        size = show_copied(int(manifest.volumes[item].get("used") or 0)) if manifest else ""
        draft.add(f"volumes[{item}]", None, f"{volume} ({size})")
    before = manifest.macs if manifest else {}
    for name, mac in state.macs.items():
        if mac != before.get(name):
            draft.add(f"networks[{name}].mac", before.get(name), mac)
    for name, bridge in state.bridges.items() if spec.network else ():
        if bridge != spec.network:
            draft.add(f"networks[{name}].bridge", bridge, spec.network)
