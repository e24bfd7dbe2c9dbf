# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of what a repository lists are backups."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import NOT_WHOLE, Stored, read, tags_of


def entry(id: str, *tags: str) -> dict[str, t.Any]:
    return {
        "id": id,
        "time": f"2026-11-0{id}T00:00:00Z",
        "tags": list(tags),
        "paths": ["/run/web"],
        "hostname": "alpha",
    }


def test_a_backup_of_which_another_entry_says_that_it_is_none_is_none() -> None:
    tags = tags_of("web", "container", "nightly", "crash")
    listed = [entry("1", *tags), entry("2", *tags), entry("3", f"{NOT_WHOLE}2"), entry("4"), entry("5", "other")]
    assert [its.id for its in read(iter(listed))] == ["1"]
    assert [its.id for its in read(listed[:2])] == ["2", "1"]


def test_a_person_tells_a_backup_by_its_short_id_and_its_moment() -> None:
    its = Stored("0123456789abcdef", 1764547200.9, "web", "container", "nightly", "crash", "alpha", "/run/web")
    assert str(its) == "01234567 of 2025-12-01T00:00:00Z" and its.told()["made"] == "2025-12-01T00:00:00Z"
