# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What lies in the quarantine of a guest as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import OutsideLayout, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._host.snapshot import GUEST, Host
from .observe import observe
from .plan import plan_quarantine
from .spec import Spec, parse
from .state import State


class GuestQuarantine(OutsideLayout[Spec, State]):
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        """What lies in the quarantine of a guest changes under the lock of that guest."""
        return (Reference(GUEST, spec.name),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_quarantine(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_quarantine  # most runs have nothing to apply, and do not pay for it

        return apply_quarantine(spec, state, plan, work)

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        """What lies there, the oldest first."""
        return {"quarantine": list(state.told), "restored": state.record.returned}
