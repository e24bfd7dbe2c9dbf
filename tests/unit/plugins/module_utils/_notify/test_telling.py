# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._notify.conditions import (
    Condition,
    Pool,
    Went,
    of_drift,
    of_drills,
    of_jobs,
    of_pools,
    of_restart,
    of_switch,
    of_units,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.telling import Target, notice_for, subject_of

HOUR, DAY = 3600.0, 86400.0
FULL = Condition("pool main", "The storage pool main fills up")
BACK = Condition("switch 1", "The change was taken back", happened=True)
RAN = {"nightly": Went("2026-11-28T02:31:00Z", "nightly went well")}


class Ear:
    """A target that hears all that it is told."""

    def __init__(self, *on: str, name: str = "ear") -> None:
        self.on = on
        self.name = name
        self.memory: dict[str, t.Any] = {}

    def hears(self, now: float, *conditions: Condition, well: t.Mapping[str, Went] | None = None) -> list[str]:
        notice, self.memory = notice_for(
            Target(self.on, self.name, ("ear", "phone")), conditions, well or {}, self.memory, now
        )
        return notice.lines if notice else []


def test_what_lasts_is_told_again_after_a_day_and_when_it_is_over() -> None:
    ear = Ear("failure")
    assert ear.hears(0.0, FULL) == [FULL.text]
    assert ear.hears(HOUR, FULL) == []
    assert ear.hears(DAY, FULL) == [f"Still: {FULL.text}"]
    assert ear.hears(DAY + HOUR, FULL) == []
    assert ear.hears(DAY + 2 * HOUR) == [f"Over: {FULL.text}"]
    assert ear.hears(DAY + 3 * HOUR) == []
    assert ear.hears(DAY + 4 * HOUR, FULL) == [FULL.text]


def test_who_is_told_of_updates_alone_hears_of_nothing_else() -> None:
    waiting = Condition("updates", "Updates wait", on="updates")
    ear, deaf = Ear("updates"), Ear("failure")
    assert ear.hears(0.0, FULL, waiting) == [waiting.text] and deaf.hears(0.0, FULL, waiting) == [FULL.text]
    assert ear.hears(HOUR, FULL) == [f"Over: {waiting.text}"] and deaf.hears(HOUR, FULL) == []


def test_who_is_no_longer_told_of_updates_is_not_told_that_they_are_over() -> None:
    waiting, ear = Condition("updates", "Updates wait", on="updates"), Ear("failure", "updates")
    assert ear.hears(0.0, waiting) == [waiting.text]
    ear.on = ("failure",)
    assert ear.hears(HOUR, waiting) == []


def test_what_happened_is_told_once() -> None:
    ear = Ear("failure")
    assert ear.hears(0.0, BACK) == [BACK.text]
    assert ear.hears(DAY * 3, BACK) == [] and ear.hears(DAY * 3 + HOUR) == []


def test_what_was_not_delivered_is_told_by_the_next_look() -> None:
    ear = Ear("failure")
    before = ear.memory
    assert ear.hears(0.0, FULL)
    ear.memory = before
    assert ear.hears(HOUR, FULL) == [FULL.text]


def test_a_run_that_went_well_is_told_to_who_asked_for_it_and_once() -> None:
    ear, other = Ear("success"), Ear("failure")
    assert ear.hears(0.0, well=RAN) == []  # it ran before anybody asked
    later = {"nightly": Went("2026-11-29T02:31:00Z", "nightly went well again")}
    assert ear.hears(DAY, FULL, well=later) == ["nightly went well again"]
    assert ear.hears(DAY + HOUR, well=later) == []
    assert other.hears(0.0, well=RAN) == [] and other.hears(DAY, well=later) == []


def test_what_is_for_some_is_told_to_none_but_them() -> None:
    ear, phone = Ear("failure", "success"), Ear("failure", "success", name="phone")
    its = FULL._replace(to=frozenset(["phone", "gone"]))
    assert ear.hears(0.0, BACK, its) == [BACK.text] and phone.hears(0.0, BACK, its) == [FULL.text, BACK.text][::-1]
    ran = {"nightly": Went("2026-11-29T02:31:00Z", "nightly went well", its.to)}
    assert ear.hears(HOUR, BACK, well=ran) == []
    assert phone.hears(HOUR, BACK, well=ran) == [f"Over: {FULL.text}", "nightly went well"]


def test_what_is_for_a_target_that_is_gone_is_told_to_all() -> None:
    assert Ear("failure").hears(0.0, FULL._replace(to=frozenset(["gone"]))) == [FULL.text]


def test_who_hears_no_more_of_what_lasts_is_not_told_that_it_is_over() -> None:
    ear = Ear("failure")
    assert ear.hears(0.0, FULL) == [FULL.text]
    assert ear.hears(HOUR, FULL._replace(to=frozenset(["phone"]))) == []


def test_the_subject_names_the_host_and_how_much_there_is() -> None:
    notice, dummy = notice_for(Target(["failure"]), [FULL, BACK], {}, {}, 0.0)
    assert notice is not None and notice.word == "failure"
    assert subject_of(notice, "alpha") == "alpha: The storage pool main fills up (and 1 more)"


