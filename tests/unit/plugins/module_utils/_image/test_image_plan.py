# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import CREATION
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How
from ansible_collections.homelab.hybrid.plugins.module_utils._image.plan import plan_image, stale_paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image.presets import Presets
from ansible_collections.homelab.hybrid.plugins.module_utils._image.spec import Spec, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._image.state import SourceFile, State, StoredImage
from tools import apply_cells

TRIXIE = {"kind": "container", "build": {"suite": "trixie"}}
SOURCE = SourceFile("/srv/root.tar.xz", "xz", 1000, 1, "path: '/srv/root.tar.xz'")
STORED = StoredImage("debian", "container", "tar.zst", "/store/debian/root.tar.zst", 1000, "sha256:aa")
ABSENT = State()


def built(suite="trixie", packages=(), firmware=None, **changes):
    origin = {"build": {"suite": suite, "packages": list(packages), "firmware": firmware}}
    return State(image=STORED, origin=origin, is_recorded=True, **changes)


def copied(**changes):
    origin = {"path": "/srv/root.tar.xz", "digest": "sha256:bb"}
    return State(image=STORED, origin=origin, is_recorded=True, **changes)


def plan(actual, **params):
    return plan_image(parse({"name": "debian", **params}), actual)


def steps(actual, **params):
    return [(change.path, change.before, change.after) for change in plan(actual, **params).changes]


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (
            ABSENT,
            TRIXIE,
            [("state", "absent", "present"), ("kind", None, "container"), ("build.suite", None, "trixie")],
        ),
        (
            ABSENT,
            {"kind": "vm", "build": {"suite": "bookworm", "packages": ["vim", "git", "vim"]}},
            [
                ("state", "absent", "present"),
                ("kind", None, "vm"),
                ("build.suite", None, "bookworm"),
                ("build.packages", None, ["git", "vim"]),
                ("build.firmware", None, "bios"),
            ],
        ),
        (
            State(source=SOURCE),
            {"kind": "container", "path": "/srv//root.tar.xz"},
            [("state", "absent", "present"), ("kind", None, "container"), ("path", None, "/srv/root.tar.xz")],
        ),
        (built(), TRIXIE, []),
        (built(), {}, []),
        (built(), {"kind": "container", "build": {"suite": "bookworm", "packages": ["git"]}}, []),
        (ABSENT, {"state": "absent"}, []),
        (built(), {"state": "absent"}, [("state", "present", "absent")]),
        (State(is_recorded=True), {"state": "absent"}, [("state", "building", "absent")]),
        (State(is_foreign=True), {"state": "absent"}, []),
    ],
)
def test_the_plan(state, params, expected):
    assert steps(state, **params) == expected
    assert {change.how for change in plan(state, **params).changes} <= {How.LIVE}


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (built(), TRIXIE, []),
        (built(), {}, []),
        (built(), {"build": {"suite": "bookworm"}}, ["build.suite"]),
        (built(packages=["git"]), TRIXIE, []),
        (built(packages=["git"]), {"build": {"suite": "trixie", "packages": []}}, ["build.packages"]),
        (built(packages=["git", "vim"]), {"build": {"suite": "trixie", "packages": ["vim", "git"]}}, []),
        (built(firmware="bios"), {"build": {"suite": "trixie", "firmware": "bios"}}, []),
        (built(), {"path": "/srv/root.tar.xz"}, ["path"]),
        (copied(), TRIXIE, ["build"]),
        (copied(source=SOURCE, is_same_source=True), {"path": "/srv/root.tar.xz"}, []),
        (copied(source=SOURCE, is_same_source=False), {"path": "/srv/root.tar.xz"}, ["path"]),
        (copied(), {"path": "/srv/root.tar.xz"}, []),
        (copied(), {"path": "/srv/gone.tar.xz"}, ["path"]),
        (copied(source=SOURCE, is_same_source=True), {"path": "/srv/moved.tar.xz"}, []),
        (
            copied(source=SOURCE, is_same_source=True),
            {"path": "/srv/root.tar.xz", "checksum": f"sha256:{'1' * 64}"},
            [],
        ),
        (ABSENT, TRIXIE, []),
        (built(), {"state": "absent", "build": {"suite": "bookworm"}}, []),
    ],
)
def test_a_recipe_that_changed_is_stale_and_never_a_change(state, params, expected):
    assert stale_paths(parse({"name": "debian", **params}), state) == expected
    if params.get("state") != "absent" and state.image is not None:
        found = plan(state, **params)
        assert not found.changed
        assert bool(found.warnings) is bool(expected)
        assert all(path in found.warnings[0] for path in expected)


