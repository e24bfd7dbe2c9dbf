# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The pages to which a host tells how its guests are: the mother of the options."""

from __future__ import annotations

import typing as t

from .._core.errors import SpecError
from .._core.options import NAME, TASK, Option, Options

STATES = ("present", "absent")
OPTIONS = Options(
    Option("guest", check=NAME, home=TASK),
    Option("host", check=NAME, home=TASK),
    Option("state", home=TASK, choices=STATES, default="present"),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}


class Spec(t.NamedTuple):
    """*guest* is told, by the name *host*; or not any more. ``None`` are those that are gone."""

    guest: str | None = None
    host: str | None = None
    is_wanted: bool = True


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """What is declared, from a module's parameters.

    :raises SpecError:
    """
    values = OPTIONS.parse(params).values
    guest, host, is_wanted = values.get("guest"), values.get("host"), values.get("state", "present") == "present"
    for key, value in (("guest", guest), ("host", host)):
        if is_wanted and value is None:
            raise SpecError(f"{key}: is needed", key=key)
    return Spec(guest, host, is_wanted)
