# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The backup of one guest, tried: brought back beside it, started where it reaches nobody, asked how it is, and taken away again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
import typing as t

from ..._core import atomic, lock, paths, record
from ..._core.errors import ApplyError, HybridError, LockTimeout
from ..._guest.content import show_copied
from ..._guest.ownership import Ownership
from ..._guest.record import RecordedVolume, Restored
from ..._host.snapshot import Host
from ..._storage.choice import absence, drivers_of
from ..._storage.driver import Driver
from ..._storage.volume import Volume, of_guest
from .. import manifest as manifests
from ..config import Job
from ..manifest import Manifest
from ..repository import Repository
from ..restore.kinds import KINDS
from ..restore.state import State
from ..stored import Stored
from .asking import ask_until_well, look_into
from .health import wanted_of
from .kinds import SCRATCHES, Scratch
from .network import Network
from .plan import Tried, picked, scratch_name

_DRILLS = "drills"
_MOST_LOG = 1 << 18


def drill(guest: str, job: Job, host: Host, node: str) -> Tried:
    """Try a backup that *job* made of *guest* on the host *node*. Nothing of it is left then, whatever became of it."""
    try:
        with lock.drilling(guest, wait_seconds=0) as held:
            clear(guest, host)
            host.drop()
            run = _Drill(guest, job, host, held.fds)
            try:
                return run.through(node)
            finally:
                clear(guest, host)
    except HybridError as exc:
        return Tried(guest, problem=exc.message)


class _Drill:
    """One drill of one guest."""

    def __init__(self, guest: str, job: Job, host: Host, fds: t.Sequence[int]) -> None:
        self.guest = guest
        self.job = job
        self.host = host
        self.fds = fds
        self.repository = Repository(job.repository, fds)
        self.drivers = drivers_of(host)
        self.network = Network(guest)
        self.own = Ownership(record.load(_DRILLS, guest))
        self.began = time.monotonic()
        self.tried = Tried(guest)

    def through(self, node: str) -> Tried:
        """All of it, until the guest is well or it is known why not."""
        try:
            its = picked(self.repository.list(), self.job, self.guest, node, secrets.randbelow)
            self.tried = self.tried._replace(backup=its)
            self._through(its)
        except HybridError as exc:
            self.tried = self.tried._replace(problem=exc.message)
        except OSError as exc:
            self.tried = self.tried._replace(problem=f"{type(exc).__name__}: {exc}")
        return self.tried

    def _spent(self, what: str) -> None:
        now = time.monotonic()
        self.tried = self.tried._replace(seconds={**self.tried.seconds, what: round(now - self.began, 2)})
        self.began = now

    def _through(self, its: Stored) -> None:
        manifest = manifests.load(json.loads(self.repository.read(its.id, os.path.join(its.folder, manifests.FILE))))
        if its.kind not in SCRATCHES:
            raise ApplyError(f"a guest of the kind {its.kind} cannot be tried yet")
        volumes = self._volumes(manifest)
        scratch = SCRATCHES[its.kind](self.guest, self.network, self.own, self.drivers)
        why = scratch.obstacle(manifest, wanted_of(manifest.record, {}).checks)
        if why is not None:
            raise ApplyError(why)
        state = self._bring_back(its, manifest, volumes, scratch)
        left_out = scratch.define(state, self.repository)
        seen = look_into(scratch, manifest.record) if scratch.is_open else None
        self.tried = self.tried._replace(left_out=left_out, answers=seen.data if seen else ())
        self._spent("restore")
        scratch.start()
        try:
            answers = ask_until_well(scratch, manifest.record, seen, self.network, self.job.drill_timeout)
            self.tried = self.tried._replace(answers=answers)
            self._spent("boot")
        finally:
            log = scratch.boot_log().encode(errors="surrogateescape")[-_MOST_LOG:]
            atomic.write_file(paths.drill_log(self.guest), log, mode=0o600)

    def _volumes(self, manifest: Manifest) -> dict[str, Volume]:
        """The volumes that come of the backup, where it is known that they fit."""
        name, pools = scratch_name(self.guest), [str(its["pool"]) for its in manifest.volumes.values() if its["pool"]]
        if not pools and manifest.volumes:
            raise ApplyError(
                "none of its disks was in a storage pool, and there is none for what comes out of its backup"
            )
        found = {
            item: of_guest(str(its["pool"] or pools[0]), name, item, str(its["kind"]))
            for item, its in manifest.volumes.items()
        }
        for pool in {volume.pool for volume in found.values()}:
            why = absence(self.host, pool)
            if why is not None:
                raise ApplyError(f"its backup comes to the storage pool {pool}, and {why}")
        left = min((self.drivers[volume.pool].usage().available for volume in found.values()), default=0)
        if manifest.used_bytes > left:
            raise ApplyError(
                f"its backup takes {show_copied(manifest.used_bytes)}, and the storage pool has {show_copied(left)} left"
            )
        return found

    def _bring_back(self, its: Stored, manifest: Manifest, volumes: t.Mapping[str, Volume], scratch: Scratch) -> State:
        self.own.save(
            kind=its.kind,
            is_building=True,
            volumes={item: RecordedVolume(volume, is_fresh=True) for item, volume in volumes.items()},
            restored=Restored(self.job.repository, its.id, its.guest, its.made),
        )
        scratch.claim(manifest)
        state = State("absent", self.own.record, its, manifest, volumes)
        for item, volume in volumes.items():
            driver = self.drivers[volume.pool]
            fill = KINDS[its.kind].fill
            driver.publish(fill(state, item, volume, driver, self.repository, self.own, self.fds))
        return state


def clear(guest: str, host: Host) -> bool:
    """Take away all that a drill of *guest* made. Returns whether there was anything.

    :raises HybridError: when it cannot be; the next run tries again.
    """
    own = Ownership(record.load(_DRILLS, guest))
    if not own.record.exists:
        return False
    host.drop()
    drivers: dict[str, Driver] = drivers_of(host)
    if own.record.kind in SCRATCHES:
        SCRATCHES[own.record.kind](guest, Network(guest), own, drivers).remove()
    for volume in (its.volume for its in own.record.volumes.values()):
        if volume.pool in drivers and os.path.isdir(drivers[volume.pool].path):
            drivers[volume.pool].retire(volume)
            drivers[volume.pool].purge(volume)
    own.remove()
    return True


def clear_all(host: Host) -> list[str]:
    """Take away what drills that were killed left of any guest. Returns the guests; of one that is being tried nothing is taken."""
    found = []
    for guest in sorted(record.load_all(_DRILLS)):
        with contextlib.suppress(LockTimeout), lock.drilling(guest, wait_seconds=0):
            if clear(guest, host):
                found.append(guest)
    return found
