# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a guest in the quarantine: the mother of its options."""

from __future__ import annotations

import re
import typing as t

from .._core.declared import check_line
from .._core.errors import SpecError, bad_value
from .._core.options import TASK, Check, Option, Options

STATES = ("restored", "absent")
LATEST, ALL = "latest", "all"
_MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def _parse_name(key: str, value: t.Any) -> str:
    """A machine that was made by hand may have any name that libvirt has."""
    name = t.cast(str, check_line(key, value))
    if not name or "/" in name or name.startswith("."):
        raise bad_value(key, value, NAME.allowed)
    return name


def _parse_which(key: str, value: t.Any) -> str:
    which = str(value)
    if which not in (LATEST, ALL) and not _MOMENT.fullmatch(which):
        raise bad_value(key, value, WHICH.allowed)
    return which


NAME = Check(_parse_name, "the name of a guest")
WHICH = Check(_parse_which, "latest, all, or a moment such as 20261127T221500Z")
OPTIONS = Options(
    Option("name", check=NAME, home=TASK, required=True),
    Option("moment", check=WHICH, home=TASK, default=LATEST),
    Option("state", home=TASK, choices=STATES, default="restored"),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}


class Spec(t.NamedTuple):
    """Which of what lies in the quarantine of the guest *name*, and whether that is to be the guest again or nothing any more."""

    name: str
    moment: str = LATEST
    state: str = "restored"


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """What is asked for, from a module's parameters.

    :raises SpecError:
    """
    spec = Spec(**OPTIONS.parse(params).values)
    if spec.moment == ALL and spec.state != "absent":
        raise SpecError(f"moment: one of all is taken back. Write {LATEST}, or the moment of one", key="moment")
    return spec
