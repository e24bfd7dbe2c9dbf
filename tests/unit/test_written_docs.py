# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``make docs`` writes into the documentation of modules and into roles follows from rows and argument specs, and is not stale."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import typing as t

import pytest
import yaml
from unit.tree import ROOT

SPEC = """\
argument_specs:
  main:
    short_description: A board
    options: &options
      board_text: {type: str, required: true, description: What it says.}
      board_port:
        description: Where it listens, as O(board_text) says, or V(80|81).
        type: int
        default: 80
      board_pages:
        description: [Its pages., More than one.]
        type: list
        elements: dict
        default:
          - {name: first}
          - name: second
        options:
          name: {type: str, required: true, description: How it is called.}
      board_address:
        description: Where it is asked. Without this, at the address of the guest.
        type: str
  check:
    short_description: Asks it
    options: *options
"""
TEMPLATE = """\
board_address: >-
  {{ ansible_facts['default_ipv4']['address']
     | default('127.0.0.1') }}
"""
DEFAULTS = """\
---
# Written by `make docs` from meta/argument_specs.yml, but for the values that are templates.

# Where it listens, as `board_text` says, or `80|81`.
board_port: 80

# Its pages. More than one. Items: name.
board_pages:
  - {name: first}
  - name: second

# Where it is asked. Without this, at the address of the guest.
"""
README = """\
# board

## Inputs

| variable | default | meaning |
|---|---|---|
| `board_text` | required | What it says. |
| `board_port` | `80` | Where it listens, as `board_text` says, or `80\\|81`. |
| `board_pages` | `[{name: first}, {name: second}]` | Its pages. More than one. |
| `board_pages[].name` | required | How it is called. |
| `board_address` | worked out | Where it is asked. Without this, at the address of the guest. |

## Example
"""


@functools.cache
def role_docs() -> t.Any:
    """The program, which is no part of a package."""
    sys.path.insert(0, str(ROOT / "tests" / "tools"))
    return importlib.import_module("role_docs")


@pytest.mark.parametrize("tool", ["option_docs", "layout_docs", "private_docs", "role_docs"])
def test_what_make_docs_writes_is_not_stale(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tools" / f"{tool}.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_defaults_are_those_of_the_spec_and_templates_that_stand() -> None:
    written = role_docs().defaults_file(SPEC, f"# by hand\nboard_port: 81\n{TEMPLATE}")
    assert written == DEFAULTS + TEMPLATE
    assert role_docs().defaults_file(SPEC, written) == written
    assert yaml.safe_load(written)["board_pages"] == [{"name": "first"}, {"name": "second"}]


def test_the_table_names_each_variable_and_each_key() -> None:
    page = README.replace("| `board_port` | `80`", "| `board_port` | `81`")
    assert role_docs().readme(page, role_docs().table(SPEC, TEMPLATE)) == README


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("board_text: Tea\n", "board_text is required, and has a default"),
        ("board_port: '{{ 80 }}'\n", "board_port has one default in meta/argument_specs.yml, and a template"),
        ("board_address: 127.0.0.1\n", "the default of board_address belongs into meta/argument_specs.yml"),
        ("board_colour: red\n", "board_colour is no option"),
    ],
)
def test_a_default_that_the_spec_does_not_know_is_refused(old: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        role_docs().defaults_file(SPEC, old)


def test_a_template_in_a_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="board_port is a template"):
        role_docs().defaults_file(SPEC.replace("default: 80", "default: '{{ 80 }}'"), "")
