# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The plan of a whole host: what waits for what, what is told of each item, and all of it as one plan."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.claims import NOTHING, Claims
from .._core.reference import Reference
from .._host.mount_record import MountRecord
from .spec import Declared

Told = dict[str, t.Any]

# What an item is told with, always and in this form; everything else that a module returns are its facts.
LIST_KEYS = ("plan", "restart_required", "kept", "unmanaged", "assumed")
_ERROR_KEYS = ("msg", "needed", "exception")


@dataclasses.dataclass
class Item:
    """One item of the layout on its way.

    *spec* is what it declares, ``None`` where that could not be read. *told* is what its module would return: of its plan at
    first, of its run at last. *after* is what it lays claim to once the spec stands, *before*, of one that is taken away, what
    it has now. *users* are the guests that stand on what is to be taken away, *heir_of* those that go before this one, with something
    that it gets, or that stands on it. *waits*: there is something to wait for, also where nothing is to change. *has_notes*: the
    record learns something. *skipped* says why it is left alone because something failed, *deferred* why it has to come after this run.
    """

    declared: Declared
    told: Told
    spec: t.Any = dataclasses.field(default=None, repr=False)
    provides: tuple[Reference, ...] = ()
    requires: tuple[Reference, ...] = ()
    before: Claims = NOTHING
    after: Claims = NOTHING
    users: frozenset[str] = frozenset()
    heir_of: frozenset[str] = frozenset()
    is_removed: bool = False
    has_failed: bool = False
    waits: bool = False
    has_notes: bool = False
    skipped: str | None = None
    deferred: str | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def label(self) -> str:
        return self.declared.label

    @property
    def is_planned(self) -> bool:
        """Whether its plan stands and says that something is to be done."""
        return not self.has_failed and bool(self.told.get("plan"))

    @property
    def needs_worker(self) -> bool:
        return self.is_planned or ((self.waits or self.has_notes) and not self.has_failed)

    @property
    def is_new(self) -> bool:
        """Whether this run makes it."""
        changes = self.told["plan"] if self.is_planned else ()
        return any(change["path"] == "state" and change["before"] == "absent" for change in changes)

    @property
    def makes(self) -> bool:
        """Whether what it provides can be used after it, where it cannot be used now."""
        return self._new_state not in (None, "stopped") and not self.is_removed

    @property
    def stops(self) -> bool:
        """Whether what it provides is there after it, and cannot be used."""
        return self._new_state == "stopped"

    @property
    def _new_state(self) -> str | None:
        changes = self.told["plan"] if self.is_planned else ()
        return next((str(change["after"]) for change in changes if change["path"] == "state"), None)

    @property
    def is_lost(self) -> bool:
        """Whether what depends on it must be left alone."""
        return self.has_failed or self.skipped is not None


def dependencies(items: t.Sequence[Item]) -> list[list[Item]]:
    """For each of *items*, those that come before it.

    An item comes after what it requires, and after guests that go and leave it an address. What is taken away comes after the
    guests that are taken away from it. There are no circles: a guest that goes waits for nobody but its clones.
    """
    providers = {reference: item for item in items for reference in item.provides}
    gone = {item.declared.name: item for item in items if item.declared.kind.is_guest and item.is_removed}
    found = []
    for item in items:
        before = [providers[reference] for reference in item.requires if reference in providers]
        before = [other for other in before if other is not item and not other.is_removed]
        if item.is_removed and not item.declared.kind.is_guest:
            before += [gone[name] for name in sorted(item.users) if name in gone]
        before += [gone[name] for name in sorted(item.heir_of)]
        found.append(before)
    return found


def let_guests_serve(items: t.Sequence[Item], remotes: t.Sequence[MountRecord]) -> None:
    """What lies on a mount of the host that a guest serves is provided by that guest: who needs it comes after it.

    Not where the guest needs something itself that comes after what it serves.
    """
    guests = {item.declared.name: item for item in items if item.declared.kind.is_guest and not item.is_removed}
    for item in items:
        for reference in item.requires:
            guest = guests.get(server_of(reference.name, remotes)) if reference.kind.word == _FOLDER else None
            if guest is not None and reference not in guest.provides and not _comes_after(guest, item, items):
                guest.provides += (reference,)


# As the look at the host calls it, which is not pure.
_FOLDER = "folder"


def server_of(path: str, remotes: t.Iterable[MountRecord]) -> str:
    """The guest that serves the mount which *path* lies on by its name; empty where none does."""
    return next((its.wait_for_guest for its in remotes if f"{path}/".startswith(f"{its.path}/")), "")


