# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests execute some lines: the unit tests and the matrix run once, with a mark on each of these lines.

A marked line first appends a line to a file. It may run anywhere: in a module, in a worker that outlives a test, in code that the
collection keeps, in the namespaces of a guest. So the name of the present test lies in a file of the cell, and what is written
to is opened when the source is loaded.

As a plugin of pytest this is the part in the workers, which says what is collected, what runs, and how it ends. The lines of what
is written, with tabs between: ``hit, number of the line, test``; ``collected, digest of its file, test``; ``ran, digest of its
file, test, outcome, seconds``.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import os
import subprocess
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
TESTS = ("tests/unit/plugins", "tests/matrix")
# What they execute is drawn anew each time.
NEVER = "test_kills.py"
PRESENT_TEST = "/run/homelab-present-test"
OUTPUT = "EXECUTED_LINES"
FUTURE = "from __future__ import annotations"

# It must not fail the code that it is in, nor write into a descriptor that is another file's by now.
REPORTER = """
def _mark_line(number):
    try:
        try:
            with open({present!r}) as stream:
                test = stream.read()
        except OSError:
            test = _mark_line.os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        if (number, test) not in _mark_line.seen and _mark_line.os.fstat(_mark_line.output).st_ino == _mark_line.inode:
            _mark_line.seen.add((number, test))
            _mark_line.os.write(_mark_line.output, f"hit\\t{{number}}\\t{{test}}\\n".encode())
    except Exception:
        pass
try:
    _mark_line.os, _mark_line.seen = __import__("os"), set()
    _mark_line.output = _mark_line.os.open({output!r}, 0o2002001)
    _mark_line.inode = _mark_line.os.fstat(_mark_line.output).st_ino
except Exception:
    pass
"""


class Line(t.NamedTuple):
    """A statement of *file*, a path below the root of the collection."""

    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.file.removeprefix('plugins/module_utils/')}:{self.first}: {self.text}"


class Watched(t.NamedTuple):
    """What was seen of the tests that passed, in the order of their files."""

    lines: Sequence[Line]
    seconds: dict[str, float]
    hits: dict[int, set[str]]
    """By the number of the line in *lines*."""

    def tests_of(self, line: Line) -> list[str]:
        """The tests that execute *line*: those without a host first, then by their duration.

        Those of one file stay together: they share what is made for the file.
        """
        found = self.hits.get(self.lines.index(line), set()) & self.seconds.keys()
        least: dict[str, float] = {}
        for test in found:
            its = file_of(test)
            least[its] = min(least.get(its, self.seconds[test]), self.seconds[test])

        def rank(test: str) -> tuple[bool, float, str, float]:
            its = file_of(test)
            return not test.startswith("tests/unit/"), least[its], its, self.seconds[test]

        return sorted(found, key=rank)

    def story(self, test: str) -> list[str]:
        """The tests of its file up to *test*, in their order."""
        its = [each for each in self.seconds if file_of(each) == file_of(test)]
        return its[: its.index(test) + 1]


def file_of(test: str) -> str:
    return test.partition("::")[0]


