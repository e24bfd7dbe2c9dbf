# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role says what it takes, and takes what it says."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from unit.tree import ROLES, files, tasks_of

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
def test_defaults_are_the_documented_ones(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    options = inputs(role)
    assert (role / "meta" / "argument_specs.yml").exists()
    assert defaults.keys() <= options.keys()
    for name, option in options.items():
        assert option.get("description"), name
        if name in defaults and not is_template(defaults[name]):
            assert option.get("default") == defaults[name], name
        elif "default" in option:
            assert name in defaults, f"{name}: its default is missing in defaults/main.yml"


def is_template(value: t.Any) -> bool:
    return isinstance(value, str) and "{{" in value


@each_role
def test_variables_bear_the_name_of_the_role(role: Path) -> None:
    name = role.name.lstrip("_")
    assert not [key for key in inputs(role) if not key.startswith(f"{name}_")]
    assert not [key for key in load(role / "vars" / "main.yml") if not key.startswith(f"__{name}_")]
    for path in files(role / "tasks", "*.yml"):
        for task in tasks_of(path.read_text(encoding="utf-8")):
            own = [task["register"]] if "register" in task else []
            assert not [key for key in own if not key.startswith(f"__{name}_")], f"{path}: {task.get('name')}"
            facts = [key for key in task.get("ansible.builtin.set_fact") or {} if key != "cacheable"]
            prefixes = (f"__{name}_", f"{name}_")
            assert not [key for key in facts if not key.startswith(prefixes)], f"{path}: {task.get('name')}"


@each_role
def test_the_readme_names_every_variable(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    assert not [name for name in inputs(role) if f"`{name}`" not in text]


@each_role
def test_tasks_work_in_check_mode(role: Path) -> None:
    for path in files(role, "*.yml"):
        if path.parent.name not in ("tasks", "handlers"):
            continue
        for task in tasks_of(path.read_text(encoding="utf-8")):
            assert "ignore_errors" not in task, f"{path}: {task.get('name')}"
            assert "ansible.builtin.shell" not in task or "changed_when" in task, f"{path}: {task.get('name')}"
