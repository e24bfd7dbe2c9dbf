# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told what happens on a host: a server of HTTP, and what the command lines of all processes are while it is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import typing as t
from pathlib import Path


class Heard(t.NamedTuple):
    """One request: its path, headers and JSON body, and the *command_lines* of all processes of that moment."""

    path: str
    headers: dict[str, str]
    body: t.Any
    command_lines: str


class Listener(http.server.ThreadingHTTPServer):
    """Answers each POST with *status* (and *place*, where to ask instead), and keeps what it *heard*."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Answer)
        self.address = address
        self.heard: list[Heard] = []
        self.status = 200
        self.place: str | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.server_port}"

    def take(self) -> list[Heard]:
        found, self.heard = self.heard, []
        return found


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append(Heard(self.path, dict(self.headers), body, command_lines()))
        self.send_response(self.server.status)
        if self.server.place:
            self.send_header("Location", self.server.place)
        self.end_headers()

    def log_message(self, *arguments: t.Any) -> None:
        """It is told by ``heard``."""


@contextlib.contextmanager
def listening(address: str = "127.0.0.1") -> t.Iterator[Listener]:
    """A listener at an *address* of this host."""
    with Listener(address) as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


def command_lines() -> str:
    """What everybody on the host can read of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)
