# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Keyed lists: which thing on the host is which declared item, and the one comparison of the two."""

from __future__ import annotations

import typing as t

from .decide import SAME, Draft
from .options import NEVER_PERMITTED, VOLUME, Item, Option, pattern
from .plan import Unknown

Show = t.Mapping[str, t.Any]


class Thing(t.Protocol):
    """An item as it stands: a disk, a network card, a mount."""

    def value(self, key: str) -> t.Any:
        """The value of the option *key* of its list in canonical form."""


class Named(Thing, t.Protocol):
    """A thing that has to be given its name."""

    @property
    def alias(self) -> str | None:
        """The name that it bears itself, ``None`` for one that was made by somebody else."""

    @property
    def ident(self) -> str:
        """What tells it from the others of its list, as the record has it."""

    @property
    def marks(self) -> t.Collection[t.Hashable]:
        """What is its own: its MAC, its source, its serial."""

    @property
    def hints(self) -> t.Collection[t.Hashable]:
        """What it may share with others, or part with: its bridge, the medium of a drive."""

    def is_known_by(self, ident: str) -> bool:
        """Whether a record means it by *ident*."""


ThingT = t.TypeVar("ThingT", bound=Named)
# By the name of an item: its marks, the weightiest first, each with what the user wrote; and its hints.
Marks = t.Mapping[str, t.Mapping[t.Hashable, str]]
Hints = t.Mapping[str, t.Collection[t.Hashable]]

# A name of a thing that went is nobody else's: the same declaration would take the next one away with each run.
_GONE = "gone:"


# The way where an exchange of marks cannot be carried out at once.
NEEDS_TWO_RUNS = ". To exchange two, give one of them another that is free in a run before"


class Naming(t.Generic[ThingT]):
    """The *things* of one list by name. *mistaken* says of declared items, by name, why nobody can tell which thing is meant."""

    __slots__ = ("mistaken", "things")

    def __init__(self, things: dict[str, ThingT], mistaken: dict[str, str]) -> None:
        self.things = things
        self.mistaken = mistaken


def gives_up(mark: t.Hashable, wanted: t.Collection[t.Hashable]) -> bool:
    """Whether who has *mark* shall have another one, being declared with those that are *wanted*."""
    return bool(wanted) and mark not in wanted


def gone(ident: str) -> str:
    """What the record has for the name of a thing that went, which was known by *ident*."""
    return ident if ident.startswith(_GONE) else _GONE + ident


def without_gone(recorded: t.Mapping[str, str]) -> dict[str, str]:
    """The names in a record, with those of things that went as if they stood: a running guest may have them still."""
    return {name: ident.removeprefix(_GONE) for name, ident in recorded.items()}


def claim_names(
    things: t.Sequence[ThingT],
    place: str,
    *,
    recorded: t.Mapping[str, str] | None = None,
    declared: t.Iterable[str] = (),
    marks: Marks | None = None,
    hints: Hints | None = None,
    can_exchange: bool = False,
) -> Naming[ThingT]:
    """The things of one list by name, in their order.

    A thing's name is its alias; then that of the *declared* item of which the *marks* are its own; then the one that is *recorded*
    for its ident; then its canonical place, *place* and its number (``net0``), where an item is declared by that name; then that
    of the only item without marks whose *hints* fit it alone. What is left has a canonical place that nothing else ever had.
    With *can_exchange* a mark is only a value, which two that bear their names may exchange: a MAC, but no disk's source.
    """
    claim = _Claim(things, place, recorded or {}, dict.fromkeys(declared), hints or {}, can_exchange=can_exchange)
    claim.by_marks(marks or {})
    claim.by_record()
    claim.by_place()
    claim.by_hints(marks or {})
    claim.the_rest()
    return Naming({claim.names[index]: thing for index, thing in enumerate(things)}, claim.mistaken)


