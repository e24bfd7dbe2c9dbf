# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for Home Assistant behind its API: its landing page, then its onboarding, its logins and its WebSocket.

As the components onboarding, auth and websocket_api of home-assistant/core 2026.8 answer, and home-assistant/landingpage before them. With
nothing but Python, since it runs in a machine of its own (``home_assistant_os``), and on the loopback where no machine is needed.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import re
import secrets
import struct
import sys
import threading
import time
import typing as t
import urllib.parse

STEPS = ("user", "core_config", "analytics", "integration")
VERSION = "2026.8.1"
MANIFEST = {"name": "Home Assistant", "short_name": "Home Assistant", "start_url": "/?homescreen=1"}
# Where on a disk it keeps what it knows: behind all partitions.
PLACE, SIZE = 512 << 20, 64 << 10
Answer = tuple[int, t.Any]


class Core:
    """One Home Assistant with its *users* (their passwords by their names) and the steps that are *done*. For so long its page is that of upstream's
    installer."""

    def __init__(self, state: str = "", landing_seconds: float = 0.0) -> None:
        self._state = state
        self.users: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.done: list[str] = []
        self.calls: list[str] = []
        self.tokens: set[str] = set()
        self._codes: set[str] = set()
        self._flows: set[str] = set()
        self.lands_until = time.monotonic() + landing_seconds
        if state and os.path.exists(state):
            with open(state, "rb") as stream:
                stream.seek(PLACE)
                text = stream.read(SIZE).rstrip(b"\0")
            if text.startswith(b"{"):
                known = json.loads(text)
                self.users, self.owner, self.done = known["users"], known["owner"], known["done"]
        self._knows_steps = len(self.done) < len(STEPS)

    def _keep(self) -> None:
        if not self._state:
            return
        text = json.dumps({"users": self.users, "owner": self.owner, "done": self.done}).encode()
        with open(self._state, "r+b") as stream:
            stream.seek(PLACE)
            stream.write(text.ljust(SIZE, b"\0"))
            stream.flush()
            os.fsync(stream.fileno())

    def answer(self, method: str, path: str, token: str, body: dict[str, t.Any]) -> Answer:
        if time.monotonic() < self.lands_until:
            return (
                (200, "<html>Preparing Home Assistant</html>")
                if path == "/"
                else (401 if path.startswith("/api/") else 404, "")
            )
        if method == "POST":
            self.calls.append(path)
        if path in ("/", "/manifest.json"):
            return 200, "<html>Home Assistant</html>" if path == "/" else MANIFEST
        if path == "/auth/token":
            return self._token(body)
        if path.startswith("/auth/login_flow"):
            return self._log_in(path, body)
        if path.startswith("/api/onboarding") and self._knows_steps:
            return self._onboard(path.removeprefix("/api/onboarding"), method, token, body)
        if token not in self.tokens:
            return (404, "") if path.startswith("/api/onboarding") else (401, "401: Unauthorized")
        if path == "/api/":
            return 200, {"message": "API running."}
        if path == "/api/config":
            return 200, {"state": "RUNNING", "version": VERSION, "recovery_mode": False, "components": []}
        return 404, "404: Not Found"

    def _onboard(self, path: str, method: str, token: str, body: dict[str, t.Any]) -> Answer:
        if path == "" and method == "GET":
            return 200, [{"step": step, "done": step in self.done} for step in STEPS]
        if path == "/users":
            if "user" in self.done:
                return 403, {"message": "User step already done"}
            if missing := [
                key for key in ("name", "username", "password", "client_id", "language") if not body.get(key)
            ]:
                return 400, {"message": f"Message format incorrect: required key not provided @ data['{missing[0]}']"}
            self.users[body["username"]] = body["password"]
            self.owner = {key: body[key] for key in ("name", "username", "language")}
            self._finish("user")
            return 200, {"auth_code": self._code()}
        step = path.removeprefix("/")
        if step not in STEPS or method != "POST":
            return 404, "404: Not Found"
        if token not in self.tokens:
            return 401, "401: Unauthorized"
        if step in self.done:
            return 403, {"message": "Step already done"}
        self._finish(step)
        return 200, {"auth_code": self._code()} if step == "integration" else {}

    def _finish(self, step: str) -> None:
        self.done.append(step)
        self._keep()

    def _code(self) -> str:
        code = secrets.token_hex(16)
        self._codes.add(code)
        return code

    def _token(self, form: dict[str, t.Any]) -> Answer:
        if form.get("grant_type") != "authorization_code" or form.get("code") not in self._codes:
            return 400, {"error": "invalid_request"}
        self._codes.discard(form["code"])
        token = secrets.token_hex(16)
        self.tokens.add(token)
        return 200, {
            "access_token": token,
            "token_type": "Bearer",
            "refresh_token": secrets.token_hex(16),
            "expires_in": 1800,
        }

    def _log_in(self, path: str, body: dict[str, t.Any]) -> Answer:
        flow = path.removeprefix("/auth/login_flow").removeprefix("/")
        if not flow:
            flow = secrets.token_hex(8)
            self._flows.add(flow)
            return 200, {
                "type": "form",
                "flow_id": flow,
                "handler": ["homeassistant", None],
                "step_id": "init",
                "errors": {},
            }
        if flow not in self._flows:
            return 404, {"message": "Invalid flow specified"}
        if self.users.get(body.get("username", "")) != body.get("password"):
            return 200, {"type": "form", "flow_id": flow, "step_id": "init", "errors": {"base": "invalid_auth"}}
        return 200, {"type": "create_entry", "flow_id": flow, "result": self._code()}

    def command(self, message: dict[str, t.Any]) -> t.Any:
        """What a command of the WebSocket is answered; ``None`` for one that is not known."""
        if message["type"] == "get_config":
            return {"version": VERSION, "state": "RUNNING", "components": []}
        if message["type"] == "auth/current_user":
            return {"id": "1", "name": self.owner.get("name"), "is_owner": True, "is_admin": True}
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP as aiohttp of Home Assistant speaks it, and the WebSocket (RFC 6455) with short messages of text."""

    core: Core
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/websocket" and self.headers.get("Upgrade", "").lower() == "websocket":
            self._talk()
            return
        self._answer("GET", {})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            self._answer("POST", dict(urllib.parse.parse_qsl(content)))
        else:
            self._answer("POST", json.loads(content or "{}"))

    def _answer(self, method: str, body: dict[str, t.Any]) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        status, told = self.core.answer(method, urllib.parse.urlsplit(self.path).path, token, body)
        data = (told if isinstance(told, str) else json.dumps(told)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(told, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _talk(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self._write({"type": "auth_required", "ha_version": VERSION})
        said = self._read()
        if said is None or said.get("access_token") not in self.core.tokens:
            self._write({"type": "auth_invalid", "message": "Invalid access token or password"})
            return
        self._write({"type": "auth_ok", "ha_version": VERSION})
        while (said := self._read()) is not None:
            told = self.core.command(said)
            error = {"code": "unknown_command", "message": "Unknown command."}
            more = {"success": True, "result": told} if told is not None else {"success": False, "error": error}
            self._write({"id": said.get("id"), "type": "result", **more})

    def _write(self, message: t.Any) -> None:
        data = json.dumps(message).encode()
        head = bytes([0x81, len(data)]) if len(data) < 126 else b"\x81\x7e" + struct.pack("!H", len(data))
        self.wfile.write(head + data)
        self.wfile.flush()

    def _read(self) -> t.Any:
        head = self.rfile.read(2)
        if len(head) < 2 or head[0] & 0x0F == 8:
            return None
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.rfile.read(2))
        mask = self.rfile.read(4)
        return json.loads(bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(size))))

    def log_message(self, *arguments: object) -> None:
        pass


def server(core: Core, address: tuple[str, int]) -> http.server.ThreadingHTTPServer:
    web = http.server.ThreadingHTTPServer(address, type("Handler", (Handler,), {"core": core}))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    return web


def main() -> None:
    """In the machine: the observer of its system, and Home Assistant behind its landing page."""
    disks = sorted(f"/dev/{name}" for name in os.listdir("/sys/block") if re.fullmatch(r"[vs]da", name))
    server(Core(disks[0] if disks else "", landing_seconds=2.0), ("", int(sys.argv[1])))
    threading.Event().wait()


if __name__ == "__main__":
    main()
