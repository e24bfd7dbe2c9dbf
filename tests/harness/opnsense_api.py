# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for OPNsense behind its API: it lives of a ``config.xml`` alone, answers as opnsense/core 26.7 does, and knows nothing of us.

With nothing but Python, since it runs in a machine of its own (``opnsense_image``), and on the loopback where no machine is needed.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.server
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import typing as t
import uuid
from xml.etree import ElementTree

Element = ElementTree.Element
BUSYBOX = "/bin/busybox"
# Written by its client of DHCP.
RESOLVER = "/tmp/resolver"


class Kind(t.NamedTuple):
    """Where the configuration has the items of one kind, the key of one in a request, and the fields of its model with their defaults."""

    path: str
    key: str
    fields: dict[str, str]
    required: tuple[str, ...] = ()


KINDS = {
    ("firewall/filter", "rule"): Kind(
        "OPNsense/Firewall/Filter/rules/rule",
        "rule",
        {
            "enabled": "1", "statetype": "keep", "sequence": "1", "action": "pass", "quick": "1", "interfacenot": "0", "interface": "",
            "direction": "in", "ipprotocol": "inet", "protocol": "any", "source_net": "any", "source_not": "0", "source_port": "",
            "destination_net": "any", "destination_not": "0", "destination_port": "", "log": "0", "description": "",
        },
    ),
    ("dnsmasq/settings", "range"): Kind(
        "dnsmasq/dhcp_ranges",
        "range",
        {"interface": "", "start_addr": "", "end_addr": "", "domain_type": "range", "lease_time": "", "description": ""},
        ("start_addr",),
    ),
    ("dnsmasq/settings", "host"): Kind(
        "dnsmasq/hosts", "host", {"host": "", "domain": "", "ip": "", "hwaddr": "", "ignore": "", "descr": "", "comments": ""}
    ),
    ("unbound/settings", "host_override"): Kind(
        "OPNsense/unboundplus/hosts/host",
        "host",
        {"enabled": "1", "hostname": "", "domain": "", "rr": "A", "server": "", "addptr": "1", "ttl": "", "description": ""},
        ("domain", "server"),
    ),
    ("interfaces/vlan_settings", "item"): Kind(
        "vlans/vlan", "vlan", {"if": "", "tag": "", "pcp": "0", "proto": "", "descr": "", "vlanif": ""}, ("if", "tag")
    ),
}  # fmt: skip
RECONFIGURES = (
    "dnsmasq/service/reconfigure", "unbound/service/reconfigure", "interfaces/vlan_settings/reconfigure", "firewall/filter/apply",
)  # fmt: skip
# The fields of a user that a request may give. What keeps its password shows none.
USER = (
    "name",
    "disabled",
    "scope",
    "expires",
    "authorizedkeys",
    "shell",
    "email",
    "comment",
    "descr",
    "group_memberships",
)
SHELLS = ("", "/bin/csh", "/bin/sh", "/bin/tcsh", "/usr/local/sbin/opnsense-shell")
PROTOCOLS = ("any", "TCP", "UDP", "TCP/UDP", "ICMP", "IPV6-ICMP", "ESP", "GRE")


