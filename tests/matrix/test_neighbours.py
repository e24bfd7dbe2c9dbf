# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has an address in a VLAN: asked with tagged frames over a cable, whose other end answers as a machine in that VLAN would."""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import threading
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host.neighbours import ask
from ansible_collections.homelab.hybrid.plugins.module_utils._host.vlans import Port

PREFIX = "hlnb"
NEAR, FAR = f"{PREFIX}0", f"{PREFIX}1"
OWN, MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
FOUR, SIX = "192.0.2.7", "2001:db8::7"
VLAN = 20
SOL_PACKET, AUXDATA = 263, 8


@pytest.fixture
def cable() -> t.Iterator[None]:
    """Its far end is a machine in one VLAN, with an address of each family."""
    subprocess.run(["ip", "link", "add", NEAR, "type", "veth", "peer", "name", FAR], check=True)
    end, is_over = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), threading.Event()
    try:
        for link in (NEAR, FAR):
            subprocess.run(["ip", "link", "set", link, "up"], check=True)
        end.settimeout(0.1)
        end.setsockopt(SOL_PACKET, AUXDATA, 1)
        end.bind((FAR, 3))
        machine = threading.Thread(target=serve, args=(end, is_over))
        machine.start()
        yield
        is_over.set()
        machine.join()
    finally:
        end.close()
        subprocess.run(["ip", "link", "delete", NEAR], check=True)


def serve(end: socket.socket, is_over: threading.Event) -> None:
    while not is_over.is_set():
        try:
            frame, ((_level, _kind, note),), _flags, sender = end.recvmsg(2048, 64)
        except (TimeoutError, ValueError):
            continue
        status, tag = int.from_bytes(note[:4], "little"), int.from_bytes(note[16:18], "little")
        if sender[2] != 4 and status & 0x10 and tag == VLAN and (told := answer(frame)):
            end.send(frame[6:12] + MAC + struct.pack("!HH", 0x8100, VLAN) + told)


def answer(frame: bytes) -> bytes | None:
    """What a machine says when it is asked for an address of its own, from the type of its frame on."""
    four, six = ipaddress.ip_address(FOUR).packed, ipaddress.ip_address(SIX).packed
    if frame[12:14] == b"\x08\x06" and frame[38:42] == four:
        return frame[12:20] + struct.pack("!H", 2) + MAC + four + frame[22:28] + bytes(4)
    if frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135 and frame[62:78] == six:
        body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + six + bytes((2, 1)) + MAC
        return frame[12:14] + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + six + six + body
    return None


@pytest.mark.usefixtures("cable")
def test_who_has_an_address_in_a_vlan_answers_there_and_in_no_other() -> None:
    everybody = [FOUR, SIX, "192.0.2.8", "2001:db8::8"]
    assert ask(OWN, [Port(NEAR, VLAN)], everybody) == dict.fromkeys((FOUR, SIX), MAC.hex(":"))
    assert ask(OWN, [Port(NEAR, VLAN + 1), Port(NEAR)], everybody) == {}
    # A port that is not there keeps the others from nothing.
    assert ask(OWN, [Port("hhnone0", VLAN), Port(NEAR, VLAN)], [FOUR]) == {FOUR: MAC.hex(":")}