JOB: dict[str, t.Any] = {
    **dict.fromkeys(("error", "began", "ended", "due", "verify", "seconds"), None),
    "name": "nightly",
    "result": "ok",
    "failed": {},
    "overdue": False,
}


@pytest.mark.parametrize(
    ("job", "key", "says"),
    [
        ({}, None, ""),
        ({"result": None}, None, ""),
        ({"result": "failed", "failed": {"web": "no room"}}, "backup nightly failed", "web: no room"),
        ({"result": "failed", "error": "it is away"}, "backup nightly failed", "it is away"),
        ({"overdue": True, "due": "T1"}, "backup nightly overdue", "due at T1, and has never run"),
        ({"overdue": True, "due": "T1", "began": "T0"}, "backup nightly overdue", "ran last at T0"),
        ({"verify": {"result": "failed", "when": "T", "error": "pack 12"}}, "verify nightly failed", "pack 12"),
        ({"verify": {"result": "ok"}}, None, ""),
        ({"verify": {"overdue": True, "due": "T1", "when": None}}, "verify nightly overdue", "T1, and was never done"),
        ({"drill": {"overdue": True, "due": "T1", "began": "T0"}}, "drill nightly overdue", "was done last at T0"),
        ({"drill": {"overdue": False, "result": "failed", "began": "T0"}}, None, ""),
    ],
)
def test_what_is_wrong_of_a_job(job: dict[str, t.Any], key: str | None, says: str) -> None:
    found = list(of_jobs([{**JOB, **job}]))
    assert [its.key for its in found] == ([key] if key else [])
    assert all(says in its.text for its in found)


def test_all_of_a_job_is_for_whom_it_names() -> None:
    late = {"overdue": True, "due": "T1", "when": None, "began": None}
    wrong = {"result": "failed", "error": "away", "notify": ["phone"], **dict.fromkeys(("verify", "drill"), late)}
    assert [its.to for its in of_jobs([{**JOB, **wrong}])] == [frozenset(["phone"])] * 3
    drill = {"guest": "web", "drill": {"job": "nightly", "result": "failed", "error": "no answer"}}
    assert [its.to for its in of_drills([drill], [{**JOB, "notify": ["phone"]}])] == [frozenset(["phone"])]
    assert [its.to for its in of_drills([drill])] == [frozenset()]


def test_a_replication_that_did_not_run_is_told_as_one() -> None:
    found = list(of_jobs([{**JOB, "overdue": True, "due": "T1", "began": "T0"}], "replication"))
    assert [its.key for its in found] == ["replication nightly overdue"] and "The replication job" in found[0].text
    failed = {its.key for its in of_jobs([{**JOB, "result": "failed", "error": "away"}], "replication")}
    assert not list(of_units(["homelab-hybrid-replicate@nightly.service"], failed))


@pytest.mark.parametrize(
    ("pool", "is_told"),
    [
        (Pool("main", 100 << 30, 11 << 30), False),
        (Pool("main", 100 << 30, 9 << 30), True),
        (Pool("main", 100 << 30, 9 << 30, "5%"), False),
        (Pool("main", 100 << 30, 9 << 30, 10 << 30), True),
        (Pool("main", 100 << 30, 0, "0%"), False),
    ],
)
def test_a_pool_is_told_when_less_is_free_than_its_option_says(pool: Pool, is_told: bool) -> None:
    assert bool(list(of_pools([pool]))) is is_told


def test_a_full_pool_says_what_lies_in_its_quarantine() -> None:
    (its,) = of_pools([Pool("main", 100 << 30, 1 << 30, quarantined=3 << 30, until="T")])
    assert "3GiB lie in its quarantine, the first of it until T" in its.text


def test_a_unit_of_which_more_is_known_is_told_once() -> None:
    units = ["homelab-hybrid-backup@nightly.service", "homelab-hybrid-backup@other.service", "apt-daily.service"]
    units.append("homelab-hybrid-backup-drill@nightly.service")
    drills = of_drills([{"guest": "web", "drill": {"job": "nightly", "result": "failed", "error": "no answer"}}])
    found = [its.key for its in of_units(units, {"backup nightly failed", *(its.key for its in drills)})]
    assert found == ["unit homelab-hybrid-backup@other.service", "unit apt-daily.service"]


def test_what_else_is_told() -> None:
    switch = {"id": "1", "state": "rolled_back", "bridge": "vmbr0", "began": "T", "reason": "cut"}
    assert [its.happened for its in of_switch(switch)] == [True] and not list(
        of_switch({**switch, "state": "confirmed"})
    )
    assert not list(of_switch({}))
    assert [its.key for its in of_drift(["web: memory"])] == ["drift"] and not list(of_drift([]))
    assert [its.key for its in of_restart([])] == ["restart"] and not list(of_restart(None))
    drill = {"guest": "web", "drill": {"job": "nightly", "result": "failed", "error": "no answer"}}
    assert [its.key for its in of_drills([drill, {"guest": "mail", "drill": None}])] == ["drill nightly failed of web"]
