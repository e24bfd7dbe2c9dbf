# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove lines of apply one by one, drawn from a printed seed, and show that the tests fail without them.

``mutants.py [--count 20] [--seed N] [--only FOLDER]``. A line is a whole simple statement of a function in a file that
writes (``apply.py``, ``driver_*.py`` and their like). It is replaced by ``pass`` in a copy of the collection, and the tests
that belong to the file's resource run against that copy. A ``yield Step(...)`` is only a name for a moment, a docstring and
an import write nothing: they are not drawn.
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
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MODULE_UTILS = Path("plugins/module_utils")
COPY = ROOT / ".build" / "mutants" / "ansible_collections" / "homelab" / "hybrid"
TIMEOUT_SECONDS = 600

# Which files write, and which tests belong to them. The quick ones come first.
RESOURCES = {
    "_storage": (
        ["apply.py", "source.py", "drivers/folder.py"],
        ["tests/unit/plugins/module_utils/_storage", "tests/matrix/test_storage_pool.py"],
    ),
    "_bridge": (
        ["network/apply.py", "network/replug.py", "network/forwarding.py", "link/apply.py", "link/manager.py"],
        ["tests/unit/plugins/module_utils/_bridge", "tests/matrix/test_bridge*.py"],
    ),
    "_image": (["apply.py"], ["tests/unit/plugins/module_utils/_image", "tests/matrix/test_image.py"]),
    "_container": (
        ["apply.py", "live.py"],
        ["tests/unit/plugins/module_utils/_container", "tests/matrix/test_container_*.py"],
    ),
    "_guest": (["run.py", "ownership.py"], ["tests/unit/plugins/module_utils/_guest", "tests/matrix/test_vm_*.py"]),
    "_vm": (
        ["backend.py", "power.py", "storage.py"],
        ["tests/unit/plugins/module_utils/_vm", "tests/matrix/test_vm_*.py"],
    ),
    "_layout": (
        ["crew.py"],
        ["tests/unit/plugins/module_utils/_layout", "tests/matrix/test_layout.py"],
    ),
}


class Line(NamedTuple):
    """A statement that can be removed."""

    folder: str
    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.file}:{self.first}: {self.text}"


def removable(folder: str, file: str) -> list[Line]:
    """The statements of one file that write."""
    source = (ROOT / MODULE_UTILS / folder / file).read_text()
    found = []
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign)) and is_effect(node):
                text = (ast.get_source_segment(source, node) or "").splitlines()[0]
                found.append(Line(folder, file, node.lineno, node.end_lineno or node.lineno, text))
    return sorted(set(found))


def is_effect(node: ast.Expr | ast.Assign | ast.AugAssign) -> bool:
    value = node.value
    if isinstance(value, ast.Constant):
        return False
    if isinstance(value, ast.Yield) and isinstance(value.value, ast.Call):
        return not (isinstance(value.value.func, ast.Name) and value.value.func.id == "Step")
    return True


def copy_collection() -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    ignored = shutil.ignore_patterns(".build", ".git", "__pycache__", ".ansible", ".hypothesis")
    shutil.copytree(ROOT, COPY, ignore=ignored, symlinks=True)


def is_caught(line: Line) -> tuple[bool, str]:
    """Whether the tests of its resource fail without *line*, and the name of the first that does."""
    target = COPY / MODULE_UTILS / line.folder / line.file
    original = target.read_text()
    lines = original.splitlines(keepends=True)
    indent = lines[line.first - 1][: len(lines[line.first - 1]) - len(lines[line.first - 1].lstrip())]
    lines[line.first - 1 : line.last] = [f"{indent}pass\n"]
    target.write_text("".join(lines))
    try:
        tests = [
            str(path.relative_to(COPY)) for pattern in RESOURCES[line.folder][1] for path in sorted(COPY.glob(pattern))
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(COPY), *tests],
            cwd=COPY,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".build" / "mutants"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True, "took too long"
    finally:
        target.write_text(original)
    failed = [each for each in done.stdout.splitlines() if each.startswith(("FAILED", "ERROR"))]
    return done.returncode == 1 and bool(failed), failed[0][:150] if failed else done.stdout.splitlines()[-1][:150]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=sorted(RESOURCES), help="draw from one resource only")
    options = parser.parse_args()
    folders = [options.only] if options.only else [name for name in RESOURCES if (ROOT / MODULE_UTILS / name).is_dir()]
    lines = [line for folder in folders for file in RESOURCES[folder][0] for line in removable(folder, file)]
    drawn = random.Random(options.seed).sample(lines, min(options.count, len(lines)))
    print(f"mutants: {len(drawn)} of {len(lines)} lines, seed {options.seed}", flush=True)
    copy_collection()
    caught = 0
    for number, line in enumerate(drawn, 1):
        started = time.monotonic()
        is_dead, by = is_caught(line)
        caught += is_dead
        print(
            f"{number:3} {'caught ' if is_dead else 'MISSED '} {time.monotonic() - started:5.1f} s  {line}\n      {by}",
            flush=True,
        )
    print(f"mutants: {caught} of {len(drawn)} caught")
    return 0 if caught * 20 >= len(drawn) * 19 else 1


if __name__ == "__main__":
    sys.exit(main())
