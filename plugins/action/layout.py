# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's part of the module ``layout``: shows what the host does while it does it, and confirms what can cut it off."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue_action import CatalogueAction
from ansible_collections.homelab.hybrid.plugins.plugin_utils._switched_layout import SwitchedLayoutAction


class ActionModule(CatalogueAction, SwitchedLayoutAction):
    """Runs the module, and tells its steps as they come."""
