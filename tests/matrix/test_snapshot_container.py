# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of containers on btrfs and on a plain folder, running and stopped. Proven with btrfs, the files, and LXC itself."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import Child, survive_kills

SNAPSHOT = GuestSnapshot()
BEFORE: dict[str, t.Any] = {"guest": ct.NAME, "name": "before"}
REVERT: dict[str, t.Any] = {
    **BEFORE,
    "state": "reverted",
    "allow": ["revert"],
    "shutdown_timeout": 5,
    "force_stop": True,
}
PATHS_OF_REVERT = ["state", "volumes[rootfs]", "snapshots[before-revert-1]"]

pytestmark = pytest.mark.usefixtures("no_container")


pool = ct.pools("snapshots.img")


@pytest.fixture(autouse=True)
def _pool(pool: str) -> None:
    """Every test is of both types."""


def note(text: str) -> None:
    (ct.rootfs() / "etc").mkdir(exist_ok=True)
    (ct.rootfs() / "etc" / "note").write_text(text, encoding="utf-8")


def noted(place: Path | None = None) -> str:
    return ((place or ct.rootfs()) / "etc" / "note").read_text(encoding="utf-8")


def kept(name: str = "before") -> Path:
    return ct.FOLDER / "pool" / f"{ct.NAME}.rootfs@{name}"


def volumes() -> list[str]:
    return sorted(path.name for path in (ct.FOLDER / "pool").iterdir() if not path.name.startswith("image+"))


def stood(params: dict[str, t.Any]) -> Outcome:
    outcome = converge_now(SNAPSHOT, params)
    assert outcome.error is None, outcome.error
    return outcome


@pytest.mark.parametrize(
    ("power", "unprivileged"),
    [("started", True), ("stopped", True), ("stopped", False)],
    ids=["started-unprivileged", "stopped-unprivileged", "stopped-privileged"],
)
def test_a_snapshot_keeps_what_is_there_and_a_revert_brings_it_back(pool: str, power: str, unprivileged: bool) -> None:
    ct.make(state=power, unprivileged=unprivileged)
    note("old")
    owner = (ct.rootfs() / "bin" / "busybox").stat()
    if power == "started":
        refuse(SNAPSHOT, {**BEFORE, "memory": True}, "is a container, whose programs are the host's own")
    outcome = check_run_again(SNAPSHOT, BEFORE, ["state", "volumes[rootfs]"])
    assert ("shares its blocks" if pool == "btrfs" else "a copy of at most") in str(outcome.plan.changes[1].after)
    assert outcome.facts["snapshot"]["consistency"] == ("clean" if power == "stopped" else "crash")
    assert ct.state() == ("STOPPED" if power == "stopped" else "RUNNING")
    note("new")
    assert (noted(kept()), noted()) == ("old", "new")
    assert "min" in refuse(SNAPSHOT, {**REVERT, "allow": []}, "allow: [revert]")
    pid = ct.pid() if power == "started" else 0
    check_run_again(SNAPSHOT, REVERT, PATHS_OF_REVERT)
    assert (noted(), noted(kept("before-revert-1"))) == ("old", "new")
    assert ct.state() == ("STOPPED" if power == "stopped" else "RUNNING")
    assert power == "stopped" or ct.pid() != pid
    again = (ct.rootfs() / "bin" / "busybox").stat()
    assert (again.st_uid, again.st_mode) == (owner.st_uid, owner.st_mode)
    unchanged(ct.CONTAINER, {**ct.BASE, "state": power, "unprivileged": unprivileged})
    assert volumes() == [f"{ct.NAME}.rootfs{end}" for end in ("", "@before", "@before-revert-1")]
    if power == "stopped":
        ct.run("lxc-start", "-n", ct.NAME)
    assert ct.inside("cat", "/etc/note") == "old"


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_a_snapshot_has_the_subvolumes_in_the_root_and_a_revert_brings_them_back() -> None:
    ct.make(state="stopped", rootfs={"pool": ct.POOL, "size": "100M"})
    inner = ct.rootfs() / "srv" / "inner"
    inner.parent.mkdir(exist_ok=True)
    ct.run("btrfs", "subvolume", "create", str(inner))
    (inner / "file").write_text("old", encoding="utf-8")
    check_run_again(SNAPSHOT, BEFORE)
    (inner / "file").write_text("new", encoding="utf-8")
    check_run_again(SNAPSHOT, REVERT, PATHS_OF_REVERT)
    names = {
        line.split(" path ")[1] for line in ct.run("btrfs", "subvolume", "list", str(ct.FOLDER / "pool")).splitlines()
    }
    roots = [f"{ct.NAME}.rootfs{end}" for end in ("", "@before", "@before-revert-1")]
    assert {*roots, *(f"{root}/srv/inner" for root in roots)} <= names
    for root, text in zip(roots, ("old", "old", "new"), strict=True):
        place = ct.FOLDER / "pool" / root
        assert (place / "srv/inner/file").read_text(encoding="utf-8") == text
        is_kept = "@" in root
        for folder in (place, place / "srv/inner"):
            assert ct.run("btrfs", "property", "get", "-ts", str(folder), "ro").strip() == f"ro={str(is_kept).lower()}"
    assert told_of_guest()["disks"][0]["size"] == "100MiB"
    for name in ("before", "before-revert-1"):
        check_run_again(SNAPSHOT, {**BEFORE, "name": name, "state": "absent"}, ["state"])
    assert volumes() == [f"{ct.NAME}.rootfs"]


