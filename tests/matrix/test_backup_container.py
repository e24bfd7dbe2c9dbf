# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of containers on btrfs and on a plain folder, by the program that lies on the host. Proven with restic, tar and LXC themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from prometheus_client import parser

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.seen import read_backups
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

pytestmark = pytest.mark.usefixtures("no_container")

SHOWN = Path(paths.capture_folder(ct.NAME))


pool = ct.pools("backups.img")


@pytest.fixture(autouse=True)
def _repository(pool: str) -> t.Iterator[None]:
    backups.set_up(ct.REPOSITORY)
    yield
    backups.tear_down(ct.REPOSITORY)


@pytest.mark.parametrize("power", ["started", "stopped"])
def test_a_backup_holds_all_that_the_root_holds(tmp_path: Path, power: str) -> None:
    ct.make(state="started")
    backups.fill(ct.rootfs())
    if power == "stopped":
        ct.run("lxc-stop", "-n", ct.NAME, "-k")
    before = backups.digest(ct.rootfs(), "./run/*", "./dev/*")
    backups.backup("run", backups.JOB)
    assert ct.state() == ("RUNNING" if power == "started" else "STOPPED")
    (its,) = backups.listed(ct.REPOSITORY)
    assert its["paths"] == [str(SHOWN)]
    assert f"guest={ct.NAME}" in its["tags"] and "kind=container" in its["tags"]
    assert f"consistent={'crash' if power == 'started' else 'application'}" in its["tags"]
    backups.restic(ct.REPOSITORY, "restore", its["id"], "--target", str(tmp_path))
    shown = tmp_path / str(SHOWN).lstrip("/")
    manifest = json.loads((shown / "manifest.json").read_text(encoding="utf-8"))
    # Of a snapshot nobody but root may pass the root.
    (shown / "rootfs").chmod(manifest["volumes"]["rootfs"]["mode"])
    assert backups.digest(shown / "rootfs", "./run/*", "./dev/*") == before
    record = ct.record()
    assert (manifest["guest"], manifest["idmap"], manifest["record"]) == (ct.NAME, record["idmap"], record)
    assert (shown / "config").read_text(encoding="utf-8") == ct.config()
    (told,) = backups.report()["guests"]
    assert (told["result"], told["backup"]) == ("ok", its["short_id"])
    assert ct.left_of_a_backup() == []


@backups.ON_ONE_POOL
@pytest.mark.parametrize("power", ["started", "stopped"])
def test_what_is_excluded_is_not_stored_and_what_is_missing_of_the_data_is_told(tmp_path: Path, power: str) -> None:
    left = ["/srv/cache", "/srv/kinds/file", "/srv/link"]
    ct.make(state="started", backup={"exclude": left, "data_paths": ["/srv/kinds", "/srv/nowhere"]})
    backups.fill(ct.rootfs())
    cache = ct.rootfs() / "srv" / "cache"
    (cache / "below").mkdir(parents=True)
    (cache / "below" / "page").write_text("page\n", encoding="utf-8")
    (cache / ".hidden").write_text("page\n", encoding="utf-8")
    cache.chmod(0o2750)
    (ct.rootfs() / "srv" / "link").symlink_to("/etc")
    if power == "stopped":
        ct.run("lxc-stop", "-n", ct.NAME, "-k")
    backups.backup("run", backups.JOB)
    (its,) = backups.listed(ct.REPOSITORY)
    backups.restic(ct.REPOSITORY, "restore", its["id"], "--target", str(tmp_path))
    srv = tmp_path / str(SHOWN).lstrip("/") / "rootfs" / "srv"
    assert (srv / "cache").stat().st_mode & 0o7777 == 0o2750 and list((srv / "cache").iterdir()) == []
    assert not (srv / "link").is_symlink() and not (srv / "kinds" / "file").exists()
    assert (srv / "kinds" / "hard").read_text(encoding="utf-8") == "content\n"
    (told,) = backups.report()["guests"]
    assert told["result"] == "ok"
    missing = f"the data at /srv/nowhere of {ct.NAME} are not in its backup: there is no such path"
    assert told["warnings"] == [missing]
    assert (cache / "below" / "page").exists() and ct.left_of_a_backup() == []


MEDIA = ct.FOLDER / "media"


