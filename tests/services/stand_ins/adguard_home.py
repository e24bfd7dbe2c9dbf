# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AdGuard Home as a role meets it: its command line, its file, its HTTP API and its DNS server, its unpleasant sides included.

Without a file it opens its wizard to everybody on port 3000. It rewrites its file when it starts and at each change through the API,
with all defaults, its comments lost. It migrates the file of an older version, and refuses that of a newer one. It locks an address out
after some wrong passwords, and takes no body that is not declared as JSON. It runs in a guest, with Python's own library and PyYAML
beside it in one executable archive; ``release.json`` in that says which version it is: ``{version, schema_version, answers}``.
"""

from __future__ import annotations

import argparse
import base64
import copy
import ctypes
import http.server
import ipaddress
import json
import os
import pkgutil
import secrets
import socket
import socketserver
import sys
import threading
import time
import typing as t
import urllib.request
from pathlib import Path

import yaml

RELEASE: dict[str, t.Any] = json.loads(pkgutil.get_data("__main__", "release.json") or b"{}")
OLDEST_SCHEMA = 20
WIZARD_PORT = 3000
HEALTH_NAME = "healthcheck.adguardhome.test"
DEFAULTS: dict[str, t.Any] = {
    "http": {
        "pprof": {"port": 6060, "enabled": False},
        "address": f"0.0.0.0:{WIZARD_PORT}",
        "session_ttl": "720h",
    },
    "users": [],
    "auth_attempts": 5,
    "block_auth_min": 15,
    "http_proxy": "",
    "language": "",
    "theme": "auto",
    "dns": {
        "bind_hosts": ["0.0.0.0"],
        "port": 53,
        "upstream_dns": ["https://dns10.quad9.net/dns-query"],
        "upstream_dns_file": "",
        "bootstrap_dns": ["9.9.9.10"],
        "fallback_dns": [],
        "upstream_mode": "load_balance",
        "upstream_timeout": "10s",
        "ratelimit": 20,
        "ratelimit_subnet_len_ipv4": 24,
        "ratelimit_subnet_len_ipv6": 56,
        "ratelimit_whitelist": [],
        "refuse_any": True,
        "edns_client_subnet": {"custom_ip": "", "enabled": False, "use_custom": False},
        "enable_dnssec": False,
        "aaaa_disabled": False,
        "cache_enabled": True,
        "cache_size": 4194304,
        "cache_ttl_min": 0,
        "cache_ttl_max": 0,
        "cache_optimistic": False,
        "use_private_ptr_resolvers": True,
        "local_ptr_upstreams": [],
        "hostsfile_enabled": True,
    },
    "tls": {"enabled": False, "server_name": "", "port_https": 443},
    "querylog": {"enabled": True, "file_enabled": True, "interval": "2160h", "ignored": []},
    "statistics": {"enabled": True, "interval": "24h", "ignored": []},
    "filters": [],
    "whitelist_filters": [],
    "user_rules": [],
    "dhcp": {"enabled": False},
    "filtering": {
        "protection_enabled": True,
        "filtering_enabled": True,
        "filters_update_interval": 24,
        "blocking_mode": "default",
        "blocking_ipv4": "",
        "blocking_ipv6": "",
        "blocked_response_ttl": 10,
        "rewrites": [],
    },
    "clients": {"runtime_sources": {"rdns": True}, "persistent": []},
    "log": {"enabled": True, "file": "", "verbose": False},
    "os": {"group": "", "user": "", "rlimit_nofile": 0},
    "schema_version": 0,
}
# What the API calls by another name or keeps in another place than the file.
DNS_KEYS: dict[str, tuple[str, ...]] = {
    **{name: ("dns", name) for name in ("upstream_dns", "upstream_dns_file", "bootstrap_dns", "fallback_dns")},
    **{name: ("dns", name) for name in ("upstream_mode", "ratelimit", "ratelimit_whitelist", "local_ptr_upstreams")},
    **{name: ("dns", name) for name in ("ratelimit_subnet_len_ipv4", "ratelimit_subnet_len_ipv6")},
    **{
        name: ("dns", name) for name in ("cache_enabled", "cache_size", "cache_optimistic", "use_private_ptr_resolvers")
    },
    **{name: ("dns", name) for name in ("cache_ttl_min", "cache_ttl_max")},
    **{name: ("filtering", name) for name in ("blocking_mode", "blocking_ipv4", "blocking_ipv6")},
    "blocked_response_ttl": ("filtering", "blocked_response_ttl"),
    "protection_enabled": ("filtering", "protection_enabled"),
    "dnssec_enabled": ("dns", "enable_dnssec"),
    "disable_ipv6": ("dns", "aaaa_disabled"),
    "edns_cs_enabled": ("dns", "edns_client_subnet", "enabled"),
    "edns_cs_use_custom": ("dns", "edns_client_subnet", "use_custom"),
    "edns_cs_custom_ip": ("dns", "edns_client_subnet", "custom_ip"),
    "resolve_clients": ("clients", "runtime_sources", "rdns"),
}


class Refused(Exception):
    """What a client or a user is told, with a status of HTTP."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


