# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A network card as a seed has it."""

from __future__ import annotations

import typing as t

from .._guest.options import DHCP


class Card(t.NamedTuple):
    """What a seed tells a card: to ask by DHCP, nothing, or an address with the length of its prefix, in the words of ``networks[].ip``.

    Of IPv6 an address or nothing, so that it takes what a router announces, as systems do unless they are told otherwise.
    """

    mac: str
    ip: str = DHCP
    gateway: str = ""
    dns: tuple[str, ...] = ()
    ip6: str = ""
    gateway6: str = ""
