# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a resource requires and provides: the one source of locks, of order and of what check mode may assume."""

from __future__ import annotations

import typing as t

# The order in which locks are taken; what is not in it has no lock.
RANKS = {"bridge": 0, "pool": 1, "image": 2, "guest": 3}


class Reference(t.NamedTuple):
    """A thing on the host by its kind (``bridge``, ``pool``, ``image``, ``guest``, ``library``) and name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def in_lock_order(references: t.Iterable[Reference]) -> list[Reference]:
    """Those of *references* that have a lock, each once, in the fixed order that excludes a deadlock."""
    return sorted({item for item in references if item.kind in RANKS}, key=lambda item: (RANKS[item.kind], item.name))
