# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are replicated to a pool of another host, which is this one, reached by OpenSSH. Proven with btrfs, tar, cmp and LXC themselves."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.host import read_host_info
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import backups, loopback_ssh
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

pytestmark = pytest.mark.usefixtures("no_container")

JOB, FAR = "hlct-far", "hlct-far"
PLACE = ct.FOLDER / "far"
COPIES = PLACE / "+replicas" / platform.node() / ct.NAME
WITHOUT = ("./run/*", "./dev/*")


@pytest.fixture(scope="module", autouse=True)
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    ct.set_up("btrfs", disk="replication.img")
    ct.run("truncate", "-s", "1G", str(ct.FOLDER / "far.img"))
    outcome = converge_now(
        StoragePool(), {"name": FAR, "type": "btrfs", "path": str(PLACE), "source": str(ct.FOLDER / "far.img")}
    )
    assert outcome.error is None, outcome.error
    with loopback_ssh.serving(tmp_path_factory.mktemp("ssh")):
        yield
    converge_now(StoragePool(), {"name": FAR, "state": "absent", "allow": ["delete_data"]})
    ct.tear_down()


@pytest.fixture(autouse=True)
def _job() -> t.Iterator[None]:
    outcome = converge_now(backups.BACKUP, declared())
    assert outcome.error is None, outcome.error
    yield
    converge_now(backups.BACKUP, gone())
    for path in (backups.PROGRAM, paths.replication_report(JOB)):
        Path(path).unlink(missing_ok=True)
    for place in [*COPIES.glob("*/volumes/*"), *COPIES.glob(".*/volumes/*")]:
        ct.run("btrfs", "-q", "subvolume", "delete", str(place))
    shutil.rmtree(COPIES.parent, ignore_errors=True)


def declared(**job: t.Any) -> dict[str, t.Any]:
    wanted = {"name": JOB, "host": "127.0.0.1", "port": loopback_ssh.PORT, "pool": FAR, "schedule": "*:0/15", **job}
    return {"replications": [wanted]}


def gone() -> dict[str, t.Any]:
    return {"replications": [{"name": JOB, "state": "absent"}]}


def report() -> dict[str, t.Any]:
    told: dict[str, t.Any] = json.loads(Path(paths.replication_report(JOB)).read_text(encoding="utf-8"))
    return told


def replicate() -> dict[str, t.Any]:
    """What the report says of the guest after a run that went well."""
    backups.backup("replicate", JOB)
    (told,) = report()["guests"]
    assert told["guest"] == ct.NAME
    return dict(told)


def copies() -> list[str]:
    """All that lies there of the guest, whole or not."""
    return sorted(os.listdir(COPIES)) if COPIES.is_dir() else []


def kept() -> list[str]:
    return sorted(path.name for path in (ct.FOLDER / "pool").iterdir() if "+replica+" in path.name)


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


@pytest.mark.parametrize("program", ["btrfs send", "btrfs receive"])
def test_what_is_killed_in_the_middle_leaves_nothing_that_is_taken_for_a_copy(program: str) -> None:
    ct.make(state="started", wait_for=[])
    (ct.rootfs() / "large").write_bytes(os.urandom(20 << 20))
    converge_now(backups.BACKUP, declared(bandwidth=2000))
    run = subprocess.Popen([backups.PROGRAM, "replicate", JOB], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(COPIES.glob(".*/volumes/*/large")):
        assert time.monotonic() < until and run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.1)
    ct.run("pkill", "-9", "-o", "-f", f"{program.split()[0]} -q {program.split()[1]}")
    told = run.communicate(timeout=60)[1]
    assert run.returncode == 1, told
    assert report()["guests"][0]["result"] == "failed" and "ok" not in report()["last"][ct.NAME]
    assert not [name for name in copies() if not name.startswith(".")] and kept() == [] and ct.state() == "RUNNING"
    converge_now(backups.BACKUP, declared())
    assert replicate()["whole"]
    assert len(copies()) == 1 and len(kept()) == 1


def test_a_run_that_is_killed_with_all_that_it_started_is_taken_up_by_the_next() -> None:
    ct.make(state="started", wait_for=[])
    steps, step = [], 0
    while (before := backups.killed_before(step := step + 1, "replicate", JOB)) is not None:
        steps.append(before)
        assert len([name for name in copies() if not name.startswith(".")]) <= 1, steps
        assert ct.state() == "RUNNING"
    assert any("ssh" in words for words in steps) and any("snapshot" in words for words in steps), steps
    told = replicate()
    assert not told["whole"] and len(copies()) == 1 and len(kept()) == 1 and ct.left_of_a_backup() == []


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


def test_a_container_comes_up_from_its_copy_as_the_guide_says() -> None:
    ct.make(state="stopped")
    (ct.rootfs() / "srv/note").write_text("here", encoding="utf-8")
    config = ct.config()
    replicate()
    ct.clean()
    (copy,) = COPIES.iterdir()
    root = PLACE / f"{ct.NAME}.rootfs"
    ct.run("btrfs", "-q", "subvolume", "snapshot", str(copy / "volumes/rootfs"), str(root))
    ct.run("chmod", "755", str(root))
    (ct.LXC / ct.NAME).mkdir()
    done = ct.run("sed", f"s#^lxc.rootfs.path.*#lxc.rootfs.path = btrfs:{root}#", str(copy / "config"))
    assert done != config
    (ct.LXC / ct.NAME / "config").write_text(done, encoding="utf-8")
    ct.run("lxc-start", "-n", ct.NAME)
    try:
        assert ct.state() == "RUNNING" and (root / "srv/note").read_text(encoding="utf-8") == "here"
        assert (
            ct.values("lxc.net.0.hwaddr")
            == [line.split("=")[1].strip() for line in config.splitlines() if "hwaddr" in line][:1]
        )
    finally:
        ct.run("lxc-stop", "-n", ct.NAME, "-k")
        ct.run("btrfs", "-q", "subvolume", "delete", str(root))


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
