# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Immich's server as a role meets it: its variables, its PostgreSQL and Redis, and its HTTP API, its unpleasant sides included.

As Immich 3 has it: who comes first signs up as its administrator, unless IMMICH_ALLOW_SETUP is false; settings are taken only whole; a
user that was deleted still has its address; a library takes paths that are not there when it is made, and none when it is changed; a
database with migrations of a newer version is refused, again and again. It runs in its image with Debian's Python; ``release.json``
beside it says which version it is: ``{version, migrations, answers}``.
"""

from __future__ import annotations

import datetime
import hashlib
import http.server
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import typing as t
import urllib.parse
import uuid
from pathlib import Path

import psycopg2
import psycopg2.extras

RELEASE: dict[str, t.Any] = json.loads((Path(__file__).resolve().parent / "release.json").read_text(encoding="utf-8"))
Document = dict[str, t.Any]
SETTINGS: Document = {
    "backup": {"database": {"cronExpression": "0 02 * * *", "enabled": True, "keepLastAmount": 14}},
    "machineLearning": {"enabled": True, "urls": ["http://immich-machine-learning:3003"], "clip": {"enabled": True}},
    "newVersionCheck": {"enabled": True},
    "passwordLogin": {"enabled": True},
    "server": {"externalDomain": "", "loginPageMessage": "", "publicUsers": True},
    "trash": {"days": 30, "enabled": True},
}
TABLES = """
CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS person (id text PRIMARY KEY, email text UNIQUE NOT NULL, name text NOT NULL, salt text NOT NULL,
    password text NOT NULL, admin boolean NOT NULL, label text, quota bigint, must boolean NOT NULL, made timestamptz NOT NULL DEFAULT now(),
    deleted timestamptz);
CREATE TABLE IF NOT EXISTS session (token text PRIMARY KEY, person text NOT NULL);
CREATE TABLE IF NOT EXISTS api_key (secret text PRIMARY KEY, person text NOT NULL, id text NOT NULL, name text NOT NULL);
CREATE TABLE IF NOT EXISTS library (id text PRIMARY KEY, owner text NOT NULL, name text NOT NULL, paths text[] NOT NULL,
    patterns text[] NOT NULL, made timestamptz NOT NULL DEFAULT now(), scanned timestamptz);
