# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's part of the module ``_hypervisor_info``: sends its code to a host once."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._kept import KeptAction, Result, Vars


class ActionModule(KeptAction):
    """Runs the module."""

    _supports_check_mode = True
    TOLD = "host"

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        result.update(self._execute_kept(task_vars or {}))
        return t.cast(Result, result)
