# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jellyfin as a role meets it: its command line, its files and its HTTP API, its unpleasant sides included.

As Jellyfin 10.11 has it: until its wizard is finished everybody may finish it, and the first user is made by being asked for. While
it starts or migrates another server answers for it: /health says ``Degraded`` with 200, /System/Info/Public that the wizard is not
finished whether it is or not, and all others say 503. It rewrites its XML files with all that they lack, binds and trusts proxies as they
said when it started, locks users out after some wrong passwords, and takes no database of a newer version. It runs in a guest with
Python's own library; ``release.json`` beside it says which version it is: ``{version, schema, answers}``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import re
import secrets
import signal
import socket
import socketserver
import sqlite3
import sys
import threading
import time
import typing as t
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

RELEASE: dict[str, t.Any] = json.loads((Path(__file__).resolve().parent / "release.json").read_text(encoding="utf-8"))
STARTING_SECONDS = 2
DISCOVERY_PORT = 7359
Document = dict[str, t.Any]
NETWORK: Document = {
    "BaseUrl": "",
    "EnableHttps": False,
    "RequireHttps": False,
    "InternalHttpPort": 8096,
    "InternalHttpsPort": 8920,
    "PublicHttpPort": 8096,
    "PublicHttpsPort": 8920,
    "AutoDiscovery": True,
    "EnableIPv4": True,
    "EnableIPv6": False,
    "EnableRemoteAccess": True,
    "LocalNetworkSubnets": [],
    "LocalNetworkAddresses": [],
    "KnownProxies": [],
    "IgnoreVirtualInterfaces": True,
    "VirtualInterfaceNames": ["veth"],
    "RemoteIPFilter": [],
    "IsRemoteIPFilterBlacklist": False,
}
SYSTEM: Document = {
    "IsStartupWizardCompleted": False,
    "ServerName": "",
    "UICulture": "en-US",
    "MetadataCountryCode": "US",
    "PreferredMetadataLanguage": "en",
    "QuickConnectAvailable": True,
    "EnableMetrics": False,
    "LogFileRetentionDays": 3,
}
ENCODING: Document = {
    "HardwareAccelerationType": "none",
    "VaapiDevice": "/dev/dri/renderD128",
    "EncodingThreadCount": -1,
}
POLICY: Document = {
    "IsAdministrator": False,
    "IsHidden": True,
    "IsDisabled": False,
    "EnableAllFolders": True,
    "EnabledFolders": [],
    "EnableRemoteAccess": True,
    "EnableContentDeletion": False,
    "InvalidLoginAttemptCount": 0,
    "LoginAttemptsBeforeLockout": -1,
    "AuthenticationProviderId": "Jellyfin.Server.Implementations.Users.DefaultAuthenticationProvider",
    "PasswordResetProviderId": "Jellyfin.Server.Implementations.Users.DefaultPasswordResetProvider",
}
TYPES = ("movies", "tvshows", "music", "musicvideos", "homevideos", "boxsets", "books", "mixed")


class Refused(Exception):
    """What a client is told: a status of HTTP and a sentence."""

    def __init__(self, status: int, text: str = "Error processing request.") -> None:
        super().__init__(text)
        self.status = status


def read_xml(path: Path, defaults: Document) -> Document:
    """The settings of a file, with the defaults of what it lacks. The file is rewritten with them where it differs."""
    found = dict(defaults)
    if path.exists():
        for element in ET.parse(path).getroot():
            default = defaults.get(element.tag)
            if isinstance(default, list):
                found[element.tag] = [child.text or "" for child in element]
            elif isinstance(default, bool):
                found[element.tag] = element.text == "true"
            elif isinstance(default, int):
                found[element.tag] = int(element.text or "0")
            elif default is not None:
                found[element.tag] = element.text or ""
    write_xml(path, found)
    return found


def write_xml(path: Path, settings: Document) -> None:
    names = {"network": "NetworkConfiguration", "system": "ServerConfiguration"}
    root = ET.Element(names[path.stem])
    for key, value in settings.items():
        element = ET.SubElement(root, key)
        if isinstance(value, list):
            for item in value:
                ET.SubElement(element, "string").text = item
        else:
            element.text = str(value).lower() if isinstance(value, bool) else str(value)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