@pytest.fixture
def media() -> t.Iterator[list[dict[str, t.Any]]]:
    """Two folders and a file of the host that the container sees, of which one is in no backup."""
    (MEDIA / "data" / "cache").mkdir(parents=True)
    (MEDIA / "other").mkdir()
    for path in ("data/row", "data/cache/page", "other/film", "file"):
        (MEDIA / path).write_text(f"{path}\n", encoding="utf-8")
    os.chown(MEDIA / "data" / "row", 41234, 41234)
    yield [
        {"name": "data", "source": str(MEDIA / "data"), "path": "/srv/data", "backup": True},
        {"name": "file", "source": str(MEDIA / "file"), "path": "/etc/file", "backup": True},
        {"name": "other", "source": str(MEDIA / "other"), "path": "/srv/other"},
    ]
    ct.clean()
    subprocess.run(["rm", "-rf", str(MEDIA)], check=True)


def stored_paths(backup: str) -> set[str]:
    """What restic itself lists below the folder in which the container was shown."""
    lines = backups.restic(ct.REPOSITORY, "ls", backup).splitlines()
    return {line.removeprefix(f"{SHOWN}/") for line in lines if line.startswith(f"{SHOWN}/")}


@pytest.mark.parametrize(
    ("pool", "power"), [("btrfs", "started"), ("dir", "stopped"), ("dir", "started")], indirect=["pool"]
)
def test_a_mount_is_in_the_backup_where_it_says_so(pool: str, media: list[dict[str, t.Any]], power: str) -> None:
    its = {"exclude": ["/srv/data/cache"], "data_paths": ["/srv/data", "/srv/data/none", "/srv/other/film"]}
    ct.make(state="started", mounts=media, backup=its)
    if power == "stopped":
        ct.run("lxc-stop", "-n", ct.NAME, "-k")
    backups.backup("run", backups.JOB)
    (made,) = backups.listed(ct.REPOSITORY)
    mounts = {path for path in stored_paths(made["id"]) if path.startswith("mounts")}
    assert mounts == {"mounts", "mounts/data", "mounts/data/row", "mounts/data/cache", "mounts/file"}
    assert backups.restic(ct.REPOSITORY, "dump", made["id"], f"{SHOWN}/mounts/file") == "file\n"
    (told,) = backups.report()["guests"]
    nowhere = f"the data at /srv/data/none of {ct.NAME} are not in its backup: there is no such path"
    other = f"the data at /srv/other/film of {ct.NAME} are not in its backup: /srv/other is {MEDIA}/other of the host"
    said = [line for line in told["warnings"] if "was read while it ran" not in line]
    assert said == [nowhere, f"{other}. With backup: true the mount would be in it"]
    assert len(told["warnings"]) == (4 if power == "started" else 2)
    assert told["consistent"] == ("crash" if power == "started" else "application")
    assert ct.left_of_a_backup() == [] and (MEDIA / "data" / "cache" / "page").exists()

    (MEDIA / "data").rename(MEDIA / "away")
    done = backups.backup("run", backups.JOB, check=False)
    assert done.returncode == 1 and f"mounts[data] of {ct.NAME} belongs into its backup, and there is no" in done.stderr
    (MEDIA / "away").rename(MEDIA / "data")
    assert len(backups.listed(ct.REPOSITORY)) == 1 and ct.left_of_a_backup() == []


@backups.ON_ONE_POOL
@pytest.mark.parametrize(("mode", "state"), [("snapshot", "RUNNING"), ("suspend", "FROZEN"), ("stop", "STOPPED")])
def test_a_container_stays_as_the_mode_has_it_while_a_mount_is_read(
    media: list[dict[str, t.Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, state: str
) -> None:
    """restic's own process tells how the container is, and whether what its hooks wrote down is there."""
    hooks = {"before": ["echo dump > /srv/data/dump"], "after": ["rm /srv/data/dump"]}
    ct.make(state="started", mounts=media, backup={"hooks": hooks})
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, mode=mode))
    program, seen = tmp_path / "restic", tmp_path / "seen"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *backup*) lxc-info -n {ct.NAME} -s -H; cat {MEDIA}/data/dump ;; esac >> {seen} 2>&1\n'
        'exec /usr/bin/restic "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    backups.backup("run", backups.JOB)
    assert seen.read_text(encoding="utf-8").split() == [state, "dump"]
    (made,) = backups.listed(ct.REPOSITORY)
    assert "consistent=application" in made["tags"] and "mounts/data/dump" in stored_paths(made["id"])
    assert not (MEDIA / "data" / "dump").exists() and ct.state() == "RUNNING" and ct.left_of_a_backup() == []


@backups.ON_ONE_POOL
def test_what_was_shown_of_the_host_goes_with_a_run_that_was_killed(media: list[dict[str, t.Any]]) -> None:
    ct.make(state="started", mounts=media, wait_for=[])
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, mode="suspend"))
    assert str(backups.killed_before("restic backup")).startswith("restic backup")
    assert ct.state() == "FROZEN" and ct.left_of_a_backup() != []
    backups.backup("tidy")
    assert ct.state() == "RUNNING" and ct.left_of_a_backup() == []
    assert (MEDIA / "data" / "row").read_text(encoding="utf-8") == "data/row\n"


