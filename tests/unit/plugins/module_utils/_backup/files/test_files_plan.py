# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned of single files, and what is refused of them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.inner import Inner
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.plan import plan_files
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.state import FilesState
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import Stored
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError

PARAMS: dict[str, t.Any] = {"name": "web", "repository": "disk", "paths": ["/etc/a", "/srv"], "to": "/root/found"}
BACKUP = Stored("a" * 64, 1.0, "web", "container", "nightly", "application", "alpha", "/run/web")
STATE = FilesState(BACKUP, sizes={"/etc/a": 4, "/srv": 2048}, is_free=True, available_bytes=1 << 20)


def test_each_path_is_a_change_and_done_is_none() -> None:
    plan = plan_files(parse(PARAMS), STATE)
    assert [(change.path, change.after) for change in plan.changes] == [
        ("paths[/etc/a]", "/root/found/etc/a (4 bytes)"),
        ("paths[/srv]", "/root/found/srv (2048 bytes)"),
    ]
    assert plan_files(parse(PARAMS), STATE._replace(is_done=True)).changes == []


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (STATE._replace(obstacle="install Debian's package guestfish"), "paths: install Debian's package guestfish"),
        (STATE._replace(sizes={"/etc/a": None}), "has no /etc/a"),
        (STATE._replace(is_free=False), "with something in it"),
        (STATE._replace(available_bytes=1), "left. Make room"),
    ],
)
def test_what_cannot_be_is_refused_before(state: FilesState, why: str) -> None:
    (change,) = plan_files(parse(PARAMS), state).refused
    assert why in str(change.reason)


def test_what_lies_where_a_link_of_the_guest_leads_is_not_written_through_it() -> None:
    spec = parse({**PARAMS, "paths": ["/etc/a", "/etc/a/passwd"]})
    state = STATE._replace(sizes={"/etc/a": 4, "/etc/a/passwd": 9}, found={"/etc/a": Inner("/etc/a", 0o120777, 0, 0)})
    (change,) = plan_files(spec, state).refused
    assert "/etc/a is a link in the backup" in str(change.reason)
    folder = {"/etc/a": Inner("/etc/a", 0o40755, 0, 0)}
    assert plan_files(spec, state._replace(found=folder)).refused == []


def test_what_is_said_of_a_whole_guest_is_nothing_of_files() -> None:
    for key, value in {"as": "other", "start": True, "allow": ["overwrite"]}.items():
        with pytest.raises(SpecError, match=f"{key}: is nothing of single files"):
            parse({**PARAMS, key: value})
    with pytest.raises(SpecError, match="goes with paths"):
        parse({key: value for key, value in PARAMS.items() if key != "paths"})
