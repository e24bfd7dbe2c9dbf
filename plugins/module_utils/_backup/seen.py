# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a host knows of its backups by files of its own: no repository is asked, which may be slow, or away. Only reads."""

from __future__ import annotations

import os
import re
import time
import typing as t

from .._core import atomic, command, paths
from .._core.errors import HybridError
from .._core.paths import BACKUP_UNIT, DRILL_UNIT, REPLICATION_UNIT, VERIFY_UNIT
from .._core.units import age_of, seconds_or_none, show_moment
from .._guest.options import TAGS
from .._guest.record import GuestRecord
from .._host.snapshot import Host
from .config import Job, Replication, load
from .guests import guests_there
from .history import Told, loaded
from .schedule.units import timer_of
from .words import FAILED, NO_LONGER, NONE, OK, OVERDUE, WAITS

# A timer waits for up to a minute, a host for its network, and a job for another one that has the repository.
_LATE_SECONDS = 3600.0
_OF_DRILL = ("ended", "job", "backup", "made", "result", "recovery_seconds", "error")
_ELAPSES = re.compile(r"^\s*(?:Next elapse|\(in UTC\)): \S+ (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$", re.MULTILINE)


def read_backups(host: Host, now: float | None = None) -> dict[str, list[Told]]:
    """The ``backups`` of each guest of the host that this collection knows, and the ``backup_jobs``; and what ``read_replications`` reads.

    :raises ObserveError: when the file of the jobs cannot be read.
    """
    moment = time.time() if now is None else now
    declared = load(atomic.read_text(paths.BACKUP_CONFIG))
    jobs = declared.backups
    reports = {
        path.removesuffix(".json"): loaded(atomic.read_text(f"{paths.REPORT}/{path}")) for path in _report_files()
    }
    told = {name: _job(job, reports.get(name, {}), moment) for name, job in jobs.items()}
    guests = guests_there(host)
    return {
        "backups": [
            _guest(
                name,
                its.kind,
                {job: it for job, it in jobs.items() if it.wants(name, its.value(TAGS))},
                reports,
                told,
                moment,
            )
            for name, its in guests.items()
        ],
        "backup_jobs": [told[name] for name in sorted(told)],
        **_replications(declared.replications, guests, moment),
    }


def _replications(
    jobs: t.Mapping[str, Replication], guests: t.Mapping[str, GuestRecord], now: float
) -> dict[str, list[Told]]:
    """The ``replications`` of guests of the host to others by each job that is of them, and the ``replication_jobs``."""
    found: list[Told] = []
    told: list[Told] = []
    for name, job in sorted(jobs.items()):
        report = loaded(atomic.read_text(paths.replication_report(name)))
        ran = _ran(name, REPLICATION_UNIT, job.schedule, report, now)
        told.append({"name": name, "target": job.host, "pool": job.pool, **ran})
        for guest, its in guests.items():
            if job.wants(guest, its.value(TAGS)):
                found.append(_replication(guest, name, job, report, now, is_overdue=ran["overdue"]))
    return {"replications": found, "replication_jobs": told}


def _replication(guest: str, name: str, job: Replication, report: Told, now: float, *, is_overdue: bool) -> Told:
    results = (report.get("last") or {}).get(guest) or {}
    went, failed = results.get(OK) or {}, _failure(guest, report, results.get(FAILED)) or {}
    made = seconds_or_none(went.get("made"))
    is_failed = str(failed.get("when", "")) > str(went.get("when", ""))
    return {
        "job": name,
        "guest": guest,
        "target": job.host,
        "pool": job.pool,
        "status": FAILED if is_failed else OVERDUE if is_overdue else WAITS if made is None else OK,
        "made": went.get("made"),
        "age": None if made is None else age_of(made, now),
        "error": failed.get("error") if is_failed else None,
    }


def _failure(guest: str, report: Told, last: Told | None) -> Told | None:
    """How *guest* failed last in the job of *report*. Where that came not as far as its guests, each of them did."""
    if not report.get("error") or any(its.get("guest") == guest for its in report.get("guests") or ()):
        return last
    whole = {"when": report["began"], "error": report["error"]}
    return max((last, whole), key=lambda its: str((its or {}).get("when", "")))


def _report_files() -> list[str]:
    """The reports of jobs. No job has a dot in its name, so what else lies there is no report of one."""
    try:
        names = os.listdir(paths.REPORT)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.endswith(".json") and name.count(".") == 1)


def _job(job: Job, report: Told, now: float) -> Told:
    verified = loaded(atomic.read_text(paths.verify_report(job.name)))
    verify = {"when": None, **verified, **_due(job.name, VERIFY_UNIT, job.verify_schedule, verified.get("when"), now)}
    drilled = loaded(atomic.read_text(paths.drill_report(job.name)))
    drill = {
        **{key: drilled.get(key) for key in ("began", "ended", "result")},
        **_due(job.name, DRILL_UNIT, job.drill_schedule, drilled.get("began"), now),
    }
    return {
        "name": job.name,
        "repository": job.repository,
        "notify": list(job.notify),
        **_ran(job.name, BACKUP_UNIT, job.schedule, report, now),
        "verify": verify if verified or job.verify_schedule else None,
        "drill": drill if drilled or job.drill_schedule else None,
    }


