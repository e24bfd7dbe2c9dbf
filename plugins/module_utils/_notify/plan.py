# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on whom a host tells. A target is what is written of it, all of it."""

from __future__ import annotations

import typing as t

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .spec import ALERTS, MAIL, METRICS, OPTIONS, SECRETS, TARGETS, Spec
from .state import Kept, State

Values = t.Mapping[str, t.Any]


def plan_notices(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    for its in spec.targets:
        before, path = state.kept.targets.get(its.name), f"{TARGETS}[{its.name}]"
        if not its.is_wanted:
            if before is not None:
                draft.add(path, shown(before), None)
        elif its.get("type") == MAIL and its.get("server") is None and not state.has_sendmail:
            reason = f"{path}.server: this host has no sendmail. Name the server that takes the mail, or install a program that has one"
            draft.add(path, before and shown(before), shown(its.values), permit=NEVER_PERMITTED, reason=reason)
        elif before is None:
            draft.add(path, None, shown(its.values))
        else:
            _compare(draft, path, its.values, before, is_broken=its.name in state.broken)
    kept = after_all(spec, state)
    for guest in spec.alerts:
        was = guest.name in state.kept.alerts
        if was != guest.is_wanted:
            draft.add(f"{ALERTS}[{guest.name}]", was or None, guest.is_wanted or None)
    if kept.measures != state.kept.measures:
        draft.add(METRICS, state.kept.measures, kept.measures)
    if not kept.is_empty:
        if not state.has_program:
            draft.add("program", "missing, or of another version", "as this collection has it")
        if not state.kept.is_empty and not state.has_units:
            draft.add("units", "not as they were written", "as they were written")
    return draft.finish()


def after_all(spec: Spec, state: State) -> Kept:
    """All that is kept once *spec* stands."""
    found, alerts = dict(state.kept.targets), set(state.kept.alerts)
    for guest in spec.alerts:
        (alerts.add if guest.is_wanted else alerts.discard)(guest.name)
    for its in spec.targets:
        if its.is_wanted:
            found[its.name] = its.values
        else:
            found.pop(its.name, None)
    measures = state.kept.measures if spec.measures is None else spec.measures
    return Kept(found, frozenset(alerts), measures)


def _compare(draft: Draft, path: str, values: Values, before: Values, *, is_broken: bool) -> None:
    has_change = False
    for key, option in OPTIONS.lists[TARGETS].items():
        old, new = before.get(key), values.get(key)
        if old != new:
            has_change = True
            draft.add(f"{path}.{key}", option.show(old), option.show(new)).secret = option.secret
    if is_broken and not has_change:
        draft.add(path, "not as it was written", "as it was written")


def shown(values: Values) -> dict[str, t.Any]:
    """A target as the user writes it, without its secrets."""
    rows = OPTIONS.lists[TARGETS]
    return {
        key: "(secret)" if key in SECRETS else rows[key].show(value) for key, value in values.items() if key in rows
    }
