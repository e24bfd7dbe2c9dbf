# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The host's own look at its network after a change: carrier, address, the gateways, and what the user names."""

from __future__ import annotations

import functools
import json
import os
import select
import socket
import struct
import time
import typing as t

from ..._core import atomic, command
from ..._core.errors import WaitTimeout
from ..._core.waiting import wait_until
from ..._host import links
from ..options import DHCP, SLAAC
from ..spec import Spec

# States of a neighbour that has answered.
_ANSWERED = ("REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT", "NOARP")
_ANSWER_SECONDS = 1.0
# RFC 792 and RFC 4443: the request, and its answer.
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}


def what_is_cut(spec: Spec, saved: t.Mapping[str, t.Any], *, timeout_seconds: float) -> str | None:
    """What of the network does not work as it should, as a sentence, ``None`` where all of it does within *timeout_seconds*.

    A gateway that did not answer before the change and is the same after it says nothing.
    """
    silent = {*saved.get("silent", ())}
    found = ""

    def works() -> bool:
        nonlocal found
        found = _first_fault(spec, silent) or _lost_way_out(spec, saved)
        return not found

    try:
        wait_until("the network of this host", works, timeout_seconds=timeout_seconds, every_seconds=0.5)
    except WaitTimeout:
        return f"{found} (looked for {timeout_seconds:g} s)"
    return None


def silent_gateways(names: t.Collection[str]) -> list[str]:
    """The gateways of the default routes by one of *names* that do not answer now, as ``link gateway``."""
    return [f"{link} {gateway}" for link, gateway in _gateways(names) if not _answers_on(link, gateway)]


def _first_fault(spec: Spec, silent: t.Collection[str]) -> str:
    name = spec.name
    if (atomic.read_text(f"/sys/class/net/{name}/operstate") or "").strip() == "down" and links.ports_of(name):
        return f"the bridge {name} has no carrier"
    told = links.read_links().get(name, {})
    for key, family in (("address", "inet"), ("address6", "inet6")):
        entries = [it for it in told.get("addr_info", ()) if it.get("family") == family and it.get("scope") == "global"]
        if spec.get(key) == DHCP and not entries:
            return f"{key}: no DHCP server gave {name} an address"
        if spec.get(key) == SLAAC and not any(map(links.is_told, entries)):
            return f"{key}: no router announced a network on {name}"
        if any(it.get("dadfailed") for it in entries):
            return f"{key}: another machine has an address of {name}"
    gateways = _gateways((name,))
    for link, gateway in gateways:
        if f"{link} {gateway}" not in silent and not _answers_on(link, gateway):
            return f"the gateway {gateway} does not answer on {link}"
    for target in spec.get("verify") or ():
        if not answers(target):
            return f"verify: {target} does not answer"
    return ""


def _lost_way_out(spec: Spec, saved: t.Mapping[str, t.Any]) -> str:
    """A lease that does not come, or an address without a gateway, would leave the host without its default route."""
    before = {words[0] for words in saved.get("live", {}).get("routes", ()) if "default" in words}
    after = {f"-{route.version}" for route in links.read_default_routes() if route.is_main}
    for family, key in (("-4", "gateway"), ("-6", "gateway6")):
        is_meant = key in spec.unset or spec.get(key) == "" or spec.get(key.replace("gateway", "address")) == ""
        # What a router announces comes back at its own time.
        if family in before - after and not is_meant and not _is_announced(family, saved):
            return f"{key}: this host has lost its default route"
    return ""


def _is_announced(family: str, saved: t.Mapping[str, t.Any]) -> bool:
    routes = [words for words in saved["live"]["routes"] if words[0] == family and "default" in words]
    return all(words[words.index("proto") + 1] == "ra" if "proto" in words else False for words in routes)


def _gateways(names: t.Collection[str]) -> list[tuple[str, str]]:
    return [
        (route.link, route.gateway) for route in links.read_default_routes() if route.link in names and route.gateway
    ]


def _answers_on(link: str, gateway: str) -> bool:
    """Whether a neighbour answers to ARP or ND, which no firewall keeps from anybody."""
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    command.run(["ip", "neighbor", "delete", gateway, "dev", link], check=False)
    with socket.socket(family, socket.SOCK_DGRAM) as ask:
        ask.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        try:
            ask.connect((gateway, 9) if family == socket.AF_INET else (gateway, 9, 0, socket.if_nametoindex(link)))
            ask.send(b"")
        except OSError:
            return False
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until:
        told = json.loads(
            command.run(["ip", "-j", "neighbor", "show", "to", gateway, "dev", link], check=False) or "[]"
        )
        if any({*it.get("state", ())} & {*_ANSWERED} for it in told):
            return True
        time.sleep(0.05)
    return False


def answers(target: str) -> bool:
    """Whether the address *target* answers to an echo request (ping)."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    request, reply = _ECHO[family]
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    number = os.getpid() & 0xFFFF
    packet = struct.pack("!BBHHH", request, 0, 0, number, 1)
    # The kernel fills in that of ICMPv6.
    packet = packet if family == socket.AF_INET6 else struct.pack("!BBHHH", request, 0, _checksum(packet), number, 1)
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as ask:
            ask.sendto(packet, (target, 0))
            return _is_answered(ask, target, reply, number)
    except OSError:
        return False


def _is_answered(ask: socket.socket, target: str, reply: int, number: int) -> bool:
    until = time.monotonic() + _ANSWER_SECONDS
    while (left := until - time.monotonic()) > 0:
        if not select.select([ask], [], [], left)[0]:
            return False
        data, sender = ask.recvfrom(4096)
        # IPv4 gives its own header too.
        start = (data[0] & 0x0F) * 4 if ask.family == socket.AF_INET else 0
        kind, its = data[start], struct.unpack("!H", data[start + 4 : start + 6])[0]
        if kind == reply and its == number and sender[0] == target:
            return True
    return False


def _checksum(packet: bytes) -> int:
    total = functools.reduce(lambda found, word: found + word[0], struct.iter_unpack("!H", packet), 0)
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
