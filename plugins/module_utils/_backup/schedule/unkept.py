# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the next run of a job lets go of, where it keeps otherwise than before. Only reads."""

from __future__ import annotations

import os
import platform
import time
import typing as t

from ..._core import paths
from ..._core.errors import HybridError
from ..._host.snapshot import Host
from ..config import Job, keep_of
from ..guests import guests_of
from ..retention import unkept

if t.TYPE_CHECKING:
    from ..repository import Repository

# How many are named.
_MOST = 10


def load(name: str) -> Repository:
    """The repository *name*, with the code by which one stores."""
    from ..repository import Repository

    return Repository(name)


def told_of(job: Job, before: t.Mapping[str, t.Any], host: Host) -> str | None:
    """It in a sentence; ``None`` where that is nothing, as for a *job* that keeps what it kept with the values *before*.

    The repository is asked only where it was used: where it is, the host knows only then.
    """
    was_used = os.path.exists(paths.repository_file(job.repository, "id"))
    if job.is_append_only or job.keep == keep_of(before) or not was_used:
        return None
    try:
        listed = load(job.repository).list()
        gone = unkept(listed, job, guests_of(job, host), platform.node(), time.time())
    except HybridError as exc:
        return f"nobody can tell what the next run lets go of: {exc.message}"
    if not gone:
        return None
    more = f" and {len(gone) - _MOST} more" if len(gone) > _MOST else ""
    return f"the next run lets go of {', '.join(f'{its.guest} {its}' for its in gone[:_MOST])}{more}"
