# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for the plays that prepare others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from unit.tree import ROOT

CLEAR = {"ansible.builtin.meta": "clear_facts"}


@pytest.mark.parametrize("name", ["hypervisors", "guests"])
def test_hosts_have_facts_of_their_own_after_one_of_them_sets_a_fact_for_all(name: str) -> None:
    play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
    tasks = [*play.get("pre_tasks", []), *play.get("tasks", [])]
    shared = [
        number
        for number, task in enumerate(tasks)
        if task.get("ansible.builtin.import_tasks") == "tasks/guests_of.yml"
        or (task.get("run_once") and "ansible.builtin.set_fact" in task)
    ]
    cleared = [number for number, task in enumerate(tasks) if CLEAR.items() <= task.items()]
    gathered = [number for number, task in enumerate(tasks) if "ansible.builtin.setup" in task]
    assert shared and cleared and max(shared) < cleared[0]
    assert all(cleared[0] < number for number in gathered)


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_hosts_wait_for_each_other_whatever_the_strategy_of_the_user(path: Path) -> None:
    """One host asks and sets facts for all; with strategy=free in ansible.cfg others would look for them too early."""
    plays = [play for play in yaml.safe_load(path.read_text()) if "hosts" in play]
    assert [play["name"] for play in plays if play.get("strategy") != "ansible.builtin.linear"] == []


def test_a_busy_host_has_time_for_what_nobody_waits_for() -> None:
    """ansible-core kills what runs longer than `async` seconds: a host that loads a module for two was never powered off."""
    tasks = [
        task
        for path in (ROOT / "playbooks").glob("*.yml")
        for play in yaml.safe_load(path.read_text())
        for task in play.get("tasks", [])
    ]
    left_alone = {task["name"]: task["async"] for task in tasks if task.get("poll") == 0}
    assert left_alone.keys() == {"Power the host off"}
    assert min(left_alone.values()) >= 60
