# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a bridge with ports: what the files define, what the kernel has, and what speaks against a change."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..._host import links, probe
from ..._host.links import Link
from ..._host.snapshot import Host, bridge_users, vlan_users
from ..lifeline import NOT_SWITCHED, find_lifelines
from ..options import DHCP, SLAAC, WORDS
from ..record import BridgeRecord
from ..spec import Spec
from ..switch.read import read_switch
from ..switch.state import offered
from . import backends, iproute
from .ifupdown import Ifupdown
from .moved import Moved, wanted_of
from .networkd import Networkd
from .settings import LinkSettings, Port
from .state import LinkState

# Of these and of bridges the kernel lets one alone have a link.
_TAKERS = ("macvlan", "macvtap", "ipvlan", "ipvtap")


def is_configured(name: str, host: Host) -> bool:
    """Whether the files of the host's network configure the bridge."""
    return any(backend.read(name) is not None for backend in backends.read_backends(host.links))


def observe_link(spec: Spec, host: Host) -> LinkState:
    """Read the bridge of *spec* through *host*.

    :raises ObserveError:
    """
    own = host.record("bridges", spec.name)
    record = BridgeRecord.load(own.data)
    networkd, ifupdown = backends.read_backends(host.links)
    wanted = [item.name for item in spec.items("ports") if item.is_wanted]
    backend, why = backends.choose(spec.name, wanted, networkd, ifupdown)
    persistent = backend.read(spec.name) if backend is not None else None
    link = host.links.get(spec.name)
    others = {name: other for name, other in host.links.items() if name != spec.name}
    routes, connections = links.read_default_routes(), links.read_connections()
    remembered = record.ports
    live = read_live(spec.name, host, persistent, record)
    new_ports = [
        name
        for name in wanted
        if persistent is None
        or persistent.port(name) is None
        or (live is not None and live.port(name) is None and name in host.links)
    ]
    known = {port.name for port in persistent.ports} if persistent is not None else set()
    plugged = host.ports_of(spec.name)
    state = LinkState(
        backend=backend,
        persistent=persistent,
        live=live,
        starts=backend is not None and backend.starts(spec.name),
        is_building=record.is_building,
        is_recorded=own.exists,
        is_made=record.is_made,
        can_lease=_wants_lease(spec) and backend is not None and backends.can_lease(backend),
        has_vlans=not _wants_vlans(spec) or probe.works_apart(*probe.VLAN_PROBE),
        mac=link.get("address") if link else None,
        is_set_down=live is not None and link is not None and "UP" not in link.get("flags", ()),
        links=frozenset(host.links),
        most_mtus={name: most for name in host.links if (most := links.most_mtu(name, host.links))},
        ports=plugged,
        strangers=tuple(name for name in plugged if name not in {*known, *wanted, *remembered}),
        released=tuple(name for name in plugged if name in remembered and name not in known and not record.is_building),
        default_routes=tuple(route for route in routes if route.is_main),
        lifelines=find_lifelines(host.links, routes, connections, links.read_outer(host.links)),
        peers=tuple(connection.peer for connection in connections),
        subnets=(*links.subnets_of(others), *links.subnets_of(others, "inet6")),
        users=bridge_users(host, {spec.name}),
        vlan_users=tuple(vlan_users(host, spec.name)) if _wants_no_vlans(spec) else (),
        carrier=next((network.name for network in host.networks.values() if network.bridge == spec.name), None),
        can_switch=bool(offered(os.environ)) and backend is not None and backends.can_switch(backend),
    )
    state = dataclasses.replace(state, moved=_moved(spec, host, state, new_ports))
    if state.moved is not None:
        # What the port has now, the bridge is to have.
        state = dataclasses.replace(
            state,
            can_lease=True,
            subnets=tuple((link, address) for link, address in state.subnets if link != state.moved.port),
        )
    obstacles = _obstacles(spec, host, state, why, new_ports, networkd) if spec.state != "absent" else []
    under_way = read_switch().refusal(offered(os.environ))
    return dataclasses.replace(state, obstacles=tuple([under_way] if under_way else obstacles))