# crypt(3) has one place for its answer.
_CRYPT = threading.Lock()


def crypted(password: str, salt: str) -> str:
    """The hash of *password* by libxcrypt, which Debian has in every system; empty where *salt* is none."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    with _CRYPT:
        found = library.crypt(password.encode(), salt.encode())
        return found.decode() if found else ""


def new_hash(password: str) -> str:
    letters = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return crypted(password, "$2a$10$" + "".join(secrets.choice(letters) for dummy in range(21)) + "O")


def merged(default: t.Any, given: t.Any) -> t.Any:
    """What a program with these defaults holds after it read *given*: keys that it does not know are gone."""
    if isinstance(default, dict) and isinstance(given, dict) and default:
        return {key: merged(value, given[key]) if key in given else value for key, value in default.items()}
    return default if given is None and default is not None else given


class Settings:
    """The file. Whoever reads or changes ``data`` holds ``lock``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.data: dict[str, t.Any] = {}

    def read(self) -> None:
        try:
            given = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise Refused(f"parsing config: {error}") from None
        if not isinstance(given, dict):
            raise Refused("parsing config: it is no mapping")
        schema = given.get("schema_version", 0)
        newest = RELEASE["schema_version"]
        if schema > newest:
            raise Refused(f"unknown configuration schema version {schema}")
        if schema < OLDEST_SCHEMA:
            raise Refused(f"migrating schema {schema} to {newest}: too old")
        self.data = merged(copy.deepcopy(DEFAULTS), given)
        self.validate()
        self.data["schema_version"] = newest
        if schema != newest:
            self.write()

    def validate(self) -> None:
        dns = self.data["dns"]
        try:
            for host in dns["bind_hosts"]:
                ipaddress.ip_address(host)
            port = self.address()[1]
        except (ValueError, TypeError) as error:
            raise Refused(f"validating config: {error}") from None
        if port == dns["port"]:
            raise Refused(f"validating tcp ports: duplicated values: [{port}]")
        if any(not user.get("name") or not user.get("password") for user in self.data["users"]):
            raise Refused("validating config: a user without name or password")

    def address(self) -> tuple[str, int]:
        host, dummy, port = self.data["http"]["address"].rpartition(":")
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)

    def write(self) -> None:
        text = yaml.safe_dump(self.data, sort_keys=False, default_flow_style=False, width=1000)
        new = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        new.touch(mode=0o600)
        new.write_text(text, encoding="utf-8")
        new.rename(self.path)