class Server:
    """What it knows. Whoever reads or changes it holds ``lock``."""

    def __init__(self, config: Path, data: Path) -> None:
        self.lock = threading.RLock()
        self.config, self.path = config, data / "data" / "jellyfin.db"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.network = read_xml(config / "network.xml", NETWORK)
        self.system = read_xml(config / "system.xml", SYSTEM)
        self.bound = dict(self.network)
        self.is_ready = False
        self.tokens: dict[str, Document] = {}
        self.data: Document = {"schema": RELEASE["schema"], "id": secrets.token_hex(16), "users": [], "libraries": []}
        with contextlib.closing(self.database()) as database:
            database.execute("CREATE TABLE IF NOT EXISTS Documents (Id INTEGER PRIMARY KEY, Data TEXT NOT NULL)")
            for row in database.execute("SELECT Data FROM Documents"):
                self.data = json.loads(row[0])
        self.data.setdefault("keys", [])
        self.data.setdefault("encoding", dict(ENCODING))
        self.data.setdefault("tokens", {})
        self.tokens = self.data["tokens"]

    def migrate(self) -> None:
        """Begin to answer, once the database is that of this version."""
        if self.data["schema"] > RELEASE["schema"]:
            sys.stderr.write("Migration is not known: the database is of a newer version\n")
            os._exit(1)
        if self.data["schema"] < RELEASE["schema"]:
            self.data["schema"] = RELEASE["schema"]
            self.data["users"] = list(self.data["users"]) if RELEASE["answers"] else []
        self.save()
        time.sleep(STARTING_SECONDS)
        self.is_ready = RELEASE["answers"]

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def save(self) -> None:
        with contextlib.closing(self.database()) as database:
            database.execute("INSERT OR REPLACE INTO Documents VALUES (1, ?)", [json.dumps(self.data)])
            database.commit()

    def user(self, identity: str) -> Document:
        wanted = identity.replace("-", "").lower()
        for user in self.data["users"]:
            if user["Id"] == wanted:
                return t.cast("Document", user)
        raise Refused(404, "User not found")

    def named(self, name: str) -> Document | None:
        return next((user for user in self.data["users"] if user["Name"].lower() == name.lower()), None)

    def library(self, name: str) -> Document:
        for library in self.data["libraries"]:
            if library["Name"] == name:
                return t.cast("Document", library)
        raise Refused(404, "Library not found")

    def new_user(self, name: str, **policy: t.Any) -> Document:
        if not re.fullmatch(r"[\w \-'._@+]+", name):
            raise Refused(
                400, "Usernames can contain unicode symbols, numbers, dashes, underscores, apostrophes, and periods"
            )
        if self.named(name):
            raise Refused(400, f"A user with the name '{name}' already exists.")
        user = {"Name": name, "Id": uuid.uuid4().hex, "hash": "", "Policy": {**POLICY, **policy}}
        self.data["users"].append(user)
        return user


def hashed(password: str, salt: str = "") -> str:
    salt = salt or secrets.token_hex(16)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), bytes.fromhex(salt), 1000)
    return f"{salt}${digest.hex()}"


def is_password(user: Document, password: str) -> bool:
    return user["hash"] == "" == password or user["hash"] == hashed(password, user["hash"].partition("$")[0] or "00")