class _Claim:
    """The things of one list while they are given their *names*, by their index."""

    def __init__(
        self,
        things: t.Sequence[Named],
        place: str,
        recorded: t.Mapping[str, str],
        declared: t.Collection[str],
        hints: Hints,
        *,
        can_exchange: bool,
    ) -> None:
        self.things = things
        self.place = place
        self.recorded = recorded
        self.declared = declared
        self.hints = hints
        self.can_exchange = can_exchange
        self.mistaken: dict[str, str] = {}
        self.names: dict[int, str] = {}
        for index, thing in enumerate(things):
            self._give(index, thing.alias)
        self.known = self._read_record()

    def _give(self, index: int, name: str | None) -> None:
        if name is not None and index not in self.names and name not in self.names.values():
            self.names[index] = name

    def _read_record(self) -> dict[int, str]:
        """The recorded names of things that bear none."""
        known = {}
        for name, ident in self.recorded.items():
            found = [i for i, its in enumerate(self.things) if i not in self.names and its.is_known_by(ident)]
            if len(found) == 1:
                known[found[0]] = name
            elif found and name in self.declared:
                told = self._told(found)
                self.mistaken[name] = (
                    f"it was known by {ident}, which {told} have now. Name the one that is meant by its place"
                )
        return known

    def _told(self, indexes: t.Iterable[int]) -> str:
        named = {**self.known, **self.names}
        return ", ".join(named.get(index, f"{self.place}{index}") for index in indexes)

    def by_marks(self, marks: Marks) -> None:
        for name in self.declared:
            found = {mark: its for mark in marks.get(name, ()) if (its := self._marked(mark))}
            if not found or name in self.mistaken:
                continue
            bearer = self._bearer(name)
            index = self._choose(name, marks[name], found) if bearer is None else bearer
            if index is None:
                continue
            wrong = next(
                (
                    mark
                    for mark, its in found.items()
                    if index not in its and not self._is_left(mark, index, its, marks)
                ),
                None,
            )
            if wrong is not None:
                other = self._told(found[wrong])
                self.mistaken[name] = (
                    f"{marks[name][wrong]} belongs to {other}, which is another one. A name does not move"
                    + (NEEDS_TWO_RUNS if self.can_exchange else "")
                )
            elif index not in self.names:
                self.names[index] = name

    def _is_left(self, mark: t.Hashable, index: int, others: t.Iterable[int], marks: Marks) -> bool:
        """Whether the thing of *index* may get *mark*, as the *others* that have it get another one in this run.

        Which of them is which, their own names say then.
        """
        if not self.can_exchange or self.things[index].alias is None:
            return False
        aliases = [self.things[other].alias for other in others]
        return all(alias is not None and gives_up(mark, marks.get(alias, ())) for alias in aliases)

    def _marked(self, mark: t.Hashable) -> list[int]:
        return [index for index, thing in enumerate(self.things) if mark in thing.marks]

    def _bearer(self, name: str) -> int | None:
        """The thing that has *name* by itself, by an earlier claim or by the record."""
        return next((index for index, its in {**self.known, **self.names}.items() if its == name), None)

    def _choose(
        self, name: str, told: t.Mapping[t.Hashable, str], found: t.Mapping[t.Hashable, list[int]]
    ) -> int | None:
        """Which of the things with its weightiest mark an item of a new *name* means; where nothing tells, it is mistaken."""
        mark, indexes = next(iter(found.items()))
        if len(indexes) > 1:
            hints = set(self.hints.get(name, ()))
            at_place = [index for index in indexes if name == f"{self.place}{index}"]
            indexes = at_place or [index for index in indexes if hints & set(self.things[index].hints)] or indexes
        if len(indexes) > 1:
            others = self._told(indexes)
            self.mistaken[name] = f"{told[mark]} belongs to each of {others}. Name the one that is meant by its place"
            return None
        index = indexes[0]
        taken = self.names.get(index) or self.known.get(index)
        if taken is not None and (index in self.names or taken in self.declared):
            self.mistaken[name] = f"{told[mark]} belongs to {taken} already. Call it {taken}"
            return None
        return index

    def by_record(self) -> None:
        for index, name in self.known.items():
            self._give(index, name)

    def by_place(self) -> None:
        for name in self.declared:
            if is_place(name, self.place) and name not in {*self.recorded, *self.mistaken}:
                number = int(name[len(self.place) :])
                if number < len(self.things):
                    self._give(number, name)

    def by_hints(self, marks: Marks) -> None:
        for name in self.declared:
            wanted = set(self.hints.get(name, ()))
            if marks.get(name) or not wanted or name in self.mistaken or name in self.names.values():
                continue
            matches = [
                i for i, thing in enumerate(self.things) if wanted & set(thing.hints) and self._has_only_a_place(i)
            ]
            if len(matches) == 1:
                self.names[matches[0]] = name

    def _has_only_a_place(self, index: int) -> bool:
        """Whether the thing has no name, or only a recorded place that nobody declares."""
        name = self.names.get(index)
        if name is None:
            return True
        return name == self.known.get(index) and name not in self.declared and is_place(name, self.place)

    def the_rest(self) -> None:
        for index in range(len(self.things)):
            self._give(index, free_place(self.place, index, {*self.names.values(), *self.recorded}))


def is_place(name: str, place: str) -> bool:
    """Whether *name* is a canonical place, *place* and a number."""
    number = name[len(place) :]
    return name.startswith(place) and number.isdecimal() and str(int(number)) == number


def free_place(place: str, number: int, taken: t.Collection[str]) -> str:
    """The first canonical name from *number* on that nothing has."""
    while f"{place}{number}" in taken:
        number += 1
    return f"{place}{number}"


