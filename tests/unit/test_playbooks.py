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
from unit.tree import ROLES, ROOT


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
        *(ROOT / "playbooks" / "tasks").glob("*.yml"),
    ]
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_kept_for_all_hosts_at_once(path: Path) -> None:
    """With run_once all hosts that have no facts yet get one dictionary of them together (ansible-core 2.21): what one has later, all have."""
    at_once = [task for task in tasks_in(yaml.safe_load(path.read_text())) if task.get("run_once")]
    kept = [task for task in at_once if "register" in task or "ansible.builtin.set_fact" in task]
    of_one = ("localhost", "{{ inventory_open.name }}")
    assert [
        task["name"] for task in kept if task.get("delegate_to") not in of_one or not task.get("delegate_facts")
    ] == []
    assert not [task["name"] for task in kept if "register" in task], "what is registered goes to the hosts of the play"


PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_playbook_names_a_service(path: Path) -> None:
    services = [role.name for role in ROLES if f"__{role.name}_service:" in text_of(role / "vars" / "main.yml")]
    assert {"unbound", "reverse_proxy", "mosquitto"} <= set(services)
    code = re.sub(r"(?m)^ *#.*", "", path.read_text())
    assert [name for name in services if re.search(rf"\b{name}\b", code)] == []


def text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


MINIMAL: dict[str, t.Any] = {
    "hypervisors": {
        "hosts": {
            "alpha": {
                "ansible_connection": "local",
                "ansible_become_password": "correct horse",
                "hypervisor_bridges": [{"name": "br0", "mode": "nat", "address": "10.9.0.1/24"}],
                "hypervisor_storage_pools": [{"name": "main", "path": "/srv/main"}],
            }
        }
    },
    "guests": {"hosts": {"web": {"guest_services": ["my.lab.films"]}, "plain": None}},
}
# Asks for what the playbooks ask for, in the play that completes the inventory and in another one.
ASK = """
- hosts: guests:hypervisors
  gather_facts: false
  tasks:
    - ansible.builtin.import_tasks: "{{ tasks }}/inventory.yml"
- hosts: guests
  gather_facts: false
  tasks:
    - ansible.builtin.import_tasks: "{{ tasks }}/services.yml"
    - ansible.builtin.set_fact:
        lab: "{{ [] | homelab.hybrid._lab_summed(groups['guests'], hostvars, 'lab.test') }}"
      delegate_to: localhost
      delegate_facts: true
      run_once: true
    - ansible.builtin.include_tasks: "{{ tasks }}/service.yml"
      loop: "{{ hostvars.localhost.lab_services.steps }}"
      loop_control: {loop_var: lab_service}
      vars:
        ansible_connection: local
        lab_records: "{{ hostvars.localhost.lab.records }}"
        lab_sites: "{{ hostvars.localhost.lab.sites }}"
"""
FILMS = """
- ansible.builtin.debug:
    msg: "{{ inventory_hostname }} {{ guest_kind }} on {{ guest_hypervisor }}, {{ lab_sites }}"
  become: false
"""


def test_an_inventory_says_a_role_of_a_user_and_nothing_else(tmp_path: Path) -> None:
    """A hypervisor with a bridge and a pool, and a guest with a service of the user's own collection."""
    role = tmp_path / "collections" / "ansible_collections" / "my" / "lab" / "roles" / "films"
    for folder, text in {"vars": "__films_service: {title: Films}", "tasks": FILMS}.items():
        (role / folder).mkdir(parents=True)
        (role / folder / "main.yml").write_text(text)
    inventory, playbook = tmp_path / "hosts.yml", tmp_path / "play.yml"
    inventory.write_text(json.dumps({"all": {"children": MINIMAL}}))
    playbook.write_text(ASK)
    paths = f"{ROOT / '.build'}:{tmp_path / 'collections'}"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-vvv",
            "-i",
            str(inventory),
            "-e",
            f"tasks={ROOT / 'playbooks' / 'tasks'}",
            str(playbook),
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": paths, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "web container on alpha, []" in done.stdout
    assert "plain container" not in done.stdout
    assert not re.search(r"changed=[1-9]", done.stdout)
    assert "correct horse" not in done.stdout + done.stderr