def shell(script: str) -> str:
    """What a shell inside prints."""
    return ct.inside("/bin/sh", "-c", script)


def bring_hook(name: str, before: str, after: str = "true") -> None:
    """What the role of a service leaves in a guest: a program, and the record of the service."""
    program = f"#!/bin/sh\ncase $1 in before) {before} ;; after) {after} ;; esac\n"
    shell("mkdir -p /etc/homelab_hybrid/backup.d /var/lib/homelab_hybrid/services")
    shell(
        f"printf '%s' '{program}' > /etc/homelab_hybrid/backup.d/{name}; chmod 700 /etc/homelab_hybrid/backup.d/{name}"
    )
    bring_record(name)


def bring_record(name: str) -> None:
    shell(f"""echo '{{"in_force": {{}}}}' > /var/lib/homelab_hybrid/services/{name}.json""")


@backups.ON_ONE_POOL
def test_hooks_let_the_programs_of_a_guest_write_down_what_they_know(tmp_path: Path) -> None:
    hooks = {"before": ["echo own >> /srv/order", "echo $HOME $0 > /srv/dump"], "after": ["echo own >> /srv/order"]}
    ct.make(state="started", backup={"hooks": hooks})
    shell("mkdir -p /srv")
    bring_hook("web", "echo web >> /srv/order; echo row > /srv/web.dump", "echo web >> /srv/order; rm /srv/web.dump")
    # What is no program of a service is not run.
    shell("echo 'touch /srv/wrong' > /etc/homelab_hybrid/backup.d/web.orig; chmod 700 /etc/homelab_hybrid/backup.d/*")
    shell("echo 'touch /srv/wrong' > /etc/homelab_hybrid/backup.d/note")
    backups.backup("run", backups.JOB)
    (its,) = backups.listed(ct.REPOSITORY)
    assert "consistent=application" in its["tags"]
    backups.restic(ct.REPOSITORY, "restore", its["id"], "--target", str(tmp_path))
    srv = tmp_path / str(SHOWN).lstrip("/") / "rootfs" / "srv"
    assert (srv / "web.dump").read_text(encoding="utf-8") == "row\n"
    assert (srv / "order").read_text(encoding="utf-8") == "own\nweb\n"
    assert shell("cat /srv/order; ls /srv") == "own\nweb\nweb\nown\ndump\norder"
    assert ct.left_of_a_backup() == []

    bring_record("db")
    backups.backup("run", backups.JOB)
    assert backups.report()["guests"][0]["consistent"] == "crash"
    bring_hook("db", "echo no such table >&2; exit 3", "touch /srv/undone")
    done = backups.backup("run", backups.JOB, check=False)
    failed = f"backup: /etc/homelab_hybrid/backup.d/db before failed inside {ct.NAME}: no such table"
    assert done.returncode == 1 and failed in done.stderr
    assert backups.report()["guests"][0]["error"] == failed
    assert len(backups.listed(ct.REPOSITORY)) == 2 and shell("ls /srv/undone")
    bring_hook("db", "true", "echo away >&2; false")
    done = backups.backup("run", backups.JOB, check=False)
    assert done.returncode == 1 and "is whole, and stored" in done.stderr and "db after failed" in done.stderr
    assert len(backups.listed(ct.REPOSITORY)) == 3
    assert ct.left_of_a_backup() == [] and ct.state() == "RUNNING"


@backups.ON_ONE_POOL
def test_what_hooks_did_is_undone_though_the_run_was_killed_in_one(pool: str) -> None:
    hooks = {"before": ["touch /srv/held", "sleep 600"], "after": ["rm /srv/held"]}
    ct.make(state="started", backup={"hooks": hooks})
    shell("mkdir -p /srv")
    bring_hook("web", "true", "touch /srv/undone")
    job = subprocess.Popen([backups.PROGRAM, "run", backups.JOB], start_new_session=True)
    wait_until("the hook", (ct.rootfs() / "srv" / "held").exists, timeout_seconds=30)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert shell("ls /srv") == "held" and ct.left_of_a_backup() != []
    converge_now(ct.CONTAINER, {"name": ct.NAME, "unset": ["backup.hooks.before", "backup.hooks.after"]})
    backups.backup("tidy")
    assert shell("ls /srv") == "undone" and ct.left_of_a_backup() == [] and ct.state() == "RUNNING"


