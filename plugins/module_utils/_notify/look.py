# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Looks at what is wrong on a host. Only reads."""

from __future__ import annotations

import json
import os
import time
import typing as t

from .._backup.seen import read_backups
from .._backup.words import OK
from .._bridge.switch.read import read_switch
from .._core import atomic, command, paths
from .._core.errors import HybridError
from .._guest.quarantine import read_quarantine
from .._host.snapshot import Host
from .._host.systemd import has_systemd
from .._storage.choice import absence, drivers_of
from .conditions import (
    Condition,
    Pool,
    Went,
    hearing,
    of_drift,
    of_drills,
    of_jobs,
    of_pools,
    of_restart,
    of_switch,
    of_units,
)
from .pending import of_updates
from .spec import UPDATES
from .targets import read_targets
from .units import NAME
from .updates import read_updates

# Debian's own: a package says there that the host has to be started anew, and which it is.
_RESTART, _PACKAGES = "/run/reboot-required", "/run/reboot-required.pkgs"
_UPDATES = ("apt-daily.service", "apt-daily-upgrade.service")
_OURS = "homelab-hybrid-*"
Well = dict[str, Went]


def look(host: Host) -> tuple[list[Condition], Well]:
    """All that is wrong on the host, and the jobs whose last run went well.

    What cannot be looked at is wrong, too.
    """
    found: list[Condition] = []
    well: Well = {}

    def part(name: str, read: t.Callable[[], t.Iterable[Condition]]) -> None:
        try:
            found.extend(read())
        except HybridError as exc:
            found.append(Condition(f"unreadable {name}", f"Nobody can tell of {name}: {exc.message}"))

    def backups() -> t.Iterator[Condition]:
        seen = read_backups(host)
        well.update(_well(seen["backup_jobs"]))
        yield from of_jobs(seen["backup_jobs"])
        yield from of_jobs(seen["replication_jobs"], "replication")
        yield from of_drills(seen["backups"], seen["backup_jobs"])

    part("the backups", backups)
    part("the storage pools", lambda: of_pools(read_pools(host)))
    part("the network", lambda: of_switch(read_switch().shown()))
    part("the units", lambda: of_units(failed_units(), {its.key for its in found}))
    part("the drift", lambda: of_drift(read_drift()))
    part("the restart", lambda: of_restart(waits_for_restart()))
    # Each guest is asked for them, which nobody is who has no use for the answer.
    if any(UPDATES in its["on"] for its in read_targets().values()):
        part("the updates", lambda: of_updates(read_updates(host), time.time()))
    return found, well


def _well(jobs: t.Iterable[t.Mapping[str, t.Any]]) -> Well:
    return {
        job["name"]: Went(
            str(job["ended"]),
            f"The backup job {job['name']} went well at {job['ended']}, in {job['seconds']} s",
            hearing(job),
        )
        for job in jobs
        if job["result"] == OK
    }


def read_pools(host: Host) -> list[Pool]:
    """The room of the storage pools that are there."""
    lying = read_quarantine(host)
    found = []
    for name, driver in sorted(drivers_of(host).items()):
        if absence(host, name) is not None:
            continue
        usage = driver.usage()
        its = [entry for entry in lying if name in entry["pools"]]
        until = its[0]["until"] if its else None
        warn_free = host.pool_record(name).warn_free
        found.append(
            Pool(name, usage.capacity, usage.available, warn_free, sum(entry["bytes"] for entry in its), until)
        )
    return found


def failed_units() -> list[str]:
    """The units of this collection and Debian's own updates that failed."""
    if not has_systemd():
        return []
    words = [
        "systemctl",
        "list-units",
        "--all",
        "--state=failed",
        "--plain",
        "--no-legend",
        "--no-pager",
        "--",
        _OURS,
        *_UPDATES,
    ]
    told = command.run(words, check=False)
    names = [line.split()[0] for line in told.splitlines() if line.split()]
    # That nothing could be told is in the journal, and is told by the next that can be.
    return [name for name in names if not name.startswith(NAME)]


def waits_for_restart() -> list[str] | None:
    """The packages for which Debian asks for a restart; ``None`` where it does not."""
    if not os.path.exists(_RESTART):
        return None
    return sorted(set((atomic.read_text(_PACKAGES) or "").split()))


def read_drift() -> list[str]:
    """What the last report of a control node found that is not as it is declared."""
    try:
        found = json.loads(atomic.read_text(paths.DRIFT) or "[]")
    except ValueError:
        return []
    return [str(line) for line in found] if isinstance(found, list) else []
