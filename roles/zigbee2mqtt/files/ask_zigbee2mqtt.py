# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Zigbee2MQTT, in its guest, whether it is on MQTT with its adapter, and whether its page asks for a token: ``ask_zigbee2mqtt.py FOLDER``.

The folder has ``check.json``, and the options of ``mosquitto_sub``, which reads them itself: no password is an argument.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import typing as t
from pathlib import Path
from urllib.parse import quote

TIMEOUT_SECONDS = 5.0
# What it closes the connection with when the token is another (2.14.1).
UNAUTHORIZED = 4401
_TEXT, _CLOSE = 1, 8


def main(folder: Path) -> str:
    asked = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    command = ["mosquitto_sub", "-t", asked["topic"], "-C", "1", "-W", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # 27: nobody said anything in time (mosquitto 2.0).
        said = "nothing is said there" if done.returncode == 27 else done.stderr.strip()
        raise ValueError(f"{asked['topic']}: {said}")
    state = json.loads(done.stdout)
    state = state.get("state") if isinstance(state, dict) else state
    if state != "online":
        raise ValueError(f"{asked['topic']} says {state}")
    if (answer := first_frame(asked, "")) != (_CLOSE, UNAUTHORIZED):
        raise ValueError("its page lets in whoever has no token" if answer[0] == _TEXT else "its page does not answer")
    if first_frame(asked, asked["token"])[0] != _TEXT:
        raise ValueError("its page refuses its token")
    return "online, and its page asks for the token"


def first_frame(asked: dict[str, t.Any], token: str) -> tuple[int, int]:
    """The kind of the first frame that it sends on its WebSocket, and with which code it closes it."""
    key = base64.b64encode(os.urandom(16)).decode()
    path = asked["path"].rstrip("/") + "/api?token=" + quote(token)
    head = f"GET {path} HTTP/1.1\r\nHost: {asked['address']}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    with socket.create_connection((asked["address"], asked["port"]), TIMEOUT_SECONDS) as connection:
        connection.sendall(head.encode())
        with contextlib.closing(connection.makefile("rb")) as stream:
            status = stream.readline().split()
            if status[1:2] != [b"101"]:
                raise ValueError(f"its page answers {b' '.join(status[1:]).decode()} and not 101")
            while stream.readline().strip():
                pass
            kind, length = struct.unpack("!BB", stream.read(2))
            # A frame of a server has no mask; of a long one the length does not matter here.
            content = stream.read(length) if length < 126 else b""
    return kind & 15, struct.unpack("!H", content[:2])[0] if kind & 15 == _CLOSE and len(content) >= 2 else 0


if __name__ == "__main__":
    try:
        sys.stdout.write(main(Path(sys.argv[1])) + "\n")
    except (OSError, ValueError, struct.error) as error:
        sys.exit(str(error) or type(error).__name__)
