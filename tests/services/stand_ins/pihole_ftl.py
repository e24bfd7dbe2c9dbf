# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FTL of Pi-hole 6 as a role meets it: its command line, its file, its API and, by dnsmasq, its DNS server, its unpleasant sides included.

It rewrites pihole.toml with all defaults and drops keys that it does not know. Without a hash of a password it lets everybody in. It has 16
sessions, and refuses whoever wants one more. It ends for most changes of its file, for its unit to start it 5 seconds later. Its command line
ends with 4 for an unknown key and 5 for one that the environment forces. It runs in a guest, in one executable archive; ``release.json`` in
that says which version it is: ``{version, answers}``. Hashes are those of nettle, as those of FTL.
"""

from __future__ import annotations

import base64
import ctypes
import http.server
import ipaddress
import json
import os
import pkgutil
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
import typing as t
import urllib.parse
from pathlib import Path

RELEASE: dict[str, t.Any] = json.loads(pkgutil.get_data("__main__", "release.json") or b"{}")
FOLDER = Path("/etc/pihole")
FILE = FOLDER / "pihole.toml"
HOSTS = FOLDER / "hosts" / "custom.list"
RESTART = 22
OKAY, FAIL, INVALID, REFUSED, UNKNOWN, FORCED = 0, 1, 2, 3, 4, 5
DEFAULTS: dict[str, t.Any] = {
    "dns.upstreams": [],
    "dns.CNAMEdeepInspect": True,
    "dns.piholePTR": "PI.HOLE",
    "dns.blockTTL": 2,
    "dns.hosts": [],
    "dns.domainNeeded": False,
    "dns.expandHosts": False,
    "dns.bogusPriv": True,
    "dns.dnssec": False,
    "dns.interface": "",
    "dns.listeningMode": "LOCAL",
    "dns.queryLogging": True,
    "dns.cnameRecords": [],
    "dns.port": 53,
    "dns.revServers": [],
    "dns.domain.name": "lan",
    "dns.domain.local": True,
    "dns.cache.size": 10000,
    "dns.blocking.active": True,
    "dns.blocking.mode": "NULL",
    "dns.rateLimit.count": 1000,
    "dns.rateLimit.interval": 60,
    "dhcp.active": False,
    "dhcp.start": "",
    "dhcp.end": "",
    "ntp.ipv4.active": True,
    "ntp.ipv6.active": True,
    "ntp.sync.active": True,
    "webserver.domain": "pi.hole",
    "webserver.acl": "",
    "webserver.port": "80o,443os,[::]:80o,[::]:443os",
    "webserver.session.timeout": 1800,
    "webserver.paths.webroot": "/var/www/html",
    "webserver.paths.webhome": "/admin/",
    "webserver.api.max_sessions": 16,
    "webserver.api.pwhash": "",
    "webserver.api.totp_secret": "",
    "files.pid": "/run/pihole-FTL.pid",
    "files.gravity": "/etc/pihole/gravity.db",
    "misc.privacylevel": 0,
    "misc.etc_dnsmasq_d": False,
}
LIVE = {"dns.hosts", "webserver.api.pwhash", "dns.blocking.active", "dns.CNAMEdeepInspect", "misc.privacylevel"}
CHOICES = {"dns.listeningMode": ("LOCAL", "SINGLE", "BIND", "ALL", "NONE")}
SPACE_COST, TIME_COST = 1024, 32


class Refused(Exception):
    """What a client is told, with a status of HTTP and the key of an error."""

    def __init__(self, status: int, key: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"key": key, "message": message, "hint": hint}


def hashed(password: str, salt: bytes) -> str:
    nettle = ctypes.CDLL("libnettle.so.8")
    nettle.nettle_balloon_itch.restype = ctypes.c_size_t
    space = nettle.nettle_balloon_itch(ctypes.c_size_t(32), ctypes.c_size_t(SPACE_COST))
    scratch, digest, secret = (
        ctypes.create_string_buffer(space),
        ctypes.create_string_buffer(32),
        password.encode(),
    )
    sizes = [ctypes.c_size_t(each) for each in (SPACE_COST, TIME_COST, len(secret))]
    nettle.nettle_balloon_sha256(*sizes, secret, ctypes.c_size_t(len(salt)), salt, scratch, digest)
    parts = [base64.b64encode(part).decode() for part in (salt, digest.raw)]
    return f"$BALLOON-SHA256$v=1$s={SPACE_COST},t={TIME_COST}${parts[0]}${parts[1]}"


def is_password(password: str, found: str) -> bool:
    return hashed(password, base64.b64decode(found.split("$")[4])) == found


def flat(table: dict[str, t.Any], before: str = "") -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for key, value in table.items():
        found.update(flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value})
    return found


def nested(values: dict[str, t.Any]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


def parsed(key: str, value: str) -> t.Any:
    """A value of the command line in the type of its key.

    :raises ValueError: where it has none of that type.
    """
    default = DEFAULTS[key]
    if isinstance(default, bool):
        return {"true": True, "false": False}[value.lower()]
    if isinstance(default, int):
        return int(value)
    if isinstance(default, list):
        found = json.loads(value)
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ValueError(value)
        return found
    if key in CHOICES and value not in CHOICES[key]:
        raise ValueError(value)
    return value


def valid(key: str, value: t.Any) -> bool:
    """As FTL's validators: what stands here would stop its resolver."""
    if key == "dns.hosts":
        return all(re.fullmatch(r"[0-9a-f.:]+( [a-z0-9_.-]+)+", line) for line in value)
    if key == "dns.cnameRecords":
        return all(2 <= len(line.split(",")) <= 3 for line in value)
    return True


