# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What an option is: one row. Arguments, parsing, defaults, ``unset`` and the table of apply paths follow from the rows."""

from __future__ import annotations

import enum
import re
import typing as t

from .declared import (
    check_item_name,
    check_items,
    check_line,
    check_link_name,
    check_mac,
    check_name,
    check_path,
    check_secret,
)
from .errors import SpecError, bad_value
from .units import GIB, parse_size

Params = t.Mapping[str, t.Any]


class _NoOff(enum.Enum):
    NO_OFF = "the option cannot be taken off"


NO_OFF = _NoOff.NO_OFF
NEVER_PERMITTED = "nothing permits it"

# Where the value of an option lives. A backend has a function for each path of its definition, flags and live values.
DEFINITION, RECORD, FLAG, SEED = "definition", "record", "flag", "seed"
VOLUME, INSIDE, LIVE_ONLY = "volume", "inside", "live only"
# With what a network card is plugged into.
NETWORK = "network"
# Used when the resource is made, and never compared afterwards; and what says how a run goes.
CREATION, TASK = "creation", "task"

LiveRule = t.Callable[[t.Any, t.Any], bool]
LossRule = t.Callable[[t.Any, t.Any], "str | None"]


def always(live: t.Any, declared: t.Any) -> bool:
    """Can be changed while the resource runs."""
    return True


def as_written(live: t.Any, declared: t.Any) -> bool:
    """Counts as soon as it is written: what runs has no value of its own."""
    return True


def never(live: t.Any, declared: t.Any) -> bool:
    """Needs a restart."""
    return False


def grows(live: t.Any, declared: t.Any) -> bool:
    """Can grow while the guest runs, a shrink needs a restart."""
    return live is None or declared >= live


def is_added(live: t.Any, declared: t.Any) -> bool:
    """The item can be added while the guest runs, not removed."""
    return bool(declared) and not live


def no_loss(before: t.Any, after: t.Any) -> str | None:
    """No value of this option loses anything."""
    return None


def fixed(before: t.Any, after: t.Any) -> str | None:
    """Once it stands it stays what it is."""
    return NEVER_PERMITTED if before is not None and before != after else None


def never_shrinks(before: t.Any, after: t.Any) -> str | None:
    """What became less is lost, and nothing permits it."""
    return NEVER_PERMITTED if before is not None and after is not None and after < before else None


def as_it_is(value: t.Any) -> t.Any:
    return value


def listed(value: t.Any) -> t.Any:
    """A tuple as the user writes it."""
    return list(value) if isinstance(value, tuple) else value


def or_none(value: t.Any) -> t.Any:
    """An off value (0, empty text) is shown as none."""
    return value or None


class Check:
    """A rule for the values of an option. ``parse(key, value)`` gives the canonical form and raises ``SpecError``.

    *allowed* says in words what is allowed: errors and documentation have it from here. *samples* are two allowed values in
    the user's form, the lesser first where one is less: the table of apply paths and tests compare them.
    """

    __slots__ = ("allowed", "parse", "samples")

    def __init__(
        self, parse: t.Callable[[str, t.Any], t.Any], allowed: str, samples: tuple[t.Any, t.Any] = ("a", "b")
    ) -> None:
        self.parse = parse
        self.allowed = allowed
        self.samples = samples