@backups.ON_ONE_POOL
@pytest.mark.parametrize("power", ["stopped", "frozen"])
def test_a_guest_whose_programs_do_not_run_is_backed_up_without_its_hooks(pool: str, power: str) -> None:
    ct.make(state="started", backup={"hooks": {"before": ["touch /wrong"], "after": ["touch /wrong"]}})
    ct.run(*(("lxc-stop", "-k") if power == "stopped" else ("lxc-freeze",)), "-n", ct.NAME)
    backups.backup("run", backups.JOB)
    assert backups.report()["guests"][0]["consistent"] == ("application" if power == "stopped" else "crash")
    assert not (ct.rootfs() / "wrong").exists() and ct.state() == power.upper()
    if power == "frozen":
        ct.run("lxc-unfreeze", "-n", ct.NAME)


@backups.ON_ONE_POOL
def test_what_is_written_by_a_second_job_at_once_waits_for_the_first(pool: str) -> None:
    ct.make(state="started")
    backups.fill(ct.rootfs())
    jobs = [
        subprocess.Popen([backups.PROGRAM, "run", backups.JOB], stderr=subprocess.PIPE, text=True) for dummy in range(2)
    ]
    told = [job.communicate(timeout=120)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    assert len(backups.listed(ct.REPOSITORY)) == 2 and ct.left_of_a_backup() == [] and ct.state() == "RUNNING"


def test_a_run_that_is_killed_leaves_nothing_that_the_next_does_not_take_back() -> None:
    """Killed at each program that it runs it is in tests/recovery."""
    ct.make(state="started", wait_for=[])
    assert str(backups.killed_before("restic backup")).startswith("restic backup") and ct.left_of_a_backup() != []
    backups.backup("run", backups.JOB)
    assert ct.left_of_a_backup() == [] and ct.state() == "RUNNING" and len(backups.listed(ct.REPOSITORY)) == 1


@backups.ON_ONE_POOL
def test_a_host_tells_of_its_backups_without_asking_the_repository() -> None:
    ct.make(state="stopped")
    assert [its["status"] for its in read_backups(Host())["backups"]] == ["waits"]
    backups.backup("run", backups.JOB)
    (made,) = backups.listed(ct.REPOSITORY)
    ct.REPOSITORY.rename(away := ct.REPOSITORY.with_name("away"))
    (told,) = read_backups(Host())["backups"]
    assert (told["guest"], told["status"], told["failure"]) == (ct.NAME, "ok", None)
    assert (told["backup"]["id"], told["backup"]["consistent"]) == (made["short_id"], "application")
    assert 0 <= told["backup"]["age"] < 60 and min(told["backup"]["processed"], told["backup"]["added"]) > 1 << 20
    assert backups.backup("run", backups.JOB, check=False).returncode == 1
    seen = read_backups(Host())
    assert (seen["backups"][0]["status"], seen["backups"][0]["backup"]["id"]) == ("failed", made["short_id"])
    assert "there is no backup repository" in seen["backups"][0]["failure"]["error"]
    assert seen["backup_jobs"][0]["error"] == seen["backups"][0]["failure"]["error"]
    away.rename(ct.REPOSITORY)
    backups.backup("run", backups.JOB)
    assert [its["status"] for its in read_backups(Host())["backups"]] == ["ok"]


@backups.ON_ONE_POOL
def test_a_run_tells_prometheus_where_somebody_measures_the_host() -> None:
    ct.make(state="stopped")
    folder, file = Path(paths.METRICS), Path(paths.metrics_file())
    backups.backup("run", backups.JOB)
    assert not folder.exists()
    folder.mkdir(parents=True)
    try:
        backups.backup("run", backups.JOB)
        text = file.read_text(encoding="utf-8")
        samples = [its for family in parser.text_string_to_metric_families(text) for its in family.samples]
        ok = [its for its in samples if its.name == "homelab_hybrid_backup_guest_ok"]
        assert [(its.labels["guest"], its.value) for its in ok] == [(ct.NAME, 1.0)]
        assert file.stat().st_mode & 0o777 == 0o644 and list(folder.iterdir()) == [file]
        file.unlink()
        file.mkdir()
        done = backups.backup("run", backups.JOB)
        assert f"<4>{file} could not be written" in done.stderr
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@backups.ON_ONE_POOL
def test_a_byte_that_was_turned_is_found() -> None:
    ct.make(state="stopped")
    backups.backup("run", backups.JOB)
    assert "what was stored" in backups.backup("verify", backups.JOB, "--percent", "100").stderr
    pack = backups.turn_a_byte(ct.REPOSITORY)
    done = backups.backup("verify", backups.JOB, "--percent", "100", check=False)
    assert done.returncode == 1
    assert "is damaged" in done.stderr and pack.name[:8] in done.stderr
    (job,) = read_backups(Host())["backup_jobs"]
    assert job["verify"]["result"] == "failed" and pack.name[:8] in job["verify"]["error"]


@backups.ON_ONE_POOL
def test_what_a_job_does_not_keep_goes() -> None:
    ct.make(state="stopped")
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, keep={"last": 2}))
    for dummy in range(3):
        backups.backup("run", backups.JOB)
    ids = [its["id"] for its in backups.listed(ct.REPOSITORY)]
    assert len(ids) == 2
    assert len(backups.report()["forgotten"]) == 1
    less = backups.declared(ct.REPOSITORY, keep={"last": 1})
    checked = converge_now(backups.BACKUP, less, dry_run=True)
    goes = f"jobs[{backups.JOB}].keep: the next run lets go of {ct.NAME} {ids[0][:8]} of "
    assert [its.startswith(goes) and ids[1][:8] not in its for its in checked.plan.warnings] == [True]
    converge_now(backups.BACKUP, less)
    said = backups.backup("forget", backups.JOB, "--dry-run").stderr
    assert ids[0][:8] in said and ids[1][:8] not in said
    assert len(backups.listed(ct.REPOSITORY)) == 2
    backups.restic(ct.REPOSITORY, "tag", "--add", "keep", ids[0])
    backups.backup("forget", backups.JOB)
    assert len(backups.listed(ct.REPOSITORY)) == 2
    assert "is not there" not in said


