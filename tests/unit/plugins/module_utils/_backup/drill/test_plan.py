# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import Job, job_of
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.health import Answer
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.plan import Tried, merged, picked
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.units import all_names, texts
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import Stored
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError

JOB = Job("nightly", "disk")


def stored(id: str, guest: str = "web", job: str = "nightly", host: str = "alpha") -> Stored:
    return Stored(id, 0.0, guest, "container", job, "crash", host, "/run")


BACKUPS = [stored("5", "db"), stored("4", host="beta"), stored("3", job="other"), stored("2"), stored("1")]


def test_the_newest_is_tried_that_this_job_made_of_this_guest_on_this_host() -> None:
    assert picked(BACKUPS, JOB, "web", "alpha", lambda below: below - 1).id == "2"


def test_one_that_is_drawn_is_of_the_same() -> None:
    job = job_of("nightly", {"repository": "disk", "drill.pick": "random"}, {})
    assert [picked(BACKUPS, job, "web", "alpha", lambda below, number=number: number).id for number in (0, 1)] == [
        "2",
        "1",
    ]


def test_a_guest_without_a_backup_is_no_success() -> None:
    with pytest.raises(ObserveError, match="nightly has made no backup of it on this host yet"):
        picked(BACKUPS, JOB, "mail", "alpha", lambda below: 0)


def test_a_drill_says_which_check_failed_and_what_answered() -> None:
    answers = (Answer("init", True, "running"), Answer("http 80/", False, "10.0.0.5: it answers 500"))
    its = Tried("web", stored("2"), {"restore": 1.0, "boot": 2.0}, answers)
    told = its.told()
    assert (told["result"], told["error"]) == ("failed", "http 80/: 10.0.0.5: it answers 500")
    assert told["recovery_seconds"] is None
    assert its._replace(answers=answers[:1]).told()["recovery_seconds"] == 3.0


def test_a_report_keeps_what_it_has_of_guests_that_were_not_tried_now() -> None:
    before = [{"guest": "db", "result": "ok"}, {"guest": "web", "result": "failed"}]
    found = merged(before, [Tried("web", stored("2"))], "now")
    assert [(its["guest"], its["result"], its.get("ended")) for its in found] == [
        ("db", "ok", None),
        ("web", "ok", "now"),
    ]
    assert merged("broken", [], "now") == [] and merged(None, [], "now") == []


def test_a_job_has_a_timer_of_its_drills_and_what_is_left_of_one_that_was_killed_is_taken_away() -> None:
    found = texts("jobs", "nightly", {"schedule": "daily", "drill.schedule": "weekly"}, {})
    assert "OnCalendar=weekly" in found["homelab-hybrid-backup-drill@nightly.timer"]
    service = found["homelab-hybrid-backup-drill@nightly.service"]
    assert "homelab-hybrid-backup drill nightly\n" in service
    assert "ExecStopPost=/var/lib/homelab_hybrid/programs/homelab-hybrid-backup tidy\n" in service
    assert set(found) < set(all_names("jobs", "nightly"))
    assert not any("drill" in name for name in texts("jobs", "nightly", {"schedule": "daily"}, {}))
