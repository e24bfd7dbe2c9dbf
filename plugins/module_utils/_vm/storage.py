# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The files of a virtual machine: volumes through the drivers of their pools, and disks that were there before."""

from __future__ import annotations

import contextlib
import typing as t

from .._core import command, libraries
from .._core.converge import Work
from .._core.errors import WaitTimeout
from .._core.plan import Step
from .._core.waiting import wait_until
from .._image import copier, copies, store
from .._storage.driver import Cloning, Driver
from .._storage.volume import Volume

_REFRESH_SECONDS = 2.0


def make_volume(work: Work, driver: Driver, volume: Volume, values: t.Mapping[str, t.Any]) -> t.Iterator[Step]:
    """Make an empty disk, or one that stands on an image. *values* are the keys of the disk, size in bytes or ``None``.

    :raises ApplyError, CommandError:
    """
    fds, size = work.held.fds, values.get("size")
    image = store.find(values["image"]) if values.get("image") else None
    copy = copies.copy_in(image.name, image.kind, driver) if image else None
    try:
        if image is not None and copy is not None:
            yield from copier.make(image, driver, fds)
            attempt = t.cast(Cloning, driver).clone(volume, copy, size=size)
        else:
            path = image.path if image else None
            attempt = driver.create(volume, size=size, format=values["format"], image=path, keep_fds=fds)
        driver.publish(attempt)
    except Exception:
        # A disk that did not fit would keep its pool full.
        driver.purge(volume)
        raise


def grow(work: Work, path: str, format_: str, size: int) -> None:
    """Make a disk file that somebody else made larger, of a machine that does not run."""
    command.run(["qemu-img", "resize", "-q", "-f", format_, path, str(size)], keep_fds=work.held.fds)


def refresh(work: Work, pools: t.Iterable[str | None]) -> list[str]:
    """Let libvirt's pools see what was made or removed in *pools*. Returns a warning for each that could not look.

    The files are what counts: libvirt looks again with the next run, and when it starts the pool.
    """
    warnings = []
    for name in sorted({name for name in pools if name}):
        pool = work.host.pools.get(name)
        if pool is not None and pool.is_active and (why := _refresh(pool.handle)):
            warnings.append(f"libvirt has not seen yet what changed in the storage pool {name}: {why}")
    return warnings


def _refresh(pool: t.Any) -> str:
    """Why *pool* could not be refreshed, empty where it was."""
    told = ""

    def is_refreshed() -> bool:
        nonlocal told
        try:
            pool.refresh(0)
        except libraries.libvirt().libvirtError as exc:
            # Another run is at work in it; that one's refresh may have come before our file.
            told = str(exc)
            return False
        return True

    with contextlib.suppress(WaitTimeout):
        wait_until("libvirt to refresh a pool", is_refreshed, timeout_seconds=_REFRESH_SECONDS, every_seconds=0.1)
        return ""
    return told
