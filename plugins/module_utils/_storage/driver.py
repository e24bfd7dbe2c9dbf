# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a storage driver is. Only a driver knows where a volume lies and what its file system can."""

from __future__ import annotations

import typing as t

from .._core import record
from .._core.errors import ApplyError
from .._host.snapshot import Host
from .volume import Limit, Volume

# What a driver can do with the volumes of its pool; plans refuse by it.
CLONE = "clone"
SNAPSHOT = "snapshot"
LIMIT = "limit"
SEND = "send"

# libvirt's types of pools that are folders of files, whoever made them.
_FOLDERS = ("dir", "fs", "netfs", "vstorage")


class Usage(t.NamedTuple):
    """Of the file system that a pool lies on, in bytes. *device* is the same for pools that share it."""

    device: str
    capacity: int
    available: int


class DiskSource(t.NamedTuple):
    """What a virtual machine opens: a file and the format in it."""

    path: str
    format: str


class Attempt(t.NamedTuple):
    """A volume that is being made. It lies at *path*, under a name of its own, until it is published."""

    volume: Volume
    path: str
    format: str = ""


class Driver(t.Protocol):
    """The volumes of one pool.

    What is made stands under a name of this attempt until ``publish``; what goes is renamed by ``retire`` and removed by ``purge``.
    A run that is killed leaves nothing under a volume's name that is not whole, and ``purge`` finds what it left. All of that
    happens under the lock of the guest or image that the volume belongs to. Sizes in bytes.
    """

    pool: str
    path: str
    # The formats that a disk can have; the first is what a new one gets.
    formats: tuple[str, ...]
    # The kinds of volume that are cloned from a copy of the image in the pool, which the first guest makes.
    cloned: frozenset[str]
    can: frozenset[str]

    # -- reading

    def obstacle(self, ability: str) -> str | None:
        """Why this pool lacks *ability*, and what would have it, as a sentence; ``None`` where it is there."""

    def usage(self) -> Usage:
        """The file system that the pool lies on, or will."""

    def exists(self, volume: Volume) -> bool: ...

    def location(self, volume: Volume) -> str:
        """The path of the volume on this host, or where it would be."""

    def disk_source(self, volume: Volume) -> DiskSource:
        """What a virtual machine gets as the source of a disk."""

    def lxc_root(self, volume: Volume) -> str:
        """What a container gets as ``lxc.rootfs.path``."""

    def holds(self, path: str) -> bool:
        """Whether *path* lies in the pool."""

    def limit(self, volume: Volume) -> Limit:
        """What the file system enforces."""

    def has_left_overs(self, volume: Volume) -> bool:
        """Whether something of *volume* was begun or retired, and is still there."""

    # -- writing

    def make_pool(self, *, is_new: bool = False) -> None:
        """Make the folder of the pool, and what its file system needs. *is_new*: the file system was made for it.

        :raises CommandError:
        """

    def remove_pool(self) -> None:
        """Remove the folder of the pool with all that is in it. The plan has made sure that nothing is mounted there."""

    def create(
        self,
        volume: Volume,
        *,
        size: int | None = None,
        format: str | None = None,
        image: str | None = None,
        keep_fds: t.Sequence[int] = (),
    ) -> Attempt:
        """Begin a volume, empty or with what is in the file *image* of the image store.

        :raises ApplyError, CommandError: nothing of it is left then.
        """

    def clone(self, volume: Volume, origin: Volume, *, size: int | None = None) -> Attempt:
        """Begin a volume as a clone of *origin*, a volume or snapshot of the same pool and kind.

        :raises ApplyError, CommandError: nothing of it is left then.
        """

    def publish(self, attempt: Attempt, *, is_read_only: bool = False) -> None:
        """The finished attempt is the volume from now on, in one step and safe against a power cut.

        :raises ApplyError: when something has the volume's name by now. It is never replaced.
        """

    def write(self, volume: Volume, data: bytes) -> None:
        """Make or replace a volume that holds *data* and nothing else: the seed of a virtual machine."""

    def snapshot(self, volume: Volume, name: str) -> Volume:
        """Keep what the volume holds now, the subvolumes in it included, as a volume that nothing writes to.

        :raises ApplyError, CommandError:
        """

    def resize(self, volume: Volume, size: int | None, *, keep_fds: t.Sequence[int] = ()) -> None:
        """Make a disk of a machine that does not run larger, or let a tree of files become *size*; ``None`` takes its limit off.

        :raises CommandError:
        """

    def retire(self, volume: Volume) -> None:
        """Take the volume out of its place, in one step."""

    def purge(self, volume: Volume) -> None:
        """Remove what was retired, and what attempts that were killed left of the volume.

        :raises ApplyError: when something is mounted there, whose content is not ours.
        """


def driver_of(pool: str, type: str, path: str) -> Driver | None:
    """The driver of the pool at *path*; ``None`` for a type that has none. The folder need not be there yet."""
    if type == "btrfs":
        from .drivers.btrfs import Btrfs  # most hosts have pools of one type

        return Btrfs(pool, path)
    if type in _FOLDERS:
        from .drivers.dir import Dir

        return Dir(pool, path)
    return None


def drivers_of(host: Host) -> dict[str, Driver]:
    """The drivers of the pools of *host* by name, also of those that a layout makes before its guests."""
    expected = {name: driver_of(name, *place) for name, place in host.expected_pools.items()}
    promised = {name: driver for name, driver in expected.items() if driver is not None}
    # What a guest keeps in a pool that libvirt was made to forget is its own still.
    return {**host.derived(_recorded), **promised, **host.derived(_standing)}


def _recorded(host: Host) -> dict[str, Driver]:
    records = {name: its.data for name, its in record.load_all("pools").items()}
    found = ((name, data["path"], data.get("type") or "dir") for name, data in records.items() if "path" in data)
    return {name: driver for name, path, word in found if (driver := driver_of(name, word, path)) is not None}


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


def taken(volume: Volume) -> ApplyError:
    """Something came to have the name of a volume that is being made."""
    return ApplyError(f"{volume} is there by now, and was not when the run began")
