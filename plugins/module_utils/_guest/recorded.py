# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The records of guests as they are read: that of the guest which is asked for must be whole, that of another is its own trouble."""

from __future__ import annotations

import typing as t

from .._core.errors import ObserveError
from .._core.record import Record, broken
from .record import GuestRecord, load


def load_file(file: Record) -> GuestRecord:
    """The record in *file*.

    :raises ObserveError: when it holds what no version writes, naming the file.
    """
    try:
        return load(file.data, exists=file.exists)
    except ObserveError as exc:
        raise ObserveError(broken(file.kind, file.name, exc.message)) from exc


def load_others(files: t.Mapping[str, Record]) -> dict[str, GuestRecord]:
    """The records of many guests by name. One that cannot be read says nothing of its guest."""
    found = {}
    for name, file in files.items():
        try:
            found[name] = load(file.data, exists=file.exists)
        except ObserveError:
            found[name] = GuestRecord(exists=True)
    return found
