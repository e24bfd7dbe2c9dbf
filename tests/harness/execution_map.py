# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests execute which line of the files that write: the unit tests and the matrix, watched once and kept.

Kept by file of tests, in ``.build/mutants/map``. A file of tests runs again when it is another one, or when a file that writes
came to a folder whose code it executes; a run that was stopped goes on where it was. A source that was edited since keeps its
lines where they went: a line that is new has the tests of its function, a function that is new those of its file.

As a plugin of pytest it is the part in the workers: it keeps the lines of one test apart from those of the next, and writes
down which tests passed and how long they took. Children of tests are followed by ``tracing/sitecustomize.py``.
"""

from __future__ import annotations

import ast
import collections
import difflib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
TRACING = Path(__file__).with_name("tracing")
TESTS = ("tests/unit/plugins", "tests/matrix")
# What they execute is drawn anew each time.
NEVER = "test_kills.py"
FOLDER = BUILD / "mutants" / "map"
# So many files of tests are watched before what they told is kept.
AT_ONCE = 6
PASSED = "passed"

# By file and line, the tests that execute it.
Lines = Mapping[str, Mapping[int, Sequence[str]]]


class Watched(t.NamedTuple):
    """What one file of tests executes. *seconds* of each test that passed; *sources* are digests of the files that were watched."""

    digest: str
    sources: Mapping[str, str]
    seconds: Mapping[str, float]
    lines: Lines


class ExecutionMap(t.NamedTuple):
    seconds: dict[str, float]
    """Of each test that passed."""
    tests: dict[str, dict[int, set[str]]]
    """By file and line, as the files are now."""

    def of(self, file: str, lines: range) -> list[str]:
        """The tests that execute one of these lines: those without a host first, then by their duration.

        Those of one file stay together: they share what is made for the file.
        """
        tests = self.tests.get(file, {})
        found: set[str] = set()
        # Where no test is known of the lines, they are new: in a known function, or in a new one.
        for around in (lines, _function(file, lines.start), tests):
            found = set().union(*(tests.get(line, ()) for line in around)) & self.seconds.keys()
            if found:
                break
        least: dict[str, float] = {}
        for test in found:
            its = test.partition("::")[0]
            least[its] = min(least.get(its, self.seconds[test]), self.seconds[test])

        def rank(test: str) -> tuple[bool, float, str, float]:
            its = test.partition("::")[0]
            return not test.startswith("tests/unit/"), least[its], its, self.seconds[test]

        return sorted(found, key=rank)


def execution_map(files: Sequence[str], cells: int) -> ExecutionMap:
    """The map of *files* (paths below the root of the collection)."""
    (FOLDER / "sources").mkdir(parents=True, exist_ok=True)
    for file in files:
        (FOLDER / "sources" / digest(file)).write_bytes((ROOT / file).read_bytes())
    known = {file: load(file) for file in test_files()}
    stale = [file for file, watched in known.items() if watched is None or is_stale(file, watched, files)]
    for start in range(0, len(stale), AT_ONCE):
        some = stale[start : start + AT_ONCE]
        print(f"map: watching {', '.join(some)} ({len(stale) - start} of {len(known)} left)", flush=True)
        watch(some, files, cells)
    return merge(filter(None, map(load, known)), files)


def test_files() -> list[str]:
    found = (path for folder in TESTS for path in sorted((ROOT / folder).rglob("test_*.py")))
    return [str(path.relative_to(ROOT)) for path in found if path.name != NEVER]


def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


def is_stale(test_file: str, watched: Watched, files: Iterable[str]) -> bool:
    """Whether the tests are others, or a file came that they may execute."""
    folders = {os.path.dirname(file) for file in watched.lines}
    return watched.digest != digest(test_file) or any(
        file not in watched.sources and os.path.dirname(file) in folders for file in files
    )


def watch(test_files: Sequence[str], files: Sequence[str], cells: int) -> None:
    """Run some files of tests, and keep what they execute. Some tests may fail by being watched: they are left out."""
    work = FOLDER.with_name("watching")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    sources = {file: digest(file) for file in files}
    digests = {file: digest(file) for file in test_files}
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(TRACING), str(BUILD))),
        "EXECUTION_MAP": str(work),
        "EXECUTION_FILES": ":".join(files),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    workers = f"{cells}*popen//python={ROOT}/tests/tools/cell {sys.executable}"
    plugin = "ansible_collections.homelab.hybrid.tests.harness.execution_map"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "--dist", "worksteal", "--tx", workers, *test_files]
    with (FOLDER.parent / "map.log").open("a") as log:
        status = subprocess.run(argv, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False).returncode
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the map of executed lines could not be made: see {log.name}")
    seconds: dict[str, dict[str, float]] = collections.defaultdict(dict)
    lines: dict[str, dict[str, dict[int, list[str]]]] = collections.defaultdict(lambda: collections.defaultdict(dict))
    for test, file, value in read(work):
        tests = test.partition("::")[0]
        if file == PASSED:
            seconds[tests][test] = float(value)
        else:
            lines[tests][file].setdefault(int(value), []).append(test)
    for tests in test_files:
        save(tests, Watched(digests[tests], sources, seconds[tests], lines[tests]))
    shutil.rmtree(work)


def read(folder: Path) -> Iterator[Sequence[str]]:
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            yield line.split("\t")


def place(test_file: str) -> Path:
    return FOLDER / f"{test_file.replace('/', '+')}.json"


def save(test_file: str, watched: Watched) -> None:
    place(test_file).write_text(json.dumps(watched._asdict()))


def load(test_file: str) -> Watched | None:
    try:
        data = json.loads(place(test_file).read_text())
    except FileNotFoundError:
        return None
    lines = {file: {int(line): tests for line, tests in its.items()} for file, its in data.pop("lines").items()}
    return Watched(**data, lines=lines)


def merge(all_watched: Iterable[Watched], files: Sequence[str]) -> ExecutionMap:
    """One map of all that was watched, its lines where they are now in *files*."""
    seconds: dict[str, float] = {}
    tests: dict[str, dict[int, set[str]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for watched in all_watched:
        seconds.update(watched.seconds)
        for file in watched.lines.keys() & {*files}:
            moved = moved_lines(watched.sources[file], digest(file))
            for line, its in watched.lines[file].items():
                if line in moved:
                    tests[file][moved[line]].update(its)
    return ExecutionMap(seconds, tests)


@functools.cache
def moved_lines(before: str, after: str) -> dict[int, int]:
    """Where each line of a source went, the sources given by their digests."""
    old, new = ((FOLDER / "sources" / each).read_text().splitlines() for each in (before, after))
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.a + index + 1: block.b + index + 1 for block in blocks for index in range(block.size)}


def _function(file: str, line: int) -> range:
    """The lines of the innermost function around *line*."""
    nodes = (node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef))
    around = [range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in nodes]
    return min((each for each in around if line in each), key=len, default=range(0))


# ---- in the workers -------------------------------------------------------------------------------------------------


def tracer() -> t.Any:
    return sys.modules.get("sitecustomize") if os.environ.get("EXECUTION_MAP") else None


def pytest_runtest_logstart(nodeid: str) -> None:
    if module := tracer():
        module.seen.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (module := tracer()) and report.when == "call" and report.passed:
        module.write(f"{item.nodeid}\t{PASSED}\t{report.duration}\n")
    return report
