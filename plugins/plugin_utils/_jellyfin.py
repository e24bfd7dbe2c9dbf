# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What Jellyfin is asked to change: the difference between what its API tells and what the inventory says."""

from __future__ import annotations

import typing as t
from urllib.parse import quote, urlencode

from ._api_requests import Document, Request, documents


class JellyfinError(ValueError):
    """What is declared cannot be had. The message says of which library or user."""


def requests(wanted: Document, found: Document) -> list[dict[str, t.Any]]:
    """The requests that make *found* what *wanted* says; none where it is so.

    *wanted* has ``settings``, ``encoding`` and ``network`` (keys of upstream), ``libraries`` (``name``, ``type``, ``paths``, ``state``), ``users``
    (``name``, ``administrator``, ``libraries``, ``policy``, ``state``) and ``passwords`` by name. *found* has the same keys as the API
    answers them, and ``refused``, the names of users whose password is another. What is not written is left alone.

    A library and a user are known by an id that they have once they are there: what needs the id of one that is made now is asked for
    when *found* has it. Raises JellyfinError.
    """
    asked = [
        *_settings("/System/Configuration", "the server", wanted.get("settings"), found["settings"]),
        *_settings("/System/Configuration/encoding", "transcoding", wanted.get("encoding"), found["encoding"]),
        *_settings("/System/Configuration/network", "the network", wanted.get("network"), found["network"]),
        *_libraries(wanted.get("libraries") or [], found["libraries"]),
        *_users(wanted, found),
    ]
    return documents(asked)


def _settings(path: str, of: str, wanted: Document | None, found: Document) -> t.Iterator[Request]:
    unknown = sorted(set(wanted or {}) - set(found))
    if unknown:
        raise JellyfinError(f"Jellyfin knows no setting {', '.join(unknown)} of {of}")
    differing = {key: value for key, value in (wanted or {}).items() if found[key] != value}
    if differing:
        # All of them are replaced by what is sent.
        told = ", ".join(f"{key} is {value!r}" for key, value in sorted(differing.items()))
        yield Request("POST", path, f"{of}: {told}", {**found, **differing})


def _libraries(wanted: t.Sequence[Document], found: t.Sequence[Document]) -> t.Iterator[Request]:
    standing = {library["Name"]: library for library in found}
    asked = [request for declared in wanted for request in _library(declared, standing.get(declared["name"]))]
    yield from asked
    if asked:
        yield Request("POST", "/Library/Refresh", "the libraries are read")


def _library(declared: Document, found: Document | None) -> t.Iterator[Request]:
    name, folders = declared["name"], "/Library/VirtualFolders"
    if declared.get("state") == "absent":
        if found is not None:
            yield Request("DELETE", _url(folders, name=name, refreshLibrary="false"), f"library {name}: removed")
        return
    kind, paths = declared.get("type") or "mixed", [path.rstrip("/") or "/" for path in declared.get("paths") or []]
    if found is None:
        body = {"LibraryOptions": {"PathInfos": [{"Path": path} for path in paths]}}
        path = _url(folders, name=name, collectionType=kind, refreshLibrary="false")
        yield Request("POST", path, f"library {name}: made, {kind} of {', '.join(paths)}", body)
        return
    standing = found.get("CollectionType") or "mixed"
    if standing != kind:
        raise JellyfinError(
            f"library {name} has the type {standing}, which cannot become {kind}: say `state: absent`, and declare it anew"
        )
    for path in paths:
        if path not in found["Locations"]:
            added = {"Name": name, "PathInfo": {"Path": path}}
            yield Request(
                "POST", _url(f"{folders}/Paths", refreshLibrary="false"), f"library {name}: with {path}", added
            )
    for path in found["Locations"]:
        if path not in paths:
            gone = _url(f"{folders}/Paths", name=name, path=path, refreshLibrary="false")
            yield Request("DELETE", gone, f"library {name}: without {path}")


def _users(wanted: Document, found: Document) -> t.Iterator[Request]:
    # Names of users are the same in upper and lower case.
    standing = {user["Name"].lower(): user for user in found["users"]}
    # One that was added while another was scanned has no id yet.
    ids = {library["Name"]: library["ItemId"] for library in found["libraries"] if library.get("ItemId")}
    declared = {library["name"] for library in wanted.get("libraries") or [] if library.get("state") != "absent"}
    for user in wanted.get("users") or []:
        name, its = user["name"], standing.get(user["name"].lower())
        unknown = sorted(
            set(user.get("libraries") or []) - declared - {library["Name"] for library in found["libraries"]}
        )
        if unknown:
            raise JellyfinError(f"user {name}: there is no library {', '.join(unknown)}")
        if user.get("state") == "absent":
            if its is not None:
                yield Request("DELETE", f"/Users/{its['Id']}", f"user {name}: removed")
        elif its is None:
            body = {"Name": name, "Password": (wanted.get("passwords") or {}).get(name)}
            yield Request("POST", "/Users/New", f"user {name}: made", body, secret=True)
        else:
            if name in found.get("refused", ()):
                path = _url("/Users/Password", userId=its["Id"])
                body = {"NewPw": (wanted.get("passwords") or {}).get(name)}
                yield Request("POST", path, f"user {name}: another password", body, secret=True)
            yield from _policy(user, its, ids)


def _policy(user: Document, found: Document, ids: Document) -> t.Iterator[Request]:
    wanted = dict(user.get("policy") or {})
    if user.get("administrator") is not None:
        wanted["IsAdministrator"] = user["administrator"]
    if user.get("libraries") is not None:
        if not set(user["libraries"]) <= ids.keys():
            return  # once they are there
        wanted["EnableAllFolders"] = False
        wanted["EnabledFolders"] = sorted(_plain(ids[name]) for name in user["libraries"])
    policy = {**found["Policy"], "EnabledFolders": sorted(map(_plain, found["Policy"].get("EnabledFolders") or []))}
    differing = {key: value for key, value in wanted.items() if policy.get(key) != value}
    if differing:
        told = (
            "its libraries"
            if set(differing) <= {"EnableAllFolders", "EnabledFolders"}
            else ", ".join(sorted(differing))
        )
        # The whole policy is replaced by what is sent.
        yield Request("POST", f"/Users/{found['Id']}/Policy", f"user {user['name']}: {told}", {**policy, **wanted})


def _plain(identity: str) -> str:
    """An id, which has dashes in some answers and none in others."""
    return identity.replace("-", "").lower()


def _url(place: str, /, **query: str) -> str:
    return f"{place}?{urlencode(query, quote_via=quote)}"