def test_snapshots_outlive_their_guest_and_go_by_name(pool: str) -> None:
    ct.make(state="stopped")
    for name in ("one", "two", "three"):
        stood({**BEFORE, "name": name})
    assert [its["name"] for its in told_of_guest()["snapshots"]] == ["one", "two", "three"]
    outcome = check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, ["state", "rootfs"]
    )
    assert sorted(outcome.plan.kept) == sorted(str(kept(name)) for name in ("one", "two", "three"))
    check_run_again(SNAPSHOT, {**BEFORE, "name": "two", "state": "absent"}, ["state"])
    unchanged(SNAPSHOT, {**BEFORE, "name": "never", "state": "absent"})
    assert volumes() == [f"{ct.NAME}.rootfs@{name}" for name in ("one", "three")]
    wanted = {"name": ct.NAME, "state": "absent", "delete": ["snapshots"]}
    check_run_again(ct.CONTAINER, wanted, ["snapshots[one]", "snapshots[three]"])
    assert volumes() == [] and ct.record() == {}


def test_the_last_snapshot_of_a_guest_that_is_gone_takes_its_record_along() -> None:
    ct.make(state="stopped")
    stood(BEFORE)
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]})
    assert ct.record()["snapshots"].keys() == {"before"}
    check_run_again(SNAPSHOT, {**BEFORE, "state": "absent"}, ["state"])
    assert ct.record() == {}


def test_a_series_keeps_the_newest_and_nothing_else_is_deleted(pool: str) -> None:
    ct.make(state="stopped")
    for name in ("nightly-1", "nightly-2", "other-1", "nightly"):
        stood({**BEFORE, "name": name})
    check_run_again(
        SNAPSHOT, {**BEFORE, "name": "nightly-3", "keep": 2}, ["state", "volumes[rootfs]", "snapshots[nightly-1]"]
    )
    assert volumes() == [f"{ct.NAME}.rootfs{end}" for end in ("", "@nightly", "@nightly-2", "@nightly-3", "@other-1")]
    check_run_again(SNAPSHOT, {**BEFORE, "name": "nightly-3", "keep": 1}, ["snapshots[nightly-2]"])


def test_what_somebody_else_keeps_under_the_name_is_left_alone() -> None:
    ct.make(state="stopped")
    for name in ("before", "before-revert-1"):
        kept(name).mkdir()
        (kept(name) / "theirs").touch()
    refuse(SNAPSHOT, BEFORE, "no record says what it is")
    stood({**BEFORE, "name": "other"})
    check_run_again(SNAPSHOT, {**REVERT, "name": "other"}, ["state", "volumes[rootfs]", "snapshots[before-revert-2]"])
    assert (kept("before") / "theirs").exists() and (kept("before-revert-1") / "theirs").exists()


