# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The kernel's switch for forwarding: libvirt turns it on with the first network, and never off again."""

from __future__ import annotations

import os

from ..._core import atomic, lock, record
from ..._core.record import Owned
from ..._host import forwarding as needs
from ..._host import links
from ..record import BridgeRecord

SWITCH = "/proc/sys/net/ipv4/ip_forward"


def is_on() -> bool:
    return (atomic.read_text(SWITCH) or "").strip() == "1"


def remember(own: Owned[BridgeRecord]) -> None:
    """Note in the record of a bridge that forwarding was off before it starts, and which bridges did without it."""
    if not is_on():
        own.save(without_forwarding=sorted(_bridges()))


def give_back(own: Owned[BridgeRecord]) -> None:
    """Switch forwarding off again when it was off before the first bridge of this collection and nobody needs it now.

    Called when the bridge of *own* is gone and its record still stands. While others of our bridges are left, the next of
    them inherits the note. It stays on where somebody may rely on it: a bridge came since then, the settings of the host have it
    on, or addresses are translated.
    """
    before = own.content.without_forwarding
    if before is None:
        return
    with lock.allocations():
        found = (Owned(file, BridgeRecord) for name, file in record.load_all("bridges").items() if name != own.name)
        others = [other for other in found if other.content.is_made]
        if others:
            others[0].save(without_forwarding=before)
        elif is_on() and not (_bridges() - {own.name, *before} or needs.is_configured() or needs.is_translated()):
            with open(SWITCH, "w", encoding="ascii") as stream:
                stream.write("0\n")


def _bridges() -> set[str]:
    return {name for name in os.listdir("/sys/class/net") if links.is_bridge(name)}
