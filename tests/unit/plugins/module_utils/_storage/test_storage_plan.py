# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How
from ansible_collections.homelab.hybrid.plugins.module_utils._core.units import GIB
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.plan import plan_pool
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import Spec, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.state import Source, State
from tools import apply_cells

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
        (standing(users={"web": True, "db": False}), {"state": "stopped"}, "in use, and at work on it: web"),
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
        ({"source": "sdb"}, "source"),
        ({"type": "zfs"}, "type"),
        ({"allow": ["everything"]}, "allow"),
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


ON_BTRFS = State(is_registered=False, is_defined=False, file_system="btrfs")
ON_EXT4 = State(is_registered=False, is_defined=False, file_system="ext4")
BLANK = Source("/dev/sdb")
NEW_ON_SOURCE = {"type": "btrfs", "path": "/srv/main", "source": "/dev/sdb"}


def on_source(**changes):
    defaults = {
        "type": "btrfs",
        "source": "/dev/sdb",
        "found": BLANK._replace(holds="btrfs"),
        "is_mounted": True,
        "quota": "enforced",
    }
    return standing(**{**defaults, "owns_file_system": True, **changes})


def test_a_pool_of_btrfs_lies_on_btrfs():
    assert plan(ON_BTRFS, type="btrfs", path="/srv/main").refused == []
    (refused,) = plan(ON_EXT4, type="btrfs", path="/srv/main").refused
    assert "lies on ext4" in str(refused.reason) and "write source" in str(refused.reason)


def test_a_source_belongs_to_a_type_that_is_made_of_one():
    with pytest.raises(SpecError, match=r"source: a pool of type dir is a folder and has none\. Write type: btrfs"):
        plan(ABSENT, path="/srv/main", source="/dev/sdb")


@pytest.mark.parametrize(
    ("found", "allow", "needs"),
    [
        (BLANK, [], None),
        (BLANK._replace(holds="btrfs"), [], None),
        (BLANK._replace(holds="ext4"), [], "format"),
        (BLANK._replace(holds="gpt and PMBR"), [], "format"),
        (BLANK._replace(holds="data without a signature"), [], "format"),
        (BLANK._replace(holds="ext4"), ["format"], None),
        (BLANK._replace(holds="ext4", is_busy=True), ["format"], "nothing permits it"),
    ],
)
def test_what_a_source_holds_is_not_lost_without_permission(found, allow, needs):
    made = plan(ON_EXT4._replace(found=found), **NEW_ON_SOURCE, allow=allow)
    assert [change.permit for change in made.refused] == ([needs] if needs else [])
    assert made.has("source")


def test_a_formatting_that_was_interrupted_goes_on_without_permission():
    half = ON_EXT4._replace(
        found=BLANK._replace(holds="data without a signature"), is_building=True, is_formatting=True
    )
    assert plan(half, **NEW_ON_SOURCE).refused == []


def test_a_source_that_is_not_there_yet_is_assumed():
    assert plan(ON_EXT4, **NEW_ON_SOURCE).assumed == ["source /dev/sdb"]


def test_a_folder_with_content_is_not_hidden_under_a_mount():
    (refused,) = plan(ON_EXT4._replace(found=BLANK, content=2), **NEW_ON_SOURCE).refused
    assert "would hide" in str(refused.reason)


def test_quotas_that_hold_nothing_are_brought_back():
    assert steps(on_source(quota="inconsistent")) == [("quota", "inconsistent", "enforced")]
    assert steps(on_source(quota="disabled")) == [("quota", "disabled", "enforced")]
    assert steps(on_source()) == []
    assert steps(standing()) == []


def test_a_source_that_is_not_mounted_is_mounted_when_the_pool_starts():
    assert steps(on_source(is_active=False, is_mounted=False), state="started") == [("state", "stopped", "started")]
    assert steps(on_source(is_active=False, is_mounted=True), state="stopped") == [("state", "started", "stopped")]


@pytest.mark.parametrize(
    ("state", "params", "expected", "kept"),
    [
        (on_source(content=0), {}, [("state", "started", "absent"), ("source", "/dev/sdb", None)], []),
        (on_source(content=3), {}, [("state", "started", "absent")], ["/dev/sdb (3 entries)"]),
        (
            on_source(content=3),
            {"allow": ["delete_data"]},
            [("state", "started", "absent"), ("source", "/dev/sdb", None)],
            [],
        ),
        (
            on_source(content=3, owns_file_system=False),
            {"allow": ["delete_data"]},
            [("state", "started", "absent")],
            ["/dev/sdb (3 entries, not made by this collection)"],
        ),
        (
            on_source(is_registered=False, is_defined=False, is_mounted=False, content=None),
            {},
            [],
            ["/dev/sdb (not mounted)"],
        ),
        (
            on_source(is_registered=False, is_defined=False, is_mounted=False, content=None),
            {"allow": ["delete_data"]},
            [("source", "/dev/sdb", None)],
            [],
        ),
    ],
)
def test_what_becomes_of_a_source(state, params, expected, kept):
    assert steps(state, state="absent", **params) == expected
    assert plan(state, state="absent", **params).kept == kept


CELLS = [
    pytest.param(row, way, is_active, id=f"{row.path} {way} {'started' if is_active else 'stopped'}")
    for row in apply_cells.rows("storage_pool")
    for way in apply_cells.directions(row)
    for is_active in (True, False)
]


@pytest.mark.parametrize(("row", "way", "is_active"), CELLS)
def test_the_table_of_apply_paths_says_what_the_plan_answers(row, way, is_active):
    before, after = apply_cells.directions(row)[way]
    power = apply_cells.power_of("storage_pool", apply_cells.RUNNING if is_active else apply_cells.STOPPED)
    told, permit = apply_cells.outcome(row, before, after, power)
    there = standing(is_active=is_active, **{row.path: before})
    change = plan_pool(Spec("main", values={row.path: after}), there).get(row.path)
    assert change is not None and (change.how.value, permit) == (told, None)