@backups.ON_ONE_POOL
def test_a_repository_that_is_away_is_not_made_anew_in_its_place() -> None:
    away = ct.REPOSITORY.with_name("away")
    ct.make(state="started")
    backups.backup("run", backups.JOB)
    ct.REPOSITORY.rename(away)
    done = backups.backup("run", backups.JOB, check=False)
    assert done.returncode == 1 and "there is no backup repository at the place" in done.stderr
    assert not (ct.REPOSITORY / "config").exists()
    assert backups.report()["result"] == "failed"
    assert ct.state() == "RUNNING" and ct.left_of_a_backup() == []
    away.rename(ct.REPOSITORY)
    backups.backup("run", backups.JOB)


@backups.ON_ONE_POOL
def test_jobs_and_repositories_are_declared_as_all_else_is() -> None:
    converge_now(backups.BACKUP, backups.gone())
    paths_of_all = [f"repositories[{backups.REPOSITORY}]", f"jobs[{backups.JOB}]"]
    params = backups.declared(ct.REPOSITORY, keep={"daily": 7}, guests=[ct.NAME])
    refuse(backups.BACKUP, {"jobs": params["jobs"]}, f"there is no repository {backups.REPOSITORY}")
    check_run_again(backups.BACKUP, params, paths_of_all)
    secret = Path(paths.repository_file(backups.REPOSITORY, "password"))
    assert secret.read_text(encoding="utf-8") == backups.PASSWORD + "\n" and secret.stat().st_mode & 0o777 == 0o600
    unit = Path(f"/etc/systemd/system/homelab-hybrid-backup@{backups.JOB}.service").read_text(encoding="utf-8")
    assert f"LoadCredential={backups.REPOSITORY}.password:{secret}" in unit
    assert backups.PASSWORD not in unit + Path(paths.BACKUP_CONFIG).read_text(encoding="utf-8")
    sheet = backups.backup("sheet").stdout
    assert f"restic -r {ct.REPOSITORY} snapshots" in sheet and str(secret) in sheet and backups.PASSWORD not in sheet
    assert f"Password    {backups.PASSWORD}\n" in backups.backup("sheet", backups.REPOSITORY, "--with-password").stdout
    assert "no such backup repository" in backups.backup("sheet", "other", check=False).stderr
    changed = backups.declared(ct.REPOSITORY, keep={"daily": 3, "last": 1}, guests=[ct.NAME], bandwidth=1000)
    job = f"jobs[{backups.JOB}]"
    check_run_again(backups.BACKUP, changed, [f"{job}.keep.daily", f"{job}.keep.last", f"{job}.bandwidth"])
    secret.chmod(0o644)
    check_run_again(backups.BACKUP, changed, [paths_of_all[0]])
    refuse(backups.BACKUP, {"repositories": backups.gone()["repositories"]}, f"{backups.JOB} backs up into it")
    check_run_again(backups.BACKUP, backups.gone(), paths_of_all)
    assert not secret.exists()
    assert not list(Path("/etc/systemd/system").glob("*hlbk*"))
    unchanged(backups.BACKUP, backups.gone())
