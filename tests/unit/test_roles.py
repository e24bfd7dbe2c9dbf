# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role says what it takes, and takes what it says."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.tree import ROLES, ROOT, files, relative, tasks_of

SET_FACT = "ansible.builtin.set_fact"
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> dict[str, t.Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def inputs(role: Path) -> dict[str, t.Any]:
    """The options of all entry points."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs") or {}
    merged: dict[str, t.Any] = {}
    for spec in specs.values():
        assert spec.get("short_description"), role.name
        merged.update(spec.get("options") or {})
    return merged


@each_role
def test_every_input_says_what_it_means(role: Path) -> None:
    assert (role / "meta" / "argument_specs.yml").exists()
    assert not [name for name, option in inputs(role).items() if not option.get("description")]


@each_role
def test_variables_bear_the_name_of_the_role(role: Path) -> None:
    name = role.name.lstrip("_")
    # What a private role is given is none of the names that a user has.
    prefix = f"__{name}_" if role.name.startswith("_") else f"{name}_"
    assert not [key for key in inputs(role) if not key.startswith(prefix)]
    assert not [key for key in load(role / "vars" / "main.yml") if not key.startswith(f"__{name}_")]
    for path in files(role / "tasks", "*.yml"):
        for task in tasks_of(path.read_text(encoding="utf-8")):
            own = [task["register"]] if "register" in task else []
            assert not [key for key in own if not key.startswith(f"__{name}_")], f"{path}: {task.get('name')}"
            facts = [key for key in task.get(SET_FACT) or {} if key != "cacheable"]
            # What the playbooks ask every role of an appliance for, by one name.
            asked = {"guest.yml": "guest_appliance", "check.yml": "service_checks"}
            prefixes = (f"__{name}_", f"{name}_", *([asked[path.name]] if path.name in asked else []))
            assert not [key for key in facts if not key.startswith(prefixes)], f"{path}: {task.get('name')}"


@each_role
def test_what_a_task_finds_takes_no_place_of_a_variable(role: Path) -> None:
    """What is registered hides a variable of the role by that name, in all that runs in the host afterwards."""
    frame = ROOT / "roles" / "_service"
    known = {key for path in (role, frame) for part in ("vars", "defaults") for key in load(path / part / "main.yml")}
    for path in files(role / "tasks", "*.yml"):
        for task in tasks_of(path.read_text(encoding="utf-8")):
            assert not known & {task.get("register"), *task.get(SET_FACT, ())}, f"{path}: {task.get('name')}"


@each_role
def test_what_a_recommended_guest_has_does_not_wait_for_its_service(role: Path) -> None:
    """A group of the guest that its service brings has no number when the guest is made: the second run would find it, and change the guest."""
    declared = load(role / "vars" / "main.yml").get(f"__{role.name}_service") or {}
    devices = ((declared.get("guest") or {}).get("spec") or {}).get("devices") or []
    assert [device for device in devices if not str(device.get("gid", 0)).isdecimal()] == []


@each_role
def test_handlers_bear_the_name_of_the_role(role: Path) -> None:
    prefix = f"{role.name.replace('_', ' ').capitalize()} | "
    for path in files(role / "handlers", "*.yml"):
        assert not [task["name"] for task in tasks_of(path.read_text()) if not task["name"].startswith(prefix)]


@each_role
def test_a_playbook_reads_no_private_variable_of_a_role(role: Path) -> None:
    private = f"__{role.name.lstrip('_')}_"
    assert not [path for path in files(ROOT / "playbooks", "*.yml") if private in path.read_text(encoding="utf-8")]


def steps(role: Path) -> t.Iterator[tuple[str, dict[str, t.Any], str]]:
    """Each task and handler of a role: where it stands, itself, and the conditions of its blocks and its own as text."""

    def walk(entries: t.Any, around: str) -> t.Iterator[tuple[dict[str, t.Any], str]]:
        for entry in entries or []:
            condition = f"{around} {entry.get('when', '')}"
            inner = [entry[key] for key in ("block", "rescue", "always") if key in entry]
            for each in inner:
                yield from walk(each, condition)
            if not inner:
                yield entry, condition

    for path in files(role, "*.yml"):
        if path.parent.name in ("tasks", "handlers"):
            for task, condition in walk(yaml.safe_load(path.read_text(encoding="utf-8")), ""):
                yield f"{relative(path)}: {task.get('name')}", task, condition


def is_child(task: dict[str, t.Any]) -> bool:
    """Whether the task starts a program, which Ansible passes over in check mode."""
    return any(f"ansible.builtin.{name}" in task for name in ("command", "shell", "script", "raw"))


@each_role
def test_no_error_is_passed_over(role: Path) -> None:
    for where, task, _condition in steps(role):
        assert "ignore_errors" not in task, where


@each_role
def test_what_is_tried_again_is_not_told_by_success_where_nothing_fails(role: Path) -> None:
    """Ansible judges ``failed_when`` before ``until``: with false in it the first try succeeds, whatever it was answered."""
    for path in files(role / "tasks", "*.yml"):
        for task in tasks_of(path.read_text(encoding="utf-8")):
            is_blind = task.get("failed_when") is False and "is succeeded" in str(task.get("until", ""))
            assert not is_blind, f"{path}: {task.get('name')}"


@each_role
def test_a_program_says_whether_it_changed_something(role: Path) -> None:
    for where, task, _condition in steps(role):
        assert not is_child(task) or "changed_when" in task, where


@each_role
def test_a_program_that_runs_in_check_mode_only_reads(role: Path) -> None:
    for where, task, _condition in steps(role):
        if task.get("check_mode") is False:
            assert task.get("changed_when") is False, where


@each_role
def test_an_answer_that_check_mode_does_not_have_is_not_asked_for(role: Path) -> None:
    missing = {
        task["register"]
        for _where, task, _condition in steps(role)
        if is_child(task) and "register" in task and task.get("check_mode") is not False
    }
    for where, task, condition in steps(role):
        for name in missing:
            # `is changed` and the like hold of a task that was passed over too; what the program said is not there.
            uses = re.search(rf"\b{name}\.(stdout|stderr|rc)(?!\w*\s*\|\s*default)", str(task))
            is_own = task.get("register") == name  # passed over with the program
            assert not uses or is_own or "not ansible_check_mode" in condition, f"{where}: {name}"


def test_files_that_the_role_hypervisor_itself_wrote_are_told_in_one_line(tmp_path: Path) -> None:
    program = "/usr/local/lib/homelab-hybrid/host_guests.py"
    system = {"release": {"id": "debian", "version": "12"}, "host": {"architecture": "x86_64"}}
    found = {"packages_missing": ["lxc"], "paths": [{"path": program, "content": "old"}]}
    read = {**system, **found, "is_container": False}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "homelab.hybrid.hypervisor", "tasks_from": "systemd"},
                "vars": {
                    "__hypervisor_read": read,
                    "__hypervisor_is_systemd": True,
                    "__hypervisor_guests_file": str(tmp_path / "libvirt-guests"),
                },
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "--check", "--diff"]
    done = subprocess.run(
        [*command, str(tmp_path / "play.yml")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if program in line]
    sums = [hashlib.sha256(text.encode()).hexdigest()[:12] for text in ("old",)]
    assert len(lines) == 1 and f"({sums[0]} -> " in lines[0], done.stdout
    assert "import subprocess" not in done.stdout and "[Unit]" not in done.stdout
    assert "+SHUTDOWN_TIMEOUT=120" in done.stdout, "what the user said is shown"
