# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door for versions when nobody comes back to it: the control node is killed, the guest is lost, the new version does not answer."""

from __future__ import annotations

import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED
from ansible_collections.homelab.hybrid.tests.services import debian_archive
from ansible_collections.homelab.hybrid.tests.services.clock import (
    BREAKS,
    DECLARATION,
    PACKAGE,
    ROW,
    UNIT,
    WATCH,
    WORKS,
    files,
    write_role,
)

TIMER = "homelab-hybrid-reopen.timer"
SOON = f"/run/systemd/system/{TIMER}.d"
DOOR = "/var/lib/homelab_hybrid/door/door.json"
# On the hypervisor.
REVERTS = Path("/var/lib/homelab_hybrid/reverts")
# The whole guest goes while its package is installed.
LOSES = "#!/bin/sh\nexec systemctl --force --force poweroff\n"
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


def publish(version: str, program: str = WORKS, after: str = "") -> None:
    debian_archive.publish(guest.rootfs(), PACKAGE, version, files(version, program), after)


def answer() -> str:
    """What the clock answers others than its guest; nothing where it does not."""
    return guest.run("curl", "-sS", "--max-time", "5", f"http://{guest.ADDRESS}:7000/", check=False)


def row() -> str:
    return guest.inside("cat", ROW, check=False)


def is_closed() -> bool:
    return guest.status("nft", "list", "table", "inet", "homelab_hybrid_update") == 0


def ask_soon() -> None:
    """Let the timer of the door have waited for its hour already."""
    soon = "[Timer]\nOnActiveSec=\nOnUnitInactiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=1s\n"
    guest.inside("sh", "-c", f'mkdir -p {SOON} && printf %s "$1" > {SOON}/soon.conf', "sh", soon)
    guest.inside("systemctl", "daemon-reload")
    guest.inside("systemctl", "restart", TIMER)


def journal() -> str:
    return guest.inside("journalctl", "-u", "homelab-hybrid-reopen.service", "--no-pager")


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
    assert "OnActiveUSec=1h" in guest.inside("systemctl", "show", "--property=TimersMonotonic", TIMER)
    ask_soon()
    wait_until("the guest opens", lambda: not is_closed() and answer().startswith("clock 2"), timeout_seconds=300)
    wait_until("its timer goes", lambda: guest.status("systemctl", "is-active", TIMER) != 0, timeout_seconds=60)
    guest.inside("rm", "-r", SOON)
    guest.inside("sh", "-c", f"echo written > {ROW}")
    ended = lab.entry("main").succeeded()
    assert "It has been open since" in ended.said and row() == "written" and answer().startswith("clock 2")
    assert nothing_is_left() and lab.entry("main").succeeded().changed == 0

    publish("3", BREAKS)
    assert lab.killed_at("update", "Check | Ask http")
    ask_soon()
    wait_until("it is asked twice", lambda: journal().count("and the guest stays closed") >= 2, timeout_seconds=300)
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

    assert database_lab.killed_at("update", "Restore | Stop who writes")
    ask_database("DELETE FROM rows")
    assert is_closed() and answer() == "", "it went back closed"
    ask_soon()
    wait_until("it is asked", lambda: "may have to be read back" in journal(), timeout_seconds=300)
    assert is_closed(), "and stays closed until its data are those of its version"
    guest.inside("rm", "-r", SOON)
    ended = database_lab.entry("main").succeeded()
    assert "What lies outside of it is read back now" in ended.said and answer().startswith("clock 1")
    assert ask_database("SELECT name FROM rows") == "kept" and nothing_is_left()
    assert list(REVERTS.glob("*")) == []

    assert database_lab.killed_at("update", "Door | Keep the guest as it is")
    ask_database("INSERT INTO rows VALUES ('written')")
    ended = database_lab.entry("main").succeeded()
    assert "nothing was changed yet" in ended.said and answer().startswith("clock 1") and nothing_is_left()
    assert ask_database("SELECT name FROM rows") == "kept\nwritten", "what did not go back is not read back"


def test_updates_of_debian_bring_back_what_lies_outside_the_guest(database_lab: guest.Lab) -> None:
    guest.inside(*AS_DATABASE, "createdb", "clock")
    ask_database("CREATE TABLE rows (name text); INSERT INTO rows VALUES ('kept')")
    debian_alone = ("-e", '{"update_services": [], "update_debian": true, "update_hosts": false}')
    publish("2", after=FORGETS)
    failed = database_lab.playbook("update", *debian_alone).failed()
    assert "went back" in failed.said and answer().startswith("clock 1"), failed.printed[-4000:]
    assert ask_database("SELECT name FROM rows") == "kept" and nothing_is_left()

    publish("3", after=f"#!/bin/sh\nsystemctl is-active --quiet {UNIT} {WATCH} && exit 1\nexit 0\n")
    database_lab.playbook("update", *debian_alone).succeeded()
    assert answer().startswith("clock 3") and nothing_is_left(), "it was stopped, and is started again"
    assert guest.inside("systemctl", "is-enabled", UNIT, WATCH).split() == ["enabled", "enabled"]
    assert guest.status("systemctl", "is-active", "--quiet", WATCH) == 0, "what waits for the verdict runs again"
