# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a host backs up by itself as a resource that converges."""

from __future__ import annotations

import platform
import typing as t

from ..._core.converge import OutsideLayout, Work
from ..._core.plan import Change, Plan, Step
from ..._core.reference import Reference, ReferenceKind
from ..._host.snapshot import Host
from ..config import AREAS
from .observe import observe
from .plan import plan_backups, shown
from .sheet import sheet_of
from .spec import Spec, parse
from .state import State

# Nothing but a run on it locks it.
SCHEDULE = ReferenceKind("schedule", 0, lambda dummy, name: None)


class HostBackup(OutsideLayout[Spec, State]):
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(SCHEDULE, "backups"),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_backups(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_backups  # most runs have nothing to apply, and do not pay for it

        return apply_backups(spec, state, plan, work)

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        told: dict[str, t.Any] = {
            area: {name: shown(area, its) for name, its in things.items()}
            for area in AREAS
            for things in (getattr(state, area),)
        }
        known = state.repositories.items()
        return {**told, "sheets": {name: sheet_of(platform.node(), name, its, state.jobs) for name, its in known}}
