# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The copies of an image in pools: guests there are cloned from them."""

from __future__ import annotations

from .._storage import volume as volumes
from .._storage.driver import Driver
from .._storage.volume import Volume
from .state import VOLUME_KINDS


def copy_in(image: str, kind: str, driver: Driver) -> Volume | None:
    """The copy of *image* (of the *kind* of guest that it is for) that a guest in the pool of *driver* is cloned from.

    ``None`` where the pool clones nothing, and guests are made of the file in the store.
    """
    volume_kind = VOLUME_KINDS.get(kind)
    return volumes.of_image(driver.pool, image, volume_kind) if volume_kind and volume_kind in driver.cloned else None
