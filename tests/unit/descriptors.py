# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this process has open."""

from __future__ import annotations

import gc
import os


def open_files() -> int:
    """How many descriptors are open. It may become less by itself, where what an earlier test left is collected: compare with ``<=``."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
