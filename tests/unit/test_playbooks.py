# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for the plays that prepare others."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from unit.tree import ROOT


def tasks_in(loaded: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Every task of plays, task files and blocks."""
    for each in loaded or ():
        inside = [key for key in ("pre_tasks", "tasks", "post_tasks", "block", "rescue", "always") if key in each]
        for key in inside:
            yield from tasks_in(each[key])
        if not inside and "hosts" not in each:
            yield each


FILES = sorted([*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks" / "tasks").glob("*.yml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_kept_for_all_hosts_at_once(path: Path) -> None:
    """With run_once all hosts that have no facts yet get one dictionary of them together (ansible-core 2.21): what one has later, all have."""
    at_once = [task for task in tasks_in(yaml.safe_load(path.read_text())) if task.get("run_once")]
    kept = [task for task in at_once if "register" in task or "ansible.builtin.set_fact" in task]
    assert [
        task["name"] for task in kept if (task.get("delegate_to"), task.get("delegate_facts")) != ("localhost", True)
    ] == []
    assert not [task["name"] for task in kept if "register" in task], "what is registered goes to the hosts of the play"


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
