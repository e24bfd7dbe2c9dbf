# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each preset of ``compose_app`` runs from nothing but its name: in a guest with Docker, from images of the shape of its own."""

from __future__ import annotations

import json
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import presets
from ansible_collections.homelab.hybrid.tests.services.registry import Registry
from ansible_collections.homelab.hybrid.tests.services.test_docker import ask, docker, outside

# What others than the guest reach of each, and what names where its images have their secrets.
PORTS: t.Mapping[str, frozenset[str]] = {
    "forgejo": frozenset({"tcp 3000", "tcp 2222"}),
    "nextcloud": frozenset({"tcp 8080"}),
    "syncthing": frozenset({"tcp 8384", "tcp 22000", "udp 22000", "udp 21027"}),
    "uptime_kuma": frozenset({"tcp 3001"}),
    "vaultwarden": frozenset({"tcp 8222"}),
}


@pytest.fixture
def registry(tmp_path: Path) -> t.Iterator[Registry]:
    try:
        guest.set_up("presets.img", features={"docker": True})
        served = Registry(tmp_path / "registry", guest.GATEWAY)
        yield served
        served.close()
    finally:
        guest.tear_down()


def secret(app: str, name: str) -> str:
    return guest.inside("cat", f"/var/lib/homelab_hybrid/secrets/{app}/{name}")


def read(app: str, path: str) -> str:
    return guest.inside("cat", f"/opt/compose/{app}/{path}")


def posted(port: int, path: str, body: dict[str, str]) -> int:
    """How the guest answers what its hypervisor sends."""
    try:
        url = f"http://{guest.ADDRESS}:{port}/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def hook(app: str, word: str) -> None:
    guest.inside(f"/etc/homelab_hybrid/backup.d/{app}", word)


def test_each_preset_runs_and_nobody_comes_before_its_owner(registry: Registry, tmp_path: Path) -> None:
    before = outside()
    apps = [
        {"name": f"my-{name}", "preset": name, "images": presets.images(name, registry)} for name in presets.PRESETS
    ]
    variables = {
        "docker_host_insecure_registries": [registry.name],
        "compose_app_apps": apps,
        "lab_sites": [{"name": "my-nextcloud.lab.home.arpa", "url": "https://my-nextcloud.lab.home.arpa/"}],
        "lab_proxies": ["10.93.64.9", "fd00::9"],
    }
    lab = guest.Lab(tmp_path, "compose_app", variables)
    unknown = lab.entry("main", "--check", compose_app_apps=[{"name": "x", "preset": "vaultwarten"}]).failed()
    assert all(name in unknown.said for name in presets.PRESETS), unknown.printed[-3000:]
    assert lab.entry("main", "--check").succeeded().changed
    lab.entry("main").succeeded()
    lab.entry("main").unchanged()
    lab.entry("main", "--check").unchanged()
    open_to_others = {f"{each.partition(' ')[0]} {each.rpartition(':')[2]}" for each in outside() - before}
    # Syncthing asks others from a port that the kernel gives it.
    known = frozenset().union(*PORTS.values())
    assert known <= open_to_others and all(each.startswith("udp") for each in open_to_others - known), open_to_others

    assert (
        ask(8222, "signups") == "false"
        and ask(8222, "admin") == ""
        and ask(8222, "proxies") == "X-Forwarded-For 127.0.0.1"
    )

    assert ask(3000, "api/healthz") == '{"status": "pass"}'
    settings = read("my-forgejo", "data/gitea/settings").splitlines()
    assert f"FORGEJO__security__SECRET_KEY={secret('my-forgejo', 'SECRET_KEY')}" in settings
    assert {"FORGEJO__server__SSH_PORT=2222", f"FORGEJO__server__SSH_DOMAIN={guest.ADDRESS}"} <= set(settings)
    (owner,) = read("my-forgejo", "data/gitea/users").splitlines()
    assert owner.endswith(
        f"--username administrator --email administrator@home.arpa --password {secret('my-forgejo', 'ADMIN_PASSWORD')}"
    )

    assert ask(8080) == "https://my-nextcloud.lab.home.arpa 10.93.64.9 fd00::9"
    query = "SELECT uid || ' ' || password FROM oc_users"
    psql = ("exec", "my-nextcloud-database-1", "psql", "--username=nextcloud", "-tAc")
    assert docker(*psql, query) == f"admin {secret('my-nextcloud', 'ADMIN_PASSWORD')}"
    hook("my-nextcloud", "before")
    assert '"maintenance":true' in ask(8080, "status.php"), "nobody writes while it is captured"
    assert secret("my-nextcloud", "ADMIN_PASSWORD") in guest.inside(
        "zcat", "/opt/compose/my-nextcloud/dumps/backup.sql.gz"
    )
    hook("my-nextcloud", "after")
    assert '"maintenance":false' in ask(8080, "status.php")
    # As an installation that was cut short leaves it.
    guest.inside("rm", "/opt/compose/my-nextcloud/html/config/config.php")
    docker("restart", "my-nextcloud-nextcloud-1")
    # What is not among the applications stays as it is.
    (cloud,) = [app for app in apps if app["preset"] == "nextcloud"]
    lab.entry("main", compose_app_apps=[cloud]).succeeded()
    assert '"installed":true' in ask(8080, "status.php")
    assert lab.entry("main", compose_app_apps=[{**cloud, "port": 8001}]).succeeded().changed
    assert '"installed":true' in ask(8001, "status.php") and ask(8080, "status.php") == ""

    login = {"username": "admin", "password": secret("my-syncthing", "GUI_PASSWORD")}
    assert ask(8384, "rest/noauth/health").replace(" ", "").replace("\n", "") == '{"status":"OK"}'
    assert posted(8384, "rest/noauth/auth/password", login) == 204
    assert posted(8384, "rest/noauth/auth/password", {**login, "password": "admin"}) == 403
    assert ask(8384, "rest/config") == "", "without a password nobody reads its settings"

    assert posted(3001, "setup", {"username": "eve", "password": "eve"}) == 403
    users = ("python3", "-c", "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT * FROM user'))")
    made = f"('admin', '{secret('my-uptime_kuma', 'ADMIN_PASSWORD')}')"
    assert guest.inside(*users, "/opt/compose/my-uptime_kuma/data/kuma.db") == made
    hook("my-uptime_kuma", "before")
    assert guest.inside(*users, "/var/backups/homelab_hybrid/my-uptime_kuma/kuma.db") == made
    assert guest.inside("find", "/opt/compose", "-name", "open") == "", "none of them waited for a first visitor"

    lab.entry("remove").succeeded()
    assert outside() == before
