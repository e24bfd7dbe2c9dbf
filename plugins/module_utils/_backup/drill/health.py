# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What shows that a guest which came out of a backup is well: what its record asks for and what its services say of themselves, and how an
answer is judged.
"""

from __future__ import annotations

import json
import re
import typing as t

from ..._core.errors import ObserveError, shorten

TCP, HTTP, HTTPS, COMMAND = "tcp", "http", "https", "command"
# Where the role of each service notes in its guest what is in force, and what others ask of it.
SERVICES = "/var/lib/homelab_hybrid/services"
# Who asks for a name first is well.
_ASKS_WHO = (401, 403)
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/:?#]+)(?::(\d+))?(/[^#]*)?")
_PORTS = {HTTP: 80, HTTPS: 443}
# Of a guest that answers to nothing.
MUTE = "nobody could tell whether it is well: it has no agent (agent), and its backup.health names no port. Write one of the two"
_LOOPBACK = re.compile(r"127\.[0-9.]+|\[?::1\]?|localhost")


class Check(t.NamedTuple):
    """One thing that is asked: whether *port* takes a connection, whether its page *path* is served, or whether a *command* inside ends with 0.

    *service* is who said so, empty where it is the guest's owner. *is_inner*: only who is inside reaches it. A page is asked for by the
    name *host*, and has one of the *statuses*, where those are known.
    """

    kind: str
    port: int = 0
    path: str = ""
    command: str = ""
    service: str = ""
    is_inner: bool = False
    host: str = ""
    statuses: tuple[int, ...] = ()

    def __str__(self) -> str:
        what = shorten(self.command) if self.kind == COMMAND else f"{self.port}{self.path}"
        return f"{self.service}{': ' if self.service else ''}{self.kind} {what}"

    def is_served(self, status: int) -> bool:
        """Whether the *status* of an HTTP answer is that of a service which is well."""
        return status in self.statuses if self.statuses else status < 400 or status in _ASKS_WHO


class Answer(t.NamedTuple):
    """Whether what was asked (*check*, as it is told) is well, and what answered."""

    check: str
    is_well: bool
    said: str

    def told(self) -> dict[str, t.Any]:
        """What a report has of it."""
        return {"check": self.check, "ok": self.is_well, "said": self.said}


class Wanted(t.NamedTuple):
    """What is asked of a guest, and the paths inside that it cannot do without, each with whether something has to lie there.

    Of what a service keeps nobody knows whether there was anything yet.
    """

    checks: tuple[Check, ...] = ()
    data_paths: t.Mapping[str, bool] = {}


def wanted_of(record: t.Mapping[str, t.Any], services: t.Mapping[str, str]) -> Wanted:
    """What the *record* of a guest (``backup.health``, ``backup.data_paths``) and its *services* ask for, the text of the file of each by name.

    :raises ObserveError: when the record asks for what this version does not know.
    """
    its = record.get("backup")
    own: t.Mapping[str, t.Any] = its if isinstance(its, t.Mapping) else {}
    checks = [parse(str(text)) for text in own.get("health") or ()]
    paths = {str(path): True for path in own.get("data_paths") or ()}
    for name, text in sorted(services.items()):
        try:
            told = json.loads(text)["told"]
            more = list(_checks_of(name, told))
            data = [str(path) for path in told.get("data") or ()]
        except (ValueError, TypeError, KeyError, AttributeError):
            # What a guest says of itself may be of another version, or nothing.
            continue
        checks += more
        paths = {**{path: False for path in data if path.startswith("/")}, **paths}
    return Wanted(tuple(dict.fromkeys(checks)), paths)


def parse(text: str) -> Check:
    """The check that a user wrote (``_guest.options.HEALTH``).

    :raises ObserveError: when no version writes that into a record.
    """
    kind, dummy, rest = text.partition(":")
    if kind == COMMAND:
        return Check(COMMAND, command=rest.strip())
    port, dummy, path = rest.partition("/")
    if kind not in (TCP, HTTP, HTTPS) or not port.isdecimal():
        raise ObserveError(f"backup.health: {shorten(text)} is no check that this version of homelab.hybrid knows")
    return Check(kind, port=int(port), path="" if kind == TCP else f"/{path}")


def _checks_of(service: str, told: t.Mapping[str, t.Any]) -> t.Iterator[Check]:
    for its in told.get("listens") or ():
        if str(its.get("protocol") or TCP) == TCP:
            is_inner = _LOOPBACK.fullmatch(str(its.get("address") or "")) is not None
            yield Check(TCP, port=int(its["port"]), service=service, is_inner=is_inner)
    asked = told.get("check") or {}
    if "command" in asked:
        environment = {str(key): str(value) for key, value in (asked.get("environment") or {}).items()}
        words = [*(f"{key}={value}" for key, value in environment.items()), *map(str, asked["command"])]
        yield Check(COMMAND, command=" ".join(["env", *map(_quoted, words)]), service=service)
    elif match := _URL.fullmatch(str(asked.get("url") or "")):
        status = asked.get("status") or ()
        yield Check(
            match[1],
            port=int(match[3] or _PORTS[match[1]]),
            path=match[4] or "/",
            service=service,
            is_inner=_LOOPBACK.fullmatch(match[2]) is not None,
            host=match[2],
            statuses=tuple(map(int, status if isinstance(status, list) else [status])),
        )


def _quoted(word: str) -> str:
    """One word of a shell's line that means nothing to it."""
    return "'" + word.replace("'", "'\\''") + "'"
