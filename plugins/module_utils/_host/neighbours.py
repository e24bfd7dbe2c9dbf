# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Who has an address on a link: the neighbours are asked, which no firewall keeps from answering."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
import typing as t

_ARP = 0x0806
_EVERYBODY = b"\xff" * 6
_REQUEST, _REPLY = 1, 2
# RFC 5227 has three probes; a machine of the same house answers in less than the time that is left for the last.
_PROBES, _EVERY_SECONDS, _LAST_SECONDS = 3, 0.1, 0.3


def who_answers(link: str, addresses: t.Collection[str]) -> dict[str, str]:
    """Those of the IPv4 *addresses* that somebody else on *link* has or is about to take, each with the MAC that says so.

    Asked as RFC 5227 has it, by a request from 0.0.0.0, which changes nobody's table. A link that is down says nothing.
    """
    wanted = {ipaddress.IPv4Address(address).packed: address for address in addresses}
    found: dict[str, str] = {}
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as ask:
            ask.bind((link, _ARP))
            own = ask.getsockname()[4]
            for turn in range(_PROBES):
                for packed, address in wanted.items():
                    if address not in found:
                        ask.send(_probe(own, packed))
                _listen(ask, own, wanted, found, _EVERY_SECONDS if turn < _PROBES - 1 else _LAST_SECONDS)
    except OSError:
        return found
    return found


def _probe(mac: bytes, address: bytes) -> bytes:
    return _EVERYBODY + mac + struct.pack("!HHHBBH", _ARP, 1, 0x0800, 6, 4, _REQUEST) + mac + bytes(4 + 6) + address


def _listen(
    ask: socket.socket, own: bytes, wanted: t.Mapping[bytes, str], found: dict[str, str], seconds: float
) -> None:
    until = time.monotonic() + seconds
    while len(found) < len(wanted) and (left := until - time.monotonic()) > 0:
        if not select.select([ask], [], [], left)[0]:
            return
        told = read_claim(ask.recv(2048))
        if told is not None and told[0] in wanted and told[1] != own:
            found[wanted[told[0]]] = told[1].hex(":")


def read_claim(frame: bytes) -> tuple[bytes, bytes] | None:
    """The address that the sender of an ARP *frame* has, or probes for, and its MAC; ``None`` where the frame claims nothing."""
    if len(frame) < 42:
        return None
    kind, protocol, hardware_length, address_length, operation = struct.unpack("!HHBBH", frame[14:22])
    if (kind, protocol, hardware_length, address_length) != (1, 0x0800, 6, 4) or operation not in (_REQUEST, _REPLY):
        return None
    mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
    if sender != bytes(4):
        return sender, mac
    return (target, mac) if operation == _REQUEST else None
