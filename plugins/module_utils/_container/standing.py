# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the containers of a host lay claim to as they stand, read with one listing."""

from __future__ import annotations

import os

from .._core.claims import Claims
from .._host.snapshot import Host
from .claims import claims_in
from .listed import configs


def standing(host: Host) -> dict[str, Claims]:
    """By name; beside those that are there, those that an interrupted creation left. Only what tells it without reading each one."""
    records = {name: record for name, record in host.guest_records.items() if record.data.get("kind") == "container"}
    # Only a creation writes these: a record of a container that somebody else made has neither.
    made = {name for name, its in records.items() if its.is_building or {"uuid", "image"} & its.data.keys()}
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    found = {name: Claims(is_made=True) for name, record in records.items() if record.is_building}
    for name, config in host.derived(configs).items():
        found[name] = claims_in(config, is_v2=is_v2, is_made=name in made)
    return found
