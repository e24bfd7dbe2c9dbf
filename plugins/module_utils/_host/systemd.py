# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What systemd says of the host that it runs. Only reads."""

from __future__ import annotations

import os

from .._core import command


def has_systemd() -> bool:
    """Whether systemd runs this host. Elsewhere its units lie there for nobody."""
    return os.path.isdir("/run/systemd/system")


def is_started(unit: str) -> bool:
    """Whether *unit* runs, and starts with the host."""
    told = command.run(["systemctl", "show", "--property=ActiveState,UnitFileState", "--", unit], check=False)
    return {"ActiveState=active", "UnitFileState=enabled"} <= set(told.splitlines())
