# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The container as it shall be: what is declared, over what is there, over what a new one gets. Made once a run; plan and apply go by it."""

from __future__ import annotations

import typing as t

from .._core.errors import ApplyError
from .._core.options import Item, split
from .._core.value import Value
from .._guest.device import target_of
from .._guest.identity import link_name
from .._guest.spec import GuestSpec
from . import cpuset
from .card import VETH, Card, changed_card, free_device, new_card
from .config import HOOK, Config, MountEntry
from .device import Device, wanted_device
from .mount import Source, wanted_entry
from .options import OPTIONS
from .plan import ContainerKind
from .state import State
from .values import kept_value


class Wanted(Value):
    """*spec* has what is declared, complete where the container is new. *cards*, *mounts* and *devices* are as they shall be, by
    name: those that are declared or have a key in ``unset``, not those that go. The devices of a new container stand once it has a
    root, which knows its groups.
    """

    __slots__ = ("cards", "devices", "mounts", "spec", "state")

    def __init__(
        self,
        spec: GuestSpec,
        state: State,
        cards: t.Mapping[str, Card],
        mounts: t.Mapping[str, MountEntry],
        devices: t.Mapping[str, Device] | None = None,
    ) -> None:
        self.spec = spec
        self.state = state
        self.cards = cards
        self.mounts = mounts
        self.devices: t.Mapping[str, Device] = devices or {}

    def value(self, path: str) -> t.Any:
        """The value after the run of an option that is no part of a list and whose home is not the record."""
        declared = self.spec.get(path)
        if declared is not None or path in self.spec.unset or not self.state.exists:
            return OPTIONS[path].off if declared is None else declared
        return kept_value(self.state.persistent, path)

    def has(self, area: str, name: str) -> bool:
        """Whether an item will be there, of those that the run speaks of."""
        return name in {"networks": self.cards, "mounts": self.mounts, "devices": self.devices}[area]

    @property
    def cpus(self) -> str:
        """The CPUs that it is bound to, empty for all: those pinned, or the least claimed of the host."""
        pin, cores = self.spec.get("cpu.pin"), self.spec.get(self.spec.cores_path)
        if pin is not None or cores is None:
            return pin or ""
        kept: str = kept_value(self.state.persistent, "cpu.pin") if self.state.exists else ""
        host = self.state.host
        is_enough = len(cpuset.parse(kept)) == cores
        return kept if is_enough else cpuset.show(cpuset.least_claimed(cores, host.cpus, host.cpu_claims))


def wanted_of(spec: GuestSpec, state: State) -> Wanted:
    """The container that *spec* leads to.

    :raises SpecError: for a new thing that lacks what it needs.
    """
    kind = ContainerKind(spec, state)
    if not state.exists:
        kind.spec = kind.created().replace(unset=())
    devices = devices_of(kind.spec, state, state.config, state.groups) if state.exists else {}
    return Wanted(kind.spec, state, _cards(kind), _mounts(kind), devices)


def _concerned(spec: GuestSpec, area: str, there: t.Collection[str]) -> t.Iterator[tuple[Item, dict[str, t.Any]]]:
    """The items that will be there and that *spec* speaks of, each with the keys that are taken off it and what that leaves."""
    off: dict[str, dict[str, t.Any]] = {}
    for path in spec.unset:
        in_area, name, key = split(path)
        if in_area == area and key:
            off.setdefault(name, {})[key] = OPTIONS[path].off
    for item in spec.items(area):
        keys = off.pop(item.name, {})
        if item.is_wanted:
            yield item, keys
    yield from ((Item(name), keys) for name, keys in off.items() if name in there)


def _cards(kind: ContainerKind) -> dict[str, Card]:
    spec, state = kind.spec, kind.state
    found: dict[str, Card] = {}
    numbers = {card.number for card in state.cards.values()}
    nets = state.config.nets()
    is_nameless = any(not net.get("name") for net in nets.values())
    nics = state.live.nics if state.live else ()
    devices = {*(card.device for card in state.cards.values()), *(nic.device for nic in nics)}
    links = {link for link in (*state.host.taken_links, *(card.pair for card in state.cards.values())) if link}
    for item, off in _concerned(spec, "networks", state.cards):
        card = state.cards.get(item.name)
        if card is None:
            # The kernel names a card without a name when its turn comes, so that one must not come after ours.
            number = max(numbers) + 1 if is_nameless else min(set(range(len(numbers) + 1)) - numbers)
            device = free_device(devices, 0 if is_nameless else number)
            numbers.add(number)
            devices.add(device)
            full = kind.created_item("networks", item)
            full = full.with_values({**full.values, "mac": kind.mac_of(full)})
            found[item.name] = new_card(number, full, device, link_name(spec.name, item.name, links))
            continue
        changed = changed_card(card, item, off)
        if state.live is not None and item.name not in state.nics and card.kind == VETH:
            # It is plugged in again: what the kernel and liblxc choose at a start has to be said now.
            pair = card.pair or link_name(spec.name, item.name, links)
            mac = changed["mac"]
            mac = kind.mac_of(Item(item.name)) if not mac or "x" in mac else mac
            changed = changed.replace(pair=pair, values={**changed.values, "mac": mac})
        found[item.name] = changed
    return found


def _mounts(kind: ContainerKind) -> dict[str, MountEntry]:
    spec, state = kind.spec, kind.state
    found: dict[str, MountEntry] = {}
    for item, off in _concerned(spec, "mounts", state.mounts):
        entry = state.mounts.get(item.name)
        full = item if entry is not None else kind.created_item("mounts", item)
        path = full.get("path", entry.path if entry else None)
        others = {**state.mounts, **found}
        others.pop(item.name, None)
        found[item.name] = wanted_entry(
            entry,
            full,
            off,
            state.sources.get(item.name, Source()),
            is_file=full.get("source") in state.files,
            is_unprivileged=kind.is_unprivileged,
            is_below_program=any(other.key == HOOK and path.startswith(f"{other.path}/") for other in others.values()),
        )
    return found


def devices_of(spec: GuestSpec, state: State, config: Config, groups: t.Mapping[str, int]) -> dict[str, Device]:
    """The devices as they shall be in *config*, in a guest that has these *groups*. One without a group gets the one that has it on
    the host, by its name; where the guest has none by the name it is root's, or stays whose it was.

    :raises ApplyError: for a group that is mapped to none of the host.
    """
    found: dict[str, Device] = {}
    for item, off in _concerned(spec, "devices", state.devices):
        before = state.devices.get(item.name)
        full = item.with_values({**item.values, **off})
        target = target_of(full, before.type if before else None, before.ref if before else None)
        if target is None:
            continue
        there, gid = state.host_devices.get(target), full.get("gid")
        number = groups.get(gid) if isinstance(gid, str) else gid
        if gid is None and before is None and there is not None:
            number = groups.get(there.group, 0)
        try:
            found[item.name] = wanted_device(spec.name, full, target, there, config, before=before, gid=number)
        except ValueError as exc:
            raise ApplyError(f"devices[{item.name}].gid: {exc}") from exc
    return found
