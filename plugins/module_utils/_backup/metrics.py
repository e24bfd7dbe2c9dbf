# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host knows of its backups as Prometheus reads it, in the text format of its exporters."""

from __future__ import annotations

import typing as t

from .._core.exposition import PREFIX, Labels, Metric, Told, lines
from .._core.units import seconds_or_none
from .words import OK


def _is(result: t.Any) -> float | None:
    return None if result is None else float(result == OK)


_OF_GUESTS = (
    Metric(
        "guest_ok",
        "Whether the guest has a backup, of a job that runs as it should.",
        lambda its: float(its["status"] == OK),
    ),
    Metric("guest_jobs", "How many jobs are of the guest.", lambda its: len(its["jobs"])),
)
_OF_BACKUPS = (
    Metric(
        "last_success_timestamp_seconds",
        "When the last backup of the guest was made.",
        lambda its: seconds_or_none(its["made"]),
    ),
    Metric("processed_bytes", "What the last backup of the guest holds.", lambda its: its["processed"]),
    Metric(
        "added_bytes", "How much of the last backup of the guest was new to its repository.", lambda its: its["added"]
    ),
    Metric("duration_seconds", "How long the last backup of the guest took.", lambda its: its["seconds"]),
)
_OF_DRILLS = (
    Metric("drill_success", "Whether the last drill of the guest came to life.", lambda its: _is(its["result"])),
    Metric(
        "drill_timestamp_seconds", "When the last drill of the guest ended.", lambda its: seconds_or_none(its["ended"])
    ),
    Metric(
        "drill_recovery_seconds",
        "How long the last drill of the guest took until the guest was well.",
        lambda its: its["recovery_seconds"],
    ),
)
_OF_RUNS = (
    Metric("job_success", "Whether the last run of the job went well.", lambda its: _is(its["result"])),
    Metric(
        "job_last_run_timestamp_seconds",
        "When the last run of the job began.",
        lambda its: seconds_or_none(its["began"]),
    ),
    Metric("job_duration_seconds", "How long the last run of the job took.", lambda its: its["seconds"]),
    Metric(
        "job_due_timestamp_seconds",
        "When the job is to run next, or should have run.",
        lambda its: seconds_or_none(its["due"]),
    ),
)
_OF_VERIFICATIONS = (
    Metric(
        "verify_success",
        "Whether the last reading of the repository found what was stored.",
        lambda its: _is((its["verify"] or {}).get("result")),
    ),
    Metric(
        "verify_timestamp_seconds",
        "When the repository was read last.",
        lambda its: seconds_or_none((its["verify"] or {}).get("when")),
    ),
    Metric(
        "verify_due_timestamp_seconds",
        "When the repository is to be read next, or should have been.",
        lambda its: seconds_or_none((its["verify"] or {}).get("due")),
    ),
    Metric(
        "drill_due_timestamp_seconds",
        "When backups of the job are to be tried next, or should have been.",
        lambda its: seconds_or_none((its["drill"] or {}).get("due")),
    ),
)
_OF_REPLICATIONS = (
    Metric(
        "last_success_timestamp_seconds",
        "The moment that the newest copy of the guest on the other host is of.",
        lambda its: seconds_or_none(its["made"]),
    ),
)
_OF_REPLICAS = (
    Metric(
        "timestamp_seconds",
        "The moment that the newest copy of a guest of another host is of.",
        lambda its: seconds_or_none(its["made"]),
    ),
)


def metrics(seen: t.Mapping[str, t.Sequence[Told]], replicas: t.Sequence[Told]) -> str:
    """The text for what ``seen`` tells, and for the *replicas* that lie here, the newest of each guest first."""
    backups, jobs, replications = seen["backups"], seen["backup_jobs"], seen["replications"]
    made = [
        ({"guest": its["guest"], "job": its["backup"]["job"], "repository": its["backup"]["repository"]}, its["backup"])
        for its in backups
        if its["backup"]
    ]
    tried = [({"guest": its["guest"], "job": its["drill"]["job"]}, its["drill"]) for its in backups if its["drill"]]
    newest = {(its["guest"], its["origin"], its["pool"]): its for its in reversed(replicas)}
    found = [
        *lines(
            f"{PREFIX}backup_", _OF_GUESTS, [({"guest": its["guest"], "kind": its["kind"]}, its) for its in backups]
        ),
        *lines(f"{PREFIX}backup_", _OF_BACKUPS, made),
        *lines(f"{PREFIX}backup_", _OF_DRILLS, tried),
        *lines(
            f"{PREFIX}backup_",
            (*_OF_RUNS, *_OF_VERIFICATIONS),
            [({"job": its["name"], "repository": its["repository"]}, its) for its in jobs],
        ),
        *lines(
            f"{PREFIX}replication_",
            _OF_REPLICATIONS,
            [(_told(its, "guest", "job", "target"), its) for its in replications],
        ),
        *lines(
            f"{PREFIX}replication_",
            _OF_RUNS,
            [({"job": its["name"], "target": its["target"]}, its) for its in seen["replication_jobs"]],
        ),
        *lines(
            f"{PREFIX}replica_", _OF_REPLICAS, [(_told(its, "guest", "origin", "pool"), its) for its in newest.values()]
        ),
    ]
    return "".join(f"{line}\n" for line in found)


def _told(its: Told, *keys: str) -> Labels:
    return {key: its[key] for key in keys}
