# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Immich is asked to change is what differs, and nothing else."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._immich import ImmichError, requests

ADMIN = {"id": "1", "email": "admin@home.arpa", "name": "admin", "isAdmin": True, "deletedAt": None}
ALICE = {
    "id": "2",
    "email": "alice@home.arpa",
    "name": "Alice",
    "isAdmin": False,
    "quotaSizeInBytes": None,
    "deletedAt": None,
}
BOB = {"id": "3", "email": "bob@home.arpa", "name": "Bob", "deletedAt": "2026-11-01T00:00:00Z"}
SCANS = {
    "id": "7",
    "ownerId": "1",
    "name": "Scans",
    "importPaths": ["/media/scans"],
    "exclusionPatterns": [],
    "refreshedAt": None,
}
FOUND: dict[str, t.Any] = {
    "settings": {"trash": {"days": 30, "enabled": True}, "machineLearning": {"urls": ["a"], "enabled": True}},
    "users": [ADMIN, ALICE, BOB],
    "libraries": [SCANS],
}


def answers(**wanted: t.Any) -> list[dict[str, t.Any]]:
    return requests({"administrator": "admin@home.arpa", **wanted}, FOUND)


def ask(**wanted: t.Any) -> list[str]:
    return [f"{request['method']} {request['path']}" for request in answers(**wanted)]


def test_what_is_as_it_should_be_is_not_asked_for() -> None:
    users = [{"email": "Alice@home.arpa", "name": "Alice", "administrator": False}]
    libraries = [{"name": "Scans", "paths": ["/media/scans/"]}]
    assert ask(settings={"trash": {"days": 30}}, users=users, libraries=libraries) == []
    assert ask(settings={}, users=[{"email": "alice@home.arpa"}]) == []


def test_settings_are_sent_whole_with_what_differs() -> None:
    (request,) = answers(settings={"trash": {"days": 60}, "machineLearning": {"enabled": True}})
    assert (request["method"], request["path"]) == ("PUT", "/system-config")
    assert request["body"] == {**FOUND["settings"], "trash": {"days": 60, "enabled": True}}
    assert request["says"] == "settings: trash.days"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trash": {"day": 1}}, "no setting trash.day"),
        ({"trash": 3}, "trash of Immich has keys of its own: days, enabled"),
    ],
)
def test_a_setting_that_is_none_is_refused(settings: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ImmichError, match=said):
        ask(settings=settings)


def test_a_user_is_made_with_a_password_that_must_be_changed_unless_it_was_given() -> None:
    (made,) = answers(users=[{"email": "eve@home.arpa", "quota": "2GiB"}], passwords={"eve@home.arpa": "x"})
    assert made["secret"] and made["body"] == {
        "name": "eve@home.arpa",
        "quotaSizeInBytes": 2 << 30,
        "email": "eve@home.arpa",
        "password": "x",
        "shouldChangePassword": True,
    }
    (given,) = answers(users=[{"email": "eve@home.arpa", "password": "y"}], passwords={"eve@home.arpa": "y"})
    assert not given["body"]["shouldChangePassword"]


def test_a_user_is_changed_deleted_and_restored() -> None:
    (changed,) = answers(users=[{"email": "alice@home.arpa", "quota": "1GiB", "name": "Alice"}])
    assert (changed["path"], changed["body"]) == ("/admin/users/2", {"quotaSizeInBytes": 1 << 30})
    gone = [{"email": "alice@home.arpa", "state": "absent"}, {"email": "bob@home.arpa", "state": "absent"}]
    assert ask(users=gone) == ["DELETE /admin/users/2"], "one that was deleted is not deleted again"
    assert ask(users=[{"email": "bob@home.arpa"}]) == ["POST /admin/users/3/restore"]


def test_what_is_no_size_is_refused_with_its_user() -> None:
    with pytest.raises(ImmichError, match=r"user alice@home\.arpa: quota"):
        ask(users=[{"email": "alice@home.arpa", "quota": "much"}])


def test_a_library_is_known_by_its_owner_and_name() -> None:
    assert ask(libraries=[{"name": "Scans", "owner": "alice@home.arpa"}]) == ["POST /libraries"]
    other = [{"name": "Scans", "paths": ["/media/other"], "exclude": ["**/raw/**"]}]
    assert ask(libraries=other) == ["PUT /libraries/7", "POST /libraries/7/scan"]
    assert ask(libraries=[{"name": "Scans", "state": "absent"}]) == ["DELETE /libraries/7"]
    assert ask(libraries=[{"name": "None", "state": "absent"}]) == []


def test_a_library_waits_for_its_owner_and_is_read_once_it_was_made() -> None:
    eve = {"users": [{"email": "eve@home.arpa"}], "libraries": [{"name": "Hers", "owner": "Eve@home.arpa"}]}
    assert ask(**eve) == ["POST /admin/users"]
    second = {**FOUND, "is_second": True}
    scans = {"administrator": "admin@home.arpa", "libraries": [{"name": "Scans", "paths": ["/media/scans"]}]}
    assert [request["path"] for request in requests(scans, second)] == ["/libraries/7/scan"]


def test_a_library_of_nobody_is_refused() -> None:
    with pytest.raises(ImmichError, match=r"no user eve@home\.arpa"):
        ask(libraries=[{"name": "Hers", "owner": "eve@home.arpa"}])
