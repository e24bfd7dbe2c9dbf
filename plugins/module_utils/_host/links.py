# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the kernel knows of network links, addresses and bridges."""

from __future__ import annotations

import json
import os
import socket
import typing as t

from .._core import atomic, command
from . import routes, vlans
from .routes import Connection, DefaultRoute, Outer

Link = routes.Link
# What a way out of the host covers, also one that a tunnel lays in two halves over the default route.
_WIDE = {4: "0.0.0.0/1", 6: "2000::/3"}
_ACCEPT_RA, _FORWARDS = "/proc/sys/net/ipv6/conf/{}/accept_ra", "/proc/sys/net/ipv6/conf/{}/forwarding"


def read_links() -> dict[str, Link]:
    """All links of the host by name, as ``ip -j -d addr`` tells them (with ``addr_info``, ``master``, ``linkinfo``)."""
    return {
        link["ifname"]: link
        for link in json.loads(command.run(["ip", "-j", "-d", "addr", "show"]) or "[]")
        if "ifname" in link
    }


def read_names() -> frozenset[str]:
    """The names of all links of the host, which /sys tells without a program."""
    # bonding_masters lies beside them, and is a file.
    return frozenset(name for name in os.listdir("/sys/class/net") if os.path.isdir(f"/sys/class/net/{name}"))


