# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One mother of options: what is documented is what the module takes, and every example is accepted by it."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from unit.tree import MODULES, constant, documentation, dotted, imports, relative, tasks_of

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
ASPECTS = ("type", "elements", "choices", "default", "required", "aliases")
NEUTRAL = {"type": "str", "required": False, "aliases": []}
KEYWORDS = frozenset(
    (
        "name register when loop loop_control delegate_to become vars tags check_mode diff until retries delay notify"
        " no_log changed_when failed_when ignore_errors environment run_once module_defaults async poll"
    ).split()
)


def imported(path: Path, wanted: str) -> t.Any:
    """An object that the module file imports from the shared code, None when it does not."""
    for found in imports(path):
        if found.inside is not None and found.name == wanted:
            return getattr(importlib.import_module(found.module), wanted)
    return None


def arguments(path: Path) -> dict[str, t.Any]:
    """What the module takes, or where its work is all done on the control node its action plugin."""
    taken = imported(path, "ARGUMENTS")
    if taken is None:
        action = path.parents[1] / "action" / path.name
        taken = importlib.import_module(dotted(action if action.exists() else path)).ARGUMENTS
    return dict(taken)


def resource(path: Path) -> t.Any:
    """The resource that the module runs: the class imported from a file `resource`."""
    for found in imports(path):
        if found.inside is not None and found.inside[-1] == "resource" and found.name and found.name[0].isupper():
            return getattr(importlib.import_module(found.module), found.name)()
    return None


def differences(prefix: str, documented: dict[str, t.Any], accepted: dict[str, t.Any]) -> list[str]:
    found = [f"{prefix}{name}: not documented" for name in accepted.keys() - documented.keys()]
    found += [f"{prefix}{name}: documented, and not accepted" for name in documented.keys() - accepted.keys()]
    for name in sorted(documented.keys() & accepted.keys()):
        said, taken = documented[name], accepted[name]
        for aspect in ASPECTS:
            left, right = (it.get(aspect, NEUTRAL.get(aspect)) for it in (said, taken))
            if isinstance(left, list) and isinstance(right, (list, tuple)):
                right = list(right)
            if left != right:
                found.append(f"{prefix}{name}: {aspect} is documented as {left!r} and is {right!r}")
        if not said.get("description"):
            found.append(f"{prefix}{name}: no description")
        found += differences(f"{prefix}{name}.", said.get("suboptions") or {}, taken.get("options") or {})
    return found


@each_module
def test_documentation_equals_arguments(path: Path) -> None:
    assert not differences("", documentation(path).get("options") or {}, arguments(path))


@each_module
def test_every_example_is_accepted(path: Path) -> None:
    tasks = tasks_of(constant(path, "EXAMPLES") or "")
    own = [task for task in tasks if f"homelab.hybrid.{path.stem}" in task]
    assert own, f"{relative(path)}: no example"
    for task in own:
        assert task.get("name"), f"an example has no name: {task}"
        assert_accepted(path, task[f"homelab.hybrid.{path.stem}"] or {}, task["name"])


def assert_accepted(path: Path, written: dict[str, t.Any], what: str) -> None:
    """The module of the file *path* takes the options *written*, as far as they are no templates."""
    constraints = imported(path, "CONSTRAINTS") or {}
    limits = {key: value for key, value in constraints.items() if key in LIMITS}
    result = ArgumentSpecValidator(arguments(path), **limits).validate(literal(written))
    assert not result.error_messages, f"{what}: {result.error_messages}"
    if resource(path) is not None:
        resource(path).parse(result.validated_parameters)


LIMITS = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")


def literal(value: t.Any) -> t.Any:
    """A value without what only a play can know: templates."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items() if not is_template(item)}
    if isinstance(value, list):
        return [literal(item) for item in value if not is_template(item)]
    return value


def is_template(value: t.Any) -> bool:
    return isinstance(value, str) and "{{" in value


@each_module
def test_examples_use_full_names(path: Path) -> None:
    for task in tasks_of(constant(path, "EXAMPLES") or ""):
        actions = [key for key in task if key not in KEYWORDS]
        assert len(actions) == 1, f"{task.get('name')}: {actions}"
        assert actions[0].count(".") >= 2, f"{actions[0]}: not a full name"


@each_module
def test_returned_values_are_documented(path: Path) -> None:
    assert constant(path, "RETURN"), relative(path)
    told = documentation(path)
    for key in ("short_description", "description", "version_added", "author"):
        assert told.get(key), f"{relative(path)}: {key}"
    assert told["module"] == path.stem


@each_module
def test_a_private_module_says_so(path: Path) -> None:
    told = documentation(path)
    is_private = path.stem.startswith("_")
    assert told["short_description"].startswith("(private)") is is_private
    assert told["description"][0].startswith("Private to ") is is_private
