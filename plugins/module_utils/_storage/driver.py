# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a storage driver is. Only a driver knows where a volume lies and what its file system can."""

from __future__ import annotations

import typing as t

from .._core.errors import ApplyError
from .volume import Limit, Volume

# What a driver can do with the volumes of its pool; plans refuse by it.
CLONE = "clone"
SNAPSHOT = "snapshot"
LIMIT = "limit"
SEND = "send"


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
    # The kinds of volume of which a clone can stand on its origin, or share its blocks, so that it takes no room at first.
    linked: frozenset[str]
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

    def publish(self, attempt: Attempt, *, is_read_only: bool = False) -> None:
        """The finished attempt is the volume from now on, in one step and safe against a power cut.

        :raises ApplyError: when something has the volume's name by now. It is never replaced.
        """

    def write(self, volume: Volume, data: bytes) -> None:
        """Make or replace a volume that holds *data* and nothing else: the seed of a virtual machine."""

    def resize(self, volume: Volume, size: int | None, *, keep_fds: t.Sequence[int] = ()) -> None:
        """Make a disk of a machine that does not run larger, or let a tree of files become *size*; ``None`` takes its limit off.

        :raises CommandError:
        """

    def protect(self, volume: Volume, *, is_read_only: bool) -> None:
        """Let nothing write to the volume of a guest that does not run, as far as its file system sees to it, or let it again.

        :raises CommandError:
        """

    def set_aside(self, volume: Volume, kept: Volume) -> None:
        """What the volume holds becomes *kept* of the same pool, in one step; nothing has its name then.

        :raises ApplyError: when something is mounted in it, or has that name.
        """

    def count_apart(self, volume: Volume, size: int | None) -> None:
        """Let the tree of files that was set aside as *volume* count for this name alone, with *size* as its limit, ``None`` without one.

        :raises ApplyError, CommandError:
        """

    def retire(self, volume: Volume) -> None:
        """Take the volume out of its place, in one step.

        :raises ApplyError: when something is mounted in it, whose content is not ours.
        """

    def purge(self, volume: Volume) -> None:
        """Remove what was retired, and what attempts that were killed left of the volume.

        :raises ApplyError: when something is mounted there, whose content is not ours.
        """


class Snapshotting(Driver, t.Protocol):
    """A driver that has the ability ``snapshot``."""

    def used_bytes(self, volume: Volume) -> int:
        """How many bytes a copy of *volume* takes at most."""

    def snapshot_bytes(self, volume: Volume) -> int:
        """How many bytes a snapshot of *volume*, or a restore of the snapshot *volume*, copies at most; 0 where blocks are shared."""

    def is_of_one_moment(self, volume: Volume) -> bool:
        """Whether a snapshot holds what the volume held at one moment, though a guest writes to it meanwhile."""

    def attempts_at(self, volume: Volume) -> str:
        """How the paths of attempts at *volume* begin."""

    def snapshot(self, volume: Volume, name: str, *, keep_fds: t.Sequence[int] = ()) -> Volume:
        """Keep what the volume holds now, the subvolumes in it included, as a volume that nothing writes to.

        :raises ApplyError, CommandError:
        """

    def restore(self, volume: Volume, kept: Volume, *, keep_fds: t.Sequence[int] = ()) -> Attempt:
        """Begin *volume* anew with what its snapshot *kept* holds, without a limit.

        :raises ApplyError, CommandError: nothing of it is left then.
        """

    def seal(self, kept: Volume) -> None:
        """Nothing writes any more to a snapshot that was set aside, and no limit holds for it."""


class Cloning(Snapshotting, t.Protocol):
    """A driver that clones volumes: of the kinds ``linked``."""

    def clone(self, volume: Volume, origin: Volume, *, size: int | None = None) -> Attempt:
        """Begin a volume as a clone of *origin*, a volume or snapshot of the same pool and kind, which stays as it is meanwhile.

        :raises ApplyError, CommandError: nothing of it is left then.
        """


class Sending(Snapshotting, t.Protocol):
    """A driver that has the ability ``send``: what it keeps comes to a pool of the same type on another host as it is, or as what is new.

    What has the ability receives, too.
    """

    def keep_for_sending(
        self, volume: Volume, name: str, since: Volume | None, *, keep_fds: t.Sequence[int] = ()
    ) -> Volume:
        """Keep what the volume holds now as a tree of files that can be sent: its own, or of a disk one with the file ``KEPT_DISK``.

        *since* is what was kept of it before, where what is new since is to be sent.

        :raises ApplyError, CommandError:
        """

    def send_obstacle(self, volume: Volume) -> str | None:
        """Why what would be sent were not all of the volume; ``None`` where it is."""

    def kept_as(self, part: str) -> list[Volume]:
        """The trees of files with *part* in their names, also those of which only the left-overs of an attempt are there."""

    def identity(self, kept: Volume) -> str:
        """What tells the kept tree of files from all others, on every host."""

    def sending(self, kept: Volume, since: Volume | None) -> list[str]:
        """The program that prints *kept*, or what is new in it since."""

    def receiving(self, folder: str) -> list[str]:
        """The program that makes of what it reads a tree of files in *folder*, under the name that it had."""

    def received(self, path: str) -> str:
        """The identity of what was received at *path*, as its sender knows it; empty for what came to no end, or is written to."""

    def remove_received(self, path: str) -> None:
        """Remove what was received at *path*, or a part of it.

        :raises CommandError:
        """


# The file of a disk in what is kept of it to be sent.
KEPT_DISK = "disk.raw"


def taken(volume: Volume) -> ApplyError:
    """Something came to have the name of a volume that is being made."""
    return ApplyError(f"{volume} is there by now, and was not when the run began")
