# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host backs up and replicates by itself, as its file says it: the jobs, without any secret."""

from __future__ import annotations

import json
import typing as t

from .._core import paths
from .._core.errors import ObserveError
from .._guest.capture import SNAPSHOT

SCHEMA = 1
REPOSITORIES, JOBS, REPLICATIONS = "repositories", "jobs", "replications"
AREAS = (REPOSITORIES, JOBS, REPLICATIONS)
# Which of the backups of a guest a drill tries.
NEWEST, RANDOM = "newest", "random"
PICKS = (NEWEST, RANDOM)
Values = t.Mapping[str, t.Any]


class Job(t.NamedTuple):
    """One job. Without *guests* and *tags* it is of all guests of the host; *keep* has a number for some of Proxmox's words. Its drills are
    of *drill_guests*, without any of all its guests, and give each *drill_timeout* seconds to be well. *notify* are the targets that hear of
    it, without any all of them. *is_append_only*: nothing goes out of its repository by this host.
    """

    name: str
    repository: str
    schedule: str = ""
    guests: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mode: str = SNAPSHOT
    keep: t.Mapping[str, int] = {}
    bandwidth: int | None = None
    notify: tuple[str, ...] = ()
    verify_schedule: str | None = None
    verify_percent: int = 5
    drill_schedule: str | None = None
    drill_guests: tuple[str, ...] = ()
    drill_pick: str = NEWEST
    drill_timeout: int = 600
    is_append_only: bool = False

    def wants(self, guest: str, tags: t.Collection[str]) -> bool:
        """Whether the job is of *guest*, which has these *tags*."""
        return _is_of(self, guest, tags)


class Replication(t.NamedTuple):
    """One job of replication, of the guests that a ``Job`` would be of: to the storage pool *pool* of *host*, of which *keep* copies stay there.

    *bandwidth* is in KiB a second.
    """

    name: str
    host: str
    pool: str
    schedule: str = ""
    user: str = "root"
    port: int = 22
    guests: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep: int = 1
    bandwidth: int | None = None

    def wants(self, guest: str, tags: t.Collection[str]) -> bool:
        """Whether the job is of *guest*, which has these *tags*."""
        return _is_of(self, guest, tags)


def _is_of(its: Job | Replication, guest: str, tags: t.Collection[str]) -> bool:
    if guest in its.exclude:
        return False
    is_named = guest in its.guests or any(tag in tags for tag in its.tags)
    return is_named or not (its.guests or its.tags)


def keep_of(values: Values) -> dict[str, int]:
    """How many backups a job with these *values* keeps, by Proxmox's words."""
    return {key.removeprefix("keep."): int(value) for key, value in values.items() if key.startswith("keep.")}


def job_of(name: str, values: Values, repository: Values) -> Job:
    """The job *name* of the values of its options, by their keys, and those of its *repository*."""
    fields = _fields_of(Job, values)
    is_append_only = bool(repository.get("append_only"))
    return Job(**{**fields, "name": name, "keep": keep_of(values), "is_append_only": is_append_only})


def replication_of(name: str, values: Values) -> Replication:
    """The job of replication *name* of the values of its options, by their keys."""
    return Replication(**{**_fields_of(Replication, values), "name": name})


def _fields_of(its: type[Job | Replication], values: Values) -> dict[str, t.Any]:
    """The fields that *values* are of: ``drill.pick`` is ``drill_pick``. What is not written is what the field says."""
    known = {key.replace(".", "_"): tuple(it) if isinstance(it, list) else it for key, it in values.items()}
    return {field: it for field, it in known.items() if field in its._fields}


class Jobs(t.NamedTuple):
    """All that a host does by itself, by name."""

    backups: t.Mapping[str, Job] = {}
    replications: t.Mapping[str, Replication] = {}


def read(text: str | None) -> dict[str, dict[str, t.Any]]:
    """What the file with *text* has, by list and name, as it is written; ``None``: there is no file.

    :raises ObserveError: when no version, or only a newer one, writes that.
    """
    if text is None:
        return {area: {} for area in AREAS}
    try:
        data = json.loads(text)
        if int(data["schema"]) > SCHEMA:
            raise ObserveError(f"it has schema {data['schema']}, and this version of homelab.hybrid knows {SCHEMA}")
        # A file of an earlier version has no replications.
        return {area: dict(data.get(area, {}) if area == REPLICATIONS else data[area]) for area in AREAS}
    except (TypeError, ValueError, KeyError, AttributeError, ObserveError) as exc:
        raise _unreadable(exc) from exc


def load(text: str | None) -> Jobs:
    """The jobs of that.

    :raises ObserveError:
    """
    data = read(text)
    known = data[REPOSITORIES]
    try:
        return Jobs(
            {name: job_of(name, its, known.get(its["repository"]) or {}) for name, its in data[JOBS].items()},
            {name: replication_of(name, its) for name, its in data[REPLICATIONS].items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise _unreadable(exc) from exc


def _unreadable(why: Exception) -> ObserveError:
    return ObserveError(f"{paths.BACKUP_CONFIG} cannot be read: {why}. Move it away, and run the role again")
