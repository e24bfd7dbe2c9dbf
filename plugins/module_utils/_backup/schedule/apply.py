# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Writes what a host backs up by itself: the files of repositories, the jobs, the program, and the units with their timers."""

from __future__ import annotations

import contextlib
import glob
import json
import typing as t

from ..._core import atomic, command, paths
from ..._core.command import systemctl
from ..._core.converge import Work
from ..._core.options import split
from ..._core.plan import Change, Plan, Step
from ..._host.systemd import has_systemd
from ..._run.packing import packed
from ..config import AREAS, JOBS, REPLICATIONS, REPOSITORIES, SCHEMA
from ..history import loaded
from ..replication.kept import drop, kept_of
from ..repository import drop_cache
from .observe import contents_of, files_for
from .packing import load
from .plan import after_all
from .spec import SECRETS, Spec
from .state import State
from .units import FOLDER, PROGRAM, all_names, texts, timers

_WHATS = ("url", "password", "credentials", "secrets", "id")


def apply_backups(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises CommandError: when systemd refuses a step.
    """
    after = after_all(spec, state)
    touched = {split(change.path)[:2] for change in plan.changes}
    # The timers of what goes, or becomes something else, end first: no run meets half of it.
    _end_gone(state, after, work)
    for name, values in after[REPOSITORIES].items():
        if (REPOSITORIES, name) in touched:
            for what, text in contents_of(values).items():
                atomic.write_file(paths.repository_file(name, what), text, mode=0o600)
            if "credentials" not in contents_of(values):
                atomic.remove_file(paths.repository_file(name, "credentials"))
    yield Step("files of repositories written")
    if plan.has("program"):
        atomic.write_file(PROGRAM, packed(load()), mode=0o755)
        yield Step("program written")
    open_values = {
        area: {name: {key: it for key, it in its.items() if key not in SECRETS} for name, its in after[area].items()}
        for area in AREAS
    }
    atomic.write_file(
        paths.BACKUP_CONFIG, json.dumps({"schema": SCHEMA, **open_values}, indent=1, sort_keys=True) + "\n", mode=0o600
    )
    yield Step("jobs written")
    for area in (JOBS, REPLICATIONS):
        for job, values in after[area].items():
            # What systemd hands over may have another address by now.
            if (area, job) in touched or (REPOSITORIES, values.get("repository")) in touched:
                _write_units(area, job, texts(area, job, values, files_for(values, after[REPOSITORIES])))
                yield Step(f"units of {job} written")
    for name in state.repositories:
        if name not in after[REPOSITORIES]:
            _forget(name)
    if not after[JOBS] and not after[REPLICATIONS]:
        atomic.remove_file(paths.metrics_file())
    yield from plan.changes


def _forget(repository: str) -> None:
    """Let the host know nothing of *repository* any more: neither how it is reached, nor what it was told to hold."""
    for path in (*glob.glob(f"{paths.REPORT}/*.json"), *glob.glob(f"{paths.DRILL_REPORTS}/*.json")):
        report = loaded(atomic.read_text(path))
        if report.get("repository") != repository:
            continue
        if path.startswith(f"{paths.DRILL_REPORTS}/"):
            for its in report.get("guests") or ():
                atomic.remove_file(paths.drill_log(its["guest"]))
        atomic.remove_file(path)
    drop_cache((atomic.read_text(paths.repository_file(repository, "id")) or "").strip())
    for what in _WHATS:
        atomic.remove_file(paths.repository_file(repository, what))


def _end_gone(state: State, after: t.Mapping[str, t.Mapping[str, t.Any]], work: Work) -> None:
    for area, jobs in ((JOBS, state.jobs), (REPLICATIONS, state.replications)):
        for job in jobs:
            if job in after[area]:
                continue
            _end(all_names(area, job))
            if area == REPLICATIONS:
                drop(kept_of(job, work.host), work.host)


def _write_units(area: str, job: str, wanted: t.Mapping[str, str]) -> None:
    _end([name for name in all_names(area, job) if name not in wanted])
    for name, text in wanted.items():
        atomic.write_file(f"{FOLDER}/{name}", text)
    if has_systemd():
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", *timers(wanted))
        systemctl("restart", *timers(wanted))


def _end(names: t.Iterable[str]) -> None:
    for name in names:
        if has_systemd() and name.endswith(".timer"):
            with contextlib.suppress(command.CommandError):  # it was never there
                systemctl("disable", "--quiet", "--now", name)
        atomic.remove_file(f"{FOLDER}/{name}")
    if has_systemd():
        systemctl("daemon-reload")
