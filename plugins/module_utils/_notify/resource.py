# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whom a host tells what happens, as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import OutsideLayout, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference, ReferenceKind
from .._host.snapshot import Host
from .observe import observe
from .plan import plan_notices, shown
from .spec import ALERTS, METRICS, TARGETS, Spec, parse
from .state import State

# Nothing but a run on it locks it.
NOTICES = ReferenceKind("notices", 0, lambda dummy, name: None)


class HostNotify(OutsideLayout[Spec, State]):
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(NOTICES, "notices"),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_notices(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_notices  # most runs have nothing to apply, and do not pay for it

        return apply_notices(spec, state, plan, work)

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        kept = state.kept
        targets = {name: shown(its) for name, its in kept.targets.items()}
        return {TARGETS: targets, ALERTS: sorted(kept.alerts), METRICS: kept.measures}
