# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers out of a backup, on btrfs and on a plain folder: lost ones, others beside them, and over one that stands. Proven with tar and LXC."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills

pytestmark = pytest.mark.usefixtures("no_container")

RESTORE = GuestRestore()
PARAMS: dict[str, t.Any] = {"name": ct.NAME, "repository": backups.REPOSITORY}
OTHER = f"{ct.PREFIX}-b"
# What is there while it runs, or comes with a start.
VOLATILE = ("./run/*", "./dev/*")


pool = ct.pools("restores.img")


@pytest.fixture(autouse=True)
def _repository(pool: str) -> t.Iterator[None]:
    backups.set_up(ct.REPOSITORY)
    yield
    backups.tear_down(ct.REPOSITORY)


def note(text: str) -> None:
    (ct.rootfs() / "etc" / "note").write_text(text, encoding="utf-8")


def noted(place: Path) -> str:
    return (place / "etc" / "note").read_text(encoding="utf-8")


def backed_up(**params: t.Any) -> dict[str, t.Any]:
    """A container with files of all kinds, and one backup of it. Returns what it was declared as."""
    wanted = ct.make(state="stopped", networks=[ct.LAN], **params)
    backups.fill(ct.rootfs())
    note("old")
    backups.backup("run", backups.JOB)
    return wanted


def all_gone(name: str = ct.NAME) -> None:
    """Nothing of the container is left on the host, and nothing of the host's backups but the repository."""
    outcome = converge_now(ct.CONTAINER, {"name": name, "state": "absent", "delete": ["rootfs", "snapshots"]})
    assert outcome.error is None, outcome.error
    assert ct.state(name) == "" and ct.record(name) == {}


def test_a_container_that_was_lost_comes_back_on_a_host_that_has_only_the_repository() -> None:
    wanted = backed_up()
    before, config, record = backups.digest(ct.rootfs(), *VOLATILE), ct.config(), ct.record()
    all_gone()
    converge_now(backups.BACKUP, backups.gone())
    refuse(RESTORE, PARAMS, f"no backup repository {backups.REPOSITORY}")
    converge_now(backups.BACKUP, {"repositories": backups.declared(ct.REPOSITORY)["repositories"]})
    check_run_again(RESTORE, PARAMS, ["state", "backup", "volumes[rootfs]"])
    assert backups.digest(ct.rootfs(), *VOLATILE) == before
    assert (ct.rootfs() / "srv" / "kinds" / "holes").stat().st_blocks * 512 < 1 << 20
    assert (ct.config(), ct.state()) == (config, "STOPPED")
    assert {key: value for key, value in ct.record().items() if key != "restored"} == record
    unchanged(ct.CONTAINER, {**wanted, "state": "present"})
    ct.run("lxc-start", "-n", ct.NAME)
    assert ct.inside("cat", "/etc/note") == "old"


def test_another_container_of_a_backup_has_its_own_macs_ids_and_name() -> None:
    backed_up()
    macs = {ct.record()["macs"]["lan"]}
    params = {**PARAMS, "as": OTHER, "network": f"{ct.PREFIX}br1", "start": True}
    paths_of_all = ["state", "backup", "volumes[rootfs]", "networks[lan].mac", "networks[lan].bridge"]
    check_run_again(RESTORE, params, paths_of_all)
    assert (ct.state(), ct.state(OTHER)) == ("STOPPED", "RUNNING")
    ct.run("lxc-start", "-n", ct.NAME)
    assert ct.inside("cat", "/etc/note", name=OTHER) == "old"
    assert ct.inside("hostname", name=OTHER) == OTHER
    (mac,) = ct.values("lxc.net.0.hwaddr", OTHER)
    assert mac not in macs and ct.values("lxc.net.0.link", OTHER) == [f"{ct.PREFIX}br1"]
    start = ct.record(OTHER)["idmap"]["start"]
    assert start != ct.record()["idmap"]["start"]
    file = ct.rootfs(OTHER) / "srv" / "kinds" / "file"
    mode = (ct.rootfs() / "srv" / "kinds" / "file").stat().st_mode
    assert (file.stat().st_uid, file.stat().st_mode) == (start + 1234, mode) and mode & 0o4000
    assert ct.inside("stat", "-c", "%u", "/srv/kinds/file", name=OTHER) == "1234"


def test_over_one_that_is_there_only_with_leave_and_after_a_snapshot_of_it(pool: str) -> None:
    backed_up()
    note("new")
    ct.run("lxc-start", "-n", ct.NAME)
    config = ct.config()
    stops = {"shutdown_timeout": 5, "force_stop": True}
    said = refuse(RESTORE, PARAMS, "allow: [overwrite]")
    assert "is kept as a snapshot" in said
    check_run_again(RESTORE, {**PARAMS, **stops, "allow": ["overwrite"]}, ["state", "volumes[rootfs]"])
    assert (noted(ct.rootfs()), ct.state(), ct.config()) == ("old", "RUNNING", config)
    assert noted(ct.FOLDER / "pool" / f"{ct.NAME}.rootfs@before-revert-1") == "new"
    assert ct.record()["snapshots"].keys() == {"before-revert-1"}


