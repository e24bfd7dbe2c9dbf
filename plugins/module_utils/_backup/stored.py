# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A backup as its repository lists it, and which of them one means."""

from __future__ import annotations

import typing as t

from .._core.errors import ObserveError
from .._core.units import seconds_of, show_moment

# A backup that bears it is never forgotten by a job.
PROTECTED = "keep"
LATEST = "latest"
# Before the id of a backup: the tag of what is stored to say that it is none.
NOT_WHOLE = "not-whole="
# How much of an id a person reads, as of restic.
_SHORT = 8


class Stored(t.NamedTuple):
    """One backup of one guest. *made* is in seconds since 1970, *folder* where the guest was shown when it was made."""

    id: str
    made: float
    guest: str
    kind: str
    job: str
    consistent: str
    host: str
    folder: str
    is_protected: bool = False

    def __str__(self) -> str:
        """By what a person tells it from others."""
        return f"{short(self.id)} of {show_moment(self.made)}"

    def told(self) -> dict[str, t.Any]:
        """What is told of it."""
        return {
            "id": self.id,
            "made": show_moment(self.made),
            **{key: getattr(self, key) for key in ("guest", "kind", "job", "consistent", "host")},
            "protected": self.is_protected,
        }


def short(id: str) -> str:
    """The id of a backup as a person reads it."""
    return id[:_SHORT]


def tags_of(guest: str, kind: str, job: str, consistent: str) -> tuple[str, ...]:
    """What a backup is tagged with."""
    return (f"guest={guest}", f"kind={kind}", f"job={job}", f"consistent={consistent}")


def read(listed: t.Iterable[t.Mapping[str, t.Any]]) -> list[Stored]:
    """The backups that this collection made among what a repository lists, the newest first."""
    known = list(listed)
    tags = [str(tag) for entry in known for tag in entry.get("tags") or ()]
    bad = {tag.removeprefix(NOT_WHOLE) for tag in tags if tag.startswith(NOT_WHOLE)}
    found = [its for its in map(_read, known) if its is not None and its.id not in bad]
    return sorted(found, key=lambda its: (its.made, its.id), reverse=True)


def _read(entry: t.Mapping[str, t.Any]) -> Stored | None:
    tags = [str(tag) for tag in entry.get("tags") or ()]
    known = {key: value for key, equals, value in (tag.partition("=") for tag in tags) if equals}
    folders = list(entry.get("paths") or ())
    if not known.get("guest") or not known.get("kind") or len(folders) != 1:
        return None
    return Stored(
        str(entry["id"]),
        seconds_of(str(entry["time"])),
        known["guest"],
        known["kind"],
        known.get("job", ""),
        known.get("consistent", ""),
        str(entry.get("hostname", "")),
        str(folders[0]),
        PROTECTED in tags,
    )


def chosen(backups: t.Sequence[Stored], wanted: str, at: float | None, what: str) -> Stored:
    """The one of *backups*, all of *what*, the newest first, that *wanted* means: ``latest`` (of those made until *at*), or how an id begins.

    :raises ObserveError: when there is none, or more than one.
    """
    hosts = sorted({its.host for its in backups})
    if wanted != LATEST:
        found = [its for its in backups if its.id.startswith(wanted)]
        if len(found) != 1:
            told = "more than one backup" if found else "no backup"
            raise ObserveError(f"{what} has {told} whose id begins with {wanted}. It has: {_listed(backups)}")
        return found[0]
    if len(hosts) > 1:
        raise ObserveError(f"{what} was backed up on {', '.join(hosts)}. Say which one is meant (host)")
    found = [its for its in backups if at is None or its.made <= at]
    if not found:
        raise ObserveError(f"{what} has no backup that was made until then. It has: {_listed(backups)}")
    return found[0]


def _listed(backups: t.Sequence[Stored]) -> str:
    told = [str(its) for its in backups[:5]]
    more = len(backups) - len(told)
    return ", ".join([*told, *([f"{more} older"] if more else [])]) or "none"
