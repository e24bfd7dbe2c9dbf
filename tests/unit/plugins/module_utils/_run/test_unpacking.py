# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that is one file runs from a folder, where Python keeps what it compiled, and keeps its code until it ends."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import unpacking
from ansible_collections.homelab.hybrid.plugins.module_utils._run.packing import packed

# Tells where it runs. With words it waits for a line, and then imports what it has not imported yet.
MAIN = """
import sys
def main():
    print(__file__, flush=True)
    if sys.argv[1:]:
        sys.stdin.readline()
    from . import late
    print(late.VERSION)
    return 3
"""
START = "from tiny.program import main\nraise SystemExit(main())\n"
LONG_AGO = time.time() - 2 * unpacking._UNUSED_SECONDS


def program(folder: Path, version: int, code: Path) -> Path:
    """One whose code is unpacked below *code*, put in the place of an earlier one."""
    files = {
        "tiny/__init__.py": "",
        "tiny/program.py": MAIN,
        "tiny/late.py": f"VERSION = {version}\n",
        "__main__.py": f"{inspect.getsource(unpacking)}\nenter({str(code)!r})\n{START}",
    }
    with zipfile.ZipFile(folder / "new", "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return (folder / "new").rename(folder / "program")


def start(file: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-I", str(file), *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(file: Path) -> list[str]:
    """What it says, where it ends as it should."""
    process = start(file)
    said = process.communicate()[0].splitlines()
    assert process.returncode == 3, said
    return said


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return tmp_path / "run" / "code"


def test_what_was_compiled_is_there_for_the_next_start(tmp_path: Path, code: Path) -> None:
    file = program(tmp_path, 1, code)
    where, version = told(file)
    (place,) = code.iterdir()
    assert (where, version) == (str(place / "tiny/program.py"), "1")
    kept = list(place.glob("tiny/__pycache__/*.pyc"))
    assert {path.name.partition(".")[0] for path in kept} == {"__init__", "program", "late"}
    assert code.stat().st_mode & 0o777 == 0o700
    before = [path.stat().st_mtime_ns for path in kept]
    assert told(file) == [where, version]
    assert [path.stat().st_mtime_ns for path in kept] == before and list(code.iterdir()) == [place]


def test_one_that_runs_has_its_own_code_to_the_end(tmp_path: Path, code: Path) -> None:
    file = program(tmp_path, 1, code)
    running = start(file, "wait")
    assert running.stdout is not None
    place = Path(running.stdout.readline().strip()).parents[1]
    os.utime(place, (LONG_AGO, LONG_AGO))
    program(tmp_path, 2, code)
    assert told(file)[1] == "2"
    assert running.communicate("\n")[0] == "1\n" and running.returncode == 3


def test_what_nobody_runs_any_more_goes_with_the_next_version(tmp_path: Path, code: Path) -> None:
    told(program(tmp_path, 1, code))
    (old,) = code.iterdir()
    (code / "half unpacked by one that was killed").mkdir()
    for path in code.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    told(program(tmp_path, 2, code))
    (new,) = code.iterdir()
    assert new != old


def test_a_removal_that_is_killed_leaves_no_half_of_a_program(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(tmp_path, 1, code)
    told(file)
    (place,) = code.iterdir()
    os.utime(place, (LONG_AGO, LONG_AGO))

    def be_killed(path: str) -> None:
        Path(path, "tiny/late.py").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", be_killed)
    with pytest.raises(KeyboardInterrupt):
        unpacking._remove_unused(str(code))
    monkeypatch.undo()
    assert told(file)[1] == "1"
    assert [path for path in code.iterdir() if path.is_dir()] == [place]


def test_many_at_once_unpack_one(tmp_path: Path, code: Path) -> None:
    file = program(tmp_path, 1, code)
    several = [start(file) for dummy in range(6)]
    assert [(each.communicate()[0].splitlines()[1:], each.returncode) for each in several] == [(["1"], 3)] * 6
    assert len(list(code.iterdir())) == 1


def test_where_nothing_can_be_unpacked_it_runs_out_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = program(tmp_path, 1, tmp_path / "file" / "code")
    assert told(file) == [str(file / "tiny/program.py"), "1"]


def test_one_that_goes_as_soon_as_it_is_there_is_not_waited_for(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(tmp_path, 1, code)
    monkeypatch.setattr(unpacking, "_is_held", lambda place: False)
    with pytest.raises(OSError, match="goes as soon as it is there"):
        unpacking.unpacked(str(file), str(code))


def test_a_packed_program_begins_with_it(tmp_path: Path) -> None:
    name = f"{paths.__name__.partition('._core.')[0]}._backup.program"
    file = tmp_path / "program"
    file.write_bytes(packed(name))
    with zipfile.ZipFile(file) as archive:
        begins = archive.read("__main__.py").decode()
    assert begins.startswith(inspect.getsource(unpacking))
    end = ["enter('/run/homelab_hybrid/programs')", f"from {name} import main", "", "raise SystemExit(main())"]
    assert begins.splitlines()[-4:] == end
    assert packed.__wrapped__(name) == file.read_bytes()
