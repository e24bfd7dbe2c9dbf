# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of the backups of a host: the mother of the options of repositories and jobs, also those of replication."""

from __future__ import annotations

import string
import typing as t

from ..._core.errors import SpecError
from ..._core.options import (
    DEFINITION,
    ITEM_NAME,
    LINE,
    NAME,
    PATH,
    SECRET,
    TASK,
    Item,
    Option,
    Options,
    as_written,
    each,
    listed,
    matching,
    number,
)
from ..._guest.capture import MODES
from ..config import AREAS, JOBS, PICKS, REPLICATIONS, REPOSITORIES, Job, Replication
from ..retention import WORDS

LOCAL, SFTP, REST, S3 = "local", "sftp", "rest", "s3"
TYPES = (LOCAL, SFTP, REST, S3)
_HOST = matching(r"[A-Za-z0-9._:-]+", "a host name or an address", ("nas", "10.0.0.5"))
_USER = matching(r"[A-Za-z0-9._-]+", "the name of a user", ("backup", "root"))
_URL = matching(
    r"https?://[^\s@]+", "an address that begins with http:// or https://, without a user", ("https://a", "https://b")
)
_COUNT = number(0, 10_000)
_NAMES = each(NAME, sorts=True)
# By their type what a repository needs, and what it may have besides.
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    LOCAL: (("path",), ()),
    SFTP: (("path", "host"), ("user", "port")),
    REST: (("url",), ("username", "login_password")),
    S3: (("url", "access_key", "secret_key"), ()),
}
# What an item of a list cannot be without.
_NEEDED = {JOBS: ("repository", "schedule"), REPLICATIONS: ("host", "pool", "schedule")}


# A new item has them written out. What else is not written of a job is left to the program.
_JOB, _REPLICATION = Job._field_defaults, Replication._field_defaults


def _row(path: str, type: str = "str", *arguments: t.Any, **more: t.Any) -> Option:
    return Option(path, type, *arguments, home=DEFINITION, live=as_written, **more)


