# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What tells one guest and its parts from all others."""

from __future__ import annotations

import hashlib
import re
import typing as t

from .._core.errors import SpecError

# What systemd and D-Bus know a system by.
MACHINE_ID = "/etc/machine-id"
DBUS_MACHINE_ID = "/var/lib/dbus/machine-id"
# systemd.io/BUILDING_IMAGES: what has to be anew in each copy beside the id of the machine.
SECRETS = ("/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret")
# What dhclient asks for again.
LEASES = "/var/lib/dhcp"

_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
# libvirt takes these for names of its own, and gives another one at each start.
_OF_LIBVIRT = ("vnet", "vif", "macvtap", "macvlan")


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


def link_name(guest: str, card: str, taken: t.Container[str]) -> str:
    """The name of a card's end on the host: ``GUEST.CARD`` where the kernel takes that (15 characters), else with a digest of it.

    The same on each try, and none of *taken*. No two guests have the same, as no card has a dot in its name.
    """
    name = f"{guest}.{card}"
    if _LINK.fullmatch(name) and not name.startswith(_OF_LIBVIRT) and name not in taken:
        return name
    head = re.sub(r"[^A-Za-z0-9_-]", "", guest)[:5]
    head = head if head and not head.startswith(("-", *_OF_LIBVIRT)) else "guest"
    for attempt in range(256):
        name = f"{head}.{hashlib.sha256(f'{guest}/{card}/{attempt}'.encode()).hexdigest()[:9]}"
        if name not in taken:
            return name
    raise SpecError(f"networks[{card}]: no free name for its end on the host was found", key=f"networks[{card}]")
