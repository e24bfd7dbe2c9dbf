# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The configurations of all containers of the host."""

from __future__ import annotations

from .._host.snapshot import Host
from .config import Config


def configs(host: Host) -> dict[str, Config]:
    """The configuration of every container. Ask for it through ``Host.derived``."""
    return {name: Config.parse(its.config, its.included, its.tables) for name, its in host.containers.items()}
