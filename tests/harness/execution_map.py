# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests execute which line of the files that write: made once by all unit tests and the matrix, kept by what went in.

As a plugin of pytest it is the part in the workers: it keeps the lines of one test apart from those of the next, and writes
down which tests passed and how long they took. Children of tests are followed by ``tracing/sitecustomize.py``.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
TRACING = Path(__file__).with_name("tracing")
TESTS = ("tests/unit/plugins", "tests/matrix")
# What decides about what a test executes.
SOURCES = ("plugins", "tests/unit", "tests/matrix", "tests/harness")
PASSED = "passed"


class ExecutionMap(t.NamedTuple):
    seconds: dict[str, float]
    """Of each test that passed."""
    tests: dict[str, dict[int, set[str]]]
    """By file and line."""

    def of(self, file: str, lines: range) -> list[str]:
        """The tests that execute one of these lines: those without a host first, then by their duration."""
        found = set().union(*(self.tests.get(file, {}).get(line, ()) for line in lines)) & self.seconds.keys()
        return sorted(found, key=lambda test: (not test.startswith("tests/unit/"), self.seconds[test]))


def execution_map(files: Sequence[str], cells: int) -> ExecutionMap:
    """The map of *files* (paths below the root of the collection)."""
    folder = BUILD / "mutants" / f"map-{digest(files)}"
    if not folder.is_dir():
        work = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        make(work, files, cells)
        for old in folder.parent.glob("map-*[!w]"):
            shutil.rmtree(old)
        work.rename(folder)
    return read(folder)


def digest(files: Sequence[str]) -> str:
    sources = [path for source in SOURCES for path in sorted((ROOT / source).rglob("*.py"))]
    content = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sources)
    return hashlib.sha256(content + json.dumps(files).encode()).hexdigest()[:16]


def make(folder: Path, files: Sequence[str], cells: int) -> None:
    """Run all tests once. Some may fail by being watched: they are left out."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(TRACING), str(BUILD))),
        "EXECUTION_MAP": str(folder),
        "EXECUTION_FILES": ":".join(files),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    workers = f"{cells}*popen//python={ROOT}/tests/tools/cell {sys.executable}"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", plugin_name(), "--dist", "worksteal", "--tx", workers, *TESTS]
    with (folder.parent / "map.log").open("w") as log:
        status = subprocess.run(argv, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False).returncode
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the map of executed lines could not be made: see {log.name}")


def plugin_name() -> str:
    return "ansible_collections.homelab.hybrid.tests.harness.execution_map"


def read(folder: Path) -> ExecutionMap:
    seconds: dict[str, float] = {}
    tests: dict[str, dict[int, set[str]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            test, file, value = line.split("\t")
            if file == PASSED:
                seconds[test] = float(value)
            else:
                tests[file][int(value)].add(test)
    return ExecutionMap(seconds, tests)


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
