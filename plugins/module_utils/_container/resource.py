# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The container as a resource that converges."""

from __future__ import annotations

import functools
import typing as t

from .._core.converge import Waiting, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._guest.claims import foreseen
from .._guest.spec import GuestSpec
from .._guest.waits import has_to_wait
from .._host.snapshot import BRIDGE, FOLDER, GUEST, IMAGE, ORIGIN, POOL, SERVICE_LXC, Host
from .facts import facts_of, guest_facts
from .observe import observe
from .plan import plan_container
from .spec import parse
from .state import State

if t.TYPE_CHECKING:
    from .._core.claims import Claims


class LxcContainer:
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> GuestSpec:
        return parse(params)

    def requires(self, spec: GuestSpec) -> tuple[Reference, ...]:
        """An absent container requires nothing: it can be taken away from a host that lacks everything."""
        if spec.state == "absent":
            return ()
        bridges = dict.fromkeys(item.text("bridge") for item in spec.wanted("networks"))
        named = [Reference(BRIDGE, bridge) for bridge in bridges if bridge]
        pool = spec.get("rootfs.pool")
        named += [Reference(POOL, pool)] if pool else []
        named += [Reference(IMAGE, spec.image)] if spec.image else []
        named += [Reference(ORIGIN, spec.origin)] if spec.origin else []
        named += [Reference(FOLDER, path) for path in spec.sources("mounts")]
        return (SERVICE_LXC, *named)

    def provides(self, spec: GuestSpec) -> tuple[Reference, ...]:
        return (Reference(GUEST, spec.name),)

    def observe(self, spec: GuestSpec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: GuestSpec, state: State) -> Plan:
        return plan_container(spec, state)

    def apply(self, spec: GuestSpec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        return self.load()(spec, state, plan, work)

    def load(self) -> t.Callable[..., t.Iterator[Change | Step]]:
        """The code that applies, for a layout's workers too: they are forked of a process that has it."""
        from .backend import apply_container  # most runs have nothing to apply, and do not pay for it

        return apply_container

    def settled(self, spec: GuestSpec) -> GuestSpec:
        return spec.replace(state="started") if spec.state == "restarted" else spec

    def facts(self, spec: GuestSpec, state: State) -> dict[str, t.Any]:
        return {"guest": facts_of(spec.name, state)}

    def claims(self, spec: GuestSpec | None, state: State) -> Claims:
        from .claims import claims_of  # only a layout compares claims

        return claims_of(spec, state)

    def standing(self, host: Host) -> dict[str, Claims]:
        from .standing import standing  # as above

        return standing(host)

    def promises(self, spec: GuestSpec) -> dict[str, t.Any]:
        """Its cards: what they get is asked for with what others get."""
        return foreseen(spec)

    def waiting(self, spec: GuestSpec, facts: t.Mapping[str, t.Any]) -> Waiting | None:
        guest = facts["guest"]
        plugged = (net["addresses"] for net in guest["networks"] if net["link"] == "up")
        knows_addresses = bool(guest["addresses"]) and all(plugged)
        is_due = has_to_wait(spec, facts, knows_addresses=knows_addresses)
        return functools.partial(self._wait, spec) if is_due else None

    def _wait(self, spec: GuestSpec, host: Host) -> dict[str, t.Any]:
        from . import wait  # most runs wait for nothing

        wait.wait_for(spec, host)
        host.drop()
        return {"guest": guest_facts(spec.name, host)}
