# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The bridge as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._host.snapshot import SERVICE_LIBVIRT, Host
from .observe import State, observe
from .plain import Plain
from .plain_observe import PlainState, is_plain, observe_plain
from .plain_plan import plan_plain
from .plan import plan_bridge
from .settings import Settings
from .spec import PORTS_MODE, Spec, parse


class Bridge:
    """See ``_core.converge.Resource``. A bridge is carried by libvirt (``State``), or is one with ports (``PlainState``)."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        return () if spec.mode == PORTS_MODE else (SERVICE_LIBVIRT,)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference("bridge", spec.name),)

    def observe(self, spec: Spec, host: Host) -> State | PlainState:
        return observe_plain(spec, host) if is_plain(spec, host) else observe(spec, host)

    def plan(self, spec: Spec, state: State | PlainState) -> Plan:
        return plan_plain(spec, state) if isinstance(state, PlainState) else plan_bridge(spec, state)

    def apply(self, spec: Spec, state: State | PlainState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        if isinstance(state, PlainState):
            from .plain_apply import apply_plain  # most runs have nothing to apply, and do not pay for it

            return apply_plain(spec, state, plan, work)
        from .apply import apply_bridge  # as above

        return apply_bridge(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: State | PlainState) -> dict[str, t.Any]:
        """The bridge as it runs, or as it is defined while it is stopped."""
        if isinstance(state, PlainState):
            return {"bridge": _plain_facts(spec, state)}
        settings = state.live or state.persistent or Settings(mode="")
        power = "started" if state.is_active else "stopped"
        first, last = settings.ranges[0] if settings.ranges else (None, None)
        bridge = {
            "name": spec.name,
            "state": power if state.is_defined else "absent",
            "mode": settings.mode or None,
            "address": settings.address or None,
            "dhcp": {"start": first, "end": last, "hosts": [host.shown() for host in settings.hosts]},
            "dns": {
                "domain": settings.domain or None,
                "hosts": [{"name": name, "ip": ip} for name, ip in settings.dns_hosts],
                "forwarders": list(settings.forwarders),
            },
            "mtu": settings.mtu or None,
            "autostart": state.autostart,
            "mac": state.mac,
            "network": state.network,
            "ports": list(state.ports),
            "users": sorted(state.users),
        }
        return {"bridge": bridge}

    def wait(self, spec: Spec, host: Host) -> None:
        """A bridge is there when apply ends."""


def _plain_facts(spec: Spec, state: PlainState) -> dict[str, t.Any]:
    plain = state.live or state.persistent or Plain()
    power = "started" if state.is_up and not state.is_set_down else "stopped"
    return {
        "name": spec.name,
        "state": power if state.is_defined else "absent",
        "mode": PORTS_MODE if state.is_defined else None,
        "address": next(iter(plain.addresses), None),
        "address6": next(iter(plain.addresses6), None),
        "gateway": plain.gateway or None,
        "gateway6": plain.gateway6 or None,
        "mtu": plain.mtu or None,
        "autostart": state.is_defined and state.starts,
        "mac": state.mac,
        "stp": plain.stp,
        "vlan_aware": plain.vlan_aware,
        "backend": state.backend.name if state.backend is not None and state.is_defined else None,
        "ports": list(state.ports),
        "users": sorted(state.users),
    }
