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

SCHEMA = 1


class Record:
    """The record of one resource: ``data`` is a dictionary of JSON values, read once and saved whole.

    ``building`` is true from before the first write until the resource stands.
    """

    def __init__(self, kind: str, name: str, data: dict[str, t.Any] | None = None) -> None:
        self.kind = kind
        self.name = name
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
        self.data["schema"] = SCHEMA
        text = json.dumps(self.data, indent=1, sort_keys=True) + "\n"
        if self.exists and atomic.read_text(self.path) == text:
            return
        atomic.write_file(self.path, text, mode=0o600)
        self.exists = True

    def remove(self) -> None:
        atomic.remove_file(self.path)
        self.exists = False
        self.data = {}


def load(kind: str, name: str) -> Record:
    """The record of *name*; an empty one where there is none.

    :raises ObserveError: when it was written by a newer version of the collection, or is no record.
    """
    text = atomic.read_text(paths.record_path(kind, name))
    if text is None:
        return Record(kind, name)
    try:
        data = json.loads(text)
        schema = int(data["schema"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ObserveError(f"{paths.record_path(kind, name)} is no ownership record: {exc}") from exc
    if schema > SCHEMA:
        known = f"this version of homelab.hybrid knows {SCHEMA}: update it"
        raise ObserveError(f"{paths.record_path(kind, name)} has schema {schema}, {known}")
    return Record(kind, name, data)


def load_all(kind: str) -> dict[str, Record]:
    """All records of one kind by name."""
    try:
        files = sorted(os.listdir(paths.record_folder(kind)))
    except FileNotFoundError:
        return {}
    names = [file.removesuffix(".json") for file in files if file.endswith(".json") and not file.startswith(".")]
    return {name: load(kind, name) for name in names}
