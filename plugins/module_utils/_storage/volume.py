# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A volume: what a guest or an image keeps in a storage pool. Pure: where it lies is the business of the pool's driver."""

from __future__ import annotations

import typing as t

from .._core import paths

# The types of pools that have a driver.
TYPES = ("dir", "btrfs")
BLOCK = "block"
FILESYSTEM = "filesystem"

ROOT = "rootfs"
# Neither a guest nor an item nor a snapshot can have these in its name: the names of two volumes cannot be taken for one another.
_OF_IMAGE = "image+"
_SNAPSHOT = "@"


class Volume(t.NamedTuple):
    """A disk (``block``) or a tree of files (``filesystem``) by the name of its pool and its own name there."""

    pool: str
    name: str
    kind: str

    def __str__(self) -> str:
        """The form of plans: ``main/web.rootfs``."""
        return f"{self.pool}/{self.name}"

    def snapshot(self, name: str) -> Volume:
        """The snapshot *name* of this volume, a volume of its own in the same pool."""
        return self._replace(name=f"{self.name}{_SNAPSHOT}{name}")


class Limit(t.NamedTuple):
    """How large a volume may become, and what counts of it now, in bytes.

    *size* is ``None`` without a limit; *outside* are the paths in it that the limit does not hold.
    """

    size: int | None = None
    outside: tuple[str, ...] = ()
    used: int = 0


def of_guest(pool: str, guest: str, item: str, kind: str) -> Volume:
    """The volume of *item* (a disk, the root, a mount) of *guest*."""
    return Volume(pool, paths.volume_name(guest, item), kind)


def of_image(pool: str, image: str, kind: str) -> Volume:
    """The copy of *image* in *pool* that guests are cloned from."""
    return Volume(pool, _OF_IMAGE + image, kind)


def to_record(volume: Volume) -> dict[str, str]:
    """The form of ownership records."""
    return volume._asdict()


def from_record(data: t.Mapping[str, t.Any]) -> Volume:
    """The volume that an ownership record speaks of."""
    return Volume(data["pool"], data["name"], data["kind"])
