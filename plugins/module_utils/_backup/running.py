# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""One run of a job: each of its guests by itself, then what is not kept any more; how it went is told in a file."""

from __future__ import annotations

import contextlib
import json
import platform
import time
import typing as t

from .._core import atomic, paths
from .._core.errors import HybridError
from .._core.units import show_moment
from .._host.snapshot import Host
from .config import Job
from .guests import guests_of
from .history import Told, loaded, remembered
from .repository import Repository
from .retention import unkept
from .stored import Stored, short
from .taking import take
from .words import FAILED, OK

Say = t.Callable[[str], None]


def run(job: Job, host: Host, say: Say) -> bool:
    """Run *job*. Answers whether all went well; the report says what did not."""
    with reporting(paths.backup_report(job.name), say, job=job.name, repository=job.repository) as report:
        report["forgotten"] = []
        repository = Repository(job.repository, is_append_only=job.is_append_only)
        was_made = repository.make()
        if was_made:
            say(f"the backup repository {job.repository} was made")
        for guest in guests_of(job, host):
            report["guests"].append(_run_one(guest, job, host, say))
        # To look for what is not kept opens the repository once more.
        if not was_made:
            report["forgotten"] = [its.id for its in forget(job, repository, guests_of(job, host), say)]
    return bool(report["result"] == OK)


@contextlib.contextmanager
def reporting(path: str, say: Say, **told: str) -> t.Iterator[Told]:
    """The report of a run, which is at *path* afterwards, with how each of its ``guests`` went and what it remembers of earlier runs."""
    began = time.time()
    report: Told = {**told, "began": show_moment(began), "guests": []}
    try:
        yield report
    except HybridError as exc:
        report["error"] = exc.message
        say(f"<3>{exc.message}")
    is_whole = "error" not in report and all(its["result"] == OK for its in report["guests"])
    report |= {
        "ended": show_moment(time.time()),
        "seconds": round(time.time() - began, 1),
        "result": OK if is_whole else FAILED,
        "last": remembered(loaded(atomic.read_text(path)), report["guests"]),
    }
    write_report(path, report)


@contextlib.contextmanager
def reporting_guest(guest: str, say: Say) -> t.Iterator[Told]:
    """What the report says of *guest*, which may fail without the others."""
    began = time.monotonic()
    told: Told = {"guest": guest, "result": OK, "when": show_moment(time.time())}
    try:
        yield told
    except HybridError as exc:
        told |= {"result": FAILED, "error": exc.message}
        say(f"<3>{guest}: {exc.message}")
    told["seconds"] = round(time.monotonic() - began, 1)


def verify(job: Job, percent: int | None, say: Say) -> bool:
    """Read a share of what the repository of *job* holds. Answers whether it is what was stored; the report says what is not."""
    began, share = time.time(), percent or job.verify_percent
    report: Told = {"when": show_moment(began), "repository": job.repository, "percent": share, "result": OK}
    try:
        Repository(job.repository).check(share)
        say(
            f"{job.repository}: all that is listed is there, and the {share}% of the data that were read are what was stored"
        )
    except HybridError as exc:
        report |= {"result": FAILED, "error": exc.message}
        say(f"<3>{exc.message}")
    write_report(paths.verify_report(job.name), {**report, "seconds": round(time.time() - began, 1)})
    return "error" not in report


def write_report(path: str, report: Told) -> None:
    """Put the report at *path*, for root alone."""
    atomic.write_file(path, json.dumps(report, indent=1) + "\n", mode=0o600)


def _run_one(guest: str, job: Job, host: Host, say: Say) -> Told:
    with reporting_guest(guest, say) as told:
        told["repository"] = job.repository
        its = take(guest, job, host)
        told |= {
            "backup": short(its.added.id),
            "consistent": its.consistent,
            "added": its.added.added,
            "processed": its.added.processed,
            "warnings": list(its.warnings),
        }
        say(f"{guest}: {its.added.added} of {its.added.processed} bytes are new ({its.consistent})")
    return told


def forget(
    job: Job, repository: Repository, guests: t.Collection[str], say: Say, *, tries_only: bool = False
) -> list[Stored]:
    """Let go of the backups of *guests* that *job* made on this host and does not keep; with *tries_only* say which they are.

    :raises RepositoryError:
    """
    if job.is_append_only:
        return []
    gone = unkept(repository.list(), job, guests, platform.node(), time.time())
    for its in gone:
        say(f"{its.guest}: the backup {its} is not kept any more")
    if gone and not tries_only:
        repository.forget([its.id for its in gone])
    return gone
