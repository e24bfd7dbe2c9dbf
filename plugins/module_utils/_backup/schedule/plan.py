# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on the backups of a host. A repository and a job are what is written of them, all of it."""

from __future__ import annotations

import typing as t

from ..._core.decide import Draft, Power
from ..._core.options import NEVER_PERMITTED, Item
from ..._core.plan import Plan
from ..config import AREAS, JOBS, REPLICATIONS, REPOSITORIES, keep_of
from ..drill.health import MUTE
from .spec import OPTIONS, SCHEDULES, SECRETS, Spec
from .state import State

# Of backups in a repository to which this host can only add.
_ELSEWHERE = "what is old goes where the repository lies"


def plan_backups(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    standing: dict[str, t.Any] = {area: getattr(state, area) for area in AREAS}
    for area, its in spec.items():
        before = standing[area].get(its.name)
        path = f"{area}[{its.name}]"
        if not its.is_wanted:
            if before is not None:
                draft.add(
                    path, shown(area, before), None, **_refused(_obstacle_to_removal(area, its.name, spec, state))
                )
            continue
        reason = _obstacle(area, its, spec, state)
        if reason is not None:
            draft.add(path, None, shown(area, its.values), **_refused(f"{path}{reason}"))
        elif before is None:
            draft.add(path, None, shown(area, its.values))
        else:
            _compare(draft, area, its, before, state)
        if its.get("append_only") and not (before or {}).get("append_only") and not draft.plan.refused:
            draft.plan.warnings.append(
                f"{path}: this host lets go of nothing in it, as it is append-only. Who owns the repository lets go of what is old "
                "(restic forget --prune), or it grows for ever"
            )
    after = after_all(spec, state)
    if (after[JOBS] or after[REPLICATIONS]) and not state.has_program:
        draft.add("program", "missing, or of another version", "as this collection has it")
    draft.plan.warnings += [
        f"jobs[{job}].drill: {guest} comes to nothing in it, and it fails: {MUTE}"
        for job, guests in state.mute.items()
        for guest in guests
    ]
    draft.plan.warnings += [f"jobs[{job}].keep: {told}" for job, told in state.unkept.items()]
    return draft.finish()


def after_all(spec: Spec, state: State) -> dict[str, dict[str, t.Mapping[str, t.Any]]]:
    """All repositories and jobs, also those of replication, once *spec* stands, by list and name."""
    found = {area: dict(getattr(state, area)) for area in AREAS}
    for area, its in spec.items():
        if its.is_wanted:
            found[area][its.name] = its.values
        else:
            found[area].pop(its.name, None)
    return found


def _compare(draft: Draft, area: str, its: Item, before: t.Mapping[str, t.Any], state: State) -> None:
    path = f"{area}[{its.name}]"
    has_change = False
    for key, option in OPTIONS.lists[area].items():
        old, new = before.get(key), its.get(key)
        if old == new:
            continue
        has_change = True
        reason = None
        if area == REPOSITORIES and key == "password" and its.name in state.made:
            reason = (
                f"{path}.{key}: the repository keeps the password that it was made with. Give it another one with restic (key passwd), and "
                "write that into its file on the host, or make another repository"
            )
        change = draft.add(f"{path}.{key}", option.show(old), option.show(new), **_refused(reason))
        change.secret = option.secret
    if not has_change and f"{area}/{its.name}" in state.broken:
        draft.add(path, "not as it was written", "as it was written")


def shown(area: str, values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A repository or job as the user writes it, without its secrets."""
    rows = OPTIONS.lists[area]
    return {
        key: "(secret)" if key in SECRETS else rows[key].show(value) for key, value in values.items() if key in rows
    }


def _refused(reason: str | None) -> dict[str, t.Any]:
    return {"permit": NEVER_PERMITTED, "reason": reason} if reason else {}


def _obstacle(area: str, its: Item, spec: Spec, state: State) -> str | None:
    after = after_all(spec, state)
    if area == REPOSITORIES:
        why = state.unreachable.get(its.name)
        keeping = [job for job, other in after[JOBS].items() if other.get("repository") == its.name and _keeps(other)]
        if its.get("append_only") and keeping:
            return f".append_only: {', '.join(sorted(keeping))} would let go of backups in it. Leave keep away from that: {_ELSEWHERE}"
        return None if why is None else f".path: {why}"
    if area == REPLICATIONS:
        for guest in its.get("guests") or ():
            if guest in state.unsendable:
                return f".guests: {state.unsendable[guest]}"
    elif spec.targets is not None and (strangers := sorted({*its.get("notify", ())} - {*spec.targets})):
        return f".notify: there is no target {strangers[0]}. Declare it in hypervisor_notify"
    elif its.get("repository") not in after[REPOSITORIES]:
        return f".repository: there is no repository {its.get('repository')}. Declare it too"
    elif after[REPOSITORIES][its.get("repository")].get("append_only") and _keeps(its.values):
        return f".keep: its repository {its.get('repository')} is append-only, and {_ELSEWHERE}. Leave keep away"
    for key in SCHEDULES:
        why = state.problems.get(its.get(key))
        if why is not None:
            return (
                f".{key}: systemd knows no such time: {why}. Write one as for OnCalendar, such as daily or *-*-* 02:30"
            )
    return None


def _keeps(job: t.Mapping[str, t.Any]) -> bool:
    """Whether *job* lets go of what it does not keep."""
    return any(keep_of(job).values())


def _obstacle_to_removal(area: str, name: str, spec: Spec, state: State) -> str | None:
    users = [job for job, its in after_all(spec, state)[JOBS].items() if its.get("repository") == name]
    if area != REPOSITORIES or not users:
        return None
    return f"{area}[{name}]: {', '.join(sorted(users))} backs up into it. Take that away too"
