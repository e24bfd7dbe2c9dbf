# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of a whole host: lists whose items are the options of the five modules."""

from __future__ import annotations

import dataclasses
import typing as t

from .._bridge import spec as bridge
from .._container import spec as container
from .._core.declared import check_number
from .._core.errors import SpecError, bad_value
from .._image import spec as image
from .._storage import spec as storage
from .._vm import spec as vm

Params = t.Mapping[str, t.Any]

# In the order in which they are made. The word is the one of an item, as reports and errors use it.
LISTS = {
    "bridges": "bridge",
    "storage_pools": "storage_pool",
    "images": "image",
    "vms": "vm",
    "containers": "container",
}
KINDS = {kind: key for key, kind in LISTS.items()}
GUESTS = ("vm", "container")
DELETE = tuple(dict.fromkeys((*vm.DELETE, *container.DELETE)))
DELETE_OF = {"vm": vm.DELETE, "container": container.DELETE}
MOST_PARALLEL = 64


def _items(arguments: t.Mapping[str, t.Any], constraints: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"type": "list", "elements": "dict", "options": dict(arguments), **constraints}


ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "bridges": _items(bridge.ARGUMENTS, bridge.CONSTRAINTS),
    "storage_pools": _items(storage.ARGUMENTS, storage.CONSTRAINTS),
    "images": _items(image.ARGUMENTS, image.CONSTRAINTS),
    "vms": _items(vm.ARGUMENTS, vm.CONSTRAINTS),
    "containers": _items(container.ARGUMENTS, container.CONSTRAINTS),
    "parallel": {"type": "int"},
    "prune": {"type": "bool", "default": False},
    "delete": {"type": "list", "elements": "str", "choices": list(DELETE), "default": []},
    "overcommit": {"type": "dict", "options": {"memory": {"type": "float"}, "storage": {"type": "float"}}},
    "facts": {"type": "bool", "default": False},
}
CONSTRAINTS: dict[str, t.Any] = {}


@dataclasses.dataclass(frozen=True)
class Declared:
    """One item of a list: its kind, its name and the options of its module."""

    kind: str
    name: str
    params: Params = dataclasses.field(repr=False)

    @property
    def label(self) -> str:
        """How sentences call it."""
        return f"{self.kind.replace('_', ' ')} {self.name}"

    @property
    def path(self) -> str:
        """Where the user wrote it."""
        return f"{KINDS[self.kind]}[{self.name}]"


@dataclasses.dataclass(frozen=True)
class Spec:
    """A host as declared. *listed* are the lists that were written; *parallel* is ``None`` where the host's CPUs decide.

    The overcommit is how many times what is there may be promised.
    """

    items: tuple[Declared, ...]
    listed: frozenset[str] = frozenset()
    parallel: int | None = None
    prune: bool = False
    delete: tuple[str, ...] = ()
    memory_overcommit: float = 1.0
    storage_overcommit: float = 1.0
    facts: bool = False


def parse(params: Params) -> Spec:
    """The declared host from the module's parameters. The items are parsed by their own resources.

    :raises SpecError: for a name that is there twice, also as a VM and a container.
    """
    items = tuple(
        Declared(kind, str(item.get("name")), item) for key, kind in LISTS.items() for item in params.get(key) or ()
    )
    _check_names(items)
    overcommit = params.get("overcommit") or {}
    return Spec(
        items=items,
        listed=frozenset(key for key in LISTS if params.get(key) is not None),
        parallel=check_number("parallel", params.get("parallel"), least=1, most=MOST_PARALLEL),
        prune=bool(params.get("prune")),
        delete=tuple(params.get("delete") or ()),
        memory_overcommit=_factor("overcommit.memory", overcommit.get("memory")),
        storage_overcommit=_factor("overcommit.storage", overcommit.get("storage")),
        facts=bool(params.get("facts")),
    )


def _check_names(items: t.Iterable[Declared]) -> None:
    seen: dict[tuple[str, str], Declared] = {}
    for item in items:
        space = "guest" if item.kind in GUESTS else item.kind
        other = seen.setdefault((space, item.name), item)
        if other is item:
            continue
        if other.kind == item.kind:
            raise SpecError(
                f"{KINDS[item.kind]}: {item.name} is there twice. Write each one once", key=KINDS[item.kind]
            )
        raise SpecError(
            f"{item.path}: {other.path} has the same name. VMs and containers of one host share one namespace of names",
            key=KINDS[item.kind],
        )


def _factor(key: str, value: float | None) -> float:
    if value is None:
        return 1.0
    if not 0 < value <= 1000:
        raise bad_value(key, value, "a factor above 0, such as 1.5")
    return value


def as_written(params: Params, arguments: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """*params* without what nobody wrote: unset options, defaults, and the second name of an option that has an alias."""
    found: dict[str, t.Any] = {}
    for key, argument in (ARGUMENTS if arguments is None else arguments).items():
        value = params.get(key)
        if value is None or ("default" in argument and value == argument["default"]):
            continue
        options = argument.get("options")
        if options and isinstance(value, t.Mapping):
            value = as_written(value, options)
        elif options:
            value = [as_written(item, options) for item in value]
        found[key] = value
    return found
