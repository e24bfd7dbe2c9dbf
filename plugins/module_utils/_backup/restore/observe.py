# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a guest that shall come out of a backup, and what the repository has of it. Only reads."""

from __future__ import annotations

import json
import os
import typing as t

from ..._core import atomic
from ..._core.errors import ObserveError
from ..._guest.allocation import taken_macs
from ..._guest.identity import derive_mac
from ..._guest.record import GuestRecord
from ..._guest.recorded import load_file
from ..._host.snapshot import Host
from ..._storage.choice import absence, drivers_of
from ..._storage.driver import Driver
from ..._storage.volume import Volume, of_guest
from .. import manifest as manifests
from ..manifest import Manifest
from ..stored import Stored, chosen
from . import source as sources
from .reading import READING
from .source import Source
from .spec import Spec
from .state import State

if t.TYPE_CHECKING:
    from ..repository import Repository


def load(name: str) -> Repository:
    """The repository *name*: restic is asked, and with it comes the code by which it stores."""
    from ..repository import Repository

    return Repository(name)


def observe(spec: Spec, host: Host) -> State:
    """Read the guest of *spec* and the backup that is meant.

    :raises ObserveError, RepositoryError:
    """
    source = sources.load(spec, host)
    its = choose(spec, source)
    record = load_file(host.record("guests", spec.name))
    state = State(power_of(spec.name, record, host), record, its)
    if state.is_there:
        return state
    manifest = manifests.load(json.loads(source.read(its.id, os.path.join(its.folder, manifests.FILE))))
    if its.kind not in READING:
        return state._replace(obstacle=f"a guest of the kind {its.kind} cannot be brought back yet")
    return _look(spec, state, manifest, host)


def choose(spec: Spec, source: Source) -> Stored:
    """The backup that *spec* means, of those in *source*.

    :raises ObserveError, RepositoryError:
    """
    known = [its for its in source.list() if its.guest == spec.source and spec.host in (None, its.host)]
    place = "among the copies on this host" if spec.replica else f"in the backup repository {spec.repository}"
    what = f"{spec.source} {place}"
    if not known:
        raise ObserveError(f"there is no backup of {what}")
    return chosen(known, spec.backup, spec.at, what)


def power_of(guest: str, record: GuestRecord, host: Host) -> str:
    """Its power, ``absent`` where it is not there. One that was begun is made anew."""
    if record.is_building:
        return "absent"
    if guest in host.containers:
        return "started" if host.containers[guest].is_running else "stopped"
    if guest in host.domains:
        return "started" if guest in host.listings.active else "stopped"
    return "absent"


def _look(spec: Spec, state: State, manifest: Manifest, host: Host) -> State:
    drivers, record = drivers_of(host), state.record
    volumes = {item: _volume(spec, item, its, record, state.power) for item, its in manifest.volumes.items()}
    obstacle = _obstacle(spec, state, volumes, host, drivers)
    pools = {volume.pool for volume in volumes.values() if volume.pool in drivers}
    kind = READING[state.chosen.kind]
    return state._replace(
        manifest=manifest,
        volumes=volumes,
        available_bytes=min((drivers[pool].usage().available for pool in pools), default=0),
        macs=_macs(spec, manifest, kind.mac_prefix, host),
        bridges=kind.bridges_of(manifest.definition, manifest.macs),
        obstacle=obstacle,
    )


def _volume(spec: Spec, item: str, its: t.Mapping[str, t.Any], record: GuestRecord, power: str) -> Volume:
    """Where an item comes: in a guest that is there to the place that it has."""
    if power != "absent" and item in record.volumes:
        return record.volumes[item].volume
    return of_guest(spec.pool or str(its["pool"]), spec.name, item, str(its["kind"]))


def _obstacle(
    spec: Spec, state: State, volumes: t.Mapping[str, Volume], host: Host, drivers: t.Mapping[str, Driver]
) -> str | None:
    record = state.record
    for item, volume in volumes.items():
        why = absence(host, volume.pool)
        if why is not None:
            return f"{item} comes to the storage pool {volume.pool}, and {why}. Or choose another one (pool)"
        recorded = record.volumes.get(item)
        is_half = record.is_building and recorded is not None and recorded.is_fresh
        if state.power == "absent" and drivers[volume.pool].exists(volume) and not is_half:
            return f"{drivers[volume.pool].location(volume)} is there, kept of an earlier {spec.name}. Delete it, or choose another name (as)"
    if state.power == "absent":
        return None
    if record.kind != state.chosen.kind or set(volumes) - set(record.volumes):
        return f"{spec.name} is there and is another guest than the one that was backed up. Choose another name (as)"
    if spec.pool is not None and any(volume.pool != spec.pool for volume in volumes.values()):
        return f"{spec.name} is there, and stays in its storage pool. Leave pool away, or choose another name (as)"
    if spec.network is not None:
        return f"{spec.name} is there, and what it is stays as it is declared. Leave network away, or choose another name (as)"
    return None


def _macs(spec: Spec, manifest: Manifest, prefix: str, host: Host) -> dict[str, str]:
    """The MACs of its cards: its own, and of another guest, or where somebody has them by now, new ones."""
    taken = set(taken_macs(host, spec.name))
    machine = (atomic.read_text("/etc/machine-id") or "").strip()
    found: dict[str, str] = {}
    for name, mac in manifest.macs.items():
        is_free = not spec.is_renamed and mac not in taken
        found[name] = (
            mac if is_free else derive_mac(machine, spec.name, name, {*taken, *found.values(), mac}, prefix=prefix)
        )
    return found