def test_single_files_come_into_a_folder_with_the_owners_that_they_have_inside() -> None:
    backed_up()
    note("new")
    folder = ct.FOLDER / "found"
    params = {**PARAMS, "paths": ["/srv/kinds/file", "/etc/note", "/srv/kinds/link"], "to": str(folder)}
    refuse(RESTORE, {**params, "paths": ["/etc/note", "/etc/none"]}, "has no /etc/none")
    refuse(RESTORE, {**params, "as": OTHER}, "as: is nothing of single files")
    refuse(RESTORE, {**params, "to": str(ct.FOLDER)}, "is there already, with something in it")
    # What a run that was killed has left.
    (ct.FOLDER / ".found.homelab_hybrid-restore").mkdir()
    run = check_run_again(RESTORE, params, [f"paths[{path}]" for path in params["paths"]])
    assert run.facts["files"] == {"paths": params["paths"], "to": str(folder)}
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o700)
    file, start = folder / "srv/kinds/file", ct.record()["idmap"]["start"]
    first = (ct.rootfs() / "srv/kinds/file").stat()
    assert (file.stat().st_uid, file.stat().st_gid) == (first.st_uid - start, first.st_gid - start)
    assert file.stat().st_mode == first.st_mode and os.getxattr(file, "user.note") == b"kept"
    assert (
        noted(folder) == "old"
        and noted(ct.rootfs()) == "new"
        and os.readlink(folder / "srv/kinds/link") == "/nowhere/at all"
    )
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    assert found == {"srv/kinds/file", "srv/kinds/link", "etc/note", ".homelab_hybrid-restored.json"}
    assert not [path.name for path in ct.FOLDER.iterdir() if "homelab_hybrid-restore" in path.name]


@backups.ON_ONE_POOL
@pytest.mark.parametrize("mapped", [True, False])
def test_what_lay_in_a_mount_comes_back_by_its_path_inside_and_never_into_its_source(mapped: bool) -> None:
    data, folder = ct.FOLDER / "data", ct.FOLDER / "found-in-mounts"
    data.mkdir()
    mount = {"name": "data", "source": str(data), "path": "/srv/data", "backup": True, "mapped": mapped}
    ct.make(state="started", mounts=[mount])
    start = ct.record()["idmap"]["start"]
    ct.inside("/bin/sh", "-c", "echo hidden > /srv/other") if mapped else os.chown(data, start, start)
    ct.inside("/bin/sh", "-c", "echo old > /srv/data/row; chown 1234:1234 /srv/data/row")
    backups.backup("run", backups.JOB)
    (data / "row").write_text("new", encoding="utf-8")
    params = {**PARAMS, "paths": ["/srv"], "to": str(folder)}
    refuse(RESTORE, {**params, "paths": ["/srv/data/none"]}, "has no /srv/data/none")
    check_run_again(RESTORE, params, ["paths[/srv]"])
    row = folder / "srv/data/row"
    assert (row.read_text(encoding="utf-8"), row.stat().st_uid, row.stat().st_gid) == ("old\n", 1234, 1234)
    check_run_again(RESTORE, {**params, "paths": ["/srv/data/row"], "to": f"{folder}2"}, ["paths[/srv/data/row]"])
    assert (Path(f"{folder}2") / "srv/data/row").stat().st_uid == 1234
    all_gone()
    run = check_run_again(RESTORE, PARAMS, ["state", "backup", "volumes[rootfs]"])
    assert [
        f"{data} of" in each and "paths: [/srv/data]" in each for each in run.plan.warnings if "mounts[" in each
    ] == [True]
    assert (data / "row").read_text(encoding="utf-8") == "new" and ct.record()["backed_up"] == ["data"]
    for path in (data, folder, Path(f"{folder}2")):
        ct.run("rm", "-rf", str(path))


@backups.ON_ONE_POOL
def test_what_does_not_fit_is_refused() -> None:
    backed_up()
    first = backups.listed(ct.REPOSITORY)[0]
    refuse(RESTORE, {**PARAMS, "backup": "00000000"}, f"It has: {first['short_id']} of")
    refuse(RESTORE, {**PARAMS, "at": "2001-01-01T00:00:00Z"}, "no backup that was made until then")
    refuse(RESTORE, {**PARAMS, "name": "never"}, "no backup of never")
    refuse(RESTORE, {**PARAMS, "as": OTHER, "pool": f"{ct.PREFIX}-none"}, f"storage pool {ct.PREFIX}-none is not there")
    refuse(RESTORE, {**PARAMS, "allow": ["overwrite"], "network": f"{ct.PREFIX}br1"}, "Leave network away")
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})
    assert outcome.plan.kept == [str(ct.rootfs())]
    refuse(RESTORE, PARAMS, f"kept of an earlier {ct.NAME}")


@backups.ON_ONE_POOL
def test_the_backup_of_a_moment_and_of_an_id() -> None:
    backed_up()
    (first,) = backups.listed(ct.REPOSITORY)
    note("new")
    backups.backup("run", backups.JOB)
    all_gone()
    check_run_again(RESTORE, {**PARAMS, "at": first["time"]})
    assert noted(ct.rootfs()) == "old"
    check_run_again(RESTORE, {**PARAMS, "backup": "latest", "as": OTHER})
    assert noted(ct.rootfs(OTHER)) == "new"
    unchanged(RESTORE, {**PARAMS, "backup": first["id"]})


@pytest.mark.parametrize("pool", ["dir"], indirect=True)
def test_a_restore_that_is_killed_is_finished_by_the_next(pool: str) -> None:
    """More of them are in tests/recovery."""
    backed_up()

    def verify(outcome: Outcome) -> None:
        assert noted(ct.rootfs(OTHER)) == "old"
        assert ct.state(OTHER) == "STOPPED"
        assert [path.name for path in (ct.FOLDER / "pool").iterdir() if path.name.startswith(".")] == []

    survive_kills(RESTORE, {**PARAMS, "as": OTHER}, begin=lambda: all_gone(OTHER), verify=verify, moments=0)