class Appliance:
    """One appliance and its *config*. *calls* are the requests that changed something, in their order."""

    def __init__(
        self, config: str, *, version: str = "26.7", offers: t.Sequence[str] = (), version_file: str = ""
    ) -> None:
        self.path, self.version, self.offers, self._version_file = config, version, list(offers), version_file
        self.calls: list[str] = []
        self.has_savepoints, self.has_kept = False, True
        self.is_broken = version.endswith("-broken")
        self._busy = 0
        self._lock = threading.Lock()
        self.root = ElementTree.parse(config).getroot()
        for kind in KINDS.values():
            for node in self.root.iterfind(kind.path):
                if "uuid" not in node.attrib:
                    node.set("uuid", str(uuid.uuid4()))
        for user in self.root.iterfind("system/user"):
            user.set("uuid", user.get("uuid") or str(uuid.uuid4()))

    def save(self) -> None:
        write(self.path, ElementTree.tostring(self.root, encoding="unicode", xml_declaration=True))

    def next_version(self) -> str:
        """The version behind its own among those that its mirror offers."""
        behind = [*self.offers, ""]
        return behind[behind.index(self.version) + 1] if self.version in self.offers else behind[0]

    def lets_in(self, header: str) -> bool:
        """Whether basic authentication has a key of a user, and the secret whose hash stands behind it."""
        try:
            key, _colon, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        except ValueError:
            return False
        for user in self.root.iterfind("system/user"):
            for line in (user.findtext("apikeys") or "").splitlines():
                known, _bar, hashed = line.partition("|")
                if known == key and crypt(secret, hashed) == hashed:
                    return True
        return False

    def answer(self, method: str, path: str, body: dict[str, t.Any]) -> tuple[int, t.Any]:
        with self._lock:
            if self.is_broken:
                return 503, "no backend"
            if method == "POST" and "search" not in path:
                self.calls.append(path)
            return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: dict[str, t.Any]) -> tuple[int, t.Any]:
        if path == "core/system/status":
            system = {"status": "OK", "message": "No pending messages", "title": "System"}
            return 200, {"metadata": {"system": system, "subsystems": []}}
        if path == "diagnostics/networkinsight/get_interfaces":
            return 200, {node.findtext("if"): node.findtext("descr") for node in self.root.iterfind("interfaces/*")}
        if path == "core/backup/download/this":
            return 200, ElementTree.tostring(self.root, encoding="unicode") if self.has_kept else ""
        if match := re.fullmatch(r"auth/user/(search|add|set|del)(?:/([0-9a-f-]+))?", path):
            return self._user(match[1], match[2], body) if method == "POST" or match[1] == "search" else (404, {})
        if path.startswith("core/firmware/"):
            return self._firmware(method, path.rpartition("/")[2])
        if method == "POST" and path in RECONFIGURES:
            return 200, {"status": "OK\n\n" if path.startswith("firewall") else "ok"}
        if self.has_savepoints and method == "POST":
            if path == "firewall/filter/savepoint":
                return 200, {"status": "ok", "retention": "60", "revision": "1700000000.1"}
            if re.fullmatch(r"firewall/filter/(apply|cancelRollback)/1700000000\.1", path):
                return 200, {"status": "ok"}
        for (place, noun), kind in KINDS.items():
            match = re.fullmatch(rf"{place}/(search|add|set|del|get)_{noun}(?:/([0-9a-f-]+))?", path)
            if match and (method == "POST" or match[1] in ("search", "get")):
                return self._item(kind, match[1], match[2], body)
        return 404, {"status": 404, "message": "not found"}

    def _item(self, kind: Kind, what: str, its: str | None, body: dict[str, t.Any]) -> tuple[int, t.Any]:
        nodes = {node.get("uuid"): node for node in self.root.iterfind(kind.path)}
        if what == "search":
            rows = [{"uuid": name, **self._fields(kind, node)} for name, node in nodes.items()]
            if kind.key == "rule":
                # What OPNsense makes by itself stands among the others.
                rows.append(
                    {"action": "pass", "description": "anti-lockout rule", "interface": "lan", "is_automatic": True}
                )
            if kind.key == "vlan":
                rows = [{**row, "vlanif": f"{row['vlanif']} [OPT]"} for row in rows]
            return 200, {"rows": rows, "rowCount": len(rows), "total": len(rows), "current": 1}
        if what == "del":
            if its not in nodes:
                return 200, {"result": "not found"}
            self._parent(kind).remove(nodes[its])
            self.save()
            return 200, {"result": "deleted"}
        given = {field: str(value) for field, value in (body.get(kind.key) or {}).items() if field in kind.fields}
        if what == "get":
            return 200, {kind.key: self._fields(kind, nodes[its])} if its in nodes else []
        if what == "set" and its not in nodes:
            return 200, {"result": "failed"}
        values = {**(self._fields(kind, nodes[its]) if what == "set" else kind.fields), **given}
        if wrong := self._validations(kind, values):
            return 200, {"result": "failed", "validations": wrong}
        if kind.key == "vlan" and not values["vlanif"]:
            values["vlanif"] = f"vlan0{len(nodes) + 1}"
        if what == "add":
            its = str(uuid.uuid4())
            nodes[its] = ElementTree.SubElement(self._parent(kind), kind.path.rpartition("/")[2], uuid=its)
        node = nodes[its]
        for field, value in values.items():
            put(node, field, value)
        self.save()
        return 200, {"result": "saved", "uuid": node.get("uuid")}

    def _user(self, what: str, its: str | None, body: dict[str, t.Any]) -> tuple[int, t.Any]:
        users = {node.get("uuid"): node for node in self.root.iterfind("system/user")}
        if what == "search":
            rows = [self._user_row(node) for node in users.values()]
            return 200, {"rows": rows, "rowCount": len(rows), "total": len(rows), "current": 1}
        if what == "del":
            if its in users and users[its].findtext("scope") == "system":
                return 500, {"errorMessage": f"Not allowed to delete system user {users[its].findtext('name')}"}
            if its not in users:
                return 200, {"result": "not found"}
            self._write_groups(users[its], "")
            self.root.find("system").remove(users[its])
            self.save()
            return 200, {"result": "deleted"}
        given = {field: str(value) for field, value in (body.get("user") or {}).items()}
        if what == "set" and its not in users:
            return 200, {"result": "failed"}
        node = users[its] if what == "set" else Element("user", uuid=str(uuid.uuid4()))
        if wrong := self._wrong_of_user(node, given):
            return 200, {"result": "failed", "validations": wrong}
        if what == "add":
            uids = [int(user.findtext("uid") or 0) for user in users.values()]
            put(node, "uid", str(next(uid for uid in range(2000, 65000) if uid not in uids)))
            put(node, "scope", "user")
            self.root.find("system").append(node)
        for field in USER:
            if field in given and field != "group_memberships":
                text = base64.b64encode(given[field].encode()).decode() if field == "authorizedkeys" else given[field]
                put(node, field, text)
        if given.get("password") or given.get("scrambled_password") == "1":
            put(node, "password", hashed(given.get("password") or base64.b64encode(os.urandom(50)).decode()))
        if "group_memberships" in given:
            self._write_groups(node, given["group_memberships"])
        self.save()
        return 200, {"result": "saved", **({"uuid": node.get("uuid")} if what == "add" else {})}

    def _user_row(self, node: Element) -> dict[str, t.Any]:
        row = {"uuid": node.get("uuid"), **{field: node.findtext(field) or "" for field in USER}}
        row["%authorizedkeys"] = base64.b64decode(row["authorizedkeys"]).decode()
        groups = self._groups_of(node)
        row["group_memberships"] = ",".join(group.findtext("gid") for group in groups)
        row["%group_memberships"] = ", ".join(group.findtext("name") for group in groups)
        return {**row, "is_admin": "1" if any(group.findtext("priv") == "page-all" for group in groups) else "0"}

    def _groups_of(self, node: Element) -> list[Element]:
        uid = node.findtext("uid")
        return [group for group in self.root.iterfind("system/group") if uid in members(group)]

    def _write_groups(self, node: Element, gids: str) -> None:
        for group in self.root.iterfind("system/group"):
            uids = [uid for uid in members(group) if uid != node.findtext("uid")]
            if group.findtext("gid") in gids.split(","):
                uids.append(node.findtext("uid"))
            for old in group.findall("member"):
                group.remove(old)
            put(group, "member", ",".join(uids))

    def _wrong_of_user(self, node: Element, given: dict[str, str]) -> dict[str, str]:
        wrong = {}
        others = [user.findtext("name") for user in self.root.iterfind("system/user") if user is not node]
        if given.get("name", "?") in others:
            wrong["user.name"] = "This username already exist."
        if not (node.findtext("password") or given.get("password") or given.get("scrambled_password") == "1"):
            wrong["user.password"] = "A password is required"
        if given.get("shell", "") not in SHELLS:
            wrong["user.shell"] = f"Option {given['shell']} not in list."
        gids = {group.findtext("gid") for group in self.root.iterfind("system/group")}
        if unknown := {gid for gid in given.get("group_memberships", "").split(",") if gid} - gids:
            wrong["user.group_memberships"] = f"Option {','.join(sorted(unknown))} not in list."
        return wrong

    def _validations(self, kind: Kind, values: dict[str, str]) -> dict[str, str]:
        wrong = {f"{kind.key}.{field}": "A value is required." for field in kind.required if not values[field]}
        names = {node.tag for node in self.root.iterfind("interfaces/*")}
        if values.get("interface") and values["interface"] not in names:
            wrong[f"{kind.key}.interface"] = f"Option {values['interface']} not in list."
        if kind.key == "rule" and values["protocol"] not in PROTOCOLS:
            wrong["rule.protocol"] = f"Option {values['protocol']} not in list."
        return wrong

    def _fields(self, kind: Kind, node: Element) -> dict[str, t.Any]:
        return {
            field: node.findtext(field) or ("" if node.find(field) is not None else its)
            for field, its in kind.fields.items()
        }

    def _parent(self, kind: Kind) -> Element:
        node = self.root
        for tag in kind.path.split("/")[:-1]:
            child = node.find(tag)
            node = ElementTree.SubElement(node, tag) if child is None else child
        return node

    def _firmware(self, method: str, what: str) -> tuple[int, t.Any]:
        product = {
            "product_id": "opnsense",
            "product_version": self.version,
            "product_check": {} if self._busy else None,
        }
        if what == "status":
            status = "update" if self.next_version() else "none"
            return 200, {"product": product, "status": status, "status_msg": "as it is"}
        if what == "upgradestatus":
            self._busy -= 1
            return 200, {
                "status": "running" if self._busy > 0 else "done",
                "log": "" if self._busy > 0 else "***DONE***",
            }
        if method == "POST" and what in ("check", "update"):
            self._busy = 2
            if what == "update":
                self.version = self.next_version()
                self.is_broken = self.version.endswith("-broken")
                if self._version_file:
                    write(self._version_file, self.version)
            return 200, {"status": "ok", "msg_uuid": str(uuid.uuid4())}
        return 404, {}


