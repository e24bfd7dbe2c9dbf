# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a snapshot: the mother of its options."""

from __future__ import annotations

import re
import typing as t

from .._core.declared import check_line
from .._core.errors import SpecError, bad_value
from .._core.options import ITEM_NAME, TASK, Check, Option, Options, number
from .._guest.options import FORCE_STOP, SHUTDOWN_TIMEOUT, words

STATES = ("present", "absent", "reverted")
ALLOW = ("revert",)
# "nightly-2026-11-26", "release_3", "hourly-20261126T1200Z"
_SERIES = re.compile(r"(.+?)[-_][0-9][0-9TZ_-]*")


def _parse_guest(key: str, value: t.Any) -> str:
    """A machine that was made by hand may have any name that libvirt has."""
    name = t.cast(str, check_line(key, value))
    if not name or "/" in name or name.startswith("."):
        raise bad_value(key, value, GUEST.allowed)
    return name


GUEST = Check(_parse_guest, "the name of a guest")

OPTIONS = Options(
    Option("guest", check=GUEST, home=TASK, required=True),
    Option("name", check=ITEM_NAME, home=TASK, required=True),
    Option("state", home=TASK, choices=STATES, default="present"),
    Option("keep", "int", number(1, 1000), home=TASK),
    Option("memory", "bool", home=TASK),
    SHUTDOWN_TIMEOUT,
    FORCE_STOP,
    words("allow", ALLOW),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}


class Spec(t.NamedTuple):
    """A snapshot as declared: *name* is its own, *guest* whose it is. ``None`` is not written."""

    guest: str
    name: str
    state: str = "present"
    keep: int | None = None
    memory: bool | None = None
    shutdown_timeout: int = 60
    force_stop: bool = False
    allow: tuple[str, ...] = ()


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared snapshot from a module's parameters.

    :raises SpecError:
    """
    spec = Spec(**OPTIONS.parse(params).values)
    if spec.keep is not None and spec.state != "present":
        raise SpecError(f"keep: goes with state: present, not with {spec.state}", key="keep")
    if spec.memory is not None and spec.state == "absent":
        raise SpecError(
            "memory: goes with state: present or reverted. A snapshot is deleted with its memory", key="memory"
        )
    if spec.keep is not None and series_of(spec.name) is None:
        raise SpecError(
            f"keep: {spec.name} is one of no series. Give it a name that ends in a number or a date behind '-' or '_', "
            "such as nightly-2026-11-26",
            key="keep",
        )
    return spec


def series_of(name: str) -> str | None:
    """What the names of a series begin with: ``nightly`` of ``nightly-2026-11-26``; ``None`` for a name that stands alone."""
    match = _SERIES.fullmatch(name)
    return match[1] if match else None
