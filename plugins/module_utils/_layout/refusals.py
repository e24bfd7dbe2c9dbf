# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What cannot be on one host, whatever each item says for itself. Looks at claims alone, never at the host."""

from __future__ import annotations

import itertools
import typing as t

from .._core.claims import NOTHING, Claims, Room
from .._core.errors import RefusedError
from .._core.units import show_memory_kib, show_size
from .plan import Item

_MIB = 2**20


class Claimant(t.NamedTuple):
    """What lays claim to something: *after* the run and *before* it. *is_listed*: the layout has it."""

    label: str
    is_listed: bool
    after: Claims
    before: Claims = NOTHING


def check_claims(
    claimants: t.Sequence[Claimant],
    rooms: t.Mapping[str, Room],
    host_kib: int,
    *,
    memory_overcommit: float,
    storage_overcommit: float,
) -> list[str]:
    """A sentence for everything that two claim and only one can have, and for what is claimed beyond what the host has.

    *rooms* are those that the pools offer, by their names.
    """
    return [
        *check_subnets(claimants),
        *check_folders(claimants),
        *check_disks(claimants),
        *check_devices(claimants),
        *check_doubles(claimants),
        *check_memory(claimants, host_kib, memory_overcommit),
        *check_storage(claimants, rooms, storage_overcommit),
    ]


def check_subnets(claimants: t.Sequence[Claimant]) -> list[str]:
    """Two of the layout whose subnets overlap. What is on the host, each bridge refuses for itself."""
    subnets = [(it.label, *subnet) for it in claimants if it.is_listed for subnet in it.after.subnets]
    return [
        f"{one} and {other} have subnets that overlap: {network} and {second}"
        for (one, network, is_new), (other, second, too) in itertools.combinations(subnets, 2)
        if (is_new or too) and network.overlaps(second)
    ]


def check_folders(claimants: t.Sequence[Claimant]) -> list[str]:
    """Two of the layout in one folder."""
    return [
        f"{one.label} and {other.label} have both the folder {path}"
        for one, other in itertools.combinations([it for it in claimants if it.is_listed], 2)
        for path in sorted(one.after.folders & other.after.folders)
    ]


def check_disks(claimants: t.Sequence[Claimant]) -> list[str]:
    """Two of the layout that write the same file or device. What is on the host, each guest refuses for itself."""
    return [
        f"{one.label} and {other.label} have both the disk {one.after.disks[place]}"
        for one, other in itertools.combinations([it for it in claimants if it.is_listed], 2)
        for place in one.after.disks
        if place in other.after.disks
    ]


def check_devices(claimants: t.Sequence[Claimant]) -> list[str]:
    """Two of the layout that get one device of the host, one of them alone. What runs with it already, each guest refuses for itself."""
    return [
        f"{one.label} and {other.label} have both the device {told}"
        for one, other in itertools.combinations([it for it in claimants if it.is_listed], 2)
        for mark, told in {**one.after.shared_devices, **one.after.devices}.items()
        if mark in other.after.devices or (mark in one.after.devices and mark in other.after.shared_devices)
    ]


def check_doubles(claimants: t.Sequence[Claimant]) -> list[str]:
    """A MAC or an address that two have, at least one of them in the layout."""
    found = []
    owners: dict[t.Any, tuple[str, bool]] = {}

    def claim(label: str, is_listed: bool, marks: t.Iterable[t.Any]) -> None:
        for mark in marks:
            other, is_other_listed = owners.setdefault(mark, (label, is_listed))
            if other != label and (is_other_listed or is_listed):
                what = f"the MAC address {mark}" if isinstance(mark, str) else f"the address {mark[1]} on {mark[0]}"
                found.append(f"{other} and {label} have both {what}")

    for it in claimants:
        claim(it.label, it.is_listed, [*sorted(it.after.macs), *sorted(it.after.addresses)])
    for it in claimants:
        for kept in it.after.reservations:
            label, is_listed = owners.get(kept.mac, ("", False))
            # Whoever has the MAC may have the address that is kept for it.
            if (label, is_listed) != owners.get(kept.address):
                claim(f"{kept.name} of {it.label}", it.is_listed, [kept.address])
    return found


