# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of containers that are proven by starting them: beside the guest that goes on, where nobody is reached. Proven with ip, LXC and restic."""

from __future__ import annotations

import json
import os
import threading
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.seen import read_backups
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

pytestmark = pytest.mark.usefixtures("no_container")

ADDRESS = ct.LAN["ip"].partition("/")[0]
PORT = 8080
# It serves what was written before the backup, and counts its starts into it.
INIT = f"""\
#!/bin/sh
trap 'exit 0' PWR TERM
echo "started as $(hostname)" > /dev/console
echo started >> /srv/www/starts
busybox httpd -p {PORT} -h /srv/www
while true; do sleep 3600 & wait $!; done
"""
SERVED = f"http:{PORT}/row"


pool = ct.pools("drills.img")


@pytest.fixture(autouse=True)
def _repository(pool: str) -> t.Iterator[None]:
    backups.set_up(ct.REPOSITORY)
    yield
    backups.backup("tidy", check=False)
    backups.tear_down(ct.REPOSITORY)
    for path in Path(paths.DRILL_REPORTS).glob("hl*"):
        path.unlink()


def serving(*health: str, data_paths: t.Sequence[str] = (), is_there: bool = False, **params: t.Any) -> None:
    """A container that serves a row, and says how it is asked whether it is well; one backup of it."""
    if not is_there:
        asked = {"health": list(health), "data_paths": list(data_paths)}
        ct.make(**{"state": "stopped", "networks": [ct.LAN], "backup": asked, **params})
    root = ct.rootfs()
    (root / "sbin" / "init").write_text(INIT, encoding="utf-8")
    (root / "srv" / "www").mkdir(parents=True)
    start = ct.record()["idmap"]["start"]
    os.chown(root / "srv" / "www", start, start)
    (root / "srv" / "www" / "row").write_text("written before", encoding="utf-8")
    backups.backup("run", backups.JOB)


def drill(*words: str, check: bool = True) -> tuple[dict[str, t.Any], str]:
    """What the report says of the guest after a drill, and what the program said."""
    done = backups.backup("drill", backups.JOB, *words, check=False)
    told = json.loads(Path(paths.drill_report(backups.JOB)).read_text(encoding="utf-8"))
    assert done.returncode == (0 if told["result"] == "ok" else 1), done.stderr
    assert not check or done.returncode == 0, done.stderr
    (its,) = told["guests"]
    assert its["guest"] == ct.NAME
    return its, done.stderr


def fetched(address: str = ADDRESS) -> str:
    with urllib.request.urlopen(f"http://{address}:{PORT}/row", timeout=5) as answer:
        return str(answer.read().decode())