def _comes_after(item: Item, other: Item, items: t.Sequence[Item]) -> bool:
    """Whether *item* waits for *other*, or for what does, or is it."""
    before = dict(zip(map(id, items), dependencies(items), strict=True))
    known: set[int] = set()
    left = [item]
    while left:
        its = left.pop()
        if its is other:
            return True
        if id(its) not in known:
            known.add(id(its))
            left += before[id(its)]
    return False


def in_order(items: t.Sequence[Item]) -> list[Item]:
    """*items*, each after what it depends on, in the order of the lists otherwise."""
    before = dict(zip(map(id, items), dependencies(items), strict=True))
    placed: dict[int, Item] = {}

    def place(item: Item) -> None:
        for other in before[id(item)]:
            if id(other) not in placed:
                place(other)
        placed.setdefault(id(item), item)

    for item in items:
        place(item)
    return list(placed.values())


def skip_reason(before: t.Iterable[Item]) -> str | None:
    """Why an item that comes after *before* is left alone; ``None`` where it can go on."""
    lost = [item for item in before if item.is_lost]
    if not lost:
        return None
    words = [f"{item.label}, which {'failed' if item.has_failed else 'was skipped'}" for item in lost]
    return f"depends on {' and on '.join(words)}"


def defer_reason(before: t.Iterable[Item]) -> str | None:
    """Why an item that comes after *before* has to come after this run; ``None`` where it need not."""
    words = [f"{item.label}, which {item.deferred}" for item in before if item.deferred is not None]
    return f"depends on {' and on '.join(words)}" if words else None


def settle(items: t.Sequence[Item]) -> None:
    """Mark what is skipped because of what failed. Nothing is run."""
    ordered = in_order(items)
    before = dict(zip(map(id, ordered), dependencies(ordered), strict=True))
    for item in ordered:
        if item.needs_worker:
            item.skipped = skip_reason(before[id(item)])


def drop_assumed(items: t.Sequence[Item]) -> None:
    """What another item makes is not assumed: it is planned."""
    made = {
        str(reference)
        for item in items
        # A guest that does not run is there to be cloned.
        if item.makes or (item.stops and item.declared.kind.is_guest)
        for reference in item.provides
    }
    for item in items:
        item.told["assumed"] = [what for what in item.told.get("assumed") or () if what not in made]


def tell(item: Item, *, with_facts: bool) -> Told:
    """What is returned of one item."""
    told = item.told
    found: Told = {"kind": item.declared.kind.word, "name": item.declared.name, "changed": bool(told.get("changed"))}
    if item.skipped is not None:
        return {**found, "changed": False, "failed": False, "skipped": item.skipped, **empty()}
    if item.deferred is not None:
        return {**found, "changed": False, "failed": False, "deferred": item.deferred, **empty()}
    found["failed"] = item.has_failed
    found.update(empty())
    found.update({key: told[key] for key in (*LIST_KEYS, "diff", *_ERROR_KEYS) if key in told})
    if with_facts:
        found["facts"] = told.get(item.declared.kind.facts, {})
    return found


def empty() -> Told:
    """The plan of an item that has none."""
    return {**{key: [] for key in LIST_KEYS}, "diff": {"before": {}, "after": {}}}


def merge(items: t.Sequence[Item]) -> Told:
    """The plans of all items as one, each path below the path of its item."""
    whole = empty()
    for item in items:
        if item.skipped is not None or item.deferred is not None:
            continue
        prefix, told = item.declared.path, item.told
        whole["plan"] += [{**change, "path": f"{prefix}.{change['path']}"} for change in told.get("plan") or ()]
        for side in ("before", "after"):
            values = (told.get("diff") or {}).get(side) or {}
            whole["diff"][side].update({f"{prefix}.{path}": value for path, value in values.items()})
        for key in ("restart_required", "unmanaged"):
            whole[key] += [f"{prefix}.{path}" for path in told.get(key) or ()]
        for key in ("kept", "assumed"):
            whole[key] += [what for what in told.get(key) or () if what not in whole[key]]
    return whole


def failures(items: t.Iterable[Item]) -> list[str]:
    """A sentence for each item that failed."""
    return [f"{item.label}: {item.told.get('msg', 'failed')}" for item in items if item.has_failed]


def failure(items: t.Sequence[Item]) -> str | None:
    """One sentence for all that failed and all that was skipped; ``None`` where nothing was."""
    failed = failures(items)
    if not failed:
        return None
    skipped = [f"{item.label} ({item.skipped})" for item in items if item.skipped is not None]
    text = f"{len(failed)} of {len(items)} failed: {'; '.join(failed)}"
    return text + (f". Skipped: {'; '.join(skipped)}" if skipped else "")
