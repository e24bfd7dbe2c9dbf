# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a bridge that libvirt carries, and what is told of it."""

from __future__ import annotations

import dataclasses
import typing as t

from ..lifeline import Lifelines
from .settings import NetworkSettings, Reserved


@dataclasses.dataclass(frozen=True)
class NetworkState:
    """A bridge as it is. *users* are the guests that are plugged into it, by name, and whether each runs.

    *network* is the libvirt network that carries it. *is_defined*: it stands, no creation of it was interrupted.
    *is_recorded*: there is an ownership record, also where the network is gone. *has_ports*: it says that libvirt does not
    carry the bridge. *is_restarting*: a restart of it was
    interrupted. *persistent* is what is defined, *live* what runs. *ports* are the links that are plugged in. *subnets*
    are the addresses of all other links, as (link, CIDR). *ula* is the address that a subnet of its own would give it. *lost_links* are
    the links with routes that a router told, and that would lose them if the kernel forwarded IPv6. *lifelines* are the links that
    carry the connection to this host or its way out, each with a word for which; *peers* the addresses from which it is
    reached. *reserved* are the guests that have addresses kept for their cards. *obstacle* says why the bridge cannot be made.
    """

    network: str | None = None
    is_defined: bool = False
    is_active: bool = False
    is_building: bool = False
    is_recorded: bool = False
    has_ports: bool = False
    is_restarting: bool = False
    autostart: bool = False
    persistent: NetworkSettings | None = None
    live: NetworkSettings | None = None
    mac: str | None = None
    ports: tuple[str, ...] = ()
    subnets: tuple[tuple[str, str], ...] = ()
    ula: str = ""
    lost_links: tuple[str, ...] = ()
    users: t.Mapping[str, bool] = dataclasses.field(default_factory=dict)
    lifelines: Lifelines = dataclasses.field(default_factory=dict)
    peers: tuple[str, ...] = ()
    obstacle: str | None = None
    reserved: Reserved = dataclasses.field(default_factory=dict)


def network_facts(name: str, state: NetworkState) -> dict[str, t.Any]:
    """The bridge as it runs, or as it is defined while it is stopped."""
    settings = state.live or state.persistent or NetworkSettings(mode="")
    power = "started" if state.is_active else "stopped"
    first, last = settings.ranges[0] if settings.ranges else (None, None)
    return {
        "name": name,
        "state": power if state.is_defined else "absent",
        "mode": settings.mode or None,
        "address": settings.address or None,
        "address6": settings.address6 or None,
        "nat6": settings.nat6,
        "dhcp": {"start": first, "end": last, "hosts": [host.shown() for host in settings.hosts]},
        "dns": {
            "domain": settings.domain or None,
            "hosts": [
                {"name": name, **settings.dns_addresses(name)}
                for name in dict.fromkeys(name for name, dummy in settings.dns_hosts)
            ],
            "forwarders": list(settings.forwarders),
        },
        "mtu": settings.mtu or None,
        "autostart": state.autostart,
        "mac": state.mac,
        "network": state.network,
        "ports": list(state.ports),
        "users": sorted(state.users),
    }
