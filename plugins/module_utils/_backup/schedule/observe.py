# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of the backups of a host: their file, the files of repositories, the units and the program. Only reads."""

from __future__ import annotations

import json
import os
import typing as t

from ..._core import atomic, command, paths
from ..._core.errors import HybridError
from ..._host.snapshot import Host
from ..._host.systemd import has_systemd, is_started
from ..._run.packing import packed
from ..config import JOBS, REPLICATIONS, REPOSITORIES, job_of, keep_of, read
from .packing import load
from .spec import (
    LOCAL,
    S3,
    SCHEDULES,
    SECRETS,
    Spec,
    address_of,
    credentials_of,
)
from .state import State
from .units import FOLDER, PROGRAM, texts, timers


def observe(spec: Spec, host: Host) -> State:
    """Read what the host backs up by itself.

    :raises ObserveError:
    """
    data = read(atomic.read_text(paths.BACKUP_CONFIG))
    repositories = {name: {**its, **_secrets(name)} for name, its in data[REPOSITORIES].items()}
    jobs, replications = (
        {name: {key: _value(it) for key, it in its.items()} for name, its in data[area].items()}
        for area in (JOBS, REPLICATIONS)
    )
    wanted = [its for its in (*spec.jobs, *spec.replications) if its.is_wanted]
    times = {its.get(key) for its in wanted for key in SCHEDULES} - {None}
    broken = [f"{REPOSITORIES}/{name}" for name, its in repositories.items() if not _has_files(name, its)]
    broken += [
        f"{area}/{name}"
        for area, things in ((JOBS, jobs), (REPLICATIONS, replications))
        for name, its in things.items()
        if not _has_units(area, name, its, repositories)
    ]
    return State(
        repositories=repositories,
        jobs=jobs,
        replications=replications,
        made=frozenset(name for name in repositories if os.path.exists(paths.repository_file(name, "id"))),
        broken=frozenset(broken),
        has_program=atomic.read_bytes(PROGRAM) == packed(load()),
        problems={text: why for text in sorted(times) if (why := _problem(text)) is not None},
        unreachable=_unreachable(spec, repositories),
        mute=_mute(spec, host),
        unsendable=_unsendable(spec, host),
        unkept=_unkept(spec, jobs, repositories, host),
    )


def files_of(repository: str, values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The files of *repository* by the name under which the program looks for them."""
    whats = ("url", "password", *(["credentials"] if values.get("type") == S3 else []))
    return {f"{repository}.{what}": paths.repository_file(repository, what) for what in whats}


def files_for(values: t.Mapping[str, t.Any], repositories: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, str]:
    """The same for a job with these *values*."""
    repository = values.get("repository")
    return files_of(repository, repositories.get(repository, {})) if repository else {}


def contents_of(values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """What is in the files of a repository, by what they are."""
    found = {"url": address_of(values) + "\n", "password": f"{values['password']}\n"}
    credentials = credentials_of(values)
    secrets = {key: values[key] for key in SECRETS if key in values and key != "password"}
    return {**found, "secrets": json.dumps(secrets) + "\n", **({"credentials": credentials} if credentials else {})}


def _value(value: t.Any) -> t.Any:
    return tuple(value) if isinstance(value, list) else value


def _secrets(repository: str) -> dict[str, str]:
    password = atomic.read_text(paths.repository_file(repository, "password"))
    others = atomic.read_text(paths.repository_file(repository, "secrets"))
    return {**({"password": password.removesuffix("\n")} if password else {}), **json.loads(others or "{}")}


def _has_files(name: str, values: t.Mapping[str, t.Any]) -> bool:
    if "password" not in values:
        return False
    for what, text in contents_of(values).items():
        path = paths.repository_file(name, what)
        if atomic.read_text(path) != text or os.stat(path).st_mode & 0o077:
            return False
    return True


def _has_units(
    area: str, name: str, values: t.Mapping[str, t.Any], repositories: t.Mapping[str, t.Mapping[str, t.Any]]
) -> bool:
    units = texts(area, name, values, files_for(values, repositories))
    if any(atomic.read_text(f"{FOLDER}/{unit}") != text for unit, text in units.items()):
        return False
    return not has_systemd() or all(is_started(unit) for unit in timers(units))


def _problem(schedule: str) -> str | None:
    """What systemd has against a time, where it is there to be asked."""
    try:
        command.run(["systemd-analyze", "calendar", "--", schedule])
    except command.CommandError as exc:
        return None if exc.rc == 127 else exc.stderr.strip().partition("\n")[0]
    except HybridError:
        return None
    return None


def _mute(spec: Spec, host: Host) -> dict[str, tuple[str, ...]]:
    """See ``mute``."""
    wanted = [its for its in spec.jobs if its.is_wanted and any(key.startswith("drill.") for key in its.values)]
    if not wanted:
        return {}
    from .mute import mute  # what a guest is made of is loaded where one is tried

    found = {its.name: mute(job_of(its.name, its.values, {}), host) for its in wanted}
    return {job: guests for job, guests in found.items() if guests}


def _unkept(
    spec: Spec,
    jobs: t.Mapping[str, t.Mapping[str, t.Any]],
    repositories: t.Mapping[str, t.Mapping[str, t.Any]],
    host: Host,
) -> dict[str, str]:
    """See ``unkept.told_of``."""
    found = {}
    for its in spec.jobs:
        before = jobs.get(its.name, {})
        if not its.is_wanted or keep_of(its.values) == keep_of(before):
            continue
        from .unkept import told_of  # most runs change nothing of that

        job = job_of(its.name, its.values, repositories.get(str(its.get("repository")), {}))
        found[its.name] = told_of(job, before, host)
    return {job: told for job, told in found.items() if told is not None}


def _unreachable(spec: Spec, known: t.Mapping[str, t.Any]) -> dict[str, str]:
    """A folder of which not even the parent is there is a disk that is not mounted, more often than a wish."""
    found = {}
    for its in spec.repositories:
        path = its.text("path") or ""
        if (
            its.is_wanted
            and its.get("type") == LOCAL
            and its.name not in known
            and not os.path.isdir(os.path.dirname(path))
        ):
            found[its.name] = f"{os.path.dirname(path)} is not there. Make it, or mount what it shall lie on"
    return found


def _unsendable(spec: Spec, host: Host) -> dict[str, str]:
    """Of the guests that jobs of replication name. Of those that they come upon otherwise the report of a run says it."""
    named = {guest for its in spec.replications if its.is_wanted for guest in its.get("guests") or ()}
    if not named:
        return {}
    # Most hosts replicate nothing, or all guests: what a guest is made of is only read where one is named.
    from ..._guest.recorded import load_file
    from ..sendable import send_obstacle

    reasons = {guest: send_obstacle(guest, load_file(host.record("guests", guest)), host) for guest in sorted(named)}
    return {guest: why for guest, why in reasons.items() if why is not None}
