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
from .._host.snapshot import BRIDGE, SERVICE_LIBVIRT, Host
from .link.observe import LinkState, is_link, observe_link
from .link.plan import plan_link
from .link.settings import LinkSettings
from .network.observe import NetworkState, observe_network
from .network.plan import plan_network
from .network.settings import NetworkSettings
from .spec import PORTS_MODE, Spec, parse


class Bridge:
    """See ``_core.converge.Resource``. A bridge is carried by libvirt (``NetworkState``), or is one with ports (``LinkState``)."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        return () if spec.mode == PORTS_MODE else (SERVICE_LIBVIRT,)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(BRIDGE, spec.name),)

    def observe(self, spec: Spec, host: Host) -> NetworkState | LinkState:
        return observe_link(spec, host) if is_link(spec, host) else observe_network(spec, host)

    def plan(self, spec: Spec, state: NetworkState | LinkState) -> Plan:
        return plan_link(spec, state) if isinstance(state, LinkState) else plan_network(spec, state)

    def apply(self, spec: Spec, state: NetworkState | LinkState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        if isinstance(state, LinkState):
            from .link.apply import apply_link  # most runs have nothing to apply, and do not pay for it

            return apply_link(spec, state, plan, work)
        from .network.apply import apply_network  # as above

        return apply_network(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: NetworkState | LinkState) -> dict[str, t.Any]:
        """The bridge as it runs, or as it is defined while it is stopped."""
        if isinstance(state, LinkState):
            return {"bridge": _link_facts(spec, state)}
        settings = state.live or state.persistent or NetworkSettings(mode="")
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


def _link_facts(spec: Spec, state: LinkState) -> dict[str, t.Any]:
    link = state.live or state.persistent or LinkSettings()
    power = "started" if state.is_up and not state.is_set_down else "stopped"
    return {
        "name": spec.name,
        "state": power if state.is_defined else "absent",
        "mode": PORTS_MODE if state.is_defined else None,
        "address": next(iter(link.addresses), None),
        "address6": next(iter(link.addresses6), None),
        "gateway": link.gateway or None,
        "gateway6": link.gateway6 or None,
        "mtu": link.mtu or None,
        "autostart": state.is_defined and state.starts,
        "mac": state.mac,
        "stp": link.stp,
        "vlan_aware": link.vlan_aware,
        "backend": state.backend.name if state.backend is not None and state.is_defined else None,
        "ports": list(state.ports),
        "users": sorted(state.users),
    }
