# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The units of systemd by which a host tells what happens: one that looks and tells, a timer, and what makes others start it when they end; and
those that measure the host, and tell of alerts, each minute.
"""

from __future__ import annotations

import typing as t

from .._core import paths
from .._core.paths import BACKUP_UNIT, DRILL_UNIT, REPLICATION_UNIT, VERIFY_UNIT
from .state import Kept

FOLDER = "/etc/systemd/system"
NAME = "homelab-hybrid-notify"
PROGRAM = f"{paths.PROGRAMS}/{NAME}"
TIMER = f"{NAME}.timer"
_METRICS, _ALERTS = "homelab-hybrid-metrics", "homelab-hybrid-alerts"
_MARK = "# Written by homelab.hybrid (hypervisor_notify)."
# What is told at once. Anything else that fails, or does not come to run, is seen by the timer.
_TOLD = (
    *(f"{unit}@.service" for unit in (BACKUP_UNIT, VERIFY_UNIT, DRILL_UNIT, REPLICATION_UNIT)),
    "homelab-hybrid-quarantine.service",
)


def texts(secrets: t.Mapping[str, str]) -> dict[str, str]:
    """The files of the units by their path below the folder of systemd. *secrets* are files of targets by the name of these."""
    found = {f"{NAME}@.service": _service("".join(_loads(secrets))), TIMER: _timer()}
    return {**found, **{f"{unit}.d/{NAME}.conf": _ENDS for unit in _TOLD}}


def texts_of(kept: Kept, secrets: t.Mapping[str, str]) -> dict[str, str]:
    """Those of what is *kept*: nobody is told anything without a target."""
    found = texts(secrets) if kept.targets else {}
    if kept.targets and kept.alerts:
        told = "Tell of the alerts of the monitoring of this lab"
        found.update(_each_minute(_ALERTS, told, "alerts", "".join(_loads(secrets))))
    if kept.measures:
        found.update(_each_minute(_METRICS, "Measure this host and its guests", "measure", ""))
    return found


def all_paths() -> list[str]:
    """The files of all units that there may be."""
    every = Kept({"": {}}, frozenset([""]), measures=True)
    return list(texts_of(every, {}))


def timers(files: t.Iterable[str]) -> list[str]:
    """Those of *files* that start with the host."""
    return [path for path in files if path.endswith(".timer")]


def folders() -> list[str]:
    """The folders that are there for nothing but these files."""
    return [f"{unit}.d" for unit in _TOLD]


# %N names the unit that ended: two that end at once are told by two.
_ENDS = f"""{_MARK}
[Unit]
OnFailure={NAME}@%N.service
OnSuccess={NAME}@%N.service
"""


def _loads(secrets: t.Mapping[str, str]) -> list[str]:
    return [f"LoadCredential={name}:{path}\n" for name, path in secrets.items()]


def _each_minute(name: str, told: str, verb: str, load: str) -> dict[str, str]:
    # What is done each minute is no news: the journal has what goes wrong of it.
    service = f"""{_MARK}
[Unit]
Description={told}

[Service]
Type=oneshot
{load}ExecStart={PROGRAM} {verb}
TimeoutStartSec=5min
LogLevelMax=notice
"""
    timer = f"""{_MARK}
[Unit]
Description={told}, each minute

[Timer]
OnCalendar=minutely
AccuracySec=5

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _service(load: str) -> str:
    return f"""{_MARK}
[Unit]
Description=Tell what happened on this host (%i)
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{load}ExecStart={PROGRAM} look
TimeoutStartSec=15min
"""


def _timer() -> str:
    return f"""{_MARK}
[Unit]
Description=Look each hour for what did not happen on this host

[Timer]
OnCalendar=hourly
Persistent=true
RandomizedDelaySec=120
Unit={NAME}@watch.service

[Install]
WantedBy=timers.target
"""
