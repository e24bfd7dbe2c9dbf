# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask one name server for the addresses of one name: ``dns_query.py SERVER PORT NAME``.

Prints the IPv4 addresses, or says on the error stream why there are none and ends with 1.
"""

from __future__ import annotations

import secrets
import socket
import struct
import sys

TIMEOUT_SECONDS = 3.0
ATTEMPTS = 3
RECORD_A = 1
CLASS_IN = 1
CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class NoAnswer(Exception):
    """The server did not give an address."""


def question(identity: int, name: str) -> bytes:
    labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    recursion_desired = 0x0100
    return (
        struct.pack("!HHHHHH", identity, recursion_desired, 1, 0, 0, 0)
        + encoded
        + struct.pack("!HH", RECORD_A, CLASS_IN)
    )


def after_name(message: bytes, offset: int) -> int:
    """The offset behind the name that begins at *offset*; a pointer ends it."""
    while True:
        length = message[offset]
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
        if length == 0:
            return offset


def addresses(message: bytes) -> list[str]:
    """The addresses in an answer.

    :raises NoAnswer: with the server's code.
    """
    dummy, flags, questions, answers = struct.unpack_from("!HHHH", message)
    code = flags & 0xF
    if code:
        raise NoAnswer(CODES.get(code, f"code {code}"))
    offset = 12
    for dummy in range(questions):
        offset = after_name(message, offset) + 4
    found = []
    for dummy in range(answers):
        offset = after_name(message, offset)
        kind, dummy, dummy, length = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        if kind == RECORD_A:
            found.append(socket.inet_ntoa(message[offset : offset + length]))
        offset += length
    return found


def ask(server: str, port: int, name: str) -> list[str]:
    """The addresses of *name*.

    :raises NoAnswer:
    """
    identity = secrets.randbits(16)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.settimeout(TIMEOUT_SECONDS)
        channel.connect((server, port))
        for dummy in range(ATTEMPTS):
            try:
                channel.send(question(identity, name))
                message = channel.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if len(message) >= 12 and message[:2] == struct.pack("!H", identity):
                return sorted(addresses(message))
    raise NoAnswer(f"no answer from {server} port {port}")


def main() -> int:
    server, port, name = sys.argv[1:4]
    try:
        found = ask(server, int(port), name)
    except (NoAnswer, OSError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    if not found:
        sys.stderr.write(f"{name} has no address\n")
        return 1
    sys.stdout.write(" ".join(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
