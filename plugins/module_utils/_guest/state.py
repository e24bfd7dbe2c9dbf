# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a guest, in the form that both kinds share."""

from __future__ import annotations

import typing as t

from .._core.keyed import Thing
from .._core.options import RECORD, Option
from .content import Source
from .installing import Installing
from .record import GuestRecord

Things = t.Mapping[str, Thing]


class Side:
    """The definition of a guest, or the guest as it runs: *values* by option path in canonical form, *items* by list and name."""

    __slots__ = ("items", "values")

    def __init__(self, values: t.Mapping[str, t.Any], items: t.Mapping[str, Things] | None = None) -> None:
        self.values = values
        self.items: t.Mapping[str, Things] = items or {}

    def things(self, area: str) -> Things:
        return self.items.get(area, {})


class GuestState:
    """A guest as it is.

    *power* is ``absent`` (the hypervisor does not know it), ``stopped``, ``started``, ``paused`` or ``suspended``. *exists*: it
    stands, no creation of it was interrupted. *live* is ``None`` while it is stopped. *declined* are the paths that the guest
    declined in this run of it. *other_kind* is the kind of the guest that has its name. *taken_macs* are those of all other
    guests. *vlan_obstacles* says of bridges why no card on them can be in a VLAN, *rate_obstacle* why no card can
    be limited. *answering* are fixed addresses that it is to get and that somebody else has, each with the MAC that says so.
    *bare_bridges* are those without an address that would tell the network out of which one is taken, each with ``ip`` or ``ip6``.
    *clones* are the guests whose volumes stand on its own, *source* is what a new one is cloned from, *installing* an installer that has not
    come to its end.

    For its removal: *owned* are our volumes that are there, by item, as they are told; *used* says of them why they cannot be
    deleted now; *snapshots* are the places of each of our snapshots, by name, *foreign* is what is kept though it is not ours.
    *quarantined_until*: what goes lies in the quarantine until then, in seconds since 1970; ``None`` where it is deleted at once.
    *begun* is the record of a quarantine of it that was interrupted.
    """

    __slots__ = (
        "answering",
        "bare_bridges",
        "begun",
        "clones",
        "declined",
        "exists",
        "foreign",
        "installing",
        "live",
        "machine_id",
        "other_kind",
        "owned",
        "persistent",
        "power",
        "quarantined_until",
        "rate_obstacle",
        "record",
        "snapshots",
        "source",
        "taken_macs",
        "used",
        "vlan_obstacles",
    )

    def __init__(
        self,
        *,
        power: str = "absent",
        exists: bool = False,
        persistent: Side | None = None,
        live: Side | None = None,
        declined: tuple[str, ...] = (),
        record: GuestRecord | None = None,
        other_kind: str | None = None,
        taken_macs: t.Mapping[str, str] | None = None,
        machine_id: str = "",
        vlan_obstacles: t.Mapping[str, str] | None = None,
        rate_obstacle: str | None = None,
        owned: t.Mapping[str, str] | None = None,
        used: t.Mapping[str, str] | None = None,
        snapshots: t.Mapping[str, tuple[str, ...]] | None = None,
        foreign: tuple[str, ...] = (),
        clones: tuple[str, ...] = (),
        source: Source | None = None,
        answering: t.Mapping[str, str] | None = None,
        installing: Installing | None = None,
        bare_bridges: t.Collection[tuple[str, str]] = (),
        quarantined_until: float | None = None,
        begun: str | None = None,
    ) -> None:
        self.quarantined_until = quarantined_until
        self.begun = begun
        self.installing = installing
        self.bare_bridges = bare_bridges
        self.answering: t.Mapping[str, str] = answering or {}
        self.power = power
        self.exists = exists
        self.persistent: Side = persistent or Side({})
        self.live = live
        self.declined = declined
        self.record: GuestRecord = record or GuestRecord()
        self.other_kind = other_kind
        self.taken_macs: t.Mapping[str, str] = taken_macs or {}
        self.machine_id = machine_id
        self.vlan_obstacles: t.Mapping[str, str] = vlan_obstacles or {}
        self.rate_obstacle = rate_obstacle
        self.owned: t.Mapping[str, str] = owned or {}
        self.used: t.Mapping[str, str] = used or {}
        self.snapshots: t.Mapping[str, tuple[str, ...]] = snapshots or {}
        self.foreign = foreign
        self.clones = clones
        self.source = source

    def value(self, option: Option) -> t.Any:
        """The value that an option has now: in the running guest, or in its definition."""
        if option.home == RECORD:
            return self.record.value(option)
        return (self.live or self.persistent).values.get(option.path)

    def replace(self, **changes: t.Any) -> t.Self:
        """The same state, of the same kind of guest, with other values."""
        names = [name for each in type(self).__mro__ for name in getattr(each, "__slots__", ())]
        return type(self)(**{name: changes.get(name, getattr(self, name)) for name in names})

    @property
    def is_known(self) -> bool:
        """Whether the hypervisor knows it, also half-made."""
        return self.power != "absent"

    @property
    def is_building(self) -> bool:
        """Whether a creation of it was interrupted."""
        return self.record.is_building

    @property
    def is_left_to_installer(self) -> bool:
        """Whether an installer is at work in it."""
        return self.installing is not None and self.installing.is_under_way

    @property
    def is_managed(self) -> bool:
        """Whether the collection keeps a record of it."""
        return self.record.exists
