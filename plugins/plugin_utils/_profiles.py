# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Options of a guest laid over each other: profiles in their order, then what the guest says itself."""

from __future__ import annotations

import dataclasses
import typing as t

from ..module_utils._container import options as container
from ..module_utils._vm import options as vm

Options = t.Mapping[str, t.Any]
Arguments = t.Mapping[str, t.Mapping[str, t.Any]]

ALLOW = {"vm": vm.ALLOW, "container": container.ALLOW}
DELETE = {"vm": vm.DELETE, "container": container.DELETE}
# Without a kind an option is found by its name in either module; where both have it, it has the same form.
ARGUMENTS: dict[str | None, Arguments] = {
    "vm": vm.ARGUMENTS,
    "container": container.ARGUMENTS,
    None: {**vm.ARGUMENTS, **container.ARGUMENTS},
}


class ProfileError(ValueError):
    """What is written cannot be laid over the rest. The message says where it stands."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """Some options and where they are written, as errors call it."""

    where: str
    options: Options


def pick(names: t.Sequence[str], catalog: t.Mapping[str, t.Any], guest: str) -> list[Layer]:
    """The profiles *names* of the *catalog*, in this order.

    :raises ProfileError: for a profile that there is not, and for a catalog of another form.
    """
    if isinstance(names, str) or not isinstance(names, t.Sequence):
        raise ProfileError(f"guest_profiles of {guest}: must be a list of names, not {names!r}")
    if not isinstance(catalog, t.Mapping):
        raise ProfileError(f"guest_profile_catalog: must be a dictionary of profiles, not {form(catalog)}")
    found = []
    for name in names:
        if name not in catalog:
            known = ", ".join(sorted(map(str, catalog))) or "none"
            raise ProfileError(
                f"guest_profiles of {guest}: there is no profile {name!r}. The profiles in guest_profile_catalog are: {known}"
            )
        where = f"guest_profile_catalog[{name}]"
        found.append(Layer(where, mapping(where, catalog[name])))
    return found


def mapping(where: str, value: t.Any) -> Options:
    """*value* where it is a dictionary. One that is empty in YAML is ``None``.

    :raises ProfileError: for everything else.
    """
    if value is None:
        return {}
    if not isinstance(value, t.Mapping):
        raise ProfileError(f"{where}: {form(value)} is given, it must be a dictionary")
    return value


def dictionaries(value: t.Any) -> list[Options]:
    """Those items of a list that are dictionaries. What is none is refused by the module, whose sentence is better than a filter's."""
    return [item for item in value if isinstance(item, t.Mapping)] if isinstance(value, (list, tuple)) else []


def form(value: t.Any) -> str:
    """What a person calls the type of *value*. Ansible's own types for what it read from a file bear names that say nothing."""
    return next(
        (kind.__name__ for kind in (str, bool, int, float, list) if isinstance(value, kind)), type(value).__name__
    )


def lay(layers: t.Iterable[Layer], kind: str | None = None) -> dict[str, t.Any]:
    """All *layers* as one: a later one goes before an earlier one.

    Dictionaries are merged key by key, keyed lists item by item by their ``name``, plain lists and values are replaced.
    ``null`` takes away what an earlier layer says, so that the option is not written at all.

    :raises ProfileError: for an item without a name, and for an option that is there under two names.
    """
    if kind not in ARGUMENTS:
        raise ProfileError(f"guest_kind: {kind!r} is not allowed; it must be vm or container")
    arguments = ARGUMENTS[kind]
    merged: dict[str, t.Any] = {}
    for layer in layers:
        options = _by_first_names(layer.options, arguments, layer.where)
        merged, options = _with_one_word_for_cores(merged, options)
        merged = _merge(merged, options, arguments)
    return merged


def _by_first_names(options: Options, arguments: Arguments, where: str) -> dict[str, t.Any]:
    """*options* with each under the first of its names: ``onboot`` in a profile must not win over ``autostart`` of a guest."""
    names = {alias: name for name, argument in arguments.items() for alias in argument.get("aliases", ())}
    found: dict[str, t.Any] = {}
    for key, value in options.items():
        name = names.get(key, key)
        if name in found:
            raise ProfileError(f"{where}: {name} is there twice, also by another of its names. Write it once")
        argument = arguments.get(name, {})
        path = f"{where}.{name}"
        inner = argument.get("options") or {}
        if _is_keyed(argument) and isinstance(value, t.Sequence) and not isinstance(value, str):
            found[name] = [_by_first_names(item, inner, path) for item in _named(value, path)]
        elif isinstance(value, t.Mapping) and inner:
            found[name] = _by_first_names(value, inner, path)
        else:
            found[name] = value
    return found


def _named(items: t.Sequence[t.Any], where: str) -> t.Iterator[Options]:
    seen = set()
    for number, item in enumerate(items, 1):
        if not isinstance(item, t.Mapping) or not isinstance(item.get("name"), str):
            raise ProfileError(f"{where}: item {number} has no name. The items of this list are merged by their names")
        if item["name"] in seen:
            raise ProfileError(f"{where}: the name {item['name']!r} is there twice. Each item needs a name of its own")
        seen.add(item["name"])
        yield item


def _is_keyed(argument: t.Mapping[str, t.Any]) -> bool:
    return argument.get("elements") == "dict" and "name" in argument.get("options", {})


def _with_one_word_for_cores(base: Options, layer: Options) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Both with ``cpu.cores`` where one says that and the other says ``vcpus``: the modules take one of the two."""

    def has(options: Options, key: str) -> bool:
        return options.get(key) is not None

    # A vcpus of null takes cpu.cores away; a cpu of null has no cores to be unified with.
    if not ("vcpus" in base and has(layer, "cpu")) and not (has(base, "cpu") and "vcpus" in layer):
        return dict(base), dict(layer)

    def unified(options: Options) -> dict[str, t.Any]:
        if "vcpus" not in options or has(options, "cpu"):
            return dict(options)
        rest = {key: value for key, value in options.items() if key != "vcpus"}
        return {**rest, "cpu": {"cores": options["vcpus"]}}

    return unified(base), unified(layer)


def _merge(base: Options, layer: Options, arguments: Arguments) -> dict[str, t.Any]:
    merged = dict(base)
    for key, value in layer.items():
        argument = arguments.get(key, {})
        inner = argument.get("options") or {}
        known = merged.get(key)
        if isinstance(known, t.Mapping) and isinstance(value, t.Mapping):
            merged[key] = _merge(known, value, inner)
        elif _is_keyed(argument) and isinstance(known, list) and isinstance(value, list):
            items = {item["name"]: item for item in known}
            for item in value:
                items[item["name"]] = _merge(items.get(item["name"], {}), item, inner)
            merged[key] = list(items.values())
        else:
            merged[key] = value
    return merged


def words_of(kind: str | None, words: t.Iterable[str], known: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Those of *words* that a guest of *kind* can be told: one run has words for virtual machines and for containers.

    A word that neither knows stays, so that the module refuses it.
    """
    of_others = {word for other, its in known.items() if other != kind for word in its}
    own = known.get(kind, ()) if kind else of_others
    return [word for word in words if word in own or word not in of_others]