def _ran(job: str, unit: str, schedule: str, report: Told, now: float) -> Told:
    """How the last run of a job went, by its *report*, and when it is to run."""
    return {
        "schedule": schedule,
        "result": report.get("result"),
        "began": report.get("began"),
        "ended": report.get("ended"),
        "seconds": report.get("seconds"),
        "error": report.get("error"),
        "failed": {its["guest"]: its["error"] for its in report.get("guests") or () if its.get("result") == FAILED},
        **_due(job, unit, schedule, report.get("began"), now),
    }


def _due(job: str, unit: str, schedule: str | None, began: t.Any, now: float) -> Told:
    """When *unit* is to run for *job*, which it did last at *began*, and whether that should have been long since."""
    timer = timer_of(job, unit)
    due = _next(schedule, max(seconds_or_none(began) or 0.0, _written(timer))) if schedule else None
    is_overdue = due is not None and due + _LATE_SECONDS < now and not _runs(f"{unit}@{job}.service")
    return {"due": None if due is None else show_moment(due), "overdue": is_overdue}


def _guest(
    name: str,
    kind: str,
    jobs: t.Mapping[str, Job],
    reports: t.Mapping[str, Told],
    told: t.Mapping[str, Told],
    now: float,
) -> Told:
    entries = {job: (report.get("last") or {}).get(name) or {} for job, report in reports.items()}
    backup = _newest({job: its[OK] for job, its in entries.items() if OK in its})
    failures = {job: its.get(FAILED) for job, its in entries.items()}
    failures |= {job: _failure(name, reports.get(job, {}), failures.get(job)) for job in jobs}
    failure = _newest({job: its for job, its in failures.items() if its})
    return {
        "guest": name,
        "kind": kind,
        "jobs": sorted(jobs),
        "status": _status(backup, failure, {job: told[job] for job in jobs}),
        "backup": backup and _shown_backup(backup, now),
        "failure": failure and {key: failure.get(key) for key in ("when", "job", "error")},
        "drill": _drill(name, {*reports, *told}),
    }


def _drill(guest: str, jobs: t.Iterable[str]) -> Told | None:
    """How the last drill of *guest* went; ``None`` where there was none."""
    found = [
        {"job": job, **its}
        for job in jobs
        for its in loaded(atomic.read_text(paths.drill_report(job))).get("guests") or ()
        if its.get("guest") == guest
    ]
    last = max(found, key=lambda its: str(its.get("ended", "")), default=None)
    return last and {key: last.get(key) for key in _OF_DRILL}


def _newest(entries: t.Mapping[str, Told]) -> Told | None:
    whole = [{"job": job, **its} for job, its in entries.items()]
    return max(whole, key=lambda its: str(its.get("when", "")), default=None)


def _shown_backup(its: Told, now: float) -> Told:
    made = seconds_or_none(its.get("when"))
    return {
        "id": its.get("backup"),
        "made": its.get("when"),
        "age": None if made is None else age_of(made, now),
        **{key: its.get(key) for key in ("job", "repository", "consistent", "added", "processed", "seconds")},
    }


def _status(backup: Told | None, failure: Told | None, jobs: t.Mapping[str, Told]) -> str:
    """In one word, of *jobs* that the guest is of today: what failed of another one is over."""
    is_failed = failure is not None and failure["job"] in jobs
    if is_failed and (backup is None or str(t.cast(Told, failure).get("when")) > str(backup.get("when"))):
        return FAILED
    if any(its["overdue"] for its in jobs.values()):
        return OVERDUE
    if backup is None:
        return WAITS if jobs else NONE
    return OK if jobs else NO_LONGER


def _written(timer: str) -> float:
    """When the timer was written, in seconds since 1970: a time before that is none that it missed."""
    try:
        return os.stat(timer).st_mtime
    except FileNotFoundError:
        return 0.0


def _next(schedule: str, after: float) -> float | None:
    """The first moment of *schedule* after that one; ``None`` where there is none, or nobody who could say."""
    base = show_moment(after).replace("T", " ").replace("Z", " UTC")
    try:
        told = command.run(["systemd-analyze", "calendar", f"--base-time={base}", "--", schedule])
    except HybridError:
        return None
    found = _ELAPSES.search(told)
    return None if found is None else seconds_or_none(f"{found[1]}T{found[2]}Z")


def _runs(service: str) -> bool:
    told = command.run(["systemctl", "show", "--property=ActiveState", "--", service], check=False)
    return "ActiveState=activating" in told.splitlines()
