# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring groups, lists, domains and clients into Pi-hole by its own API, and only what differs.

The input is JSON: ``url``, ``password``, whether to ``apply``, and the items by kind as the role has them. The output is JSON: ``changes``, each
a sentence, and ``errors``. It ends with 1 where Pi-hole does not answer.
"""

from __future__ import annotations

import json
import sys
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT_SECONDS = 30
# Lists are fetched, and their domains sorted, before the API answers.
GRAVITY_SECONDS = 1800
SEEN_SECONDS = 15
# Of a list: not yet fetched, and never fetched with success. One that was there once is used as it was then.
NEW, MISSING = 0, 4

Item = dict[str, t.Any]


class Refused(Exception):
    """What Pi-hole answered instead, in its own words."""


class Api:
    """A session, of which there are 16 at most: whoever opens one closes it."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.headers = {"Content-Type": "application/json"}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        session = json.loads(self.call("POST", "auth", {"password": password}))["session"]
        self.headers["X-FTL-SID"] = session["sid"]

    def call(self, method: str, path: str, body: t.Any = None, seconds: float = TIMEOUT_SECONDS) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", data, self.headers, method=method)
        try:
            with self.opener.open(request, timeout=seconds) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            try:
                told = json.loads(said)
                problem = told.get("error") or {}
                said = (
                    " ".join(filter(None, [problem.get("message"), problem.get("hint")])) or told["session"]["message"]
                )
            except (ValueError, KeyError, TypeError):
                pass
            raise Refused(f"{method} {path}: {error.code} {said}") from None

    def get(self, path: str, part: str) -> list[Item]:
        found: list[Item] = json.loads(self.call("GET", path))[part]
        return found


def place(kind: str, item: Item) -> str:
    """Where items of this kind are written to."""
    return f"domains/{item['type']}/{item['kind']}" if kind == "domains" else kind


def query(kind: str, item: Item) -> str:
    return f"?type={item['type']}" if kind == "lists" else ""


# By which keys an item is known, and the one of them that a request writes; groups first, which the others name.
KINDS: dict[str, tuple[str, ...]] = {
    "groups": ("name",),
    "lists": ("address", "type"),
    "domains": ("domain", "type", "kind"),
    "clients": ("client",),
}


def same(kind: str, one: Item, other: Item) -> bool:
    return all(str(one[key]).lower() == str(other[key]).lower() for key in KINDS[kind])


def body_of(kind: str, item: Item, there: Item | None, numbers: dict[str, int]) -> Item:
    """What is declared, and of the rest what is there: whatever a request leaves out is lost."""
    found = {key: there[key] for key in ("comment", "enabled", "groups") if key in there} if there else {}
    found.update({key: item[key] for key in ("comment", "enabled") if item.get(key) is not None})
    if item.get("groups") is not None:
        found["groups"] = sorted(numbers[name] for name in item["groups"])
    found["comment"] = found.get("comment") or ""
    return found


def differs(there: Item, body: Item) -> bool:
    is_now = {**there, "comment": there.get("comment") or "", "groups": sorted(there.get("groups") or [])}
    return any(is_now.get(key) != (sorted(value) if key == "groups" else value) for key, value in body.items())


def fill(api: Api, given: t.Mapping[str, t.Any]) -> tuple[list[str], list[str]]:
    changes: list[str] = []
    for kind, keys in KINDS.items():
        there = api.get(kind, kind)
        groups = api.get("groups", "groups")
        numbers = {group["name"]: group["id"] for group in groups}
        # In a check the groups that would be made have no number yet.
        numbers = {**{item["name"]: -1 for item in given["groups"]}, **numbers}
        for item in given[kind]:
            unknown = sorted(set(item.get("groups") or []) - numbers.keys())
            if unknown:
                return changes, [f"{item[keys[0]]}: there is no group {', '.join(unknown)}"]
            old = next((each for each in there if same(kind, each, item)), None)
            body = body_of(kind, item, old, numbers)
            if old is not None and not differs(old, body):
                continue
            changes.append(f"{kind}: {item[keys[0]]}")
            if not given["apply"]:
                continue
            if old is None:
                answer = api.call("POST", place(kind, item) + query(kind, item), {keys[0]: item[keys[0]], **body})
            else:
                name = urllib.parse.quote(str(old[keys[0]]), safe="")
                answer = api.call("PUT", f"{place(kind, old)}/{name}{query(kind, old)}", body)
            failed = (json.loads(answer).get("processed") or {}).get("errors") or []
            if failed:
                return changes, [f"{each['item']}: {each['error']}" for each in failed]
    return changes, fetch(api, given, changes)


def fetch(api: Api, given: t.Mapping[str, t.Any], changes: list[str]) -> list[str]:
    """Have the lists fetched where one is new or was never there, and say which cannot be."""

    def lacking() -> list[Item]:
        declared = [item for item in given["lists"] if item.get("enabled", True)]
        try:
            there = api.get("lists", "lists")
        except Refused:
            return declared
        return [
            each
            for each in there
            if each["status"] in (NEW, MISSING) and any(same("lists", each, item) for item in declared)
        ]

    if not any(change.startswith("lists: ") for change in changes) and lacking():
        changes.append("lists: fetched")
    if not given["apply"] or not any(change.startswith("lists: ") for change in changes):
        return []
    said = api.call("POST", "action/gravity", seconds=GRAVITY_SECONDS)
    # The database is a new file then. FTL looks each second whether it is (6.3), and tells what was in the old one until it has seen it.
    until = time.monotonic() + SEEN_SECONDS
    while missing := lacking():
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    addresses = ", ".join(each["address"] for each in missing)
    words = " ".join(said.split())[-400:]
    return [f"these lists cannot be fetched: {addresses}. Pi-hole says: {words}"] if addresses else []


def main() -> int:
    given = json.load(sys.stdin)
    try:
        api = Api(given["url"], given["password"])
        try:
            changes, errors = fill(api, given)
        finally:
            api.call("DELETE", "auth")
    except Refused as error:
        changes, errors = [], [str(error)]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{given['url']}: {error}\n")
        return 1
    json.dump({"changes": changes, "errors": errors}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
