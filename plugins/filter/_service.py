# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The filters of this collection's service roles. Each has a file of its name for ansible-doc; its code says the rest."""

from __future__ import annotations

import typing as t

from ..plugin_utils._services import mosquitto_hash, ports_taken


class FilterModule:
    """The filters of this file, each with an underscore before its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"_mosquitto_hash": mosquitto_hash, "_ports_taken": ports_taken}
