# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a bridge lays claim to: its own addresses, its subnet, and the addresses that it keeps for others."""

from __future__ import annotations

import contextlib
import ipaddress
import typing as t

from .._core.claims import Claims, Reservation, Subnet, addresses_in
from .._host.routes import Link
from .network.settings import NetworkSettings
from .options import AUTO
from .spec import Spec

if t.TYPE_CHECKING:
    from .link.settings import LinkSettings
    from .link.state import LinkState
    from .network.state import NetworkState


def claims_of(spec: Spec | None, state: NetworkState | LinkState) -> Claims:
    """Once *spec* stands. Of a bridge that goes, and without a *spec*, only its users."""
    if spec is None or spec.state == "absent":
        return Claims(users=state.users)
    return Claims(
        addresses=[(spec.name, address) for address in addresses_in(*_declared_addresses(spec, state))],
        reservations=[
            Reservation(f"the DHCP host {item.name}", item.get("mac") or "", (spec.name, item.get("ip")))
            for item in spec.items("dhcp.hosts")
            if item.get("ip") and item.is_wanted
        ],
        subnets=_subnets(spec, state),
        users=state.users,
    )


def _declared_addresses(spec: Spec, state: NetworkState | LinkState) -> list[str]:
    known = state.live or state.persistent
    found = []
    for path, declared in (("address", spec.get("address")), ("address6", spec.get("address6"))):
        if declared not in (None, AUTO):
            found.append(declared)
        elif known is not None and path not in spec.unset:
            found += _addresses(known, path)
    return found


def _addresses(settings: NetworkSettings | LinkSettings, path: str) -> tuple[str, ...]:
    if isinstance(settings, NetworkSettings):
        return (settings.address,) if path == "address" else (settings.address6,)
    return settings.addresses if path == "address" else settings.addresses6


def _subnets(spec: Spec, state: NetworkState | LinkState) -> list[Subnet]:
    found: list[Subnet] = []
    sides = [side for side in (state.persistent, state.live) if side is not None]
    for path in ("address", "address6"):
        # "none", "dhcp" and "auto" are no subnets.
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_interface(spec.get(path) or "none").network
            stands = bool(sides) and all(spec.get(path) in _addresses(side, path) for side in sides)
            found.append((network, not stands))
    return found


def standing(links: t.Mapping[str, Link]) -> dict[str, Claims]:
    """By name, the bridges that the kernel has, each with the addresses that it has there."""
    return {
        name: Claims(addresses=[(name, entry["local"]) for entry in link.get("addr_info", ()) if "local" in entry])
        for name, link in links.items()
        if link.get("linkinfo", {}).get("info_kind") == "bridge"
    }
