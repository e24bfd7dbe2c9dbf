# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The units of systemd by which a host backs itself up: for each job one that runs it and a timer, and two more each where it is verified
and where its backups are tried.
"""

from __future__ import annotations

import typing as t

from ..._core import paths
from ..._core.paths import BACKUP_UNIT, DRILL_UNIT, REPLICATION_UNIT, VERIFY_UNIT
from ..config import REPLICATIONS

FOLDER = "/etc/systemd/system"
_MARK = "# Written by homelab.hybrid (hypervisor_backup_jobs, hypervisor_replication_jobs)."
PROGRAM = f"{paths.PROGRAMS}/{BACKUP_UNIT}"


def timer_of(job: str, unit: str = BACKUP_UNIT) -> str:
    """The file of the timer of *unit* for *job*."""
    return f"{FOLDER}/{unit}@{job}.timer"


def timers(units: t.Mapping[str, str]) -> list[str]:
    """Those of *units* that start with the host."""
    return [name for name in units if name.endswith(".timer")]


def all_names(area: str, job: str) -> list[str]:
    """All units that a job of that list may have."""
    names = (REPLICATION_UNIT,) if area == REPLICATIONS else (BACKUP_UNIT, VERIFY_UNIT, DRILL_UNIT)
    return [f"{name}@{job}.{suffix}" for name in names for suffix in ("timer", "service")]


def texts(area: str, job: str, values: t.Mapping[str, t.Any], files: t.Mapping[str, str]) -> dict[str, str]:
    """The units of *job* by their names. *files* are those of its repository, by the name under which the program looks for them."""
    if area == REPLICATIONS:
        told = f"Replicate guests ({job})"
        return {
            f"{REPLICATION_UNIT}@{job}.service": _service(told, f"replicate {job}", "", is_long=True),
            f"{REPLICATION_UNIT}@{job}.timer": _timer(told, values["schedule"]),
        }
    # What systemd hands over is in a memory of the unit's own, also where the file is encrypted one day.
    load = "".join(f"LoadCredential={name}:{path}\n" for name, path in files.items())
    found = {
        f"{BACKUP_UNIT}@{job}.service": _service(f"Back up guests ({job})", f"run {job}", load, is_long=True),
        f"{BACKUP_UNIT}@{job}.timer": _timer(f"Back up guests ({job})", values["schedule"]),
    }
    if values.get("verify.schedule"):
        told = f"Read a share of the backups ({job})"
        found[f"{VERIFY_UNIT}@{job}.service"] = _service(told, f"verify {job}", load, is_long=False)
        found[f"{VERIFY_UNIT}@{job}.timer"] = _timer(told, values["verify.schedule"])
    if values.get("drill.schedule"):
        told = f"Try backups by starting them ({job})"
        found[f"{DRILL_UNIT}@{job}.service"] = _service(told, f"drill {job}", load, is_long=True)
        found[f"{DRILL_UNIT}@{job}.timer"] = _timer(told, values["drill.schedule"])
    return found


def _service(told: str, words: str, load: str, *, is_long: bool) -> str:
    # Killed in the middle, nothing stays frozen, mounted or kept until the next night.
    tidy = f"ExecStopPost={PROGRAM} tidy\n" if is_long else ""
    return f"""{_MARK}
[Unit]
Description={told}
Wants=network-online.target
After=network-online.target libvirtd.service lxc.service

[Service]
Type=oneshot
{load}ExecStart={PROGRAM} {words}
{tidy}TimeoutStartSec=infinity
Nice=19
CPUSchedulingPolicy=idle
IOSchedulingClass=idle
"""


def _timer(told: str, schedule: str) -> str:
    return f"""{_MARK}
[Unit]
Description={told}

[Timer]
OnCalendar={schedule.replace("%", "%%")}
Persistent=true
RandomizedDelaySec=60

[Install]
WantedBy=timers.target
"""