def test_a_backup_comes_to_life_beside_the_guest_that_goes_on_with_its_own_address() -> None:
    serving(SERVED, f"tcp:{PORT}", "command:cat /srv/www/row", data_paths=["/srv/www"])
    ct.run("lxc-start", "-n", ct.NAME)
    (ct.rootfs() / "srv" / "www" / "row").write_text("written since", encoding="utf-8")
    links, config, record = ct.links().keys(), ct.config(), ct.record()
    seen, is_over = [], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            seen.append(fetched())
            time.sleep(0.1)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        its, said = drill()
    finally:
        is_over.set()
        watching.join()
    assert its["result"] == "ok" and its["recovery_seconds"] > 0, said
    answers = {check["check"]: check["said"] for check in its["checks"]}
    assert answers[f"http {PORT}/row"] == f"{ADDRESS}: it answers 200 OK"
    assert answers[f"tcp {PORT}"].startswith(ADDRESS)
    assert answers["command 'cat /srv/www/row'"] == "written before"
    assert answers["data /srv/www"] == "it is there"
    assert set(seen) == {"written since"} and len(seen) > 3
    assert (ct.links().keys(), ct.config(), ct.record()) == (links, config, record)
    assert (ct.rootfs() / "srv" / "www" / "starts").read_text() == "started\n"
    assert f"started as {ct.NAME}" in Path(paths.drill_log(ct.NAME)).read_text(encoding="utf-8")
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_a_service_that_is_not_well_fails_the_drill_and_says_what_answered() -> None:
    serving(f"http:{PORT}/missing", "tcp:1", "command:ls /nowhere")
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, drill={"timeout": 3}))
    its, said = drill(check=False)
    assert its["result"] == "failed" and its["recovery_seconds"] is None
    for words in (
        f"{ADDRESS}: it answers 404",
        f"tcp 1: {ADDRESS}: [Errno 111]",
        "command 'ls /nowhere': it ended with",
    ):
        assert words in said and words in its["error"]
    assert f"{ct.NAME}: the drill failed" in said
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_data_that_is_not_in_the_backup_fails_the_drill_though_the_guest_would_make_it_anew() -> None:
    serving(SERVED, data_paths=["/srv/www/starts", "/srv/www/row"])
    its, said = drill(check=False)
    assert "data /srv/www/starts: it is not in the backup" in said
    assert {check["check"]: check["ok"] for check in its["checks"]}["data /srv/www/row"]
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_a_guest_that_ends_by_itself_is_not_waited_for() -> None:
    serving(SERVED)
    (ct.rootfs() / "sbin" / "init").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    backups.backup("run", backups.JOB)
    its, said = drill(check=False)
    assert "init: it ended by itself" in said and its["result"] == "failed"
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_a_byte_that_was_turned_fails_the_drill_of_its_guest() -> None:
    serving(SERVED)
    # Noise has blobs of its own, which nothing but the restore reads.
    (ct.rootfs() / "srv" / "noise").write_bytes(os.urandom(1 << 20))
    backups.backup("run", backups.JOB)
    assert drill()[0]["result"] == "ok"
    backups.turn_a_byte(ct.REPOSITORY)
    its, said = drill(check=False)
    assert its["result"] == "failed"
    assert f"{ct.NAME}: the drill failed: the backup repository {backups.REPOSITORY}" in said
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_what_a_service_says_of_itself_is_asked_of_it() -> None:
    told = {
        "data": ["/srv/www", "/srv/none"],
        "listens": [{"port": PORT}, {"port": 53, "protocol": "udp"}],
        "check": {"url": f"http://127.0.0.1:{PORT}/row", "status": 200},
    }
    ct.make(state="stopped", networks=[ct.LAN])
    folder = ct.rootfs() / "var" / "lib" / "homelab_hybrid" / "services"
    folder.mkdir(parents=True)
    (folder / "web.json").write_text(json.dumps({"told": told}), encoding="utf-8")
    serving(is_there=True)
    its = drill(check=False)[0]
    assert {check["check"]: check["said"] for check in its["checks"]} == {
        "data /srv/www": "it is there",
        "data /srv/none": "it is not in the backup",
        "init": "alive",
        f"web: tcp {PORT}": f"{ADDRESS}: it takes connections",
        f"web: http {PORT}/row": "127.0.0.1: it answers 200 OK",
    }


@backups.ON_ONE_POOL
def test_a_guest_that_asks_for_its_address_gets_one_in_the_drill() -> None:
    ask = "busybox udhcpc -i eth0 -q -n -s /sbin/lease"
    serving(SERVED, networks=[{"name": "lan", "bridge": ct.LAN["bridge"], "ip": "none"}])
    (ct.rootfs() / "sbin" / "init").write_text(INIT.replace("busybox httpd", f"{ask}\nbusybox httpd"), encoding="utf-8")
    lease = '#!/bin/sh\n[ "$1" != bound ] || ip address add $ip/$mask dev $interface\n'
    (ct.rootfs() / "sbin" / "lease").write_text(lease, encoding="utf-8")
    (ct.rootfs() / "sbin" / "lease").chmod(0o755)
    backups.backup("run", backups.JOB)
    its = drill()[0]
    assert its["checks"][-1]["said"].startswith("198.18.0.")


def test_nothing_of_the_host_is_in_the_drill() -> None:
    (ct.FOLDER / "media").mkdir(exist_ok=True)
    (ct.FOLDER / "media" / "film").write_text("of the host", encoding="utf-8")
    media = {"name": "media", "source": str(ct.FOLDER / "media"), "path": "/media"}
    inner = "ls -A /media; echo mine > /media/film && ls /sys/class/net; ip route; exit 7"
    serving(f"command:{inner}", mounts=[media], autostart=True)
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, drill={"timeout": 1}))
    its, said = drill(check=False)
    assert f"it was tried without /media, which is {ct.FOLDER / 'media'} of the host" in said
    assert its["left_out"] and "it ended with 7" in its["error"]
    assert (ct.FOLDER / "media" / "film").read_text(encoding="utf-8") == "of the host"


