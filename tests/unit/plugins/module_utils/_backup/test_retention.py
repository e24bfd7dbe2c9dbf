# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import Job
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.retention import beyond, unkept
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import Stored

UTC = datetime.UTC


def made(moment: str, *, protected: bool = False) -> Stored:
    seconds = datetime.datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    return Stored(moment, seconds, "web", "container", "nightly", "crash", "alpha", "/run", protected)


def kept(moments: t.Sequence[str], **keep: int) -> list[str]:
    gone = {its.id for its in beyond([made(moment) for moment in moments], keep, UTC)}
    return [moment for moment in sorted(moments, reverse=True) if moment not in gone]


# Two a day, from a Monday on: 2026-11-02 is one.
TWICE_A_DAY = [f"2026-11-{day:02}T{hour:02}:00" for day in range(2, 17) for hour in (2, 14)]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ({"last": 1}, ["2026-11-16T14:00"]),
        ({"last": 3}, ["2026-11-16T14:00", "2026-11-16T02:00", "2026-11-15T14:00"]),
        ({"hourly": 2}, ["2026-11-16T14:00", "2026-11-16T02:00"]),
        ({"daily": 3}, ["2026-11-16T14:00", "2026-11-15T14:00", "2026-11-14T14:00"]),
        ({"weekly": 2}, ["2026-11-16T14:00", "2026-11-15T14:00"]),
        ({"monthly": 5}, ["2026-11-16T14:00"]),
        ({"yearly": 1}, ["2026-11-16T14:00"]),
        # Where restic would count the day of the newest among the two, Proxmox's next word goes on behind it.
        ({"last": 1, "daily": 2}, ["2026-11-16T14:00", "2026-11-15T14:00", "2026-11-14T14:00"]),
        (
            {"last": 3, "daily": 2, "weekly": 1},
            [
                *("2026-11-16T14:00", "2026-11-16T02:00", "2026-11-15T14:00"),
                *("2026-11-14T14:00", "2026-11-13T14:00"),
            ],
        ),
        ({"daily": 1, "weekly": 2}, ["2026-11-16T14:00", "2026-11-15T14:00", "2026-11-08T14:00"]),
        ({}, sorted(TWICE_A_DAY, reverse=True)),
        ({"last": 0, "daily": 0}, sorted(TWICE_A_DAY, reverse=True)),
    ],
    ids=str,
)
def test_what_is_kept_is_what_proxmox_keeps(keep: dict[str, int], expected: list[str]) -> None:
    if keep == {"last": 3, "daily": 2, "weekly": 1}:
        # All weeks but that of the 2nd have a backup that a word before keeps.
        expected = [*expected, "2026-11-08T14:00"]
    assert kept(TWICE_A_DAY, **keep) == expected


def test_a_year_of_backups_is_thinned_out() -> None:
    days = [
        (datetime.date(2025, 12, 1) + datetime.timedelta(days=number)).isoformat() + "T03:00" for number in range(365)
    ]
    left = kept(days, daily=7, weekly=4, monthly=6, yearly=2)
    assert left[:7] == [f"2026-11-{day:02}T03:00" for day in range(30, 23, -1)]
    assert left[7:11] == ["2026-11-22T03:00", "2026-11-15T03:00", "2026-11-08T03:00", "2026-11-01T03:00"]
    # The week of the 1st has settled the last days of October.
    assert left[11:17] == [f"2026-{month}T03:00" for month in ("10-25", "09-30", "08-31", "07-31", "06-30", "05-31")]
    assert left[17:] == ["2025-12-31T03:00"]


def test_a_second_look_lets_nothing_more_go() -> None:
    left = kept(TWICE_A_DAY, last=2, daily=3, weekly=2, monthly=1)
    assert kept(left, last=2, daily=3, weekly=2, monthly=1) == left


def test_what_is_protected_stays_and_counts_for_nothing() -> None:
    backups = [made("2026-11-01T00:00", protected=True), made("2026-11-02T00:00"), made("2026-11-03T00:00")]
    assert [its.id for its in beyond(backups, {"last": 1}, UTC)] == ["2026-11-02T00:00"]


def test_a_day_is_one_of_the_host() -> None:
    backups = [made("2026-11-02T22:30"), made("2026-11-02T23:30")]
    east = datetime.timezone(datetime.timedelta(hours=1))
    assert [its.id for its in beyond(backups, {"daily": 2}, UTC)] == ["2026-11-02T22:30"]
    assert beyond(backups, {"daily": 2}, east) == []


def test_a_job_lets_go_of_what_it_made_of_its_guests_on_its_host_alone() -> None:
    its = [made(moment) for moment in ("2026-11-02T02:00", "2026-11-03T02:00", "2026-11-04T02:00", "2026-11-05T02:00")]
    others = [its[0]._replace(id=key, **{key: "other"}) for key in ("guest", "job", "host")]
    job, now = Job("nightly", "disk", keep={"last": 1}), made("2026-11-04T03:00").made
    # The newest was made while the clock was ahead.
    assert unkept([*its, *others], job, ["web", "db"], "alpha", now) == [its[1], its[0]]
    assert (
        unkept(its, job, ["db"], "alpha", now) == [] and unkept(its, job._replace(keep={}), ["web"], "alpha", now) == []
    )