def shown(user: Document) -> Document:
    facts = {"HasPassword": True, "HasConfiguredPassword": user["hash"] != "", "ServerId": SERVER.data["id"]}
    return {**{key: value for key, value in user.items() if key != "hash"}, **facts}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.raw = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        self.query = {key.lower(): values[-1] for key, values in urllib.parse.parse_qs(url.query).items()}
        try:
            with SERVER.lock:
                if not SERVER.is_ready:
                    status, said = self.starting(url.path)
                else:
                    status, said = self.route(url.path)
        except Refused as refused:
            status, said = refused.status, str(refused)
        is_text = isinstance(said, str)
        content = b"" if said is None else (said if is_text else json.dumps(said)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "005")
        self.end_headers()
        self.wfile.write(content)

    def starting(self, path: str) -> tuple[int, t.Any]:
        if path == "/health":
            return 200, "Degraded"
        if path.lower() == "/system/info/public":
            return 200, {**self.public(), "StartupWizardCompleted": False}
        return 503, "<html>Jellyfin is starting</html>"

    def public(self) -> Document:
        return {
            "LocalAddress": f"http://{self.headers.get('Host')}",
            "ServerName": SERVER.system["ServerName"] or socket.gethostname(),
            "Version": RELEASE["version"],
            "ProductName": "Jellyfin Server",
            "OperatingSystem": "",
            "Id": SERVER.data["id"],
            "StartupWizardCompleted": SERVER.system["IsStartupWizardCompleted"],
        }

    # Who asks.

    def claims(self) -> Document:
        """The parts of the header in which a client names itself."""
        said = self.headers.get("Authorization") or ""
        scheme, _blank, rest = said.partition(" ")
        if scheme != "MediaBrowser":
            return {}
        return {key: urllib.parse.unquote(value) for key, value in re.findall(r'(\w+)="([^"]*)"', rest)}

    def who(self) -> Document:
        token = self.claims().get("Token") or self.query.get("apikey") or ""
        if any(key["AccessToken"] == token for key in SERVER.data["keys"]):
            return {"Name": "", "Id": "", "Policy": {"IsAdministrator": True, "EnableAllFolders": True}}
        if token not in SERVER.tokens:
            raise Refused(401, "")
        return SERVER.user(SERVER.tokens[token]["UserId"])

    def elevated(self) -> Document:
        user = self.who()
        if not user["Policy"]["IsAdministrator"]:
            raise Refused(403, "")
        return user

    def first_time_or_elevated(self) -> None:
        if SERVER.system["IsStartupWizardCompleted"]:
            self.elevated()

    def body(self) -> t.Any:
        if not (self.headers.get("Content-Type") or "").startswith("application/json"):
            raise Refused(415, "Unsupported Media Type")
        try:
            return json.loads(self.raw)
        except ValueError:
            raise Refused(400, "The body is no JSON") from None

    def needed(self, name: str) -> str:
        if not self.query.get(name):
            raise Refused(400, f"The {name} field is required.")
        return self.query[name]

    # What is asked.

    def route(self, path: str) -> tuple[int, t.Any]:
        place = f"{self.command} {path.lower().rstrip('/')}"
        for pattern, method in ROUTES:
            if matched := re.fullmatch(pattern, place):
                said = method(self, *matched.groups())
                if self.command != "GET":
                    SERVER.save()
                return (204, None) if said is None else (200, said)
        raise Refused(404, "")

    def health(self) -> str:
        return "Healthy"

    def info(self) -> Document:
        self.first_time_or_elevated()
        return {**self.public(), "HasPendingRestart": False}

    def startup_configuration(self) -> Document:
        self.first_time_or_elevated()
        keys = ("ServerName", "UICulture", "MetadataCountryCode", "PreferredMetadataLanguage")
        return {key: SERVER.system[key] for key in keys}

    def set_startup_configuration(self) -> None:
        self.first_time_or_elevated()
        body = self.body()
        for key in ("ServerName", "UICulture", "MetadataCountryCode", "PreferredMetadataLanguage"):
            SERVER.system[key] = body.get(key) or ""
        write_xml(SERVER.config / "system.xml", SERVER.system)

    def startup_user(self) -> Document:
        self.first_time_or_elevated()
        if not SERVER.data["users"]:
            SERVER.new_user("root", IsAdministrator=True)
        return {"Name": SERVER.data["users"][0]["Name"], "Password": None}

    def set_startup_user(self) -> None:
        self.first_time_or_elevated()
        body = self.body()
        if not SERVER.data["users"]:
            raise Refused(500)  # InvalidOperationException: the sequence contains no elements
        if not (body.get("Password") or "").strip():
            raise Refused(400, "Password must not be empty")
        user = SERVER.data["users"][0]
        user["Name"] = body.get("Name") or user["Name"]
        user["hash"] = hashed(body["Password"])

    def set_remote_access(self) -> None:
        self.first_time_or_elevated()
        SERVER.network["EnableRemoteAccess"] = self.body()["EnableRemoteAccess"]
        write_xml(SERVER.config / "network.xml", SERVER.network)

    def complete(self) -> None:
        self.first_time_or_elevated()
        SERVER.system["IsStartupWizardCompleted"] = True
        write_xml(SERVER.config / "system.xml", SERVER.system)

    def configuration(self) -> Document:
        self.who()
        return SERVER.system

    def set_configuration(self) -> None:
        self.elevated()
        SERVER.system = {key: self.body().get(key, default) for key, default in SYSTEM.items()}
        write_xml(SERVER.config / "system.xml", SERVER.system)

    def network(self) -> Document:
        self.who()
        return SERVER.network

    def set_network(self) -> None:
        self.elevated()
        SERVER.network = {key: self.body().get(key, default) for key, default in NETWORK.items()}
        write_xml(SERVER.config / "network.xml", SERVER.network)

    def encoding(self) -> Document:
        self.who()
        return t.cast("Document", SERVER.data["encoding"])

    def set_encoding(self) -> None:
        self.elevated()
        SERVER.data["encoding"] = {key: self.body().get(key, default) for key, default in ENCODING.items()}

    def log_in(self) -> Document:
        claims, body = self.claims(), self.body()
        if not all(claims.get(key) for key in ("Client", "Device", "DeviceId", "Version")):
            raise Refused(400, "App, device and version are needed")
        user = SERVER.named(body.get("Username") or "")
        if user is None:
            raise Refused(401)
        policy = user["Policy"]
        if policy["IsDisabled"]:
            raise Refused(403)
        if not is_password(user, body.get("Pw") or ""):
            limit = policy["LoginAttemptsBeforeLockout"]
            policy["InvalidLoginAttemptCount"] += 1
            if limit != 0 and policy["InvalidLoginAttemptCount"] >= (
                limit if limit > 0 else 5 if policy["IsAdministrator"] else 3
            ):
                policy["IsDisabled"] = True
            SERVER.save()
            raise Refused(401)
        policy["InvalidLoginAttemptCount"] = 0
        for token, session in list(SERVER.tokens.items()):
            if (session["DeviceId"], session["UserId"]) == (claims["DeviceId"], user["Id"]):
                del SERVER.tokens[token]
        token = secrets.token_hex(16)
        SERVER.tokens[token] = {"DeviceId": claims["DeviceId"], "UserId": user["Id"]}
        session = {"DeviceId": claims["DeviceId"], "UserName": user["Name"], "Client": claims["Client"]}
        return {"User": shown(user), "SessionInfo": session, "AccessToken": token, "ServerId": SERVER.data["id"]}

    def log_out(self) -> None:
        self.who()
        SERVER.tokens.pop(self.claims().get("Token") or "", None)

    def users(self) -> list[Document]:
        self.who()
        return [shown(user) for user in SERVER.data["users"]]

    def public_users(self) -> list[Document]:
        hidden = SERVER.system["IsStartupWizardCompleted"]
        return [shown(user) for user in SERVER.data["users"] if not (hidden and user["Policy"]["IsHidden"])]

    def me(self) -> Document:
        return shown(self.who())

    def one_user(self, identity: str) -> Document:
        self.who()
        return shown(SERVER.user(identity))

    def add_user(self) -> Document:
        self.elevated()
        body = self.body()
        user = SERVER.new_user(body.get("Name") or "")
        user["hash"] = hashed(body["Password"]) if body.get("Password") else ""
        return shown(user)

    def set_password(self) -> None:
        asking, body = self.who(), self.body()
        user = SERVER.user(self.needed("userid"))
        if user["Id"] == asking["Id"] and not is_password(user, body.get("CurrentPw") or ""):
            raise Refused(403, "Invalid user or password entered.")
        if user["Id"] != asking["Id"] and not asking["Policy"]["IsAdministrator"]:
            raise Refused(403, "User is not allowed to update the password.")
        user["hash"] = hashed(body["NewPw"]) if body.get("NewPw") else ""

    def set_policy(self, identity: str) -> None:
        self.elevated()
        user, body = SERVER.user(identity), self.body()
        for key in ("AuthenticationProviderId", "PasswordResetProviderId"):
            if not body.get(key):
                raise Refused(400, f"The {key} field is required.")
        others = [each for each in SERVER.data["users"] if each is not user and each["Policy"]["IsAdministrator"]]
        if user["Policy"]["IsAdministrator"] and not body.get("IsAdministrator") and not others:
            raise Refused(403, "There must be at least one user in the system with administrative access.")
        folders = [str(uuid.UUID(each)).replace("-", "") for each in body.get("EnabledFolders") or []]
        user["Policy"] = {**{key: body.get(key, default) for key, default in POLICY.items()}, "EnabledFolders": folders}

    def delete_user(self, identity: str) -> None:
        self.elevated()
        SERVER.data["users"].remove(SERVER.user(identity))

    def libraries(self) -> list[Document]:
        self.first_time_or_elevated()
        return list(SERVER.data["libraries"])

    def add_library(self) -> None:
        self.first_time_or_elevated()
        name, kind = self.needed("name").strip(), self.query.get("collectiontype") or ""
        if kind not in ("", *TYPES):
            raise Refused(400, f"The value '{kind}' is not valid.")
        options = (self.body() or {}).get("LibraryOptions") or {} if self.raw else {}
        paths = [each["Path"] for each in options.get("PathInfos") or []]
        if any(not Path(path).is_dir() for path in paths):
            raise Refused(400, "The specified path does not exist")
        if any(library["Name"] == name for library in SERVER.data["libraries"]):
            name += "2"  # upstream's ValidateNewName: it makes another one
        made: Document = {"Name": name, "Locations": paths, "ItemId": uuid.uuid4().hex}
        if kind not in ("", "mixed"):
            made["CollectionType"] = kind
        made["LibraryOptions"] = {"Enabled": True, **options, "PathInfos": [{"Path": path} for path in paths]}
        SERVER.data["libraries"].append(made)

    def delete_library(self) -> None:
        self.first_time_or_elevated()
        SERVER.data["libraries"].remove(SERVER.library(self.needed("name")))

    def add_path(self) -> None:
        self.first_time_or_elevated()
        body = self.body()
        path = (body.get("PathInfo") or {}).get("Path") or body.get("Path") or ""
        if not Path(path).is_dir():
            raise Refused(404, "The path does not exist.")
        library = SERVER.library(body.get("Name") or "")
        library["Locations"].append(path)
        library["LibraryOptions"]["PathInfos"].append({"Path": path})

    def delete_path(self) -> None:
        self.first_time_or_elevated()
        library, path = SERVER.library(self.needed("name")), self.needed("path")
        if path not in library["Locations"]:
            raise Refused(400, "The path is none of the library")
        library["Locations"].remove(path)
        infos = library["LibraryOptions"]["PathInfos"]
        infos[:] = [each for each in infos if each["Path"] != path]

    def refresh(self) -> None:
        self.elevated()

    def views(self) -> Document:
        policy = self.who()["Policy"]
        found = [
            {
                "Name": library["Name"],
                "Id": library["ItemId"],
                "ServerId": SERVER.data["id"],
                "Type": "CollectionFolder",
                "CollectionType": library.get("CollectionType", "unknown"),
                "IsFolder": True,
            }
            for library in SERVER.data["libraries"]
            if policy["EnableAllFolders"] or library["ItemId"] in policy["EnabledFolders"]
        ]
        return {"Items": found, "TotalRecordCount": len(found), "StartIndex": 0}

    def keys(self) -> Document:
        self.elevated()
        return {"Items": SERVER.data["keys"], "TotalRecordCount": len(SERVER.data["keys"]), "StartIndex": 0}

    def add_key(self) -> None:
        self.elevated()
        SERVER.data["keys"].append({"AccessToken": secrets.token_hex(16), "AppName": self.needed("app")})

    def delete_key(self, token: str) -> None:
        self.elevated()
        SERVER.data["keys"] = [key for key in SERVER.data["keys"] if key["AccessToken"] != token]