def test_what_cannot_be_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    missing = converge_now(SNAPSHOT, BEFORE)
    assert missing.error is not None and "there is no guest" in missing.error.message
    ct.make(state="stopped")
    refuse(SNAPSHOT, REVERT, "has no snapshot before. It has: none")
    stood(BEFORE)
    ct.run("sed", "-i", f"s#^lxc.rootfs.path.*#lxc.rootfs.path = dir:{tmp_path}#", str(ct.LXC / ct.NAME / "config"))
    refuse(SNAPSHOT, {**BEFORE, "name": "other"}, "not the volume")
    refuse(SNAPSHOT, REVERT, "not the volume")


def test_a_snapshot_of_an_earlier_container_with_other_ids_is_not_brought_back() -> None:
    ct.make(state="stopped")
    stood(BEFORE)
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]})
    ct.make(state="stopped", unprivileged=False)
    refuse(SNAPSHOT, REVERT, "owners of other ids")


@pytest.mark.parametrize("pool", ["dir"], indirect=True)
def test_making_one_survives_every_kill() -> None:
    def begin() -> None:
        ct.clean()
        # It is held while it is copied.
        ct.make(state="started")
        note("old")

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "RUNNING"
        assert noted(kept()) == "old"
        assert volumes() == [f"{ct.NAME}.rootfs", f"{ct.NAME}.rootfs@before"]

    survive_kills(SNAPSHOT, BEFORE, begin=begin, verify=verify, moments=0)


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_deleting_one_survives_every_kill() -> None:
    def begin() -> None:
        ct.clean()
        ct.make(state="stopped")
        stood(BEFORE)

    survive_kills(
        SNAPSHOT,
        {**BEFORE, "state": "absent"},
        begin=begin,
        verify=lambda dummy: unchanged(SNAPSHOT, {**BEFORE, "state": "absent"}),
        moments=0,
    )
    assert volumes() == [f"{ct.NAME}.rootfs"]


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_a_revert_that_is_killed_anywhere_is_finished_by_the_next_run() -> None:
    """What was there before is never lost, and a container that ran runs again."""

    def begin() -> None:
        ct.clean()
        ct.make(state="started")
        note("old")
        stood(BEFORE)
        note("new")

    begin()
    steps, result = Child(SNAPSHOT, REVERT).finish()
    assert result is not None and "msg" not in result, result
    # What is between two of these is done anew like what is before.
    for step in ("record written", "powered down", "rootfs set aside", "rootfs in place", "record complete"):
        number = steps.index(step) + 1
        begin()
        done, killed = Child(SNAPSHOT, REVERT, kill_at=number).finish()
        assert killed is None
        when = f"killed after {done[-1]}"
        is_recorded = "record complete" in done
        stood(REVERT)
        assert noted() == "old", when
        assert noted(kept("before-revert-1")) == "new", when
        ends = ["", "@before", "@before-revert-1", *(["@before-revert-2"] if is_recorded else [])]
        assert volumes() == [f"{ct.NAME}.rootfs{end}" for end in ends], when
        assert ct.state() == "RUNNING", when
        assert "reverting" not in ct.record() and "due_power" not in ct.record(), when


def test_a_revert_that_was_interrupted_is_named_by_who_meets_it() -> None:
    ct.make(state="stopped")
    stood(BEFORE)
    steps = Child(SNAPSHOT, REVERT).finish()[0]
    Child(SNAPSHOT, REVERT, kill_at=steps.index("rootfs set aside") + 1).finish()
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, "a revert of")
    refuse(SNAPSHOT, {**BEFORE, "name": "other"}, "was interrupted")
    stood(REVERT)
    stood({**BEFORE, "name": "other"})


def told_of_guest() -> dict[str, t.Any]:
    guests: list[dict[str, t.Any]] = read_guests({"name": [ct.NAME]}, Host())["guests"]
    return guests[0]
