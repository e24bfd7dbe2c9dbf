# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host tells the page of the lab how its guests are. Heard in the guest, and proven with LXC, restic and stat."""

from __future__ import annotations

import calendar
import json
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.resource import HostOverview
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.units import FOLDER, PROGRAM, SERVICE, TIMER
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

pytestmark = pytest.mark.usefixtures("no_container")

OVERVIEW = HostOverview()
TOLD = {"guest": ct.NAME, "host": "alpha"}
FILES = (PROGRAM, paths.OVERVIEW_CONFIG, f"{FOLDER}/{SERVICE}", f"{FOLDER}/{TIMER}")

pool = ct.pools("overview.img")


@pytest.fixture(autouse=True)
def _nobody(pool: str) -> t.Iterator[None]:
    yield
    for guest in (ct.NAME, "hlct-other"):
        assert converge_now(OVERVIEW, {"guest": guest, "state": "absent"}).error is None


def program(verb: str) -> str:
    done = subprocess.run([PROGRAM, verb], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told() -> dict[str, t.Any]:
    """What the guest finds of itself in what it was told."""
    words = json.loads(ct.inside("cat", "/run/homelab_hosts/alpha.json"))
    assert (words["schema"], words["host"]) == (1, "alpha") and abs(time.time() - words["told"]) < 120
    return t.cast("dict[str, t.Any]", next(its for its in words["guests"] if its["name"] == ct.NAME))


@backups.ON_ONE_POOL
def test_who_is_told_is_declared_mended_and_taken_back() -> None:
    ct.make(state="stopped")
    check_run_again(OVERVIEW, TOLD, [f"guests[{ct.NAME}]", "program"])
    assert f"ConditionPathExists=|/var/lib/lxc/{ct.NAME}/config" in Path(FOLDER, SERVICE).read_text(encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", *FILES[2:]], capture_output=True, text=True, check=False)
    assert "homelab-hybrid-overview" not in verified.stderr, verified.stderr
    Path(FOLDER, TIMER).unlink()
    check_run_again(OVERVIEW, TOLD, ["units"])
    Path(PROGRAM).write_bytes(b"")
    check_run_again(OVERVIEW, TOLD, ["program"])
    check_run_again(OVERVIEW, {"guest": "hlct-other", "host": "alpha"}, ["guests[hlct-other]"])
    check_run_again(OVERVIEW, {"state": "absent"}, ["guests[hlct-other]"])
    unchanged(OVERVIEW, TOLD)
    refuse(OVERVIEW, {"guest": ct.NAME}, "host: is needed")
    check_run_again(OVERVIEW, {"guest": ct.NAME, "state": "absent"}, [f"guests[{ct.NAME}]"])
    assert not [path for path in FILES if Path(path).exists()]


@backups.ON_ONE_POOL
def test_a_guest_is_told_what_its_host_knows_of_it(pool: str) -> None:
    root = {"pool": ct.POOL, "size": "64MiB"}
    ct.make(state="started", networks=[ct.LAN], memory="64MiB", autostart=False, rootfs=root)
    converge_now(OVERVIEW, TOLD)
    (ct.rootfs() / "written").write_bytes(b"x" * (8 << 20))
    counted = ct.run("btrfs", "qgroup", "show", "--sync", "--raw", "-f", str(ct.rootfs())).splitlines()[-1].split()[1]
    program("tell")
    its = told()
    assert its["disk"] == 64 << 20 and abs(its["disk_used"] - int(counted)) < 1 << 20 and int(counted) > 8 << 20
    assert (its["state"], its["autostart"], its["memory"], its["backup"]["status"]) == (
        "started",
        False,
        64 << 20,
        "none",
    )
    assert 0 < its["memory_used"] < its["memory"] and its["drill"] is None
    status = ct.rootfs() / "var/lib/dpkg/status"
    assert its["updated"] == (pytest.approx(status.stat().st_mtime) if status.exists() else None)
    assert ct.inside("stat", "-c", "%a %u", "/run/homelab_hosts/alpha.json") == "644 0"
    assert not [word for word in (str(ct.FOLDER), ct.LAN["ip"].partition("/")[0]) if word in json.dumps(its)]
    # What a guest lays in the way leads nowhere else on the host.
    shutil.rmtree(ct.rootfs() / "var/lib/dpkg", ignore_errors=True)
    (ct.rootfs() / "var/lib").mkdir(parents=True, exist_ok=True)
    (ct.rootfs() / "var/lib/dpkg").symlink_to("/var/lib/dpkg")
    assert Path("/var/lib/dpkg/status").exists()
    program("tell")
    assert told()["updated"] is None
    ct.run("lxc-stop", "-k", "-n", ct.NAME)
    assert program("tell") == "", "who does not run has no page"


@backups.ON_ONE_POOL
def test_the_last_backup_is_that_of_its_repository() -> None:
    backups.set_up(ct.REPOSITORY)
    try:
        ct.make(state="started")
        converge_now(OVERVIEW, TOLD)
        backups.backup("run", backups.JOB)
        program("tell")
        its = told()["backup"]
        (snapshot,) = json.loads(
            backups.restic(ct.REPOSITORY, "snapshots", "--json", "--latest", "1", "--tag", f"guest={ct.NAME}")
        )
        made = calendar.timegm(time.strptime(snapshot["time"][:19], "%Y-%m-%dT%H:%M:%S"))
        assert its["status"] == "ok" and abs(its["made"] - made) < 5
        shutil.rmtree(ct.REPOSITORY)
        backups.backup("run", backups.JOB, check=False)
        program("tell")
        assert (told()["backup"]["status"], told()["backup"]["made"]) == ("failed", its["made"])
    finally:
        backups.tear_down(ct.REPOSITORY)
