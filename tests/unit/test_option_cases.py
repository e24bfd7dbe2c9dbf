# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option that is compared is named by a test on the real host, as a path of a plan or of ``unset``."""

from __future__ import annotations

import ast
import importlib
import re
import typing as t

import pytest
from unit.tree import PACKAGE, ROOT, SHARED, files, parse, room

from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Option
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS

TESTS = {
    "bridge": "test_bridge*.py",
    "storage_pool": "test_storage_pool.py",
    "image": "test_image.py",
    "vm": "test_vm_*.py",
    "container": "test_container_*.py",
}
# What the kernel of the machines that build this does not have, and where it is proven.
ELSEWHERE = {
    "ports[].pvid": "extensions/molecule/ordinary/inventory/group_vars/hypervisors.yml",
    "ports[].vids": "extensions/molecule/ordinary/inventory/group_vars/hypervisors.yml",
}


def options(kind: t.Any) -> t.Sequence[Option]:
    own = "options" if (SHARED / room(kind) / "options.py").exists() else "spec"
    found: t.Sequence[Option] = importlib.import_module(f"{PACKAGE}.plugins.module_utils.{room(kind)}.{own}").OPTIONS
    return found


def named(pattern: str) -> set[str]:
    """The texts in the tests, with the names of items taken out; of an f-string what is not filled in."""
    found = set()
    for path in files(ROOT / "tests" / "matrix", pattern):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.sub(r"\[[^\]]*\]", "[]", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
                found.add(re.sub(r"\[[^\]]*\]", "[]", "".join(map(str, parts))))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.word))
def test_every_option_is_named_by_a_test_on_the_host(kind: t.Any) -> None:
    known = named(TESTS[kind.word])
    missing = {
        option.path
        for option in options(kind)
        if option.is_compared and not known & {option.path, f"{option.path.rpartition('.')[0]}.*"}
    }
    assert not missing - ELSEWHERE.keys()


@pytest.mark.parametrize("path", ELSEWHERE)
def test_what_is_proven_elsewhere_stands_there(path: str) -> None:
    assert f"{path.rpartition('.')[2]}:" in (ROOT / ELSEWHERE[path]).read_text(encoding="utf-8")
