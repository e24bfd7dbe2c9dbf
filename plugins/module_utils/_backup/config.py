# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host backs up by itself, as its file says it: the jobs, without any secret."""

from __future__ import annotations

import typing as t

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
        if guest in self.exclude:
            return False
        is_named = guest in self.guests or any(tag in tags for tag in self.tags)
        return is_named or not (self.guests or self.tags)


def job_of(name: str, values: t.Mapping[str, t.Any], repository: t.Mapping[str, t.Any]) -> Job:
    """The job *name* of the values of its options, by their keys, and those of its *repository*."""
    return Job(
        name,
        str(values["repository"]),
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


def load(data: t.Mapping[str, t.Any]) -> dict[str, Job]:
    """The jobs that the JSON values *data* have, by name.

    :raises ObserveError: when no version, or only a newer one, writes that.
    """
    try:
        if int(data["schema"]) > SCHEMA:
            raise ObserveError(f"it has schema {data['schema']}, and this version of homelab.hybrid knows {SCHEMA}")
        known = data.get("repositories") or {}
        return {
            name: job_of(name, values, known.get(values["repository"]) or {}) for name, values in data["jobs"].items()
        }
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise ObserveError(f"the jobs of this host cannot be read: {exc}") from exc
