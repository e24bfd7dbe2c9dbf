# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Who is told what happens on a host: the mother of the options of its targets."""

from __future__ import annotations

import typing as t

from .._core.declared import check_secret
from .._core.errors import SpecError, bad_value
from .._core.options import (
    DEFINITION,
    ITEM_NAME,
    LINE,
    NAME,
    SECRET,
    Check,
    Item,
    Option,
    Options,
    as_written,
    each,
    listed,
    matching,
    number,
)

MAIL, NTFY, WEBHOOK = "mail", "ntfy", "webhook"
TYPES = (MAIL, NTFY, WEBHOOK)
FAILURE, SUCCESS, UPDATES = "failure", "success", "updates"
STARTTLS, TLS, CLEAR = "starttls", "tls", "none"
SECURITY = (STARTTLS, TLS, CLEAR)
PORTS = {STARTTLS: 587, TLS: 465, CLEAR: 25}
TARGETS = "targets"
ALERTS = "alerts"
METRICS = "metrics"
# By their type what a target needs, and what it may have besides.
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    MAIL: (("to",), ("from", "server", "port", "security", "username", "password")),
    NTFY: (("url", "topic"), ("token",)),
    WEBHOOK: (("url",), ("headers",)),
}
_OF_SERVER = ("port", "security", "username", "password")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAIL = matching(r"[^\s@<>,;]+@[^\s@<>,;]+", "an address such as root@example.net", ("a@example.net", "b@example.net"))
_HOST = matching(r"[A-Za-z0-9._:-]+", "a host name or an address", ("mail.example.net", "192.0.2.5"))
_TOPIC = matching(r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, '_' and '-'", ("alerts", "backups"))
_ON = "failure, success, updates"


def _parse_on(key: str, value: t.Any) -> str:
    if value not in (FAILURE, SUCCESS, UPDATES):
        raise bad_value(key, value, _ON)
    return str(value)


def _parse_url(key: str, value: t.Any) -> t.Any:
    text = check_secret(key, value)
    if text is not None and (not text.startswith(("http://", "https://")) or len(text.split()) != 1):
        raise SpecError(f"{key}: an address that begins with http:// or https:// is allowed", key=key)
    return text


def headers_of(text: str) -> dict[str, str]:
    """The headers that *text* has, one a line as ``Name: value``.

    :raises ValueError: for a line that is none.
    """
    found = {}
    for line in filter(str.strip, text.splitlines()):
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").isalnum() or not value.strip():
            raise ValueError("a line is no header")
        found[name.strip()] = value.strip()
    return found


def _parse_headers(key: str, value: t.Any) -> t.Any:
    text = check_secret(key, value)
    try:
        headers_of(text or "")
    except ValueError:
        raise SpecError(f"{key}: lines such as 'Authorization: Bearer 12345678' are allowed", key=key) from None
    return text


_SAMPLES = ("https://example.net/one", "https://example.net/two")


def _row(path: str, type: str = "str", *arguments: t.Any, **more: t.Any) -> Option:
    return Option(path, type, *arguments, home=DEFINITION, live=as_written, **more)


OPTIONS = Options(
    _row(METRICS, "bool"),
    _row("alerts[]", "item", NAME),
    _row("targets[]", "item", ITEM_NAME),
    _row("targets[].type", choices=TYPES),
    _row(
        "targets[].on",
        "list",
        each(Check(_parse_on, _ON, (FAILURE, UPDATES)), sorts=True),
        show=listed,
        create=(FAILURE,),
    ),
    _row("targets[].to", "list", each(_MAIL, sorts=True), show=listed),
    _row("targets[].from", check=_MAIL),
    _row("targets[].server", check=_HOST),
    _row("targets[].port", "int", number(1, 65535)),
    _row("targets[].security", choices=SECURITY),
    _row("targets[].username", check=LINE),
    _row("targets[].password", check=SECRET, secret=True),
    _row(
        "targets[].url",
        check=Check(_parse_url, "an address that begins with http:// or https://", _SAMPLES),
        secret=True,
    ),
    _row("targets[].topic", check=_TOPIC),
    _row("targets[].token", check=SECRET, secret=True),
    _row(
        "targets[].headers",
        check=Check(_parse_headers, "lines such as 'Name: value'", ("X-Token: 12345678", "X-Token: 87654321")),
        secret=True,
    ),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
SECRETS = ("password", "url", "token", "headers")


class Spec(t.NamedTuple):
    """The *targets* that were written, each with all that it is, and the guests whose *alerts* they are told; one that shall go is not wanted.

    *measures* says whether the host measures itself, ``None`` where that was not written.
    """

    targets: tuple[Item, ...] = ()
    alerts: tuple[Item, ...] = ()
    measures: bool | None = None


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """What is declared, from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse(params)
    items = declared.items.get(TARGETS, ())
    found = tuple(OPTIONS.created_item(TARGETS, its) if its.is_wanted else its for its in items)
    for its in found:
        if its.is_wanted:
            _check(its)
    return Spec(found, declared.items.get(ALERTS, ()), declared.values.get(METRICS))


def _check(its: Item) -> None:
    place = f"{TARGETS}[{its.name}]"

    def refuse(key: str, why: str) -> SpecError:
        return SpecError(f"{place}.{key}: {why}", key=f"{place}.{key}")

    kind = its.text("type")
    if kind is None:
        raise refuse("type", f"is needed, one of {', '.join(TYPES)}")
    needed, others = _NEEDS[kind]
    for key in needed:
        if not its.get(key):
            raise refuse(key, f"is needed of the type {kind}")
    if not its.get("on"):
        raise refuse("on", "says nothing. Name failure, success or both, or take the target away (state: absent)")
    for key in its.values:
        if key not in ("type", "on", *needed, *others):
            raise refuse(key, f"is nothing of the type {kind}")
    for key in _OF_SERVER:
        if its.get(key) is not None and its.get("server") is None:
            raise refuse(key, "goes with server. Without a server the sendmail of the host sends")
    if bool(its.get("username")) != bool(its.get("password")):
        raise refuse("password", "goes with username. Write both")
    if its.get("password") and its.get("security") == CLEAR and its.get("server") not in _LOOPBACK:
        raise refuse("security", "none would send the password for everybody to read. Write starttls or tls")
