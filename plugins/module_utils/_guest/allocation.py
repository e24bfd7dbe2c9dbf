# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What other guests have, and whether what was planned is still nobody else's once the lock of allocations is held."""

from __future__ import annotations

import typing as t

from .._core import record as records
from .._core.errors import ApplyError, ObserveError
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .recorded import load_others


def taken_macs(host: Host, except_guest: str) -> dict[str, str]:
    """The MACs that other guests of both kinds have, by their records and their definitions, each with the name of its guest.

    :raises ObserveError:
    """
    known = host.derived(_macs_of_all)
    return {mac: name for name, macs in known.items() if name != except_guest for mac in macs}


def _macs_of_all(host: Host) -> dict[str, list[str]]:
    found = {name: list(its.macs.values()) for name, its in load_others(host.guest_records).items()}
    for name, container in host.containers.items():
        found.setdefault(name, []).extend(container.macs)
    if host.domains:  # a bare host has not even the library whose errors would be read
        with errors_of("read the domains", ObserveError):
            for name, domain in host.definitions.items():
                found.setdefault(name, []).extend(domain.macs)
    return found


def check_macs(guest: str, macs: t.Mapping[str, str]) -> None:
    """Whether *macs* are still free for *guest*. The lock of allocations is held.

    :raises ApplyError: when another guest has got one since they were planned.
    """
    wanted = set(macs.values())
    for other, its in load_others(records.load_all("guests")).items() if wanted else ():
        clash = wanted & set(its.macs.values())
        if other != guest and clash:
            raise ApplyError(f"networks: {', '.join(sorted(clash))} belongs to the guest {other} by now. Run it again")