class Option:
    """One option of a resource: what it is, and how a change of it reaches the resource.

    *path* has ``[]`` for an item (``networks[].vlan``). An item itself (``networks[]``, of the type ``item``) is compared as
    present (True) or not (False); its *check* is that of the names. One of the type ``dict`` (``dhcp``) is all that lies in it,
    taken off as a whole. *type* and *elements* are Ansible's words. *create* is the value that a new resource or
    item gets, *off* the one that ``unset`` stands for, both canonical. *live* answers whether live value -> declared value
    works while the resource runs. *loss* names the word of ``allow`` that permits before -> after, ``NEVER_PERMITTED``
    (``fixed``), or None where nothing is lost. *show* turns the canonical value into the user's form. *home* says where the
    value lives. *default* is the argument's own, and only options of the run (``TASK``) have one: a compared option that is
    not written is not compared. *note* goes into the documentation.
    """

    __slots__ = (
        "aliases",
        "check",
        "choices",
        "create",
        "default",
        "elements",
        "home",
        "live",
        "loss",
        "no_log",
        "note",
        "off",
        "path",
        "required",
        "secret",
        "show",
        "type",
    )

    def __init__(
        self,
        path: str,
        type: str = "str",
        check: Check | None = None,
        *,
        home: str = DEFINITION,
        create: t.Any = None,
        off: t.Any = NO_OFF,
        live: LiveRule = never,
        loss: LossRule = no_loss,
        show: t.Callable[[t.Any], t.Any] = as_it_is,
        choices: t.Sequence[str] = (),
        aliases: t.Sequence[str] = (),
        elements: str | None = None,
        required: bool = False,
        default: t.Any = None,
        secret: bool = False,
        no_log: bool | None = None,
        note: str = "",
    ) -> None:
        self.path = path
        self.type = type
        self.check = check
        self.home = home
        self.create = create
        self.off = off
        self.live = live
        self.loss = loss
        self.show = show
        self.choices = tuple(choices)
        self.aliases = tuple(aliases)
        self.elements = elements or ("str" if type == "list" else None)
        self.required = required
        self.default = default
        self.secret = secret
        self.no_log = no_log
        self.note = note

    def but(self, **changes: t.Any) -> Option:
        """The same option where another resource has it: its *live* rule, *home*, *create*, *note* and the like may differ."""
        return Option(**{name: changes.get(name, getattr(self, name)) for name in self.__slots__})

    @property
    def is_compared(self) -> bool:
        return self.home not in (CREATION, TASK)

    def parse(self, key: str, value: t.Any) -> t.Any:
        """*value* in canonical form; *key* is how the user writes the place (``networks[lan].mtu``).

        :raises SpecError:
        """
        if self.choices:
            for each in value if self.type == "list" else (value,):
                if each not in self.choices:
                    raise bad_value(key, each, "one of " + ", ".join(self.choices))
        if self.check is not None:
            return self.check.parse(key, value)
        return tuple(value) if self.type == "list" else value

    def argument(self) -> dict[str, t.Any]:
        """The option as Ansible's argument spec has it."""
        told: dict[str, t.Any] = {"type": self.type}
        if self.elements:
            told["elements"] = self.elements
        if self.choices:
            told["choices"] = list(self.choices)
        if self.aliases:
            told["aliases"] = list(self.aliases)
        if self.required:
            told["required"] = True
        if self.default is not None:
            told["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        if self.secret or self.no_log is not None:
            told["no_log"] = self.secret or bool(self.no_log)
        return told


class Item:
    """One item of a keyed list as declared. *values* has what was written, by key, in canonical form."""

    __slots__ = ("is_wanted", "name", "values")

    def __init__(self, name: str, is_wanted: bool = True, values: t.Mapping[str, t.Any] | None = None) -> None:
        self.name = name
        self.is_wanted = is_wanted
        self.values: t.Mapping[str, t.Any] = values if values is not None else {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and (self.name, self.is_wanted, self.values) == (
            other.name,
            other.is_wanted,
            other.values,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.is_wanted))

    def __repr__(self) -> str:
        return f"Item({self.name!r}, {self.is_wanted}, {dict(self.values)})"

    def get(self, key: str, default: t.Any = None) -> t.Any:
        return self.values.get(key, default)

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def with_values(self, values: t.Mapping[str, t.Any]) -> Item:
        return Item(self.name, self.is_wanted, values)


class Declared:
    """What was written, in canonical form: *values* by option path, *items* by the path of their list, where it was written."""

    __slots__ = ("items", "values")

    def __init__(self, values: dict[str, t.Any], items: dict[str, tuple[Item, ...]]) -> None:
        self.values = values
        self.items = items

    def value(self, path: str) -> t.Any:
        """The declared value of ``cpu.cores`` or ``networks[lan].mtu``, ``None`` where nothing was written.

        :raises SpecError: for a key of an item that is declared absent.
        """
        area, name, key = split(path)
        if not key:
            # Of a dictionary (``dhcp``) the first thing in it that was written.
            written = (self.values.get(path), *self._inside(self.values, path), *self._inside(self.items, path))
            return next((value for value in written if value is not None), None)
        item = next((item for item in self.items.get(area, ()) if item.name == name), None)
        if item is not None and not item.is_wanted:
            raise SpecError(f"unset: {path}: its item is declared absent", key="unset")
        return None if item is None else item.values.get(key)

    @staticmethod
    def _inside(found: t.Mapping[str, t.Any], path: str) -> t.Iterator[t.Any]:
        return (value for other, value in found.items() if other.startswith(f"{path}."))


_ITEM_PATH = re.compile(r"([^\[\]]+)\[([^\]]*)\](?:\.(.+))?")


def split(path: str) -> tuple[str, str, str]:
    """``networks[lan].mtu`` as (``networks``, ``lan``, ``mtu``); the name and the key are empty where there is none."""
    match = _ITEM_PATH.fullmatch(path)
    return (match[1], match[2], match[3] or "") if match else (path, "", "")


def pattern(path: str) -> str:
    """``networks[lan].vlan`` -> ``networks[].vlan``."""
    return re.sub(r"\[[^\]]*\]", "[]", path) if "[" in path else path


class Options:
    """The rows of one resource, in the order of its documentation."""

    def __init__(self, *rows: Option) -> None:
        self.rows = {row.path: row for row in rows}
        self.lists = {path[:-2]: self._keys_of(path) for path, row in self.rows.items() if row.type == "item"}
        # Ansible leaves what was written under another name beside the option that it stands for.
        self._aliases = {
            f"{row.path.rpartition('.')[0]}.{alias}".lstrip(".") for row in self.rows.values() for alias in row.aliases
        }

    def _keys_of(self, path: str) -> dict[str, Option]:
        return {row.path[len(path) + 1 :]: row for row in self.rows.values() if row.path.startswith(path + ".")}

    def __iter__(self) -> t.Iterator[Option]:
        return iter(self.rows.values())

    def __contains__(self, path: str) -> bool:
        return pattern(path) in self.rows

    def __getitem__(self, path: str) -> Option:
        return self.rows[pattern(path)]

    def compared(self, *homes: str) -> tuple[str, ...]:
        """The paths that are compared and no part of a list; with *homes* those that live there."""
        return tuple(
            path
            for path, row in self.rows.items()
            if "[]" not in path and row.is_compared and (not homes or row.home in homes)
        )

    def arguments(self) -> dict[str, dict[str, t.Any]]:
        """Ansible's argument spec."""
        told: dict[str, t.Any] = {}
        for row in self.rows.values():
            *folders, name = row.path.replace("[]", "").split(".")
            place = told
            for folder in folders:
                place = place.setdefault(folder, {"type": "dict", "options": {}})["options"]
            if row.type == "item":
                options = {
                    "name": {"type": "str", "required": True},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                }
                place[name] = {"type": "list", "elements": "dict", "options": options}
            elif row.type == "dict":
                place[name] = {"type": "dict", "options": {}}
            else:
                place[name] = row.argument()
        return told

    def parse(self, params: Params) -> Declared:
        """What was written of *params*. ``None`` is not written.

        :raises SpecError:
        """
        declared = Declared({}, {})
        self._parse("", params, declared)
        return declared

    def _parse(self, prefix: str, params: Params, declared: Declared) -> None:
        for key, value in params.items():
            if value is None:
                continue
            path = prefix + key
            row = self.rows.get(path)
            if row is not None and row.type != "dict":
                declared.values[path] = row.parse(path, value)
            elif path in self.lists:
                declared.items[path] = self._parse_items(path, value)
            elif isinstance(value, t.Mapping):
                self._parse(path + ".", value, declared)
            elif path not in self._aliases:
                raise SpecError(f"{path}: there is no such option", key=path)

    def _parse_items(self, path: str, items: t.Any) -> tuple[Item, ...]:
        keys = self.lists[path]
        found = []
        check = self.rows[f"{path}[]"].check or ITEM_NAME
        for item in check_items(path, items, check.parse) or ():
            name = item["name"]
            written = {key: value for key, value in item.items() if key not in ("name", "state")}
            values = dict(self._parse_keys(path, keys, name, "", written))
            found.append(Item(name, item.get("state") != "absent", values))
        return tuple(found)

    def _parse_keys(
        self, path: str, keys: t.Mapping[str, Option], name: str, prefix: str, written: Params
    ) -> t.Iterator[tuple[str, t.Any]]:
        for word, value in written.items():
            key = prefix + word
            if value is None or f"{path}[].{key}" in self._aliases:
                continue
            if key in keys:
                yield key, keys[key].parse(f"{path}[{name}].{key}", value)
            elif isinstance(value, t.Mapping):
                yield from self._parse_keys(path, keys, name, key + ".", value)
            else:
                raise SpecError(f"{path}[{name}].{key}: there is no such option", key=key)

    def created(self, values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """*values* over what a new resource gets."""
        defaults = {path: row.create for path, row in self.rows.items() if row.create is not None and "[]" not in path}
        return {**defaults, **values}

    def created_item(self, area: str, item: Item) -> Item:
        """*item* with what a new one of the list *area* gets where nothing was written."""
        defaults = {key: row.create for key, row in self.lists[area].items() if row.create is not None}
        return item.with_values({**defaults, **item.values})

    def check_unset(self, unset: t.Collection[str], declared: Declared) -> tuple[str, ...]:
        """See ``check_unset``."""
        return check_unset(unset, self, declared.value)


def check_unset(
    unset: t.Collection[str], options: t.Iterable[Option], declared: t.Callable[[str], t.Any]
) -> tuple[str, ...]:
    """The paths of ``unset`` when each can be taken off and none is declared as well. A dictionary stands for all of its options.

    :raises SpecError: for a path that is no option, one that has no off value, and one that is declared too.
    """
    rows = {option.path: option for option in options} if unset else {}
    paths = [inner for path in unset for inner in _inner_paths(path, rows) or [path]]
    for path in paths:
        row = rows.get(pattern(path))
        if row is None or row.off is NO_OFF:
            can = ", ".join(sorted(path for path, row in rows.items() if row.off is not NO_OFF))
            raise SpecError(
                f"unset: {path!r} cannot be taken off. These can: {can or 'none of the options of this module'}",
                key="unset",
            )
        if declared(path) is not None:
            raise SpecError(f"unset: {path} is declared and unset at once. Write one of the two", key="unset")
    return tuple(dict.fromkeys(paths))


def _inner_paths(path: str, rows: t.Mapping[str, Option]) -> list[str]:
    """``startup.order`` and the like, of ``startup``. None for an option, and for a dictionary of which a part cannot be taken off."""
    beginning = pattern(path) + "."
    inner = [row for row in rows.values() if path not in rows and row.path.startswith(beginning)]
    return (
        [f"{path}.{row.path[len(beginning) :]}" for row in inner] if all(row.off is not NO_OFF for row in inner) else []
    )


# ---- checks --------------------------------------------------------------------------------------------------------------


def number(least: int, most: int) -> Check:
    """Whole numbers from *least* to *most*."""
    allowed = f"{least} to {most}"

    def parse(key: str, value: t.Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise bad_value(key, value, allowed)
        return value

    return Check(parse, allowed, (least, least + 1))


def size(least: int, most: int, *, unit: int = GIB, step: int = 1, allowed: str) -> Check:
    """Sizes in bytes from *least* to *most*, a multiple of *step*. A bare number counts in *unit* bytes."""

    def parse(key: str, value: t.Any) -> int:
        parsed = parse_size(key, value, unit=unit)
        if parsed % step or not least <= parsed <= most:
            raise bad_value(key, value, allowed)
        return parsed

    return Check(parse, allowed, ("1GiB", "2GiB"))


def matching(expression: str, allowed: str, samples: tuple[t.Any, t.Any] = ("a", "b")) -> Check:
    """Text that *expression* matches as a whole."""
    compiled = re.compile(expression)

    def parse(key: str, value: t.Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise bad_value(key, value, allowed)
        return value

    return Check(parse, allowed, samples)


def each(check: Check, *, sorts: bool = False) -> Check:
    """A list of values that are compared whole, each once; *sorts* where their order says nothing."""

    def parse(key: str, values: t.Any) -> tuple[t.Any, ...]:
        found = dict.fromkeys(check.parse(key, value) for value in values)
        return tuple(sorted(found)) if sorts else tuple(found)

    return Check(parse, check.allowed, ([check.samples[0]], list(check.samples)))


LINE = Check(check_line, "one line of text")
NAME = Check(check_name, "1 to 63 letters, digits, '_', '.' and '-', the first a letter or digit")
ITEM_NAME = Check(check_item_name, "1 to 63 letters, digits, '_' and '-', the first a letter or digit")
PATH = Check(check_path, "an absolute path other than /, without '..'", ("/srv/a", "/srv/b"))
SECRET = Check(check_secret, "text of at least 8 characters", ("correct horse", "battery staple"))
LINK_NAME = Check(
    check_link_name, "1 to 15 letters, digits, '_', '.' and '-', as Linux names its links", ("br0", "br1")
)
MAC = Check(check_mac, "a unicast MAC address such as 52:54:00:12:34:56", ("52:54:00:12:34:56", "52:54:00:12:34:57"))
VLAN = number(1, 4094)
# The least that IPv4 guests can be asked to live with; the kernel's links end at 65535.
MTU = number(576, 65535)
SECONDS = number(0, 86400)
