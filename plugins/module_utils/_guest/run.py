# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The one order in which a guest is written: record, power down, detach, storage, one definition, devices, live values, restart, power up."""

from __future__ import annotations

import typing as t

from .._core import lock
from .._core.converge import Work
from .._core.errors import MissingRequirement
from .._core.options import (
    CREATION,
    DEFINITION,
    FLAG,
    INSIDE,
    LIVE_ONLY,
    NETWORK,
    RECORD,
    SEED,
    VOLUME,
    Options,
    as_written,
    never,
    split,
)
from .._core.plan import Change, How, Plan, Step
from .allocation import check_macs
from .aside import Aside, look_again, settle
from .installing import DONE, INSTALL, OVER
from .options import TEMPLATE
from .ownership import Ownership
from .plan import is_left_to_installer, noted_power, origin_of, power_of, wanted_value, with_due_power
from .record import GuestRecord, Origin, Snapshot
from .spec import GuestSpec
from .state import GuestState

Steps = t.Iterator["Change | Step"]
_WAITING = (How.OFFLINE, How.NEXT_BOOT)
# Written by the one write of the definition, or with what it names.
_DEFINED = (DEFINITION, CREATION)
# Homes of which a running guest may have a value of its own.
_LIVE = (DEFINITION, INSIDE, SEED, LIVE_ONLY)


class Backend(t.Protocol):
    """How one kind of guest is written. A method ends when what it does stands, and raises ``ApplyError`` where it does not.

    *change* is one of the plan. Methods that return ``Steps`` say what came to stand meanwhile.
    """

    word: str
    options: Options
    own: Ownership
    work: Work

    # -- record

    def claims(self, *, is_final: bool) -> dict[str, t.Any]:
        """Fields of the record: volumes, names of items, ids, the uuid.

        Before the definition is written (not *is_final*) they must fit the old one as well: names only come, none goes or
        means something else. The lock of allocations is held.
        """

    def clear(self) -> Steps:
        """Take away what a creation that was interrupted has made. The record keeps nothing fresh."""

    # -- power

    def stop(self) -> None:
        """Shut the guest down, bounded by its time."""

    def start(self) -> None:
        """Start the guest, or wake it up where it was saved to disk."""

    def switch(self, now: str, target: str) -> None:
        """Bring the guest from the power *now* to *target*: ``started``, ``paused`` or ``suspended``."""

    # -- what runs

    def detach(self, change: Change) -> None:
        """Take an item out of the running guest; that it declines is noted in the record."""

    def attach(self, change: Change) -> None:
        """Bring an item into the running guest, as the definition has it."""

    def change_live(self, change: Change) -> None:
        """Give the running guest one value, unless it has it."""

    # -- what lasts

    def make_volumes(self) -> Steps:
        """Make or take over the volumes that the record names as new, with the files in them."""

    def resize(self, change: Change) -> None:
        """Give a volume its size."""

    def protect(self, *, is_read_only: bool) -> None:
        """Let nothing write to the volumes any more, as far as their pools see to it, or let it again."""

    def write_files(self, changes: t.Sequence[Change]) -> Steps:
        """Write the files that the guest reads: its seed, files of its root. *changes* are of the homes SEED and INSIDE."""

    def has_files_plugged_in(self) -> bool:
        """Whether these files count as soon as they are written; a new seed does with the definition that has it."""

    def write_definition(self) -> bool:
        """Write every change of the plan that the definition holds, at once. Returns whether it is another one now."""

    def set_flag(self, change: Change) -> None:
        """Set a flag that the hypervisor keeps beside the definition."""

    def settle_addresses(self) -> Steps:
        """Have the networks keep the addresses that its cards have once the run is over, and no others for it."""

    # -- removal

    def free_addresses(self) -> Steps:
        """Have no network keep an address for it any more."""

    def stop_for_good(self) -> None:
        """Switch the guest off before it is taken away."""

    def definition(self) -> tuple[str, bool]:
        """The lasting definition as text, and whether it starts with the host where that is kept beside it."""

    def undefine(self) -> None:
        """Take the definition away, and with it all that the hypervisor knows."""

    def remove_volume(self, name: str) -> None:
        """Delete one of our volumes."""

    def remove_snapshot(self, name: str) -> None:
        """Delete the volumes of one of our snapshots."""


class Installs(t.Protocol):
    """How the kind of guest that an installer can make the system of is given to it."""

    def begin_installation(self) -> None:
        """Start a new guest for its installer."""

    def end_installation(self) -> None:
        """Remove what only the installer needed."""


def check_origin(spec: GuestSpec, state: GuestState) -> None:
    """Whether what a new guest is cloned from is there.

    :raises MissingRequirement:
    """
    if spec.state != "absent" and not state.exists and spec.origin is not None and state.source is None:
        raise MissingRequirement(f"there is no guest {spec.origin}", missing=[f"guest {spec.origin}"])


