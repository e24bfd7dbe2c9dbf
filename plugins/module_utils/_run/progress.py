# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a long run tells while it runs: JSON lines in a file on the host, read by the control node as they come."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import typing as t

from .._core import paths

# The control node puts the name of the job into the environment of the module.
VARIABLE = "HOMELAB_HYBRID_JOB"
# Or that of one that is over, whose result is asked for.
RESULT_OF = "HOMELAB_HYBRID_RESULT_OF"
_KEPT_SECONDS = 24 * 3600

Message = t.Mapping[str, t.Any]
Tell = t.Callable[[Message], None]


def job_paths(job: str) -> tuple[str, str, str]:
    """The files of *job*, a name of 16 hexadecimal digits: what it tells on its way, its result, and its errors."""
    telling, result, errors = (
        os.path.join(paths.PROGRESS, job + end) for end in (".jsonl", ".result.jsonl", ".errors.jsonl")
    )
    return telling, result, errors


@contextlib.contextmanager
def telling(environment: t.Mapping[str, str]) -> t.Iterator[Tell | None]:
    """What tells the control node of a message, ``None`` where it does not listen.

    Progress never fails a run: what cannot be written is not told.
    """
    job = environment.get(VARIABLE, "")
    descriptor = _open(job) if re.fullmatch(r"[0-9a-f]{16}", job) else None
    if descriptor is None:
        yield None
        return

    def tell(message: Message) -> None:
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps(message, default=str, separators=(",", ":")).encode() + b"\n")

    try:
        yield tell
    finally:
        os.close(descriptor)


def _open(job: str) -> int | None:
    try:
        os.makedirs(paths.PROGRESS, mode=0o700, exist_ok=True)
        _remove_old(time.time() - _KEPT_SECONDS)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(job_paths(job)[0], flags, 0o600)
    except OSError:
        return None


def _remove_old(before: float) -> None:
    """The files that a control node never fetched, since it was interrupted."""
    for entry in os.scandir(paths.PROGRESS):
        if entry.name.endswith(".jsonl") and entry.stat(follow_symlinks=False).st_mtime < before:
            os.unlink(entry.path)
