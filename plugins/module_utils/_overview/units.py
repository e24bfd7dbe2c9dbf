# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The units of systemd by which a host tells the overview pages in its guests how it is."""

from __future__ import annotations

import typing as t

from .._core import paths

FOLDER = "/etc/systemd/system"
NAME = "homelab-hybrid-overview"
PROGRAM = f"{paths.PROGRAMS}/{NAME}"
SERVICE = f"{NAME}.service"
TIMER = f"{NAME}.timer"
_MARK = "# Written by homelab.hybrid (roles/reverse_proxy)."


def texts(configs: t.Iterable[str]) -> dict[str, str]:
    """The files of the units by their name. *configs* are those of the containers that are told: where there is none of them nothing is done."""
    conditions = "".join(f"ConditionPathExists=|{path}\n" for path in configs)
    return {SERVICE: _service(conditions), TIMER: _timer()}


def _service(conditions: str) -> str:
    # Without LogLevelMax systemd would note each minute that it began and ended.
    return f"""{_MARK}
[Unit]
Description=Tell the overview page of the lab how the guests of this host are
{conditions}
[Service]
Type=oneshot
ExecStart={PROGRAM} tell
TimeoutStartSec=2min
Nice=10
LogLevelMax=notice
"""


def _timer() -> str:
    return f"""{_MARK}
[Unit]
Description=Tell the overview page of the lab each minute how the guests of this host are

[Timer]
OnCalendar=minutely
AccuracySec=5s

[Install]
WantedBy=timers.target
"""
