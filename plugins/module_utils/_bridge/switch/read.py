# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Reads what a host keeps of its last switch."""

from __future__ import annotations

import json

from ..._core import atomic, paths
from .state import Switch

FILE = paths.STATE + "/switch/state.json"


def read_switch() -> Switch:
    """The last switch of this host; one without a name where there was none."""
    try:
        found = json.loads(atomic.read_text(FILE) or "{}")
    except ValueError:
        found = {}
    return Switch.load(found if isinstance(found, dict) else {})
