# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that are deleted lie in the quarantine of their pool, and come back. Proven by the file system, btrfs and LXC."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import aside
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.quarantine import read_quarantine
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._quarantine.resource import GuestQuarantine
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills

RESTORE = GuestQuarantine()
ENDING = {"shutdown_timeout": 1, "force_stop": True}
GONE: dict[str, t.Any] = {
    "name": ct.NAME,
    "state": "absent",
    "delete": ["rootfs", "snapshots"],
    "quarantine": True,
    **ENDING,
}
LATEST = {"name": ct.NAME, "moment": "latest"}
DAY_SECONDS = 86400
ROLE = Path(__file__).parents[2] / "roles" / "hypervisor"
UNIT = ROLE / "templates/etc/systemd/system/homelab-hybrid-quarantine.service.j2"

pytestmark = pytest.mark.usefixtures("no_container", "_no_settings")


@pytest.fixture(scope="module", params=["dir", "btrfs"], autouse=True)
def pool_type(request: pytest.FixtureRequest) -> t.Iterator[str]:
    ct.set_up(request.param, disk="quarantine.img")
    yield request.param
    ct.tear_down()


@pytest.fixture
def _no_settings() -> t.Iterator[None]:
    """What the role says of the quarantine is not there, as on a host that it did not prepare."""
    settings = Path(paths.QUARANTINE)
    assert not settings.exists()
    yield
    settings.unlink(missing_ok=True)


def lying() -> list[Path]:
    """What lies in the quarantine, by the names in the pool."""
    return sorted((ct.FOLDER / "pool").glob(f"{ct.NAME}@*"))


def entries() -> list[Path]:
    return sorted(Path(paths.record_folder("guests")).glob(f"{ct.NAME}@*.json"))


def made(**params: t.Any) -> dict[str, t.Any]:
    wanted = ct.make(**{"state": "stopped", "networks": [ct.LAN], **params})
    (ct.rootfs() / "precious").write_text("data")
    return wanted


def set_aside() -> str:
    """Delete the container. Returns the moment by which it is known in the quarantine."""
    assert converge_now(ct.CONTAINER, GONE).error is None
    return entries()[-1].stem.rpartition("@")[2]


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_what_is_deleted_lies_in_the_quarantine_and_comes_back_as_it_was(state: str) -> None:
    made(state=state, memory="64M", description="mine")
    config, root = ct.config(), ct.rootfs().stat().st_ino
    run = check_run_again(ct.CONTAINER, GONE, ["state", "rootfs"])
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 7 * DAY_SECONDS))
    assert [change.after for change in run.plan.changes] == ["absent", f"in the quarantine until {until}"]
    assert run.plan.kept == [f"{ct.rootfs()} (in the quarantine until {until})"]
    assert ct.state() == "" and not ct.rootfs().exists() and not ct.record()
    (place,) = lying()
    assert place.stat().st_ino == root and (place / "precious").read_text() == "data"
    (told,) = read_quarantine(Host())
    assert (told["guest"], told["kind"], told["pools"]) == (ct.NAME, "container", [ct.POOL])
    assert told["until"].startswith(until) and told["bytes"] > 0
    check_run_again(RESTORE, LATEST, ["state", "volumes[rootfs]"])
    assert ct.config() == config and ct.rootfs().stat().st_ino == root and not lying() and not entries()
    assert (ct.rootfs() / "precious").read_text() == "data"
    unchanged(ct.CONTAINER, {"name": ct.NAME, "memory": "64M", "description": "mine", "networks": [ct.LAN]})
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, ["state"])
    assert ct.inside("cat", "/precious") == "data"


def test_the_name_is_free_at_once_and_the_ids_are_not() -> None:
    wanted = made(state="started")
    ids = ct.values("lxc.idmap")
    moment = set_aside()
    run = converge_now(ct.CONTAINER, wanted)
    assert run.error is None and ct.state() == "RUNNING"
    assert not (ct.rootfs() / "precious").exists()
    assert ct.values("lxc.idmap") != ids
    (place,) = lying()
    assert str(place.stat().st_uid) == ids[0].split()[2]
    refuse(RESTORE, LATEST, f"there is a guest {ct.NAME}")
    assert converge_now(ct.CONTAINER, {**GONE, "quarantine": False}).error is None
    assert lying() == [place], "what lay there before stays"
    check_run_again(RESTORE, {"name": ct.NAME, "moment": moment})
    assert ct.values("lxc.idmap") == ids


def test_quarantine_false_deletes_at_once() -> None:
    made()
    run = check_run_again(ct.CONTAINER, {**GONE, "quarantine": False}, ["state", "rootfs"])
    assert [change.after for change in run.plan.changes] == ["absent", None] and not run.plan.kept
    assert not lying() and not entries() and not ct.rootfs().exists()


@pytest.mark.parametrize(("days", "lies"), [(3, True), (0, False), (None, False)])
def test_without_a_word_of_it_the_host_decides(days: int | None, lies: bool) -> None:
    made()
    if days is not None:
        Path(paths.QUARANTINE).write_text(json.dumps({"days": days}))
    run = converge_now(ct.CONTAINER, {key: value for key, value in GONE.items() if key != "quarantine"})
    assert run.error is None and bool(lying()) == lies
    if lies:
        until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * DAY_SECONDS))
        assert str(run.plan.changes[1].after).endswith(until)


