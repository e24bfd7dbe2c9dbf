# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove lines that write one by one, drawn from a printed seed, and show that the tests fail without them.

``mutants.py [--count 20] [--seed N] [--only FOLDER] [--cells N]``. A line is a whole simple statement of a function in a file
that is marked as one that writes (``# WRITES`` in its first lines). It is replaced by ``pass``, in a cell that sees the changed
file in place of the file, and the tests that execute the line run there, the quick ones first, until one fails that does not
fail with the line in place as well. Which tests these are tells a map that is made once (``execution_map``). A
``yield Step(...)`` is only a name for a moment, a docstring and an import write nothing, and that something is flushed to the disk
shows when the power goes: they are not drawn.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import os
import random
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.execution_map import BUILD, ROOT, ExecutionMap, execution_map
from ansible_collections.homelab.hybrid.tests.unit.tree import SHARED_FILES, marks

MODULE_UTILS = "plugins/module_utils"
MARK = "WRITES"
FLUSHES = ("fsync", "sync_folder")
# A change can make a test wait for ever. What a run may take is a multiple of what its tests took when the map was made.
PATIENCE = 5
PATIENCE_SECONDS = 60


class Line(t.NamedTuple):
    """A statement that can be removed."""

    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.file.removeprefix(MODULE_UTILS + '/')}:{self.first}: {self.text}"


def files_that_write() -> list[str]:
    """Those with the mark, as paths below the root of the collection."""
    return [str(path.relative_to(ROOT)) for path in SHARED_FILES if MARK in marks(path)]


def removable(file: str) -> list[Line]:
    """The statements of one file that write."""
    source = (ROOT / file).read_text()
    found = set()
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign)) and is_effect(node):
                text = (ast.get_source_segment(source, node) or "").splitlines()[0]
                found.add(Line(file, node.lineno, node.end_lineno or node.lineno, text))
    return sorted(found)


def is_effect(node: ast.Expr | ast.Assign | ast.AugAssign) -> bool:
    value = node.value
    if isinstance(value, ast.Constant):
        return False
    if isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in FLUSHES:
        return False
    if isinstance(value, ast.Yield) and isinstance(value.value, ast.Call):
        return not (isinstance(value.value.func, ast.Name) and value.value.func.id == "Step")
    return True


def without(line: Line) -> str:
    """The source of the file without the statement."""
    lines = (ROOT / line.file).read_text().splitlines(keepends=True)
    indent = lines[line.first - 1][: len(lines[line.first - 1]) - len(lines[line.first - 1].lstrip())]
    lines[line.first - 1 : line.last] = [f"{indent}pass\n"]
    return "".join(lines)


class Verdict(t.NamedTuple):
    is_caught: bool
    by: str
    tests: int
    seconds: float


def judge(line: Line, known: ExecutionMap) -> Verdict:
    """Whether a test that executes *line* fails without it, and does not with it."""
    tests = known.of(line.file, range(line.first, line.last + 1))
    if not tests:
        return Verdict(False, "no test executes it", 0, 0.0)
    started = time.monotonic()
    left = list(tests)
    with tempfile.TemporaryDirectory(prefix=".mutant.", dir=BUILD / "mutants") as folder:
        changed = Path(folder, "changed.py")
        changed.write_text(without(line))
        while left and (failed := first_failure(left, line, changed, known)):
            if not first_failure([failed], line, ROOT / line.file, known):
                return Verdict(True, failed, len(tests), time.monotonic() - started)
            left = left[left.index(failed) + 1 :]
    return Verdict(False, "all pass", len(tests), time.monotonic() - started)


def first_failure(tests: Sequence[str], line: Line, content: Path, known: ExecutionMap) -> str | None:
    """Which of *tests* fails first in a cell where *content* is in place of the file of *line*; the first if they wait for ever."""
    limit = PATIENCE_SECONDS + PATIENCE * sum(known.seconds[test] for test in tests)
    chosen = BUILD / "mutants" / f"tests-{os.urandom(4).hex()}"
    chosen.write_text("\n".join(tests) + "\n")
    try:
        done = run(content, ROOT / line.file, chosen, limit)
    finally:
        chosen.unlink()
    if done is None:
        return tests[0]
    lines = [each for each in done.stdout.splitlines() if each.startswith(("FAILED ", "ERROR "))]
    if done.returncode and not lines:
        raise SystemExit(f"mutants: {tests[0]} could not be run:\n{done.stdout}{done.stderr}")
    failed = {each.split(" ", 1)[1].partition(" - ")[0] for each in lines}
    return next((test for test in tests if test in failed), tests[0]) if failed else None


def run(changed: Path, file: Path, tests: Path, seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Run the tests in a cell where *changed* is in place of *file*. None where they take longer than that."""
    # The cell has mounts of its own: nobody else sees the changed file.
    script = f"mount --bind '{changed}' '{file}' && exec '{sys.executable}' -m pytest -q -x --tb=line '@{tests}'"
    environment = {**os.environ, "PYTHONPATH": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    command = [str(ROOT / "tests/tools/cell"), "bash", "-c", script]
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.terminate()
        child.communicate()
        return None
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def draw(lines: Sequence[Line], count: int, seed: int) -> list[Line]:
    return random.Random(seed).sample(lines, min(count, len(lines)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--only", metavar="FOLDER", default="", help="draw from one folder of module_utils, as _storage"
    )
    parser.add_argument("--cells", type=int, default=4, help="how many run at once")
    options = parser.parse_args()
    files = files_that_write()
    chosen = [file for file in files if file.startswith(f"{MODULE_UTILS}/{options.only}")]
    lines = [line for file in chosen for line in removable(file)]
    drawn = draw(lines, options.count, options.seed)
    print(f"mutants: {len(drawn)} of {len(lines)} lines of {len(chosen)} files, seed {options.seed}", flush=True)
    known = execution_map(files, options.cells)
    began = time.monotonic()
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(options.cells) as pool:
        running = {pool.submit(judge, line, known): line for line in drawn}
        for number, done in enumerate(concurrent.futures.as_completed(running), 1):
            verdict = done.result()
            caught += verdict.is_caught
            word = "caught" if verdict.is_caught else "MISSED"
            print(f"{number:3} {word} {verdict.seconds:5.1f} s  {running[done]}", flush=True)
            print(f"      {verdict.by} ({verdict.tests} tests execute it)", flush=True)
    print(f"mutants: {caught} of {len(drawn)} caught in {time.monotonic() - began:.0f} s")
    return 0 if caught * 20 >= len(drawn) * 19 else 1


if __name__ == "__main__":
    sys.exit(main())
