# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that was sent is kept whole, and runs from where it is kept. An archive as Ansible sends it stands for that of a real module."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

from unit.tree import PLUGINS

from ansible_collections.homelab.hybrid.plugins.module_utils import _core, _run
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import kept_code, progress
from ansible_collections.homelab.hybrid.plugins.modules import _kept

JOB = "0123456789abcdef"
CORE = Path(_core.__path__[0])
RUN = Path(_run.__path__[0])
COLLECTION = "ansible_collections/homelab/hybrid/plugins"
# Instead of Ansible's own: what a module sees of it.
BASIC = "_ANSIBLE_ARGS = _ANSIBLE_PROFILE = None\n"
MODULE = """
import json, sys
from ansible.module_utils import basic
def main():
    told = {"args": json.loads(basic._ANSIBLE_ARGS), "profile": basic._ANSIBLE_PROFILE, "file": __file__}
    print(json.dumps({**told, "again": vars(sys.modules["__main__"])["_modlib_path"], "path": sys.path[0]}))
"""
KEEP = """
import sys
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import kept_code
paths.CODE = sys.argv[1]
kept_code.keep({kept_code.VARIABLE: sys.argv[2]})
"""


def kept(folder: Path) -> Path:
    """What an archive keeps of itself below *folder*."""
    place = folder / "code" / "0f.layout"
    archive = folder / "module.zip"
    shared = f"{COLLECTION}/module_utils"
    files = {
        f"{shared}/{file.parent.name}/{file.name}": file.read_text()
        for file in (RUN / "kept_code.py", CORE / "paths.py")
    }
    files.update(
        {
            "ansible/module_utils/common/respawn.py": "",
            "ansible/module_utils/basic.py": BASIC,
            f"{COLLECTION}/modules/layout.py": MODULE,
        }
    )
    folders = {str(parent) for path in files for parent in Path(path).parents if parent.name}
    with zipfile.ZipFile(archive, "w") as target:
        for path, text in {**files, **{f"{each}/__init__.py": "" for each in folders}}.items():
            target.writestr(path, text)
    subprocess.run([sys.executable, "-c", KEEP, place.parent, place], env=environment(archive), check=True)
    return place


def environment(archive: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(archive)}


def run(place: Path, options: t.Any, job: str = "", variable: str = _kept.JOB) -> tuple[dict[str, t.Any], str]:
    """What the module tells with *options*, read from a pipe as Ansible sends it. The files of a *job* are beside *place*."""
    text = Path(_kept.__file__).read_text(encoding="utf-8")
    text = text.replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", json.dumps(options))
    text = text.replace(paths.PROGRESS, str(place.parent / "progress"))
    # Without the Ansible that this test runs with.
    argv = [sys.executable, "-S", "-"]
    variables = {_kept.VARIABLE: str(place), "PATH": os.environ["PATH"], variable: job}
    done = subprocess.run(argv, input=text, env=variables, cwd=place.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


def test_an_archive_is_kept_and_runs_from_there(tmp_path: Path) -> None:
    place = kept(tmp_path)
    (tmp_path / "module.zip").unlink()
    # A module of the folder in which it runs is none of its.
    (place.parent / "json.py").write_text("raise SystemExit('not this one')")
    options = {"vms": [{"name": "a", "description": '"\'\'\'\\"""\n\u00e9 {{ x }}', "tags": ["", ""]}], "": ""}
    told, complaints = run(place, options)
    assert told["args"] == {"ANSIBLE_MODULE_ARGS": options}
    assert told["profile"] == "legacy"
    assert re.fullmatch(r"/proc/self/fd/\d+", told["path"]) and re.fullmatch(r"/proc/\d+/fd/\d+", told["again"])
    assert told["file"] == f"{told['path']}/{COLLECTION}/modules/layout.pyc"
    assert not complaints
    assert [path.name for path in place.parent.iterdir() if path.name != "json.py"] == [place.name]


def change(place: Path, old: str, new: str) -> None:
    """Write another module into the archive of what is kept."""
    name = f"{COLLECTION}/modules/layout.py"
    with zipfile.ZipFile(place) as source:
        files = {each: source.read(each) for each in source.namelist() if each != f"{name}c"}
    with zipfile.ZipFile(place, "w") as target:
        for each, content in files.items():
            target.writestr(each, content.decode().replace(old, new) if each == name else content)


def test_kept_code_that_is_removed_while_it_runs_is_whole(tmp_path: Path) -> None:
    place = kept(tmp_path)
    late = f"import os; os.unlink({str(place)!r}); from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths"
    change(place, "def main():", f"def main():\n    {late}")
    assert run(place, {"vms": []})[0]["args"] == {"ANSIBLE_MODULE_ARGS": {"vms": []}}
    assert not place.exists()


def test_what_is_no_code_is_not_run_and_replaced(tmp_path: Path) -> None:
    place = tmp_path / "code" / "0f.layout"
    place.parent.mkdir()
    place.write_bytes(b"PK")
    assert run(place, {"vms": []}) == ({}, "")
    assert kept(tmp_path) == place and run(place, {"vms": []})[0]["profile"] == "legacy"


def test_where_nothing_is_kept_it_tells_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "0f.layout", {"vms": []}) == ({}, "")


def test_a_job_goes_on_behind_its_caller(tmp_path: Path) -> None:
    place = kept(tmp_path)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    change(place, "def main():", f"def main():\n    open({str(gate)!r}).read()")
    told, complaints = run(place, {"vms": []}, JOB)
    assert (told, complaints) == ({"job": JOB}, "")
    result = place.parent / "progress" / f"{JOB}.result.jsonl"
    assert subprocess.run(["flock", "-n", result, "true"], check=False).returncode == 1
    gate.write_text("")
    said = subprocess.run(["flock", result, "cat", result], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["args"] == {"ANSIBLE_MODULE_ARGS": {"vms": []}}
    assert result.stat().st_mode & 0o777 == 0o600
    assert run(place, {}, JOB, _kept.RESULT_OF) == (json.loads(said), "")
    result.unlink()
    assert run(place, {}, JOB, _kept.RESULT_OF) == ({}, "")


def test_a_job_without_kept_code_is_none(tmp_path: Path) -> None:
    assert run(tmp_path / "0f.layout", {"vms": []}, JOB) == ({}, "")


def test_both_sides_call_the_files_of_a_job_alike() -> None:
    assert (_kept.JOB, _kept.RESULT_OF, _kept.PROGRESS) == (progress.VARIABLE, progress.RESULT_OF, paths.PROGRESS)
    named = [f"{_kept.PROGRESS}/{JOB}.{what}.jsonl" for what in ("result", "errors")]
    assert list(progress.job_paths(JOB)[1:]) == named


def test_both_sides_call_the_code_alike() -> None:
    assert _kept.VARIABLE == kept_code.VARIABLE
    module = kept_code.file("0f", "_hypervisor_info").rpartition(".")[2]
    assert (PLUGINS / "modules" / f"{module}.py").exists()
