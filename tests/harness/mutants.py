# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove lines that write one by one, drawn from a printed seed, and show that the tests fail without them.

``mutants.py [--count 20] [--seed N] [--only FOLDER] [--cells N]``. A line is a whole simple statement of a function in a file
that is marked as one that writes (``# WRITES`` in its first lines). The unit tests and the matrix run once with all such
lines marked, so that they tell which test executes which (``executed_lines``). Then each drawn line is replaced by ``pass``, in a cell
that sees the changed file in place of the file, and the tests that execute it run there, the quick ones first, until one fails
that does not fail with the line in place as well. A line that no test executes, or that none misses, is not caught.
A ``yield Step(...)`` is only a name for a moment, a docstring and an import write nothing, and that something is flushed to the
disk shows when the power goes: they are not drawn.

What was seen is kept in ``.build/mutants`` as long as the files that write are the same: the command again goes on where it was
stopped, watches the files of tests that were edited since, and judges anew what was not caught.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import executed_lines
from ansible_collections.homelab.hybrid.tests.harness.executed_lines import BUILD, ROOT, Line, Watched
from ansible_collections.homelab.hybrid.tests.unit.tree import SHARED_FILES, marks

MODULE_UTILS = "plugins/module_utils"
MARK = "WRITES"
FLUSHES = ("flush", "fsync", "sync_folder")
# Tests of this many seconds run in the first cell of a line, of twice as many in the next, and so on up to all.
FIRST_SECONDS = 15.0
ALL_SECONDS = 150.0
# A change can make a test wait for ever. What a run may take is a multiple of what its tests took before.
PATIENCE = 3
PATIENCE_SECONDS = 45


def files_that_write() -> list[str]:
    """Those with the mark, as paths below the root of the collection."""
    return [str(path.relative_to(ROOT)) for path in SHARED_FILES if MARK in marks(path)]


def removable(file: str) -> list[Line]:
    """The statements of one file that write, each alone on its lines."""
    source = (ROOT / file).read_text()
    lines = source.splitlines()
    found = set()
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign)) and is_effect(node):
                before = lines[node.lineno - 1].encode()[: node.col_offset]
                if not before.strip():
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


def judge(line: Line, watched: Watched) -> Verdict:
    """Whether a test that executes *line* fails without it, and does not with it."""
    tests = watched.tests_of(line)
    if not tests:
        return Verdict(False, "no test executes it", 0, 0.0)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".mutant.", dir=BUILD / "mutants") as folder:
        changed = Path(folder, "changed.py")
        changed.write_text(without(line))
        for some in portions(tests, watched):
            if by := caught_by(some, line, changed, watched):
                return Verdict(True, by, len(tests), time.monotonic() - began)
    return Verdict(False, "none fails", len(tests), time.monotonic() - began)


def portions(tests: Sequence[str], watched: Watched) -> Iterator[list[str]]:
    """*tests* in their order, a few quick ones first, as far as the time goes."""
    limit, left, some, seconds = FIRST_SECONDS, ALL_SECONDS, list[str](), 0.0
    for test in tests:
        if some and (seconds + watched.seconds[test] > min(limit, left)):
            yield some
            left -= seconds
            limit, some, seconds = 2 * limit, [], 0.0
        if watched.seconds[test] > left:
            break
        some.append(test)
        seconds += watched.seconds[test]
    if some:
        yield some


def caught_by(tests: Sequence[str], line: Line, changed: Path, watched: Watched) -> str | None:
    """Which of *tests* fails with *changed* in place of the file of *line* and not without it."""
    whole = ROOT / line.file
    left = list(tests)
    while left:
        failed = failures(left, line, changed, watched)
        if failed is None:
            return (
                None if failures(left, line, whole, watched) is None else f"waits for ever: {left[0]} or one after it"
            )
        if not failed:
            return None
        first = next((test for test in left if test in failed), left[0])
        if failures([first], line, whole, watched) == set():
            return first
        # It goes on with what tests before it in its file have made.
        story = watched.story(first)
        if (
            len(story) > 1
            and failures(story, line, whole, watched) == set()
            and failures(story, line, changed, watched) != set()
        ):
            return f"{first} or one before it in its file"
        left = left[left.index(first) + 1 :]
    return None


def failures(tests: Sequence[str], line: Line, content: Path, watched: Watched) -> set[str] | None:
    """The first of *tests* that fails in a cell where *content* is in place of the file of *line*. None where they wait for ever."""
    limit = PATIENCE_SECONDS + PATIENCE * sum(watched.seconds[test] for test in tests)
    with tempfile.NamedTemporaryFile("w", prefix=".tests.", dir=BUILD / "mutants") as chosen:
        chosen.write("\n".join(tests) + "\n")
        chosen.flush()
        done = run(content, ROOT / line.file, Path(chosen.name), limit)
    if done is None:
        return None
    lines = [each for each in done.stdout.splitlines() if each.startswith(("FAILED ", "ERROR "))]
    if done.returncode and not lines:
        raise SystemExit(f"mutants: {tests[0]} could not be run:\n{done.stdout}{done.stderr}")
    return {each.split(" ", 1)[1].partition(" - ")[0] for each in lines}


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


def place(files: Sequence[str]) -> Path:
    """The folder of what was seen with the files that write as they are."""
    digest = hashlib.sha256()
    for file in files:
        digest.update((ROOT / file).read_bytes())
    folder = BUILD / "mutants" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--only", metavar="FOLDER", default="", help="draw from one folder of module_utils, as _storage"
    )
    parser.add_argument("--cells", type=int, default=2, help="how many run at once")
    options = parser.parse_args()
    files = files_that_write()
    lines = [line for file in files for line in removable(file)]
    some = [line for line in lines if line.file.startswith(f"{MODULE_UTILS}/{options.only}")]
    drawn = draw(some, options.count, options.seed)
    print(f"mutants: {len(drawn)} of {len(some)} lines of {len(files)} files, seed {options.seed}", flush=True)
    began = time.monotonic()
    folder = place(files)
    watched = executed_lines.watch(lines, folder, options.cells)
    print(f"mutants: the tests were watched, {time.monotonic() - began:.0f} s", flush=True)
    known = folder / "caught"
    before = known.read_text().splitlines() if known.exists() else []
    caught = sum(str(line) in before for line in drawn)
    with concurrent.futures.ThreadPoolExecutor(options.cells) as pool:
        running = {pool.submit(judge, line, watched): line for line in drawn if str(line) not in before}
        for done in concurrent.futures.as_completed(running):
            line, verdict = running[done], done.result()
            caught += verdict.is_caught
            word = "caught" if verdict.is_caught else "MISSED"
            print(f"{word} {verdict.seconds:5.1f} s  {line}", flush=True)
            print(f"      {verdict.by} ({verdict.tests} tests execute it)", flush=True)
            if verdict.is_caught:
                with known.open("a") as stream:
                    stream.write(f"{line}\n")
    print(f"mutants: {caught} of {len(drawn)} caught in {time.monotonic() - began:.0f} s")
    return 0 if caught * 20 >= len(drawn) * 19 else 1


if __name__ == "__main__":
    sys.exit(main())