def written(value: t.Any) -> str:
    """A value as it stands in the file."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(each)}" for each in value) + "\n  ]"
    return json.dumps(value)


class Config:
    """The file, with what the environment forces. Whoever reads or changes ``values`` holds ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.forced = {
            key: parsed(key, os.environ[name])
            for key in DEFAULTS
            if (name := "FTLCONF_" + key.replace(".", "_")) in os.environ
        }
        self.values = dict(DEFAULTS)
        self.read()

    def read(self) -> None:
        there = flat(tomllib.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}
        known = {key: value for key, value in there.items() if type(value) is type(DEFAULTS.get(key))}
        self.values = {**DEFAULTS, **known, **self.forced}
        if "webserver.api.password" in there:
            self.values["webserver.api.pwhash"] = hashed(there["webserver.api.password"], os.urandom(16))

    def write(self) -> None:
        lines = [f"# Pi-hole configuration file ({RELEASE['version']})", "# This file is managed by pihole-FTL", ""]
        before = None
        # All keys of one table stand together.
        for key, value in sorted(self.values.items(), key=lambda pair: pair[0].rpartition(".")[0]):
            table, dummy, name = key.rpartition(".")
            if table != before:
                lines.append(f"[{table}]")
            before = table
            how = " (env)" if key in self.forced else ""
            changed = f" ### CHANGED{how}, default = {json.dumps(DEFAULTS[key])}" if value != DEFAULTS[key] else ""
            lines += [f"  # {key}", f"  {name} = {written(value)}{changed}", ""]
        new = FILE.with_name("pihole.toml.tmp")
        new.write_text("\n".join(lines), encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(new, "pihole", "pihole")
        new.chmod(0o640)
        if not FILE.exists() or new.read_text(encoding="utf-8") != FILE.read_text(encoding="utf-8"):
            new.rename(FILE)
        HOSTS.parent.mkdir(exist_ok=True)
        HOSTS.write_text("".join(f"{line}\n" for line in self.values["dns.hosts"]), encoding="utf-8")

    def set(self, key: str, text: str) -> int:
        if key == "webserver.api.password":
            self.values["webserver.api.pwhash"] = hashed(text, os.urandom(16)) if text else ""
            self.write()
            return OKAY
        if key not in DEFAULTS:
            print(f"Unknown config option {key}, did you mean:")
            return UNKNOWN
        if key in self.forced:
            print(f"Config option {key} is read-only (set via environmental variable)")
            return FORCED
        try:
            value = parsed(key, text)
        except (ValueError, KeyError):
            print(f"Config setting {key} is invalid")
            return INVALID
        if not valid(key, value):
            print(f"Invalid value: {text}")
            return REFUSED
        self.values[key] = value
        print(json.dumps(value))
        self.write()
        return OKAY

    def show(self, key: str, *, quiet: bool) -> int:
        exact = [each for each in DEFAULTS if each == key]
        found = exact or [each for each in DEFAULTS if each.startswith(key)]
        for each in found:
            value = self.values[each]
            text = f"[ {', '.join(value)} ]" if isinstance(value, list) else value
            text = json.dumps(value) if isinstance(value, bool) else text
            print(text if exact else f"{each} = {text}")
        if not found:
            print(f"Unknown config option {key}, did you mean:")
            return UNKNOWN
        return int(not self.values[key]) if quiet and exact and isinstance(self.values[key], bool) else OKAY


class Gravity:
    """The database of groups, lists, domains and clients: by kind its table, the column that names an item, and that of the API."""

    TABLES: t.ClassVar[dict[str, tuple[str, str, str]]] = {
        "groups": ("group", "name", "name"),
        "lists": ("adlist", "address", "address"),
        "domains": ("domainlist", "domain", "domain"),
        "clients": ("client", "ip", "client"),
    }
    LISTS: t.ClassVar[dict[str, int]] = {"block": 0, "allow": 1}
    DOMAINS: t.ClassVar[dict[tuple[str, str], int]] = {
        ("allow", "exact"): 0,
        ("deny", "exact"): 1,
        ("allow", "regex"): 2,
        ("deny", "regex"): 3,
    }

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> sqlite3.Connection:
        if not Path(self.path).exists():
            raise Refused(400, "database_error", "Could not read from gravity database", "Database not available")
        found = sqlite3.connect(self.path, timeout=30)
        found.row_factory = sqlite3.Row
        return found

    def read(self, kind: str) -> list[dict[str, t.Any]]:
        table, column, name = self.TABLES[kind]
        with self.open() as database:
            rows = [dict(row) for row in database.execute(f'SELECT * FROM "{table}" ORDER BY id')]
            for row in rows:
                row[name] = row.pop(column)
                if "enabled" in row:
                    row["enabled"] = bool(row["enabled"])
                if kind == "lists":
                    row["type"] = next(each for each, number in self.LISTS.items() if number == row["type"])
                if kind == "domains":
                    row["type"], row["kind"] = next(
                        each for each, number in self.DOMAINS.items() if number == row["type"]
                    )
                if kind != "groups":
                    asked = f"SELECT group_id FROM {table}_by_group WHERE {table}_id = ? ORDER BY group_id"
                    row["groups"] = [each[0] for each in database.execute(asked, (row["id"],))]
        return rows

    def write(self, kind: str, item: str, number: int | None, body: dict[str, t.Any], *, is_new: bool) -> None:
        """What *body* leaves out is lost, but for the groups."""
        table, column, dummy = self.TABLES[kind]
        values: dict[str, t.Any] = {column: item, "comment": body.get("comment") or None}
        if kind != "clients":
            values["enabled"] = bool(body.get("enabled", True))
        where, given = f"{column} = ?", [item]
        if number is not None:
            values["type"] = number
            where, given = f"{where} AND type = ?", [item, str(number)]
        with self.open() as database:
            there = database.execute(f'SELECT id FROM "{table}" WHERE {where}', given).fetchone()
            if there and is_new:
                raise Refused(400, "database_error", f"UNIQUE constraint failed: {table}.{column}")
            if there:
                setting = ", ".join(f'"{key}" = ?' for key in values)
                database.execute(f'UPDATE "{table}" SET {setting} WHERE id = ?', [*values.values(), there["id"]])
                number_of = there["id"]
            else:
                names = ", ".join(f'"{key}"' for key in values)
                marks = ", ".join("?" for dummy in values)
                number_of = database.execute(
                    f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(values.values())
                ).lastrowid
            groups = body.get("groups", None if there else [0])
            if kind != "groups" and groups is not None:
                database.execute(f"DELETE FROM {table}_by_group WHERE {table}_id = ?", (number_of,))
                insert = f"INSERT INTO {table}_by_group ({table}_id, group_id) VALUES (?, ?)"
                database.executemany(insert, [(number_of, each) for each in groups])

    def blocked(self) -> set[str]:
        if not Path(self.path).exists():
            return set()
        with self.open() as database:
            names = {row[0] for row in database.execute("SELECT domain FROM gravity")}
            names |= {row[0] for row in database.execute("SELECT domain FROM domainlist WHERE type = 1 AND enabled")}
            return names - {
                row[0] for row in database.execute("SELECT domain FROM domainlist WHERE type = 0 AND enabled")
            }


class Resolver:
    """dnsmasq with what FTL would have it answer."""

    def __init__(self, config: Config, gravity: Gravity) -> None:
        self.config = config
        self.gravity = gravity
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        values = self.config.values
        lines = ["keep-in-foreground", "pid-file=", "no-resolv", "no-hosts", f"port={values['dns.port']}"]
        lines += [f"server={each}" for each in values["dns.upstreams"]]
        lines += [f"addn-hosts={HOSTS}", f"cache-size={values['dns.cache.size']}"]
        lines += [f"cname={each}" for each in values["dns.cnameRecords"]]
        lines += ["local-service"] if values["dns.listeningMode"] == "LOCAL" else []
        lines += [f"address=/{values['webserver.domain']}/{own_address()}"]
        if values["dns.blocking.active"]:
            lines += [
                f"address=/{name}/{none}" for name in sorted(self.gravity.blocked()) for none in ("0.0.0.0", "::")
            ]
        path = FOLDER / "dnsmasq.conf"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.process = subprocess.Popen(["/usr/sbin/dnsmasq", f"--conf-file={path}"])

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()

    def reload(self) -> None:
        self.stop()
        self.start()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 53))
            return str(asked.getsockname()[0])
        except OSError:
            return "127.0.0.1"


