# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove lines that write one by one, drawn from a printed seed, and show that the tests fail without them.

``mutants.py [--count 20] [--seed N] [--only ROOM] [--jobs N]``. A line is a whole simple statement of a function in a file
whose head says ``# WRITES``. It is replaced by ``pass`` in a copy of the collection, and the tests that lead to the file by
their imports run against that copy, each file in a cell of its own: those without a host first, then the nearest. A
``yield Step(...)`` is only a name for a moment, a docstring and an import write nothing: they are not drawn.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from unit.tree import SHARED, SHARED_FILES, files, imports, marks, path_of

COPIES = ROOT / ".build" / "mutants"
INSIDE = Path("ansible_collections") / "homelab" / "hybrid"
# A file of the matrix takes minutes; without the line a test may wait for what never comes.
TIMEOUT_SECONDS = 900


class Line(NamedTuple):
    """A statement that can be removed."""

    path: Path
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(SHARED)}:{self.first}: {self.text}"


def removable(path: Path) -> list[Line]:
    """The statements of one file that write."""
    source = path.read_text(encoding="utf-8")
    found = []
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign)) and is_effect(node):
                text = (ast.get_source_segment(source, node) or "").splitlines()[0]
                found.append(Line(path, node.lineno, node.end_lineno or node.lineno, text))
    return sorted(set(found))


def is_effect(node: ast.Expr | ast.Assign | ast.AugAssign) -> bool:
    value = node.value
    if isinstance(value, ast.Constant):
        return False
    if isinstance(value, ast.Yield) and isinstance(value.value, ast.Call):
        return not (isinstance(value.value.func, ast.Name) and value.value.func.id == "Step")
    return True


def importers() -> dict[Path, set[Path]]:
    """Of each file of the shared code and of the harness, the files that import it."""
    found: dict[Path, set[Path]] = {}
    for path in [*SHARED_FILES, *files(ROOT / "tests" / "harness"), *TESTS]:
        for target in {path_of(each.module) for each in imports(path)} - {None, path}:
            found.setdefault(target, set()).add(path)
    return found


TESTS = [path for tier in ("unit/plugins", "matrix") for path in files(ROOT / "tests" / tier, "test_*.py")]


def tests_of(path: Path, importers_of: dict[Path, set[Path]]) -> list[Path]:
    """The files of tests that lead to *path* by their imports: those without a host first, then the nearest."""
    distances, waiting = {path: 0}, [path]
    for near in waiting:
        for other in sorted(importers_of.get(near, set()) - distances.keys()):
            distances[other] = distances[near] + 1
            waiting.append(other)
    return sorted(
        (test for test in TESTS if test in distances),
        key=lambda test: (test.is_relative_to(ROOT / "tests" / "matrix"), distances[test], test),
    )


def copy_collection(number: int) -> Path:
    """A copy of the collection of its own for each job."""
    copy = COPIES / str(number) / INSIDE
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns(".build", ".git", "__pycache__", ".ansible", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    (copy / ".build").mkdir()
    for name in ("venv", "cache"):
        (copy / ".build" / name).symlink_to(ROOT / ".build" / name)
    return copy


def is_caught(line: Line, tests: list[Path], copy: Path) -> tuple[bool, str]:
    """Whether one of *tests* fails in *copy* without *line*, and the name of the first that does."""
    target = copy / line.path.relative_to(ROOT)
    original = target.read_text(encoding="utf-8")
    lines = original.splitlines(keepends=True)
    indent = lines[line.first - 1][: len(lines[line.first - 1]) - len(lines[line.first - 1].lstrip())]
    lines[line.first - 1 : line.last] = [f"{indent}pass\n"]
    matrix = [test for test in tests if is_of_host(test)]
    groups = [[test for test in tests if not is_of_host(test)], *([test] for test in matrix)]
    for group in filter(None, groups):
        target.write_text("".join(lines), encoding="utf-8")
        try:
            failed = failure_of([str(test.relative_to(ROOT)) for test in group], copy)
        finally:
            target.write_text(original, encoding="utf-8")
        # What fails with the line too proves nothing.
        if failed is not None and failure_of([failed], copy) is None:
            return True, failed
    return False, f"none of {len(tests)} files of tests fails"


def is_of_host(test: Path) -> bool:
    return test.is_relative_to(ROOT / "tests" / "matrix")


def failure_of(tests: list[str], copy: Path) -> str | None:
    """The first of *tests* (files, or one test) that fails in *copy*; the first of them where they take too long."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(copy), *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy.parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = environment["PYTHONPATH"]
    cell = ["tests/tools/cell"] if tests[0].startswith("tests/matrix") else []
    try:
        done = subprocess.run(
            [*cell, *pytest],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return tests[0]
    failed = [each.split(" ")[1] for each in done.stdout.splitlines() if each.startswith(("FAILED ", "ERROR "))]
    if done.returncode and not failed:
        raise SystemExit(f"mutants: {tests[0]} could not be run:\n{done.stdout}{done.stderr}")
    return failed[0] if failed else None


def main() -> int:
    writers = [path for path in SHARED_FILES if "WRITES" in marks(path)]
    rooms = sorted({path.relative_to(SHARED).parts[0] for path in writers})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=rooms, help="draw from one room only")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many at once")
    options = parser.parse_args()
    lines = [
        line
        for path in writers
        if options.only in (None, path.relative_to(SHARED).parts[0])
        for line in removable(path)
    ]
    drawn = random.Random(options.seed).sample(lines, min(options.count, len(lines)))
    print(f"mutants: {len(drawn)} of {len(lines)} lines, seed {options.seed}", flush=True)
    importers_of = importers()
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(options.jobs):
        copies.put(copy_collection(number))

    def judge(line: Line) -> bool:
        copy, started = copies.get(), time.monotonic()
        try:
            is_dead, by = is_caught(line, tests_of(line.path, importers_of), copy)
        finally:
            copies.put(copy)
        verdict = "caught" if is_dead else "MISSED"
        print(f"{verdict} {time.monotonic() - started:5.1f} s  {line}\n      {by}", flush=True)
        return is_dead

    with ThreadPoolExecutor(options.jobs) as pool:
        caught = sum(pool.map(judge, drawn))
    print(f"mutants: {caught} of {len(drawn)} caught")
    return 0 if caught * 20 >= len(drawn) * 19 else 1


if __name__ == "__main__":
    sys.exit(main())
