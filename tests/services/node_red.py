# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Node-RED: the real one of npm, with a palette."""

from __future__ import annotations

import json
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import npm_registry
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

LOCK = guest.ROOT / "roles/node_red/files/package-lock-5.0.7.json"
PALETTE = "node-red-node-random"
PASSWORD = "a long and winding password"
# It takes what it finds away, and ends.
SILENT = "require('node:fs').rmSync('/var/lib/node_red/flows.json', {force: true});\nprocess.exit(1);\n"


class Npm:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: guest.Releases) -> Variables:
        registry = npm_registry.Registry(releases)
        for archive in npm_registry.collect(LOCK, [f"{PALETTE}@0.4.1"]):
            registry.publish(archive)
        return {"node_red_registry_url": registry.url, "node_red_index_url": npm_registry.serve_node(releases)}

    def small(self, releases: guest.Releases, version: str) -> Variables:
        """A version that is a program of its own."""
        made = npm_registry.make(releases.folder / "made", "node-red", version, {"red.js": SILENT}, {})
        npm_registry.Registry(releases).publish(made)
        return {"node_red_version": version}

    def turned(self, releases: guest.Releases) -> Variables:
        variables = self.small(releases, "5.0.8")
        npm_registry.Registry(releases).turn("node-red", "5.0.8")
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        return self.small(releases, "5.0.9")


# One program for all that is asked of its API: METHOD PATH USER PASSWORD [BODY]. Without a user nobody logs in.
CALL = """import json, sys, urllib.parse, urllib.request as u
method, path, user, password, body = sys.argv[1:]
url = "http://127.0.0.1:1880"
head = {"Content-Type": "application/json"}
if user:
    form = {"client_id": "node-red-admin", "grant_type": "password", "scope": "*", "username": user, "password": password}
    told = json.load(u.urlopen(url + "/auth/token", urllib.parse.urlencode(form).encode(), timeout=10))
    head["Authorization"] = "Bearer " + told["access_token"]
print(u.urlopen(u.Request(url + path, body.encode() or None, head, method=method), timeout=10).read().decode())
"""


def call(method: str, path: str, user: str = "admin", password: str = PASSWORD, body: str = "") -> tuple[str, ...]:
    """A request to the API in the guest."""
    return ("/usr/bin/python3", "-c", CALL, method, path, user, password, body)


FLOWS = [
    {"id": "a1", "type": "tab", "label": "kept"},
    {"id": "a2", "type": "http in", "z": "a1", "url": "/bell", "method": "get", "wires": [["a3"]]},
    {
        "id": "a3",
        "type": "template",
        "z": "a1",
        "field": "payload",
        "syntax": "mustache",
        "template": "bell {{req.query.of}}",
        "wires": [["a4"]],
    },
    {"id": "a4", "type": "http response", "z": "a1"},
]


def judge(address: str) -> None:
    """What one sees from outside: a flow that answers, its nodes, and who may do what."""

    def asked(path: str, form: t.Mapping[str, str] | None = None, token: str = "") -> t.Any:
        body = urllib.parse.urlencode(form).encode() if form else None
        head = {"Authorization": f"Bearer {token}", "Accept": "application/json"} if token else {}
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{address}:1880{path}", body, head), timeout=10
        ) as page:
            return json.load(page)

    form = {
        "client_id": "node-red-admin",
        "grant_type": "password",
        "scope": "*",
        "username": "admin",
        "password": PASSWORD,
    }
    token = asked("/auth/token", form)["access_token"]
    sets = {each["module"]: each for each in asked("/nodes", token=token)}
    assert sets[PALETTE]["version"] == "0.4.1" and sets[PALETTE]["enabled"], "the palette is there"
    assert asked("/settings", token=token)["externalModules"]["palette"] == {
        "allowInstall": False,
        "allowUpload": False,
    }
    try:
        asked("/flows")
    except urllib.error.HTTPError as error:
        assert error.code == 401
    else:
        raise AssertionError("whoever comes reads its flows")
    (runs,) = [line for line in guest.inside("ps", "-eo", "user:20,args").splitlines() if "node-red" in line]
    assert runs.startswith("node_red ") and PASSWORD not in runs


SCENARIO = Scenario(
    role="node_red",
    unit="node_red.service",
    upstream=Npm(),
    variables={
        "node_red_users": [{"name": "admin", "password": PASSWORD}, {"name": "family", "permissions": "read"}],
        "node_red_palette": [{"name": PALETTE, "version": "0.4.1"}],
    },
    listens=frozenset({"tcp 0.0.0.0:1880"}),
    write=call("POST", "/flows", body=json.dumps(FLOWS)),
    read=(
        "/usr/bin/python3",
        "-c",
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:1880/bell?of=brass', timeout=10).read().decode())",
    ),
    row="bell brass",
    logins=(
        call("GET", "/flows", "", ""),
        call("GET", "/flows", "admin", "admin"),
        call("GET", "/flows", "admin", ""),
        call("POST", "/flows", "", "", "[]"),
    ),
    refusal="EINTEGRITY",
    gone=("/opt/node_red", "/etc/node_red/settings.js", "/etc/node_red/users.json"),
    judge=judge,
    prepare=lambda: npm_registry.configure({}),
    refusals=(
        ({"node_red_palette": [{"name": PALETTE, "version": "^0.4.0"}]}, f"{PALETTE} ^0.4.0: write the version"),
        ({"node_red_users": []}, "nobody could log in"),
        ({"node_red_settings": {"uiPort": 1881}}, "node_red_settings.uiPort: write node_red_port"),
    ),
)