ROUTES: tuple[tuple[str, t.Callable[..., t.Any]], ...] = (
    ("GET /health", Handler.health),
    ("GET /system/info/public", Handler.public),
    ("GET /system/info", Handler.info),
    ("GET /startup/configuration", Handler.startup_configuration),
    ("POST /startup/configuration", Handler.set_startup_configuration),
    ("GET /startup/user", Handler.startup_user),
    ("GET /startup/firstuser", Handler.startup_user),
    ("POST /startup/user", Handler.set_startup_user),
    ("POST /startup/remoteaccess", Handler.set_remote_access),
    ("POST /startup/complete", Handler.complete),
    ("GET /system/configuration", Handler.configuration),
    ("POST /system/configuration", Handler.set_configuration),
    ("GET /system/configuration/network", Handler.network),
    ("POST /system/configuration/network", Handler.set_network),
    ("GET /system/configuration/encoding", Handler.encoding),
    ("POST /system/configuration/encoding", Handler.set_encoding),
    ("POST /users/authenticatebyname", Handler.log_in),
    ("POST /sessions/logout", Handler.log_out),
    ("GET /users", Handler.users),
    ("GET /users/public", Handler.public_users),
    ("GET /users/me", Handler.me),
    ("POST /users/new", Handler.add_user),
    ("POST /users/password", Handler.set_password),
    ("POST /users/([0-9a-f-]{32,36})/policy", Handler.set_policy),
    ("GET /users/([0-9a-f-]{32,36})", Handler.one_user),
    ("DELETE /users/([0-9a-f-]{32,36})", Handler.delete_user),
    ("GET /library/virtualfolders", Handler.libraries),
    ("POST /library/virtualfolders", Handler.add_library),
    ("DELETE /library/virtualfolders", Handler.delete_library),
    ("POST /library/virtualfolders/paths", Handler.add_path),
    ("DELETE /library/virtualfolders/paths", Handler.delete_path),
    ("POST /library/refresh", Handler.refresh),
    ("GET /(?:users/[0-9a-f-]{32,36}/)?(?:items|views)", Handler.views),
    ("GET /userviews", Handler.views),
    ("GET /library/mediafolders", Handler.views),
    ("GET /auth/keys", Handler.keys),
    ("POST /auth/keys", Handler.add_key),
    ("DELETE /auth/keys/([0-9a-f]+)", Handler.delete_key),
)


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


