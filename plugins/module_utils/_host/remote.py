# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the role hypervisor mounts from elsewhere, and whether it answers. Only reads.

Whoever asks for a path on a server that is gone waits for it: here that is asked in a child, which is given up after a time, and once for
all that want to know.
"""

from __future__ import annotations

import os
import time
import typing as t

from .._core import command, paths, record
from .._core.errors import HybridError
from .mount_record import MountRecord

# A server that is busy may take its time; one that is gone is an error of the mount after 15 s.
ANSWER_SECONDS = 10.0
# For how long an answer counts, in one process.
_LASTING_SECONDS = 20.0
# How often a guest that starts is asked again.
_PAUSE_SECONDS = 2.0
_TYPES = ("nfs", "cifs", "smb2")


class _Known:
    """What this process has read and asked."""

    def __init__(self) -> None:
        self.read_at = -1
        self.mounts: tuple[MountRecord, ...] = ()
        self.answers: dict[str, tuple[float, bool]] = {}
        self.given_up: set[str] = set()


_KNOWN = _Known()


def remotes() -> tuple[MountRecord, ...]:
    """The mounts that the records name, whether or not they are mounted now."""
    try:
        changed = os.stat(paths.record_folder("mounts")).st_mtime_ns
    except FileNotFoundError:
        return ()
    if changed != _KNOWN.read_at:
        found = (MountRecord.load(file.data) for file in record.load_all("mounts").values())
        _KNOWN.read_at, _KNOWN.mounts = changed, tuple(its for its in found if its.path)
        _KNOWN.answers.clear()
    return _KNOWN.mounts


def remote_of(path: str) -> MountRecord | None:
    """The mount that *path* lies on, by its name; a link that leads there counts too where it lies elsewhere."""
    known = remotes()
    return _within(path, known) or _behind_links(path, known) if known and path.startswith("/") else None


def _within(path: str, known: t.Iterable[MountRecord]) -> MountRecord | None:
    return next((its for its in known if f"{path}/".startswith(f"{its.path}/")), None)


def _behind_links(path: str, known: t.Sequence[MountRecord]) -> MountRecord | None:
    """Where the links on the way lead to, followed one by one: nothing below a mount is asked for."""
    place, left = "/", [part for part in reversed(path.split("/")) if part]
    for dummy in range(4 * len(left) + 40):
        if not left or _within(place, known) is not None:
            break
        part = left.pop()
        place = os.path.dirname(place) if part == ".." else os.path.join(place, part) if part != "." else place
        if _within(place, known) is None and os.path.islink(place):
            target = os.readlink(place)
            left += [word for word in reversed(target.split("/")) if word]
            place = "/" if target.startswith("/") else os.path.dirname(place)
    else:
        return None
    return _within(place, known)


def away(path: str) -> MountRecord | None:
    """The mount that *path* lies on, where that does not answer now."""
    its = remote_of(path)
    return its if its is not None and not _has_answered(its.path) else None


def is_there(path: str) -> bool:
    """Whether there is such a path; of one on a mount that does not answer nobody can say so."""
    return away(path) is None and os.path.exists(path)


def _has_answered(point: str) -> bool:
    now = time.monotonic()
    asked, answer = _KNOWN.answers.get(point, (float("-inf"), False))
    if now - asked > _LASTING_SECONDS:
        answer = answers(point)
        _KNOWN.answers[point] = (time.monotonic(), answer)
    return answer


def answers(point: str) -> bool:
    """Whether what is to be mounted at *point* is, and its server answers. It is mounted where it is not."""
    try:
        # The figures of a file system come from its server each time. A process that waits for one can be ended.
        told = command.run(["stat", "--file-system", "--format=%T", point], timeout=ANSWER_SECONDS)
    except HybridError:
        return False
    return told.strip() in _TYPES


def wait_until_it_answers(its: MountRecord, is_served: t.Callable[[], bool]) -> bool:
    """Whether the mount answers within its time, as long as *is_served*: its guest runs. It is waited for once, whatever stands on it."""
    if its.path in _KNOWN.given_up:
        return False
    end = time.monotonic() + its.wait_timeout
    while is_served() and time.monotonic() < end:
        if answers(its.path):
            _KNOWN.answers[its.path] = (time.monotonic(), True)
            return True
        time.sleep(_PAUSE_SECONDS)
    _KNOWN.given_up.add(its.path)
    return False


def sentence(its: MountRecord, path: str, *, is_running: bool | None) -> str:
    """Why *path* cannot be used, and what helps. *is_running* says of the guest that serves it whether it does, ``None`` of one that is not there."""
    what = f"{its.source}, which is mounted at {its.path}, does not answer, and {path} lies there"
    guest = its.wait_for_guest
    if not guest:
        return f"{what}. See whether its server runs"
    if is_running is None:
        return f"{what}. The guest {guest}, which serves it, is not on this host (yet)"
    if not is_running:
        return f"{what}. The guest {guest}, which serves it, does not run. Start it"
    return f"{what}. The guest {guest}, which serves it, runs: see whether its server does"
