# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What tells one guest and its parts from all others."""

from __future__ import annotations

import hashlib
import typing as t

from .._core.errors import SpecError


def derive_mac(machine_id: str, guest: str, card: str, taken: t.Collection[str], *, prefix: str) -> str:
    """A MAC below *prefix* (three bytes) from what tells this card from all others: the same on each try, and none of *taken*.

    :raises SpecError: where all that were tried are taken.
    """
    for attempt in range(256):
        digest = hashlib.sha256(f"{machine_id}/{guest}/{card}/{attempt}".encode()).digest()
        mac = f"{prefix}:" + ":".join(f"{byte:02x}" for byte in digest[:3])
        if mac not in taken:
            return mac
    raise SpecError(f"networks[{card}].mac: no free address was found; write one", key=f"networks[{card}].mac")
