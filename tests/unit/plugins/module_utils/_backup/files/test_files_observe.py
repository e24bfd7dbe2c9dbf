# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which part of a backup a file lies that is seen at a path inside."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.observe import parts_of
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.state import Part
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.manifest import Manifest

IDS = (100000, 65536)
MANIFEST = Manifest(
    "web",
    "container",
    "alpha",
    1.0,
    "snapshot",
    "crash",
    "config",
    {"rootfs": {"file": "rootfs"}},
    idmap=IDS,
    mounts={
        "deep": {"file": "mounts/deep", "path": "/srv/data/deep", "mapped": False},
        "data": {"file": "mounts/data", "path": "/srv/data", "mapped": True},
    },
)


def root(*paths: str) -> Part:
    return Part("", "/run/web/rootfs", paths, IDS)


def data(*paths: str) -> Part:
    return Part("/srv/data", "/run/web/mounts/data", paths)


def deep(*paths: str) -> Part:
    return Part("/srv/data/deep", "/run/web/mounts/deep", paths, IDS)


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        (["/etc/a"], [root("/etc/a")]),
        (["/srv/data/a", "/srv/data/b"], [data("/a", "/b")]),
        (["/srv/data/deep/a"], [deep("/a")]),
        (["/srv/database"], [root("/srv/database")]),
        # A folder above a mount has that in it, as it is seen inside.
        (["/srv"], [root("/srv"), data(""), deep("")]),
        (["/srv/data", "/etc/a"], [root("/etc/a"), data(""), deep("")]),
        (["/srv/data/a", "/srv"], [root("/srv"), data(""), deep("")]),
    ],
)
def test_what_lies_in_a_mount_is_of_that(paths: list[str], parts: list[Part]) -> None:
    assert list(parts_of(MANIFEST, "/run/web", paths)) == parts
