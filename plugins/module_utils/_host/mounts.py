# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is mounted where on this host. Only reads."""

from __future__ import annotations

import os
import re
import typing as t

from .._core import atomic

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(t.NamedTuple):
    """A line of mountinfo. *device* is major:minor, the same for every mount of one file system; *root* is what of it is mounted."""

    point: str
    device: str
    type: str
    source: str
    options: frozenset[str]
    root: str = "/"


def read_mounts() -> list[Mount]:
    """The mounts that this process sees, later ones over earlier ones."""
    # Not splitlines(): the kernel leaves other breaks than the line end in a path as they are.
    lines = (atomic.read_text("/proc/self/mountinfo") or "").split("\n")
    return [_parse(line) for line in lines if " - " in line]


def _parse(line: str) -> Mount:
    # "36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue"
    fields, dummy, rest = line.partition(" - ")
    dummy, dummy, device, root, point, options, *_rest = fields.split(" ")
    type_, source, more = rest.split(" ", 2)
    words = frozenset([*options.split(","), *more.split(",")])
    return Mount(plain(point), device, type_, plain(source), words, plain(root))


def plain(text: str) -> str:
    """A path as it is: the kernel writes spaces and line ends of its tables in octal."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def mounts_in(path: str | None) -> tuple[str, ...]:
    """The mount points at and below *path*, whatever links lead there."""
    folder = os.path.realpath(path) if path else ""
    points = (mount.point for mount in read_mounts()) if path else ()
    return tuple(sorted(point for point in points if point == folder or point.startswith(f"{folder}/")))


def missing_mount(path: str, points: t.Iterable[str]) -> str | None:
    """The one of *points* that *path* lies on where everything is mounted, and does not lie on now."""
    place, now = os.path.realpath(path), mount_of(path).point
    for point in map(os.path.realpath, points):
        if len(point) > len(now) and f"{place}/".startswith(f"{point}/"):
            return point
    return None


def bound_from(mount: Mount, known: t.Iterable[Mount]) -> str | None:
    """The path, by another of the *known* mounts, of the folder or file that *mount* shows a second time."""
    if mount.root == "/":
        return None
    over = [
        other
        for other in known
        if other.device == mount.device and other.point != mount.point and _is_in(mount.root, other.root)
    ]
    if not over:
        return None
    widest = min(over, key=lambda other: len(other.root))
    return os.path.join(widest.point, os.path.relpath(mount.root, widest.root))


def _is_in(path: str, folder: str) -> bool:
    return folder == "/" or path == folder or path.startswith(f"{folder}/")


def existing(path: str) -> str:
    """*path*, or the folder above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def mount_of(path: str) -> Mount:
    """The mount that *path* lies on, or will."""
    place = os.path.realpath(existing(path))
    over = [mount for mount in read_mounts() if mount.point == "/" or f"{place}/".startswith(f"{mount.point}/")]
    return max(reversed(over), key=lambda mount: len(mount.point))
