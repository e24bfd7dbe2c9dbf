# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Jellyfin is asked to change is what differs, and nothing else."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._jellyfin import JellyfinError, requests

FILMS = {"Name": "Films", "CollectionType": "movies", "Locations": ["/media/films"], "ItemId": "0a0b"}
MIXED = {"Name": "All", "Locations": ["/media"], "ItemId": "0c0d"}
ALICE = {
    "Name": "Alice",
    "Id": "11",
    "Policy": {"IsAdministrator": False, "EnableAllFolders": False, "EnabledFolders": ["0A-0B"], "Provider": "x"},
}
FOUND: dict[str, t.Any] = {
    "settings": {"ServerName": "old", "UICulture": "en-US"},
    "encoding": {"HardwareAccelerationType": "none"},
    "network": {"KnownProxies": []},
    "libraries": [FILMS, MIXED],
    "users": [ALICE],
}


def ask(**wanted: t.Any) -> list[str]:
    return [f"{request['method']} {request['path']}" for request in requests(wanted, FOUND)]


def test_what_is_as_it_should_be_is_not_asked_for() -> None:
    libraries = [{"name": "Films", "type": "movies", "paths": ["/media/films/"]}, {"name": "All", "paths": ["/media"]}]
    users = [{"name": "alice", "libraries": ["Films"], "administrator": False}]
    assert ask(settings={"ServerName": "old"}, network={"KnownProxies": []}, libraries=libraries, users=users) == []


def test_what_is_not_written_is_left_alone() -> None:
    assert ask(libraries=[], users=[{"name": "alice"}], settings={}) == []


def test_settings_are_sent_whole_with_what_differs() -> None:
    (request,) = requests({"settings": {"ServerName": "new"}}, FOUND)
    assert request["path"] == "/System/Configuration"
    assert request["body"] == {"ServerName": "new", "UICulture": "en-US"}
    assert "ServerName is 'new'" in request["says"]


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(JellyfinError, match="no setting ServerNam of the server"):
        ask(settings={"ServerNam": "x"})


def test_a_library_is_made_changed_and_removed_by_its_name() -> None:
    made = ask(libraries=[{"name": "TV shows", "type": "tvshows", "paths": ["/media/tv"]}])
    assert made[0] == "POST /Library/VirtualFolders?name=TV%20shows&collectionType=tvshows&refreshLibrary=false"
    assert made[1:] == ["POST /Library/Refresh"]
    changed = ask(libraries=[{"name": "Films", "type": "movies", "paths": ["/media/b c"]}])
    assert changed[:2] == [
        "POST /Library/VirtualFolders/Paths?refreshLibrary=false",
        "DELETE /Library/VirtualFolders/Paths?name=Films&path=%2Fmedia%2Ffilms&refreshLibrary=false",
    ]
    assert ask(libraries=[{"name": "Films", "state": "absent"}])[0].startswith(
        "DELETE /Library/VirtualFolders?name=Films"
    )
    assert ask(libraries=[{"name": "None", "state": "absent"}]) == []


def test_the_type_of_a_library_cannot_change() -> None:
    with pytest.raises(JellyfinError, match="library Films has the type movies, which cannot become music"):
        ask(libraries=[{"name": "Films", "type": "music", "paths": ["/media/films"]}])


def test_a_user_is_made_with_a_secret_and_gets_rights_once_there() -> None:
    wanted = {"users": [{"name": "bob", "libraries": ["Films"]}], "passwords": {"bob": "b"}}
    (made,) = requests(wanted, FOUND)
    assert (made["path"], made["body"], made["secret"]) == ("/Users/New", {"Name": "bob", "Password": "b"}, True)
    bob = {**ALICE, "Name": "bob", "Id": "22", "Policy": {**ALICE["Policy"], "EnableAllFolders": True}}
    (right,) = requests(wanted, {**FOUND, "users": [bob]})
    assert right["path"] == "/Users/22/Policy"
    assert right["body"] == {**bob["Policy"], "EnableAllFolders": False, "EnabledFolders": ["0a0b"]}


def test_rights_in_a_library_that_is_made_now_wait_for_its_id() -> None:
    wanted = {"libraries": [{"name": "New", "paths": ["/n"]}], "users": [{"name": "alice", "libraries": ["New"]}]}
    assert not [each for each in ask(**wanted) if "Policy" in each]
    without = {**FOUND, "libraries": [FILMS, {**MIXED, "ItemId": None}]}
    assert requests({"users": [{"name": "alice", "libraries": ["All"]}]}, without) == []


def test_a_library_that_nobody_has_is_refused() -> None:
    with pytest.raises(JellyfinError, match="user alice: there is no library Filme"):
        ask(users=[{"name": "alice", "libraries": ["Filme"]}])


def test_a_password_that_was_refused_is_set() -> None:
    wanted = {"users": [{"name": "Alice"}], "passwords": {"Alice": "a"}}
    (request,) = requests(wanted, {**FOUND, "refused": ["Alice"]})
    assert (request["path"], request["body"], request["secret"]) == ("/Users/Password?userId=11", {"NewPw": "a"}, True)
    assert "a" not in request["says"].split()


def test_a_user_is_removed() -> None:
    assert ask(users=[{"name": "alice", "state": "absent"}, {"name": "none", "state": "absent"}]) == [
        "DELETE /Users/11"
    ]
