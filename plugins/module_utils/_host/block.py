# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The host's own storage devices, as opposed to what software makes of them."""

from __future__ import annotations

import os
import stat


def is_hardware(path: str) -> bool:
    """Whether *path* is a disk of this host or a partition, and not a logical volume or a loop device: these have no device behind them."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if not stat.S_ISBLK(status.st_mode):
        return False
    known = f"/sys/dev/block/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return os.path.exists(f"{known}/device") or os.path.exists(f"{known}/partition")
