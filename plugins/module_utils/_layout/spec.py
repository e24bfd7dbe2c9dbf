# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a whole host: lists whose items are the options of the modules, a list for each kind of resource."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.declared import check_number
from .._core.errors import SpecError, bad_value
from .._core.reference import Reference, ReferenceKind

Params = t.Mapping[str, t.Any]
MOST_PARALLEL = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """A kind of resource: everything that a layout has to know of it.

    *word* is the one of an item, as reports and errors use it; *list* is the option that has the items, *module* the module
    of one item, with its *arguments* and *constraints*. *reference* is the kind of thing that an item provides, with the rank
    of its locks. *resource* runs an item (``_core.converge.Resource``). *facts* is the key of what it tells. *is_guest*: it
    stands on the others and goes before them, ``prune`` takes it away, and *delete* has the words for what goes with it. *load*
    loads the code that applies an item, of a kind of which hosts have many.
    """

    word: str
    list: str
    module: str
    reference: ReferenceKind
    resource: t.Any = dataclasses.field(repr=False)
    facts: str
    arguments: Params = dataclasses.field(repr=False)
    constraints: Params = dataclasses.field(repr=False, default_factory=dict)
    is_guest: bool = False
    delete: tuple[str, ...] = ()
    load: t.Callable[[], object] = dataclasses.field(repr=False, default=lambda: None)

    def label(self, name: str) -> str:
        """How sentences call the item *name*."""
        return f"{self.word.replace('_', ' ')} {name}"

    def path(self, name: str) -> str:
        """Where the user writes the item *name*."""
        return f"{self.list}[{name}]"


def arguments(kinds: t.Iterable[Kind]) -> dict[str, dict[str, t.Any]]:
    """The argument spec of the module: a list for each of *kinds*, in the order in which they are made, and its own options."""
    kinds = tuple(kinds)
    delete = dict.fromkeys(word for kind in kinds for word in kind.delete)
    return {
        **{
            kind.list: {"type": "list", "elements": "dict", "options": dict(kind.arguments), **kind.constraints}
            for kind in kinds
        },
        "parallel": {"type": "int"},
        "prune": {"type": "bool", "default": False},
        "delete": {"type": "list", "elements": "str", "choices": [*delete], "default": []},
        "quarantine": {"type": "bool"},
        "overcommit": {"type": "dict", "options": {"memory": {"type": "float"}, "storage": {"type": "float"}}},
        "serve_later": {"type": "list", "elements": "str", "default": []},
        "facts": {"type": "bool", "default": False},
    }


@dataclasses.dataclass(frozen=True)
class Declared:
    """One item of a list: its kind, its name and the options of its module."""

    kind: Kind
    name: str
    params: Params = dataclasses.field(repr=False)

    @property
    def label(self) -> str:
        """How sentences call it."""
        return self.kind.label(self.name)

    @property
    def path(self) -> str:
        """Where the user wrote it."""
        return self.kind.path(self.name)

    @property
    def reference(self) -> Reference:
        """What it makes, known by its name alone."""
        return Reference(self.kind.reference, self.name)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A host as declared. *listed* are the lists that were written; *parallel* is ``None`` where the host's CPUs decide.

    The overcommit is how many times what is there may be promised. The guests that *serve_later* have their services after this run.
    """

    items: tuple[Declared, ...]
    listed: frozenset[str] = frozenset()
    parallel: int | None = None
    prune: bool = False
    delete: tuple[str, ...] = ()
    serve_later: tuple[str, ...] = ()
    quarantine: bool | None = None
    memory_overcommit: float = 1.0
    storage_overcommit: float = 1.0
    facts: bool = False


def parse(params: Params, kinds: t.Sequence[Kind]) -> Spec:
    """The declared host from the module's parameters. The items are parsed by their own resources.

    :raises SpecError: for a name that is there twice, also as a VM and a container.
    """
    items = tuple(Declared(kind, str(item.get("name")), item) for kind in kinds for item in params.get(kind.list) or ())
    _check_names(items)
    overcommit = params.get("overcommit") or {}
    return Spec(
        items=items,
        listed=frozenset(kind.list for kind in kinds if params.get(kind.list) is not None),
        parallel=check_number("parallel", params.get("parallel"), least=1, most=MOST_PARALLEL),
        prune=bool(params.get("prune")),
        delete=tuple(params.get("delete") or ()),
        serve_later=tuple(params.get("serve_later") or ()),
        quarantine=params.get("quarantine"),
        memory_overcommit=_factor("overcommit.memory", overcommit.get("memory")),
        storage_overcommit=_factor("overcommit.storage", overcommit.get("storage")),
        facts=bool(params.get("facts")),
    )


def _check_names(items: t.Iterable[Declared]) -> None:
    seen: dict[Reference, Declared] = {}
    for item in items:
        other = seen.setdefault(item.reference, item)
        if other is item:
            continue
        key = item.kind.list
        if other.kind is item.kind:
            raise SpecError(f"{key}: {item.name} is there twice. Write each one once", key=key)
        raise SpecError(
            f"{item.path}: {other.path} has the same name. VMs and containers of one host share one namespace of names",
            key=key,
        )


def _factor(key: str, value: float | None) -> float:
    if value is None:
        return 1.0
    if not 0 < value <= 1000:
        raise bad_value(key, value, "a factor above 0, such as 1.5")
    return value


def as_written(params: Params, arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """*params* without what nobody wrote: unset options, defaults, and the second name of an option that has an alias."""
    found: dict[str, t.Any] = {}
    for key, argument in arguments.items():
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
