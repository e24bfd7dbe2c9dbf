# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a storage pool on the host."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import typing as t

from .._core import command
from .._core.errors import ObserveError, SpecError
from .._core.units import show_moment
from .._host import mounts, remote
from .._host.libvirt import errors_of, read_space
from .._host.place import same
from .._host.snapshot import Host
from .._host.uses import Uses, uses
from .spec import Spec
from .state import ENFORCED, INCONSISTENT, OFF, Source, State

_MIB = 1024 * 1024


def observe(spec: Spec, host: Host) -> State:
    """Read the pool of *spec* through *host*.

    :raises ObserveError:
    :raises SpecError: when ``source`` names what is neither a device nor a file.
    """
    record = host.pool_record(spec.name)
    pool = host.pools.get(spec.name)
    path = pool.path if pool else record.path
    is_ours = path is not None and record.path == path
    is_defined = pool is not None and not record.is_building
    type_ = (record.type if is_ours else None) or (pool.type if pool else None)
    source = record.source if is_ours else None
    place = path or spec.path
    # Of what lies on a server that does not answer nothing is asked.
    away = remote.away(place) if place else None
    mount = mounts.mount_of(place) if place and away is None else None
    real = os.path.realpath(path) if path and away is None else path
    is_mounted = source is not None and mount is not None and mount.point == real
    there = mounts.mounts_in(path) if away is None else ()
    entries = host.entries_in(path) if path and away is None else None
    space = read_space(pool) if pool else None
    return State(
        is_registered=pool is not None,
        is_defined=is_defined,
        is_active=pool is not None and pool.is_active and (source is None or is_mounted),
        type=type_ if pool else None,
        path=path,
        source=source,
        autostart=pool is not None and pool.autostart,
        warn_free=record.warn_free if is_defined and record.warn_free is not None else "",
        capacity=space[0] if space else None,
        available=space[1] if space else None,
        content=None if entries is None or (source and not is_mounted) else len(entries),
        owns_folder=record.owns_folder and is_ours,
        owns_file_system=record.owns_file_system and is_ours,
        is_building=record.is_building,
        is_formatting=record.formatting is not None and record.formatting == (spec.source or source),
        is_mounted=is_mounted,
        mounts=tuple(point for point in there if not (source and point == real)),
        path_is_of=_owner_of(spec, host),
        file_system=mount.type if mount else str(away.type) if away else "",
        found=look(spec.source or source),
        quota=_read_quota(place)
        if "btrfs" in (type_, spec.type) and mount and (source is None or is_mounted)
        else None,
        file_in_the_way=_file_on_the_way(spec.path) if spec.path and away is None else None,
        users=_users_of(host, path) if path else {},
        quarantined=_quarantined_in(host, spec.name),
        source_users=_users_of_source(host, spec.source) if spec.source and not is_mounted else (),
    )


def _file_on_the_way(path: str) -> str | None:
    """What is there of *path*, where that is no folder."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return None if os.path.isdir(path) else path


def _users_of(host: Host, folder: str) -> dict[str, bool]:
    """Who stands on something in *folder*, and whether it is at work."""
    users: dict[str, bool] = {}
    for use in _uses(host).below(folder):
        users[use.who] = users.get(use.who, False) or use.is_running
    return users


def _quarantined_in(host: Host, pool: str) -> dict[str, str]:
    """The guests that lie in the quarantine of *pool*, and until when. A record that cannot be read says nothing."""
    found = {}
    for data in (file.data for file in host.guest_records.values() if "quarantine" in file.data):
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError):
            its, parts = data["quarantine"], [data, *(data.get("snapshots") or {}).values()]
            if any(volume["pool"] == pool for part in parts for volume in (part.get("volumes") or {}).values()):
                found[str(its["guest"])] = show_moment(float(its["until"])).partition("T")[0]
    return found


def _users_of_source(host: Host, source: str) -> tuple[str, ...]:
    return tuple(sorted({use.who for use in _uses(host).of(source)}))


def _uses(host: Host) -> Uses:
    if not host.domains:
        return uses(host)  # a bare host has not even the library whose errors would be read
    with errors_of("read the domains", ObserveError):
        return uses(host)


def _owner_of(spec: Spec, host: Host) -> str | None:
    others = (pool for pool in host.pools.values() if pool.name != spec.name and pool.path)
    return next((pool.name for pool in others if spec.path and same(str(pool.path), spec.path)), None)


def look(path: str | None) -> Source | None:
    """The device or image file *path*; ``None`` where there is none.

    :raises SpecError: for what is neither.
    """
    if path is None or not os.path.exists(path):
        return None
    mode = os.stat(path).st_mode
    if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
        raise SpecError(f"source: {path} is neither a block device nor an image file", key="source")
    is_file = stat.S_ISREG(mode)
    told = command.run(["wipefs", "--no-act", "--json", path])
    signatures = json.loads(told)["signatures"] if told.strip() else []
    kinds = list(dict.fromkeys(signature["type"] for signature in signatures))
    uuid = next((signature["uuid"] for signature in signatures if signature["type"] == "btrfs"), None)
    holds = " and ".join(kinds) or ("" if _is_blank(path) else "data without a signature")
    return Source(path, is_file, holds, uuid, _is_busy(path, is_file))


def _is_blank(path: str) -> bool:
    with open(path, "rb") as stream:
        return not any(stream.read(_MIB))


def _is_busy(path: str, is_file: bool) -> bool:
    """Whether something is mounted from it, or made of it: a loop device, swap, RAID, LVM."""
    if is_file:
        return bool(command.run(["losetup", "--noheadings", "--associated", path]).strip())
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def _read_quota(path: str | None) -> str | None:
    from .drivers import qgroup, subvolume  # only a pool of type btrfs pays for them

    place = mounts.existing(t.cast(str, path))
    if subvolume.file_system_of(place) is None:
        return None
    quota = qgroup.Quota(place)
    return OFF if not quota.is_enabled else ENFORCED if quota.is_consistent else INCONSISTENT
