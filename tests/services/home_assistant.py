# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of Home Assistant: the last version for Debian 13 as PyPI has it, in an image that is made of it and in a virtual environment."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.client
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import typing as t
from pathlib import Path

import yaml
from hass_client import HomeAssistantClient
from hass_client.utils import get_websocket_url

from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.services import wheels
from ansible_collections.homelab.hybrid.tests.services.registry import Layer, Registry
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


def published() -> list[Path]:
    """The files of the last version for Debian 13, by the hashes that lie in the role."""
    requirements = (ROLE / "files/requirements-2026.2.3.txt").read_text(encoding="utf-8").splitlines()
    return wheels.collect([*requirements, *build_requirements()], SOURCES)


# Upstream's image has Home Assistant in the Python of its system, and begins with /init.
PACKAGES = (
    "python3",
    "python3-pip",
    "python3-setuptools",
    "python3-wheel",
    "python3-dev",
    "gcc",
    "libc6-dev",
    "ca-certificates",
)
# What has no wheel is built with what Debian builds its own with.
INSTALL = """\
rm /wheels/setuptools-* /wheels/wheel-*
python3 -m pip install --quiet --break-system-packages --ignore-installed --root-user-action=ignore --no-cache-dir --no-index --no-deps \\
  --no-build-isolation /wheels/*
rm -r /wheels
"""
# What builds it, what only people and browsers read, and what Python makes anew of what is imported.
LEFT_OUT = re.compile(
    r"/lib/gcc/|/libexec/gcc/|/usr/include/|/x86_64-linux-gnu-|/python3/dist-packages/|/lib[a-z]*san\.so|\.a$"
    r"|/share/(?:doc|man|locale|i18n)/|^\./(?:dev|var/cache|var/lib/apt)/|\.map(?:\.br|\.gz)?$|/components/[^/]+/__pycache__/"
    r"|/translations/(?:[^/]+/)*(?!en[.-])[^/]+\.json"
)
INIT = "#!/bin/sh\nexec python3 -m homeassistant --config /config --skip-pip\n"


def pack(tree: Path, kept: Path, folder: Path) -> None:
    """What an image has of *tree*, as a layer in *folder*; *kept* is its archive meanwhile."""
    with tarfile.open(kept, "w") as written:
        written.add(tree, ".", filter=lambda each: None if LEFT_OUT.search(each.name) else each)
    with kept.open("rb") as plain, gzip.GzipFile(folder / "layer.tar.gz", "wb", compresslevel=1, mtime=0) as packed:
        shutil.copyfileobj(plain, packed)
    with kept.open("rb") as plain:
        (folder / "diff_id").write_text(f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}", encoding="utf-8")


def root() -> Layer:
    """A Debian 13 with the Home Assistant of PyPI in its Python."""
    files = published()
    lines = sources.archive_lines(sources.host_sources(), "trixie")
    recipe = repr((PACKAGES, INSTALL, LEFT_OUT.pattern, lines, [file.name for file in files])).encode()

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            tree = Path(name) / "root"
            command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}"]
            command += [f"--aptopt={setting.rstrip(';')}" for setting in sources.apt_settings()]
            subprocess.run([*command, "trixie", str(tree), *lines], check=True)
            (tree / "wheels").mkdir()
            for file in files:
                shutil.copy(file, tree / "wheels")
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
            subprocess.run(["chroot", str(tree), "sh", "-euc", INSTALL], check=True, env=environment)
            pack(tree, Path(name) / "kept.tar", folder)

    folder = built_once(CACHE / f"layer-home-assistant-{hashlib.sha256(recipe).hexdigest()[:12]}", build)
    return Layer((folder / "layer.tar.gz").read_bytes(), (folder / "diff_id").read_text(encoding="utf-8"))


class Images:
    """Upstream's releases: an image with its digest, in a registry that a variable says."""

    entry = "main"

    def __init__(self) -> None:
        self.registries: dict[Path, Registry] = {}

    def first(self, releases: guest.Releases) -> Variables:
        registry = self.registries[releases.folder] = Registry(releases.folder / "registry", guest.GATEWAY)
        atexit.register(registry.close)
        return {
            "docker_host_insecure_registries": [registry.name],
            "home_assistant_image_registry": registry.name,
            **self.release(releases, "2026.2.3", INIT),
        }

    def release(self, releases: guest.Releases, version: str, init: str) -> Variables:
        registry = self.registries[releases.folder]
        image = registry.push("home-assistant/home-assistant", version, ("/init",), {"init": init}, base=root())
        return {"home_assistant_image": image.removeprefix(f"{registry.name}/")}

    def turned(self, releases: guest.Releases) -> Variables:
        variables = self.release(releases, "2026.2.4", f"{INIT}# the next one\n")
        registry = self.registries[releases.folder]
        registry.turn(f"{registry.name}/{variables['home_assistant_image']}")
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        init = "#!/bin/sh\nrm -f /config/home-assistant_v2.db\nexit 1\n"
        return self.release(releases, "2026.2.5", init)


