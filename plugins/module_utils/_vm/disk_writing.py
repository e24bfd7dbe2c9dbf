# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How the volumes of a virtual machine are made, cloned and resized."""

from __future__ import annotations

import contextlib
import typing as t

from .._core import libraries, lock
from .._core.errors import ApplyError
from .._core.options import Item, split
from .._core.plan import Change, How, Step
from .._guest import beside
from .._guest.content import Source, copied_by_itself
from .._guest.plan import is_half_made
from .._guest.record import Origin, RecordedVolume
from .._guest.run import Steps
from .._host.libvirt import errors_of
from .._image.plan import COPIES
from .._storage import cloning
from .._storage import volume as volumes
from .._storage.driver import Attempt, DiskSource, Snapshotting
from .._storage.volume import Volume
from . import backup, stillness, storage
from .firmware import NVRAM
from .options import CLOUD_INIT, SEED_DISK
from .spec import new_item
from .writing import Writer


class DiskWriter(Writer):
    """The part of ``VmBackend`` that writes disks."""

    def _plan_volumes(self) -> None:
        for item in self.spec.wanted("disks"):
            change = self.plan.get(f"disks[{item.name}]")
            is_new = change is not None and item.name not in self.defined("disks")
            if not is_new or "pool" not in item.values:
                continue
            found = self.state.found.get(item.name)
            volume = volumes.of_guest(str(item.get("pool")), self.spec.name, item.name, volumes.BLOCK)
            if found is not None and not is_half_made(self.state, item.name):
                self.adopted[item.name] = RecordedVolume(volume)
            else:
                self.made[item.name] = RecordedVolume(volume, is_fresh=not self.state.exists)
        if self.plan.has(*CLOUD_INIT) and (not self.state.exists or self.state.seed_path is None):
            place = volumes.of_guest(str(self.state.seed_pool(self.spec)), self.spec.name, SEED_DISK, volumes.BLOCK)
            self.made[SEED_DISK] = RecordedVolume(place, is_fresh=not self.state.exists)

    def make_volumes(self) -> Steps:
        new = {**self.made, **self.adopted}
        wanted = [item for item in self.spec.wanted("disks") if item.name in new]
        items = {
            item.name: new_item("disks", item, self.state.formats, self._variant, self.state.image_presets)
            for item in wanted
        }
        cloned = {name: its.volume for name, its in self.made.items() if name in self._cloned}
        if cloned:
            yield from self._clone_disks(cloned, items)
        for name, recorded in self.made.items():
            volume = recorded.volume
            if name not in (SEED_DISK, *cloned) and not self._driver(volume).exists(volume):
                yield from storage.make_volume(self.work, self._driver(volume), volume, items[name].values)
                yield Step(f"volume {name} made")
        yield from (change for change in self.plan.changes if change.path.startswith(COPIES))
        for name, recorded in self.adopted.items():
            size = items[name].get("size")
            if size is not None:
                self._driver(recorded.volume).resize(recorded.volume, size, keep_fds=self.work.held.fds)
                yield Step(f"volume {name} taken")
        self.plan.warnings += storage.refresh(self.work, [recorded.volume.pool for recorded in new.values()])

    @property
    def _cloned(self) -> t.Collection[str]:
        """The disks that a new machine has of its origin."""
        return self.state.source.parts if self.state.source and not self.state.exists else ()

    def _clone_disks(self, targets: t.Mapping[str, Volume], items: t.Mapping[str, Item]) -> Steps:
        source, origin = t.cast(Source, self.state.source), t.cast(Origin, self.own.record.origin)
        attempts: dict[str, Attempt] = {}
        by_itself = (
            [] if source.is_snapshot else copied_by_itself(source.parts, copies_itself=source.content.copies_itself)
        )
        try:
            with self._held(origin.guest, source, is_copying=bool(by_itself)):
                copies = {}
                for name in by_itself:
                    disk = self._origin_of(name)
                    size, form = source.sizes[name], str(items[name].get("format"))
                    attempts[name] = self._driver(targets[name]).create(
                        targets[name], size=size, format=form, keep_fds=self.work.held.fds
                    )
                    copies[disk.path] = attempts[name]
                with self._still(origin.guest, source):
                    if copies:
                        backup.begin(self.work.host.domains[origin.guest], copies)
                    for name, volume in targets.items():
                        if name not in attempts:
                            attempts[name] = self._begin_clone(name, volume, items[name], is_linked=origin.is_linked)
                            yield Step(f"{name} cloned")
                    if place := source.beside.get(NVRAM):
                        beside.keep(place, self._cloned_nvram)
                        yield Step("nvram copied")
                if copies:
                    yield Step("copies begun")
                    backup.finish(self.work.host.domains[origin.guest])
            for name, attempt in attempts.items():
                driver, size = self._driver(attempt.volume), items[name].get("size")
                driver.publish(attempt)
                if size is not None and size > (source.sizes[name] or 0) and not origin.is_linked:
                    driver.resize(attempt.volume, size, keep_fds=self.work.held.fds)
                yield Step(f"volume {name} made")
        except Exception:
            # A disk that did not fit would keep its pool full.
            for volume in targets.values():
                self._driver(volume).purge(volume)
            raise

    def _origin_of(self, name: str) -> DiskSource:
        volume = t.cast(Source, self.state.source).parts[name].volume
        return self._driver(volume).disk_source(volume)

    def _begin_clone(self, name: str, volume: Volume, item: Item, *, is_linked: bool) -> Attempt:
        origin = t.cast(Source, self.state.source).parts[name].volume
        return cloning.begin(
            self._driver(volume),
            volume,
            self._driver(origin),
            origin,
            is_linked=is_linked,
            size=item.get("size"),
            format=item.get("format"),
            keep_fds=self.work.held.fds,
        )

    @contextlib.contextmanager
    def _held(self, name: str, source: Source, *, is_copying: bool) -> t.Iterator[None]:
        """Our record says of a running machine that it is held or copies itself: who was killed ends that in the next run."""
        if not (source.is_held or is_copying or (source.runs and source.content.has_agent)):
            yield
            return
        with lock.holding(name):
            self.own.save(holds=name)
            try:
                yield
            finally:
                self.own.save(holds=None)

    @contextlib.contextmanager
    def _still(self, name: str, source: Source) -> t.Iterator[None]:
        has_agent = source.runs and source.content.has_agent
        if not (source.is_held or has_agent):
            yield
            return
        domain, is_frozen = self.work.host.domains[name], False
        try:
            is_frozen = stillness.hold(domain, stops=source.is_held, has_agent=has_agent, warnings=self.plan.warnings)
            yield
        finally:
            stillness.release(domain, stopped=source.is_held, is_frozen=is_frozen)

    def _let_go(self, name: str) -> None:
        """End what a run that was killed has begun on the machine *name*."""
        with lock.holding(name):
            domain = self.work.host.domains.get(name)
            if domain is not None:
                ours = [its.volume for its in self.own.record.volumes.values() if its.is_fresh]
                backup.end(domain, [t.cast(Snapshotting, self._driver(volume)).attempts_at(volume) for volume in ours])
                stillness.release(domain, stopped=True, is_frozen=False)
            self.own.save(holds=None)

    def resize(self, change: Change) -> None:
        name, size = split(change.path)[1], self.wanted(change.path)
        device, plugged = self.state.persistent.disks[name], self._running("disks").get(name)
        if change.how is How.LIVE and plugged is not None and plugged.source == device.source:
            with errors_of(f"grow the disk {device.target} of {self.spec.name}", ApplyError):
                self.domain.blockResize(plugged.target, size, libraries.libvirt().VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        elif self._is_ours(name, device.source):
            volume = self.own.record.volumes[name].volume
            self._driver(volume).resize(volume, size, keep_fds=self.work.held.fds)
        else:
            storage.grow(self.work, device.source, str(device.value("format")), size)
        self.plan.warnings += storage.refresh(self.work, [device.value("pool")])

    def protect(self, *, is_read_only: bool) -> None:
        for name, recorded in self.own.record.volumes.items():
            driver = self._driver(recorded.volume)
            if name != SEED_DISK and driver.exists(recorded.volume):
                driver.protect(recorded.volume, is_read_only=is_read_only)