class Api:
    """What ``/api`` answers."""

    def __init__(self, config: Config, gravity: Gravity, resolver: Resolver) -> None:
        self.config = config
        self.gravity = gravity
        self.resolver = resolver
        # By sid until when it is valid, in seconds of the monotonic clock.
        self.sessions: dict[str, float] = {}

    def is_open(self) -> bool:
        return not self.config.values["webserver.api.pwhash"]

    def session(self, sid: str, message: str) -> dict[str, t.Any]:
        timeout = self.config.values["webserver.session.timeout"]
        valid = self.is_open() or sid in self.sessions
        told = {"valid": valid, "totp": False, "sid": sid or None, "csrf": sid[::-1] or None}
        return {"session": {**told, "validity": timeout if valid else -1, "message": message}, "took": 0.001}

    def auth(self, method: str, sid: str, body: t.Any) -> tuple[int, t.Any]:
        if method == "DELETE":
            if self.sessions.pop(sid, None) is None:
                raise Refused(401, "unauthorized", "Unauthorized")
            return 204, None
        if method == "GET":
            return (200 if self.is_open() or sid in self.sessions else 401), self.session(sid, "")
        if not isinstance(body, dict) or not isinstance(body.get("password"), str):
            raise Refused(400, "bad_request", "No password found in JSON payload")
        found = self.config.values["webserver.api.pwhash"]
        if not (self.is_open() and not body["password"]) and not (found and is_password(body["password"], found)):
            return 401, self.session("", "password incorrect")
        now = time.monotonic()
        self.sessions = {each: until for each, until in self.sessions.items() if until > now}
        if len(self.sessions) >= self.config.values["webserver.api.max_sessions"]:
            raise Refused(429, "api_seats_exceeded", "API seats exceeded", "increase webserver.api.max_sessions")
        sid = secrets.token_urlsafe(18)
        self.sessions[sid] = now + self.config.values["webserver.session.timeout"]
        return 200, self.session(sid, "password correct")

    def admit(self, sid: str) -> None:
        if not self.is_open() and self.sessions.get(sid, 0.0) < time.monotonic():
            raise Refused(401, "unauthorized", "Unauthorized")

    def answer(self, method: str, path: str, query: dict[str, str], sid: str, body: t.Any) -> tuple[int, t.Any]:
        parts = [urllib.parse.unquote(each) for each in path.split("/")]
        if path == "auth":
            return self.auth(method, sid, body)
        if path == "info/login":
            return 200, {"dns": self.resolver.runs, "https_port": 0, "took": 0.001}
        self.admit(sid)
        if path == "info/version":
            return 200, {"version": self.versions()}
        if path == "dns/blocking":
            return 200, {
                "blocking": "enabled" if self.config.values["dns.blocking.active"] else "disabled",
                "timer": None,
            }
        if path == "action/gravity" and method == "POST":
            done = subprocess.run(["/usr/local/bin/pihole", "-g"], capture_output=True, text=True, check=False)
            self.resolver.reload()
            return 200, done.stdout + done.stderr
        if parts[0] == "config":
            return self.settings(method, parts[1:], body)
        if parts[0] in Gravity.TABLES:
            return self.items(method, parts, query, body)
        raise Refused(404, "not_found", "Not found", f"/api/{path}")

    def versions(self) -> dict[str, t.Any]:
        lines = (FOLDER / "versions").read_text(encoding="utf-8").splitlines()
        found = dict(line.partition("=")[::2] for line in lines)
        return {
            part: {
                "local": {
                    "version": found.get(f"{part.upper()}_VERSION"),
                    "branch": found.get(f"{part.upper()}_BRANCH"),
                }
            }
            for part in ("core", "web", "ftl")
        }

    def settings(self, method: str, parts: list[str], body: t.Any) -> tuple[int, t.Any]:
        values = self.config.values
        if method == "GET":
            told = {key: value for key, value in values.items() if key.startswith(".".join(parts))}
            return 200, {"config": nested(told)}
        if method == "PATCH":
            for key, value in flat(body["config"]).items():
                if self.config.set(key, value if isinstance(value, str) else json.dumps(value)):
                    raise Refused(400, "bad_request", "Config item is invalid", key)
            return 200, {"config": nested(values)}
        *names, value = parts
        key = ".".join(names)
        if not isinstance(values.get(key), list):
            raise Refused(400, "bad_request", "Invalid path", key)
        new = [*values[key], value] if method == "PUT" else [each for each in values[key] if each != value]
        if method == "PUT" and value in values[key]:
            raise Refused(400, "bad_request", "Item already present", "Uniqueness of items is enforced")
        if self.config.set(key, json.dumps(new)):
            raise Refused(400, "bad_request", "Config item is invalid", value)
        return (201 if method == "PUT" else 204), {} if method == "PUT" else None

    def items(self, method: str, parts: list[str], query: dict[str, str], body: t.Any) -> tuple[int, t.Any]:
        kind, *rest = parts
        if method == "GET":
            return 200, {kind: self.gravity.read(kind), "took": 0.001}
        number = None
        if kind == "domains":
            number, rest = Gravity.DOMAINS[rest[0], rest[1]], rest[2:]
        if kind == "lists":
            if query.get("type") not in Gravity.LISTS:
                raise Refused(400, "bad_request", "Invalid request: Specify type parameter")
            number = Gravity.LISTS[query["type"]]
        given = rest[:1] or body[Gravity.TABLES[kind][2]]
        for item in [given] if isinstance(given, str) else given:
            self.gravity.write(kind, item, number, body, is_new=method == "POST")
        self.resolver.reload()
        done = {"errors": [], "success": [{"item": each} for each in ([given] if isinstance(given, str) else given)]}
        return (201 if method == "POST" else 200), {kind: self.gravity.read(kind), "processed": done}


