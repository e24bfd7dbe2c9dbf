# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What lies in the quarantine of a guest as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._host.snapshot import GUEST, Host
from .observe import observe
from .plan import plan_quarantine
from .spec import Spec, parse
from .state import State

if t.TYPE_CHECKING:
    from .._core.claims import Claims


class GuestQuarantine:
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        """What it came from is not asked for: its pools are looked at when it is moved."""
        return ()

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

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        """What lies there, the oldest first."""
        return {"quarantine": list(state.told), "restored": state.record.returned}

    def claims(self, spec: Spec | None, state: State) -> Claims:
        from .._core.claims import Claims  # only a layout compares claims

        return Claims()

    def standing(self, host: Host) -> dict[str, Claims]:
        """What lies there takes nothing from anybody."""
        return {}

    def promises(self, spec: Spec) -> dict[str, t.Any]:
        """Nothing is planned on it."""
        return {}

    def waiting(self, spec: Spec, facts: t.Mapping[str, t.Any]) -> None:
        """The guest is there when apply ends."""
