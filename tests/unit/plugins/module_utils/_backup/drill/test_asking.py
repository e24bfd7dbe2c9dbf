# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill import asking
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.asking import Seen, ask_until_well, look_into
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.health import Answer
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.network import Network
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent import AgentSilent

SERVICE = json.dumps({"told": {"data": ["/srv/www"], "check": {"command": ["true"]}}})
RECORD = {"backup": {"health": ["command:ls /srv"], "data_paths": ["/etc/mine"]}}


class Guest:
    """One that has booted when it is asked the second time."""

    def __init__(self, *, ends: bool = False, is_silent: bool = False) -> None:
        self.asked = 0
        self.ends = ends
        self.is_silent = is_silent

    def is_running(self) -> bool:
        return not self.ends

    def init(self) -> Answer:
        self.asked += 1
        return Answer("init", self.asked > 1, "running" if self.asked > 1 else "starting")

    def run(self, line: str) -> tuple[bool, str]:
        return True, "it ended with 0"

    def services(self) -> dict[str, str]:
        if self.is_silent:
            raise AgentSilent("the agent does not answer")
        return {"web": SERVICE} if self.asked != 1 else {}

    def missing(self, data_paths: t.Mapping[str, bool]) -> list[Answer]:
        return [
            Answer(f"data {path}", not must_have, f"looked at as {self.asked}")
            for path, must_have in data_paths.items()
        ]

    def places(self) -> list[t.Any]:
        return []

    def inner_network(self) -> None:
        return None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_ASK_AGAIN_SECONDS", 0)


def checks(answers: t.Iterable[Answer]) -> list[tuple[str, bool]]:
    return [(its.check, its.is_well) for its in answers]


def test_one_that_can_only_be_looked_into_while_it_runs_is_looked_into_when_it_has_booted() -> None:
    answers = ask_until_well(Guest(), RECORD, None, Network("web"), 60)
    assert checks(answers) == [
        ("data /srv/www", True),
        ("data /etc/mine", False),
        ("init", True),
        ("command 'ls /srv'", True),
        ("web: command \"env 'true'\"", True),
    ]
    assert answers[0].said == "looked at as 2"


def test_what_was_seen_before_is_not_looked_at_again() -> None:
    guest = Guest()
    seen = look_into(guest, RECORD)
    assert checks(ask_until_well(guest, {}, seen, Network("web"), 60))[:2] == [
        ("data /srv/www", True),
        ("data /etc/mine", False),
    ]
    assert {its.said for its in seen.data} == {"looked at as 0"}


def test_data_that_did_not_come_back_is_not_waited_for() -> None:
    guest = Guest()
    ask_until_well(guest, {}, Seen((), (Answer("data /srv", False, "it is empty"),)), Network("web"), 60)
    assert guest.asked == 2


def test_one_that_never_booted_tells_what_nobody_asked() -> None:
    answers = ask_until_well(Guest(), RECORD, None, Network("web"), 0)
    assert checks(answers) == [("init", False), ("command 'ls /srv'", False)]
    assert answers[1].said == "it was not asked yet"


def test_one_that_falls_silent_when_it_is_looked_into_has_not_booted() -> None:
    guest = Guest(is_silent=True)
    guest.asked = 1
    (init, *dummy) = ask_until_well(guest, RECORD, None, Network("web"), 0)
    assert (init.is_well, init.said) == (False, "the agent does not answer")


def test_one_that_ended_is_not_waited_for() -> None:
    assert checks(ask_until_well(Guest(ends=True), RECORD, None, Network("web"), 60)) == [("init", False)]
