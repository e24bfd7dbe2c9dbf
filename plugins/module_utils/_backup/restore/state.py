# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest that shall come out of a backup, and what the backup has."""

from __future__ import annotations

import typing as t

from ..._guest.record import GuestRecord
from ..._storage.volume import Volume
from ..manifest import Manifest
from ..stored import Stored


class State(t.NamedTuple):
    """*power* is that of the guest (``_guest.state``), *record* its own. *chosen* is the backup that is meant.

    *manifest* is what that says, where it has to be brought back; *volumes* are those that come of it, by item, with what is left in their
    pools in *available_bytes*. *macs* are those of its cards afterwards, by their names, *bridges* what its cards are plugged into.
    *obstacle* says why it cannot be brought back at all.
    """

    power: str
    record: GuestRecord
    chosen: Stored
    manifest: Manifest | None = None
    volumes: t.Mapping[str, Volume] = {}
    available_bytes: int = 0
    macs: t.Mapping[str, str] = {}
    bridges: t.Mapping[str, str] = {}
    obstacle: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether it came of this backup already."""
        its = self.record.restored
        return self.power != "absent" and its is not None and its.backup == self.chosen.id
