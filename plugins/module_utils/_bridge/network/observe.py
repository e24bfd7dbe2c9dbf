# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a bridge on the host."""

from __future__ import annotations

import dataclasses

from ..._core import atomic
from ..._host import handed_out, links
from ..._host.libvirt import Network
from ..._host.snapshot import Host, bridge_users
from ..lifeline import find_lifelines
from ..options import AUTO, PORTS_MODE
from ..record import BridgeRecord
from ..spec import Spec
from ..subnet import ula_of
from . import network_xml
from .settings import NetworkSettings
from .state import NetworkState

MACHINE_ID = "/etc/machine-id"
_OF_PORTS = f"mode: the bridge {{name}} has mode {PORTS_MODE}. Write that, or no mode, or take it away first"


def find_network(name: str, host: Host) -> Network | None:
    """The libvirt network that carries the bridge *name*, whatever it is called itself."""
    return next((network for network in host.networks.values() if network.bridge == name), None)


def observe_network(spec: Spec, host: Host) -> NetworkState:
    """Read the bridge of *spec* through *host*.

    :raises ObserveError:
    """
    own = host.record("bridges", spec.name)
    record = BridgeRecord.load(own.data)
    network = find_network(spec.name, host)
    others = {name: link for name, link in host.links.items() if name != spec.name}
    subnets = (*links.subnets_of(others), *links.subnets_of(others, "inet6"))
    ula = ula_of(atomic.read_text(MACHINE_ID) or "", spec.name) if spec.get("address6") == AUTO else ""
    connections = links.read_connections()
    peers = tuple(connection.peer for connection in connections)
    if network is None:
        has_ports = record.mode == PORTS_MODE
        return NetworkState(
            is_building=record.is_building,
            is_recorded=own.exists,
            has_ports=has_ports,
            subnets=subnets,
            ula=ula,
            lost_links=tuple(links.read_lost_links()) if spec.get("address6") else (),
            peers=peers,
            obstacle=_OF_PORTS.format(name=spec.name) if has_ports else _obstacle(spec.name, host),
        )
    link = host.links.get(spec.name)
    is_active = network.is_active and link is not None
    persistent = network_xml.read(network.xml)
    return NetworkState(
        network=network.name,
        is_defined=not record.is_building,
        is_active=is_active,
        is_building=record.is_building,
        is_recorded=own.exists,
        is_restarting=record.replug is not None,
        autostart=network.autostart,
        persistent=persistent,
        live=_live(network, link) if is_active and link is not None else None,
        mac=link.get("address") if link else None,
        ports=host.ports_of(spec.name),
        subnets=subnets,
        ula=ula,
        lost_links=tuple(links.read_lost_links()) if spec.get("address6") or persistent.address6 else (),
        users=bridge_users(host, {spec.name, network.name}),
        lifelines=(
            find_lifelines(host.links, links.read_default_routes(), connections, links.read_outer(host.links))
            if is_active
            else {}
        ),
        peers=peers,
        reserved={
            (mac, ip): guest for (bridge, mac, ip), guest in handed_out.owners(host).items() if bridge == spec.name
        },
    )


def _live(network: Network, link: links.Link) -> NetworkSettings:
    """What runs: as libvirt started it, unless the kernel says that somebody changed it since."""
    settings = network_xml.read(network.live_xml or network.xml)
    own = {network.name: link}
    addresses = {address for dummy, address in (*links.subnets_of(own), *links.subnets_of(own, "inet6"))}
    return dataclasses.replace(
        settings,
        address=settings.address if settings.address in addresses else "",
        address6=settings.address6 if settings.address6 in addresses else "",
        mtu=int(link.get("mtu", 0)) if settings.mtu else 0,
    )


def _obstacle(name: str, host: Host) -> str | None:
    namesake = host.networks.get(name)
    if namesake is not None:
        other = f"the bridge {namesake.bridge}" if namesake.bridge else "no bridge of its own"
        return f"name: libvirt has a network {name} already, and it makes {other}. Choose another name for this bridge"
    if name in host.links:
        return f"name: this host has a link {name} already that no libvirt network made. Choose another name for this bridge"
    return None
