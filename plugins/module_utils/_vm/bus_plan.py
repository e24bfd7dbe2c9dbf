# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the devices of a virtual machine are plugged into, and whether they find a place there."""

from __future__ import annotations

import itertools
import typing as t

from .._core.decide import Draft
from .._core.keyed import Thing
from .._core.options import Item
from .._guest.device import USB
from .._guest.plan import Kind, refuse
from .options import SEED_DISK
from .spec import Spec, default_of
from .state import State, VmSide
from .xml import machine
from .xml.disk import free_target

IDE = "ide"
_DRIVES = ("disks", "cdroms")
# libvirt gives a machine one controller with two channels of two. Of SATA, SCSI and USB it adds more by itself.
_IDE_PLACES = 4


class BusPlan(Kind):
    """The part of ``VmKind`` that checks where its devices are plugged in."""

    spec: Spec
    state: State

    def _bus_of(self, area: str, item: Item) -> str:
        """What an item is plugged into. What is on PCI needs a port as a disk on virtio does."""
        if area in ("networks", "shares"):
            return "virtio"
        key = "type" if area == "devices" else "bus"
        defined: t.Any = self.state.persistent.things(area).get(item.name)
        written = item.text(key) or (defined.value(key) if defined else None)
        if area == "devices":
            return USB if written == USB else "virtio"
        return t.cast(str, written or default_of(self.state.variant(self.spec), f"{area}[].bus"))

    def _targets(self, live: VmSide) -> set[str]:
        """The targets that its disks and drives have, now or from its next start on."""
        sides = (live, self.state.persistent)
        disks = {its.target for side in sides for its in side.disks.values()}
        return disks | {its.target for side in sides for its in side.cdroms.values()}

    def _target_on(self, bus: str, area: str, item: Item, taken: t.Container[str]) -> str:
        """What a disk or drive is plugged in as, which the running machine lacks."""
        defined: t.Any = self.state.persistent.things(area).get(item.name)
        return defined.target if defined is not None and defined.value("bus") == bus else free_target(bus, taken)

    def _has_bus(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        """Whether a disk or a drive finds the bus that it is to be on, and a place there."""
        its = item if before is not None else self.created_item(area, item)
        if its.get("bus") != IDE:
            return True
        path, now = f"{area}[{item.name}].bus", before.value("bus") if before is not None else None
        kind = self.state.persistent.domain.machine if self.state.exists else self.spec.get("machine", "")
        why = None
        if machine.family(kind) != "pc":
            why = f"{self.spec.name} is a machine without IDE"
        elif now != IDE and len(others := self._on_ide((area, item.name))) >= _IDE_PLACES:
            why = f"IDE has {_IDE_PLACES} places, and {', '.join(others)} of {self.spec.name} have them"
            if len(self._on_ide((area, item.name), is_running=False)) < _IDE_PLACES:
                why = f"{why} while it runs. Stop it first"
        if why is not None:
            refuse(draft, path, now, IDE, f"{path}: {why}. Write sata or scsi")
        return why is None

    def _on_ide(self, new: tuple[str, str], *, is_running: bool = True) -> list[str]:
        """What has a place on IDE before the *new* item gets one: what stays or runs there, and what is declared before it."""
        found: list[str] = []
        for area in _DRIVES:
            there: t.Mapping[str, t.Any] = self.state.persistent.things(area) if self.state.exists else {}
            found += [f"{area}[{name}]" for name, its in there.items() if self._stays_on_ide(area, name, its)]
            runs = self.state.live.things(area) if self.state.live is not None and is_running else {}
            found += [f"{area}[{name}]" for name, its in runs.items() if its.value("bus") == IDE]
        if self.state.presets.bus == IDE and self.spec.has_seed and not (self.state.exists and self.state.seed_path):
            found.append("the seed")
        declared = [(area, item) for area in _DRIVES for item in self.spec.wanted(area)]
        before = itertools.takewhile(lambda its: (its[0], its[1].name) != new, declared)
        found += [f"{area}[{item.name}]" for area, item in before if self._bus_of(area, item) == IDE]
        return list(dict.fromkeys(found))

    def _stays_on_ide(self, area: str, name: str, device: t.Any) -> bool:
        item = self.spec.item(area, name)
        if item is not None:
            return item.is_wanted and item.get("bus", device.value("bus")) == IDE
        return device.value("bus") == IDE and (area not in self.spec.exact or name == SEED_DISK)