def watch(lines: Sequence[Line], folder: Path, cells: int) -> Watched:
    """Run the tests with the mark on *lines*, as far as that is not seen already. *folder* keeps what they tell."""
    output = folder / "told"
    told = read(output)
    if left := [file for file in test_files() if not told.is_done(file)]:
        print(f"mutants: watching {len(left)} files of tests", flush=True)
        command = [str(ROOT / "tests/tools/cell"), str(entry(lines, folder, output)), sys.executable]
        workers = f"{cells}*popen//python={' '.join(command)}"
        plugin = "ansible_collections.homelab.hybrid.tests.harness.executed_lines"
        argv = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "--tb=short", "--tx", workers, "--dist", "loadfile"]
        environment = {**os.environ, "PYTHONPATH": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1", OUTPUT: str(output)}
        output.touch()
        # Code of a guest's own root may write here too.
        output.chmod(0o666)
        with (folder / "log").open("a") as log:
            status = subprocess.run(
                [*argv, *left], cwd=ROOT, env=environment, stdout=log, stderr=log, check=False
            ).returncode
        told = read(output)
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not all(map(told.is_done, left)):
            raise SystemExit(f"mutants: the tests could not be watched: see {log.name}")
    return Watched(lines, told.seconds(), told.hits)


def test_files() -> list[str]:
    found = (path for folder in TESTS for path in sorted((ROOT / folder).rglob("test_*.py")))
    return [str(path.relative_to(ROOT)) for path in found if path.name != NEVER]


def entry(lines: Sequence[Line], folder: Path, output: Path) -> Path:
    """A program that runs a command where the marked files are in place of the files. It is for a cell, with mounts of its own."""
    script = ["#!/bin/sh -e"]
    for number, file in enumerate(sorted({line.file for line in lines})):
        copy = folder / f"marked-{number}.py"
        copy.write_text(marked(file, lines, output))
        script.append(f"mount --bind '{copy}' '{ROOT / file}'")
    program = folder / "in-place"
    program.write_text("\n".join([*script, 'exec "$@"', ""]))
    program.chmod(0o755)
    return program


def marked(file: str, lines: Sequence[Line], output: Path) -> str:
    """The source of *file* with the marks; no line moves."""
    source = (ROOT / file).read_text().splitlines()
    for number, line in enumerate(lines):
        if line.file == file:
            text = source[line.first - 1]
            code = text.lstrip()
            source[line.first - 1] = f"{text[: len(text) - len(code)]}_mark_line({number}); {code}"
    reporter = REPORTER.format(present=PRESENT_TEST, output=str(output))
    source[source.index(FUTURE)] += f"; exec({reporter!r})"
    return "\n".join(source) + "\n"


class Told(t.NamedTuple):
    hits: dict[int, set[str]]
    collected: dict[str, dict[str, None]]
    """By file of tests and its digest, in their order."""
    ran: dict[str, dict[str, float | None]]
    """The same: how long it took, None where it did not pass."""

    def is_done(self, file: str) -> bool:
        key = f"{file} {digest(file)}"
        return key in self.collected and self.collected[key].keys() <= self.ran.get(key, {}).keys()

    def seconds(self) -> dict[str, float]:
        keys = [f"{file} {digest(file)}" for file in test_files()]
        tests = ((key, test) for key in keys for test in self.collected.get(key, ()))
        return {test: seconds for key, test in tests if (seconds := self.ran[key].get(test)) is not None}


def read(output: Path) -> Told:
    told = Told(collections.defaultdict(set), collections.defaultdict(dict), collections.defaultdict(dict))
    for line in output.read_text().splitlines() if output.exists() else ():
        kind, key, test, *rest = line.split("\t")
        if kind == "hit":
            told.hits[int(key)].add(test)
        elif kind == "collected":
            told.collected[f"{file_of(test)} {key}"][test] = None
        else:
            told.ran[f"{file_of(test)} {key}"][test] = float(rest[1]) if rest[0] == "passed" else None
    return told


@functools.cache
def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


# ---- in the workers -------------------------------------------------------------------------------------------------

_outcomes: dict[str, tuple[bool, float]] = {}


def _tell(*words: str) -> None:
    with open(os.environ[OUTPUT], "a") as stream:
        stream.write("\t".join(words) + "\n")


def _is_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def pytest_collection_finish(session: pytest.Session) -> None:
    if _is_worker():
        for item in session.items:
            _tell("collected", digest(file_of(item.nodeid)), item.nodeid)


def pytest_runtest_logstart(nodeid: str) -> None:
    if _is_worker():
        Path(PRESENT_TEST).write_text(nodeid)
        _outcomes[nodeid] = (True, 0.0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _is_worker():
        has_passed, seconds = _outcomes[report.nodeid]
        # A skipped test tells nothing.
        _outcomes[report.nodeid] = (has_passed and report.passed, seconds + report.duration)


def pytest_runtest_logfinish(nodeid: str) -> None:
    if _is_worker():
        has_passed, seconds = _outcomes.pop(nodeid)
        _tell("ran", digest(file_of(nodeid)), nodeid, "passed" if has_passed else "other", f"{seconds:.2f}")
