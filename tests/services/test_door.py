# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door for versions when nobody comes back to it: the control node is killed, the guest is lost, the new version does not answer."""

from __future__ import annotations

import json
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED
from ansible_collections.homelab.hybrid.tests.services import debian_archive

PACKAGE, UNIT, ROW = "homelab-clock", "homelab-clock.service", "/var/lib/homelab-clock/row"
WATCH = "homelab-watch.service"
DOOR = "/var/lib/homelab_hybrid/door/door.json"
SERVICE = "[Service]\nType=exec\nExecStart=/usr/bin/homelab-clock\n[Install]\nWantedBy=multi-user.target\n"
WORKS = """#!/usr/bin/python3
import http.server, pathlib
TEXT = pathlib.Path("/etc/homelab-clock.conf").read_text()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"clock @VERSION@ {TEXT}".encode())
http.server.HTTPServer.address_family = __import__("socket").AF_INET
http.server.HTTPServer(("", 7000), Handler).serve_forever()
"""
BREAKS = f"#!/bin/sh\nrm -f {ROW}\nexit 1\n"
# The whole guest goes while its package is installed.
LOSES = "#!/bin/sh\nexec systemctl --force --force poweroff\n"
DECLARATION: dict[str, t.Any] = {
    "title": "Clock",
    "guest": {"kind": "container", "needs": [], "spec": {"memory": "256MiB"}},
    "packages": [PACKAGE],
    "unit": UNIT,
    "units": [{"name": WATCH, "src": "watch.service.j2", "waits": True}],
    "config": [{"src": "clock.conf.j2", "dest": "/etc/homelab-clock.conf"}],
    "listens": [{"port": 7000}],
    "check": {"url": "http://127.0.0.1:7000/", "regex": "^clock", "attempts": 10},
    "data": {"row": "/var/lib/homelab-clock"},
}
AS_DATABASE = ["runuser", "-u", "postgres", "--"]
DUMP = [*AS_DATABASE, "pg_dump", "--clean", "--if-exists", "--file=/var/lib/postgresql/clock.sql", "clock"]
RESTORE = [*AS_DATABASE, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file=/var/lib/postgresql/clock.sql", "clock"]
FORGETS = "#!/bin/sh\nsu postgres -c 'psql --quiet --command=\"DELETE FROM rows\" clock'\nexit 1\n"
# Where a run is killed: when it has begun with these.
STEPS = (
    "Door | Write the dumps",
    "Door | Stop what is kept",
    "Door | Keep the guest as it is",
    "Door | Stay closed through a restart",
    "Update | Install the packages",
    "Start | Start now and after a reboot",
    "Check | Ask http",
    "Open | Open the guest",
)


def write_role(folder: Path, declaration: dict[str, t.Any]) -> None:
    """The role of a user, in a collection of their own below *folder*."""
    role = folder / "ansible_collections/my/test/roles/clock"
    files = {
        "vars/main.yml": json.dumps({"__clock_service": declaration}),
        "defaults/main.yml": json.dumps({"clock_text": "ticks"}),
        "templates/clock.conf.j2": "{{ clock_text }}\n",
        "templates/watch.service.j2": SERVICE.replace("/usr/bin/homelab-clock", "/usr/bin/sleep infinity"),
    }
    for entry in ("main", "update"):
        task = {
            "name": "Clock",
            "ansible.builtin.include_role": {"name": "homelab.hybrid._service", "tasks_from": entry},
            "vars": {"__service_declaration": "{{ __clock_service }}"},
        }
        files[f"tasks/{entry}.yml"] = json.dumps([task])
    for path, text in files.items():
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(text, encoding="utf-8")


def publish(version: str, program: str = WORKS, after: str = "") -> None:
    files = {"usr/bin/homelab-clock": program.replace("@VERSION@", version), f"usr/lib/systemd/system/{UNIT}": SERVICE}
    debian_archive.publish(guest.rootfs(), PACKAGE, version, files, after)


def answer() -> str:
    """What the clock answers others than its guest; nothing where it does not."""
    return guest.run("curl", "-sS", "--max-time", "5", f"http://{guest.ADDRESS}:7000/", check=False)


def row() -> str:
    return guest.inside("cat", ROW, check=False)


def is_closed() -> bool:
    return guest.status("nft", "list", "table", "inet", "homelab_hybrid_update") == 0


def nothing_is_left() -> bool:
    """Whether the guest is open, and nothing would close it again."""
    names = "homelab-hybrid-closed.service homelab-hybrid-reopen.timer homelab-hybrid-reopen.service"
    found = guest.inside("sh", "-c", f"cd /etc/systemd/system; ls {names} /run/systemd/system {DOOR}", check=False)
    return not is_closed() and "homelab-hybrid" not in found and DOOR not in found


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    """The clock, version 1, in a guest that has what closes it."""
    yield from made(tmp_path, DECLARATION, ())


@pytest.fixture
def database_lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    """The same with rows in PostgreSQL, which lies in a folder of the host."""
    declaration = {**DECLARATION, "dump": [DUMP], "restore": [RESTORE]}
    mount = {"name": "data", "source": str(guest.FOLDER / "data"), "path": "/var/lib/postgresql"}
    yield from made(tmp_path, declaration, ("postgresql",), mounts=[mount])


def made(
    tmp_path: Path, declaration: dict[str, t.Any], packages: tuple[str, ...], **options: t.Any
) -> t.Iterator[guest.Lab]:
    write_role(tmp_path, declaration)
    try:
        guest.set_up("door.img", **options)
        guest.inside("apt-get", "-qq", "update")
        guest.inside("apt-get", "-qqy", "install", "nftables", *packages)
        debian_archive.use_alone(guest.rootfs())
        publish("1")
        guest.inside("apt-get", "-qq", "update")
        lab = guest.Lab(tmp_path, "my.test.clock")
        lab.entry("main").succeeded()
        guest.inside("sh", "-c", f"mkdir -p /var/lib/homelab-clock; echo kept > {ROW}")
        yield lab
    finally:
        guest.tear_down()


def test_a_run_that_was_killed_behind_the_door_is_ended_by_the_next_one(lab: guest.Lab) -> None:
    draw = random.Random(SEED)
    for number, step in enumerate(draw.sample(STEPS, 3)):
        version = str(number + 2)
        publish(version)
        assert lab.killed_at("update", step), step
        ended = lab.entry("update" if number else "main").succeeded()
        # At the last one it may have been opened by the time of the kill.
        assert "a run left this guest behind the door" in ended.said or step == STEPS[-1], (step, ended.printed)
        assert nothing_is_left() and row() == "kept", step
        lab.entry("update").succeeded()
        assert answer().startswith(f"clock {version} ticks") and nothing_is_left(), step


def test_a_guest_to_which_nobody_comes_back_opens_by_itself_if_it_answers(lab: guest.Lab) -> None:
    publish("2")
    assert lab.killed_at("update", "Open | Open the guest")
    assert is_closed() and answer() == "", "nobody else is answered"
    assert guest.status("systemctl", "is-active", "homelab-hybrid-reopen.timer") == 0
    guest.inside("systemctl", "start", "homelab-hybrid-reopen.service")
    assert answer().startswith("clock 2")
    guest.inside("sh", "-c", f"echo written > {ROW}")
    ended = lab.entry("main").succeeded()
    assert "It has been open since" in ended.said and row() == "written" and answer().startswith("clock 2")
    assert nothing_is_left() and lab.entry("main").succeeded().changed == 0

    publish("3", BREAKS)
    assert lab.killed_at("update", "Check | Ask http")
    assert guest.status("systemctl", "start", "homelab-hybrid-reopen.service") != 0
    assert "stays closed" in guest.inside("journalctl", "-u", "homelab-hybrid-reopen.service", "--no-pager")
    assert is_closed() and row() == "", "what does not answer stays closed"
    ended = lab.entry("main").succeeded()
    assert "Nobody could write meanwhile" in ended.said and row() == "written" and answer().startswith("clock 2")
    assert nothing_is_left()


def test_a_guest_that_is_lost_behind_the_door_goes_back(lab: guest.Lab) -> None:
    publish("2", after=LOSES)
    failed = lab.entry("update").failed()
    assert "went back" in failed.said and answer().startswith("clock 1") and row() == "kept", failed.printed[-4000:]
    assert nothing_is_left() and "failed before" in lab.entry("update").succeeded().said


def test_a_new_version_gets_the_settings_that_the_role_has_for_it(lab: guest.Lab) -> None:
    assert lab.entry("update", clock_text="tocks").succeeded().changed == 0, "without a new version nothing is written"
    publish("2", BREAKS)
    lab.entry("update", clock_text="tocks").failed()
    assert answer().startswith("clock 1 ticks") and guest.inside("cat", "/etc/homelab-clock.conf") == "ticks"
    publish("3")
    assert lab.entry("update", clock_text="tocks").succeeded().changed
    assert answer().startswith("clock 3 tocks") and row() == "kept"
    assert guest.status("systemctl", "is-active", WATCH) == 0, "what waits for the verdict runs again"


def ask_database(question: str) -> str:
    return guest.inside(*AS_DATABASE, "psql", "--tuples-only", "--no-align", f"--command={question}", "clock")


def test_what_lies_outside_the_guest_is_read_back_from_its_dump(database_lab: guest.Lab) -> None:
    guest.inside(*AS_DATABASE, "createdb", "clock")
    ask_database("CREATE TABLE rows (name text); INSERT INTO rows VALUES ('kept')")
    assert guest.status("mountpoint", "--quiet", "/var/lib/postgresql") == 0
    publish("2", FORGETS)
    failed = database_lab.entry("update").failed()
    assert "went back" in failed.said and answer().startswith("clock 1"), failed.printed[-4000:]
    assert ask_database("SELECT name FROM rows") == "kept"

    publish("3", FORGETS)
    assert database_lab.killed_at("update", "Check | Ask http")
    ask_database("DELETE FROM rows")
    database_lab.entry("main").succeeded()
    assert ask_database("SELECT name FROM rows") == "kept", "the run that comes next does the same"
