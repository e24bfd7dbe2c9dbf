# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The units of systemd by which a host tells what happens: one that looks and tells, a timer, and what makes others start it when they end."""

from __future__ import annotations

import typing as t

from .._core import paths

FOLDER = "/etc/systemd/system"
NAME = "homelab-hybrid-notify"
PROGRAM = f"{paths.PROGRAMS}/{NAME}"
TIMER = f"{NAME}.timer"
_MARK = "# Written by homelab.hybrid (hypervisor_notify)."
# What is told at once. Anything else that fails, or does not come to run, is seen by the timer.
_TOLD = (
    "homelab-hybrid-backup@.service",
    "homelab-hybrid-backup-verify@.service",
    "homelab-hybrid-backup-drill@.service",
    "homelab-hybrid-replicate@.service",
    "homelab-hybrid-quarantine.service",
)


def texts(secrets: t.Mapping[str, str]) -> dict[str, str]:
    """The files of the units by their path below the folder of systemd. *secrets* are files of targets by the name of these."""
    load = "".join(f"LoadCredential={name}:{path}\n" for name, path in secrets.items())
    found = {f"{NAME}@.service": _service(load), TIMER: _timer()}
    return {**found, **{f"{unit}.d/{NAME}.conf": _ENDS for unit in _TOLD}}


def folders() -> list[str]:
    """The folders that are there for nothing but these files."""
    return [f"{unit}.d" for unit in _TOLD]


# %N names the unit that ended: two that end at once are told by two.
_ENDS = f"""{_MARK}
[Unit]
OnFailure={NAME}@%N.service
OnSuccess={NAME}@%N.service
"""


def _service(load: str) -> str:
    return f"""{_MARK}
[Unit]
Description=Tell what happened on this host (%i)
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
Environment=PYTHONDONTWRITEBYTECODE=1
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
