# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The IPv6 prefix that a hypervisor has been given (``hypervisor_prefix6``), and the subnets of it that its bridges and networks name."""

from __future__ import annotations

import ipaddress
import re
import typing as t

# ``prefix`` is the first subnet, ``prefix:20`` the one that has these hexadecimal digits in its addresses.
_WORD = re.compile(r"prefix(?::([0-9A-Fa-f]{1,4}))?", re.ASCII)
_PREFIX = "an IPv6 network such as 2001:db8:1::/56, /48 to /64"


class PrefixError(ValueError):
    """What the inventory says of the prefix, or of a subnet of it, is refused. The message says where it stands."""


def is_of_prefix(written: t.Any) -> bool:
    """Whether *written* names a subnet of the prefix."""
    return isinstance(written, str) and written.startswith("prefix")


def subnet_of(where: str, written: str, prefix: t.Any) -> ipaddress.IPv6Network:
    """The subnet of *prefix*, as the inventory has it, that *written* names. *where* is how sentences call its place.

    :raises PrefixError:
    """
    if prefix is None:
        raise PrefixError(f"{where} is {written}, and there is no hypervisor_prefix6 of this hypervisor")
    try:
        whole = ipaddress.IPv6Network(str(prefix))
    except ValueError:
        whole = ipaddress.IPv6Network("::/0")
    if not 48 <= whole.prefixlen <= 64:
        raise PrefixError(f"hypervisor_prefix6 is {str(prefix)!r}; it must be {_PREFIX}")
    match = _WORD.fullmatch(written)
    if match is None:
        raise PrefixError(f"{where} is {written!r}; it must be prefix, or prefix: and up to four hexadecimal digits")
    number, count = int(match[1] or "0", 16), 2 ** (64 - whole.prefixlen)
    if number >= count:
        most = "prefix alone" if count == 1 else f"prefix:0 to prefix:{count - 1:x}"
        raise PrefixError(f"{where} is {written}, and {whole} has {most}")
    return ipaddress.IPv6Network((int(whole[0]) + (number << 64), 64))


def with_subnets(hypervisor: str, bridges: t.Sequence[t.Any], prefix: t.Any) -> list[t.Any]:
    """The *bridges* of a *hypervisor*, each whose ``address6`` names a subnet of the *prefix* with the first address of that.

    :raises PrefixError:
    """
    return [
        {**bridge, "address6": f"{subnet_of(_where(hypervisor, bridge), bridge['address6'], prefix)[1]}/64"}
        if isinstance(bridge, t.Mapping) and is_of_prefix(bridge.get("address6"))
        else bridge
        for bridge in bridges
    ]


def _where(hypervisor: str, bridge: t.Mapping[str, t.Any]) -> str:
    return f"hypervisor_bridges[{bridge.get('name')}] of {hypervisor}: address6"
