# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What cannot be on one host, whatever each item says for itself. Looks at claims alone, never at the host."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import typing as t

from .._core.errors import RefusedError
from .._core.units import show_memory_kib, show_size
from .plan import Item

_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one guest, or a bridge for itself, lays claim to.

    *addresses* are pairs of a bridge and an IP address. Memory in KiB: what it is promised after the run, and before it.
    """

    label: str
    is_listed: bool = False
    macs: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()
    memory: int = 0
    memory_before: int = 0


@dataclasses.dataclass(frozen=True)
class NewVolume:
    """A disk or a root that the run makes. *size* in bytes."""

    label: str
    place: str
    size: int


@dataclasses.dataclass(frozen=True)
class Place:
    """A file system that pools lie on. *free* in bytes."""

    pools: tuple[str, ...]
    free: int


@dataclasses.dataclass(frozen=True)
class Subnet:
    """The subnet of a bridge. *is_new*: the run makes or changes it."""

    label: str
    network: ipaddress.IPv4Network
    is_new: bool


def check_subnets(subnets: t.Sequence[Subnet]) -> list[str]:
    """A sentence for each two bridges of the layout whose subnets overlap. What is on the host, each bridge refuses for itself."""
    return [
        f"{one.label} and {other.label} have subnets that overlap: {one.network} and {other.network}"
        for one, other in itertools.combinations(subnets, 2)
        if (one.is_new or other.is_new) and one.network.overlaps(other.network)
    ]


def check_folders(folders: t.Sequence[tuple[str, str]]) -> list[str]:
    """A sentence for each two pools of the layout in one folder; *folders* has a label and the path of each."""
    return [
        f"{one} and {other} have both the folder {path}"
        for (one, path), (other, second) in itertools.combinations(folders, 2)
        if path == second
    ]


def check_doubles(claims: t.Sequence[Claim]) -> list[str]:
    """A sentence for each MAC and each address that two have, at least one of them in the layout."""
    found = []
    owners: dict[t.Any, Claim] = {}
    for claim in claims:
        for mark in sorted(claim.macs) + sorted(claim.addresses):
            other = owners.setdefault(mark, claim)
            if other is not claim and (other.is_listed or claim.is_listed):
                what = f"the MAC address {mark}" if isinstance(mark, str) else f"the address {mark[1]} on {mark[0]}"
                found.append(f"{other.label} and {claim.label} have both {what}")
    return found


def check_memory(claims: t.Sequence[Claim], host_kib: int, overcommit: float) -> list[str]:
    """A sentence where the layout adds to what is promised and all guests together are promised more than there is."""
    promised = sum(claim.memory for claim in claims)
    more = [claim for claim in claims if claim.is_listed and claim.memory > claim.memory_before]
    if not more or promised <= host_kib * overcommit:
        return []
    names = ", ".join(f"{claim.label} ({show_memory_kib(claim.memory)})" for claim in more)
    told = f"all guests of this host would be promised {_memory(promised)}, and it has {_memory(host_kib)}"
    way_out = "Give them less, or write a higher overcommit.memory"
    return [f"{told} (overcommit.memory {overcommit:g}). This run adds {names}. {way_out}"]


def _memory(kib: int) -> str | None:
    return show_memory_kib(kib // 1024 * 1024)


def check_storage(volumes: t.Sequence[NewVolume], places: t.Mapping[str, Place], overcommit: float) -> list[str]:
    """A sentence for each file system on which the disks that the run makes do not fit.

    Disks are thin: what is there counts as what it takes now, a new one as what it may grow to.
    """
    found = []
    for key, place in places.items():
        new = [volume for volume in volumes if volume.place == key]
        size = sum(volume.size for volume in new)
        if not new or size <= place.free * overcommit:
            continue
        names = ", ".join(f"{volume.label} ({_size(volume.size)})" for volume in new)
        pools = " and ".join(place.pools)
        found.append(
            f"storage pool {pools} has {_size(place.free)} free (overcommit.storage {overcommit:g}), and this run promises "
            f"{_size(size)} to {names}. Make room, or write a higher overcommit.storage"
        )
    return found


def _size(number: int) -> str:
    return show_size(number // _MIB * _MIB) or "0" if number >= _MIB else f"{number} bytes"


def check_requirements(items: t.Sequence[Item], missing: t.Callable[[t.Any], str | None]) -> list[str]:
    """A sentence for each bridge, pool and image that an item requires, that is not there, and that nothing here makes.

    *missing* says why a reference cannot be used. A failed provider is no reason to refuse: what depends on it is skipped.
    """
    providers = {reference: item for item in items for reference in item.provides}
    found = []
    for item in items:
        if item.has_failed or item.is_removed:
            continue
        for reference in item.requires:
            provider = providers.get(reference)
            if reference.kind.rank is None or (provider is not None and (provider.makes or provider.has_failed)):
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
