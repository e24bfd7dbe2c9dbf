# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the shared code of this collection is, as a number: a host that keeps code of that number need not be sent it."""

from __future__ import annotations

import hashlib
from pathlib import Path

SHARED = Path(__file__).resolve().parents[1] / "module_utils"


def digest(shared: Path = SHARED) -> str:
    """A hexadecimal number of all files of the folder *shared*: their paths and what is in them."""
    found = hashlib.sha256()
    for path in sorted(shared.rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(shared)} {len(content)}\n".encode() + content)
    return found.hexdigest()[:32]
