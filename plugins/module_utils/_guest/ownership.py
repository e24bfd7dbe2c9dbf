# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The record of a guest while a run works on it: read once, written whole after each change."""

from __future__ import annotations

import typing as t

from .._core.record import Record
from .record import GuestRecord, dump
from .recorded import load_file


class Ownership:
    """The record file of one guest. ``record`` is what it says now."""

    def __init__(self, file: Record) -> None:
        self._file = file
        self.record: GuestRecord = load_file(file)

    def save(self, record: GuestRecord | None = None, **changes: t.Any) -> bool:
        """Write *record*, or the present one, with *changes* of its fields. Returns whether the file is another one now."""
        before = dict(self._file.data)
        self.record = (record or self.record).replace(exists=True, **changes)
        gone = dict.fromkeys(key for key in self._file.data if key != "schema")
        self._file.save(**{**gone, **dump(self.record)})
        return before != self._file.data

    def remove(self) -> None:
        self._file.remove()
        self.record = GuestRecord()