@pytest.mark.parametrize(
    ("state", "params", "reason"),
    [
        (built(), {"kind": "vm"}, "kind: the image debian is of kind container; one of kind vm is another image"),
        (built(users=("web", "db")), {"state": "absent"}, "state: the image debian is in use by web, db"),
        (State(is_foreign=True), TRIXIE, "has something named debian that this collection did not make"),
    ],
)
def test_refusals_have_a_reason_and_no_permit(state, params, reason):
    refused = plan(state, **params).refused
    assert [change.how for change in refused] == [How.REFUSED]
    assert reason in refused[0].reason


def test_a_file_that_is_not_there_yet_is_assumed():
    assert plan(ABSENT, kind="container", path="/srv/root.tar").assumed == ["file /srv/root.tar"]
    assert plan(State(source=SOURCE), kind="container", path="/srv/root.tar.xz").assumed == []


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "kind: is needed to make the image debian. Allowed: one of container, vm"),
        ({"kind": "vm"}, "build, path, url, simplestreams: one of them is needed"),
    ],
)
def test_a_new_image_needs_a_kind_and_a_source(params, sentence):
    with pytest.raises(SpecError, match=sentence):
        plan(ABSENT, **params)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"name": "../etc"}, "name: '../etc' is not allowed"),
        ({"state": "started"}, "state: 'started' is not allowed. Allowed: one of present, absent"),
        ({"kind": "disk"}, "kind: 'disk' is not allowed. Allowed: one of container, vm"),
        ({"path": "root.tar"}, "path: 'root.tar' is not allowed"),
        ({"path": "/srv/a", "build": {"suite": "trixie"}}, "build, path: an image comes from one of them"),
        (
            {"build": {"suite": "buster"}},
            "build.suite: 'buster' is not allowed. Allowed: one of bookworm, trixie, jammy, noble, resolute",
        ),
        ({"build": {}}, "build.suite: is needed"),
        ({"kind": "vm", "build": {"suite": "noble"}}, "For a vm fetch its cloud image"),
        ({"build": {"suite": "trixie", "firmware": "coreboot"}}, "build.firmware: 'coreboot' is not allowed"),
        ({"kind": "container", "build": {"suite": "trixie", "firmware": "bios"}}, "belongs to an image of kind vm"),
    ],
)
def test_bad_input_is_refused(params, sentence):
    with pytest.raises(SpecError) as caught:
        parse({"name": "debian", **params})
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    "package", ["Vim", "vim-", "-vim", "vim git", "vim,git", "~ilinux", "?essential", "vim=1", "", "v", 7]
)
def test_what_apt_would_take_for_more_than_a_name_is_no_package(package):
    with pytest.raises(SpecError, match=r"build\.packages: .* is not allowed"):
        parse({"name": "debian", "build": {"suite": "trixie", "packages": [package]}})


def test_packages_have_the_characters_that_debian_gives_them():
    packages = ["g++", "libstdc++6", "python3.11", "0ad"]
    assert parse({"name": "debian", "build": {"suite": "trixie", "packages": packages}}).build.packages == tuple(
        sorted(packages)
    )


@pytest.mark.parametrize(
    ("row", "way"), [(row, way) for row in apply_cells.rows("image") for way in apply_cells.directions(row)]
)
def test_the_table_of_apply_paths_says_what_the_plan_answers(row, way):
    before, after = apply_cells.directions(row)[way]
    told, permit = apply_cells.outcome(row, before, after, apply_cells.power_of("image", apply_cells.STOPPED))
    group, dummy, key = row.path.rpartition(".")
    image, spec = (
        ({"presets": Presets(**{key: before})}, {"presets": {key: after}}) if group else ({key: before}, {key: after})
    )
    there = built()._replace(image=STORED._replace(**image))
    change = plan_image(Spec("debian", **spec), there).get(row.path)
    assert change is not None and (change.how.value, permit) == (told, None)


def test_what_an_image_was_made_of_is_in_no_cell_and_in_no_plan():
    creation = {row.path for row in apply_cells.all_rows("image") if row.home == CREATION}
    assert creation and creation.isdisjoint(row.path for row in apply_cells.rows("image"))
    other = {"build": {"suite": "bookworm", "packages": ["vim"]}}
    assert steps(built(), **other) == [] and plan(built(), **other).warnings