def test_snapshots_go_along_and_come_back() -> None:
    made()
    before = {"guest": ct.NAME, "name": "before"}
    assert converge_now(GuestSnapshot(), before).error is None
    (ct.rootfs() / "precious").write_text("later")
    check_run_again(ct.CONTAINER, GONE, ["state", "rootfs", "snapshots[before]"])
    assert len(lying()) == 2
    check_run_again(RESTORE, LATEST, ["state", "volumes[rootfs]", "snapshots[before]"])
    assert not lying()
    unchanged(GuestSnapshot(), before)
    reverted = {**before, "state": "reverted", "allow": ["revert"], **ENDING}
    assert converge_now(GuestSnapshot(), reverted).error is None
    assert (ct.rootfs() / "precious").read_text() == "data"


def test_a_snapshot_that_delete_does_not_name_is_kept_beside() -> None:
    made()
    assert converge_now(GuestSnapshot(), {"guest": ct.NAME, "name": "before"}).error is None
    assert converge_now(ct.CONTAINER, {**GONE, "delete": ["rootfs"]}).error is None
    assert len(lying()) == 1 and ct.record()["snapshots"].keys() == {"before"}
    check_run_again(RESTORE, LATEST, ["state", "volumes[rootfs]"])
    assert ct.record()["snapshots"].keys() == {"before"} and ct.record()["volumes"].keys() == {"rootfs"}


def test_it_goes_when_its_time_is_over_and_never_earlier(capsys: pytest.CaptureFixture[str]) -> None:
    made()
    set_aside()
    assert aside.main() == 0 and len(lying()) == 1, "its time is not over"
    data = json.loads(entries()[0].read_text())
    data["quarantine"]["until"] = time.time() - 1
    entries()[0].write_text(json.dumps(data))
    assert aside.main() == 0 and not lying() and not entries()
    assert "long enough" in capsys.readouterr().out
    refuse(RESTORE, LATEST, "There is nothing")


def test_the_code_that_a_run_lays_down_takes_it_away_by_itself() -> None:
    made()
    options = {key: value for key, value in GONE.items() if key in ("name", "state", "delete", "quarantine")}
    argv = ["ansible", "localhost", "-m", "homelab.hybrid.lxc_container", "-a", json.dumps(options)]
    ct.run(*argv, "-e", "ansible_python_interpreter=/usr/bin/python3")
    (entry,) = entries()
    data = json.loads(entry.read_text())
    entry.write_text(json.dumps({**data, "quarantine": {**data["quarantine"], "until": 1}}))
    unit = UNIT.read_text(encoding="utf-8").splitlines()
    command = next(line for line in unit if line.startswith("ExecStart=")).partition("=")[2]
    ct.run("env", "-i", "-C", "/", f"PYTHONPATH={paths.QUARANTINE_CODE}", "sh", "-c", command)
    assert not lying() and not entries()


def test_it_is_emptied_by_who_says_so() -> None:
    made()
    moment = set_aside()
    made()
    time.sleep(1)
    newer = set_aside()
    end = {"name": ct.NAME, "state": "absent"}
    check_run_again(RESTORE, {**end, "moment": moment}, [f"quarantine[{moment}]"])
    assert [path.name for path in lying()] == [f"{ct.NAME}@{newer}.rootfs"]
    check_run_again(RESTORE, {**end, "moment": "all"}, [f"quarantine[{newer}]"])
    assert not lying() and not entries()


def test_a_pool_is_not_taken_away_under_it() -> None:
    made()
    set_aside()
    pool = {"name": ct.POOL, "state": "absent", "allow": ["delete_data"]}
    refuse(StoragePool(), pool, f"{ct.NAME} in the quarantine")


def test_what_others_have_by_now_is_not_taken_back() -> None:
    mac = "02:00:00:00:0a:01"
    made(networks=[{**ct.LAN, "mac": mac}])
    set_aside()
    other = f"{ct.PREFIX}-b"
    ct.make(name=other, state="stopped", networks=[{**ct.LAN, "mac": mac}])
    refuse(RESTORE, LATEST, f"the MAC {mac} of its card lan is {other}'s by now")


def test_a_removal_to_the_quarantine_survives_every_kill() -> None:
    def begin() -> None:
        ct.clean()
        made(state="started")

    def verify(outcome: t.Any) -> None:
        assert ct.record() == {} and ct.left_behind() == [] and not ct.rootfs().exists()
        (place,) = lying()
        assert (place / "precious").read_text() == "data"
        (entry,) = entries()
        its = json.loads(entry.read_text())["quarantine"]
        assert "begun" not in its and "lxc.rootfs.path" in its["definition"]

    survive_kills(ct.CONTAINER, GONE, begin=begin, verify=verify, moments=2)


def test_a_removal_that_was_killed_leaves_nothing_where_the_guest_stays() -> None:
    def begin() -> None:
        ct.clean()
        made()

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "STOPPED" and (ct.rootfs() / "precious").exists() and not entries()

    from ansible_collections.homelab.hybrid.tests.harness.kill import Child

    begin()
    steps = Child(ct.CONTAINER, GONE).finish()[0]
    number = steps.index("record of the quarantine written") + 1
    begin()
    Child(ct.CONTAINER, GONE, kill_at=number).finish()
    assert entries()
    unchanged(ct.CONTAINER, {"name": ct.NAME})
    verify(None)


def test_a_return_survives_every_kill() -> None:
    def begin() -> None:
        ct.clean()
        made()
        set_aside()

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "STOPPED" and (ct.rootfs() / "precious").read_text() == "data"
        assert not lying() and not entries()

    survive_kills(RESTORE, LATEST, begin=begin, verify=verify, moments=2)
