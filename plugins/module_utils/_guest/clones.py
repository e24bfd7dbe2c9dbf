# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests were cloned from which, and stand on what these hold."""

from __future__ import annotations

import typing as t

from .._core.record import Record
from .._host.snapshot import Host

Clones = t.Mapping["tuple[str, str | None]", tuple[str, ...]]


def linked_clones(host: Host, guest: str, snapshot: str | None = None) -> tuple[str, ...]:
    """The guests whose volumes stand on those of *guest*, or on those of its *snapshot*; also of those that are gone and left theirs."""
    return host.derived(_linked).get((guest, snapshot), ())


def clones_of(host: Host, guest: str) -> tuple[str, ...]:
    """The guests whose volumes stand on those of *guest*, or of any snapshot of it."""
    return tuple(name for (origin, dummy), names in host.derived(_linked).items() if origin == guest for name in names)


def _linked(host: Host) -> Clones:
    found: dict[tuple[str, str | None], tuple[str, ...]] = {}
    for name, file in sorted(host.guest_records.items()):
        origin = _origin_in(file)
        if origin is not None:
            found[origin] = (*found.get(origin, ()), name)
    return found


def _origin_in(file: Record) -> tuple[str, str | None] | None:
    """What a record says of a linked clone. One that is broken says nothing of another guest."""
    data = file.data.get("origin")
    if not isinstance(data, dict) or not data.get("linked"):
        return None
    return str(data.get("guest")), data.get("snapshot")
