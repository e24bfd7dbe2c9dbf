# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's part of the module ``bridge``: a change that can cut the host off is confirmed over a new connection."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.plugin_utils._switch import SwitchAction


class ActionModule(SwitchAction):
    """Runs the module, and confirms what it began."""