class Rules:
    """What a resource knows of the items of its lists. Here are the answers of one that knows nothing of its own."""

    def mistake(self, area: str, item: Item) -> str | None:
        """Why it cannot be told which thing an item means, wanted or not, as a sentence without the item's path."""
        return None

    def is_item(self, area: str, name: str) -> bool:
        """Whether the thing is one of the items that the user can list."""
        return True

    def details(self, draft: Draft, area: str, item: Item, *, is_live: bool) -> Show | None:
        """The keys of an item that is added, as declared and as it gets them, in canonical form.

        ``None`` where it cannot be added, which is in *draft* then. Raises ``SpecError`` where it lacks what it needs.
        """
        return item.values

    def shown(self, area: str, thing: Thing) -> Show:
        """What is told of a thing that goes, or that a running guest lacks, in canonical form."""
        return {}

    def check(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        """Whether a wanted item can be what is declared at all; where not, *draft* says why."""
        return True

    def may_become(self, draft: Draft, path: str, declared: t.Any, before: Thing) -> bool:
        """Whether the key at *path* can become *declared*; where not, *draft* says why."""
        return True

    def live_value(self, area: str, key: str, item: Item, before: Thing, now: Thing) -> t.Any:
        """The running value of a key in the light of what is declared, where the running guest tells less than its definition."""
        return now.value(key)

    def declared_value(self, area: str, key: str, item: Item, before: Thing) -> t.Any:
        """What is declared of a key, where one key declares another along (no gateway with DHCP)."""
        return item.get(key)

    def reason(self, path: str, before: Thing, declared: t.Any) -> str | None:
        """The sentence in which a loss is refused; ``None`` for the usual one."""
        return None

    def removed(self, draft: Draft, area: str, name: str, thing: Thing) -> None:
        """Note in *draft* what is kept of an item that goes."""


def compare_list(
    draft: Draft,
    area: str,
    declared: t.Sequence[Item] | None,
    persistent: t.Mapping[str, Thing],
    live: t.Mapping[str, Thing],
    *,
    rules: Rules,
    is_exact: bool = False,
) -> None:
    """Compare the items of the list *area*: those *declared* (``None``: the list is not written) with what stands, by name.

    What is not listed stays and is unmanaged, unless the list *is_exact*; an item of which only a key is unset is compared.
    """
    for item in _items(draft, area, declared, persistent, live, rules, is_exact):
        before, now = persistent.get(item.name), live.get(item.name)
        mistake = rules.mistake(area, item)
        if mistake is not None:
            path = f"{area}[{item.name}]"
            draft.add(path, None, None, permit=NEVER_PERMITTED, reason=f"{path}: {mistake}")
        elif not item.is_wanted:
            _remove(draft, area, item.name, before, now, rules)
        elif not rules.check(draft, area, item, before):
            continue
        elif before is None:
            details = rules.details(draft, area, item, is_live=now is not None)
            if details is not None:
                after = _told(draft, area, details)
                draft.item(f"{area}[{item.name}]", True, False, now is not None, after=after)
        else:
            _compare_keys(draft, area, item, before, now, rules)


def _items(
    draft: Draft,
    area: str,
    declared: t.Sequence[Item] | None,
    persistent: t.Mapping[str, Thing],
    live: t.Mapping[str, Thing],
    rules: Rules,
    is_exact: bool,
) -> list[Item]:
    items = list(declared or ())
    names = {item.name for item in items}
    if declared is not None:
        there = dict.fromkeys((*persistent, *live))
        others = [name for name in there if name not in names and rules.is_item(area, name)]
        if is_exact:
            items += [Item(name, is_wanted=False) for name in others]
        else:
            draft.plan.unmanaged += [f"{area}[{name}]" for name in others if name in persistent]
    listed = {item.name for item in items}
    prefixes = [f"{area}[{name}]." for name in persistent if name not in listed]
    items += [
        Item(prefix[len(area) + 1 : -2]) for prefix in prefixes if any(path.startswith(prefix) for path in draft.unset)
    ]
    return items


def _remove(draft: Draft, area: str, name: str, before: Thing | None, now: Thing | None, rules: Rules) -> None:
    thing = before if before is not None else now
    if thing is None:
        return
    shown = _told(draft, area, rules.shown(area, thing))
    draft.item(f"{area}[{name}]", False, before is not None, now is not None, before=shown)
    rules.removed(draft, area, name, thing)


def _compare_keys(draft: Draft, area: str, item: Item, before: Thing, now: Thing | None, rules: Rules) -> None:
    path = f"{area}[{item.name}]"
    if draft.power.is_running and now is None:
        draft.item(path, True, True, False, after=_told(draft, area, rules.shown(area, before)))
    for key, option in draft.options.lists[area].items():
        declared = rules.declared_value(area, key, item, before)
        inner = f"{path}.{key}"
        if not option.is_compared or (declared is None and inner not in draft.unset):
            continue
        persistent = before.value(key)
        wanted = option.off if inner in draft.unset else declared
        if wanted != persistent and not rules.may_become(draft, inner, wanted, before):
            continue
        live = SAME if now is None or option.home == VOLUME else rules.live_value(area, key, item, before, now)
        draft.compare(inner, declared, persistent, live, reason=rules.reason(inner, before, declared))


def _told(draft: Draft, area: str, values: Show) -> dict[str, t.Any]:
    return {key: show(draft.options[f"{area}[].{key}"], value) for key, value in values.items()}


def show(option: Option, value: t.Any) -> t.Any:
    """*value* in the user's form, also where it is not known yet."""
    return value if isinstance(value, Unknown) else option.show(value)


def key_of(path: str) -> str:
    """``vlan`` of ``networks[lan].vlan``."""
    return pattern(path).partition("[].")[2]
