# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the virtual machines of a host lay claim to as they stand, read with one listing."""

from __future__ import annotations

import typing as t

from .._core.claims import Address, Claims
from .._core.errors import ObserveError
from .._host import handed_out
from .._host.libvirt import Definition, errors_of
from .._host.snapshot import Host


def standing(host: Host) -> dict[str, Claims]:
    """By name; beside those that are there, those that an interrupted creation left. Only what tells it without reading each one.

    :raises ObserveError:
    """
    records = {name: record for name, record in host.guest_records.items() if record.data.get("kind") == "vm"}
    definitions = _definitions(host)
    kept: dict[str, list[Address]] = {}
    for (bridge, dummy, ip), guest in handed_out.owners(host).items():
        kept.setdefault(guest, []).append((bridge, ip))
    # Only a creation writes a UUID: a record of a machine that somebody else made has none.
    made = {name for name, record in records.items() if record.is_building or "uuid" in record.data}
    found = {name: _claims(its, kept.get(name, ()), is_made=name in made) for name, its in definitions.items()}
    return {**{name: Claims(is_made=True) for name, record in records.items() if record.is_building}, **found}


def _definitions(host: Host) -> dict[str, Definition]:
    if not host.domains:
        return {}  # a bare host has not even the library whose errors would be read
    with errors_of("read the domains", ObserveError):
        return host.definitions


def _claims(definition: Definition, addresses: t.Sequence[Address], *, is_made: bool) -> Claims:
    # Libvirt writes memory in KiB, whatever unit it was defined in.
    memory = int(definition.root.findtext("memory", "0"))
    return Claims(macs=definition.macs, addresses=addresses, memory_kib=memory, is_made=is_made)
