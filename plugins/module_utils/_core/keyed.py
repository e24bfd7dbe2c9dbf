# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Keyed lists: which thing on the host is which declared item, and the one comparison of the two."""

from __future__ import annotations

import typing as t

from .decide import SAME, Draft
from .options import VOLUME, Item, Option, pattern
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
    def marks(self) -> t.Collection[str]:
        """What is its own: its MAC, its source, its serial."""

    @property
    def hints(self) -> t.Collection[str]:
        """What it may share with others: its bridge."""


ThingT = t.TypeVar("ThingT", bound=Named)
Words = t.Mapping[str, t.Collection[str]]


def claim_names(
    things: t.Sequence[ThingT],
    place: str,
    *,
    recorded: t.Mapping[str, str] | None = None,
    declared: t.Iterable[str] = (),
    marks: Words | None = None,
    hints: Words | None = None,
) -> dict[str, ThingT]:
    """The things of one list by name, in their order.

    A thing's name is its alias, or the one that is *recorded* for its ident; then that of the *declared* item of which the
    *marks* are its own; then its canonical place, *place* and its number (``net0``), where an item is declared by that name;
    then that of the only item whose *hints* fit it alone. What is left has its canonical place.
    """
    named: dict[int, str] = {}

    def claim(index: int, name: str | None) -> None:
        if name is not None and index not in named and name not in named.values():
            named[index] = name

    by_ident = {ident: name for name, ident in (recorded or {}).items()}
    for index, thing in enumerate(things):
        claim(index, thing.alias or by_ident.get(thing.ident))
    names = list(dict.fromkeys(declared))
    for name in names:
        claim_match(things, named, name, set((marks or {}).get(name, ())), "marks", claim)
    for name in names:
        number = name[len(place) :]
        if name.startswith(place) and number.isdecimal() and int(number) < len(things):
            claim(int(number), name)
    for name in names:
        claim_match(things, named, name, set((hints or {}).get(name, ())), "hints", claim)
    for index in range(len(things)):
        claim(index, free_place(place, index, named.values()))
    return {named[index]: thing for index, thing in enumerate(things)}


def claim_match(
    things: t.Sequence[Named],
    named: t.Mapping[int, str],
    name: str,
    wanted: set[str],
    attribute: str,
    claim: t.Callable[[int, str], None],
) -> None:
    """Give *name* to the only thing without one that has one of *wanted* among its marks or hints."""
    matches = [
        index
        for index, thing in enumerate(things)
        if index not in named and wanted and wanted & set(getattr(thing, attribute))
    ]
    if len(matches) == 1:
        claim(matches[0], name)


def free_place(place: str, number: int, taken: t.Collection[str]) -> str:
    """The first canonical name from *number* on that nothing has."""
    while f"{place}{number}" in taken:
        number += 1
    return f"{place}{number}"


class Rules:
    """What a resource knows of the items of its lists. Here are the answers of one that knows nothing of its own."""

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
        if not item.is_wanted:
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
