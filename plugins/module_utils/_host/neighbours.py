# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Who has an address on a bridge: the neighbours are asked (ARP, and ND for IPv6), which no firewall keeps from answering."""

from __future__ import annotations

import array
import contextlib
import ipaddress
import select
import socket
import struct
import time
import typing as t

from .._core import atomic
from . import links, vlans
from .vlans import Port

_ALL, _ARP, _IPV6, _TAGGED = 0x0003, 0x0806, 0x86DD, 0x8100
_EVERYBODY = b"\xff" * 6
_REQUEST, _REPLY = 1, 2
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_LINK_OF_SOURCE, _LINK_OF_TARGET = 1, 2
# What comes over routers has less (RFC 4861, 7.1).
_HOPS = 255
# RFC 5227 has three probes; a machine of the same house answers in less than the time that is left for the last.
_PROBES, _EVERY_SECONDS, _LAST_SECONDS = 3, 0.1, 0.3

# From linux/if_packet.h and asm-generic/socket.h, which Python does not name.
_SOL_PACKET, _PACKET_AUXDATA, _HAS_TAG, _OUTGOING = 263, 8, 0x10, 4
_SO_ATTACH_FILTER = 26
_AUXDATA = struct.Struct("=IIIHHHH")
# ARP and ICMPv6 alone: on a busy trunk the answers would drown in what else goes by.
_FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x28, 0, 0, 12),
        (0x15, 3, 0, _ARP),
        (0x15, 0, 3, _IPV6),
        (0x30, 0, 0, 20),
        (0x15, 0, 1, _ICMPV6),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    )
)


def who_answers(
    bridge: str, addresses: t.Collection[str], vlan: int = 0, *, as_neighbour: bool = False
) -> dict[str, str]:
    """Those of the *addresses* that somebody else on *bridge* has or is about to take, each with the MAC that says so.

    In a VLAN, which the bridge itself is seldom in, its ports are asked. A link that is down says nothing, and where nothing is plugged in nobody
    is waited for. Who is about to take an address of IPv6 gives it up when it is asked like that, but not where the question comes *as_neighbour*.
    """
    mac = atomic.read_text(f"/sys/class/net/{bridge}/address")
    if not mac:
        return {}
    plugged = links.ports_of(bridge)
    ports = vlans.ports_in(plugged, links.read_vlans(), vlan) if vlan else [Port(bridge)] if plugged else []
    return ask(bytes.fromhex(mac.strip().replace(":", "")), ports, addresses, as_neighbour=as_neighbour)


def ask(
    own: bytes, ports: t.Iterable[Port], addresses: t.Collection[str], *, as_neighbour: bool = False
) -> dict[str, str]:
    """As ``who_answers``, asked with the MAC *own* out of *ports*.

    By a request from no address (RFC 5227, 4862), which changes nobody's table; *as_neighbour* for IPv6 from an address of the link.
    """
    wanted = {ipaddress.ip_address(address).packed: address for address in addresses}
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        asked: dict[socket.socket, Port] = {}
        for port in ports:
            with contextlib.suppress(OSError):
                its = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                _listen_at(its, port.link)
                asked[its] = port
        for turn in range(_PROBES if asked else 0):
            for packed, address in wanted.items():
                for its, port in asked.items() if address not in found else ():
                    with contextlib.suppress(OSError):
                        its.send(question(own, packed, port.vlan, as_neighbour=as_neighbour))
            _listen(asked, own, wanted, found, _EVERY_SECONDS if turn < _PROBES - 1 else _LAST_SECONDS)
    return found


def _listen_at(its: socket.socket, link: str) -> None:
    """Before the bridge takes what comes to a port: only who listens to all protocols hears that."""
    program = array.array("B", _FILTER)
    its.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_FILTER) // 8, program.buffer_info()[0]))
    its.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    its.bind((link, _ALL))


