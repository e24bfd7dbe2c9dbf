# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories on another machine, a Debian 13 with its ssh server and restic's REST server; and what goes wrong with one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import Repository
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import backups, debian_images
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now

pytestmark = pytest.mark.usefixtures("no_container", "_repository")
PREFIX = "hlst"
STORE, STORE_POOL, IMAGE = f"{PREFIX}-store", f"{PREFIX}-pool", f"{PREFIX}-trixie"
FOLDER = Path("/srv") / PREFIX
ADDRESS = "10.91.7.20"
ROOT = FOLDER / "pool" / f"{STORE}.rootfs"
REST = ["restic-rest-server", "--path", "/srv/rest", "--no-auth", "--append-only", "--listen", ":8000"]
SFTP = {"type": "sftp", "host": ADDRESS, "user": "root", "path": "/srv/sftp/restic"}
PARAMS = {"name": ct.NAME, "repository": backups.REPOSITORY}


@pytest.fixture(scope="module")
def pool() -> t.Iterator[str]:
    """One type of pool is enough: what is stored is the same."""
    ct.set_up("btrfs", disk="repositories.img")
    yield "btrfs"
    ct.tear_down()


@pytest.fixture(scope="module")
def store(pool: str) -> t.Iterator[None]:
    """The other machine, which root of this host reaches by a key."""
    remove_store()
    archive = debian_images.container_root("trixie", ("openssh-server", "restic", "restic-rest-server"))
    FOLDER.mkdir(parents=True)
    lan = {"name": "lan", "bridge": ct.LAN["bridge"], "ip": f"{ADDRESS}/24", "gateway": "10.91.7.1"}
    whole = {"name": STORE, "image": IMAGE, "rootfs": {"pool": STORE_POOL}, "networks": [lan]}
    converge(
        storage_pools=[{"name": STORE_POOL, "path": str(FOLDER / "pool")}],
        images=[{"name": IMAGE, "kind": "container", "path": str(archive)}],
        containers=[{**whole, "state": "started", "wait_for": ["systemd"]}],
    )
    with root_logs_in():
        yield
    remove_store()


def converge(**lists: t.Any) -> None:
    outcome = converge_layout(lists, dry_run=False)
    assert outcome.error is None, outcome.error


def remove_store() -> None:
    gone = {"state": "absent"}
    converge(
        containers=[{**gone, "name": STORE, "delete": ["rootfs"], "force_stop": True, "shutdown_timeout": 1}],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": STORE_POOL, "allow": ["delete_data"]}],
    )
    shutil.rmtree(FOLDER, ignore_errors=True)


def there(*argv: str, check: bool = True) -> str:
    return ct.inside(*argv, name=STORE, check=check)


@contextlib.contextmanager
def root_logs_in() -> t.Iterator[None]:
    """The key of root of this host opens the other machine, whose own key is known."""
    home, kept = Path("/root/.ssh"), FOLDER / "ssh-before"
    if home.exists():
        shutil.move(home, kept)  # the two may lie on file systems of their own
    home.mkdir(mode=0o700)
    try:
        ct.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "id_ed25519"))
        own = (home / "id_ed25519.pub").read_text().strip()
        there("mkdir", "-p", "/root/.ssh", "/srv/sftp", "/srv/rest")
        there("/bin/sh", "-c", f"echo '{own}' > /root/.ssh/authorized_keys")
        there("/bin/sh", "-c", "ssh-keygen -A && systemctl restart ssh")
        (home / "known_hosts").write_text(f"{ADDRESS} {there('cat', '/etc/ssh/ssh_host_ed25519_key.pub')}\n")
        yield
    finally:
        shutil.rmtree(home)
        if kept.exists():
            shutil.move(kept, home)


def declare(repository: dict[str, t.Any], **job: t.Any) -> None:
    its = {"name": backups.REPOSITORY, "password": backups.PASSWORD, **repository}
    of_job = {"name": backups.JOB, "repository": backups.REPOSITORY, "schedule": "daily", "guests": [ct.NAME], **job}
    assert converge_now(backups.BACKUP, backups.gone()).error is None
    assert converge_now(backups.BACKUP, {"repositories": [its], "jobs": [of_job]}).error is None


