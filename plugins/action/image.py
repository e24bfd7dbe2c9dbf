# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's part of the module ``image``: fills in entries of the catalogue, and shows what the host does while it does it."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue_action import CatalogueAction
from ansible_collections.homelab.hybrid.plugins.plugin_utils._watched import WatchedAction


class ActionModule(CatalogueAction, WatchedAction):
    """Runs the module, and tells its steps as they come."""