OPTIONS = Options(
    Option("targets", "list", each(ITEM_NAME), home=TASK),
    _row("repositories[]", "item", ITEM_NAME),
    _row("repositories[].type", choices=TYPES),
    _row("repositories[].path", check=PATH),
    _row("repositories[].host", check=_HOST),
    _row("repositories[].port", "int", number(1, 65535)),
    _row("repositories[].user", check=_USER),
    _row("repositories[].url", check=_URL),
    _row("repositories[].username", check=LINE),
    _row("repositories[].login_password", check=SECRET, secret=True),
    _row("repositories[].access_key", check=LINE, no_log=False),
    _row("repositories[].secret_key", check=SECRET, secret=True),
    _row("repositories[].password", check=SECRET, secret=True),
    _row("repositories[].append_only", "bool"),
    _row("jobs[]", "item", ITEM_NAME),
    _row("jobs[].repository", check=ITEM_NAME),
    _row("jobs[].guests", "list", _NAMES, show=listed),
    _row("jobs[].tags", "list", _NAMES, show=listed),
    _row("jobs[].exclude", "list", _NAMES, show=listed),
    _row("jobs[].schedule", check=LINE),
    _row("jobs[].mode", choices=MODES, create=_JOB["mode"]),
    *(_row(f"jobs[].keep.{word}", "int", _COUNT) for word in WORDS),
    _row("jobs[].bandwidth", "int", number(1, 10_000_000)),
    _row("jobs[].notify", "list", each(ITEM_NAME, sorts=True), show=listed),
    _row("jobs[].verify.schedule", check=LINE),
    _row("jobs[].verify.percent", "int", number(1, 100)),
    _row("jobs[].drill.schedule", check=LINE),
    _row("jobs[].drill.pick", choices=PICKS),
    _row("jobs[].drill.timeout", "int", number(1, 86400)),
    _row("jobs[].drill.guests", "list", _NAMES, show=listed),
    _row("replications[]", "item", ITEM_NAME),
    _row("replications[].guests", "list", _NAMES, show=listed),
    _row("replications[].tags", "list", _NAMES, show=listed),
    _row("replications[].exclude", "list", _NAMES, show=listed),
    _row("replications[].host", check=_HOST),
    _row("replications[].port", "int", number(1, 65535), create=_REPLICATION["port"]),
    _row("replications[].user", check=_USER, create=_REPLICATION["user"]),
    _row("replications[].pool", check=ITEM_NAME),
    _row("replications[].schedule", check=LINE),
    _row("replications[].keep", "int", number(1, 1000), create=_REPLICATION["keep"]),
    _row("replications[].bandwidth", "int", number(1, 10_000_000)),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
# The times at which units start.
SCHEDULES = ("schedule", "verify.schedule", "drill.schedule")
SECRETS = tuple(key for key, row in OPTIONS.lists[REPOSITORIES].items() if row.secret)


class Spec(t.NamedTuple):
    """The *repositories*, *jobs* and *replications* that were written, each with all that it is; one that shall go is not wanted. *targets* are
    those that the host tells what happens, ``None`` where that was not written.
    """

    repositories: tuple[Item, ...] = ()
    jobs: tuple[Item, ...] = ()
    replications: tuple[Item, ...] = ()
    targets: tuple[str, ...] | None = None

    def items(self) -> t.Iterator[tuple[str, Item]]:
        """Each with the list that it is in."""
        yield from ((area, its) for area in AREAS for its in getattr(self, area))


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """What is declared, from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse(params)
    found = {
        area: tuple(OPTIONS.created_item(area, its) if its.is_wanted else its for its in declared.items.get(area, ()))
        for area in AREAS
    }
    for its in found[REPOSITORIES]:
        if its.is_wanted:
            _check_repository(its)
    for area, keys in _NEEDED.items():
        for its in found[area]:
            for key in keys if its.is_wanted else ():
                if its.get(key) is None:
                    raise SpecError(f"{area}[{its.name}].{key}: is needed", key=f"{area}[{its.name}].{key}")
    return Spec(**found, targets=declared.values.get("targets"))


def _check_repository(its: Item) -> None:
    place = f"repositories[{its.name}]"
    kind = its.text("type")
    if kind is None:
        raise SpecError(f"{place}.type: is needed, one of {', '.join(TYPES)}", key=f"{place}.type")
    needed, others = _NEEDS[kind]
    for key in (*needed, "password"):
        if its.get(key) is None:
            raise SpecError(f"{place}.{key}: is needed of the type {kind}", key=f"{place}.{key}")
    for key in its.values:
        if key not in ("type", "password", "append_only", *needed, *others):
            raise SpecError(f"{place}.{key}: is nothing of the type {kind}", key=f"{place}.{key}")
    if bool(its.get("username")) != bool(its.get("login_password")):
        raise SpecError(f"{place}.login_password: goes with username. Write both", key=f"{place}.login_password")


def address_of(values: t.Mapping[str, t.Any]) -> str:
    """What restic calls a repository."""
    kind = values["type"]
    if kind == SFTP:
        host = f"[{values['host']}]" if ":" in values["host"] else values["host"]
        user = f"{values['user']}@" if values.get("user") else ""
        port = f":{values['port']}" if values.get("port") else ""
        # The second slash makes the path an absolute one.
        return f"sftp://{user}{host}{port}/{values['path']}"
    if kind == REST:
        scheme, dummy, rest = values["url"].partition("://")
        parts = [_quoted(values[key]) for key in ("username", "login_password") if values.get(key)]
        return f"rest:{scheme}://{':'.join(parts)}{'@' if parts else ''}{rest}"
    return f"s3:{values['url']}" if kind == S3 else str(values["path"])


def _quoted(text: str) -> str:
    """A part of an address, with nothing in it that means something there."""
    safe = string.ascii_letters + string.digits
    return "".join(letter if letter in safe else "".join(f"%{byte:02X}" for byte in letter.encode()) for letter in text)


def credentials_of(values: t.Mapping[str, t.Any]) -> str | None:
    """The file by which S3 knows who asks; ``None`` for a repository that asks for none."""
    if values["type"] != S3:
        return None
    return f"[default]\naws_access_key_id = {values['access_key']}\naws_secret_access_key = {values['secret_key']}\n"
