# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._overview.words import Use, of_guest, pending_of

FACTS: dict[str, t.Any] = {
    "name": "films",
    "kind": "container",
    "state": "started",
    "problem": None,
    "autostart": True,
    "memory_kib": 1024,
    "addresses": ["192.0.2.7"],
    "disks": [{"name": "rootfs", "path": "/srv/secret", "size_bytes": 2048}, {"name": "data", "size_bytes": None}],
    "snapshots": [
        {"name": "before-films-20261101T000010Z", "created": "2026-11-01T00:00:10Z"},
        {"name": "before-upgrade", "created": "2026-11-20T00:00:00Z"},
    ],
    "uptime_seconds": 60,
}
NOVEMBER = 1793491200.0
BACKUP = {
    "status": "failed",
    "backup": {"made": "2026-11-01T00:00:00Z", "repository": "nas"},
    "failure": {"error": "sftp://me@nas"},
    "drill": {"result": "ok", "ended": "2026-11-01T00:01:00Z"},
}


def test_a_guest_is_told_in_figures_and_without_an_address_or_a_path() -> None:
    told = of_guest(FACTS, Use(512, 1024), BACKUP, ["cpu.cores"])
    assert told == {
        "name": "films",
        "kind": "container",
        "state": "started",
        "problem": None,
        "autostart": True,
        "memory": 1024 * 1024,
        "memory_used": 512,
        "disk": 2048,
        "disk_used": 1024,
        "uptime": 60,
        "updated": NOVEMBER + 10,
        "restart_required": ["cpu.cores"],
        "backup": {"status": "failed", "made": NOVEMBER},
        "drill": {"result": "ok", "ended": NOVEMBER + 60},
    }
    assert not any(secret in json.dumps(told) for secret in ("192.0.2.7", "/srv", "nas"))


def test_the_last_update_is_the_later_of_what_dpkg_wrote_and_of_what_went_through_the_door() -> None:
    assert of_guest(FACTS, Use(updated=NOVEMBER + 99), None, [])["updated"] == NOVEMBER + 99
    assert of_guest(FACTS, Use(updated=NOVEMBER), None, [])["updated"] == NOVEMBER + 10
    assert of_guest({**FACTS, "snapshots": []}, Use(), None, [])["updated"] is None


def test_what_a_guest_went_back_from_was_no_update() -> None:
    aside = {"name": "before-revert-1", "created": "2026-11-02T00:00:01Z"}
    failed = {"name": "before-debian-20261102T000000Z", "created": "2026-11-02T00:00:00Z"}
    its = {**FACTS, "snapshots": [FACTS["snapshots"][0], failed, aside]}
    assert of_guest(its, Use(), None, [])["updated"] == NOVEMBER + 10
    its = {**FACTS, "snapshots": [failed, aside]}
    assert of_guest(its, Use(), None, [])["updated"] is None
    its = {**FACTS, "snapshots": [failed]}
    assert of_guest(its, Use(), None, [])["updated"] == NOVEMBER + 86400


def test_a_guest_that_nobody_limits_or_backs_up_has_no_figures_of_that() -> None:
    told = of_guest({**FACTS, "memory_kib": None, "disks": []}, Use(), {**BACKUP, "backup": None, "drill": None}, [])
    assert (told["memory"], told["disk"], told["backup"]["made"], told["drill"]) == (None, None, None, None)


def entry(time: str, name: str = "containers[films]", *required: str) -> dict[str, t.Any]:
    return {"time": f"2026-11-01T00:00:{time}.123+00:00", "name": name, "restart_required": list(required)}


@pytest.mark.parametrize(
    ("journal", "pending"),
    [
        ([entry("20", "containers[films]", "cpu.cores")], ["cpu.cores"]),
        ([entry("20", "films", "cpu.cores")], ["cpu.cores"]),
        ([entry("20", "films", "cpu.cores"), entry("21", "films")], []),
        ([entry("05", "films", "cpu.cores")], []),
        ([entry("20", "vms[desk]", "cpu.cores")], None),
        ([{"time": "no time", "name": "films", "restart_required": ["cpu.cores"]}], []),
    ],
)
def test_what_waits_for_a_restart_is_what_was_written_since_the_guest_started(
    journal: list[dict[str, t.Any]], pending: list[str] | None
) -> None:
    assert pending_of(journal, {"films": NOVEMBER + 10}).get("films") == pending