def _wants_lease(spec: Spec) -> bool:
    return DHCP in (spec.get("address"), spec.get("address6"))


def _wants_vlans(spec: Spec) -> bool:
    return bool(spec.get("vlan_aware")) or any(
        item.get("pvid") is not None or item.get("vids") for item in spec.items("ports")
    )


def _wants_no_vlans(spec: Spec) -> bool:
    return spec.get("vlan_aware") is False or "vlan_aware" in spec.unset


def read_live(name: str, host: Host, persistent: LinkSettings | None, record: BridgeRecord) -> LinkSettings | None:
    """What the kernel has of the bridge, ``None`` where it has none. *persistent* is what the files define.

    :raises ObserveError:
    """
    link = host.links.get(name)
    if link is None or not links.is_bridge(name):
        return None
    mtus = {port: int(before["mtu"]) for port, before in record.ports.items()}
    told = link.get("linkinfo", {}).get("info_data", {})
    is_aware = bool(told.get("vlan_filtering"))
    vlans = links.read_vlans() if is_aware else {}
    addresses, addresses6 = (_addresses(link, family) for family in ("inet", "inet6"))
    if persistent is not None:
        # A lease comes and goes by itself: what is up is what is defined, unless something fixed stands in its place.
        addresses = _with_lease(addresses, persistent.addresses)
        addresses6 = _with_lease(addresses6, persistent.addresses6)
        if SLAAC in persistent.addresses6 and links.takes_announcements(name):
            addresses6 = (*addresses6, SLAAC)
    # What a router announces comes and goes by itself, as a lease does.
    routes = [
        route for route in links.read_default_routes() if route.link == name and route.is_main and not route.is_told
    ]
    gateways = {route.version: route.gateway for route in reversed(routes)}
    return LinkSettings(
        addresses=addresses,
        addresses6=addresses6,
        gateway="" if DHCP in addresses else gateways.get(4, ""),
        gateway6="" if DHCP in addresses6 else gateways.get(6, ""),
        mtu=_mtu(name, link, host, persistent, mtus),
        mac=str(link.get("address", "")),
        stp=bool(told.get("stp_state")),
        vlan_aware=is_aware,
        ports=tuple(
            Port(port, *iproute.read_vlans(vlans.get(port, ()))) if is_aware else Port(port)
            for port in host.ports_of(name)
        ),
    )


def _addresses(link: Link, family: str) -> tuple[str, ...]:
    return tuple(
        f"{entry['local']}/{entry['prefixlen']}"
        for entry in link.get("addr_info", ())
        if entry.get("family") == family and entry.get("scope") == "global" and not links.is_told(entry)
    )


def _with_lease(live: tuple[str, ...], persistent: tuple[str, ...]) -> tuple[str, ...]:
    return (DHCP, *live) if DHCP in persistent else live


def _mtu(name: str, link: Link, host: Host, persistent: LinkSettings | None, mtus: t.Mapping[str, int]) -> int:
    """0 where nobody chose it: the least one of the ports, and those as they were before. *mtus* are theirs of then."""
    mtu = int(link.get("mtu", 0))
    ports = {port: int(host.links[port].get("mtu", 0)) for port in host.ports_of(name) if port in host.links}
    if persistent is None or not persistent.mtu:
        is_left = all(mtus.get(port, own) == own for port, own in ports.items())
        return 0 if is_left and mtu == min(ports.values(), default=iproute.DEFAULT_MTU) else mtu
    others = [own for port, own in ports.items() if persistent.port(port) is not None]
    return next((value for value in (mtu, *others) if value != persistent.mtu), mtu)


