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
from .network.observe import observe_network
from .network.plan import plan_network
from .network.state import NetworkState, network_facts
from .options import PORTS_MODE
from .record import BridgeRecord
from .spec import Spec, parse

if t.TYPE_CHECKING:
    from .._core.claims import Claims
    from .link.state import LinkState


class Bridge:
    """See ``_core.converge.Resource``. A bridge is carried by libvirt (``NetworkState``), or is one with ports (``LinkState``)."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        return () if spec.mode == PORTS_MODE else (SERVICE_LIBVIRT,)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(BRIDGE, spec.name),)

    def observe(self, spec: Spec, host: Host) -> NetworkState | LinkState:
        if not _is_link(spec, host):
            return observe_network(spec, host)
        from .link.observe import observe_link  # half of what a bridge loads, and most hosts have none with ports

        return observe_link(spec, host)

    def plan(self, spec: Spec, state: NetworkState | LinkState) -> Plan:
        if isinstance(state, NetworkState):
            return plan_network(spec, state)
        from .link.plan import plan_link  # as above

        return plan_link(spec, state)

    def apply(self, spec: Spec, state: NetworkState | LinkState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        if isinstance(state, NetworkState):
            from .network.apply import apply_network  # most runs have nothing to apply, and do not pay for it

            return apply_network(spec, state, plan, work)
        from .link.apply import apply_link  # as above

        return apply_link(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: NetworkState | LinkState) -> dict[str, t.Any]:
        """The bridge as it runs, or as it is defined while it is stopped."""
        if isinstance(state, NetworkState):
            return {"bridge": network_facts(spec.name, state)}
        from .link.state import link_facts  # as above

        return {"bridge": link_facts(spec.name, state)}

    def claims(self, spec: Spec | None, state: NetworkState | LinkState) -> Claims:
        from .claims import claims_of  # only a layout compares claims

        return claims_of(spec, state)

    def standing(self, host: Host) -> dict[str, Claims]:
        from .claims import standing  # as above

        return standing(host.links)

    def promises(self, spec: Spec) -> dict[str, t.Any]:
        promised: dict[str, t.Any] = {key: text for key in ("address", "address6") if (text := spec.get(key))}
        if spec.get("vlan_aware") is not None or "vlan_aware" in spec.unset:
            promised["vlan_aware"] = bool(spec.get("vlan_aware"))
        if spec.items("dhcp.hosts"):
            promised["dhcp.hosts"] = {
                item.name: (item.get("mac"), item.get("ip")) if item.is_wanted else None
                for item in spec.items("dhcp.hosts")
            }
        return promised

    def waiting(self, spec: Spec, facts: t.Mapping[str, t.Any]) -> None:
        """A bridge is there when apply ends."""


def _is_link(spec: Spec, host: Host) -> bool:
    """Whether the bridge of *spec* is one with ports, where no mode is written: by what made it."""
    if spec.mode is not None:
        return spec.mode == PORTS_MODE
    if BridgeRecord.load(host.record("bridges", spec.name).data).mode == PORTS_MODE:
        return True
    if any(network.bridge == spec.name for network in host.networks.values()):
        return False
    from .link.observe import is_configured  # as above

    return is_configured(spec.name, host)
