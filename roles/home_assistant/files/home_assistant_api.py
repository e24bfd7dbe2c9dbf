# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finish the onboarding of Home Assistant, keep a token, and set up integrations, through its own API.

Reads a JSON object from its input: ``url``; ``user`` with ``name``, ``username``, ``password`` and ``language``; ``token_path``, where the
token lies (0600), or nothing where none is kept and nothing set up; ``integrations``, items with ``domain``, ``title`` and ``data``;
``seconds`` that it may take to start; ``is_check``, whether nothing may be changed. Writes a JSON object: ``changes``, sentences of what was
changed or would be. What fails is said on the error stream.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import struct
import sys
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT_SECONDS = 30.0
# What the token is called on the page of the user.
CLIENT = "homelab.hybrid"
LIFESPAN_DAYS = 3650
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """What the user is told."""


class Api:
    """The API at *url*, with *token* once there is one."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self.token = token

    def call(
        self, method: str, path: str, body: t.Any = None, form: t.Mapping[str, str] | None = None
    ) -> tuple[int, t.Any]:
        """The status and the JSON, or else the text, of an answer; the status 0 where there is none."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = None
        if form is not None:
            content = urllib.parse.urlencode(form).encode()
        elif method == "POST":
            headers["Content-Type"] = "application/json"
            content = json.dumps(body if body is not None else {}).encode()
        request = urllib.request.Request(self.url + path, data=content, headers=headers, method=method)
        try:
            with OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return int(answer.status), parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, parsed(error.read())
        except OSError:
            return 0, ""

    def asked(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """The JSON of an answer.

        :raises Failed: when it is none of success.
        """
        status, told = self.call(method, path, body)
        if not 200 <= status < 300:
            raise Failed(f"{method} {path}: {status} {told}")
        return told

    def command(self, **message: t.Any) -> t.Any:
        """The result of a command of the WebSocket API, where what the other has not got is.

        :raises Failed: when it is refused.
        """
        with Socket(self.url) as connection:
            connection.read()
            connection.write({"type": "auth", "access_token": self.token})
            if (told := connection.read()).get("type") != "auth_ok":
                raise Failed(f"the WebSocket API: {told.get('message') or told}")
            connection.write({"id": 1, **message})
            answer = connection.read()
        if not answer.get("success"):
            raise Failed(f"{message['type']}: {answer.get('error')}")
        return answer.get("result")


class Socket:
    """The WebSocket of the API: messages of text, as RFC 6455 has them."""

    def __init__(self, url: str) -> None:
        where = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 80), TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = ["GET /api/websocket HTTP/1.1", f"Host: {where.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        status = self._file.readline().decode("latin-1").strip()
        while self._file.readline().strip():
            pass
        if " 101 " not in f"{status} ":
            raise Failed(f"the WebSocket API: {status}")

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *dummy: t.Any) -> None:
        self._file.close()
        self._socket.close()

    def write(self, message: t.Any) -> None:
        self._send(1, json.dumps(message).encode())

    def _send(self, kind: int, content: bytes) -> None:
        mask = secrets.token_bytes(4)
        size = len(content)
        head = bytes([0x80 | kind]) + (
            bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack("!H", size)
        )
        self._socket.sendall(head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(content)))

    def read(self) -> t.Any:
        content = b""
        while True:
            first, second = self._exactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._exactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._exactly(8))
            piece = self._exactly(size)
            kind = first & 0x0F
            if kind == 8:
                raise Failed("the WebSocket API was closed")
            if kind == 9:
                self._send(10, piece)
            if kind not in (0, 1):
                continue
            content += piece
            if first & 0x80:
                return json.loads(content)

    def _exactly(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) < size:
            raise Failed("the WebSocket API ended")
        return found


def parsed(content: bytes) -> t.Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()[:300]


