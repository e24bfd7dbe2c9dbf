# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest that shall come out of a backup, and what the backup has."""

from __future__ import annotations

import typing as t

from ..._core.errors import ObserveError
from ..._guest.record import GuestRecord, RecordedVolume, load
from ..._storage.volume import Volume
from ..manifest import Manifest
from ..stored import Stored
from .spec import Spec


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

    def of_backup(self) -> Manifest:
        """What the backup says of itself.

        :raises ObserveError: where it was not asked for that.
        """
        if self.manifest is None:
            raise ObserveError("the backup has no manifest")
        return self.manifest

    def begun(self, spec: Spec, idmap: tuple[int, int] | None = None) -> GuestRecord:
        """The record of the guest of *spec* that is begun: that in the backup, but for what was of its moment, and what another guest gets anew."""
        was = load(self.of_backup().record, exists=True)
        others: dict[str, t.Any] = {"addresses": {}, "addresses6": {}, "reservations": ()} if spec.is_renamed else {}
        return was.replace(
            is_building=True,
            uuid=None,
            volumes={item: RecordedVolume(volume, is_fresh=True) for item, volume in self.volumes.items()},
            files={},
            idmap=idmap,
            macs=self.macs,
            snapshots=self.record.snapshots,
            due_power=None,
            run=None,
            reverting=None,
            origin=None,
            holds=None,
            restored=None,
            **others,
        )

    @property
    def is_there(self) -> bool:
        """Whether it came of this backup already."""
        its = self.record.restored
        return self.power != "absent" and its is not None and its.backup == self.chosen.id
