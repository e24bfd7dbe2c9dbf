# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the kernel knows of network links, addresses and bridges."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import atomic, command
from . import routes, vlans
from .routes import Connection, DefaultRoute

Link = routes.Link


def read_links() -> dict[str, Link]:
    """All links of the host by name, as ``ip -j -d addr`` tells them (with ``addr_info``, ``master``, ``linkinfo``)."""
    return {
        link["ifname"]: link
        for link in json.loads(command.run(["ip", "-j", "-d", "addr", "show"]) or "[]")
        if "ifname" in link
    }


def is_bridge(name: str) -> bool:
    """Whether the kernel has a bridge of that name."""
    return os.path.isdir(f"/sys/class/net/{name}/bridge")


def ports_of(bridge: str) -> list[str]:
    """The links that are plugged into *bridge*."""
    try:
        return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
    except FileNotFoundError:
        return []


def read_default_routes() -> list[DefaultRoute]:
    """The ways out of the host, of both families."""
    return [
        DefaultRoute(version, str(hop.get("dev", "")), str(hop.get("gateway", "")), route.get("protocol") == "ra")
        for version in (4, 6)
        for route in json.loads(command.run(["ip", "-j", f"-{version}", "route", "show", "default"]) or "[]")
        for hop in route.get("nexthops") or [route]
    ]


def read_vlans() -> dict[str, list[dict[str, t.Any]]]:
    """What ``bridge -j vlan`` says of each port."""
    told = json.loads(command.run(["bridge", "-j", "vlan", "show"]) or "[]")
    return {entry["ifname"]: entry.get("vlans", []) for entry in told}


def read_port_vlans(links: t.Mapping[str, Link]) -> dict[str, int]:
    """The VLAN of each port of a bridge that knows VLANs, 0 for none. Nothing is asked where there is no such bridge."""
    ports = [name for name, link in links.items() if vlans.default_vlan(link.get("master", ""), links) is not None]
    told = read_vlans() if ports else {}
    return {port: vlans.vlan_of(told.get(port, ())) for port in ports}


def most_mtu(name: str, links: t.Mapping[str, Link]) -> int:
    """The largest MTU that the kernel lets a link have, 0 where it tells none."""
    link = links.get(name, {})
    limits = [int(link.get("max_mtu") or 0)]
    if link.get("linkinfo", {}).get("info_kind") in ("vlan", "macvlan"):
        limits.append(int(links.get(str(link.get("link") or ""), {}).get("mtu") or 0))
    return min((limit for limit in limits if limit), default=0)


def read_connection() -> Connection | None:
    """The connection from the control node, where it is ssh."""
    told = _read_ssh_connection()
    if told is None:
        return None
    peer, dummy, own, dummy = told.split()
    address, dummy, zone = peer.partition("%")
    return Connection(address, own.partition("%")[0], zone or _link_to(address))


def _link_to(address: str) -> str:
    try:
        told = json.loads(command.run(["ip", "-j", "route", "get", address]) or "[]")
    except command.CommandError:
        return ""
    return next((str(route.get("dev", "")) for route in told), "")


def _read_ssh_connection() -> str | None:
    """The variable of ssh's server. sudo and su take it away: a process further up still has it."""
    process = os.getpid()
    told = os.environ.get("SSH_CONNECTION", "")
    while process > 1:
        if len(told.split()) == 4:
            return told
        status = (atomic.read_text(f"/proc/{process}/stat") or "").rpartition(")")[2].split()
        process = int(status[1]) if len(status) > 1 else 0
        try:
            entries = (atomic.read_text(f"/proc/{process}/environ") or "").split("\0")
        except OSError:
            # In a container even root may not read that of a process from outside.
            entries = []
        told = next((entry.partition("=")[2] for entry in entries if entry.startswith("SSH_CONNECTION=")), "")
    return None


def subnets_of(links: t.Mapping[str, Link], family: str = "inet") -> list[tuple[str, str]]:
    """The addresses of *links* of one family, each as (link, address in CIDR form), without those of one link alone."""
    return [
        (name, f"{address['local']}/{address['prefixlen']}")
        for name, link in links.items()
        for address in link.get("addr_info", ())
        if address.get("family") == family and (family == "inet" or address.get("scope") == "global")
    ]