def put(parent: Element, tag: str, text: str) -> None:
    """Make *text* that of the only element *tag* of *parent*."""
    child = parent.find(tag)
    child = ElementTree.SubElement(parent, tag) if child is None else child
    child.text = text


def members(group: Element) -> list[str]:
    return [uid for node in group.iterfind("member") for uid in (node.text or "").split(",") if uid]


def write(path: str, text: str) -> None:
    """Replace *path*, so that a power cut leaves the old text or the new one."""
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{path}.new", path)
    os.sync()


def crypt(text: str, salt: str) -> str:
    """crypt(3) of the C library, by which password_verify of PHP judges as well."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return (library.crypt(text.encode(), salt.encode()) or b"").decode()


def hashed(password: str) -> str:
    """What password_hash of PHP makes, with less work."""
    letters = base64.b64encode(os.urandom(18), b"./").decode()[:22]
    return crypt(password, f"$2y$04${letters[:21]}.")


def server(appliance: Appliance, address: tuple[str, int], certificate: str) -> http.server.ThreadingHTTPServer:
    """A web server of *appliance* with the *certificate* and its key in one file (PEM)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle("GET")

        def do_POST(self) -> None:
            self._handle("POST")

        def _handle(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(size)
            path = self.path.partition("?")[0].removeprefix("/api/")
            if not self.path.startswith("/api/"):
                status, told = 200, "<html>OPNsense</html>"
            elif not appliance.lets_in(self.headers.get("Authorization") or ""):
                status, told = 401, {"status": 401, "message": "Authentication Failed"}
            else:
                status, told = appliance.answer(method, path, json.loads(content) if content else {})
            data = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(told, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    its = http.server.ThreadingHTTPServer(address, Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    its.socket = context.wrap_socket(its.socket, server_side=True, do_handshake_on_connect=False)
    return its


def configure(root: Element) -> None:
    """The interfaces, the addresses that are given by DHCP, and the way between them: vtnet0 is the first card."""
    busybox("ip", "link", "set", "lo", "up")
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as stream:
        stream.write("1")
    links = {}
    for vlan in root.iterfind("vlans/vlan"):
        link = (vlan.findtext("if") or "").replace("vtnet", "eth")
        busybox("ip", "link", "set", link, "up")
        busybox(
            "ip",
            "link",
            "add",
            "link",
            link,
            "name",
            vlan.findtext("vlanif") or "",
            "type",
            "vlan",
            "id",
            vlan.findtext("tag") or "",
        )
    for node in root.iterfind("interfaces/*"):
        link = (node.findtext("if") or "").replace("vtnet", "eth")
        links[node.tag] = (link, node)
        busybox("ip", "link", "set", link, "up")
        address = node.findtext("ipaddr") or ""
        if address == "dhcp":
            busybox("udhcpc", "-b", "-S", "-i", link, "-s", "/etc/udhcpc")
        elif address:
            busybox("ip", "addr", "add", f"{address}/{node.findtext('subnet')}", "dev", link)
    for each in root.iterfind("dnsmasq/dhcp_ranges"):
        link, node = links[each.findtext("interface") or ""]
        network = ipaddress.ip_interface(f"{node.findtext('ipaddr')}/{node.findtext('subnet')}")
        lines = {
            "start": each.findtext("start_addr"), "end": each.findtext("end_addr"), "interface": link,
            "lease_file": f"/tmp/leases.{link}", "pidfile": f"/tmp/udhcpd.{link}",
            "option subnet": network.netmask, "option router": network.ip, "option dns": network.ip,
        }  # fmt: skip
        kept = [
            f"static_lease {host.findtext('hwaddr')} {host.findtext('ip')}\n"
            for host in root.iterfind("dnsmasq/hosts")
            if host.findtext("hwaddr") and ipaddress.ip_address(host.findtext("ip") or "") in network.network
        ]
        path = f"/tmp/udhcpd.{link}.conf"
        with open(path, "w", encoding="ascii") as stream:
            stream.writelines([*(f"{word} {value}\n" for word, value in lines.items()), *kept])
        busybox("touch", f"/tmp/leases.{link}")
        busybox("udhcpd", path)


def names_of(root: Element) -> dict[str, str]:
    """The IPv4 addresses of the names that it answers itself."""
    nodes = [
        node for node in root.iterfind(KINDS["unbound/settings", "host_override"].path) if node.findtext("rr") == "A"
    ]
    return {f"{node.findtext('hostname')}.{node.findtext('domain')}": node.findtext("server") or "" for node in nodes}


def answer_names(appliance: Appliance) -> None:
    """A resolver as Unbound is: it answers its own names, and passes all others on to the one that its WAN was told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("", 53))
        while True:
            query, asker = listener.recvfrom(4096)
            threading.Thread(target=_answer_name, args=(appliance, listener, query, asker), daemon=True).start()


def _answer_name(appliance: Appliance, listener: socket.socket, query: bytes, asker: t.Any) -> None:
    labels, place = [], 12
    while size := query[place]:
        labels.append(query[place + 1 : place + 1 + size].decode("ascii", "replace").lower())
        place += 1 + size
    address = names_of(appliance.root).get(".".join(labels))
    if address is not None:
        is_a = query[place + 1 : place + 3] == b"\0\1"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ipaddress.IPv4Address(address).packed if is_a else b""
        head = query[:2] + b"\x85\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
        listener.sendto(head + query[12 : place + 5] + record, asker)
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
        with open(RESOLVER, encoding="ascii") as stream:
            onward.connect((stream.read().strip(), 53))
        onward.settimeout(5)
        onward.send(query)
        listener.sendto(onward.recv(4096), asker)


def busybox(*words: str) -> None:
    subprocess.run((BUSYBOX, *words), check=False, stdin=subprocess.DEVNULL)


def main() -> None:
    """In the machine: as its configuration says, and then its API."""
    config, certificate, version_file, *offers = sys.argv[1:]
    with open(version_file, encoding="utf-8") as stream:
        version = stream.read()
    appliance = Appliance(config, version=version, offers=offers, version_file=version_file)
    appliance.save()
    configure(appliance.root)
    web = server(appliance, ("", 443), certificate)
    name = f"{appliance.root.findtext('system/hostname')}.{appliance.root.findtext('system/domain')}"
    threading.Thread(target=answer_names, args=(appliance,), daemon=True).start()
    print(f"\n*** {name}: OPNsense {version} ***\n", flush=True)
    web.serve_forever()


if __name__ == "__main__":
    main()
