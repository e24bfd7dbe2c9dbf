# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Quota groups of btrfs: how large a subvolume may become, with those that the guest makes in it.

btrfs counts in one of two ways. With *simple* quotas (Linux 6.7) an extent belongs to the subvolume that wrote it, and a new
subvolume joins the groups of the one it is made in: one group over a root holds all that is in it from birth. *Full* quotas
count what a subvolume refers to, what it shares with its image included; a group over a root that shares anything would need the
whole file system to be counted anew. There the root has a limit of its own, and the subvolumes in it share a group with the same.
"""

from __future__ import annotations

import os
import typing as t

from ..._core import atomic, command
from ..volume import Limit
from . import subvolume

# A level of its own: Snapper and administrators use the first.
_LEVEL = 100
_LEVEL_SHIFT = 48
_QUOTA_TREE = 8
_RELATION = 246
_MAX_REFERENCED = 1


class Quota:
    """The quota of the file system that *path* lies on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = f"/sys/fs/btrfs/{subvolume.file_system_of(path)}/qgroups"

    @property
    def is_enabled(self) -> bool:
        return self._read("enabled") == "1"

    @property
    def is_simple(self) -> bool:
        return self._read("mode") == "squota"

    @property
    def is_consistent(self) -> bool:
        """Whether btrfs goes on counting. It gives up after some deletions of large trees, and holds no limit then."""
        return self.is_enabled and self._read("inconsistent") != "1"

    def enable(self, *, simple: bool = False) -> None:
        """Count from now on. *simple* cannot be mounted by a Linux before 6.7 any more."""
        command.run(["btrfs", "quota", "enable", *(["--simple"] if simple else []), self.path])

    def recount(self) -> None:
        """Count anew what is there. Takes as long as it takes to read all metadata."""
        command.run(["btrfs", "quota", "rescan", "-w", self.path])

    def limit_of(self, path: str) -> Limit:
        """How large the subvolume *path* may become."""
        with subvolume.opened(path) as descriptor:
            root = subvolume.id_of(descriptor)
            nested = subvolume.nested_in(path)
            group = _group_of(root)
            held = _members(descriptor, group) if nested or self.is_simple else frozenset()
        size = self._limit_of(group if self.is_simple else root)
        if size is None or (self.is_simple and root not in held):
            return Limit(used=self._used_by(root))
        is_grouped = self.is_simple or self._limit_of(group) == size
        outside = tuple(inner.path for inner in nested if not (is_grouped and inner.id in held))
        return Limit(size, outside, self._used_by(group if self.is_simple else root))

    def set_limit(self, path: str, size: int | None) -> None:
        """Let the subvolume *path* become *size* bytes, and those in it too; ``None`` takes the limit off.

        :raises CommandError:
        """
        with subvolume.opened(path) as descriptor:
            root = subvolume.id_of(descriptor)
            nested = [inner.id for inner in subvolume.nested_in(path)]
            group = _group_of(root)
            held = _members(descriptor, group)
        if not self.is_simple:
            self._set(root, size)
        members = [root, *nested] if self.is_simple else nested
        if not members and not self._is_group(group):
            return
        if not self._is_group(group):
            self._run("create", _name(group))
        for member in members:
            if member not in held:
                self._run("assign", "--no-rescan", _name(member), _name(group))
        self._set(group, size)
        if not self.is_consistent:
            self.recount()

    def lift(self, path: str) -> None:
        """Take every limit off the subvolume *path* and those in it: btrfs does not delete one that is full."""
        with subvolume.opened(path) as descriptor:
            root = subvolume.id_of(descriptor)
        for each in (root, *(inner.id for inner in subvolume.nested_in(path))):
            for group in (each, _group_of(each)):
                if self._limit_of(group) is not None:
                    self._set(group, None)

    def sweep(self) -> None:
        """Remove the groups of roots that are gone. btrfs keeps those of a subvolume until its last block is freed."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        groups = [int(name.partition("_")[2]) for name in names if name.startswith(f"{_LEVEL}_")]
        with subvolume.opened(self.path) as descriptor:
            for root in groups:
                if subvolume.is_there(descriptor, root):
                    continue
                for member in _members(descriptor, _group_of(root)):
                    if not subvolume.is_there(descriptor, member):
                        self._run("destroy", _name(member), check=False)
                self._run("destroy", _name(_group_of(root)), check=False)

    def _set(self, group: int, size: int | None) -> None:
        self._run("limit", "none" if size is None else str(size), _name(group))

    def _run(self, verb: str, *argv: str, check: bool = True) -> None:
        command.run(["btrfs", "qgroup", verb, *argv, self.path], check=check)

    def _is_group(self, group: int) -> bool:
        return os.path.isdir(os.path.join(self.folder, _file(group)))

    def _limit_of(self, group: int) -> int | None:
        flags = self._read(f"{_file(group)}/limit_flags")
        if flags is None or not int(flags) & _MAX_REFERENCED:
            return None
        return int(t.cast(str, self._read(f"{_file(group)}/max_referenced"))) or None

    def _used_by(self, group: int) -> int:
        return int(self._read(f"{_file(group)}/referenced") or 0)

    def _read(self, name: str) -> str | None:
        text = atomic.read_text(os.path.join(self.folder, name))
        return None if text is None else text.strip()


def knows_simple() -> bool:
    """Whether the kernel and the programs of this host know simple quotas, to check and repair such a file system too."""
    if not os.path.exists("/sys/fs/btrfs/features/simple_quota"):
        return False
    return "--simple" in command.run(["btrfs", "quota", "enable", "--help"], check=False)


def _group_of(root: int) -> int:
    return _LEVEL << _LEVEL_SHIFT | root


def _name(group: int) -> str:
    """The form of the program ``btrfs``: ``0/257``."""
    return f"{group >> _LEVEL_SHIFT}/{group & (1 << _LEVEL_SHIFT) - 1}"


def _file(group: int) -> str:
    return _name(group).replace("/", "_")


def _members(descriptor: int, group: int) -> frozenset[int]:
    """The subvolumes in a group. /sys does not tell, and the listing of the program reads all groups there are."""
    return frozenset(subvolume.search(descriptor, _QUOTA_TREE, group, _RELATION, most=group - 1))