class PyPI:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: guest.Releases) -> Variables:
        index = wheels.Index(releases.folder)
        for found in published():
            index.publish(found)
        return {
            "home_assistant_index_url": f"{releases.url}/simple",
            "home_assistant_pip_environment": {"PIP_TRUSTED_HOST": releases.address},
        }

    def turned(self, releases: guest.Releases) -> Variables:
        variables = small(releases, "2026.2.2")
        wheels.Index(releases.folder).turn("homeassistant-2026.2.2-py3-none-any.whl")
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        return small(releases, "2026.2.1")


USERS = [{"name": "house", "password": "the password of the house"}]
PROXY = "10.93.64.2"
SENSOR = {
    "name": "Cellar",
    "unique_id": "cellar",
    "state_topic": "cellar/temperature",
    "default_entity_id": "sensor.cellar",
}


MQTT = ("-h", "127.0.0.1", "-u", USERS[0]["name"], "-P", USERS[0]["password"])


def broker() -> None:
    """The Mosquitto of this collection, in the guest."""
    with tempfile.TemporaryDirectory() as folder:
        guest.Lab(Path(folder), "mosquitto", {"mosquitto_users": USERS}).entry("main").succeeded()


def forwarded(address: str, source: str) -> int:
    """With which status it answers *source*, which says that it asks for another."""
    connection = http.client.HTTPConnection(address, 8123, timeout=10, source_address=(source, 0))
    with contextlib.closing(connection):
        connection.request("GET", "/manifest.json", headers={"X-Forwarded-For": "198.51.100.7"})
        return connection.getresponse().status


# What the Home Assistant of PyPI has of `default_config` without further files.
BASE = ("config", "energy", "frontend", "history", "logbook", "media_source", "my", "sun", "webhook", "zeroconf")


async def until_it_is(client: HomeAssistantClient, entity: str, state: str) -> None:
    """Until *entity* is there and has *state*."""
    async with asyncio.timeout(60):
        while state not in {each["state"] for each in await client.get_states() if each["entity_id"] == entity}:
            await asyncio.sleep(0.2)


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
            assert {*BASE, "mqtt"} <= {*config["components"]}, "all that is asked for was set up"
            assert "input_boolean.party" in {each["entity_id"] for each in await client.get_states()}
            # What a device says to the broker: a sensor that is found, and what it measures.
            for topic, payload in (
                ("homeassistant/sensor/cellar/config", json.dumps(SENSOR)),
                (SENSOR["state_topic"], "12"),
            ):
                guest.inside("mosquitto_pub", *MQTT, "-t", topic, "-r", "-m", payload)
            await until_it_is(client, "sensor.cellar", "12")

    asyncio.run(asked())
    guest.run("ip", "address", "add", f"{PROXY}/24", "dev", guest.BRIDGE)
    try:
        assert forwarded(address, PROXY) == 200, "the proxy may say for whom it asks"
        assert forwarded(address, guest.GATEWAY) == 400, "and others may not"
    finally:
        guest.run("ip", "address", "delete", f"{PROXY}/24", "dev", guest.BRIDGE)


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


COMMON: t.Final = {
    "home_assistant_password": PASSWORD,
    "home_assistant_home": {"name": "The house", "unit_system": "metric", "time_zone": "Europe/Berlin"},
    "home_assistant_configuration": {"input_boolean": {"party": {"name": "!secret party"}}},
    "home_assistant_secrets": {"party": "Tonight"},
    "home_assistant_trusted_proxies": [PROXY],
    "home_assistant_integrations": [
        {
            "domain": "mqtt",
            "data": {
                "broker": "127.0.0.1",
                "port": 1883,
                "username": USERS[0]["name"],
                "password": USERS[0]["password"],
            },
        }
    ],
}
CONTAINER = Scenario(
    role="home_assistant",
    unit="home_assistant.service",
    upstream=Images(),
    variables={**COMMON, "home_assistant_base": list(BASE)},
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
    refusal="verif",
    gone=("/opt/home_assistant/compose.yaml",),
    judge=judge,
    features=("docker",),
    prepare=broker,
    refusals=(
        ({"home_assistant_method": "venv"}, "has Home Assistant with `container`, and `venv` is asked for"),
        ({"home_assistant_image": "home-assistant/home-assistant:stable"}, "write the digest after the image"),
    ),
)
VENV = dataclasses.replace(
    CONTAINER,
    variant="venv",
    upstream=PyPI(),
    variables={**COMMON, "home_assistant_method": "venv"},
    refusal="DO NOT MATCH THE HASHES",
    gone=("/opt/home_assistant",),
    features=(),
    refusals=(
        ({"home_assistant_method": "container"}, "has Home Assistant with `venv`, and `container` is asked for"),
        ({"home_assistant_version": "2026.3.0"}, "2026.2.3 is the last for Python 3.13"),
    ),
)
SCENARIOS = (CONTAINER, VENV)