class Run:
    """One run on one guest."""

    def __init__(
        self, backend: Backend, spec: GuestSpec, state: GuestState, plan: Plan, installs: Installs | None = None
    ) -> None:
        self.backend = backend
        self.installs = installs
        self.spec = with_due_power(spec, state)
        self.state = state
        self.plan = plan
        self.own = backend.own
        self.power = power_of(self.spec, state)
        # Until its installer has come to its end a guest is not made.
        self.is_unfinished = state.exists and state.installing is not None and state.record.is_building

    def steps(self) -> Steps:
        """Carry out the plan, yielding each change that stands."""
        for step in self._steps():
            # Until its installer has come to its end nothing of a new guest stands: a run that is killed may have to begin anew.
            yield Step(f"{step.path} prepared") if isinstance(step, Change) and step.path in self.plan.awaited else step

    def _steps(self) -> Steps:
        if self.spec.state == "absent":
            yield from self._remove()
            return
        if self.state.begun is not None:
            settle(self.state.begun, self.backend.work.host)
            yield Step("interrupted removal settled")
        if not self.plan.changed:
            yield from self._write_record()
            yield from self.backend.settle_addresses()
            return
        if not self.state.exists:
            yield from self.backend.clear()
        yield from self._write_record()
        yield from self._end_installation()
        yield from self._power_down()
        yield from self._detach()
        yield from self._change_storage()
        yield from self._write_definition()
        yield from self._change_devices()
        yield from self._change_values()
        yield from self._restart()
        yield from self._power_up()

    def _changes(self, *homes: str, how: t.Collection[How] = tuple(How)) -> list[Change]:
        """Those of options that live in one of *homes*. The power and the name are no options of a home."""
        return [
            change
            for change in self.plan.changes
            if change.how in how
            and change.path in self.backend.options
            and self.backend.options[change.path].home in homes
        ]

    # -- record

    def _write_record(self) -> Steps:
        is_new = not self.state.exists
        with lock.allocations():
            macs = self._added_macs()
            check_macs(self.spec.name, {**macs, **self._changed_macs()})
            macs = {**self.own.record.macs, **macs}
            record = self.own.record.replace(
                kind=self.backend.word, is_building=is_new or self.is_unfinished, macs=macs
            )
            record = record.replace(**self.backend.claims(is_final=False))
            if not is_left_to_installer(self.spec, self.state):
                record = record.replace(due_power=noted_power(self.spec, self.state))
            if is_new:
                record = record.replace(image=self.spec.image, origin=self._origin(), options={}, run=None)
            for change in self._changes(RECORD):
                if is_new or change.path != TEMPLATE.path:
                    record = self._with_value(record, change.path)
            is_written = self.own.save(record)
        if is_written:
            yield Step("record written")
        if not is_new:
            yield from (change for change in self._changes(RECORD) if change.path != TEMPLATE.path)

    def _origin(self) -> Origin | None:
        """What a new guest is cloned from; volumes that are kept of an earlier one stand on what that was cloned from."""
        is_kept = any(not its.is_fresh for its in self.own.record.volumes.values())
        return self.own.record.origin if is_kept else origin_of(self.spec, self.state.source)

    def _with_value(self, record: GuestRecord, path: str) -> GuestRecord:
        """*record* with what the plan makes of *path*."""
        return record.with_value(self.backend.options[path], wanted_value(self.backend.options, self.spec, path))

    def _added_macs(self) -> dict[str, str]:
        """The MACs of the cards that the plan adds, by name."""
        added = {}
        for change in self.plan.changes:
            area, name, key = split(change.path)
            if area == "networks" and not key and change.after and change.after.get("mac"):
                added[name] = str(change.after["mac"])
        return added

    def _changed_macs(self) -> dict[str, str]:
        """The MACs that cards get in place of their own. The old ones stay ours until the definition has the new ones."""
        paths = {change.path: split(change.path) for change in self.plan.changes}
        return {
            name: str(wanted_value(self.backend.options, self.spec, path))
            for path, (area, name, key) in paths.items()
            if (area, key) == ("networks", "mac")
        }

    def _complete_record(self) -> Steps:
        """What the definition that stands now means."""
        record = self.own.record.replace(macs={**self.own.record.macs, **self._changed_macs()})
        if not (self.is_unfinished or self._is_to_be_installed()):
            record = _settled(record)
        if self.own.save(record.replace(**self.backend.claims(is_final=True))):
            yield Step("record complete")

    # -- an installer

    def _is_to_be_installed(self) -> bool:
        return not self.state.exists and self.plan.has(INSTALL)

    def _end_installation(self) -> Steps:
        change, its = self.plan.get(INSTALL), self.state.installing
        if change is None or its is None or self.installs is None or not self.state.exists:
            return
        if is_left_to_installer(self.spec, self.state):
            return
        # First of all: what is on the disks counts from now on, whatever ends the guest.
        record = _settled(self.own.record)
        install = record.install._replace(stage=OVER) if record.install else None
        due = (
            "paused"
            if self.spec.state == "paused"
            else "started"
            if its.runs and self.power.will_run
            else record.due_power
        )
        self.own.save(record.replace(install=install, due_power=due))
        self.is_unfinished = False
        yield Step("installed")
        if its.runs:
            self.backend.stop()
            yield Step("stopped without the media of its installer")
        self.installs.end_installation()
        self.own.save(install=install._replace(stage=DONE) if install else None)
        yield Step("media of the installer removed")
        if change.how is not How.RESTART:
            yield change

    # -- the order

    def _power_down(self) -> Steps:
        if self.power.is_running and not self.power.will_run:
            self.backend.stop()
            yield Step("powered down")
        elif self.state.exists and self.state.power == "suspended" and self.power.takes_changes:
            self.backend.start()
            yield Step("woken up")

    def _detach(self) -> Steps:
        for change in self._items(How.LIVE):
            if change.after is None:
                self.backend.detach(change)
                yield Step(f"{change.path} detached")

    def _change_storage(self) -> Steps:
        template = self.plan.get(TEMPLATE.path)
        if template is not None and not template.after:
            yield from self._make_template(template)
        yield from self.backend.make_volumes()
        for change in self._changes(VOLUME):
            if self.state.exists:
                self.backend.resize(change)
                yield change
        files = self._changes(SEED, INSIDE)
        yield from self.backend.write_files(files)
        if self._has_files():
            yield from (change for change in files if change.how in _WAITING)
        if template is not None and template.after:
            yield from self._make_template(template)

    def _make_template(self, change: Change) -> Steps:
        """The volumes first: of a run that is killed before the record is written the next one does all of it."""
        self.backend.protect(is_read_only=bool(change.after))
        yield Step("volumes protected" if change.after else "volumes writable")
        if self.state.exists:
            self.own.save(self._with_value(self.own.record, change.path))
            yield change

    def _has_files(self) -> bool:
        return self.state.exists and self.backend.has_files_plugged_in()

    def _write_definition(self) -> Steps:
        if self.backend.write_definition():
            yield Step("definition written")
        flags = self._changes(FLAG)
        if not self.state.exists:
            # Of a run that is killed here the next one begins anew: a new guest stands with its flags, or not at all.
            for change in flags:
                self.backend.set_flag(change)
        # Before a card is plugged in that asks for its address.
        yield from self.backend.settle_addresses()
        yield from self._complete_record()
        yield from self._changes(NETWORK, how=(*_WAITING, How.LIVE))
        if not self.state.exists:
            yield from self._changes(RECORD, VOLUME)
            yield from self._taken_over()
        if not self._has_files():
            yield from self._changes(SEED, INSIDE, how=_WAITING)
        for change in flags:
            if self.state.exists:
                self.backend.set_flag(change)
            yield change
        yield from self._changes(*_DEFINED, LIVE_ONLY, how=_WAITING)
        yield from (change for change in self._changes(*_LIVE, how=(How.LIVE,)) if self._counts_as_written(change))

    def _taken_over(self) -> list[Change]:
        """Volumes that a new guest gets of an earlier one, where they are no items. A copy of its image was told when it was made."""
        known = {"state", INSTALL, *self.backend.options.rows}
        changes = (change for change in self.plan.changes if not change.done)
        return [change for change in changes if "[" not in change.path and change.path not in known]

    def _counts_as_written(self, change: Change) -> bool:
        """Whether it is in force once the definition has it: what cannot change live does so where what runs has it already."""
        live = self.backend.options[change.path].live
        return live is as_written or (live is never and not change.path.endswith("]"))

    def _items(self, *hows: How) -> list[Change]:
        """The changes of whole items: plugged in, or taken out."""
        return [change for change in self._changes(DEFINITION, how=hows) if change.path.endswith("]")]

    def _change_devices(self) -> Steps:
        for change in self._items(How.LIVE):
            if change.after is not None:
                self.backend.attach(change)
            yield change

    def _change_values(self) -> Steps:
        for change in self._changes(*_LIVE, how=(How.LIVE,)):
            if not change.path.endswith("]") and not self._counts_as_written(change):
                self.backend.change_live(change)
                yield change

    def _restart(self) -> Steps:
        waiting = [change for change in self.plan.changes if change.how is How.RESTART]
        if not waiting:
            return
        # It ran, and nothing else would tell that once it is stopped.
        self.own.save(due_power="paused" if self.spec.state == "paused" else "started")
        self.backend.stop()
        yield Step("stopped for the restart")
        self.backend.start()
        if not self._has_power_to_change():
            self._forget_due_power()
        yield from waiting

    def _power_up(self) -> Steps:
        change = self.plan.get("state")
        if change is None or not self._has_power_to_change():
            return
        target = str(change.after)
        now = self.state.power if self.state.exists else "stopped"
        install = self.plan.get(INSTALL)
        if install is not None and self.installs is not None and not self.state.exists:
            self.installs.begin_installation()
            yield Step("installer started")
            return
        if now == "suspended" and self.power.takes_changes:
            now = "started"
        if target not in ("stopped", now):
            self.backend.switch(now, target)
        self._forget_due_power()
        yield change

    def _has_power_to_change(self) -> bool:
        """Whether the power is changed apart from a restart."""
        change = self.plan.get("state")
        return change is not None and change.how is not How.RESTART

    def _forget_due_power(self) -> None:
        """Behind what was due, never before: the note of a run that is killed in between is taken back by the next one, which sees that
        the guest has what was due.
        """
        if self.own.record.due_power is not None:
            self.own.save(due_power=None)

    # -- removal

    def _remove(self) -> Steps:
        removal = self.plan.get("state")
        if self.state.is_known and removal is not None:
            self.backend.stop_for_good()
            yield Step("powered down")
        aside = self._aside()
        if aside is not None:
            yield Step("record of the quarantine written")
        if removal is not None:
            if self.state.is_known:
                if self.own.record.value(TEMPLATE):
                    # Whoever gets them later may write to them.
                    self.backend.protect(is_read_only=False)
                self.backend.undefine()
                yield Step("definition removed")
            yield from self.backend.free_addresses()
            if self.is_unfinished:
                # Nobody knows what an installer has left on its disks: they are kept as those of any guest.
                self.own.save(_settled(self.own.record))
            yield from self.backend.clear()
            record = self.own.record
            # What is needed to delete later what is kept, or to use it again.
            kept = {name: volume for name, volume in record.volumes.items() if name in self.state.owned}
            snapshots = self._snapshots_left()
            left = GuestRecord(
                kind=record.kind,
                image=record.image,
                origin=record.origin,
                volumes=kept,
                idmap=record.idmap,
                snapshots=snapshots,
                files={name: file for name, file in record.files.items() if name in self.state.owned},
            )
            self._save_what_is_left(left)
            yield removal
        for change in self.plan.changes:
            area, name, dummy = split(change.path)
            if area == "snapshots" and name:
                if aside is None:
                    self.backend.remove_snapshot(name)
                else:
                    aside.take_snapshot(name)
                    yield Step(f"{change.path} moved")
                self._save_what_is_left(self.own.record.replace(snapshots=self._snapshots_left(but=name)))
                yield change
            elif change is not removal:
                name = name or change.path
                if aside is None:
                    self.backend.remove_volume(name)
                else:
                    aside.take(name)
                    yield Step(f"{change.path} moved")
                record = self.own.record
                volumes = {other: volume for other, volume in record.volumes.items() if other != name}
                files = {other: file for other, file in record.files.items() if other != name}
                self._save_what_is_left(record.replace(volumes=volumes, files=files))
                yield change
        begun = self.state.begun if aside is None else aside.name
        if begun is not None:
            settle(begun, self.backend.work.host)
            look_again(aside.pools if aside else (), self.backend.work.host)
            yield Step("record of the quarantine complete")

    def _aside(self) -> Aside | None:
        """Where what is deleted goes to, noted there before anything moves; ``None`` where it is deleted at once."""
        places = [split(change.path) for change in self.plan.changes if change.path != "state"]
        if self.state.quarantined_until is None or not places:
            return None
        aside = Aside(self.spec.name, self.own, self.state, self.backend.work.host)
        items = [name or area for area, name, dummy in places if area != "snapshots"]
        snapshots = [name for area, name, dummy in places if area == "snapshots"]
        definition = self.backend.definition() if self.state.is_known else ("", False)
        aside.begin(items, snapshots, definition)
        return aside

    def _snapshots_left(self, but: str = "") -> dict[str, Snapshot]:
        """Those that are kept. One of which nothing is there was noted by a run that was killed before it made it."""
        known = self.own.record.snapshots.items()
        return {name: its for name, its in known if name != but and self.state.snapshots.get(name)}

    def _save_what_is_left(self, record: GuestRecord) -> None:
        """The record goes with the last that is kept."""
        if record.volumes or record.snapshots or record.files:
            self.own.save(record)
        else:
            self.own.remove()


def _settled(record: GuestRecord) -> GuestRecord:
    """The record of a guest that stands: nothing of it is fresh."""
    volumes = {name: volume.settled() for name, volume in record.volumes.items()}
    files = {name: file.settled() for name, file in record.files.items()}
    return record.replace(is_building=False, volumes=volumes, files=files)