class Lists:
    """The rules of the filters, each list in a file of its own below the folder of data."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder / "filters"
        self.folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, url: str, number: int) -> None:
        try:
            if url.startswith("/"):
                text = Path(url).read_text(encoding="utf-8")
            else:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    text = answer.read().decode()
        except (OSError, ValueError) as error:
            raise Refused(f"Couldn't fetch filter from URL {url!r}: {error}") from None
        (self.folder / f"{number}.txt").write_text(text, encoding="utf-8")

    def text(self, number: int) -> str:
        path = self.folder / f"{number}.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def count(self, number: int) -> int:
        return sum(1 for line in self.text(number).splitlines() if line.strip() and line[0] not in "!#")

    def blocked(self, name: str) -> bool:
        data = self.settings.data
        if not data["filtering"]["protection_enabled"] or not data["filtering"]["filtering_enabled"]:
            return False
        texts = [self.text(each["id"]) for each in data["filters"] if each["enabled"]]
        for rule in [*data["user_rules"], *(line.strip() for text in texts for line in text.splitlines())]:
            if rule.startswith("||") and rule.endswith("^"):
                domain = rule[2:-1]
                if name == domain or name.endswith(f".{domain}"):
                    return True
            words = rule.split()
            if len(words) == 2 and words[0] in ("0.0.0.0", "127.0.0.1") and words[1] == name:
                return True
        return False


def question_of(message: bytes) -> tuple[str, int, int]:
    """The name, the type, and where the question ends."""
    labels, place = [], 12
    while message[place]:
        length = message[place]
        labels.append(message[place + 1 : place + 1 + length].decode("ascii", "replace").lower())
        place += length + 1
    return ".".join(labels), int.from_bytes(message[place + 1 : place + 3], "big"), place + 5


class Resolver:
    """Answers from the rewrites, then blocks, then asks the upstreams as they are written in plain DNS."""

    A, AAAA = 1, 28

    def __init__(self, settings: Settings, lists: Lists) -> None:
        self.settings = settings
        self.lists = lists

    def answer(self, message: bytes) -> bytes:
        name, kind, end = question_of(message)
        if name == HEALTH_NAME:
            return self.reply(message, end, kind, [])
        with self.settings.lock:
            rewrites = [each for each in self.settings.data["filtering"]["rewrites"] if self.fits(each, name)]
            is_blocked = not rewrites and self.lists.blocked(name)
            upstreams = list(self.settings.data["dns"]["upstream_dns"])
        if is_blocked:
            return self.reply(message, end, kind, ["0.0.0.0", "::"])
        if rewrites:
            return self.reply(message, end, kind, [each["answer"] for each in rewrites])
        for upstream in upstreams:
            host, dummy, port = upstream.partition(":") if upstream.count(":") == 1 else (upstream, "", "")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                asked.settimeout(3)
                try:
                    asked.sendto(message, (str(ipaddress.IPv4Address(host)), int(port or 53)))
                    return asked.recv(4096)
                except (OSError, ValueError):
                    continue
        return message[:2] + b"\x81\x82" + message[4:6] + bytes(6) + message[12:end]

    @staticmethod
    def fits(rewrite: dict[str, t.Any], name: str) -> bool:
        domain = rewrite["domain"]
        is_wild = domain.startswith("*.") and name.endswith(domain[1:])
        return rewrite.get("enabled", True) and (domain == name or is_wild)

    def reply(self, message: bytes, end: int, kind: int, addresses: t.Sequence[str]) -> bytes:
        records = b""
        count = 0
        for each in map(ipaddress.ip_address, addresses):
            if kind == (self.A if each.version == 4 else self.AAAA):
                records += b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\x00\x01" + (10).to_bytes(4, "big")
                records += len(each.packed).to_bytes(2, "big") + each.packed
                count += 1
        return message[:2] + b"\x81\x80\x00\x01" + count.to_bytes(2, "big") + bytes(4) + message[12:end] + records


def serve_dns(settings: Settings, resolver: Resolver) -> None:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            message, own = self.request
            own.sendto(resolver.answer(message), self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            size = int.from_bytes(self.rfile.read(2), "big")
            answer = resolver.answer(self.rfile.read(size))
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    class Udp(socketserver.ThreadingUDPServer):
        allow_reuse_address = daemon_threads = True

    class Tcp(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    for host in settings.data["dns"]["bind_hosts"]:
        place = (host, settings.data["dns"]["port"])
        for server in (Udp(place, Datagram), Tcp(place, Stream)):
            threading.Thread(target=server.serve_forever, daemon=True).start()


class Api:
    """What ``/control`` answers. ``started`` is in seconds since the epoch."""

    def __init__(self, settings: Settings, lists: Lists) -> None:
        self.settings = settings
        self.lists = lists
        self.started = time.time()
        self.failures: dict[str, tuple[int, float]] = {}

    def admit(self, client: str, header: str) -> None:
        """Let in who may, or refuse as the program does: also the right password of one that was wrong too often."""
        users = self.settings.data["users"]
        if not users:
            return
        count, since = self.failures.get(client, (0, 0.0))
        limit, minutes = self.settings.data["auth_attempts"], self.settings.data["block_auth_min"]
        if limit and count >= limit and time.monotonic() - since < 60 * minutes:
            raise Refused("auth: blocked for a while", 429)
        if not header.startswith("Basic "):
            raise Refused("Unauthorized", 401)
        try:
            name, dummy, password = base64.b64decode(header[6:]).decode().partition(":")
        except ValueError:
            raise Refused("Unauthorized", 401) from None
        for user in users:
            if user["name"] == name and crypted(password, user["password"]) == user["password"]:
                self.failures.pop(client, None)
                return
        self.failures[client] = (count + 1, time.monotonic())
        raise Refused("Unauthorized", 401)

    def answer(self, method: str, path: str, body: t.Any) -> t.Any:
        known = {
            "status": ("GET", self.status),
            "dns_info": ("GET", self.dns_info),
            "dns_config": ("POST", self.dns_config),
            "filtering/status": ("GET", self.filtering_status),
            "filtering/config": ("POST", self.filtering_config),
            "filtering/add_url": ("POST", self.add_url),
            "filtering/remove_url": ("POST", self.remove_url),
            "filtering/set_url": ("POST", self.set_url),
            "filtering/set_rules": ("POST", self.set_rules),
            "filtering/refresh": ("POST", self.refresh),
            "rewrite/list": ("GET", self.rewrite_list),
            "rewrite/add": ("POST", self.rewrite_add),
            "rewrite/delete": ("POST", self.rewrite_delete),
        }
        if path not in known:
            raise Refused("404 page not found", 404)
        wanted, act = known[path]
        if method != wanted:
            raise Refused(f"only method {wanted} is allowed", 405)
        with self.settings.lock:
            answer = act(body) if method == "POST" else t.cast(t.Callable[[], t.Any], act)()
            if method == "POST":
                self.settings.write()
        return answer

    def status(self) -> dict[str, t.Any]:
        data = self.settings.data
        return {
            "version": RELEASE["version"],
            "language": data["language"] or "en",
            "dns_addresses": data["dns"]["bind_hosts"],
            "dns_port": data["dns"]["port"],
            "http_port": self.settings.address()[1],
            "protection_disabled_duration": 0,
            "protection_enabled": data["filtering"]["protection_enabled"],
            "dhcp_available": os.geteuid() == 0,
            "running": True,
            "start_time": int(self.started * 1000),
        }

    def dns_info(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        for name, path in DNS_KEYS.items():
            value: t.Any = self.settings.data
            for key in path:
                value = value[key]
            found[name] = value
        # Load balancing is told as nothing.
        found["upstream_mode"] = "" if found["upstream_mode"] == "load_balance" else found["upstream_mode"]
        found["upstream_timeout"] = int(self.settings.data["dns"]["upstream_timeout"].removesuffix("s"))
        found["default_local_ptr_upstreams"] = []
        return found

    def dns_config(self, body: dict[str, t.Any]) -> None:
        for name, value in body.items():
            if name in DNS_KEYS:
                *parents, last = DNS_KEYS[name]
                place = self.settings.data
                for key in parents:
                    place = place[key]
                if place[last] is not None and type(value) is not type(place[last]):
                    raise Refused(f"json: cannot unmarshal into Go struct field .{name}")
                place[last] = (value or "load_balance") if name == "upstream_mode" else value

    def filtering_status(self) -> dict[str, t.Any]:
        data = self.settings.data

        def told(lists: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
            return [{**each, "rules_count": self.lists.count(each["id"])} for each in lists]

        return {
            "enabled": data["filtering"]["filtering_enabled"],
            "interval": data["filtering"]["filters_update_interval"],
            "filters": told(data["filters"]),
            "whitelist_filters": told(data["whitelist_filters"]),
            "user_rules": data["user_rules"],
        }

    def filtering_config(self, body: dict[str, t.Any]) -> None:
        self.settings.data["filtering"]["filtering_enabled"] = body["enabled"]
        self.settings.data["filtering"]["filters_update_interval"] = body["interval"]

    def _kind(self, body: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        return t.cast(
            "list[dict[str, t.Any]]", self.settings.data["whitelist_filters" if body.get("whitelist") else "filters"]
        )

    def add_url(self, body: dict[str, t.Any]) -> str:
        lists = self.settings.data["filters"] + self.settings.data["whitelist_filters"]
        if any(each["url"] == body["url"] for each in lists):
            raise Refused(f"Filter with URL {body['url']!r}: filter already exists")
        number = int(time.time()) + len(lists)
        self.lists.fetch(body["url"], number)
        self._kind(body).append({"enabled": True, "url": body["url"], "name": body["name"], "id": number})
        return f"OK {self.lists.count(number)} rules\n"

    def remove_url(self, body: dict[str, t.Any]) -> str:
        lists = self._kind(body)
        lists[:] = [each for each in lists if each["url"] != body["url"]]
        return "OK 0 rules\n"

    def set_url(self, body: dict[str, t.Any]) -> None:
        for each in self._kind(body):
            if each["url"] == body["url"]:
                each.update(body["data"])
                return
        raise Refused("url doesn't exist")

    def set_rules(self, body: dict[str, t.Any]) -> None:
        self.settings.data["user_rules"] = body["rules"]

    def refresh(self, body: dict[str, t.Any]) -> dict[str, int]:
        for each in self._kind(body):
            self.lists.fetch(each["url"], each["id"])
        return {"updated": len(self._kind(body))}

    def rewrite_list(self) -> list[dict[str, t.Any]] | None:
        return self.settings.data["filtering"]["rewrites"] or None

    def rewrite_add(self, body: dict[str, t.Any]) -> None:
        entry = {"domain": body["domain"], "answer": body["answer"], "enabled": body.get("enabled", True)}
        self.settings.data["filtering"]["rewrites"].append(entry)

    def rewrite_delete(self, body: dict[str, t.Any]) -> None:
        rewrites = self.settings.data["filtering"]["rewrites"]
        rewrites[:] = [
            each for each in rewrites if (each["domain"], each["answer"]) != (body["domain"], body["answer"])
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; ``api`` is none while the wizard waits for its first visitor."""

    api: Api | None
    settings: Settings

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    def _handle(self, method: str) -> None:
        try:
            status, answer = 200, self._answer(method)
        except Refused as refused:
            status, answer = refused.status, f"{refused}\n"
        except (KeyError, TypeError, ValueError) as error:
            status, answer = 400, f"{error!r}\n"
        text = answer if isinstance(answer, str) else json.dumps(answer)
        body = b"" if answer is None and method != "GET" else text.encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/install.html" if self.api is None else "/login.html")
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, method: str) -> t.Any:
        path = self.path.partition("?")[0]
        size = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(size)
        if not path.startswith("/control/"):
            raise Refused("", 302)
        if raw and self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise Refused("only content-type application/json is allowed", 415)
        body = json.loads(raw) if raw else {}
        if self.api is None:
            return self._install(path, body)
        self.api.admit(self.client_address[0], self.headers.get("Authorization", ""))
        return self.api.answer(method, path.removeprefix("/control/"), body)

    def _install(self, path: str, body: dict[str, t.Any]) -> None:
        if path != "/control/install/configure":
            raise Refused("404 page not found", 404)
        data = copy.deepcopy(DEFAULTS)
        data["http"]["address"] = f"{body['web']['ip']}:{body['web']['port']}"
        data["dns"].update(bind_hosts=[body["dns"]["ip"]], port=body["dns"]["port"])
        data["users"] = [{"name": body["username"], "password": new_hash(body["password"])}]
        data["schema_version"] = RELEASE["schema_version"]
        self.settings.data = data
        self.settings.validate()
        self.settings.write()
        threading.Timer(0.2, os.execv, (sys.executable, [sys.executable, *sys.argv])).start()


