# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a guest that comes out of a backup, or of a copy that another host has sent: the mother of its options."""

from __future__ import annotations

import re
import typing as t

from ..._core.errors import SpecError, bad_value
from ..._core.options import ITEM_NAME, LINE, LINK_NAME, NAME, PATH, TASK, Check, Option, Options, each
from ..._core.units import seconds_of
from ..._guest.options import FORCE_STOP, SHUTDOWN_TIMEOUT, words
from ..stored import LATEST

ALLOW = ("overwrite",)
_ID = re.compile(r"[0-9a-f]{8,64}")
_BACKUP = "latest, or how the id of a backup begins, at least 8 digits of it"
_MOMENT = "a moment such as 2026-11-27T22:00:00Z"


def _parse_backup(key: str, value: t.Any) -> str:
    if value != LATEST and not _ID.fullmatch(str(value)):
        raise bad_value(key, value, _BACKUP)
    return str(value)


def _parse_moment(key: str, value: t.Any) -> str:
    try:
        seconds_of(str(value))
    except ValueError:
        raise bad_value(key, value, _MOMENT) from None
    return str(value)


OPTIONS = Options(
    Option("name", check=NAME, home=TASK, required=True),
    Option("repository", check=ITEM_NAME, home=TASK),
    Option("replica", "bool", home=TASK, default=False),
    Option("backup", check=Check(_parse_backup, _BACKUP), home=TASK),
    Option("at", check=Check(_parse_moment, _MOMENT), home=TASK),
    Option("host", check=LINE, home=TASK),
    Option("as", check=NAME, home=TASK),
    Option("pool", check=ITEM_NAME, home=TASK),
    Option("network", check=LINK_NAME, home=TASK),
    Option("paths", "list", each(PATH), home=TASK),
    Option("to", check=PATH, home=TASK),
    Option("start", "bool", home=TASK, default=False),
    SHUTDOWN_TIMEOUT,
    FORCE_STOP,
    words("allow", ALLOW),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {"mutually_exclusive": [["backup", "at"]], "required_together": [["paths", "to"]]}
# What is said of a guest that comes back whole.
_WHOLE = ("replica", "as", "pool", "network", "start", "allow")


class Spec(t.NamedTuple):
    """The backup of the guest *source* that is meant, and the guest *name* that shall come of it. ``None`` is not written.

    It is in the *repository*, or where *replica* is set among the copies on this host. With *paths* only these files come out of it, into the
    folder *to*.
    """

    source: str
    name: str
    repository: str = ""
    replica: bool = False
    backup: str = LATEST
    at: float | None = None
    host: str | None = None
    pool: str | None = None
    network: str | None = None
    paths: tuple[str, ...] = ()
    to: str | None = None
    start: bool = False
    shutdown_timeout: int = 60
    force_stop: bool = False
    allow: tuple[str, ...] = ()

    @property
    def is_renamed(self) -> bool:
        """Whether it is another guest than the one that was backed up."""
        return self.name != self.source


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """What is declared, from a module's parameters.

    :raises SpecError:
    """
    values = OPTIONS.parse(params).values
    at = values.get("at")
    if at is not None and values.get("backup") is not None:
        raise SpecError("at: goes without backup. Write one of the two", key="at")
    if bool(values.get("paths")) != (values.get("to") is not None):
        raise SpecError("to: goes with paths. Write both", key="to")
    if bool(values.get("replica")) == (values.get("repository") is not None):
        raise SpecError("repository: is needed, or replica. Write one of the two", key="repository")
    for key in _WHOLE if values.get("paths") else ():
        if values.get(key):
            raise SpecError(f"{key}: is nothing of single files. Leave it away, or leave paths away", key=key)
    others = {key: values[key] for key in Spec._fields if key in values and key not in ("name", "backup", "at")}
    return Spec(
        source=values["name"],
        name=values.get("as") or values["name"],
        backup=values.get("backup") or LATEST,
        at=None if at is None else seconds_of(at),
        **others,
    )
