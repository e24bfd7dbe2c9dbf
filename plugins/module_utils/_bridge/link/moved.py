# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a new bridge takes over from the one link that is plugged into it: its addresses, ways out, leases and MAC address."""

from __future__ import annotations

import dataclasses

from ..options import DHCP
from ..spec import Spec
from .settings import FIELDS, LinkSettings, merge

# What goes along. A port keeps its MTU, and the bridge has the least one of its ports.
_GOES_ALONG = ("address", "address6", "gateway", "gateway6", "mac")
_NEEDS = {"gateway": "address", "gateway6": "address6"}


@dataclasses.dataclass(frozen=True)
class Moved:
    """The link *port* and what it has for itself. *iaid* is the number by which a DHCP server knows it, ``None`` where it has no lease.

    *is_told*: it has its routes of IPv6 from a router, though nothing need say so: of a bridge systemd takes them only where it does.
    *client* is what dhcpcd is to call itself so that the server knows it under another name of the link, "" where it would anyway.
    """

    port: str
    settings: LinkSettings
    iaid: int | None = None
    client: str = ""
    is_told: bool = False


def filled(spec: Spec, moved: Moved | None) -> Spec:
    """*spec* with what the port has where nothing is declared. A way out stays with the address that it needs."""
    if moved is None:
        return spec
    values = dict(spec.values)
    for key in _GOES_ALONG:
        found = getattr(moved.settings, FIELDS[key])
        found = found[0] if isinstance(found, tuple) and found else found
        if key in _NEEDS and DHCP in getattr(moved.settings, FIELDS[_NEEDS[key]]):
            continue
        is_declared = any(it in spec.values or it in spec.unset for it in (key, _NEEDS.get(key, key)))
        if found and not is_declared:
            values[key] = found
    return Spec(spec.name, spec.state, values, spec.lists, spec.exact, spec.unset, spec.given)


def wanted_of(spec: Spec, before: LinkSettings, moved: Moved | None) -> LinkSettings:
    """The bridge as it is to be: *before* with what *spec* declares, and all addresses of the port where its first one is taken over."""
    wanted = merge(before, filled(spec, moved))
    if moved is None:
        return wanted
    return dataclasses.replace(
        wanted,
        addresses=_all(wanted.addresses, moved.settings.addresses),
        addresses6=_all(wanted.addresses6, moved.settings.addresses6),
    )


def _all(wanted: tuple[str, ...], found: tuple[str, ...]) -> tuple[str, ...]:
    return found if wanted and found[:1] == wanted else wanted
