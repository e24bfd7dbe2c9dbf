# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The guests of a host, virtual machines and containers in one shape."""

from __future__ import annotations

import typing as t

from .._container.facts import guest_facts as container_facts
from .._core.errors import HybridError
from .._core.reference import Reference
from .._guest.facts import unreadable
from .._host.snapshot import GUEST, Host
from .._vm.facts import guest_facts as vm_facts
from .spec import parse


def read_guests(params: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """The guests that *params* ask for, by name. A host without libvirt or LXC has none of that kind.

    :raises SpecError, ObserveError:
    """
    question = parse(params)
    guests: list[dict[str, t.Any]] = []
    for kind, names, facts in (("vm", host.domains, vm_facts), ("container", host.containers, container_facts)):
        found = (_facts(name, kind, host, facts) for name in names if question.wants(name, kind))
        guests += (guest for guest in found if guest is not None and guest["state"] != "absent")
    return {"guests": sorted(guests, key=lambda guest: str(guest["name"]))}


def _facts(
    name: str, kind: str, host: Host, read: t.Callable[[str, Host], dict[str, t.Any]]
) -> dict[str, t.Any] | None:
    """What *read* tells of one guest; ``None`` when it went while it was read. One that cannot be read is its own trouble."""
    try:
        return read(name, host)
    except HybridError as exc:
        return None if Host().missing(Reference(GUEST, name)) else unreadable(name, kind, exc.message)
