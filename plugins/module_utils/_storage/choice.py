# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which driver each pool of a host has."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic, record
from .._host import mounts
from .._host.pool_record import PoolRecord
from .._host.snapshot import Host
from . import fstab
from .driver import Driver

# libvirt's types of pools that are folders of files, whoever made them.
_FOLDERS = ("dir", "fs", "netfs", "vstorage")


def driver_of(pool: str, type: str, path: str) -> Driver | None:
    """The driver of the pool at *path*; ``None`` for a type that has none. The folder need not be there yet."""
    if type == "btrfs":
        from .drivers.btrfs import Btrfs  # most hosts have pools of one type

        return Btrfs(pool, path)
    if type in _FOLDERS:
        from .drivers.dir import Dir

        return Dir(pool, path)
    return None


def load_drivers() -> None:
    """Load what ``driver_of`` may need, in a process whose children would each do it."""
    for each in ("btrfs", "dir"):
        driver_of("", each, "/")


def drivers_of(host: Host) -> dict[str, Driver]:
    """The drivers of the pools of *host* by name, also of those that a layout makes before its guests."""
    expected = {name: driver_of(name, *place) for name, place in host.expected_pools.items()}
    promised = {name: driver for name, driver in expected.items() if driver is not None}
    # What a guest keeps in a pool that libvirt was made to forget is its own still.
    return {**host.derived(_recorded), **promised, **host.derived(_standing)}


def absence(host: Host, pool: str) -> str | None:
    """Why nobody can tell what is in the storage pool *pool*, as a sentence; ``None`` where its folder is what it was.

    A folder without its file system looks as if everything in it was deleted.
    """
    driver = drivers_of(host).get(pool)
    if driver is None or not os.path.isdir(driver.path):
        return f"its storage pool {pool} is not there. Bring it back"
    its = host.pool_record(pool)
    expected = [its.mount] if its.mount and its.path == driver.path else []
    if its.source:
        expected.append(driver.path)
    expected += [mounts.plain(point) for point in fstab.points(atomic.read_text(fstab.PATH) or "")]
    point = mounts.missing_mount(driver.path, expected)
    return point and f"the file system of its storage pool {pool} is not mounted at {point}. Mount it"


def _recorded(host: Host) -> dict[str, Driver]:
    records = {name: PoolRecord.load(its.data) for name, its in record.load_all("pools").items()}
    found = {name: driver_of(name, its.type or "dir", its.path) for name, its in records.items() if its.path}
    return {name: driver for name, driver in found.items() if driver is not None}


def _standing(host: Host) -> dict[str, Driver]:
    ours, found = host.derived(_recorded), {}
    for name, pool in host.pools.items():
        # libvirt knows a pool of ours as a folder, whatever it is made of.
        known = ours.get(name)
        is_ours = known is not None and pool.path is not None and known.path == pool.path.rstrip("/")
        driver = known if is_ours else driver_of(name, pool.type, pool.path) if pool.path else None
        if driver is not None:
            found[name] = driver
    return found


def pool_of(path: str, drivers: t.Mapping[str, Driver]) -> str | None:
    """The pool that *path* lies in, the innermost where one lies in another."""
    holding = [driver for driver in drivers.values() if driver.holds(path)]
    return max(holding, key=lambda driver: len(driver.path)).pool if holding else None
