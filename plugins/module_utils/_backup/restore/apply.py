# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Brings a guest back from a backup: a new one of its parts, or what is in the backup into one that is there."""

from __future__ import annotations

import typing as t

from ..._core import converge
from ..._core.converge import Work
from ..._core.plan import Change, Plan, Step
from ..._guest.ownership import Ownership
from ..._guest.record import Restored, Snapshot
from ..._snapshot.resource import GuestSnapshot
from ..._storage.choice import drivers_of
from ..._storage.driver import Driver
from ..._storage.volume import Volume
from ..stored import short
from .kinds import KINDS
from .source import load
from .spec import Spec
from .state import State

Steps = t.Iterator[t.Union[Change, Step]]  # noqa: UP007  # evaluated by the oldest Python that a test of ansible-core has


def apply_restore(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError, CommandError, RepositoryError: when a step fails.
    """
    run = _Run(spec, state, work, plan.warnings)
    yield from run.make() if state.power == "absent" else run.overwrite()
    yield from plan.changes


class _Run:
    """One guest that comes out of a backup."""

    def __init__(self, spec: Spec, state: State, work: Work, warnings: list[str]) -> None:
        self.spec = spec
        self.warnings = warnings
        self.state = state
        self.work = work
        self.fds = work.held.fds
        self.kind = KINDS[state.chosen.kind]
        self.source = load(spec, work.host, work.held.fds)
        self.drivers = drivers_of(work.host)

    @property
    def _origin(self) -> Restored:
        its = self.state.chosen
        return Restored(self.spec.repository, its.id, its.guest, its.made)

    def _own(self) -> Ownership:
        return Ownership(self.work.host.record("guests", self.spec.name))

    def _driver(self, volume: Volume) -> Driver:
        return self.drivers[volume.pool]

    def make(self) -> Steps:
        """A new guest: volumes under names of this attempt first, and its definition last."""
        own = self._own()
        if own.record.is_building:
            self.kind.forget(self.spec.name)
            for volume in [its.volume for its in own.record.volumes.values() if its.is_fresh]:
                self._driver(volume).retire(volume)
                self._driver(volume).purge(volume)
            yield Step("half-made guest removed")
        self.kind.claim(self.spec, self.state, own)
        yield Step("record written")
        try:
            for item, volume in self.state.volumes.items():
                driver = self._driver(volume)
                attempt = self.kind.fill(self.state, item, volume, driver, self.source, own, self.fds)
                yield Step(f"{item} brought back")
                driver.publish(attempt)
                yield Step(f"{item} in place")
        except Exception:
            for volume in self.state.volumes.values():
                self._driver(volume).retire(volume)
                self._driver(volume).purge(volume)
            own.remove()
            raise
        self.warnings += yield from self.kind.define(self.spec, self.state, self.source, own, self.work)
        settled = {item: its.settled() for item, its in own.record.volumes.items()}
        own.save(is_building=False, volumes=settled, restored=self._origin)
        yield Step("record complete")
        if self.spec.start:
            self.kind.start(self.spec.name)

    def overwrite(self) -> Steps:
        """What is in the backup becomes a snapshot of the guest, which is brought back to that; what there was is a snapshot, too."""
        own, name = self._own(), f"restored-{short(self.state.chosen.id)}"
        reverting = own.record.reverting
        if reverting is None or reverting.target != name:
            yield from self._lay_beside(own, name)
        yield from self._on_snapshots(
            name,
            state="reverted",
            allow=["revert"],
            shutdown_timeout=self.spec.shutdown_timeout,
            force_stop=self.spec.force_stop,
        )
        yield from self._on_snapshots(name, state="absent")
        self._own().save(restored=self._origin)

    def _lay_beside(self, own: Ownership, name: str) -> Steps:
        volumes = {item: volume.snapshot(name) for item, volume in self.state.volumes.items()}
        begun = Snapshot(self.state.chosen.made, volumes, "crash", own.record.idmap, is_building=True)
        own.save(snapshots={**own.record.snapshots, name: begun})
        yield Step("record written")
        for item, volume in volumes.items():
            driver = self._driver(volume)
            driver.retire(volume)
            driver.purge(volume)
            attempt = self.kind.fill(self.state, item, volume, driver, self.source, own, self.fds)
            yield Step(f"{item} brought back beside")
            driver.publish(attempt, is_read_only=True)
        laid = self.kind.lay_beside(self.spec, self.state, self.source, name, self.work.host)
        own.save(snapshots={**own.record.snapshots, name: begun._replace(is_building=False, **laid)})
        yield Step("all brought back beside")

    def _on_snapshots(self, name: str, **params: t.Any) -> Steps:
        """A run on a snapshot of the guest, whose lock is held."""
        self.work.host.drop()
        resource = GuestSnapshot()
        spec = resource.parse({"guest": self.spec.name, "name": name, **params})
        state = resource.observe(spec, self.work.host)
        plan = resource.plan(spec, state)
        converge.refuse(plan)
        for step in resource.apply(spec, state, plan, self.work):
            if isinstance(step, Step):
                yield step
