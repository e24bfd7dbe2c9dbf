# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are replicated to a pool of another host, which is this one, reached by OpenSSH. Proven with btrfs, tar, cmp and LXC themselves."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.host import read_host_info
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.replications import (
    COPIES,
    FAR,
    JOB,
    PLACE,
    copies,
    declared,
    gone,
    hosts,
    job,
    kept,
    replicate,
    report,
)

pytestmark = pytest.mark.usefixtures("no_container")
__all__ = ["job"]
_hosts = hosts("replication")

RESTORE = GuestRestore()
WITHOUT = ("./run/*", "./dev/*")


def digest_of(root: Path) -> str:
    """As ``backups.digest``, of a root whose own mode is told beside."""
    told = ct.run("tar", "--version").splitlines()[0]
    assert "GNU tar" in told
    return "\n".join(backups.digest(path, *WITHOUT) for path in sorted(root.iterdir()) if path.is_dir())


def test_a_copy_holds_all_and_the_next_brings_only_what_is_new() -> None:
    ct.make(state="started")
    backups.fill(ct.rootfs())
    first = replicate()
    assert (first["result"], first["whole"]) == ("ok", True) and first["new"] > 1 << 20
    assert ct.state() == "RUNNING"
    (ct.rootfs() / "srv/kinds/more").write_bytes(os.urandom(100_000))
    second = replicate()
    assert not second["whole"] and 100_000 <= second["new"] < 300_000, second
    ct.run("lxc-stop", "-n", ct.NAME, "-k")
    replicate()
    last = replicate()
    assert (last["whole"], last["new"]) == (False, 0) and last["sent"] < 4096, last
    (copy,) = COPIES.iterdir()
    assert digest_of(copy / "volumes" / "rootfs") == digest_of(ct.rootfs())
    assert (copy / "config").read_text(encoding="utf-8") == ct.config()
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["guest"], manifest["record"], manifest["consistent"]) == (ct.NAME, ct.record(), "application")
    assert copy.stat().st_mode & 0o777 == 0o700 and (copy / "manifest.json").stat().st_mode & 0o777 == 0o600
    assert len(kept()) == 1 and ct.left_of_a_backup() == []


def test_as_many_copies_stay_as_are_kept() -> None:
    ct.make(state="stopped")
    converge_now(backups.BACKUP, declared(keep=2))
    for dummy in range(3):
        told = replicate()
    assert told["copies"] == 2 and len(copies()) == 2 and len(kept()) == 1


def test_without_a_snapshot_that_both_have_all_is_sent_again() -> None:
    ct.make(state="stopped")
    replicate()
    (name,) = kept()
    ct.run("btrfs", "-q", "subvolume", "delete", str(ct.FOLDER / "pool" / name))
    assert replicate()["whole"]
    (copy,) = COPIES.iterdir()
    ct.run("btrfs", "-q", "subvolume", "delete", str(copy / "volumes" / "rootfs"))
    assert replicate()["whole"] and len(copies()) == 1 and len(kept()) == 1


def test_a_host_that_is_away_is_said_and_the_guest_is_left_alone() -> None:
    ct.make(state="started", wait_for=[])
    replicate()
    converge_now(backups.BACKUP, declared(port=2723))
    done = backups.backup("replicate", JOB, check=False)
    assert done.returncode == 1 and "cannot log in as root to 127.0.0.1 (port 2723)" in done.stderr
    assert "ok" in report()["last"][ct.NAME] and len(copies()) == 1 and len(kept()) == 1
    converge_now(backups.BACKUP, declared(pool=ct.POOL + "x"))
    backups.backup("replicate", JOB, check=False)
    assert "its storage pool hlct-poolx is not there" in report()["guests"][0]["error"]


def test_a_subvolume_inside_is_no_part_of_what_is_sent_and_refused() -> None:
    ct.make(state="stopped")
    ct.run("btrfs", "-q", "subvolume", "create", str(ct.rootfs() / "inner"))
    backups.backup("replicate", JOB, check=False)
    assert "has the subvolume inner in it, which btrfs does not send along" in report()["guests"][0]["error"]
    refuse(backups.BACKUP, declared(guests=[ct.NAME]), "has the subvolume inner in it")
    ct.run("btrfs", "-q", "subvolume", "delete", str(ct.rootfs() / "inner"))


def test_the_age_of_copies_is_told_on_both_hosts() -> None:
    ct.make(state="stopped")
    replicate()
    told = read_host_info({}, Host())
    (copy,) = told["replicas"]
    assert (copy["guest"], copy["origin"], copy["pool"]) == (ct.NAME, platform.node(), FAR) and 0 <= copy["age"] < 300
    assert Path(copy["path"]).parent == COPIES
    (went,) = told["replications"]
    assert (went["job"], went["guest"], went["made"], went["error"]) == (JOB, ct.NAME, copy["made"], None)
    assert (went["status"], told["replication_jobs"][0]["result"]) == ("ok", "ok")


