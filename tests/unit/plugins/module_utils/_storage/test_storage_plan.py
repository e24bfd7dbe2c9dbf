# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How
from ansible_collections.homelab.hybrid.plugins.module_utils._core.units import GIB
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.observe import State
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.plan import plan_pool
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import parse

ABSENT = State(is_registered=False, is_defined=False)


def standing(**changes):
    defaults = {
        "is_registered": True,
        "is_defined": True,
        "is_active": True,
        "type": "dir",
        "path": "/srv/main",
        "autostart": True,
        "content": 3,
        "owns_folder": True,
        "capacity": 100 * GIB,
        "available": 50 * GIB,
    }
    return State(**{**defaults, **changes})


def plan(actual, **params):
    return plan_pool(parse({"name": "main", **params}), actual)


def steps(actual, **params):
    return [(change.path, change.before, change.after) for change in plan(actual, **params).changes]


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (standing(), {}, []),
        (standing(), {"path": "/srv/main/", "type": "dir", "autostart": True}, []),
        (standing(), {"autostart": False}, [("autostart", True, False)]),
        (standing(), {"warn_free": "10%"}, [("warn_free", None, "10%")]),
        (standing(warn_free="10%"), {"warn_free": "20G"}, [("warn_free", "10%", "20GiB")]),
        (standing(warn_free=20 * GIB), {"warn_free": "20"}, []),
        (standing(warn_free="10%"), {"unset": ["warn_free"]}, [("warn_free", "10%", None)]),
        (standing(), {"unset": ["warn_free"]}, []),
        (standing(), {"state": "stopped"}, [("state", "started", "stopped")]),
        (standing(is_active=False), {"state": "started"}, [("state", "stopped", "started")]),
        (standing(is_active=False), {}, []),
        (standing(users={"web": False}), {"state": "stopped"}, [("state", "started", "stopped")]),
        (standing(), {"state": "absent"}, [("state", "started", "absent")]),
        (standing(content=0), {"state": "absent"}, [("state", "started", "absent"), ("path", "/srv/main", None)]),
        (standing(content=0, owns_folder=False), {"state": "absent"}, [("state", "started", "absent")]),
        (
            standing(is_active=False),
            {"state": "absent", "allow": ["delete_data"]},
            [("state", "stopped", "absent"), ("path", "/srv/main", None)],
        ),
        (standing(owns_folder=False), {"state": "absent", "allow": ["delete_data"]}, [("state", "started", "absent")]),
        (ABSENT, {"state": "absent"}, []),
    ],
)
def test_the_plan_from_a_state(state, params, expected):
    assert steps(state, **params) == expected


def test_a_new_pool_is_a_started_folder_that_starts_with_the_host():
    assert steps(ABSENT, path="/srv/main") == [
        ("state", "absent", "started"),
        ("type", None, "dir"),
        ("path", None, "/srv/main"),
        ("autostart", None, True),
    ]


def test_a_pool_whose_making_was_interrupted_is_made_again():
    half = standing(is_defined=False, is_building=True)
    assert [path for path, dummy, dummy in steps(half, path="/srv/main")] == ["state", "type", "path", "autostart"]
    assert steps(half, state="absent")[0] == ("state", "started", "absent")


def test_a_new_pool_needs_a_path():
    with pytest.raises(SpecError, match="path: is needed"):
        plan(ABSENT)


@pytest.mark.parametrize(
    ("state", "params", "says"),
    [
        (standing(), {"path": "/srv/other"}, "Give it another name"),
        (standing(type="logical"), {"type": "dir"}, "Give it another name"),
        (standing(users={"web": True, "db": False}), {"state": "stopped"}, "in use by running guests: web"),
        (standing(users={"web": True, "db": False}), {"state": "absent"}, "in use by db, web"),
        (
            standing(content=1, mounts=("/srv/main/nfs",)),
            {"state": "absent", "allow": ["delete_data"]},
            "/srv/main/nfs is mounted",
        ),
        (
            standing(is_registered=False, is_defined=False, users={"web": False}),
            {"state": "absent", "allow": ["delete_data"]},
            "in use by web",
        ),
    ],
)
def test_what_nothing_permits(state, params, says):
    refused = plan(state, **params).refused
    assert [change.how for change in refused] == [How.REFUSED]
    assert says in str(refused[0].reason)


def test_content_that_stays_is_named():
    assert plan(standing(), state="absent").kept == ["/srv/main (3 entries)"]
    assert plan(standing(content=1, owns_folder=False), state="absent").kept == [
        "/srv/main (1 entry, not made by this collection)"
    ]
    assert plan(standing(is_registered=False, is_defined=False), state="absent").kept == ["/srv/main (3 entries)"]


@pytest.mark.parametrize(
    ("state", "params", "warns"),
    [
        (standing(), {"warn_free": "51%"}, True),
        (standing(), {"warn_free": "50%"}, False),
        (standing(), {"warn_free": "51G"}, True),
        (standing(warn_free="60%"), {}, True),
        (standing(warn_free="60%", available=None, capacity=None), {}, False),
        (standing(), {}, False),
    ],
)
def test_a_pool_that_gets_full_warns(state, params, warns):
    assert bool(plan(state, **params).warnings) is warns


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"name": "../etc"}, "name"),
        ({"path": "relative"}, "path"),
        ({"path": "/"}, "path"),
        ({"warn_free": "100%"}, "warn_free"),
        ({"warn_free": "10 GB"}, "warn_free"),
        ({"unset": ["path"]}, "unset"),
        ({"unset": ["warn_free"], "warn_free": "1G"}, "unset"),
    ],
)
def test_bad_input_names_its_key(params, key):
    with pytest.raises(SpecError) as caught:
        parse({"name": "main", **params})
    assert caught.value.message.startswith(key)
