# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of an image on the host."""

from __future__ import annotations

import os
import typing as t

from .._core import paths
from .._core.errors import HybridError, ObserveError
from .._core.record import Record
from .._host.mounts import mounts_in
from .._host.snapshot import Host
from .._host.uses import uses
from .._storage import volume as volumes
from .._storage.choice import drivers_of
from .._storage.driver import Driver
from .._storage.volume import Volume
from . import downloads, source_file, sources, store
from .record import ImageRecord
from .spec import UBUNTU_SUITES, Spec
from .state import Remote, SourceFile, State


def observe(spec: Spec, host: Host) -> State:
    """Read the image of *spec* through *host*.

    :raises ObserveError: when the record cannot be read, a server cannot be asked, the host names no mirror of what is built, or
        the file of ``path`` is not what its checksum says.
    :raises SpecError: when ``path`` names a file that no image can be made of, or a server has nothing for what was declared.
    """
    record = host.record("images", spec.name)
    image = store.stored(record)
    its = ImageRecord.load(record.data)
    kind = image.kind if image else spec.kind
    remote, unreachable = _ask(spec, image is not None)
    if image is None and spec.state == "present" and spec.build is not None and spec.build.suite in UBUNTU_SUITES:
        sources.check_archive(spec.build.suite)
    is_looked_at = spec.state == "present" and spec.path is not None and kind is not None
    source = source_file.look(t.cast(str, spec.path), t.cast(str, kind)) if is_looked_at else None
    if image is None and source is not None and spec.checksum is not None:
        _check(source, spec.checksum)
    return State(
        image=image,
        origin=its.origin,
        is_recorded=record.exists or store.has_left_overs(spec.name),
        is_foreign=not record.exists and store.has_folder(spec.name),
        source=source,
        is_same_source=is_same_source(source, its.origin),
        remote=remote,
        is_cached=remote is not None and downloads.is_here(remote),
        unreachable=unreachable,
        free_bytes=_free_bytes() if remote is not None else None,
        copies=tuple(its.copies.values()),
        users=users_of(spec.name, record, host) if spec.state == "absent" else (),
    )


def _check(source: SourceFile, wanted: str) -> None:
    """The file is what its checksum says. Read whole, and only where an image is made of it.

    :raises ObserveError: when it is another.
    """
    found = downloads.digest(source.path, wanted)
    if found != wanted:
        raise ObserveError(f"checksum: {source.path} is {found}, and must be {wanted}")


def _ask(spec: Spec, is_there: bool) -> tuple[Remote | None, str | None]:
    """What the server has, where that matters: a run that finds its image asks nobody, unless the user wants to know.

    :raises ObserveError, SpecError: when no image can be made of it.
    """
    if spec.state != "present" or not spec.is_fetched or spec.kind is None or (is_there and not spec.ask_upstream):
        return None, None
    from . import upstream  # HTTP and TLS: most runs ask nobody

    try:
        return upstream.find(spec), None
    except HybridError as exc:
        if not is_there:
            raise
        return None, exc.message


def _free_bytes() -> int:
    """The room on the file system that the store is on, or will be."""
    folder = paths.IMAGES
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    system = os.statvfs(folder)
    return system.f_bavail * system.f_frsize


def is_same_source(source: SourceFile | None, origin: t.Mapping[str, t.Any]) -> bool | None:
    """Whether *source* has the content that *origin* records; it is read only if its size or time of change differs."""
    if source is None or "digest" not in origin:
        return None
    if (source.path, source.size, source.mtime_ns) == (origin.get("path"), origin["size"], origin.get("mtime_ns")):
        return True
    return source.size == origin["size"] and source_file.digest_of(source.path) == str(origin["digest"])


def _place_of(volume: Volume, drivers: t.Mapping[str, Driver]) -> str | None:
    driver = drivers.get(volume.pool) if volume.kind == volumes.BLOCK else None
    return driver.location(volume) if driver else None


def _recorded_volumes(file: Record) -> dict[str, Volume] | None:
    """The volumes of a guest by item, those of its snapshots too; ``None`` where its record cannot be read."""
    if file.problem is not None:
        return None
    try:
        found = {f"disk {item}": its for item, its in (file.data.get("volumes") or {}).items()}
        for name, snapshot in (file.data.get("snapshots") or {}).items():
            found.update((f"snapshot {name} of {item}", its) for item, its in snapshot["volumes"].items())
        return {what: volumes.from_record(its) for what, its in found.items()}
    except (TypeError, KeyError, AttributeError):
        return None


def users_of(name: str, record: Record, host: Host) -> tuple[str, ...]:
    """The guests that were made of the image and are still there, the disks, attached or kept, that stand on it, and mounts."""
    folder = store.folder_of(name)
    drivers = drivers_of(host)
    users = set()
    for guest, its in host.guest_records.items():
        is_there = its.is_building or guest in host.containers or guest in host.domains
        if is_there and its.data.get("image") == name:
            users.add(guest)
        recorded = _recorded_volumes(its)
        if recorded is None:
            users.add(f"{guest} (its record cannot be read, and may keep a disk on it)")
        for what, volume in (recorded or {}).items():
            place = _place_of(volume, drivers)
            if place is not None and store.stands_on(place, folder):
                users.add(guest if is_there else f"{guest} (its kept {what})")
    users |= {use.who for use in uses(host).below(folder)}
    users |= {f"the mount at {point}" for point in mounts_in(folder)}
    return tuple(sorted(users))
