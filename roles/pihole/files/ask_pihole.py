# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Pi-hole whether it resolves, and that it lets nobody in without a password: ``ask_pihole.py SERVER HTTP_PORT DNS_PORT``.

Says so and ends with 0, or says on the error stream what is wrong and ends with 1.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 3.0
# Answered by the program itself, without an upstream.
NAME = "pi.hole"


def resolves(server: str, port: int) -> bool:
    """Whether the server answers the name without an error."""
    identity = secrets.randbelow(65536)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    question = struct.pack("!HHHHHH", identity, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.settimeout(TIMEOUT_SECONDS)
        asked.connect((server, port))
        asked.send(question)
        answer = asked.recv(4096)
    return len(answer) >= 12 and answer[:2] == question[:2] and answer[3] & 0x0F == 0


def asked(server: str, port: int, path: str) -> tuple[int, str]:
    """With which status and text it answers who asks without a password."""
    host = f"[{server}]" if ":" in server else server
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}/api/{path}", timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def main() -> int:
    server, http_port, dns_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        status, dummy = asked(server, http_port, "auth")
        if status != 401:
            sys.stderr.write(f"/api/auth answers {status} without a password, and not 401\n")
            return 1
        status, text = asked(server, http_port, "info/login")
        if status != 200 or json.loads(text).get("dns") is not True:
            sys.stderr.write(f"/api/info/login answers {status} {text.strip()}: its resolver does not run\n")
            return 1
        if not resolves(server, dns_port):
            sys.stderr.write(f"{NAME} is answered with an error\n")
            return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("resolves, and asks for a password\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
