# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import seen
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.units import seconds_of
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd says when a job is due")
NOW = seconds_of("2026-11-28T12:00:00Z")
GOOD = {
    "guest": "web",
    "result": "ok",
    "when": "2026-11-28T02:30:05Z",
    "repository": "disk",
    "backup": "12345678",
    "consistent": "crash",
    "added": 10,
    "processed": 1000,
    "seconds": 2.5,
}
BAD = {"guest": "web", "result": "failed", "when": "2026-11-28T02:30:05Z", "repository": "disk", "error": "no room"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with the container web and one job, *nightly*, of all guests."""
    monkeypatch.setenv("TZ", "UTC")
    for name in ("STATE", "BACKUP", "REPORT", "DRILL_REPORTS"):
        monkeypatch.setattr(paths, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(paths, "BACKUP_CONFIG", str(tmp_path / "jobs.json"))
    monkeypatch.setattr(seen, "timer_of", lambda job, *dummy: str(tmp_path / f"{job}.timer"))
    monkeypatch.setattr(Host, "guest_records", {"web": Record("guests", "web", {"schema": 1, "kind": "container"})})
    monkeypatch.setattr(Host, "containers", {"web": None})
    monkeypatch.setattr(Host, "domains", {})
    jobs({"nightly": {"repository": "disk", "schedule": "*-*-* 02:30"}})
    timer = tmp_path / "nightly.timer"
    timer.touch()
    os.utime(timer, (NOW - 30 * 86400,) * 2)
    return Host()


def jobs(declared: t.Mapping[str, t.Any]) -> None:
    Path(paths.BACKUP_CONFIG).write_text(
        json.dumps({"schema": 1, "repositories": {}, "jobs": declared}), encoding="utf-8"
    )


def report(*entries: dict[str, t.Any], began: str = "2026-11-28T02:30:01Z", **more: t.Any) -> None:
    result = "failed" if more or any(its["result"] == "failed" for its in entries) else "ok"
    last = {its["guest"]: {its["result"]: its} for its in entries}
    told = {
        "job": "nightly",
        "repository": "disk",
        "began": began,
        "result": result,
        "guests": entries,
        "last": last,
        **more,
    }
    Path(paths.REPORT).mkdir(exist_ok=True)
    Path(paths.backup_report("nightly")).write_text(json.dumps(told), encoding="utf-8")


def web(host: Host) -> dict[str, t.Any]:
    (its,) = seen.read_backups(host, NOW)["backups"]
    return its


def nightly(host: Host) -> dict[str, t.Any]:
    (its,) = seen.read_backups(host, NOW)["backup_jobs"]
    return its


def test_the_last_backup_is_told_with_its_age(host: Host) -> None:
    report(GOOD)
    assert web(host) == {
        "guest": "web",
        "kind": "container",
        "jobs": ["nightly"],
        "status": "ok",
        "failure": None,
        "drill": None,
        "backup": {
            "id": "12345678",
            "made": "2026-11-28T02:30:05Z",
            "age": 34195,
            "job": "nightly",
            "repository": "disk",
            "consistent": "crash",
            "added": 10,
            "processed": 1000,
            "seconds": 2.5,
        },
    }
    assert (nightly(host)["due"], nightly(host)["overdue"]) == ("2026-11-29T02:30:00Z", False)


def test_the_last_drill_is_told_of_its_guest_alone(host: Host) -> None:
    report(GOOD)
    drilled = {"guest": "web", "result": "ok", "ended": "2026-11-28T03:00:00Z", "recovery_seconds": 4.2, "checks": []}
    file = Path(paths.drill_report("nightly"))
    file.parent.mkdir()
    file.write_text(json.dumps({"guests": [drilled, {**drilled, "guest": "db", "result": "failed"}]}), encoding="utf-8")
    its = web(host)["drill"]
    assert (its["job"], its["result"], its["recovery_seconds"], its["error"]) == ("nightly", "ok", 4.2, None)
    file.write_text("broken", encoding="utf-8")
    assert web(host)["drill"] is None


def test_a_failure_is_told_beside_the_backup_before_it(host: Host) -> None:
    report(BAD)
    told = json.loads(Path(paths.backup_report("nightly")).read_text(encoding="utf-8"))
    told["last"]["web"]["ok"] = {**GOOD, "when": "2026-11-27T02:30:05Z"}
    Path(paths.backup_report("nightly")).write_text(json.dumps(told), encoding="utf-8")
    assert web(host)["status"] == "failed"
    assert web(host)["failure"] == {"when": "2026-11-28T02:30:05Z", "job": "nightly", "error": "no room"}
    assert web(host)["backup"]["made"] == "2026-11-27T02:30:05Z"


def test_a_job_that_came_to_no_guest_failed_for_each(host: Host) -> None:
    report(error="the repository is away")
    assert web(host)["failure"]["error"] == "the repository is away"
    assert (web(host)["status"], nightly(host)["error"]) == ("failed", "the repository is away")


@pytest.mark.parametrize(
    ("now", "status"),
    [("2026-11-28T03:29:00Z", "ok"), ("2026-11-28T03:31:00Z", "overdue"), ("2026-12-24T00:00:00Z", "overdue")],
)
def test_a_job_that_did_not_run_when_it_should_have_is_overdue(host: Host, now: str, status: str) -> None:
    report({**GOOD, "when": "2026-11-27T02:30:05Z"}, began="2026-11-27T02:30:01Z")
    found = seen.read_backups(host, seconds_of(now))
    assert found["backups"][0]["status"] == status
    assert found["backup_jobs"][0]["overdue"] is (status == "overdue")


def test_a_job_that_was_just_written_is_awaited(host: Host, tmp_path: Path) -> None:
    os.utime(tmp_path / "nightly.timer", (NOW, NOW))
    assert (web(host)["status"], web(host)["backup"]) == ("waits", None)
    os.utime(tmp_path / "nightly.timer", (NOW - 2 * 86400,) * 2)
    assert web(host)["status"] == "overdue"


@pytest.mark.parametrize(("entry", "status"), [(None, "none"), (GOOD, "no longer"), (BAD, "none")])
def test_a_guest_of_no_job_says_so(host: Host, entry: dict[str, t.Any] | None, status: str) -> None:
    report(*([entry] if entry else []))
    jobs({"nightly": {"repository": "disk", "schedule": "daily", "guests": ["mail"]}})
    assert (web(host)["status"], web(host)["jobs"]) == (status, [])


def test_a_host_without_jobs_has_none(host: Host) -> None:
    Path(paths.BACKUP_CONFIG).unlink()
    found = seen.read_backups(host, NOW)
    assert (found["backup_jobs"], found["backups"][0]["status"]) == ([], "none")


def test_a_reading_of_the_repository_is_told(host: Host) -> None:
    report(GOOD)
    verify = {
        "when": "2026-11-28T05:00:00Z",
        "repository": "disk",
        "percent": 5,
        "result": "failed",
        "error": "pack 1234",
    }
    Path(paths.verify_report("nightly")).write_text(json.dumps(verify), encoding="utf-8")
    assert nightly(host)["verify"] == {**verify, "due": None, "overdue": False}


@pytest.mark.parametrize(
    ("began", "now", "due", "is_overdue"),
    [
        (None, "2026-11-01T00:00:00Z", "2026-11-01T05:00:00Z", False),
        (None, "2026-11-01T06:01:00Z", "2026-11-01T05:00:00Z", True),
        ("2026-11-22T05:00:01Z", "2026-11-28T12:00:00Z", "2026-11-29T05:00:00Z", False),
        ("2026-11-15T05:00:01Z", "2026-11-28T12:00:00Z", "2026-11-22T05:00:00Z", True),
    ],
)
def test_a_reading_and_a_drill_that_did_not_take_place_are_overdue(
    host: Host, began: str | None, now: str, due: str, is_overdue: bool
) -> None:
    weekly = {"verify.schedule": "Sun 05:00", "drill.schedule": "Sun 05:00"}
    jobs({"nightly": {"repository": "disk", "schedule": "*-*-* 02:30", "notify": ["phone"], **weekly}})
    if began is not None:
        for path, key in ((paths.verify_report("nightly"), "when"), (paths.drill_report("nightly"), "began")):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(json.dumps({key: began, "result": "ok"}), encoding="utf-8")
    (its,) = seen.read_backups(host, seconds_of(now))["backup_jobs"]
    assert its["notify"] == ["phone"]
    for key in ("verify", "drill"):
        assert (its[key]["due"], its[key]["overdue"]) == (due, is_overdue), key
    assert (its["verify"]["when"], its["drill"]["began"]) == (began, began)


def test_a_job_without_them_has_neither(host: Host) -> None:
    assert (nightly(host)["verify"], nightly(host)["drill"]) == (None, None)


REPLICATED = {"guest": "web", "result": "ok", "when": "2026-11-28T02:00:01Z", "made": "2026-11-28T02:00:00Z"}
LOST = {"guest": "web", "result": "failed", "when": "2026-11-28T03:00:01Z", "error": "it broke off"}


@pytest.mark.parametrize(
    ("entries", "more", "now", "status", "age"),
    [
        ([], {}, "2026-11-28T02:10:00Z", "waits", None),
        ([REPLICATED], {}, "2026-11-28T02:10:00Z", "ok", 600),
        ([REPLICATED, LOST], {}, "2026-11-28T03:10:00Z", "failed", 4200),
        ([REPLICATED], {"error": "pve2 is away"}, "2026-11-28T03:10:00Z", "failed", 4200),
        ([REPLICATED], {}, "2026-11-28T04:10:00Z", "overdue", 7800),
    ],
)
def test_the_age_of_the_copy_on_another_host_is_told(
    host: Host,
    tmp_path: Path,
    entries: list[dict[str, t.Any]],
    more: dict[str, t.Any],
    now: str,
    status: str,
    age: int | None,
) -> None:
    job = {"host": "pve2", "pool": "main", "schedule": "hourly"}
    declared = {
        "schema": 1,
        "repositories": {},
        "jobs": {},
        "replications": {"spare": job, "other": {**job, "guests": ["mail"]}},
    }
    Path(paths.BACKUP_CONFIG).write_text(json.dumps(declared), encoding="utf-8")
    for name in ("spare", "other"):
        (tmp_path / f"{name}.timer").touch()
        os.utime(tmp_path / f"{name}.timer", (seconds_of("2026-11-28T02:00:00Z"),) * 2)
    if entries:
        last = {"web": {its["result"]: its for its in entries}}
        told = {"began": "2026-11-28T02:00:00Z", "result": "ok", "guests": entries, "last": last}
        if more:
            told |= {"began": "2026-11-28T03:00:00Z", "guests": [], **more}
        Path(paths.replication_report("spare")).parent.mkdir(parents=True)
        Path(paths.replication_report("spare")).write_text(json.dumps(told), encoding="utf-8")
    found = seen.read_backups(host, seconds_of(now))
    (its,) = found["replications"]
    assert (its["guest"], its["job"], its["target"], its["status"], its["age"]) == ("web", "spare", "pve2", status, age)
    assert its["error"] == (more.get("error") or "it broke off" if status == "failed" else None)
    assert {its["name"]: its["overdue"] for its in found["replication_jobs"]}["spare"] is (status == "overdue")