def _listen(
    asked: t.Mapping[socket.socket, Port],
    own: bytes,
    wanted: t.Mapping[bytes, str],
    found: dict[str, str],
    seconds: float,
) -> None:
    until = time.monotonic() + seconds
    while len(found) < len(wanted) and (left := until - time.monotonic()) > 0:
        for its in select.select([*asked], [], [], left)[0]:
            with contextlib.suppress(OSError):
                frame, notes, dummy, sender = its.recvmsg(2048, socket.CMSG_SPACE(_AUXDATA.size))
                told = None if sender[2] == _OUTGOING or _tag(notes) != asked[its].vlan else read_claim(frame)
                if told is not None and told[0] in wanted and told[1] != own:
                    found[wanted[told[0]]] = told[1].hex(":")


def _tag(notes: t.Iterable[tuple[int, int, bytes]]) -> int:
    """The VLAN of a frame, 0 for none: the kernel takes the tag off before it hands one out."""
    for level, kind, data in notes:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, *dummy, tag, dummy = _AUXDATA.unpack_from(data)
            return tag & 0xFFF if status & _HAS_TAG else 0
    return 0


def question(own: bytes, address: bytes, vlan: int, *, as_neighbour: bool = False) -> bytes:
    """The frame that asks for *address*, with the tag of a *vlan* unless that is 0."""
    sender = own if as_neighbour else None
    target, kind, payload = _arp(own, address) if len(address) == 4 else _solicitation(address, sender)
    tag = struct.pack("!HH", _TAGGED, vlan) if vlan else b""
    return target + own + tag + struct.pack("!H", kind) + payload


def _arp(own: bytes, address: bytes) -> tuple[bytes, int, bytes]:
    return _EVERYBODY, _ARP, struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + own + bytes(4 + 6) + address


def _solicitation(address: bytes, own: bytes | None) -> tuple[bytes, int, bytes]:
    """To the group of all that may have the address. From the address of the link that the MAC *own* stands for (RFC 4291, appendix A), or ``::``.

    Who has not finished to take it when the question comes from ``::`` takes that for a claim, and does without (RFC 4862, 5.4.3).
    """
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + address[13:]
    source = bytes(16)
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address
    if own is not None:
        source = b"\xfe\x80" + bytes(6) + bytes((own[0] ^ 2,)) + own[1:3] + b"\xff\xfe" + own[3:]
        body += bytes((_LINK_OF_SOURCE, 1)) + own
    total = sum(struct.unpack(f"!{(len(source + group) + len(body)) // 2}H", source + group + body))
    total += len(body) + _ICMPV6
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, _HOPS) + source + group
    return b"\x33\x33" + group[12:], _IPV6, head + body


def read_claim(frame: bytes) -> tuple[bytes, bytes] | None:
    """The address that the sender of a *frame* has, or probes for, and its MAC; ``None`` where the frame claims nothing."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV6 and len(frame) >= 78:
        return _read_neighbour(frame)
    return _read_arp(frame) if kind == _ARP and len(frame) >= 42 else None


def _read_arp(frame: bytes) -> tuple[bytes, bytes] | None:
    kind, protocol, hardware_length, address_length, operation = struct.unpack("!HHBBH", frame[14:22])
    if (kind, protocol, hardware_length, address_length) != (1, 0x0800, 6, 4) or operation not in (_REQUEST, _REPLY):
        return None
    mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
    if sender != bytes(4):
        return sender, mac
    return (target, mac) if operation == _REQUEST else None


def _read_neighbour(frame: bytes) -> tuple[bytes, bytes] | None:
    mac, sender, target, kind = frame[6:12], frame[22:38], frame[62:78], frame[54]
    if (frame[20], frame[21]) != (_ICMPV6, _HOPS):
        return None
    if kind == _ADVERTISEMENT:
        # Of its options only the first is looked at: there is no other that says who has it.
        is_told = len(frame) >= 86 and frame[78:80] == bytes((_LINK_OF_TARGET, 1))
        return target, frame[80:86] if is_told else mac
    if kind == _SOLICITATION:
        return (target, mac) if sender == bytes(16) else (sender, mac)
    return None
