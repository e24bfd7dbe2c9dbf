# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""homelab-hybrid-backup: runs a job of this host, or looks at what its repositories hold. It lies on the host as one file.

``run JOB``, ``list [--repository NAME] [--guest NAME]``, ``verify JOB``, ``forget JOB [--dry-run]``, ``drill [JOB] [--guest NAME]``,
``sheet [REPOSITORY]``, ``replicate JOB``, ``tidy``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import typing as t

from .._core import atomic, paths
from .._core.errors import HybridError, ObserveError
from .._host.snapshot import Host
from .._run.program import say, status_of
from . import running
from .config import JOBS, REPOSITORIES, Job, Jobs, load, read
from .drill import running as drilling
from .drill.plan import Tried
from .drill.trying import clear_all as clear_drills
from .metrics import metrics
from .replication import sending
from .replication.copies import read_replicas
from .replication.receiving import Receiver
from .repository import Repository
from .schedule.sheet import sheet_of
from .seen import read_backups
from .taking import clear_all

NAME = paths.BACKUP_UNIT
Its = t.TypeVar("Its")


def main(argv: t.Sequence[str] | None = None) -> int:
    """Do what *argv* says, and answer the status that the program ends with."""
    return status_of(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="Back up the guests of this host.")
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, act: t.Callable[[t.Any], bool], told: str) -> argparse.ArgumentParser:
        its = verbs.add_parser(name, help=told)
        its.set_defaults(act=act)
        return its

    verb("run", _run, "back up the guests of a job").add_argument("job")
    listing = verb("list", _list, "what the repositories hold, as JSON")
    listing.add_argument("--repository")
    listing.add_argument("--guest")
    verifying = verb("verify", _verify, "read a share of what the repository of a job holds")
    verifying.add_argument("job")
    verifying.add_argument("--percent", type=int)
    forgetting = verb("forget", _forget, "let go of the backups of a job that it does not keep")
    forgetting.add_argument("job")
    forgetting.add_argument("--dry-run", action="store_true")
    trying = verb("drill", _drill, "try backups of a job: start each where it reaches nobody, and ask it how it is")
    trying.add_argument("job", nargs="?")
    trying.add_argument("--guest", action="append", default=[])
    trying.add_argument("--json", action="store_true", help="tell at the end what the reports have of each guest")
    paper = verb("sheet", _sheet, "print what a person needs who has lost this host")
    paper.add_argument("repository", nargs="?")
    paper.add_argument("--with-password", action="store_true", help="print the password of the repository, too")
    verb("replicate", _replicate, "replicate the guests of a job of replication").add_argument("job")
    receiving = verb("replica", _replica, "take what another host replicates; that calls it")
    receiving.add_argument("verb", choices=["look", "receive", "beside", "finish"])
    receiving.add_argument("asked", type=json.loads)
    verb("tidy", _tidy, "take back what a run that was killed has done to guests")
    return parser


def _jobs() -> Jobs:
    return load(atomic.read_text(paths.BACKUP_CONFIG))


def _job(name: str) -> Job:
    return _named(name, _jobs().backups, "backup")


def _named(name: str, jobs: t.Mapping[str, Its], what: str) -> Its:
    if name not in jobs:
        raise ObserveError(f"this host has no {what} job {name}. It has: {', '.join(sorted(jobs)) or 'none'}")
    return jobs[name]


def _run(words: t.Any) -> bool:
    return _measured(running.run(_job(words.job), Host(), say))


def _measured(is_well: bool) -> bool:
    """*is_well*, when it was told to who measures the host; that nobody could be told makes no backup a bad one."""
    try:
        if os.path.isdir(paths.METRICS):
            host = Host()
            atomic.write_file(paths.metrics_file(), metrics(read_backups(host), read_replicas(host)))
    except (HybridError, OSError) as exc:
        say(f"<4>{paths.metrics_file()} could not be written: {exc}")
    return is_well


def _list(words: t.Any) -> bool:
    names = [words.repository] if words.repository else sorted({job.repository for job in _jobs().backups.values()})
    found = [{"repository": name, **its.told()} for name in names for its in Repository(name).list()]
    sys.stdout.write(json.dumps([its for its in found if words.guest in (None, its["guest"])], indent=1) + "\n")
    return True


def _verify(words: t.Any) -> bool:
    return _measured(running.verify(_job(words.job), words.percent, say))


def _forget(words: t.Any) -> bool:
    job = _job(words.job)
    if job.is_append_only:
        say(
            f"<3>{job.repository} is append-only: what is old goes where it lies, and this host lets go of nothing in it"
        )
        return False
    repository = Repository(job.repository)
    guests = {its.guest for its in repository.list()}
    running.forget(job, repository, guests, say, tries_only=words.dry_run)
    return True


def _drill(words: t.Any) -> bool:
    jobs = [_job(words.job)] if words.job else list(_jobs().backups.values())
    host = Host()
    tried = [its for job in jobs for its in drilling.run(job, host, say, words.guest, is_named=words.job is not None)]
    for guest in set(words.guest) - {its.guest for its in tried}:
        tried.append(Tried(guest, problem="no job of this host backs it up"))
        say(f"<3>{guest}: no job of this host backs it up")
    if words.json:
        sys.stdout.write(json.dumps([its.told() for its in tried], indent=1) + "\n")
    return _measured(bool(tried) and all(its.is_well for its in tried))


def _sheet(words: t.Any) -> bool:
    """The one place that prints a password, and only when it is told to: on the terminal or the printer of root."""
    config = read(atomic.read_text(paths.BACKUP_CONFIG))
    known = config[REPOSITORIES]
    names = [words.repository] if words.repository else sorted(known)
    if not names or not set(names) <= set(known):
        raise ObserveError(f"this host has no such backup repository. It has: {', '.join(sorted(known)) or 'none'}")
    for name in names:
        text = atomic.read_text(paths.repository_file(name, "password")) if words.with_password else None
        password = text.removesuffix("\n") if text else None
        sys.stdout.write(sheet_of(platform.node(), name, known[name], config[JOBS], password) + "\n")
    return True


def _replicate(words: t.Any) -> bool:
    return _measured(sending.run(_named(words.job, _jobs().replications, "replication"), Host(), say))


def _replica(words: t.Any) -> bool:
    asked, told = words.asked, None
    receiver = Receiver(asked, Host())
    if words.verb == "look":
        told = receiver.look()
    elif words.verb == "receive":
        receiver.receive(asked["item"], sys.stdin.buffer)
    elif words.verb == "beside":
        receiver.beside(sys.stdin.buffer)
    else:
        told = receiver.finish(asked["identities"], int(asked["keep"]))
        _measured(True)
    if told is not None:
        sys.stdout.write(json.dumps(told) + "\n")
    return True


def _tidy(dummy: t.Any) -> bool:
    for guest in clear_all(Host()):
        say(f"{guest}: what a run that was killed had begun is taken back")
    for guest in clear_drills(Host()):
        say(f"{guest}: what a drill that was killed had made is taken away")
    return True
