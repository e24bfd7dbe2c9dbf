# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a Home Assistant OS, made by its role from the hypervisor: on the loopback, where no machine is needed."""

from __future__ import annotations

import asyncio
import http.server
import os
import shutil
import stat
import subprocess
import threading
import typing as t
from pathlib import Path

import aiohttp
import pytest
import yaml
from hass_client import HomeAssistantClient

from ansible_collections.homelab.hybrid.tests.harness.home_assistant_core import STEPS, Core, server
from ansible_collections.homelab.hybrid.tests.harness.labs import ROOT, changed

NAME = "hlhao-home"
SECRETS = Path("/var/lib/homelab_hybrid/secrets/home_assistant_os") / NAME
PLAY = """\
- hosts: home
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: homelab.hybrid.home_assistant_os
"""


class Home:
    """A Home Assistant on the loopback, and the observer of its system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.observer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Observer)
        threading.Thread(target=self.observer.serve_forever, daemon=True).start()
        self.start(Core(landing_seconds=6.0))

    def start(self, core: Core) -> None:
        self.core, self.web = core, server(core, ("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.server_address[1]}"

    def stop(self) -> None:
        for each in (self.web, self.observer):
            each.shutdown()
            each.server_close()

    def play(self, *argv: str, **more: t.Any) -> subprocess.CompletedProcess[str]:
        host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        its = {
            "guest_hypervisor": "alpha",
            "home_assistant_os_check_address": "127.0.0.1",
            "home_assistant_os_port": self.web.server_address[1],
            "home_assistant_os_start_seconds": 20,
            **more,
        }
        # Nobody connects to it.
        inventory = {
            "alpha": {"hosts": {"alpha": host}},
            "home": {"hosts": {NAME: {"ansible_host": "192.0.2.1", **its}}},
        }
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (self.folder / "play.yml").write_text(PLAY)
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
        port = f"__home_assistant_os_observer_port={self.observer.server_address[1]}"
        command = [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml", "-e", port, *argv]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=self.folder)


class Observer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> t.Iterator[Home]:
    its = Home(tmp_path)
    try:
        yield its
    finally:
        its.stop()
        shutil.rmtree(SECRETS, ignore_errors=True)


async def owner_of(url: str, username: str, password: str) -> dict[str, t.Any]:
    """Who logs in so, as a client of others is told by the WebSocket."""
    client = "https://judge.example.org/"
    async with aiohttp.ClientSession(url) as session:
        start = {"client_id": client, "handler": ["homeassistant", None], "redirect_uri": client}
        flow = await (await session.post("/auth/login_flow", json=start)).json()
        given = {"client_id": client, "username": username, "password": password}
        told = await (await session.post(f"/auth/login_flow/{flow['flow_id']}", json=given)).json()
        assert told["type"] == "create_entry", told
        form = {"grant_type": "authorization_code", "code": told["result"], "client_id": client}
        token = (await (await session.post("/auth/token", data=form)).json())["access_token"]
    async with HomeAssistantClient(url.replace("http", "ws") + "/api/websocket", token) as judge:
        return dict(await judge.send_command("auth/current_user"))


def test_its_owner_is_made_once_with_a_password_that_lies_on_the_hypervisor(home: Home) -> None:
    """A check says what the run does, and a second run does nothing."""
    home.core.lands_until = 0.0
    planned = home.play("--check")
    assert planned.returncode == 0 and "the owner admin is made" in planned.stdout, planned.stdout + planned.stderr
    assert not home.core.calls and not SECRETS.exists() and changed(planned) > 0
    real, again = home.play(), home.play()
    assert real.returncode == 0, real.stdout + real.stderr
    assert f"It is in {SECRETS}/admin of alpha." in real.stdout
    password = (SECRETS / "admin").read_text()
    assert stat.S_IMODE((SECRETS / "admin").stat().st_mode) == 0o600 and password not in real.stdout + real.stderr
    assert tuple(home.core.done) == STEPS and home.core.owner["name"] == "Administrator"
    assert asyncio.run(owner_of(home.url, "admin", password))["is_owner"] is True
    assert again.returncode == 0 and changed(again) == 0, again.stdout


def test_it_is_the_one_that_is_written(home: Home) -> None:
    """The page of upstream's installer, which stands there first, is waited for."""
    words = {"home_assistant_os_username": "ada", "home_assistant_os_password": "analytical engine"}
    done = home.play(**words, home_assistant_os_name="Ada", home_assistant_os_language="de")
    assert done.returncode == 0 and "analytical" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert home.core.owner == {"name": "Ada", "username": "ada", "language": "de"}
    assert asyncio.run(owner_of(home.url, "ada", "analytical engine"))["name"] == "Ada" and not SECRETS.exists()


@pytest.mark.parametrize("done", [STEPS, ("user",)], ids=["to its end", "half way"])
def test_one_that_somebody_made_stays(home: Home, done: tuple[str, ...]) -> None:
    home.core.users, home.core.done = {"eve": "hers alone"}, list(done)
    run = home.play()
    assert run.returncode == 0 and changed(run) == 0, run.stdout + run.stderr
    assert not home.core.calls and not SECRETS.exists() and tuple(home.core.done) == done


def test_a_run_that_was_killed_in_the_middle_is_finished(home: Home) -> None:
    SECRETS.mkdir(parents=True)
    (SECRETS / "admin").write_text("generated before")
    home.core.users, home.core.done = {"admin": "generated before"}, ["user"]
    run = home.play()
    assert run.returncode == 0 and "the step analytics of the onboarding is finished" in run.stdout, run.stdout
    assert tuple(home.core.done) == STEPS and changed(home.play()) == 0


def test_a_password_of_which_a_part_would_not_count_is_refused(home: Home) -> None:
    run = home.play(home_assistant_os_password="ü" * 37)
    assert run.returncode != 0 and "longer than 72 bytes" in run.stdout and not home.core.calls
