# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Makes and removes the copies of an image in pools: each is made by the first guest that is cloned from it there, and goes with the image.

One writes, the others wait: a run holds the image shared for its guest, and the copy exclusively while it makes it.
"""

from __future__ import annotations

import typing as t

from .._core import lock, record
from .._core.plan import Step
from .._storage import volume as volumes
from .._storage.driver import Driver
from .._storage.volume import Volume
from .copies import copy_in
from .record import ImageRecord
from .state import StoredImage


def make(image: StoredImage, driver: Driver, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Make the copy of *image* in the pool of *driver*, unless it is there. The caller's run holds the image.

    :raises ApplyError, CommandError: nothing of it is left then.
    """
    copy = copy_in(image.name, image.kind, driver)
    if copy is None or driver.exists(copy):
        return
    with lock.copying(image.name, driver.pool) as held:
        if driver.exists(copy):
            return
        _note(image.name, copy)
        yield Step(f"copy of {image.name} recorded")
        size = image.size_bytes if copy.kind == volumes.BLOCK else None
        attempt = driver.create(copy, size=size, image=image.path, keep_fds=(*keep_fds, *held.fds))
        yield Step(f"copy of {image.name} begun")
        driver.publish(attempt, is_read_only=True)
    yield Step(f"image {image.name} in the pool {driver.pool}")


def remove(image: str, copies: t.Iterable[Volume], drivers: t.Mapping[str, Driver]) -> t.Iterator[Step]:
    """Remove all *copies* of *image*, which nobody uses any more. What lay in a pool that is gone went with it."""
    for copy in copies:
        driver = drivers.get(copy.pool)
        if driver is None:
            continue
        driver.retire(copy)
        driver.purge(copy)
        yield Step(f"image {image} out of the pool {copy.pool}")


def _note(image: str, copy: Volume) -> None:
    # Guests in other pools may be noting theirs.
    with lock.allocations():
        its = record.Owned(record.load("images", image), ImageRecord)
        its.save(copies={**its.content.copies, copy.pool: copy})
