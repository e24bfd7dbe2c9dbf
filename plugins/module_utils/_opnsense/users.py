# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The users of an OPNsense, compared with those that it should have."""

from __future__ import annotations

import base64
import binascii
import typing as t
from xml.etree import ElementTree

from .._core.errors import SpecError
from .compare import MARK, Item, Request

Opens = t.Callable[[str, str], bool]

ROOT = "root"
KIND = "users"
PLACE = "auth/user"
# The group that may do everything, and by which ssh lets its members in.
ADMINS = "1999"
# Who has a key and no shell of his own gets one: without it the key opens nothing.
_SHELL = "/bin/sh"
_SECRET, _CHANGED = "(secret)", "(secret, changed)"


class Account(t.NamedTuple):
    """One user as it stands. *hashed* is what its password is kept as."""

    uuid: str
    description: str
    keys: list[str]
    groups: list[str]
    shell: str
    hashed: str


def accounts(root: ElementTree.Element, rows: t.Iterable[Item]) -> dict[str, Account]:
    """The users of the configuration *root* by their names, with what a search (*rows*) calls them."""
    known = {str(row.get("name")): str(row.get("uuid") or "") for row in rows}
    members: dict[str, list[str]] = {}
    for group in root.iterfind("system/group"):
        for node in group.iterfind("member"):
            for uid in (node.text or "").split(","):
                members.setdefault(uid, []).append(group.findtext("gid") or "")
    found = {}
    for node in root.iterfind("system/user"):
        name = node.findtext("name") or ""
        if uuid := known.get(name) or node.get("uuid"):
            found[name] = Account(
                uuid,
                node.findtext("descr") or "",
                _keys(_decoded(node.findtext("authorizedkeys") or "")),
                members.get(node.findtext("uid") or "", []),
                node.findtext("shell") or "",
                node.findtext("password") or "",
            )
    return found


def user_requests(
    wanted: t.Iterable[Item], passwords: t.Mapping[str, str], known: t.Mapping[str, Account], opens: Opens
) -> list[Request]:
    """What makes the users what is *wanted*: of each the words that it has, and its password where there is one.

    *opens* tells whether a password is that of a hash.

    :raises SpecError: for a name that somebody else has given.
    """
    wished = {str(item["name"]): item for item in wanted}
    planned = []
    for name, account in known.items():
        if name not in wished and name != ROOT and account.description.endswith(MARK):
            before = {"descr": account.description}
            planned.append(Request(KIND, f"{PLACE}/del/{account.uuid}", {}, f"{KIND}[{name}] goes", before, {}))
    for name, item in wished.items():
        if name not in known:
            planned.append(_made(name, item, passwords.get(name)))
            continue
        account = known[name]
        if name != ROOT and not account.description.endswith(MARK):
            raise SpecError(
                f"opnsense_users: OPNsense has a user {name} that this role did not make. Take another name, or take it away on its pages"
            )
        before, after = _changes(item, account)
        fields = dict(after)
        if name in passwords and not opens(passwords[name], account.hashed):
            before["password"], after["password"], fields["password"] = _SECRET, _CHANGED, passwords[name]
        if fields:
            says = f"{KIND}[{name}]: {', '.join(fields)}"
            body = {"user": {"name": name, **fields}}
            planned.append(Request(KIND, f"{PLACE}/set/{account.uuid}", body, says, before, after))
    return planned


def _made(name: str, item: Item, password: str | None) -> Request:
    keys = _keys(item.get("authorizedkeys") or "")
    fields = {
        "name": name,
        "descr": item.get("descr", ""),
        "authorizedkeys": "\n".join(keys),
        "group_memberships": ADMINS if item.get("is_admin") else "",
        "shell": _SHELL if keys else "",
    }
    shown = {key: value for key, value in fields.items() if value and key != "name"}
    if password is None:
        # One that nobody knows: OPNsense takes no user without.
        return Request(KIND, f"{PLACE}/add", {"user": {**fields, "scrambled_password": "1"}}, _says(name), {}, shown)
    body = {"user": {**fields, "password": password}}
    return Request(KIND, f"{PLACE}/add", body, _says(name), {}, {**shown, "password": _SECRET})


def _says(name: str) -> str:
    return f"{KIND}[{name}] is made"


def _changes(item: Item, account: Account) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The fields that differ, as they are and as they should be."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    if "descr" in item and item["descr"] != account.description:
        before["descr"], after["descr"] = account.description, item["descr"]
    if "authorizedkeys" in item and (keys := _keys(item["authorizedkeys"])) != account.keys:
        before["authorizedkeys"], after["authorizedkeys"] = "\n".join(account.keys), "\n".join(keys)
        if keys and not account.shell and item["name"] != ROOT:
            before["shell"], after["shell"] = "", _SHELL
    if "is_admin" in item and item["is_admin"] != (ADMINS in account.groups):
        groups = [group for group in account.groups if group != ADMINS] + ([ADMINS] if item["is_admin"] else [])
        before["group_memberships"], after["group_memberships"] = ",".join(account.groups), ",".join(groups)
    return before, after


def _keys(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        return ""
