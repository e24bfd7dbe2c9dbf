# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's part of the module ``bridge``: a change that can cut the host off is confirmed over a new connection."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.plugin_utils._kept import Result, Vars
from ansible_collections.homelab.hybrid.plugins.plugin_utils._switch import SwitchingAction, with_port_items


class ActionModule(SwitchingAction):
    """Runs the module, and confirms what it began."""

    _supports_async = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        self._task.args = with_port_items(self._task.args)
        if self._task.async_val:
            # Nobody would be there to confirm: what can cut the host off is refused.
            result.update(self._execute_module(task_vars=task_vars, wrap_async=True))
        else:
            result.update(self.switch(self._task.args, task_vars or {}))
        return result
