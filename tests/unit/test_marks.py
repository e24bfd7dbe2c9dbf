# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file says in its head what it may do: ``# PURE`` reaches no effects, ``# WRITES`` changes the host, no mark only reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from unit.tree import SHARED, SHARED_FILES, imports, parse, path_of, relative

# The rooms whose files bear marks.
ROOMS = ("_bridge",)
EFFECTS = frozenset(
    "os subprocess libvirt libvirt_qemu lxc ansible socket shutil pathlib tempfile fcntl ctypes multiprocessing".split()
)
# Calls that change the host, whatever they are called on.
WRITING = frozenset("write_file remove_file save remove plug_in networkDefineXML setAutostart destroy undefine".split())

FILES = [path for path in SHARED_FILES if path.relative_to(SHARED).parts[0] in ROOMS]
each_file = pytest.mark.parametrize("path", FILES, ids=relative)


def marks(path: Path) -> set[str]:
    """The marks in the comments above the docstring."""
    head = path.read_text(encoding="utf-8").partition('"""')[0].splitlines()
    return {line.removeprefix("# ") for line in head} & {"PURE", "WRITES"}


def inside(path: Path) -> set[Path]:
    """The shared files that a file imports, also in functions and for types alone."""
    return {target for found in imports(path) if (target := path_of(found.module)) is not None}


def effects_of(path: Path, way: tuple[Path, ...] = ()) -> str | None:
    """The first way from a file to an effect, as a sentence."""
    if path in way:
        return None
    own = next((found.module for found in imports(path) if found.top in EFFECTS), None)
    if own is not None:
        return " -> ".join([*map(relative, (*way, path)), own])
    return next((told for target in sorted(inside(path)) if (told := effects_of(target, (*way, path)))), None)


@pytest.mark.parametrize("path", [path for path in FILES if "PURE" in marks(path)], ids=relative)
def test_a_pure_file_reaches_no_effects(path: Path) -> None:
    assert effects_of(path) is None


@pytest.mark.parametrize("path", [path for path in FILES if "WRITES" not in marks(path)], ids=relative)
def test_a_file_that_writes_says_so(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Call):
            continue
        where = f"{relative(path)}:{node.lineno}"
        is_writing = isinstance(node.func, ast.Attribute) and node.func.attr in WRITING
        is_list = is_writing and "PURE" in marks(path)  # what a pure file removes from is in memory
        assert not is_writing or is_list, f"{where}: {ast.unparse(node.func)} writes"
        is_open = isinstance(node.func, ast.Name) and node.func.id == "open"
        assert not is_open, f"{where}: read with atomic.read_text, write in a file that is marked"


@each_file
def test_a_file_that_only_reads_loads_no_writer(path: Path) -> None:
    if "WRITES" in marks(path):
        return
    for node in parse(path).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            targets = {path_of(found.module) for found in imports(path) if found.line in lines}
            writers = [target for target in targets if target in FILES and "WRITES" in marks(target)]
            assert not writers, f"{relative(path)}:{node.lineno}: most runs have nothing to write"


@each_file
def test_no_file_imports_itself_through_others(path: Path) -> None:
    waiting, seen = [(target, (path, target)) for target in inside(path)], set()
    while waiting:
        target, way = waiting.pop()
        assert target != path, f"circle: {' -> '.join(map(relative, way))}"
        if target not in seen and target in FILES:
            seen.add(target)
            waiting += [(further, (*way, further)) for further in inside(target)]
