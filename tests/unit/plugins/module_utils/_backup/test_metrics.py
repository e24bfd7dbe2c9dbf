# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads, judged by the parser of its own client."""

from __future__ import annotations

import typing as t

import pytest
from prometheus_client import parser

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.metrics import metrics

BACKUP = {
    **dict.fromkeys(("id", "age", "consistent")),
    "made": "2026-11-28T02:30:05Z",
    "job": "nightly",
    "repository": "nas",
    "added": 10,
    "processed": 1 << 40,
    "seconds": 2.5,
}
DRILL = {"ended": "2026-11-28T04:00:00Z", "job": "nightly", "result": "ok", "recovery_seconds": 41.5}
WEB = {
    "guest": "web",
    "kind": "vm",
    "jobs": ["nightly"],
    "status": "ok",
    "backup": BACKUP,
    "drill": DRILL,
    "failure": None,
}
BARE = {
    "guest": "bare",
    "kind": "container",
    "jobs": [],
    "status": "none",
    "backup": None,
    "drill": None,
    "failure": None,
}
JOB = {
    "name": "nightly",
    "repository": "nas",
    "result": "failed",
    "began": "2026-11-28T02:30:01Z",
    "seconds": 70.0,
    "due": "2026-11-29T02:30:00Z",
    "verify": {"result": "ok", "when": "2026-11-28T05:00:00Z", "due": "2026-11-29T02:30:00Z"},
    "drill": {"result": None, "began": None, "due": "2026-11-29T02:30:00Z"},
}


REPLICATION = {"guest": "web", "job": "spare", "target": "pve2", "made": "2026-11-28T02:30:05Z"}
REPLICATED = {**dict.fromkeys(("began", "seconds", "due")), "name": "spare", "target": "pve2", "result": "ok"}
REPLICA = {"guest": "mail", "origin": "pve2", "pool": "main", "made": "2026-11-28T02:30:05Z"}


def seen(backups: list[dict[str, t.Any]], jobs: list[dict[str, t.Any]], *copies: dict[str, t.Any]) -> str:
    its = {"backups": backups, "backup_jobs": jobs, "replications": list(copies)}
    return metrics({**its, "replication_jobs": [REPLICATED] if copies else []}, [])


def read(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Each value by its name and its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.type == "gauge" and family.documentation.endswith(".")
        for sample in family.samples:
            found.setdefault(sample.name.removeprefix("homelab_hybrid_").removeprefix("backup_"), {})[
                tuple(sample.labels.values())
            ] = sample.value
    return found


def test_what_a_host_knows_is_read_by_prometheus() -> None:
    found = read(seen([WEB, BARE], [JOB]))
    assert found["guest_ok"] == {("web", "vm"): 1, ("bare", "container"): 0}
    assert found["guest_jobs"] == {("web", "vm"): 1, ("bare", "container"): 0}
    assert found["last_success_timestamp_seconds"] == {("web", "nightly", "nas"): 1795833005}
    assert found["processed_bytes"] == {("web", "nightly", "nas"): 1 << 40}
    assert found["duration_seconds"] == {("web", "nightly", "nas"): 2.5}
    assert (found["job_success"], found["verify_success"]) == ({("nightly", "nas"): 0}, {("nightly", "nas"): 1})
    assert (found["drill_success"], found["drill_recovery_seconds"]) == (
        {("web", "nightly"): 1},
        {("web", "nightly"): 41.5},
    )
    assert found["drill_timestamp_seconds"] == {("web", "nightly"): 1795838400}
    for what in ("job", "verify", "drill"):
        assert found[f"{what}_due_timestamp_seconds"] == {("nightly", "nas"): 1795919400}


@pytest.mark.parametrize(
    "jobs", [[], [{**JOB, **dict.fromkeys(("result", "began", "seconds", "due", "verify", "drill"))}]]
)
def test_what_is_not_known_is_not_measured(jobs: list[dict[str, t.Any]]) -> None:
    assert set(read(seen([BARE], jobs))) == {"guest_ok", "guest_jobs"}


def test_a_name_of_any_letters_is_read_as_it_is() -> None:
    assert list(read(seen([{**BARE, "guest": 'a "b" \\ c'}], []))["guest_ok"]) == [('a "b" \\ c', "container")]


def test_a_host_without_guests_and_jobs_measures_nothing() -> None:
    assert seen([], []) == ""


def test_the_age_of_copies_is_measured_on_both_hosts() -> None:
    found = read(seen([], [], REPLICATION, {**REPLICATION, "guest": "new", "made": None}))
    assert found["replication_last_success_timestamp_seconds"] == {("web", "spare", "pve2"): 1795833005}
    assert found["replication_job_success"] == {("spare", "pve2"): 1}
    older = {**REPLICA, "made": "2026-11-27T02:30:05Z"}
    none: dict[str, t.Any] = {key: [] for key in ("backups", "backup_jobs", "replications", "replication_jobs")}
    assert read(metrics(none, [REPLICA, older])) == {
        "replica_timestamp_seconds": {("mail", "pve2", "main"): 1795833005}
    }