def remembered(text: str) -> dict[str, t.Any]:
    """A container that stands and has *text* in a file."""
    wanted = ct.make(state="stopped", networks=[ct.LAN])
    (ct.rootfs() / "etc/note").write_text(text)
    return wanted


def is_back(text: str) -> bool:
    """The container is lost and comes back from its newest backup."""
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs", "snapshots"]})
    assert ct.state() == ""
    check_run_again(GuestRestore(), PARAMS)
    return (ct.rootfs() / "etc/note").read_text() == text


def fails(*words: str) -> str:
    """What the program says, which fails and leaves nothing."""
    done = backups.backup(*words, check=False)
    assert done.returncode == 1 and ct.left_of_a_backup() == []
    return done.stderr


def test_a_repository_over_sftp(store: None) -> None:
    declare(SFTP, keep={"last": 1})
    remembered("by sftp")
    backups.backup("run", backups.JOB)
    backups.backup("run", backups.JOB)
    assert len(there("ls", "/srv/sftp/restic/snapshots").split()) == 1
    there("systemctl", "stop", "ssh.socket", "ssh", check=False)
    began = time.monotonic()
    assert "Connection refused" in fails("run", backups.JOB) and time.monotonic() - began < 120
    there("systemctl", "start", "ssh")
    assert is_back("by sftp")


