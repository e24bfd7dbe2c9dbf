# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The container as it shall be: what is declared, over what is there, over what a new one gets. Made once a run; plan and apply go by it."""

from __future__ import annotations

import typing as t

from .._core.options import Item, split
from .._core.value import Value
from .._guest.identity import derive_mac
from .._guest.spec import GuestSpec
from . import cpuset
from .card import Card, changed_card, new_card
from .config import MountEntry
from .mount import changed_entry, new_entry
from .options import OPTIONS
from .spec import with_create_defaults, with_item_defaults
from .state import State
from .values import READ

# The range that Xen has, and LXC and Docker take for containers.
MAC_PREFIX = "00:16:3e"


class Wanted(Value):
    """*spec* has what is declared, complete where it is new. *cards* and *mounts* are as they shall be, by name: those that are
    declared or have a key in ``unset``, not those that go.
    """

    __slots__ = ("cards", "mounts", "spec", "state")

    def __init__(
        self, spec: GuestSpec, state: State, cards: t.Mapping[str, Card], mounts: t.Mapping[str, MountEntry]
    ) -> None:
        self.spec = spec
        self.state = state
        self.cards = cards
        self.mounts = mounts

    def value(self, path: str) -> t.Any:
        """The value of an option after the run, that is no part of a list."""
        declared = self.spec.get(path)
        off = OPTIONS[path].off
        if declared is not None or path in self.spec.unset or not self.state.exists:
            return off if declared is None else declared
        return READ[path].read(self.state, None)

    def has(self, area: str, name: str) -> bool:
        """Whether an item will be there, of those that the run speaks of."""
        return name in (self.cards if area == "networks" else self.mounts)

    @property
    def cpus(self) -> str:
        """The CPUs that it is bound to, empty for all: those pinned, or the least claimed of the host."""
        pin, cores = self.spec.get("cpu.pin"), self.spec.get(self.spec.cores_path)
        if pin is not None or cores is None:
            return pin or ""
        kept: str = READ["cpu.pin"].read(self.state, None) if self.state.exists else ""
        host = self.state.host
        is_enough = len(cpuset.parse(kept)) == cores
        return kept if is_enough else cpuset.show(cpuset.least_claimed(cores, host.cpus, host.cpu_claims))


def wanted_of(spec: GuestSpec, state: State) -> Wanted:
    """The container that *spec* leads to.

    :raises SpecError: for a new thing that lacks what it needs.
    """
    wanted = spec if state.exists else with_create_defaults(spec).replace(unset=())
    there: dict[str, t.Collection[str]] = {"networks": state.cards, "mounts": state.mounts}
    lists = {
        area: tuple(
            item if item.name in there[area] or not item.is_wanted else _complete(area, item, spec.name, state)
            for item in wanted.items(area)
        )
        for area in wanted.lists
    }
    wanted = wanted.replace(lists=lists)
    return Wanted(wanted, state, _cards(wanted, state), _mounts(wanted, state))


def concerned(spec: GuestSpec, area: str, there: t.Collection[str]) -> list[Item]:
    """The items of a list that *spec* speaks of: those declared, and those of which a key is in ``unset``."""
    items = list(spec.items(area))
    named = dict.fromkeys(name for in_area, name, key in map(split, spec.unset) if in_area == area and key)
    return items + [Item(name) for name in named if name in there and all(item.name != name for item in items)]


def keys_off(spec: GuestSpec, area: str, name: str) -> dict[str, t.Any]:
    """The keys of an item that are taken off, with what that leaves."""
    paths = [path for path in spec.unset if split(path)[:2] == (area, name)]
    return {split(path)[2]: OPTIONS[path].off for path in paths}


def _complete(area: str, item: Item, guest: str, state: State) -> Item:
    full = with_item_defaults(area, item)
    if area != "networks" or full.get("mac"):
        return full
    mac = derive_mac(state.host.machine_id, guest, item.name, state.host.taken_macs, prefix=MAC_PREFIX)
    return full.with_values({**full.values, "mac": mac})


def _cards(spec: GuestSpec, state: State) -> dict[str, Card]:
    found: dict[str, Card] = {}
    numbers = {card.number for card in state.cards.values()}
    links = {link for link in (*state.host.taken_links, *(card.pair for card in state.cards.values())) if link}
    for item in concerned(spec, "networks", state.cards):
        card = state.cards.get(item.name)
        if not item.is_wanted:
            continue
        if card is not None:
            found[item.name] = changed_card(card, item, keys_off(spec, "networks", item.name))
            continue
        number = min(set(range(len(numbers) + 1)) - numbers)
        numbers.add(number)
        found[item.name] = new_card(spec.name, number, item, links)
    return found


def _mounts(spec: GuestSpec, state: State) -> dict[str, MountEntry]:
    found: dict[str, MountEntry] = {}
    is_mapped = state.is_unprivileged if state.exists else bool(spec.get("unprivileged"))
    for item in concerned(spec, "mounts", state.mounts):
        entry = state.mounts.get(item.name)
        if not item.is_wanted:
            continue
        if entry is not None:
            found[item.name] = changed_entry(entry, item, keys_off(spec, "mounts", item.name))
        else:
            found[item.name] = new_entry(item, is_file=item.get("source") in state.files, is_mapped=is_mapped)
    return found
