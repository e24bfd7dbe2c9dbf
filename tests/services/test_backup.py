# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service holds in its memory is in the backup of its guest, which its hypervisor takes and tries by itself. Read with restic and grep."""

from __future__ import annotations

import json
import shlex
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.services import mosquitto

REPOSITORY = guest.FOLDER / "restic"
ROW = f"command:{shlex.join(mosquitto.SCENARIO.read)}"


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    try:
        guest.set_up("backup.img")
        backups.set_up(REPOSITORY)
        yield guest.Lab(tmp_path, "mosquitto", mosquitto.SCENARIO.variables)
    finally:
        backups.tear_down(REPOSITORY)
        guest.tear_down()


def test_what_a_service_has_in_its_memory_is_in_the_backup_of_its_guest(lab: guest.Lab, tmp_path: Path) -> None:
    backups.backup("run", backups.JOB)
    assert backups.report()["guests"][0]["consistent"] == "crash", "nobody says what its programs write down"
    lab.entry("main").succeeded()
    guest.inside(*mosquitto.SCENARIO.write)
    # What is asked in a drill is in the backup.
    converge_now(ct.CONTAINER, {"name": guest.NAME, "backup": {"health": [ROW]}})
    backups.backup("run", backups.JOB)
    (told,) = backups.report()["guests"]
    assert (told["consistent"], told["warnings"]) == ("application", [])
    backups.restic(REPOSITORY, "restore", told["backup"], "--target", str(tmp_path / "restored"))
    root = tmp_path / "restored" / paths.capture_folder(guest.NAME).lstrip("/") / "rootfs"
    assert b"kept" in (root / "var/lib/mosquitto/mosquitto.db").read_bytes()
    assert guest.inside(*mosquitto.SCENARIO.read) == "kept"

    # A drill asks the service that comes out of that backup, whatever the one that goes on has been told since.
    guest.inside(*mosquitto.SCENARIO.write[:-1], "since")
    backups.backup("drill", backups.JOB)
    (its,) = json.loads(Path(paths.drill_report(backups.JOB)).read_text(encoding="utf-8"))["guests"]
    (asked,) = [each for each in its["checks"] if "mosquitto_sub" in each["check"]]
    assert (its["backup"], asked["said"]) == (told["backup"], "kept")
    assert guest.inside(*mosquitto.SCENARIO.read) == "since"

    guest.inside("sh", "-c", "kill -STOP $(cat /run/mosquitto/mosquitto.pid)")
    done = backups.backup("run", backups.JOB, check=False)
    guest.inside("sh", "-c", "kill -CONT $(cat /run/mosquitto/mosquitto.pid)")
    assert done.returncode == 1 and "mosquitto did not write its database within 10 s" in done.stderr
    lab.entry("remove").succeeded()
    backups.backup("run", backups.JOB)
    assert backups.report()["guests"][0]["consistent"] == "crash"