@pytest.mark.parametrize("mapped", [True, False])
def test_what_lay_in_a_mount_is_in_the_drill_where_the_backup_has_it(mapped: bool) -> None:
    data, ids = ct.FOLDER / f"drilled-{mapped}", "busybox stat -c %u:%g /data/row /data/inner"
    (data / "inner").mkdir(parents=True, exist_ok=True)
    mount = {"name": "data", "source": str(data), "path": "/data", "backup": True, "mapped": mapped}
    ct.make(state="stopped", networks=[ct.LAN], mounts=[mount])
    start = 0 if mapped else ct.record()["idmap"]["start"]
    (data / "row").write_text("written before", encoding="utf-8")
    os.chown(data / "row", start + 33, start + 33)
    os.chown(data / "inner", start + 44, start)
    os.chown(data, start, start)
    asked = [
        f'command:[ "$({ids} | busybox tr "\\n" " ")" = "33:33 44:0 " ]',
        "command:cat /data/row && echo mine > /data/note",
    ]
    ct.make(state="stopped", backup={"health": asked, "data_paths": ["/data/row", "/data"]})
    serving(is_there=True)
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, drill={"timeout": 20}))
    (data / "row").write_text("written since", encoding="utf-8")
    its = drill()[0]
    answers = {check["check"]: check["said"] for check in its["checks"]}
    assert answers["data /data/row"] == answers["data /data"] == "it is there" and its["left_out"] == []
    assert "written before" in answers.values()
    assert (data / "row").read_text(encoding="utf-8") == "written since" and not (data / "note").exists()
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_a_mount_that_is_not_whole_in_its_backup_fails_the_drill() -> None:
    data = ct.FOLDER / "drilled-nothing"
    data.mkdir(exist_ok=True)
    mount = {"name": "data", "source": str(data), "path": "/data", "backup": True}
    serving(mounts=[mount], data_paths=["/data/row", "/data"])
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, drill={"timeout": 1}))
    said = drill(check=False)[1]
    assert "data /data/row: it is not in the backup" in said and "data /data: it is empty" in said
    assert ct.left_of_a_drill() == []


@backups.ON_ONE_POOL
def test_a_guest_that_shows_no_backup_fails_the_drill() -> None:
    ct.make(state="stopped")
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, guests=[ct.NAME]))
    backups.restic(ct.REPOSITORY, "init")
    assert "has made no backup of it on this host yet" in drill(check=False)[1]


@backups.ON_ONE_POOL
@pytest.mark.parametrize("step", ["restic restore", "lxc-start"])
def test_a_drill_that_is_killed_leaves_nothing_that_tidy_does_not_take_away(step: str) -> None:
    """Killed at each program that it runs it is in tests/recovery."""
    serving(SERVED)
    ct.run("lxc-start", "-n", ct.NAME)
    assert step in str(backups.killed_before(step, "drill"))
    if "dump" not in step:
        assert ct.left_of_a_drill() != []
    backups.backup("tidy")
    assert ct.left_of_a_drill() == []
    assert fetched() == "written before"


@backups.ON_ONE_POOL
def test_a_host_that_knows_a_repository_no_more_tells_of_nothing_in_it() -> None:
    serving(SERVED)
    drill()
    backups.backup("verify", backups.JOB)
    cache = Path("/var/cache/homelab_hybrid/restic", json.loads(backups.restic(ct.REPOSITORY, "cat", "config"))["id"])
    assert cache.is_dir()
    assert converge_now(backups.BACKUP, {"jobs": backups.gone()["jobs"]}).error is None
    (told,) = read_backups(Host())["backups"]
    assert (told["status"], told["drill"]["result"]) == ("no longer", "ok")
    assert converge_now(backups.BACKUP, backups.gone()).error is None
    (told,) = read_backups(Host())["backups"]
    assert (told["status"], told["backup"], told["drill"]) == ("none", None, None)
    assert not cache.exists() and not list(Path(paths.REPORT).rglob("hl*"))
    assert len(backups.listed(ct.REPOSITORY)) == 1
