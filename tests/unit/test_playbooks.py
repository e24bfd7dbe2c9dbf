# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for the plays that prepare others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
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


FILES = sorted(
    [
        *(ROOT / "playbooks").glob("*.yml"),
        *(ROOT / "playbooks" / "parts").glob("*.yml"),
        *(ROOT / "playbooks" / "tasks").glob("*.yml"),
    ]
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_kept_for_all_hosts_at_once(path: Path) -> None:
    """With run_once all hosts that have no facts yet get one dictionary of them together (ansible-core 2.21): what one has later, all have."""
    at_once = [task for task in tasks_in(yaml.safe_load(path.read_text())) if task.get("run_once")]
    kept = [task for task in at_once if "register" in task or "ansible.builtin.set_fact" in task]
    assert [
        task["name"] for task in kept if (task.get("delegate_to"), task.get("delegate_facts")) != ("localhost", True)
    ] == []
    assert not [task["name"] for task in kept if "register" in task], "what is registered goes to the hosts of the play"


PLAYBOOKS = sorted([*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks" / "parts").glob("*.yml")])


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
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


def plays_of(playbook: str, folder: Path, *argv: str, **groups: str) -> list[str]:
    """The names of the plays that Ansible has for *playbook* with these groups of one host each, and without warnings."""
    inventory = folder / "hosts.yml"
    known = {"hypervisors": "alpha", "guests": "web", **groups}
    inventory.write_text(
        json.dumps(
            {"all": {"children": {name: {"hosts": {host: None} if host else {}} for name, host in known.items()}}}
        )
    )
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(inventory),
        "--list-hosts",
        *argv,
        f"homelab.hybrid.{playbook}",
    ]
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "WARNING" not in done.stderr
    return re.findall(r"^  play #\d+ \(.*?\): (.+)\tTAGS", done.stdout, re.MULTILINE)


RESOLVERS, DOORS, WAITS = "Keep the resolvers", "Keep the front doors", "What waits"


@pytest.mark.parametrize(
    ("groups", "argv", "plays"),
    [
        ({}, (), [WAITS]),
        ({"unbound": ""}, (), [WAITS]),
        ({"reverse_proxy": "web"}, (), [DOORS, WAITS]),
        ({"reverse_proxy": "web", "unbound": "web"}, (), [RESOLVERS, DOORS, WAITS]),
        ({}, ("-e", "hybrid_unbound=web"), [RESOLVERS, WAITS]),
    ],
    ids=["no group", "a group of nobody", "the last service", "all in their order", "another pattern"],
)
def test_a_service_without_hosts_has_no_play(
    groups: dict[str, str], argv: tuple[str, ...], plays: list[str], tmp_path: Path
) -> None:
    """Ansible prints the header of each play, also of one without hosts."""
    assert plays_of("site", tmp_path, *argv, **groups)[4:] == plays


def test_each_part_of_the_services_is_reached(tmp_path: Path) -> None:
    parts = {path.stem for path in (ROOT / "playbooks" / "parts").glob("*.yml")} - {"waits"}
    plays = plays_of("services", tmp_path, **dict.fromkeys(parts, "web"))
    assert len(plays) == len(parts) + 1 and plays[-1] == WAITS
