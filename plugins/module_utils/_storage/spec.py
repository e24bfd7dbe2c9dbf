# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of a storage pool: the mother of its options."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._core.declared import check_name, check_path
from .._core.errors import SpecError, bad_value
from .._core.options import Option, always, check_unset
from .._core.units import GIB, parse_size, show_size

STATES = ("present", "started", "stopped", "absent")
TYPES = ("dir",)
ALLOW = ("delete_data",)

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "type": {"type": "str", "choices": list(TYPES)},
    "path": {"type": "str"},
    "autostart": {"type": "bool"},
    "warn_free": {"type": "str"},
    "allow": {"type": "list", "elements": "str", "choices": list(ALLOW), "default": []},
    "unset": {"type": "list", "elements": "str", "default": []},
}
CONSTRAINTS: dict[str, t.Any] = {}

_PERCENT = re.compile(r"(\d{1,2})\s*%")


def show_warn_free(value: int | str | None) -> str | None:
    """The threshold as the user writes it: ``10%`` or ``20GiB``."""
    return show_size(value) if isinstance(value, int) else value or None


OPTIONS = (
    Option("type", live=always, note="never: give the new pool another name"),
    Option("path", live=always, note="never: give the new pool another name"),
    Option("autostart", live=always),
    Option("warn_free", live=always, show=show_warn_free, off=""),
)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A storage pool as declared. ``None`` is not written. *warn_free* is a percentage (``10%``) or a number of bytes."""

    name: str
    state: str = "present"
    type: str | None = None
    path: str | None = None
    autostart: bool | None = None
    warn_free: int | str | None = None
    allow: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared pool from a module's parameters.

    :raises SpecError:
    """
    return Spec(
        name=check_name("name", params["name"]),
        state=params.get("state") or "present",
        type=params.get("type"),
        path=check_path("path", params.get("path")),
        autostart=params.get("autostart"),
        warn_free=parse_warn_free(params.get("warn_free")),
        allow=tuple(params.get("allow") or ()),
        unset=check_unset(params.get("unset") or (), OPTIONS, params.get),
    )


def parse_warn_free(value: t.Any) -> int | str | None:
    """The threshold in canonical form.

    :raises SpecError:
    """
    if value is None:
        return None
    percent = _PERCENT.fullmatch(str(value).strip())
    if percent:
        return f"{int(percent.group(1))}%"
    try:
        return parse_size("warn_free", value, unit=GIB)
    except SpecError:
        raise bad_value("warn_free", value, "a percentage from 0% to 99%, or a size such as 20G") from None


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new pool gets where the user wrote nothing.

    :raises SpecError: without a path: nothing can stand in for it.
    """
    if spec.path is None:
        raise SpecError(f"path: is needed to make the storage pool {spec.name}", key="path")
    autostart = True if spec.autostart is None else spec.autostart
    return dataclasses.replace(spec, type=spec.type or "dir", autostart=autostart)
