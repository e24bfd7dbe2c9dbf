# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a mount of the host from elsewhere: the mother of its options."""

from __future__ import annotations

import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import (
    DEFINITION,
    NAME,
    PATH,
    RECORD,
    SECONDS,
    SECRET,
    TASK,
    Check,
    Option,
    Options,
    always,
    as_written,
    each,
    listed,
    matching,
    or_none,
)

NFS, CIFS = "nfs", "cifs"
TYPES = (NFS, CIFS)
STATES = ("present", "absent")
REFUSE, LEAVE_OUT = "refuse", "leave_out"
# As long as a machine takes that boots from a slow disk and imports its pools.
WAIT_SECONDS = 300

_OF_TYPE = {
    NFS: (re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):/[^\x00-\x1f]*"), "HOST:/FOLDER"),
    CIFS: (re.compile(r"//[A-Za-z0-9._-]+/[^\x00-\x1f]+"), "//HOST/SHARE"),
}
_WORD = matching(
    r"[A-Za-z0-9_.-]+(=[^\s,\"'\\]+)?", "words such as ro or timeo=100, without blanks and commas", ("ro", "noatime")
)
# What mount.cifs(8) reads of who asks, of its options: everybody may read the text of a unit.
_OF_CREDENTIALS = (
    "cred",
    "credentials",
    "user",
    "username",
    "pass",
    "password",
    "password2",
    "dom",
    "domain",
    "workgroup",
)
_SOURCE = "HOST:/FOLDER of NFS, or //HOST/SHARE of CIFS"


def _parse_source(key: str, value: t.Any) -> str:
    if (
        not isinstance(value, str)
        or value != value.strip()
        or not any(its.fullmatch(value) for its, dummy in _OF_TYPE.values())
    ):
        raise bad_value(key, value, _SOURCE)
    return value


def _parse_credential(key: str, value: t.Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or value != value.strip() or "," in value:
        raise bad_value(key, value, "one line of text without commas")
    return value


_CREDENTIAL = Check(_parse_credential, "one line of text without commas")
OPTIONS = Options(
    Option("path", check=PATH, home=TASK, required=True),
    Option("state", home=TASK, choices=STATES, default="present"),
    Option("type", home=DEFINITION, choices=TYPES, live=always),
    Option("source", check=Check(_parse_source, _SOURCE, ("nas:/a", "nas:/b")), live=always),
    Option("options", "list", each(_WORD), live=always, off=(), show=listed),
    Option("username", check=_CREDENTIAL, live=always, off="", show=or_none),
    Option("password", check=SECRET, live=always, off="", secret=True, show=or_none),
    Option("domain", check=_CREDENTIAL, live=always, off="", show=or_none),
    Option("wait_for_guest", check=NAME, home=RECORD, live=as_written, off="", show=or_none),
    Option("wait_timeout", "int", SECONDS, home=RECORD, live=as_written, create=WAIT_SECONDS),
    Option("without_client", home=TASK, choices=(REFUSE, LEAVE_OUT), default=REFUSE),
    Option("unset", "list", home=TASK, default=()),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
CREDENTIALS = ("username", "password", "domain")


class Spec:
    """A mount as declared. *values* has what was written by option path."""

    __slots__ = ("leaves_out", "path", "state", "unset", "values")

    def __init__(
        self,
        path: str,
        state: str = "present",
        values: t.Mapping[str, t.Any] | None = None,
        unset: tuple[str, ...] = (),
        *,
        leaves_out: bool = False,
    ) -> None:
        self.path = path
        self.state = state
        self.values: t.Mapping[str, t.Any] = values or {}
        self.unset = unset
        self.leaves_out = leaves_out


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared mount from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse({key: value for key, value in params.items() if key != "unset"})
    values = declared.values
    path, state = values.pop("path"), values.pop("state", "present")
    leaves_out = values.pop("without_client", REFUSE) == LEAVE_OUT
    for word in values.get("options") or ():
        if word.partition("=")[0].lower() in _OF_CREDENTIALS:
            raise SpecError(
                f"options: {word.partition('=')[0]} stands where everybody can read it. Write username, password and domain",
                key="options",
            )
    return Spec(path, state, values, OPTIONS.check_unset(params.get("unset") or (), declared), leaves_out=leaves_out)


def check_whole(path: str, values: t.Mapping[str, t.Any]) -> None:
    """Whether what a mount is, once it stands, goes together.

    :raises SpecError:
    """
    for key in ("type", "source"):
        if not values.get(key):
            raise SpecError(f"{key}: is needed to mount something at {path}", key=key)
    its, form = _OF_TYPE[values["type"]]
    if not its.fullmatch(values["source"]):
        raise SpecError(f"source: {values['source']!r} is no source of {values['type']}, which is {form}", key="source")
    if values["type"] == NFS and any(values.get(key) for key in CREDENTIALS):
        raise SpecError(
            "username: NFS asks for no name and password; it goes by the address of this host", key="username"
        )
    if bool(values.get("username")) != bool(values.get("password")):
        raise SpecError("password: goes with username. Write both, or options: [guest]", key="password")
    if values.get("wait_for_guest") and "hard" in (values.get("options") or ()):
        raise SpecError(
            f"options: hard waits for ever for {values['wait_for_guest']}, which is shut down along with this host. Leave it away",
            key="options",
        )
