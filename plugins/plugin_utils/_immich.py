# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What Immich is asked to change: the difference between what its API tells and what the inventory says."""

from __future__ import annotations

import typing as t

from ..module_utils._core.errors import HybridError
from ..module_utils._core.units import GIB, parse_size
from ._api_requests import Document, Request, documents


class ImmichError(ValueError):
    """What is declared cannot be had. The message says of which setting, user or library."""


def requests(wanted: Document, found: Document) -> list[dict[str, t.Any]]:
    """The requests that make *found* what *wanted* says; none where it is so.

    *wanted* has ``settings`` (keys of upstream, as deep as they are), ``users`` (``email``, ``name``, ``administrator``, ``quota``,
    ``storage_label``, ``state``), ``libraries`` (``name``, ``owner``, ``paths``, ``exclude``, ``state``), ``administrator``, whose libraries are
    those without an owner, and ``passwords`` by address. *found* has the first three as the API answers them, and ``is_second`` when
    they were read anew after requests. What is not written is left alone.

    A user and a library are known by an id that they have once they are there: what needs the id of one that is made now is asked for
    when *found* has it. Raises ImmichError.
    """
    asked = [
        *_settings(wanted.get("settings") or {}, found["settings"]),
        *_users(wanted, found),
        *_libraries(wanted, found),
    ]
    return documents(asked)


def _settings(wanted: Document, found: Document) -> t.Iterator[Request]:
    differing: list[str] = []
    merged = _laid(wanted, found, "", differing)
    if differing:
        # Immich takes its settings only whole.
        yield Request("PUT", "/system-config", f"settings: {', '.join(sorted(differing))}", merged, secret=True)


def _laid(wanted: Document, found: Document, above: str, differing: list[str]) -> dict[str, t.Any]:
    merged = dict(found)
    for key, value in wanted.items():
        where = f"{above}{key}"
        if key not in found:
            raise ImmichError(f"Immich knows no setting {where}")
        if isinstance(found[key], t.Mapping):
            if not isinstance(value, t.Mapping):
                raise ImmichError(f"the setting {where} of Immich has keys of its own: {', '.join(found[key])}")
            merged[key] = _laid(value, found[key], f"{where}.", differing)
        elif found[key] != value:
            merged[key] = value
            differing.append(where)
    return merged


def _users(wanted: Document, found: Document) -> t.Iterator[Request]:
    standing = {user["email"].lower(): user for user in found["users"]}
    for user in wanted.get("users") or []:
        email, its = user["email"], standing.get(user["email"].lower())
        is_deleted = its is not None and its.get("deletedAt") is not None
        if user.get("state") == "absent":
            if its is not None and not is_deleted:
                yield Request("DELETE", f"/admin/users/{its['id']}", f"user {email}: deleted", {"force": False})
            continue
        asked = _of_user(user)
        if its is None:
            body = {
                "name": email,
                **asked,
                "email": email,
                "password": (wanted.get("passwords") or {}).get(email),
                "shouldChangePassword": not user.get("password"),
            }
            yield Request("POST", "/admin/users", f"user {email}: made", body, secret=True)
            continue
        if is_deleted:
            # Until then Immich takes no change of it, nor another user with its address.
            yield Request("POST", f"/admin/users/{its['id']}/restore", f"user {email}: restored")
        differing = {key: value for key, value in asked.items() if its.get(key) != value}
        if differing:
            yield Request("PUT", f"/admin/users/{its['id']}", f"user {email}: {', '.join(differing)}", differing)


def _of_user(user: Document) -> dict[str, t.Any]:
    """What *user* says, by the names of upstream."""
    asked: dict[str, t.Any] = {}
    if user.get("name") is not None:
        asked["name"] = user["name"]
    if user.get("administrator") is not None:
        asked["isAdmin"] = user["administrator"]
    if user.get("storage_label") is not None:
        asked["storageLabel"] = user["storage_label"]
    if user.get("quota") is not None:
        try:
            asked["quotaSizeInBytes"] = parse_size("quota", user["quota"], unit=GIB)
        except HybridError as exc:
            raise ImmichError(f"user {user['email']}: {exc}") from None
    return asked


def _libraries(wanted: Document, found: Document) -> t.Iterator[Request]:
    ids = {user["email"].lower(): user["id"] for user in found["users"]}
    made = {user["email"].lower() for user in wanted.get("users") or [] if user.get("state") != "absent"}
    standing = {(library["ownerId"], library["name"]): library for library in found["libraries"]}
    for library in wanted.get("libraries") or []:
        name, owner = library["name"], (library.get("owner") or wanted["administrator"]).lower()
        is_absent = library.get("state") == "absent"
        if owner not in ids:
            if not is_absent and owner not in made:
                raise ImmichError(f"library {name}: there is no user {owner}")
            continue  # once the user is there
        its = standing.get((ids[owner], name))
        if is_absent:
            if its is not None:
                yield Request("DELETE", f"/libraries/{its['id']}", f"library {name}: removed")
            continue
        asked: dict[str, t.Any] = {"importPaths": [path.rstrip("/") or "/" for path in library.get("paths") or []]}
        if library.get("exclude") is not None:
            asked["exclusionPatterns"] = list(library["exclude"])
        if its is None:
            body = {"ownerId": ids[owner], "name": name, **asked}
            yield Request("POST", "/libraries", f"library {name}: made, of {', '.join(asked['importPaths'])}", body)
            continue
        differing = {key: value for key, value in asked.items() if sorted(its.get(key) or []) != sorted(value)}
        if differing:
            yield Request("PUT", f"/libraries/{its['id']}", f"library {name}: {', '.join(differing)}", differing)
        if differing or (found.get("is_second") and its.get("refreshedAt") is None):
            yield Request("POST", f"/libraries/{its['id']}/scan", f"library {name}: read")