class Handler(http.server.BaseHTTPRequestHandler):
    api: Api

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    def _handle(self, method: str) -> None:
        path, dummy, query = self.path.partition("?")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if not path.startswith("/api/"):
                raise Refused(404, "not_found", "Not found")
            body = json.loads(raw) if raw else {}
            sid = self.headers.get("X-FTL-SID") or self.headers.get("sid") or ""
            with self.api.config.lock:
                asked = dict(urllib.parse.parse_qsl(query))
                status, answer = self.api.answer(method, path.removeprefix("/api/"), asked, sid, body)
        except Refused as refused:
            status, answer = refused.status, {"error": refused.error, "took": 0.001}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            status, answer = 400, {"error": {"key": "bad_request", "message": repr(error), "hint": None}}
        text = b"" if answer is None else (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Web(http.server.ThreadingHTTPServer):
    def __init__(self, place: tuple[str, int], handler: type[Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


def places(ports: str) -> t.Iterator[tuple[str, int]]:
    """Where a value as ``80o,443os,[::]:80o`` listens; TLS is left out."""
    for each in ports.split(","):
        host, dummy, port = each.rpartition(":")
        if "s" not in port:
            yield str(ipaddress.ip_address(host.strip("[]") or "0.0.0.0")), int(port.rstrip("o"))


def serve() -> int:
    config = Config()
    if not RELEASE["answers"]:
        # What it was told before means something else to it.
        config.values["dns.hosts"] = []
        config.write()
        threading.Event().wait()
    config.write()
    Path(config.values["files.pid"]).write_text(f"{os.getpid()}\n", encoding="utf-8")
    gravity = Gravity(config.values["files.gravity"])
    resolver = Resolver(config, gravity)
    resolver.start()
    handler = type("Pages", (Handler,), {"api": Api(config, gravity, resolver)})
    for place in places(config.values["webserver.port"]):
        threading.Thread(target=Web(place, handler).serve_forever, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda dummy, frame: ended.set())
    signal.signal(signal.SIGHUP, lambda dummy, frame: resolver.reload())
    seen = FILE.read_text(encoding="utf-8")
    # FTL is told of a change by the kernel.
    while not ended.wait(0.2):
        try:
            now = FILE.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        if now == seen:
            continue
        with config.lock:
            running, seen = tomllib.loads(seen), now
            config.read()
        old, new = flat(running), flat(tomllib.loads(now))
        changed = {key for key in new if old.get(key) != new[key]}
        if changed - LIVE:
            resolver.stop()
            return RESTART
        if "webserver.api.pwhash" in changed:
            handler.api.sessions.clear()
        resolver.reload()
    resolver.stop()
    return 0


def main() -> int:
    argv = sys.argv[1:]
    if argv[:1] in (["version"], ["-v"], ["tag"]):
        print(RELEASE["version"])
    elif argv[:1] == ["branch"]:
        print("master")
    elif argv[:1] == ["sqlite3"]:
        *dummy, path = argv[2:3]
        database = sqlite3.connect(path, timeout=30)
        for row in database.execute(argv[3]) if len(argv) > 3 else database.executescript(sys.stdin.read()):
            print("|".join(str(value) for value in row))
        database.commit()
    elif argv[:1] == ["--config"] and len(argv) == 3 and argv[1] == "-q":
        return Config().show(argv[2], quiet=True)
    elif argv[:1] == ["--config"] and len(argv) == 3:
        if os.geteuid() != 0:
            print("Permission error")
            return FAIL
        return Config().set(argv[1], argv[2])
    elif argv[:1] == ["--config"]:
        return Config().show(argv[1] if len(argv) > 1 else "", quiet=False)
    elif argv[:1] in (["-f"], ["no-daemon"]):
        return serve()
    else:
        print(f"pihole-FTL: unknown {argv}")
        return FAIL
    return OKAY


if __name__ == "__main__":
    sys.exit(main())