def words_to_restic(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the words of each call of restic from now on."""
    program, told = FOLDER / "asked/restic", FOLDER / "words"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexec /usr/bin/restic "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return told


def test_a_repository_of_which_nothing_can_be_deleted(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """restic's own REST server, append-only: what is stored stays whatever this host does."""
    server = subprocess.Popen(["lxc-attach", "-n", STORE, "--", *REST], stderr=subprocess.PIPE, text=True)
    try:
        wait_until("the server to listen", lambda: ":8000" in there("ss", "-ltn"), timeout_seconds=30)
        lab = {"type": "rest", "url": f"http://{ADDRESS}:8000/lab/"}
        declare(lab)
        remembered("by rest")
        backups.backup("run", backups.JOB)
        (its,) = there("ls", "/srv/rest/lab/snapshots").split()
        declare(lab, keep={"last": 1})
        done = backups.backup("run", backups.JOB, check=False)
        assert done.returncode == 1 and "403 Forbidden" in done.stderr and "append_only: true" in done.stderr, (
            done.stderr
        )
        assert len(there("ls", "/srv/rest/lab/snapshots").split()) == 2
        assert [guest["result"] for guest in backups.report()["guests"]] == ["ok"]
        declare({**lab, "append_only": True})
        asked = words_to_restic(monkeypatch)
        backups.backup("run", backups.JOB)
        backups.backup("verify", backups.JOB, "--percent", "100")
        done = backups.backup("forget", backups.JOB, check=False)
        assert done.returncode == 1 and "is append-only" in done.stderr
        newest = listed_by_program()[0]["id"]
        # One that is not whole stays, and is nobody's newest.
        (ct.rootfs() / "etc/note").write_text("half")
        backups.backup("run", backups.JOB)
        half = listed_by_program()[0]["id"]
        assert half != newest
        assert "stays in" in Repository(backups.REPOSITORY, is_append_only=True).let_go(half)
        assert listed_by_program()[0]["id"] == newest and half in there("ls", "/srv/rest/lab/snapshots")
        words = asked.read_text().split()
        assert "backup" in words and "check" in words and not {"forget", "prune"} & set(words)
        assert is_back("by rest")
    finally:
        there("pkill", "restic-rest-ser", check=False)
        server.kill()
        server.wait()
    # Elsewhere, where the repository is a folder, its owner lets go of what is old.
    password = f"RESTIC_PASSWORD='{backups.PASSWORD}' restic -r /srv/rest/lab"
    there("/bin/sh", "-c", f"{password} forget --prune {its}")
    assert its not in there("ls", "/srv/rest/lab/snapshots")


def test_the_restic_of_the_next_debian(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """restic 0.18: a repository of its own, and one of 0.14 that it goes on with."""
    programs = FOLDER / "bin"
    programs.mkdir()
    remembered("by 0.14")
    backups.backup("run", backups.JOB)
    shutil.copy(ROOT / "usr/bin/restic", programs)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert "restic 0.18" in ct.run("restic", "version")
    assert is_back("by 0.14")
    (ct.rootfs() / "etc/note").write_text("by 0.18")
    backups.backup("run", backups.JOB)
    backups.backup("verify", backups.JOB, "--percent", "100")
    assert is_back("by 0.18")
    shutil.rmtree(ct.REPOSITORY)
    assert "there is no backup repository at the place" in fails("run", backups.JOB)
    backups.set_up(ct.REPOSITORY, guests=[ct.NAME], keep={"last": 1})
    backups.backup("run", backups.JOB)
    remembered_id = Path(paths.repository_file(backups.REPOSITORY, "id"))
    assert remembered_id.read_text().strip() == json.loads(backups.restic(ct.REPOSITORY, "cat", "config"))["id"]
    backups.backup("run", backups.JOB)
    assert len(backups.listed(ct.REPOSITORY)) == 1 and is_back("by 0.18")


def test_a_repository_without_room_is_told_and_goes_on_when_it_has_some() -> None:
    place = ct.FOLDER / "small"
    place.mkdir()
    ct.run("mount", "-t", "tmpfs", "-o", "size=1M", "none", str(place))
    try:
        declare({"type": "local", "path": str(place / "restic")})
        remembered("in small room")
        (ct.rootfs() / "srv").mkdir(exist_ok=True)
        (ct.rootfs() / "srv/noise").write_bytes(os.urandom(4 << 20))
        assert "no space left on device" in fails("run", backups.JOB)
        (told,) = backups.report()["guests"] or [{"error": backups.report()["error"]}]
        assert "no space left on device" in told["error"]
        assert not any(its["guest"] for its in listed_by_program())
        ct.run("mount", "-o", "remount,size=64M", str(place))
        backups.backup("run", backups.JOB)
        assert is_back("in small room")
    finally:
        ct.run("umount", str(place))


def listed_by_program() -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = json.loads(backups.backup("list").stdout)
    return found


def test_a_container_that_stops_while_it_is_read_is_backed_up_as_of_before() -> None:
    remembered("running")
    ct.run("lxc-start", "-n", ct.NAME)
    job = subprocess.Popen([backups.PROGRAM, "run", backups.JOB], stderr=subprocess.PIPE, text=True)
    shown = Path(paths.capture_folder(ct.NAME)) / "rootfs/etc/note"
    wait_until("it to be read", shown.exists, timeout_seconds=30)
    ct.run("lxc-stop", "-n", ct.NAME, "-k")
    said = job.communicate(timeout=120)[1]
    assert job.returncode == 0, said
    assert ct.state() == "STOPPED" and ct.left_of_a_backup() == [] and is_back("running")


def test_a_clock_that_was_ahead_takes_no_backup_away() -> None:
    """What was made in the future would be the newest for years, and each new one not be kept."""
    remembered("now")
    declare({"type": "local", "path": str(ct.REPOSITORY)}, keep={"last": 1})
    backups.backup("run", backups.JOB)
    (its,) = backups.listed(ct.REPOSITORY)
    tags = ",".join(its["tags"])
    words = ("backup", "--time", "2099-01-01 00:00:00", "--host", its["hostname"], "--tag", tags)
    Path(its["paths"][0]).mkdir(parents=True)
    backups.restic(ct.REPOSITORY, *words, its["paths"][0])
    Path(its["paths"][0]).rmdir()
    backups.backup("run", backups.JOB)
    found = sorted(each["time"][:4] for each in backups.listed(ct.REPOSITORY))
    assert len(found) == 2 and found[1] == "2099", "the one of now is there"
