# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A folder or file of the host bound into a container, with owners mapped as liblxc cannot: for one that runs, and at each start.

At a start LXC runs this as a program, which is this file and ``mapping``: nothing but Python's own library is imported in them.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import typing as t

from . import mapping

_SYS_MOVE_MOUNT = 429
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_ID = re.compile(r"(uid|gid)=(\d+):(\d+)")


# A mount that is nowhere yet, as a descriptor, and the path below the whole that it belongs to: empty for the uppermost.
Parts = list[tuple[int, str]]


@contextlib.contextmanager
def detached(pid: int, source: str, options: t.Collection[str]) -> t.Iterator[Parts]:
    """Mounts of *source*, and of what is mounted below it, as the container of process *pid* shall have them: the outer ones first.

    *options* are those of a mount entry: ``rbind``, ``ro``, ``idmap=container``, and ``uid=HOST:INSIDE``. What is mounted below and
    takes no mapping stays without one.

    :raises OSError:
    """
    points = ["", *(_below(source) if "rbind" in options else ())]
    with contextlib.ExitStack() as stack:
        # One by one: the kernel maps no mount that has a parent (6.18), and the whole tree only where all of it can be mapped.
        parts = [
            (stack.enter_context(mapping.clone_of(os.path.join(source, point) if point else source)), point)
            for point in points
        ]
        if "idmap=container" in options:
            _map_owners(pid, parts, options)
        for tree, dummy in parts:
            mapping.restrict(tree, options)
        yield parts


def _map_owners(pid: int, parts: Parts, options: t.Collection[str]) -> None:
    with _namespace(pid, options) as namespace:
        for tree, point in parts:
            with contextlib.suppress(*([OSError] if point else ())):
                mapping.map_owners(tree, namespace)


@contextlib.contextmanager
def _namespace(pid: int, options: t.Iterable[str]) -> t.Iterator[int]:
    """The user namespace that owners are mapped by: the container's own, or one in which some ids stand for others."""
    ids: dict[str, dict[int, int]] = {"uid": {}, "gid": {}}
    for match in filter(None, map(_ID.fullmatch, options)):
        ids[match[1]][int(match[2])] = int(match[3])
    if any(ids.values()):
        try:
            uids, gids = (mapping.mapped_extents(extents_of(pid, kind), its) for kind, its in ids.items())
        except ValueError as exc:
            raise OSError(str(exc)) from None
        with mapping.user_namespace(uids, gids) as namespace:
            yield namespace
    else:
        with open(f"/proc/{pid}/ns/user", "rb") as stream:
            yield stream.fileno()


def extents_of(pid: int, kind: str) -> list[mapping.Extent]:
    """The ids (``uid``, ``gid``) that the container of process *pid* has."""
    with open(f"/proc/{pid}/{kind}_map", encoding="ascii") as stream:
        lines = [line.split() for line in stream]
    return [(int(first), int(place), int(count)) for first, place, count in lines]


def _below(source: str) -> list[str]:
    """What is mounted below *source*, as paths from there, the outer ones first."""
    folder = os.path.realpath(source)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        fields = (line.split(" ")[4] for line in stream)
        points = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field) for field in fields]
    return sorted(os.path.relpath(point, folder) for point in points if point.startswith(f"{folder}/"))


def attach(parts: Parts, path: str, *, is_folder: bool, root: tuple[int, int]) -> None:
    """Put the mounts at and below *path*. What is missing of the path is made, for *root*. In the namespace of the container's mounts.

    :raises OSError:
    """
    _make_target(path, root, is_folder)
    for tree, point in parts:
        place = os.path.join(path, point) if point else path
        mapping.checked(
            mapping.libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(place), _MOVE_MOUNT_F_EMPTY_PATH),
            f"mount at {place}",
        )


def _make_target(path: str, root: tuple[int, int], is_folder: bool) -> None:
    parts = [part for part in path.split("/") if part]
    for length in range(1, len(parts) + 1):
        place = "/" + "/".join(parts[:length])
        if os.path.lexists(place):
            continue
        if length < len(parts) or is_folder:
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        os.chown(place, *root, follow_symlinks=False)
    if stat.S_ISDIR(os.stat(path).st_mode) != is_folder:
        raise OSError(f"{path} is {'no' if is_folder else 'a'} folder inside the container")


def root_of(pid: int) -> tuple[int, int]:
    """The uid and gid of the host that root of the container of process *pid* is."""
    uid, gid = (mapping.place_of(0, extents_of(pid, kind)) for kind in ("uid", "gid"))
    return uid, gid


def main() -> None:
    """``bind-mount SOURCE PATH OPTIONS``, as LXC runs it before a container's own init: its process is ``LXC_PID``."""
    source, path = (_unescape(word) for word in sys.argv[1:3])
    pid = int(os.environ["LXC_PID"])
    try:
        with detached(pid, source, sys.argv[3].split(",")) as parts:
            is_folder, root = os.path.isdir(source), root_of(pid)
            with open(f"/proc/{pid}/ns/mnt", "rb") as namespace:
                mapping.checked(mapping.libc.setns(namespace.fileno(), 0), "enter the mounts of the container")
            attach(parts, path, is_folder=is_folder, root=root)
    except OSError as exc:
        raise SystemExit(f"{source} could not be mounted at {path}: {exc.strerror or exc}") from exc


def _unescape(text: str) -> str:
    return re.sub(
        rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape")
    ).decode("utf-8", "surrogateescape")
