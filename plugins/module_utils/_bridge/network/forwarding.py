# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The kernel's switches for forwarding: libvirt turns that of IPv4 or IPv6 on with the first network that has it, and never off again."""

from __future__ import annotations

import glob
import os
import typing as t

from ..._core import atomic, lock, record
from ..._core.record import Owned
from ..._host import forwarding as needs
from ..._host import links
from ..record import BridgeRecord

SWITCHES = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}
# That of all links sets each of them too.
LINKS6 = "/proc/sys/net/ipv6/conf/*/forwarding"
# In which field of the record the note of each version stands.
_NOTES = {4: "without_forwarding", 6: "without_forwarding6"}


def is_on(version: int) -> bool:
    """Whether the kernel forwards IPv4 or IPv6, the latter also on some links alone."""
    switches = (SWITCHES[version], *(glob.glob(LINKS6) if version == 6 else ()))
    return any((atomic.read_text(path) or "").strip() == "1" for path in switches)


def remember(own: Owned[BridgeRecord], *, has_ipv6: bool = False) -> None:
    """Note in the record of a bridge that forwarding was off before it starts, and which bridges did without it."""
    for version in (4, 6) if has_ipv6 else (4,):
        if not is_on(version):
            own.save(**{_NOTES[version]: sorted(_bridges())})


def give_back(own: Owned[BridgeRecord]) -> None:
    """Switch forwarding off again when it was off before the first bridge of this collection and nobody needs it now.

    Called when the bridge of *own* is gone and its record still stands. While others of our bridges are left, the next of
    them inherits the note. It stays on where somebody may rely on it: a bridge came since then, the settings of the host have it
    on, or addresses are translated.
    """
    for version, note in _NOTES.items():
        before = getattr(own.content, note)
        if before is not None:
            _give_back(own, version, before)


def _give_back(own: Owned[BridgeRecord], version: int, before: t.Sequence[str]) -> None:
    with lock.allocations():
        found = (Owned(file, BridgeRecord) for name, file in record.load_all("bridges").items() if name != own.name)
        others = [other for other in found if other.content.is_made]
        if others:
            others[0].save(**{_NOTES[version]: before})
        elif is_on(version) and not (
            _bridges() - {own.name, *before} or needs.is_configured(version) or needs.is_translated()
        ):
            with open(SWITCHES[version], "w", encoding="ascii") as stream:
                stream.write("0\n")


def _bridges() -> set[str]:
    return {name for name in os.listdir("/sys/class/net") if links.is_bridge(name)}
