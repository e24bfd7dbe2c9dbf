# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A guest that comes out of a backup, as a resource that converges."""

from __future__ import annotations

import typing as t

from ..._core.converge import OutsideLayout, Work
from ..._core.plan import Change, Plan, Step
from ..._core.reference import Reference
from ..._host.snapshot import BRIDGE, GUEST, POOL, Host
from ..files.observe import observe_files
from ..files.plan import plan_files
from ..files.state import FilesState
from .observe import observe
from .plan import plan_restore
from .spec import Spec, parse
from .state import State


class GuestRestore(OutsideLayout[Spec, "State | FilesState"]):
    """See ``_core.converge.Resource``."""

    def __init__(self) -> None:
        # A job may make a newer one while this one is brought back.
        self._brought: str | None = None

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        found = [Reference(POOL, spec.pool)] if spec.pool else []
        return (*found, *([Reference(BRIDGE, spec.network)] if spec.network else []))

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(GUEST, spec.name),)

    def observe(self, spec: Spec, host: Host) -> State | FilesState:
        return observe_files(spec) if spec.paths else observe(spec, host)

    def plan(self, spec: Spec, state: State | FilesState) -> Plan:
        return plan_files(spec, state) if isinstance(state, FilesState) else plan_restore(spec, state)

    def apply(self, spec: Spec, state: State | FilesState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        self._brought = state.chosen.id
        if isinstance(state, FilesState):
            from ..files.apply import apply_files  # most runs have nothing to apply, and do not pay for it

            return apply_files(spec, state, plan, work)
        from .apply import apply_restore  # the same

        return apply_restore(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec._replace(backup=self._brought or spec.backup, at=None)

    def facts(self, spec: Spec, state: State | FilesState) -> dict[str, t.Any]:
        if isinstance(state, FilesState):
            return {"backup": state.chosen.told(), "files": {"paths": list(spec.paths), "to": spec.to}}
        return {"backup": state.chosen.told(), "guest": {"name": spec.name, "state": state.power}}
