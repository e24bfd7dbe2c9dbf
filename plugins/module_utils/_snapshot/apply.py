# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The only code that makes and deletes snapshots, and brings a guest back to one."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._core import paths
from .._core.converge import Work
from .._core.errors import ApplyError
from .._core.options import split
from .._core.plan import Change, Plan, Step
from .._guest import beside
from .._guest.content import copied_by_itself
from .._guest.ownership import Ownership
from .._guest.record import Revert, Snapshot
from .._storage.choice import drivers_of
from .._storage.driver import Attempt, Driver, Snapshotting
from .._storage.volume import FILESYSTEM, Volume
from .._vm.firmware import NVRAM
from .._vm.volumes import read_volume
from .hands import Container, Hands, Machine
from .plan import MEMORY, stands_still
from .spec import Spec
from .state import State

Steps = t.Iterator[Change | Step]


def apply_snapshot(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError, CommandError: when a step fails; a snapshot that could not be made is taken back.
    """
    run = _Run(spec, state, plan, work)
    if spec.state == "absent":
        yield from run.delete(spec.name)
        yield from plan.changes
    elif spec.state == "reverted":
        yield from run.revert()
    else:
        yield from run.make()
        yield from run.prune()


class _Run:
    """One run on the snapshots of one guest."""

    def __init__(self, spec: Spec, state: State, plan: Plan, work: Work) -> None:
        self.spec = spec
        self.state = state
        self.plan = plan
        self.fds = work.held.fds
        self.own = Ownership(work.host.record("guests", spec.guest))
        self.drivers = drivers_of(work.host)
        self.hands = self._hands(work)

    def _hands(self, work: Work) -> Hands:
        # One that is gone is a container as well as a machine: only its files are left.
        if self.spec.guest in work.host.domains:
            return Machine(self.spec, work, self.own, has_agent=self.state.has_agent, warnings=self.plan.warnings)
        return Container(self.spec, self.fds)

    def _tell(self, snapshot: Snapshot) -> None:
        self.plan.warnings += self.hands.tell({volume.pool for volume in snapshot.volumes.values()})

    def _driver(self, volume: Volume) -> Driver:
        driver = self.drivers.get(volume.pool)
        if driver is None:
            raise ApplyError(f"the storage pool {volume.pool} has no driver on this host")
        return driver

    def _able(self, volume: Volume) -> Snapshotting:
        return t.cast(Snapshotting, self._driver(volume))

    def _note(self, name: str, snapshot: Snapshot | None, **changes: t.Any) -> None:
        others = {other: its for other, its in self.own.record.snapshots.items() if other != name}
        snapshots = others if snapshot is None else {**others, name: snapshot}
        self.own.save(snapshots=snapshots, **changes)

    # -- present

    def make(self) -> Steps:
        name = self.spec.name
        if not self.plan.has("state"):
            return
        old = self.own.record.snapshots.get(name)
        # Who was held for one that never came about is let go with this one.
        was_held = old is not None and old.is_held
        volumes = {item: part.volume.snapshot(name) for item, part in self.state.parts.items()}
        stops = stands_still(self.state)
        holds = stops or self.state.has_agent or MEMORY in self.state.beside
        consistency = "clean" if self.state.power == "stopped" else "crash"
        begun = Snapshot(
            round(time.time(), 3),
            volumes,
            consistency,
            self.own.record.idmap,
            is_building=True,
            is_held=holds or was_held,
            beside=tuple(self.state.beside),
            nvram=self._nvram,
        )
        if old is not None:
            self._give_up(name, old)
        self._note(name, begun)
        yield Step("record written")
        try:
            attempts, copies = self._prepare_copies(name)
            if begun.beside:
                beside.make_folder(self.spec.guest, name)
            if was_held and MEMORY in begun.beside:
                # QEMU writes the memory of no machine that stands still since it was written before.
                self.hands.release(stopped=True)
            with self._held(stops=stops, is_due=holds, was_held=was_held) as is_frozen:
                if copies:
                    self.hands.begin_copies(copies)
                for item, part in self.state.parts.items():
                    if item not in attempts:
                        self._able(part.volume).snapshot(part.volume, name, keep_fds=self.fds)
                        yield Step(f"snapshot of {item}")
                for word, its in self.state.beside.items():
                    if word != MEMORY:
                        beside.keep(its.place, self._beside(name, word))
                        yield Step(f"{word} kept")
            if attempts:
                yield Step("copies begun")
                self.hands.finish_copies()
            for item, attempt in attempts.items():
                self._driver(attempt.volume).publish(attempt, is_read_only=True)
                yield Step(f"snapshot of {item}")
        except Exception:
            self._give_up(name, begun)
            self._note(name, None)
            raise
        if MEMORY in begun.beside:
            consistency = "live"
        elif is_frozen:
            consistency = "frozen"
        self._note(name, begun._replace(consistency=consistency, is_building=False, is_held=False))
        self._tell(begun)
        yield from (change for change in self.plan.changes if split(change.path)[0] != "snapshots")

    def _prepare_copies(self, name: str) -> tuple[dict[str, Attempt], dict[str, Attempt]]:
        """The attempts at snapshots that the machine copies itself, by item and by the path of the disk."""
        found, copies = {}, {}
        for item in copied_by_itself(self.state.parts, copies_itself=self.state.copies_itself):
            volume = self.state.parts[item].volume
            driver = self._driver(volume)
            source = driver.disk_source(volume)
            # The beginning of a raw disk is the guest's, and nothing to guess a format from.
            size = os.path.getsize(source.path) if source.format == "raw" else read_volume(source.path)[0]
            attempt = driver.create(volume.snapshot(name), size=size, format=source.format, keep_fds=self.fds)
            found[item] = copies[source.path] = attempt
        return found, copies

    @property
    def _nvram(self) -> str:
        """Where the guest has its UEFI variables; empty where there are none."""
        return self.state.beside[NVRAM].place if NVRAM in self.state.beside else ""

    def _beside(self, name: str, word: str) -> str:
        return os.path.join(paths.snapshot_folder(self.spec.guest, name), word)

    def _give_up(self, name: str, begun: Snapshot) -> None:
        """Remove what there is of a snapshot that is not whole."""
        if MEMORY in begun.beside:
            self.hands.end_saving()
        self.hands.end_copies([self._able(volume).attempts_at(volume) for volume in begun.volumes.values()])
        self._remove(begun)
        beside.remove(self.spec.guest, name)

    @contextlib.contextmanager
    def _held(self, *, stops: bool, is_due: bool, was_held: bool) -> t.Iterator[bool]:
        """Hold the guest meanwhile. Yields whether its file systems are whole."""
        try:
            memory = self._beside(self.spec.name, MEMORY) if MEMORY in self.state.beside else None
            yield is_due and self.hands.hold(stops=stops, memory=memory)
        finally:
            if is_due or was_held:
                self.hands.release(stopped=stops or was_held)

    def prune(self) -> Steps:
        for change in self.plan.changes:
            area, name, dummy = split(change.path)
            if area == "snapshots":
                yield from self.delete(name)
                yield change

    # -- absent

    def delete(self, name: str) -> Steps:
        its = self.own.record.snapshots[name]
        if not its.is_building:
            self._note(name, its._replace(is_building=True))
            yield Step(f"{name} is going")
        self._give_up(name, its)
        yield Step(f"volumes of {name} removed")
        if its.is_held:
            self.hands.release(stopped=True)
        self._note(name, None)
        self._tell(its)
        if not (self.own.record.volumes or self.own.record.snapshots or self.state.power != "absent"):
            self.own.remove()

    def _remove(self, snapshot: Snapshot) -> None:
        for volume in snapshot.volumes.values():
            driver = self._driver(volume)
            driver.retire(volume)
            driver.purge(volume)

    # -- reverted

    def revert(self) -> Steps:
        name, record = self.spec.name, self.own.record
        target, aside = record.snapshots[name], self.state.aside
        current = {item: record.volumes[item].volume for item in target.volumes}
        is_running = self.state.power != "stopped"
        if record.reverting is None:
            volumes = {item: volume.snapshot(aside) for item, volume in current.items()}
            consistency = "crash" if is_running and self.spec.force_stop else "clean"
            kept_beside = tuple(word for word, its in self.state.beside.items() if os.path.exists(its.place))
            if kept_beside:
                beside.make_folder(self.spec.guest, aside)
            self._note(
                aside,
                Snapshot(
                    round(time.time(), 3), volumes, consistency, record.idmap, beside=kept_beside, nvram=self._nvram
                ),
                reverting=Revert(name, aside),
            )
            yield Step("record written")
        kept = self.own.record.snapshots[aside].volumes
        is_swapped = all(self._is_swapped(volume, kept[item]) for item, volume in current.items())
        if is_running and (self.state.beside or not is_swapped):
            self.own.save(due_power="started")
            self.hands.stop()
            yield Step("powered down")
        for item, volume in current.items():
            yield from self._swap(item, volume, target.volumes[item], kept[item])
        for word, its in self.state.beside.items():
            if word != MEMORY:
                if word in self.own.record.snapshots[aside].beside:
                    beside.keep(its.place, self._beside(aside, word))
                    yield Step(f"{word} set aside")
                beside.put(self._beside(name, word), its.place)
                yield Step(f"{word} in place")
        self.own.save(reverting=None)
        self._tell(target)
        yield Step("record complete")
        if MEMORY in self.state.beside:
            self.hands.wake(self._beside(name, MEMORY))
            self.own.save(due_power=None)
        elif self.own.record.due_power is not None:
            # Forgotten when it runs: killed in between, nothing else would tell that the guest ran before.
            self.hands.start()
            self.own.save(due_power=None)
        yield from self.plan.changes

    def _is_swapped(self, volume: Volume, aside: Volume) -> bool:
        driver = self._driver(volume)
        return driver.exists(aside) and driver.exists(volume)

    def _swap(self, item: str, volume: Volume, target: Volume, aside: Volume) -> Steps:
        """*volume* becomes what *target* holds, and what it holds *aside*. What a run that was killed has done is not done again."""
        driver = self._able(volume)
        size = (driver.limit(aside) if driver.exists(aside) else driver.limit(volume)).size
        if not self._is_swapped(volume, aside):
            attempt = driver.restore(volume, target, keep_fds=self.fds)
            yield Step(f"{item} restored beside")
            if not driver.exists(aside):
                driver.set_aside(volume, aside)
                yield Step(f"{item} set aside")
            driver.publish(attempt)
            yield Step(f"{item} in place")
        if size is not None and volume.kind == FILESYSTEM:
            driver.resize(volume, size)
        driver.seal(aside)
