# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Takes a guest back from the quarantine, or deletes for good what lies there of it."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic, lock, paths
from .._core.converge import Work
from .._core.errors import ApplyError
from .._core.options import split
from .._core.plan import Change, Plan, Step
from .._guest.allocation import check_macs
from .._guest.aside import empty, look_again, move_file, move_volume
from .._guest.options import TEMPLATE
from .._guest.ownership import Ownership
from .._guest.quarantine import all_volumes
from .._guest.record import GuestRecord, Quarantine, load
from .._host.libvirt import errors_of
from .._host.lxc import config_path
from .._host.snapshot import Host
from .._storage.choice import drivers_of
from .._vm import reserving
from .plan import to_restore
from .spec import Spec
from .state import Entry, State


def apply_quarantine(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when something is in the way by now.
    """
    if spec.state == "absent":
        for change in plan.changes:
            empty(state.entries[split(change.path)[1]].name, work.host)
            yield change
        return
    entry = to_restore(spec, state)
    if entry is not None:
        yield from _Return(spec.name, entry, plan, work.host).steps()


class _Return:
    """One guest that comes back. Each step is done once, however often a run is killed; what lay in the quarantine is forgotten last."""

    def __init__(self, name: str, entry: Entry, plan: Plan, host: Host) -> None:
        self.name = name
        self.entry = entry
        self.plan = plan
        self.host = host
        self.own = Ownership(host.record("guests", name))
        self.kept = Ownership(host.record("guests", entry.name))
        self.its = t.cast(Quarantine, self.kept.record.quarantine)
        self.before = load(self.its.record, exists=True)

    def steps(self) -> t.Iterator[Change | Step]:
        with lock.allocations():
            check_macs(self.name, self.before.macs)
            self.own.save(self._record())
        yield Step("record written")
        for item, recorded in self.kept.record.volumes.items():
            move_volume(recorded.volume, self.before.volumes[item].volume, self.host)
            yield Step(f"{item} in place")
        for item, file in self.kept.record.files.items():
            move_file(file.path, self.before.files[item].path)
            yield Step(f"{item} in place")
        for name, snapshot in self.kept.record.snapshots.items():
            for item, volume in snapshot.volumes.items():
                move_volume(volume, self.before.snapshots[name].volumes[item], self.host)
            move_file(paths.snapshot_folder(self.entry.name, name), paths.snapshot_folder(self.name, name))
            yield Step(f"snapshot {name} in place")
        if self.its.definition:
            self._protect()
            self._define()
            yield Step("definition written")
        look_again({volume.pool for volume in all_volumes(self.kept.record)}, self.host)
        self.kept.remove()
        yield from self.plan.changes

    def _record(self) -> GuestRecord:
        """What is said of the guest again: of what it had, what came to the quarantine, beside what was kept of it."""
        before, own, kept = self.before, self.own.record, self.kept.record
        parts: dict[str, t.Any] = {
            "volumes": {**own.volumes, **{item: before.volumes[item].settled() for item in kept.volumes}},
            "files": {**own.files, **{item: before.files[item].settled() for item in kept.files}},
            "snapshots": {**own.snapshots, **{name: before.snapshots[name] for name in kept.snapshots}},
            "returned": self.entry.name,
        }
        if not self.its.definition:
            return GuestRecord(kind=kept.kind, image=kept.image, origin=kept.origin, idmap=kept.idmap, **parts)
        return before.replace(is_building=False, due_power=None, run=None, holds=None, **parts)

    def _protect(self) -> None:
        """Nothing writes to what clones of a template stand on."""
        if self.before.value(TEMPLATE):
            for volume in (its.volume for its in self.own.record.volumes.values()):
                drivers_of(self.host)[volume.pool].protect(volume, is_read_only=True)

    def _define(self) -> None:
        if self.kept.record.kind == "container":
            path = config_path(self.name)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            atomic.write_file(path, self.its.definition)
            return
        with errors_of(f"define {self.name}", ApplyError):
            domain = self.host.connection.defineXML(self.its.definition)
            domain.setAutostart(int(self.its.is_autostarted))
        cards = {mac: card for card, mac in self.before.macs.items()}
        for its in self.before.reservations:
            reserving.keep(self.host, its, self.name, cards.get(its.mac, "lan"))