class Setup:
    """One run: what is *wanted*, and what was changed."""

    def __init__(self, wanted: t.Mapping[str, t.Any]) -> None:
        self.wanted = wanted
        self.is_check = bool(wanted["is_check"])
        self.api = Api(wanted["url"])
        # The program knows its clients by the address of their page.
        self.client = wanted["url"] + "/"
        self.changes: list[str] = []

    def run(self) -> None:
        steps = self.wait()
        self.api.token = self.kept_token()
        is_kept = not self.wanted["token_path"] or (bool(self.api.token) and self.api.call("GET", "/api/")[0] == 200)
        pending = [step for step in ("core_config", "analytics", "integration") if not steps.get(step, True)]
        is_claimed = steps.get("user", True)
        self.changes += [] if is_claimed else [f"the owner {self.wanted['user']['username']} is made"]
        self.changes += [f"the step {step} of the onboarding is finished" for step in pending]
        self.changes += [] if is_kept else ["a token is made"]
        if self.changes:
            if self.is_check:
                return
            # The steps are those of somebody who has logged in, and not of a token that was made.
            self.api.token = self.log_in() if is_claimed else self.claim()
            for step in pending:
                body = {"client_id": self.client, "redirect_uri": self.client} if step == "integration" else {}
                self.api.asked("POST", f"/api/onboarding/{step}", body)
            if self.wanted["token_path"]:
                self.keep_token()
        if not self.api.token:
            return
        self.await_start()
        for each in self.wanted["integrations"]:
            self.integrate(each)

    def wait(self) -> dict[str, bool]:
        """The steps of the onboarding, once it answers; none once all are done: it forgets them when it starts the next time."""
        until = time.monotonic() + self.wanted["seconds"]
        while True:
            status, told = self.api.call("GET", "/api/onboarding")
            if status == 200 and isinstance(told, list):
                return {str(each["step"]): bool(each["done"]) for each in told}
            if status in (401, 404) and self.api.call("GET", "/manifest.json")[0] == 200:
                return {}
            if time.monotonic() > until:
                raise Failed(f"{self.wanted['url']} does not answer: {status} {told}")
            time.sleep(0.5)

    def claim(self) -> str:
        """Make the owner; a token of it that lives for minutes."""
        told = self.api.asked("POST", "/api/onboarding/users", {"client_id": self.client, **self.wanted["user"]})
        return self.exchanged(told["auth_code"])

    def log_in(self) -> str:
        """A token of the owner that lives for minutes."""
        user = self.wanted["user"]
        # One that was refused before is no reason to be refused again.
        self.api.token = ""
        start = {"client_id": self.client, "handler": ["homeassistant", None], "redirect_uri": self.client}
        flow = self.api.asked("POST", "/auth/login_flow", start)
        given = {"client_id": self.client, "username": user["username"], "password": user["password"]}
        dummy, told = self.api.call("POST", f"/auth/login_flow/{flow['flow_id']}", given)
        if not isinstance(told, dict) or told.get("type") != "create_entry":
            raise Failed(
                f"it does not let {user['username']} in with the password that is given or was generated. Was it changed there? Then say it"
            )
        return self.exchanged(told["result"])

    def exchanged(self, code: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "client_id": self.client}
        status, told = self.api.call("POST", "/auth/token", form=form)
        if status != 200:
            raise Failed(f"POST /auth/token: {status} {told}")
        return str(told["access_token"])

    def kept_token(self) -> str:
        try:
            with open(self.wanted["token_path"] or os.devnull, encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            return ""

    def keep_token(self) -> None:
        """Make the token that lives for years, instead of those of earlier runs that nobody has any more."""
        for each in self.api.command(type="auth/refresh_tokens"):
            if each.get("client_name") == CLIENT:
                self.api.command(type="auth/delete_refresh_token", refresh_token_id=each["id"])
        token = self.api.command(type="auth/long_lived_access_token", client_name=CLIENT, lifespan=LIFESPAN_DAYS)
        path = self.wanted["token_path"]
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(token)
        os.replace(f"{path}.new", path)
        self.api.token = token

    def await_start(self) -> None:
        """Until its integrations are there: one that is not loaded yet is no reason to set it up."""
        until = time.monotonic() + self.wanted["seconds"]
        while True:
            status, told = self.api.call("GET", "/api/config")
            if status == 200 and told.get("state") == "RUNNING":
                return
            if time.monotonic() > until:
                raise Failed(
                    f"{self.wanted['url']} does not start: {status} {told.get('state') if isinstance(told, dict) else told}"
                )
            time.sleep(0.5)

    def integrate(self, each: t.Mapping[str, t.Any]) -> None:
        domain, title = each["domain"], each.get("title")
        known = self.api.asked("GET", f"/api/config/config_entries/entry?domain={urllib.parse.quote(domain)}")
        if any(entry["title"] == title or not title for entry in known):
            return
        self.changes.append(f"the integration {title or domain} is set up")
        if not self.is_check:
            entry = self.flow(domain, each.get("data") or {})
            self.await_loaded(domain, entry)

    def flow(self, domain: str, data: t.Mapping[str, t.Any]) -> str:
        """Answer the forms of an integration with *data*, by the names of their fields; the entry that comes of it."""
        told = self.api.asked(
            "POST", "/api/config/config_entries/flow", {"handler": domain, "show_advanced_options": True}
        )
        seen: set[str] = set()
        while told["type"] in ("form", "menu") and told["step_id"] not in seen:
            seen.add(told["step_id"])
            if told["type"] == "menu":
                if data.get("next_step_id") not in told["menu_options"]:
                    self.give_up(
                        told, f"{domain}: say in data which next_step_id of {', '.join(told['menu_options'])} is meant"
                    )
                answer: dict[str, t.Any] = {"next_step_id": data["next_step_id"]}
            else:
                fields = told.get("data_schema") or []
                answer = {field["name"]: data[field["name"]] for field in fields if field.get("name") in data}
                if missing := [
                    field["name"]
                    for field in fields
                    if field.get("required") and not {*answer} & {field["name"]} and "default" not in field
                ]:
                    self.give_up(told, f"{domain}: data lacks {', '.join(missing)}")
            told = self.api.asked("POST", f"/api/config/config_entries/flow/{told['flow_id']}", answer)
        if told["type"] != "create_entry":
            why = told.get("errors") or told.get("reason") or f"{told['type']} {told.get('step_id', '')}"
            self.give_up(told, f"{domain}: it ends with {why}")
        return str(told["result"]["entry_id"])

    def give_up(self, told: t.Mapping[str, t.Any], why: str) -> t.NoReturn:
        self.api.call("DELETE", f"/api/config/config_entries/flow/{told['flow_id']}")
        raise Failed(why)

    def await_loaded(self, domain: str, entry: str) -> None:
        until = time.monotonic() + 60
        while True:
            known = self.api.asked("GET", f"/api/config/config_entries/entry?domain={urllib.parse.quote(domain)}")
            state = next((each["state"] for each in known if each["entry_id"] == entry), "not there")
            if state == "loaded":
                return
            if time.monotonic() > until:
                raise Failed(f"the integration {domain} is {state}")
            time.sleep(0.5)


def main() -> int:
    setup = Setup(json.load(sys.stdin))
    try:
        setup.run()
    except (Failed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        json.dump({"changes": setup.changes}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
