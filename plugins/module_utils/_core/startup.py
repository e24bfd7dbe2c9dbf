# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""When a guest starts and stops among the others of its host, virtual machines and containers alike. It is kept in the record."""

from __future__ import annotations

import typing as t

from .declared import check_number
from .options import Option, always

NO_ORDER = -1
MOST_ORDER = 1_000_000
MOST_SECONDS = 86400

Values = t.Mapping[str, int]


def _show_order(order: int | None) -> int | None:
    return None if order == NO_ORDER else order


ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {"order": {"type": "int"}, "up_delay": {"type": "int"}, "down_delay": {"type": "int"}},
}
OPTIONS = (
    Option("startup.order", live=always, show=_show_order, off=NO_ORDER),
    Option("startup.up_delay", live=always, off=0),
    Option("startup.down_delay", live=always, off=0),
)
PATHS = tuple(option.path for option in OPTIONS)


def parse(written: t.Mapping[str, t.Any] | None) -> dict[str, int]:
    """What was written of ``startup``, by option path, seconds and a place in the order.

    :raises SpecError:
    """
    options = written or {}
    found = {
        "startup.order": check_number("startup.order", options.get("order"), least=0, most=MOST_ORDER),
        **{
            f"startup.{key}": check_number(f"startup.{key}", options.get(key), least=0, most=MOST_SECONDS)
            for key in ("up_delay", "down_delay")
        },
    }
    return {path: value for path, value in found.items() if value is not None}


def recorded(data: t.Mapping[str, t.Any]) -> dict[str, int]:
    """What the record says, by option path; the off values where it says nothing."""
    kept = data.get("startup") or {}
    return {option.path: int(kept.get(_key(option.path), option.off)) for option in OPTIONS}


def to_record(values: Values) -> dict[str, int] | None:
    """*values* (by option path) as the record keeps them: without what is off."""
    off = {option.path: option.off for option in OPTIONS}
    return {_key(path): value for path, value in values.items() if path in off and value != off[path]} or None


def facts(values: t.Mapping[str, t.Any]) -> dict[str, int | None]:
    """*values* (by option path) as they are told: without an order it is null."""
    return {_key(option.path): option.show(values[option.path]) for option in OPTIONS}


def _key(path: str) -> str:
    return path.partition(".")[2]