def _obstacles(
    spec: Spec,
    host: Host,
    state: LinkState,
    why: str,
    new_ports: t.Sequence[str],
    networkd: Networkd,
) -> list[str]:
    name, found = spec.name, []
    if state.carrier is not None:
        return [
            (
                f"mode: the bridge {name} is carried by the libvirt network {state.carrier}. Take it away first, or choose "
                f"another name"
            )
        ]
    if name in host.links and not links.is_bridge(name):
        return [f"name: this host has a link {name} already that is no bridge. Choose another name"]
    if state.live is not None and state.persistent is None and not state.is_building:
        return [
            (
                f"name: this host has a bridge {name} that neither systemd-networkd nor ifupdown defines. "
                f"Choose another name, or define it there first"
            )
        ]
    for key, link in (("name", name), *((f"ports[{port}]", port) for port in new_ports)):
        owner = backends.find_owner(link, host.links.get(link, {}).get("ifindex"), networkd)
        if owner is not None:
            found.append(f"{key}: {owner} owns the link {link}. Change it there, or take it out of its hands first")
    if state.backend is None:
        return [*found, why] if why else found
    if found:
        return found
    before = state.persistent or LinkSettings()
    wanted = wanted_of(spec, before, state.moved)
    touched = {port.name for port in set(before.ports) ^ set(wanted.ports)}
    moved = state.moved.port if state.moved is not None else ""
    changed = touched - set(new_ports)
    found += state.backend.obstacles(name, new_ports, changed, wanted, moved)
    for port in new_ports:
        found += _port_obstacles(name, port, host.links, state)
    return found


def _moved(spec: Spec, host: Host, state: LinkState, new_ports: t.Sequence[str]) -> Moved | None:
    """What a bridge that is new takes over from its only port: what that has, where one file gives it all of it."""
    backend = state.backend
    if (
        not state.can_switch
        or backend is None
        or (isinstance(backend, Ifupdown) and backends.is_ifupdown2())
        or state.persistent is not None
        or state.live is not None
    ):
        return None
    link = host.links.get(new_ports[0], {}) if len(new_ports) == 1 else {}
    settings = backend.own_settings(new_ports[0]) if link and not link.get("master") else None
    if settings is None:
        return None
    fixed = {*_addresses(link, "inet"), *_addresses(link, "inet6")}
    # Somebody gave it an address by hand: nobody could say that it is to stay.
    if not fixed <= {*settings.addresses, *settings.addresses6}:
        return None
    own = dataclasses.replace(settings, mac=str(link.get("address", "")))
    is_told = new_ports[0] in links.read_told_links()
    if is_told and isinstance(backend, Networkd) and not {*own.addresses6} & {*WORDS}:
        own = dataclasses.replace(own, addresses6=(*own.addresses6, SLAAC))
    if isinstance(backend, Ifupdown):
        return Moved(new_ports[0], own, client=backends.read_client(new_ports[0], spec.name, own.mac))
    return Moved(new_ports[0], own, backends.read_iaid(link), is_told=is_told)


def _kind(link: Link) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _port_obstacles(bridge: str, port: str, known: t.Mapping[str, Link], state: LinkState) -> list[str]:
    key, link = f"ports[{port}]", known.get(port)
    if link is None:
        return [f"{key}: this host has no link {port}"]
    if link.get("master") == bridge:
        return []
    is_moved = state.moved is not None and state.moved.port == port
    above = [name for name, other in known.items() if other.get("link") == port]
    if is_moved and above and isinstance(state.backend, Ifupdown):
        return [f"{key}: {above[0]} stands on {port}, and would go down with it. Take it off there first"]
    if port in state.lifelines and not is_moved:
        return [f"{key}: {port} carries {state.lifelines[port]}. {NOT_SWITCHED}. Choose another port"]
    if port == bridge or links.is_bridge(port) or link.get("link_type") != "ether":
        return [f"{key}: {port} cannot be plugged into a bridge"]
    if link.get("master"):
        return [f"{key}: {port} hangs on {link['master']} already. Take it off there first"]
    takers = [name for name, other in known.items() if other.get("link") == port and _kind(other) in _TAKERS]
    if takers:
        return [f"{key}: {takers[0]} takes what comes in on {port}, and so would the bridge. Take it off there first"]
    own = [*_addresses(link, "inet"), *_addresses(link, "inet6")]
    leased = [entry for entry in link.get("addr_info", ()) if entry.get("family") == "inet"]
    if (own or leased) and not is_moved:
        told = own[0] if own else f"{leased[0]['local']}/{leased[0]['prefixlen']}"
        return [f"{key}: {port} has the address {told} of its own, which would be cut off. Take it off first"]
    return []
