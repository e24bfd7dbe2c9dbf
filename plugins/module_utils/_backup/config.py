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
# Which of the backups of a guest a drill tries.
NEWEST, RANDOM = "newest", "random"
PICKS = (NEWEST, RANDOM)


class Job(t.NamedTuple):
    """One job. Without *guests* and *tags* it is of all guests of the host; *keep* has a number for some of Proxmox's words. Its drills are
    of *drill_guests*, without any of all its guests, and give each *drill_timeout* seconds to be well. *is_append_only*: nothing goes
    out of its repository by this host.
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
    verify_percent: int | None = None
    drill_guests: tuple[str, ...] = ()
    drill_pick: str = NEWEST
    drill_timeout: int | None = None
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


def job_of(name: str, values: t.Mapping[str, t.Any], repository: t.Mapping[str, t.Any]) -> Job:
    """The job *name* of the values of its options, by their keys, and those of its *repository*."""
    return Job(
        name,
        str(values["repository"]),
        str(values.get("schedule", "")),
        guests=tuple(values.get("guests") or ()),
        tags=tuple(values.get("tags") or ()),
        exclude=tuple(values.get("exclude") or ()),
        mode=str(values.get("mode") or SNAPSHOT),
        keep={key.partition(".")[2]: int(value) for key, value in values.items() if key.startswith("keep.")},
        bandwidth=values.get("bandwidth"),
        verify_percent=values.get("verify.percent"),
        drill_guests=tuple(values.get("drill.guests") or ()),
        drill_pick=str(values.get("drill.pick") or NEWEST),
        drill_timeout=values.get("drill.timeout"),
        is_append_only=bool(repository.get("append_only")),
    )


def replication_of(name: str, values: t.Mapping[str, t.Any]) -> Replication:
    """The job of replication *name* of the values of its options, by their keys."""
    return Replication(
        name,
        str(values["host"]),
        str(values["pool"]),
        str(values.get("schedule", "")),
        user=str(values.get("user") or "root"),
        port=int(values.get("port") or 22),
        guests=tuple(values.get("guests") or ()),
        tags=tuple(values.get("tags") or ()),
        exclude=tuple(values.get("exclude") or ()),
        keep=int(values.get("keep") or 1),
        bandwidth=values.get("bandwidth"),
    )


class Jobs(t.NamedTuple):
    """All that a host does by itself, by name."""

    backups: t.Mapping[str, Job] = {}
    replications: t.Mapping[str, Replication] = {}


def load(text: str | None) -> Jobs:
    """The jobs that the file with *text* has; ``None``: there is no file.

    :raises ObserveError: when no version, or only a newer one, writes that.
    """
    if text is None:
        return Jobs()
    try:
        data = json.loads(text)
        if int(data["schema"]) > SCHEMA:
            raise ObserveError(f"it has schema {data['schema']}, and this version of homelab.hybrid knows {SCHEMA}")
        known = data.get("repositories") or {}
        return Jobs(
            {
                name: job_of(name, values, known.get(values["repository"]) or {})
                for name, values in data["jobs"].items()
            },
            # A file of an earlier version has none.
            {name: replication_of(name, values) for name, values in data.get("replications", {}).items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise ObserveError(
            f"{paths.BACKUP_CONFIG} cannot be read: {exc}. Move it away, and run the role again"
        ) from exc
