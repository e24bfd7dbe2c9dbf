# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ZiGate as Zigbee2MQTT meets it at a serial port: its frames, its network and its coordinator, without a radio: ``zigate.py PORT STATE``.

It makes the serial port itself, for the group dialout, and keeps in the file STATE what a stick keeps in its flash. Written after the driver of
zigbee-herdsman 10.9 and what zigate.fr says of the commands.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import struct
import sys
import tty
import typing as t
from pathlib import Path

START, ESCAPE, STOP = 1, 2, 3
DIALOUT = 20
ADDRESS, PAN, EXTENDED_PAN = 0x00158D0000ABCDEF, 0x1234, 0xDDDDDDDDDDDDDDDD
# What a command is answered with beside its status, by the codes of both.
VERSION, STATE, START_NETWORK = 0x0010, 0x0009, 0x0024
RESET, CHANNELS = 0x0011, 0x0021
ACTIVE_ENDPOINTS, SIMPLE_DESCRIPTOR = 0x0045, 0x0043
STATUS, INDICATION = 0x8000, 0x8002
AGAIN, NEW = 0x8006, 0x8007


def frame(code: int, payload: bytes) -> bytes:
    """A frame to Zigbee2MQTT: what is said, and how well it was heard."""
    content = payload + b"\xff"
    head = struct.pack("!HH", code, len(content))
    checksum = functools.reduce(operator.xor, head + content, 0)
    said = head + bytes([checksum]) + content
    escaped = b"".join(bytes([ESCAPE, each ^ 0x10]) if each <= 0x10 else bytes([each]) for each in said)
    return bytes([START]) + escaped + bytes([STOP])


def unescaped(content: bytes) -> bytes:
    found, is_escaped = bytearray(), False
    for each in content:
        if each == ESCAPE:
            is_escaped = True
            continue
        found.append(each ^ 0x10 if is_escaped else each)
        is_escaped = False
    return bytes(found)


def indication(cluster: int, payload: bytes) -> bytes:
    """What a device, here the coordinator itself, answers to a question about it."""
    head = struct.pack("!BHHBBBHBH", 0, 0, cluster, 0, 0, 2, 0, 2, 0)
    return frame(INDICATION, head + payload)


class Stick:
    """The stick, with what it keeps in the file *kept*."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.flash: dict[str, t.Any] = (
            json.loads(kept.read_text()) if kept.exists() else {"channel": 11, "is_new": True}
        )

    def keep(self, **values: t.Any) -> None:
        self.flash.update(values)
        self.kept.write_text(json.dumps(self.flash))

    def answer(self, code: int, payload: bytes) -> bytes:
        if code == RESET:
            return frame(NEW if self.flash["is_new"] else AGAIN, b"\x01")
        return frame(STATUS, struct.pack("!BBH", 0, 0, code)) + self.more(code, payload)

    def more(self, code: int, payload: bytes) -> bytes:
        if code == VERSION:
            return frame(0x8010, struct.pack("!BBH", 3, 0, 0x0321))
        if code == STATE:
            return frame(0x8009, struct.pack("!HQHQB", 0, ADDRESS, PAN, EXTENDED_PAN, self.flash["channel"]))
        if code == CHANNELS:
            (mask,) = struct.unpack("!I", payload)
            self.keep(channel=mask.bit_length() - 1)
        if code == START_NETWORK:
            self.keep(is_new=False)
            return frame(0x8024, struct.pack("!BHQB", 1, 0, ADDRESS, self.flash["channel"]))
        if code == ACTIVE_ENDPOINTS:
            return indication(0x8005, struct.pack("<BBHBB", 1, 0, 0, 1, 1))
        if code == SIMPLE_DESCRIPTOR:
            described = struct.pack("<BHHBBHB", 1, 0x0104, 0x0005, 0, 1, 0x0000, 0)
            return indication(0x8004, struct.pack("<BBHB", 1, 0, 0, len(described)) + described)
        return b""


def main() -> None:
    port, stick = Path(sys.argv[1]), Stick(Path(sys.argv[2]))
    master, slave = os.openpty()
    tty.setraw(slave)
    os.chown(os.ttyname(slave), 0, DIALOUT)
    os.chmod(os.ttyname(slave), 0o660)
    port.parent.mkdir(parents=True, exist_ok=True)
    port.unlink(missing_ok=True)
    port.symlink_to(os.ttyname(slave))
    heard = b""
    while True:
        heard += os.read(master, 4096)
        *frames, heard = heard.split(bytes([STOP]))
        for each in frames:
            content = unescaped(each.partition(bytes([START]))[2])
            if len(content) >= 5:
                os.write(master, stick.answer(struct.unpack("!H", content[:2])[0], content[5:]))


if __name__ == "__main__":
    main()