def test_the_moment_of_copies_is_there_for_prometheus() -> None:
    ct.make(state="stopped")
    Path(paths.METRICS).mkdir(parents=True)
    try:
        replicate()
        lines = Path(paths.metrics_file()).read_text(encoding="utf-8").splitlines()
    finally:
        shutil.rmtree(paths.METRICS)
    values = [line.rpartition(" ")[2] for line in lines if "_timestamp_seconds{" in line and ct.NAME in line]
    assert len(values) == 2 and all(0 <= time.time() - float(value) < 300 for value in values), lines


def test_a_container_comes_up_from_its_copy_when_its_own_host_is_gone() -> None:
    ct.make(state="stopped", networks=[ct.LAN])
    backups.fill(ct.rootfs())
    replicate()
    params = {"name": ct.NAME, "replica": True, "pool": FAR}
    refuse(RESTORE, params, "stays in its storage pool")
    refuse(RESTORE, {**params, "repository": backups.REPOSITORY}, "Write one of the two")
    refuse(RESTORE, {**params, "host": "elsewhere"}, f"there is no backup of {ct.NAME} among the copies on this host")
    before, config, record = backups.digest(ct.rootfs(), *WITHOUT), ct.config(), ct.record()
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]})
    assert outcome.error is None, outcome.error
    converge_now(backups.BACKUP, gone())
    run = check_run_again(RESTORE, params, ["state", "backup", "volumes[rootfs]"])
    assert (run.facts["backup"]["host"], run.facts["guest"]["state"]) == (platform.node(), "stopped")
    root = PLACE / f"{ct.NAME}.rootfs"
    assert backups.digest(root, *WITHOUT) == before and len(copies()) == 1
    # Of its files most lie in blocks that the copy has, too.
    total, own = ct.run("btrfs", "filesystem", "du", "-s", "--raw", str(root)).splitlines()[-1].split()[:2]
    assert int(own) < int(total) // 2
    assert ct.config() == config.replace(str(ct.rootfs()), str(root))
    assert {**ct.record(), "restored": None, "volumes": None} == {**record, "restored": None, "volumes": None}
    ct.run("lxc-start", "-n", ct.NAME)
    assert ct.inside("cat", "/srv/kinds/file") == "content"


def test_beside_its_guest_a_copy_is_looked_at_under_another_name() -> None:
    ct.make(state="started", networks=[ct.LAN])
    replicate()
    other = f"{ct.PREFIX}-b"
    params = {"name": ct.NAME, "replica": True, "as": other, "network": f"{ct.PREFIX}br1", "start": True}
    paths_of_all = ["state", "backup", "volumes[rootfs]", "networks[lan].mac", "networks[lan].bridge"]
    check_run_again(RESTORE, params, paths_of_all)
    assert (ct.state(), ct.state(other), ct.inside("hostname", name=other)) == ("RUNNING", "RUNNING", other)
    assert len(copies()) == 1


def test_what_is_kept_of_a_guest_that_is_gone_goes() -> None:
    ct.make(state="stopped")
    replicate()
    ct.clean()
    ct.run(
        "btrfs",
        "-q",
        "subvolume",
        "create",
        str(ct.FOLDER / "pool" / f"{ct.NAME}.rootfs@+replica+{JOB}+20260101T000000000Z"),
    )
    backups.backup("replicate", JOB)
    assert kept() == [] and len(copies()) == 1


def test_jobs_of_replication_are_declared_as_all_else_is() -> None:
    converge_now(backups.BACKUP, gone())
    check_run_again(backups.BACKUP, declared(), [f"replications[{JOB}]"])
    unit = Path(f"/etc/systemd/system/homelab-hybrid-replicate@{JOB}.service").read_text(encoding="utf-8")
    assert f"replicate {JOB}" in unit and "IOSchedulingClass=idle" in unit and "tidy" in unit
    changed = declared(guests=[ct.NAME], tags=["a"], exclude=["b"], keep=3, bandwidth=1000, user="mover")
    keys = ("guests", "tags", "exclude", "keep", "bandwidth", "user")
    check_run_again(backups.BACKUP, changed, [f"replications[{JOB}].{key}" for key in keys])
    refuse(backups.BACKUP, declared(pool=None), "pool: is needed")
    check_run_again(backups.BACKUP, gone(), [f"replications[{JOB}]"])
    assert not list(Path("/etc/systemd/system").glob(f"*{JOB}*"))
    unchanged(backups.BACKUP, gone())
