# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to do on a mount of the host, and what is refused before anything is written."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.plan import plan_mount
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.state import State

NFS = {"type": "nfs", "source": "nas:/tank"}
CIFS = {"type": "cifs", "source": "//nas/films", "username": "anna", "password": "correct horse"}
OFF = {"options": (), "username": "", "password": "", "domain": "", "wait_for_guest": "", "wait_timeout": 300}


def plan(now: State, /, **params: t.Any) -> Plan:
    return plan_mount(parse({"path": "/srv/media", **params}), now)


def standing(**changes: t.Any) -> State:
    values = {**OFF, **NFS, **changes.pop("values", {})}
    return State(exists=True, is_whole=True, values=values).replace(**changes)


def changes(now: State, /, **params: t.Any) -> list[tuple[str, t.Any, t.Any]]:
    return [(change.path, *change.shown()) for change in plan(now, **params).changes]


def refusal(now: State, /, **params: t.Any) -> str:
    (change,) = plan(now, **params).refused
    return str(change.reason)


def test_a_new_mount_has_what_was_written_and_what_it_waits() -> None:
    assert changes(State(), **NFS, wait_for_guest="nas") == [
        ("state", "absent", "present"),
        ("type", None, "nfs"),
        ("source", None, "nas:/tank"),
        ("wait_for_guest", None, "nas"),
        ("wait_timeout", None, 300),
    ]


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (standing(), NFS, []),
        (standing(values={"options": ("ro",)}), NFS, []),
        (standing(), {"options": ["ro"]}, [("options", [], ["ro"])]),
        (standing(values={"options": ("ro",)}), {"options": []}, [("options", ["ro"], [])]),
        (standing(values={"options": ("ro",)}), {"unset": ["options"]}, [("options", ["ro"], [])]),
        (standing(), {"wait_for_guest": "nas"}, [("wait_for_guest", None, "nas")]),
        (standing(is_whole=False), NFS, [("units", "not as they were written", "as they were written")]),
        (standing(), {"state": "absent"}, [("state", "present", "absent")]),
        (State(), {"state": "absent"}, []),
        (State(is_building=True), {"state": "absent"}, [("state", "building", "absent")]),
    ],
)
def test_only_what_was_written_is_compared(state: State, params: dict[str, t.Any], expected: list[t.Any]) -> None:
    assert changes(state, **params) == expected


def test_a_password_is_compared_and_never_shown() -> None:
    state = standing(values=CIFS)
    assert changes(state, **CIFS) == []
    assert changes(state, **{**CIFS, "password": "battery staple"}) == [("password", "(secret)", "(secret, changed)")]


def test_what_guests_stand_on_is_neither_mounted_anew_nor_taken_away() -> None:
    state = standing(users=("films", "music"))
    assert refusal(state, source="nas:/other") == (
        "source: /srv/media is mounted anew for that, and films, music stand on it. Stop it first"
    )
    assert refusal(state, state="absent") == "state: films, music stand on what is mounted at /srv/media"
    # Who it waits for is nothing that is mounted.
    assert changes(state, wait_for_guest="nas") == [("wait_for_guest", None, "nas")]


def test_a_kernel_without_the_client_is_said_and_left_out_only_where_that_was_told() -> None:
    bare = State(has_client=False)
    assert "no client of nfs" in refusal(bare, **NFS)
    told = plan(bare, **NFS, without_client="leave_out")
    assert told.changes == [] and told.warnings == [
        "the kernel of this host has no client of nfs, so nothing can be mounted at /srv/media. It is left out"
    ]


def test_what_lies_at_the_path_already_is_refused_with_its_line() -> None:
    made = plan(State(obstacle="/etc/fstab has a line for it already: 'nas:/x /srv/media nfs'. Take that out"), **NFS)
    (change,) = made.changes
    assert change.how is How.REFUSED and change.reason is not None
    assert change.reason.startswith("path: /etc/fstab has a line for it already: 'nas:/x /srv/media nfs'")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"type": "nfs"}, "source: is needed"),
        ({"source": "nas:/tank"}, "type: is needed"),
        ({"type": "nfs", "source": "//nas/films"}, "which is HOST:/FOLDER"),
        ({"type": "cifs", "source": "nas:/tank"}, "which is //HOST/SHARE"),
        ({"type": "nfs", "source": "tank"}, "HOST:/FOLDER of NFS"),
        ({**NFS, "username": "anna", "password": "correct horse"}, "NFS asks for no name and password"),
        ({**CIFS, "password": None}, "password: goes with username"),
        ({**CIFS, "password": "short"}, "password"),
        ({**CIFS, "options": ["password=secret"]}, "password stands where everybody can read it"),
        ({**NFS, "options": ["a b"]}, "without blanks and commas"),
        ({**NFS, "options": ["ro,hard"]}, "without blanks and commas"),
        ({**NFS, "options": ["hard"], "wait_for_guest": "nas"}, "hard waits for ever for nas"),
        ({**NFS, "path": "/"}, "path"),
        ({**NFS, "path": "/srv/../etc"}, "path"),
    ],
)
def test_what_does_not_go_together_is_refused(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(SpecError, match=words.replace("(", r"\(")):
        plan(State(), **params)
