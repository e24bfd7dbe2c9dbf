# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The storage pool as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._core.units import show_size
from .._host.snapshot import FOLDER, POOL, SERVICE_LIBVIRT, Host
from .observe import observe
from .plan import plan_pool
from .spec import Spec, parse, show_warn_free
from .state import State

if t.TYPE_CHECKING:
    from .._core.claims import Claims


class StoragePool:
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        if spec.state == "absent" or spec.path is None:
            return (SERVICE_LIBVIRT,)
        return (SERVICE_LIBVIRT, Reference(FOLDER, spec.path))

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(POOL, spec.name),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_pool(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_pool  # most runs have nothing to apply, and do not pay for it

        return apply_pool(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        """The pool as it is: sizes in bytes beside what a person reads."""
        power = "started" if state.is_active else "stopped"
        pool = {
            "name": spec.name,
            "state": power if state.is_defined else "absent",
            "type": state.type,
            "path": state.path,
            "source": state.source,
            "autostart": state.autostart,
            "warn_free": show_warn_free(state.warn_free),
            "capacity_bytes": state.capacity,
            "available_bytes": state.available,
            "available": show_size(state.available // 2**20 * 2**20) if state.available else None,
            "users": sorted(state.users),
        }
        return {"storage_pool": pool}

    def claims(self, spec: Spec | None, state: State) -> Claims:
        from .claims import claims_of  # only a layout compares claims

        return claims_of(spec, state)

    def standing(self, host: Host) -> dict[str, Claims]:
        from .claims import standing  # as above

        return standing(host)

    def promises(self, spec: Spec) -> dict[str, t.Any]:
        return {"path": spec.path, "type": spec.type or "dir"} if spec.path is not None else {}

    def waiting(self, spec: Spec, facts: t.Mapping[str, t.Any]) -> None:
        """A pool is there when apply ends."""