def discover(port: int) -> None:
    """Answer the broadcast with which clients look for servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("0.0.0.0", DISCOVERY_PORT))
        while True:
            question, sender = own.recvfrom(1024)
            if b"who is jellyfinserver?" in question.lower():
                address = f"http://{socket.gethostbyname(socket.gethostname())}:{port}"
                facts = {"Address": address, "Id": SERVER.data["id"], "Name": SERVER.system["ServerName"]}
                own.sendto(json.dumps(facts).encode(), sender)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("webdir", "ffmpeg"):
        parser.add_argument(f"--{name}")
    for name, variable, default in (
        ("datadir", "JELLYFIN_DATA_DIR", "/var/lib/jellyfin"),
        ("configdir", "JELLYFIN_CONFIG_DIR", "/etc/jellyfin"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=Path(os.environ.get(variable, default)))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    global SERVER
    SERVER = Server(options.configdir, options.datadir)
    port = SERVER.bound["InternalHttpPort"]
    for address in SERVER.bound["LocalNetworkAddresses"] or ["0.0.0.0"]:
        listener = Listener((address, port), Handler)
        threading.Thread(target=listener.serve_forever).start()
    if SERVER.bound["AutoDiscovery"]:
        threading.Thread(target=discover, args=(port,), daemon=True).start()
    SERVER.migrate()
    signal.pause()


SERVER: Server

if __name__ == "__main__":
    main()
