# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a host that boots starts its guests."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.roles.hypervisor.files.start_guests import (
    Guest,
    NotStartedError,
    read_startups,
    run,
    steps,
)


def started() -> bool:
    return True


def guest(name: str, order: int | None = None, up_delay: int = 0, start: t.Callable[[], bool] = started) -> Guest:
    return Guest("vm" if name.startswith("vm") else "container", name, order, up_delay, start)


class Host:
    """What a run says, and how long it waits."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, *guests: Guest) -> bool:
        return run(guests, self.told.append, lambda seconds: self.told.append(f"waits {seconds}"))


def names(*guests: Guest) -> list[list[str]]:
    return [[each.name for each in step] for step in steps(guests)]


def test_the_lowest_order_is_first_and_both_kinds_are_one_row() -> None:
    assert names(guest("vm-a", 10), guest("ct-b", 2), guest("ct-c", 10), guest("vm-d", 0)) == [
        ["vm-d"],
        ["ct-b"],
        ["ct-c", "vm-a"],
    ]


def test_those_without_an_order_are_last_side_by_side() -> None:
    assert names(guest("vm-a"), guest("vm-b", 1_000_000), guest("vm-c")) == [["vm-b"], ["vm-a", "vm-c"]]
    assert names() == []


def test_a_step_waits_for_the_longest_of_its_delays() -> None:
    host = Host()
    assert host.start(guest("vm-a", 1, 3), guest("ct-b", 1, 5), guest("ct-c", 2), guest("vm-d", None, 9))
    assert host.told == [
        "container ct-b: started, order 1",
        "virtual machine vm-a: started, order 1",
        "waits 5",
        "container ct-c: started, order 2",
        "virtual machine vm-d: started",
    ]


def test_one_that_runs_already_is_not_waited_for() -> None:
    host = Host()
    assert host.start(guest("vm-a", 1, 3, lambda: False), guest("vm-b", 2))
    assert host.told == ["virtual machine vm-b: started, order 2"]


def test_one_that_does_not_start_holds_up_none_and_fails_the_whole() -> None:
    def breaks() -> bool:
        raise NotStartedError("no bridge lan0")

    host = Host()
    assert not host.start(guest("vm-a", 1, 3, breaks), guest("ct-b", 1, 2), guest("ct-c", 2))
    assert host.told == [
        "container ct-b: started, order 1",
        "<3>virtual machine vm-a: did not start: no bridge lan0",
        "waits 2",
        "container ct-c: started, order 2",
    ]


def test_a_record_that_cannot_be_read_is_told_and_the_others_count(tmp_path: Path) -> None:
    (tmp_path / "web.json").write_text(json.dumps({"kind": "container", "startup": {"order": 1}}))
    (tmp_path / "box.json").write_text(json.dumps({"kind": "vm"}))
    (tmp_path / "odd.json").write_text("[")
    told: list[str] = []
    assert read_startups(tmp_path, told.append) == {("container", "web"): {"order": 1}, ("vm", "box"): {}}
    assert len(told) == 1 and "odd.json cannot be read" in told[0]
