# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The drill of a job: a backup of each of its guests is tried, and how that went is told in a file."""

from __future__ import annotations

import platform
import time
import typing as t

from ..._core import atomic, paths
from ..._core.units import show_moment
from ..._host.snapshot import Host
from ..config import Job
from ..guests import guests_of
from ..history import loaded
from ..running import Say, write_report
from ..words import FAILED, OK
from .plan import Tried, merged
from .trying import drill


def run(job: Job, host: Host, say: Say, guests: t.Collection[str] = (), *, is_named: bool = True) -> list[Tried]:
    """Try a backup of each guest of *job*, or of *guests* alone; of a job that nobody named of those that are its own. Tells how that went."""
    began = time.time()
    known = job.drill_guests or tuple(guests_of(job, host))
    wanted = [guest for guest in guests if is_named or guest in known] if guests else known
    tried: list[Tried] = []
    for guest in sorted(wanted):
        its = drill(guest, job, host, platform.node())
        tried.append(its)
        _say(its, say)
    if tried:
        _tell(job, began, tried)
    elif is_named:
        say(f"<3>the job {job.name} has no guest to try")
    return tried


def _say(its: Tried, say: Say) -> None:
    if its.is_well:
        seconds = sum(its.seconds.values())
        say(f"{its.guest}: the backup {its.backup} came to life in {seconds:.1f} s")
    else:
        say(f"<3>{its.guest}: the drill failed: {its.error}")
    for what in its.left_out:
        say(f"{its.guest}: it was tried without {what}")


def _tell(job: Job, began: float, tried: t.Sequence[Tried]) -> None:
    path, now = paths.drill_report(job.name), show_moment(time.time())
    before = loaded(atomic.read_text(path)).get("guests")
    report = {
        "job": job.name,
        "repository": job.repository,
        "began": show_moment(began),
        "ended": now,
        "seconds": round(time.time() - began, 1),
        "result": OK if all(its.is_well for its in tried) else FAILED,
        "guests": merged(before, tried, now),
    }
    write_report(path, report)
