# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a name server, asked without the resolver of this host."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
import struct
import time
import typing as t

_POINTER = 12


def address_of(name: str, server: str, family: int = socket.AF_INET) -> str | None:
    """The address of *family* that *server* gives for *name*, ``None`` when it knows none."""
    kind, size = (1, 4) if family == socket.AF_INET else (28, 16)
    reply = _ask(name, kind, server)
    return None if reply is None else socket.inet_ntop(family, reply[-size:])


def name_of(address: str, server: str) -> str | None:
    """The name that *server* gives for *address*, ``None`` when it knows none."""
    question = ipaddress.ip_address(address).reverse_pointer
    reply = _ask(question, _POINTER, server)
    # Behind the header, the question with its type and class, and the answer's name (a pointer), type, class, time and length.
    return None if reply is None else ".".join(_labels(reply, 12 + len(question) + 2 + 4 + 12))


def _ask(name: str, kind: int, server: str) -> bytes | None:
    """The reply, ``None`` where it has no answer in it."""
    number = random.Random(name).randrange(65536)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.sendto(
            struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1), (server, 53)
        )
        reply = client.recv(1500)
    got, dummy, dummy, answers = struct.unpack("!4H", reply[:8])
    assert got == number
    return reply if answers else None


def _labels(reply: bytes, place: int) -> t.Iterator[str]:
    """Those of the name at *place*, which may go on at another (RFC 1035, 4.1.4)."""
    while length := reply[place]:
        if length >= 0xC0:
            place = struct.unpack("!H", reply[place : place + 2])[0] & 0x3FFF
            continue
        yield reply[place + 1 : place + 1 + length].decode()
        place += 1 + length


def eventually(read: t.Callable[[], t.Any], wanted: t.Any) -> None:
    """dnsmasq reads its files again a moment after libvirt asks it to."""
    got = None
    for dummy in range(150):
        with contextlib.suppress(OSError):
            got = read()
        if got == wanted:
            return
        time.sleep(0.1)
    assert got == wanted
