# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The pages to which a host tells how its guests are, as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import OutsideLayout, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference, ReferenceKind
from .._host.snapshot import Host
from .observe import observe
from .plan import plan_overview
from .spec import Spec, parse
from .state import State

# Nothing but a run on it locks it.
OVERVIEW = ReferenceKind("overview", 0, lambda dummy, name: None)


class HostOverview(OutsideLayout[Spec, State]):
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(OVERVIEW, "overview"),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_overview(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_overview  # most runs have nothing to apply, and do not pay for it

        return apply_overview(spec, state, plan, work)

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        return {"guests": dict(state.guests)}
