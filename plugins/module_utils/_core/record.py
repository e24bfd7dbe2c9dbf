# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Ownership records: what the collection made, written before it is made, kept while anything of it is kept."""

from __future__ import annotations

import json
import os
import typing as t

from . import atomic, paths
from .errors import ObserveError

# Of each kind by itself: a form of record that an older version cannot read gets the next number.
SCHEMAS = {"guests": 1, "drills": 1, "images": 1, "pools": 1, "bridges": 1, "mounts": 1}


class Content(t.Protocol):
    """What a record says, typed: pure, and with the resource that it is of."""

    @property
    def is_building(self) -> bool:
        """Whether the resource was begun and does not stand yet."""

    @classmethod
    def load(cls, data: t.Mapping[str, t.Any]) -> t.Self:
        """What the JSON values *data* say; without any, what is said of a resource that has no record."""

    def dump(self) -> dict[str, t.Any]:
        """The JSON values, ``None`` for what is not there."""

    def replace(self, **changes: t.Any) -> t.Self:
        """The same with other parts."""


C = t.TypeVar("C", bound=Content)


class Record:
    """The record of one resource: ``data`` is a dictionary of JSON values, read once and saved whole.

    ``building`` is true from before the first write until the resource stands. *problem* says why the file cannot be read: of
    another resource the data are empty then, of the one that is asked for it is raised.
    """

    def __init__(
        self, kind: str, name: str, data: dict[str, t.Any] | None = None, problem: ObserveError | None = None
    ) -> None:
        self.kind = kind
        self.name = name
        self.problem = problem
        self.exists = data is not None
        self.data: dict[str, t.Any] = dict(data or {})

    @property
    def path(self) -> str:
        return paths.record_path(self.kind, self.name)

    @property
    def is_building(self) -> bool:
        return bool(self.data.get("building"))

    def save(self, **changes: t.Any) -> None:
        """Merge *changes* (``None`` takes a key off) and write the record, readable by root alone."""
        for key, value in changes.items():
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value
        self.data["schema"] = SCHEMAS[self.kind]
        text = json.dumps(self.data, indent=1, sort_keys=True) + "\n"
        if self.exists and atomic.read_text(self.path) == text:
            return
        atomic.write_file(self.path, text, mode=0o600)
        self.exists = True

    def remove(self) -> None:
        atomic.remove_file(self.path)
        self.exists = False
        self.data = {}


class Owned(t.Generic[C]):
    """The record of one resource and its *content*: read once, written whole after each change."""

    def __init__(self, file: Record, content: type[C]) -> None:
        self._file = file
        self.content: C = content.load(file.data)

    @property
    def name(self) -> str:
        return self._file.name

    @property
    def exists(self) -> bool:
        return self._file.exists

    def save(self, **changes: t.Any) -> None:
        """Write the content with *changes* of its parts."""
        self.content = self.content.replace(**changes)
        gone = dict.fromkeys(key for key in self._file.data if key != "schema")
        self._file.save(**{**gone, **self.content.dump()})

    def remove(self) -> None:
        self._file.remove()
        self.content = self.content.load({})


def load(kind: str, name: str) -> Record:
    """The record of *name*; an empty one where there is none.

    :raises ObserveError: when it was written by a newer version of the collection, or is no record.
    """
    try:
        text = atomic.read_text(paths.record_path(kind, name))
        return Record(kind, name) if text is None else Record(kind, name, _parse(kind, text))
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise ObserveError(broken(kind, name, reason)) from exc


def broken(kind: str, name: str, reason: str) -> str:
    """The sentence on a record that cannot be read, and what its owner can do."""
    return (
        f"{paths.record_path(kind, name)} is no ownership record ({reason}). Bring it back from a backup, or move it away: "
        f"what it is of then counts as made by somebody else"
    )


def _parse(kind: str, text: str) -> dict[str, t.Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise TypeError(f"a {type(data).__name__} instead of keys and values")
    schema = int(data["schema"])
    if schema > SCHEMAS[kind]:
        raise ValueError(
            f"it has schema {schema}, and this version of homelab.hybrid knows {SCHEMAS[kind]}: update it first"
        )
    return data


def load_all(kind: str) -> dict[str, Record]:
    """All records of one kind by name. One that cannot be read has its ``problem`` and no data."""
    try:
        files = sorted(os.listdir(paths.record_folder(kind)))
    except FileNotFoundError:
        return {}
    names = [file.removesuffix(".json") for file in files if file.endswith(".json") and not file.startswith(".")]
    return {name: _load_or_note(kind, name) for name in names}


def _load_or_note(kind: str, name: str) -> Record:
    try:
        return load(kind, name)
    except ObserveError as exc:
        return Record(kind, name, {}, exc)
