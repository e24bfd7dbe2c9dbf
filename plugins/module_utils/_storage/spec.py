# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a storage pool: the mother of its options."""

from __future__ import annotations

import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import FLAG, NAME, PATH, RECORD, TASK, Check, Option, Options, always, fixed
from .._core.units import GIB, parse_size, show_size
from .volume import TYPES

STATES = ("present", "started", "stopped", "absent")
ALLOW = ("delete_data", "format")
# What can be made of a device, and mounted at the pool's path.
_OF_SOURCE = ("btrfs",)
_PERCENT = re.compile(r"(\d{1,2})\s*%")
_WARN_FREE = "a percentage from 0% to 99%, or a size such as 20G"


def _parse_warn_free(key: str, value: t.Any) -> int | str:
    percent = _PERCENT.fullmatch(str(value).strip())
    if percent:
        return f"{int(percent.group(1))}%"
    try:
        return parse_size(key, value, unit=GIB)
    except SpecError:
        raise bad_value(key, value, _WARN_FREE) from None


def show_warn_free(value: int | str | None) -> str | None:
    """The threshold as the user writes it: ``10%`` or ``20GiB``."""
    return show_size(value) if isinstance(value, int) else value or None


OPTIONS = Options(
    Option("name", check=NAME, home=TASK, required=True),
    Option("state", home=TASK, choices=STATES, default="present"),
    Option("type", home=RECORD, choices=TYPES, create="dir", live=always, loss=fixed),
    Option("path", check=PATH, live=always, loss=fixed),
    Option("source", check=PATH, home=RECORD, live=always, loss=fixed),
    Option("autostart", "bool", home=FLAG, create=True, live=always),
    Option(
        "warn_free",
        check=Check(_parse_warn_free, _WARN_FREE, ("1GiB", "2GiB")),
        home=RECORD,
        off="",
        live=always,
        show=show_warn_free,
    ),
    Option("allow", "list", home=TASK, choices=ALLOW, default=()),
    Option("unset", "list", home=TASK, default=()),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}


class Spec:
    """A storage pool as declared. *values* has what was written by option path, *warn_free* as a percentage (``10%``) or in bytes."""

    __slots__ = ("allow", "name", "state", "unset", "values")

    def __init__(
        self,
        name: str,
        state: str = "present",
        values: t.Mapping[str, t.Any] | None = None,
        allow: tuple[str, ...] = (),
        unset: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.state = state
        self.values: t.Mapping[str, t.Any] = values or {}
        self.allow = allow
        self.unset = unset

    @property
    def type(self) -> str | None:
        return self.values.get("type")

    @property
    def path(self) -> str | None:
        return self.values.get("path")

    @property
    def source(self) -> str | None:
        return self.values.get("source")


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared pool from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse({key: value for key, value in params.items() if key != "unset"})
    values = declared.values
    name, state, allow = values.pop("name"), values.pop("state", "present"), values.pop("allow", ())
    return Spec(name, state, values, allow, OPTIONS.check_unset(params.get("unset") or (), declared))


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new pool gets where the user wrote nothing.

    :raises SpecError: without a path, for nothing can stand in for it, and for a source of which no pool of the type is made.
    """
    if spec.path is None:
        raise SpecError(f"path: is needed to make the storage pool {spec.name}", key="path")
    values = OPTIONS.created(spec.values)
    if spec.source is not None and values["type"] not in _OF_SOURCE:
        allowed = f"Write type: {' or '.join(_OF_SOURCE)}, or take source off"
        raise SpecError(f"source: a pool of type {values['type']} is a folder and has none. {allowed}", key="source")
    return Spec(spec.name, spec.state, values, spec.allow, spec.unset)