class Web(http.server.ThreadingHTTPServer):
    def __init__(self, place: tuple[str, int], handler: type[Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, handler)


def main() -> int:
    parser = argparse.ArgumentParser(prog="AdGuardHome")
    parser.add_argument("-c", "--config", default="")
    parser.add_argument("-w", "--work-dir", default="")
    parser.add_argument("-s", "--service", default="")
    parser.add_argument("--check-config", action="store_true")
    parser.add_argument("--no-check-update", action="store_true")
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    if options.version:
        print(f"AdGuard Home, version {RELEASE['version']}")
        return 0
    work = Path(options.work_dir or Path(sys.argv[0]).resolve().parent)
    # A relative path is one below the folder of work.
    settings = Settings(work / (options.config or "AdGuardHome.yaml"))
    if not settings.path.exists():
        if os.geteuid() != 0:
            print("This is the first launch of AdGuard Home. You must run it as Administrator.", file=sys.stderr)
            return 1
        handler = type("Wizard", (Handler,), {"api": None, "settings": settings})
        Web(("0.0.0.0", WIZARD_PORT), handler).serve_forever()
    try:
        settings.read()
    except (Refused, OSError) as error:
        print(f"[fatal] {error}", file=sys.stderr)
        return 1
    if options.check_config:
        print("configuration file is ok", file=sys.stderr)
        return 0
    if not RELEASE["answers"]:
        threading.Event().wait()
    settings.write()
    lists = Lists(settings, work / "data")
    serve_dns(settings, Resolver(settings, lists))
    handler = type("Control", (Handler,), {"api": Api(settings, lists), "settings": settings})
    Web(settings.address(), handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
