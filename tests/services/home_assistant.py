# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Home Assistant in a virtual environment: the last version for Debian 13 as PyPI has it, and small ones that are made here."""

from __future__ import annotations

import asyncio
import functools

import yaml
from hass_client import HomeAssistantClient
from hass_client.utils import get_websocket_url

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import wheels
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

ROLE = guest.ROOT / "roles" / "home_assistant"
PASSWORD = "a long and winding password"
TOKEN = "/var/lib/homelab_hybrid/secrets/home_assistant/token"
# What has no wheel for Python 3.13: compiled in the guest.
SOURCES = ("lru-dict", "pyric", "pyqrcode", "pyturbojpeg")
# It takes what it finds away, and ends.
SILENT = """import pathlib

def main():
    pathlib.Path("/var/lib/home_assistant/home-assistant_v2.db").unlink(missing_ok=True)
    raise SystemExit(1)
"""


@functools.cache
def build_requirements() -> tuple[str, ...]:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    return tuple(defaults["home_assistant_build_requirements"])


def small(releases: guest.Releases, version: str) -> Variables:
    """A version that is a program of its own."""
    made = wheels.make(
        releases.folder / "made", "homeassistant", version, {"silent.py": SILENT}, (), {"hass": "silent:main"}
    )
    line = wheels.Index(releases.folder).publish(made)
    return {
        "home_assistant_version": version,
        "home_assistant_requirements": [line],
        "home_assistant_build_requirements": [],
    }


class PyPI:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: guest.Releases) -> Variables:
        index = wheels.Index(releases.folder)
        requirements = (ROLE / "files/requirements-2026.2.3.txt").read_text(encoding="utf-8").splitlines()
        for found in wheels.collect([*requirements, *build_requirements()], SOURCES):
            index.publish(found)
        return {
            "home_assistant_index_url": f"{releases.url}/simple",
            "home_assistant_pip_environment": {"PIP_TRUSTED_HOST": guest.GATEWAY},
        }

    def turned(self, releases: guest.Releases) -> Variables:
        variables = small(releases, "2026.2.2")
        wheels.Index(releases.folder).turn("homeassistant-2026.2.2-py3-none-any.whl")
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        return {**small(releases, "2026.2.1"), "home_assistant_start_seconds": 5}


def judge(address: str) -> None:
    """What the clients that others wrote see of what was declared."""
    token = guest.inside("cat", TOKEN)

    async def asked() -> None:
        async with HomeAssistantClient(get_websocket_url(f"http://{address}:8123"), token) as client:
            assert client.version == "2026.2.3"
            config = await client.get_config()
            assert (config["location_name"], config["state"], config["recovery_mode"]) == (
                "The house",
                "RUNNING",
                False,
            )
            assert "input_boolean.party" in {each["entity_id"] for each in await client.get_states()}

    asyncio.run(asked())


CALL = """import json, sys, urllib.request as u
method, path, token, body = sys.argv[1:]
r = u.Request("http://127.0.0.1:8123" + path, body.encode() or None, {"Content-Type": "application/json"}, method=method)
if token:
    r.add_header("Authorization", "Bearer " + open(token).read())
print(u.urlopen(r, timeout=10).read().decode())
"""
HISTORY = "/api/history/period?filter_entity_id=sensor.row"
# What is written lies in memory until the recorder writes its next batch, after five seconds (2026.2.3).
WRITE = f"""{CALL}
import time
ask = u.Request("http://127.0.0.1:8123{HISTORY}", headers=dict(r.header_items()))
until = time.monotonic() + 60
while b"kept" not in u.urlopen(ask, timeout=10).read():
    if time.monotonic() > until:
        sys.exit("it is not kept")
    time.sleep(0.5)
"""
LOGIN = """import json, sys, urllib.request as u
def post(path, body):
    r = u.Request("http://127.0.0.1:8123/auth/login_flow" + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(u.urlopen(r, timeout=10))
client = "http://127.0.0.1:8123/"
flow = post("", {"client_id": client, "handler": ["homeassistant", None], "redirect_uri": client})
told = post("/" + flow["flow_id"], {"client_id": client, "username": sys.argv[1], "password": sys.argv[2]})
sys.exit(told["type"] != "create_entry")
"""
OWNER = '{"client_id": "http://x/", "name": "Eve", "username": "eve", "password": "evil", "language": "en"}'


def call(method: str, path: str, token: str = TOKEN, body: str = "", script: str = CALL) -> tuple[str, ...]:
    """A request to the API in the guest."""
    return ("/usr/bin/python3", "-c", script, method, path, token, body)


SCENARIO = Scenario(
    role="home_assistant",
    unit="home_assistant.service",
    upstream=PyPI(),
    variables={
        "home_assistant_method": "venv",
        "home_assistant_password": PASSWORD,
        "home_assistant_home": {"name": "The house", "unit_system": "metric", "time_zone": "Europe/Berlin"},
        "home_assistant_configuration": {"input_boolean": {"party": {"name": "!secret party"}}},
        "home_assistant_secrets": {"party": "Tonight"},
        "home_assistant_trusted_proxies": ["10.93.64.2"],
    },
    listens=frozenset({"tcp 0.0.0.0:8123", "udp *:5353", f"udp {guest.ADDRESS}:5353", "udp [fe80::]:5353"}),
    write=call("POST", "/api/states/sensor.row", body='{"state": "kept"}', script=WRITE),
    read=call("GET", HISTORY),
    row="kept",
    logins=(
        ("/usr/bin/python3", "-c", LOGIN, "admin", "admin"),
        ("/usr/bin/python3", "-c", LOGIN, "admin", ""),
        ("/usr/bin/python3", "-c", LOGIN, "homeassistant", "homeassistant"),
        call("POST", "/api/onboarding/users", "", OWNER),
        call("GET", "/api/states", ""),
    ),
    refusal="DO NOT MATCH THE HASHES",
    gone=("/opt/home_assistant",),
    judge=judge,
)