CREATE TABLE IF NOT EXISTS album (id text PRIMARY KEY, owner text NOT NULL, name text NOT NULL, made timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS metadata (key text PRIMARY KEY, value jsonb NOT NULL);
"""


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Database:
    """One connection for all: this server is asked by one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = psycopg2.connect(
            host=os.environ.get("DB_HOSTNAME", "database"),
            port=os.environ.get("DB_PORT", "5432"),
            user=os.environ.get("DB_USERNAME", "postgres"),
            password=os.environ.get("DB_PASSWORD", "postgres"),
            dbname=os.environ.get("DB_DATABASE_NAME", "immich"),
            connect_timeout=5,
        )
        self._connection.autocommit = True

    def rows(self, statement: str, *values: t.Any) -> list[Document]:
        with self._lock, self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(statement, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def migrate(self) -> None:
        self.rows("CREATE EXTENSION IF NOT EXISTS vector")
        self.rows(TABLES)
        done = {row["name"] for row in self.rows("SELECT name FROM migration")}
        if unknown := done - set(RELEASE["migrations"]):
            raise SystemExit(f"corrupted migrations: previously executed migration {min(unknown)} is missing")
        for name in RELEASE["migrations"]:
            self.rows("INSERT INTO migration VALUES (%s) ON CONFLICT DO NOTHING", name)


def redis(*words: str) -> str:
    """The first line that Redis answers to one command."""
    host, port = os.environ.get("REDIS_HOSTNAME", "redis"), int(os.environ.get("REDIS_PORT", "6379"))
    with socket.create_connection((host, port), 5) as connection:
        connection.sendall(
            f"*{len(words)}\r\n{''.join(f'${len(w.encode())}{chr(13)}{chr(10)}{w}{chr(13)}{chr(10)}' for w in words)}".encode()
        )
        return connection.makefile(encoding="utf-8").readline().strip()


def hashed(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=1024, r=8, p=1).hex()


def moment(value: datetime.datetime | None) -> str | None:
    return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value else None


def shown(person: Document) -> Document:
    return {
        "id": person["id"],
        "email": person["email"],
        "name": person["name"],
        "profileImagePath": "",
        "avatarColor": "primary",
        "profileChangedAt": moment(person["made"]),
        "storageLabel": person["label"],
        "shouldChangePassword": person["must"],
        "isAdmin": person["admin"],
        "createdAt": moment(person["made"]),
        "deletedAt": moment(person["deleted"]),
        "updatedAt": moment(person["made"]),
        "oauthId": "",
        "quotaSizeInBytes": person["quota"],
        "quotaUsageInBytes": 0,
        "status": "deleted" if person["deleted"] else "active",
        "license": None,
    }


def shown_library(library: Document) -> Document:
    return {
        "id": library["id"],
        "ownerId": library["owner"],
        "name": library["name"],
        "importPaths": library["paths"],
        "exclusionPatterns": library["patterns"],
        "assetCount": 0,
        "createdAt": moment(library["made"]),
        "updatedAt": moment(library["made"]),
        "refreshedAt": moment(library["scanned"]),
    }


def shown_album(album: Document) -> Document:
    return {
        "id": album["id"],
        "albumName": album["name"],
        "ownerId": album["owner"],
        "albumThumbnailAssetId": None,
        "albumUsers": [],
        "assetCount": 0,
        "createdAt": moment(album["made"]),
        "updatedAt": moment(album["made"]),
        "hasSharedLink": False,
        "isActivityEnabled": True,
        "shared": False,
    }


class Api:
    """What each path answers. A handler is given the person that asks, the words of the path and the body."""

    def __init__(self, database: Database) -> None:
        self.rows = database.rows
        self.routes: list[tuple[str, str, str, int, t.Callable[..., t.Any]]] = [
            ("GET", r"server/ping", "all", 200, lambda _who, _body: {"res": "pong"}),
            (
                "GET",
                r"server/version",
                "all",
                200,
                lambda _who, _body: dict(
                    zip(("major", "minor", "patch"), map(int, RELEASE["version"].split(".")), strict=True)
                ),
            ),
            ("GET", r"server/config", "all", 200, self.config),
            (
                "GET",
                r"server/about",
                "user",
                200,
                lambda _who, _body: {"version": f"v{RELEASE['version']}", "versionUrl": "", "licensed": False},
            ),
            ("GET", r"server/statistics", "admin", 200, self.statistics),
            ("POST", r"auth/admin-sign-up", "all", 201, self.sign_up),
            ("POST", r"auth/login", "all", 201, self.login),
            ("POST", r"auth/logout", "user", 200, self.logout),
            ("POST", r"api-keys", "user", 201, self.make_key),
            ("GET", r"users/me", "user", 200, lambda who, _body: shown(who)),
            ("GET", r"admin/users", "admin", 200, self.people),
            ("POST", r"admin/users", "admin", 201, self.make_person),
            ("PUT", r"admin/users/([0-9a-f-]+)", "admin", 200, self.change_person),
            ("DELETE", r"admin/users/([0-9a-f-]+)", "admin", 200, self.delete_person),
            ("POST", r"admin/users/([0-9a-f-]+)/restore", "admin", 200, self.restore_person),
            (
                "GET",
                r"libraries",
                "admin",
                200,
                lambda _who, _body: list(map(shown_library, self.rows("SELECT * FROM library ORDER BY made"))),
            ),
            ("POST", r"libraries", "admin", 201, self.make_library),
            ("PUT", r"libraries/([0-9a-f-]+)", "admin", 200, self.change_library),
            ("DELETE", r"libraries/([0-9a-f-]+)", "admin", 204, self.delete_library),
            ("POST", r"libraries/([0-9a-f-]+)/scan", "admin", 204, self.scan),
            ("GET", r"system-config", "admin", 200, lambda _who, _body: self.settings()),
            ("PUT", r"system-config", "admin", 200, self.change_settings),
            ("GET", r"albums", "user", 200, self.albums),
            ("POST", r"albums", "user", 201, self.make_album),
        ]

    def answer(self, method: str, path: str, query: Document, headers: t.Any, body: Document) -> tuple[int, t.Any]:
        for its_method, pattern, whose, status, handler in self.routes:
            match = re.fullmatch(pattern, path)
            if match and its_method == method:
                who = self.who(headers) if whose != "all" else None
                if whose == "admin" and not (who or {}).get("admin"):
                    raise Refusal(403, "Forbidden")
                return status, handler(who, {**query, **body} if method == "GET" else body, *match.groups())
        raise Refusal(404, f"Cannot {method} /api/{path}")

    def who(self, headers: t.Any) -> Document:
        token, key = headers.get("Authorization", "").removeprefix("Bearer "), headers.get("x-api-key", "")
        found = []
        if token:
            found = self.rows(
                "SELECT person.* FROM person JOIN session ON person = id WHERE token = %s", _digest(token)
            )
        elif key:
            found = self.rows(
                "SELECT person.* FROM person JOIN api_key ON person = person.id WHERE secret = %s", _digest(key)
            )
        if not found or found[0]["deleted"]:
            raise Refusal(401, "Invalid API key" if key else "Authentication required")
        return found[0]

    def config(self, _who: None, _body: Document) -> Document:
        is_there = bool(self.rows("SELECT 1 FROM person WHERE admin AND deleted IS NULL"))
        return {
            "isInitialized": is_there,
            "isOnboarded": is_there,
            "trashDays": 30,
            "userDeleteDelay": 7,
            "externalDomain": "",
        }

    def statistics(self, _who: Document, _body: Document) -> Document:
        usage = [
            {
                "userId": one["id"],
                "userName": one["name"],
                "photos": 0,
                "videos": 0,
                "usage": 0,
                "usagePhotos": 0,
                "usageVideos": 0,
                "quotaSizeInBytes": one["quota"],
            }
            for one in self.rows("SELECT * FROM person WHERE deleted IS NULL")
        ]
        return {"photos": 0, "videos": 0, "usage": 0, "usagePhotos": 0, "usageVideos": 0, "usageByUser": usage}

    def sign_up(self, _who: None, body: Document) -> Document:
        if os.environ.get("IMMICH_ALLOW_SETUP", "true") == "false":
            raise Refusal(400, "Admin setup is disabled")
        if self.rows("SELECT 1 FROM person WHERE admin"):
            raise Refusal(400, "The server already has an admin")
        return self._made({**body, "isAdmin": True, "storageLabel": "admin", "shouldChangePassword": False})

    def login(self, _who: None, body: Document) -> Document:
        found = self.rows(
            "SELECT * FROM person WHERE email = %s AND deleted IS NULL", str(body.get("email", "")).lower()
        )
        if not found or hashed(str(body.get("password", "")), found[0]["salt"]) != found[0]["password"]:
            raise Refusal(401, "Incorrect email or password")
        token = secrets.token_urlsafe(32)
        self.rows("INSERT INTO session VALUES (%s, %s)", _digest(token), found[0]["id"])
        return {
            "accessToken": token,
            "userId": found[0]["id"],
            "userEmail": found[0]["email"],
            "isAdmin": found[0]["admin"],
        }

    def logout(self, who: Document, _body: Document) -> Document:
        self.rows("DELETE FROM session WHERE person = %s", who["id"])
        return {"successful": True, "redirectUri": "/auth/login?autoLaunch=0"}

    def make_key(self, who: Document, body: Document) -> Document:
        if not body.get("permissions"):
            raise Refusal(400, "permissions must contain at least 1 elements")
        secret, identity = secrets.token_urlsafe(32), str(uuid.uuid4())
        self.rows(
            "INSERT INTO api_key VALUES (%s, %s, %s, %s)",
            _digest(secret),
            who["id"],
            identity,
            body.get("name", "API Key"),
        )
        return {
            "secret": secret,
            "apiKey": {"id": identity, "name": body.get("name"), "permissions": body["permissions"]},
        }

    def people(self, _who: Document, query: Document) -> list[Document]:
        with_deleted = query.get("withDeleted") == "true"
        return [
            shown(one) for one in self.rows("SELECT * FROM person ORDER BY made") if with_deleted or not one["deleted"]
        ]

    def make_person(self, _who: Document, body: Document) -> Document:
        if not body.get("password"):
            raise Refusal(400, "password is required")
        return self._made(body)

    def _made(self, body: Document) -> Document:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", str(body.get("email"))) or not body.get("name"):
            raise Refusal(400, "email must be an email")
        email, salt = body["email"].lower(), secrets.token_hex(8)
        if self.rows("SELECT 1 FROM person WHERE email = %s", email):
            raise Refusal(400, "User exists")
        (person,) = self.rows(
            "INSERT INTO person (id, email, name, salt, password, admin, label, quota, must) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
            *(str(uuid.uuid4()), email, body["name"], salt, hashed(body["password"], salt), bool(body.get("isAdmin"))),
            *(body.get("storageLabel"), body.get("quotaSizeInBytes"), body.get("shouldChangePassword", True)),
        )
        return shown(person)

    def change_person(self, _who: Document, body: Document, identity: str) -> Document:
        self._person(identity)
        columns = {"name": "name", "isAdmin": "admin", "storageLabel": "label", "quotaSizeInBytes": "quota"}
        for key, column in columns.items():
            if key in body:
                self.rows(f"UPDATE person SET {column} = %s WHERE id = %s", body[key], identity)
        return shown(self._person(identity))

    def delete_person(self, who: Document, _body: Document, identity: str) -> Document:
        self._person(identity)
        if who["id"] == identity:
            raise Refusal(403, "Cannot delete your own account")
        self.rows("UPDATE person SET deleted = now() WHERE id = %s", identity)
        redis("RPUSH", "immich_bull:backgroundTask", json.dumps({"name": "UserTrash", "id": identity}))
        return shown(self.rows("SELECT * FROM person WHERE id = %s", identity)[0])

    def restore_person(self, _who: Document, _body: Document, identity: str) -> Document:
        self.rows("UPDATE person SET deleted = NULL WHERE id = %s", identity)
        return shown(self._person(identity))

    def _person(self, identity: str) -> Document:
        found = self.rows("SELECT * FROM person WHERE id = %s AND deleted IS NULL", identity)
        if not found:
            raise Refusal(400, "User not found")
        return found[0]

    def make_library(self, _who: Document, body: Document) -> Document:
        self._person(str(body.get("ownerId")))
        (library,) = self.rows(
            "INSERT INTO library (id, owner, name, paths, patterns) VALUES (%s, %s, %s, %s, %s) RETURNING *",
            *(str(uuid.uuid4()), body["ownerId"], body.get("name", "New External Library")),
            *(body.get("importPaths") or [], body.get("exclusionPatterns") or ["**/@eaDir/**", "**/._*"]),
        )
        return shown_library(library)

    def change_library(self, _who: Document, body: Document, identity: str) -> Document:
        for path in body.get("importPaths") or []:
            if not Path(path).is_dir():
                raise Refusal(400, "Invalid import path: Path does not exist (ENOENT)")
        for key, column in {"importPaths": "paths", "exclusionPatterns": "patterns", "name": "name"}.items():
            if key in body:
                self.rows(f"UPDATE library SET {column} = %s WHERE id = %s", body[key], identity)
        return shown_library(self.rows("SELECT * FROM library WHERE id = %s", identity)[0])

    def delete_library(self, _who: Document, _body: Document, identity: str) -> None:
        self.rows("DELETE FROM library WHERE id = %s", identity)

    def scan(self, _who: Document, _body: Document, identity: str) -> None:
        redis("RPUSH", "immich_bull:library", json.dumps({"name": "LibrarySyncFilesQueueAll", "id": identity}))
        self.rows("UPDATE library SET scanned = now() WHERE id = %s", identity)

    def settings(self) -> Document:
        found = self.rows("SELECT value FROM metadata WHERE key = 'system-config'")
        return found[0]["value"] if found else SETTINGS

    def change_settings(self, _who: Document, body: Document) -> Document:
        if missing := sorted(_keys(SETTINGS) - _keys(body)):
            raise Refusal(400, f"{missing[0]}: Required")
        value = json.dumps(body)
        self.rows(
            "INSERT INTO metadata VALUES ('system-config', %s) ON CONFLICT (key) DO UPDATE SET value = %s", value, value
        )
        return self.settings()

    def albums(self, who: Document, _query: Document) -> list[Document]:
        return list(map(shown_album, self.rows("SELECT * FROM album WHERE owner = %s", who["id"])))

    def make_album(self, who: Document, body: Document) -> Document:
        statement = "INSERT INTO album (id, owner, name) VALUES (%s, %s, %s) RETURNING *"
        return shown_album(self.rows(statement, str(uuid.uuid4()), who["id"], body["albumName"])[0])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _keys(settings: Document, above: str = "") -> set[str]:
    found = set()
    for key, value in settings.items():
        found |= {f"{above}{key}", *(_keys(value, f"{above}{key}.") if isinstance(value, dict) else ())}
    return found


def handler_of(api: Api) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            address = urllib.parse.urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            written = self.rfile.read(size)
            try:
                body = json.loads(written) if written.strip() else {}
                query = dict(urllib.parse.parse_qsl(address.query))
                status, told = api.answer(self.command, address.path.removeprefix("/api/"), query, self.headers, body)
            except Refusal as refusal:
                status, told = refusal.status, {"message": str(refusal), "statusCode": refusal.status}
            except (ValueError, KeyError) as error:
                status, told = 400, {"message": str(error), "error": "Bad Request", "statusCode": 400}
            except psycopg2.Error as error:
                print(error, file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGTERM)
                status, told = 500, {"message": "Internal server error", "statusCode": 500}
            content = json.dumps(told).encode() if status != 204 else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815  # the names that http.server asks for

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    return Handler


def main() -> None:
    # PID 1 has no handlers of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for _attempt in range(60):
        try:
            database = Database()
            if redis("PING") == "+PONG":
                break
        except (psycopg2.OperationalError, OSError) as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(0.5)
    else:
        sys.exit("no database or no redis")
    database.migrate()
    if not RELEASE["answers"]:
        database.rows("DELETE FROM album")
        signal.pause()
    for folder in ("backups", "encoded-video", "library", "profile", "thumbs", "upload"):
        (Path("/data") / folder).mkdir(exist_ok=True)
        (Path("/data") / folder / ".immich").touch()
    server = http.server.ThreadingHTTPServer(
        ("0.0.0.0", int(os.environ.get("IMMICH_PORT", "2283"))), handler_of(Api(database))
    )
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