def can_listen(address: str) -> bool:
    """Whether the kernel lets a program listen at *address*: it is one of the host, or a setting permits others too."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


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
    """The ways out of the host, of both families and of all tables."""
    found = []
    for version, wide in _WIDE.items():
        told = command.run(["ip", "-j", f"-{version}", "route", "show", "table", "all", "match", wide])
        for route in json.loads(told or "[]"):
            if route.get("type", "unicast") != "unicast":
                continue
            is_told, is_main = route.get("protocol") == "ra", route.get("dst") == "default" and "table" not in route
            found += [
                DefaultRoute(version, str(hop.get("dev", "")), str(hop.get("gateway", "")), is_told, is_main)
                for hop in route.get("nexthops") or [route]
            ]
    return found


def read_told_links() -> list[str]:
    """The links with routes of IPv6 that a router told."""
    told = json.loads(command.run(["ip", "-j", "-6", "route", "show", "table", "all", "proto", "ra"]) or "[]")
    found = {str(hop.get("dev", "")) for route in told for hop in route.get("nexthops") or [route]}
    return sorted(found)


def read_lost_links() -> list[str]:
    """Those of them that may lose these routes where the kernel forwards, as libvirt sees it (virNetDevIPCheckIPv6Forwarding).

    It asks for 2 of the link, or of all. Of all the kernel itself takes no notice: there it serves a link whose announcements a
    program takes, which lets the kernel have 0 of it (systemd-networkd).
    """
    accepts = {name: (atomic.read_text(_ACCEPT_RA.format(name)) or "").strip() for name in ("all", *read_told_links())}
    is_kept = {"2", "0"} if accepts.pop("all") == "2" else {"2"}
    return [link for link, its in accepts.items() if its not in is_kept]


def is_told(entry: Link) -> bool:
    """Whether the host did not write an address, as ``ip -j addr`` tells it, but was given it or gave it itself of an announcement.

    Such an address has a lifetime, or it is one that temporary addresses may be made of: routers announce networks for ever too.
    """
    return bool(entry.get("dynamic") or entry.get("mngtmpaddr"))


def takes_announcements(link: str) -> bool:
    """Whether a host that is to take what routers announce there does. Of a link that another program listens at (networkd) the kernel says 0."""
    accepts = (atomic.read_text(_ACCEPT_RA.format(link)) or "").strip()
    return accepts != "1" or (atomic.read_text(_FORWARDS.format(link)) or "").strip() != "1"


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


def read_outer(links: t.Mapping[str, Link]) -> Outer:
    """By tunnel, the links that its outer packets may go out by."""
    return {name: _outer_of(name, link, links) for name, link in links.items() if _is_tunnel(link)}


def _is_tunnel(link: Link) -> bool:
    told = link.get("linkinfo", {})
    kind, data = told.get("info_kind"), told.get("info_data", {})
    return kind == "wireguard" or (kind == "tun" and data.get("type") == "tun") or bool({"remote", "group"} & {*data})


def _outer_of(name: str, link: Link, links: t.Mapping[str, Link]) -> list[str]:
    told = link["linkinfo"]
    data = told.get("info_data", {})
    # What a program sends for its tunnel (tun), only the program knows.
    ends = _wireguard_ends(name) if told["info_kind"] == "wireguard" else [[data["remote"]]] if "remote" in data else []
    found = [*([data["link"]] if "link" in data else []), *(out for end in ends for out in _links_to(*end))]
    if found:
        return found
    cards = [card for card in links if os.path.exists(f"/sys/class/net/{card}/device")]
    return routes.with_way_out(links, cards)


def _wireguard_ends(name: str) -> list[list[str]]:
    """What to ask the kernel for, by peer: its own packets bear a mark, and may have a table of their own."""
    mark, ends = (_wireguard(name, word) for word in ("fwmark", "endpoints"))
    marked = ["mark", mark.strip()] if mark.strip().startswith("0x") else []
    addresses = [line.split()[-1].rpartition(":")[0].strip("[]") for line in ends.splitlines()]
    return [[address.partition("%")[0], *marked] for address in addresses if address]


def _wireguard(name: str, word: str) -> str:
    try:
        return command.run(["wg", "show", name, word])
    except command.CommandError:
        return ""


def read_connections() -> list[Connection]:
    """The connection from the control node, where it is ssh.

    Where no process further up can tell which one that is (a task in the background under sudo), those of all sessions.
    """
    found = []
    own_one = _read_ssh_connection()
    for told in [own_one] if own_one else _read_sessions():
        peer, dummy, own, dummy = told.split()
        address, dummy, zone = peer.partition("%")
        own = own.partition("%")[0]
        # A policy may send what comes from this address another way.
        links = (zone,) if zone else tuple(dict.fromkeys((*_links_to(address), *_links_to(address, "from", own))))
        found.append(Connection(address, own, links))
    return found


def _links_to(*words: str) -> list[str]:
    try:
        told = json.loads(command.run(["ip", "-j", "route", "get", *words]) or "[]")
    except command.CommandError:
        return []
    return [str(route["dev"]) for route in told if route.get("dev") and route["dev"] != "lo"]


def _read_ssh_connection() -> str | None:
    """The variable of ssh's server. sudo and su take it away: a process further up still has it."""
    process = os.getpid()
    told: str | None = os.environ.get("SSH_CONNECTION", "")
    told = told if len((told or "").split()) == 4 else None
    while process > 1:
        if told:
            return told
        status = (atomic.read_text(f"/proc/{process}/stat") or "").rpartition(")")[2].split()
        process = int(status[1]) if len(status) > 1 else 0
        told = _connection_of(process)
    return None


def _connection_of(process: int | str) -> str | None:
    try:
        entries = (atomic.read_text(f"/proc/{process}/environ") or "").split("\0")
    except OSError:
        # In a container even root may not read that of a process from outside.
        return None
    told = next((entry.partition("=")[2] for entry in entries if entry.startswith("SSH_CONNECTION=")), "")
    return told if len(told.split()) == 4 else None


def _read_sessions() -> list[str]:
    """The connections of all that have come in by ssh, in this network namespace."""
    here = os.stat("/proc/self/ns/net")
    found = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        told = _connection_of(process)
        try:
            if told and os.path.samestat(os.stat(f"/proc/{process}/ns/net"), here):
                found.add(told)
        except OSError:
            continue
    return sorted(found)


def subnets_of(links: t.Mapping[str, Link], family: str = "inet") -> list[tuple[str, str]]:
    """The addresses of *links* of one family, each as (link, address in CIDR form), without those of one link alone."""
    return [
        (name, f"{address['local']}/{address['prefixlen']}")
        for name, link in links.items()
        for address in link.get("addr_info", ())
        if address.get("family") == family and (family == "inet" or address.get("scope") == "global")
    ]
