# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The snapshot of a guest as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import OutsideLayout, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._guest.facts import snapshots_of
from .._host.snapshot import GUEST, Host
from .observe import observe
from .plan import plan_snapshot
from .spec import Spec, parse
from .state import State


class GuestSnapshot(OutsideLayout[Spec, State]):
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        """The snapshots that are kept of a guest can be deleted when it is no more."""
        return () if spec.state == "absent" else (Reference(GUEST, spec.guest),)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        """A snapshot is a part of its guest, and changes under its lock."""
        return (Reference(GUEST, spec.guest),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_snapshot(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_snapshot  # most runs have nothing to apply, and do not pay for it

        return apply_snapshot(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec._replace(state="present") if spec.state == "reverted" else spec

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        """The snapshot as it is, and all of its guest, the oldest first."""
        told = snapshots_of(state.record)
        nothing: dict[str, t.Any] = {"name": spec.name, "created": None, "consistency": None, "volumes": []}
        own = next((its for its in told if its["name"] == spec.name), None)
        return {
            "snapshot": {"guest": spec.guest, "state": "present" if own else "absent", **(own or nothing)},
            "snapshots": told,
        }