def check_memory(claimants: t.Sequence[Claimant], host_kib: int, overcommit: float) -> list[str]:
    """The layout adds to what is promised, and all together are promised more than there is."""
    promised = sum(it.after.memory_kib for it in claimants)
    more = [it for it in claimants if it.is_listed and it.after.memory_kib > it.before.memory_kib]
    if not more or promised <= host_kib * overcommit:
        return []
    names = ", ".join(f"{it.label} ({show_memory_kib(it.after.memory_kib)})" for it in more)
    told = f"all guests of this host would be promised {_memory(promised)}, and it has {_memory(host_kib)}"
    way_out = "Give them less, or write a higher overcommit.memory"
    return [f"{told} (overcommit.memory {overcommit:g}). This run adds {names}. {way_out}"]


def _memory(kib: int) -> str | None:
    return show_memory_kib(kib // 1024 * 1024)


def check_storage(claimants: t.Sequence[Claimant], rooms: t.Mapping[str, Room], overcommit: float) -> list[str]:
    """Each file system on which what the run makes does not fit.

    Disks are thin: what is there counts as what it takes now, a new one as what it may grow to.
    """
    listed = [(it.label, space) for it in claimants if it.is_listed for space in it.after.space if space.pool in rooms]
    new = [(label, space) for label, space in listed if not space.is_shared]
    new += [("", space) for space in dict.fromkeys(space for dummy, space in listed if space.is_shared)]
    found = []
    for place in sorted({rooms[space.pool].place for dummy, space in new}):
        here = [(label, space) for label, space in new if rooms[space.pool].place == place]
        pools = sorted(name for name, room in rooms.items() if room.place == place)
        free, size = rooms[pools[0]].free_bytes, sum(space.size_bytes for dummy, space in here)
        if size <= free * overcommit:
            continue
        names = ", ".join(
            f"{' of '.join(word for word in (space.name, label) if word)} ({_size(space.size_bytes)})"
            for label, space in here
        )
        found.append(
            f"storage pool {' and '.join(pools)} has {_size(free)} free (overcommit.storage {overcommit:g}), and this run "
            f"promises {_size(size)} to {names}. Make room, or write a higher overcommit.storage"
        )
    return found


def _size(number: int) -> str:
    return show_size(number // _MIB * _MIB) or "0" if number >= _MIB else f"{number} bytes"


def check_requirements(items: t.Sequence[Item], missing: t.Callable[[t.Any], str | None]) -> list[str]:
    """A sentence for each bridge, pool and image that an item requires, that is not there, and that nothing here makes.

    *missing* says why a reference cannot be used. A failed provider is no reason to refuse: what depends on it is skipped. Whether a guest
    needs what it is cloned from, its own plan says.
    """
    providers = {reference: item for item in items for reference in item.provides}
    found = []
    for item in items:
        if item.has_failed or item.is_removed:
            continue
        for reference in item.requires:
            provider = providers.get(reference)
            if (
                reference.kind.rank is None
                or not reference.kind.is_needed
                or (provider is not None and (provider.makes or provider.has_failed))
            ):
                continue
            if provider is not None and (provider.is_removed or provider.stops):
                what = "takes away" if provider.is_removed else "leaves stopped"
                found.append(f"{item.label} needs {reference}, which this layout {what}")
                continue
            why = missing(reference)
            if why is not None:
                found.append(f"{item.label} needs {reference}: {why}, or name it in this layout")
    return found


def refuse(sentences: t.Sequence[str], failures: t.Sequence[str] = ()) -> None:
    """Stop before anything is applied.

    :raises RefusedError: with all *sentences*, when there are any, and with the *failures* that would have come beside them.
    """
    if sentences:
        also = f". These fail too: {'; '.join(failures)}" if failures else ""
        raise RefusedError("; ".join(sentences) + also, conflicts=list(sentences))
