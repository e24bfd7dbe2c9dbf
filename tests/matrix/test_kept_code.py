# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is sent the code of a layout once; proven by what ansible-playbook says that it sends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing as t
import zipfile
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import kept_code
from ansible_collections.homelab.hybrid.plugins.plugin_utils._shared_code import digest

ROOT = Path(__file__).resolve().parents[2]
NOTHING = {"storage_pools": [{"name": "hlkc-none", "state": "absent"}]}
CODE = "ansible_collections/homelab/hybrid/plugins/module_utils"
KEPT = Path(kept_code.file(digest("layout"), "layout"))


@pytest.fixture(autouse=True)
def _first() -> t.Iterator[None]:
    KEPT.unlink(missing_ok=True)
    yield
    KEPT.unlink(missing_ok=True)


def converge(
    folder: Path, options: dict[str, t.Any], python: str = "/usr/bin/python3"
) -> tuple[list[str], dict[str, t.Any]]:
    """The modules that were sent, and the result."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    task = {"name": "Converge", "homelab.hybrid.layout": options}
    book = folder / "play.yml"
    book.write_text(yaml.safe_dump([{**play, "tasks": [task]}]))
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(ROOT / ".build/venv/bin/ansible-playbook")
    argv = [program, "-vvv", "-i", "localhost,", "-e", f"ansible_python_interpreter={python}", str(book)]
    said = subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout
    sent = re.findall(r"^Using module file .*/(\w+)\.py$", re.sub(r"(?m)^<localhost> ", "", said), re.MULTILINE)
    (result,) = re.findall(
        r"^(?:ok|changed|fatal): \[localhost\](?:: FAILED!)? => (\{.*?^\})", said, re.MULTILINE | re.DOTALL
    )
    return sent, json.loads(result)


@pytest.mark.parametrize("has_libvirt", [True, False], ids=["system's Python", "respawned"])
def test_code_is_sent_once(tmp_path: Path, has_libvirt: bool) -> None:
    python = "/usr/bin/python3"
    if not has_libvirt:
        subprocess.run([python, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
        python = str(tmp_path / "bare/bin/python")
    first, made = converge(tmp_path, NOTHING, python)
    assert first == ["_kept", "layout"]
    again, found = converge(tmp_path, NOTHING, python)
    assert again == ["_kept"]
    assert found == made and found["resources"][0]["name"] == "hlkc-none"


def test_a_change_is_made_with_code_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    pool = {"name": "hlkc-pool", "path": str(path)}
    try:
        first, made = converge(tmp_path, {"storage_pools": [pool]})
        assert first == ["_kept", "layout", "_kept", "_kept"], "asked, sent, begun, told"
        assert made["changed"] and path.is_dir() and all(change["done"] for change in made["plan"])
        assert not list(Path(paths.PROGRESS).glob("*.jsonl")), "what a job told goes with it"
    finally:
        again, gone = converge(tmp_path, {"storage_pools": [{**pool, "state": "absent"}]})
    assert again == ["_kept", "_kept", "_kept"] and gone["changed"]


def test_kept_code_is_roots_alone_and_goes_when_nobody_uses_it(tmp_path: Path) -> None:
    shutil.rmtree(KEPT.parent, ignore_errors=True)
    converge(tmp_path, NOTHING)
    status = KEPT.parent.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o700)
    KEPT.unlink()
    old, attempt = KEPT.with_name("0" * 32), KEPT.with_name("tmp0")
    old.touch()
    attempt.mkdir()
    for path in (old, attempt):
        os.utime(path, (0, 0))
    converge(tmp_path, NOTHING)
    assert list(KEPT.parent.iterdir()) == [KEPT]
    os.utime(KEPT, (0, 0))
    converge(tmp_path, NOTHING)
    assert KEPT.stat().st_mtime > 0, "what is used looks new"


def test_options_that_are_no_options_are_told_by_the_layout_itself(tmp_path: Path) -> None:
    converge(tmp_path, NOTHING)
    sent, result = converge(tmp_path, {"storage_pool": []})
    assert sent == ["_kept", "layout"]
    assert "Unsupported parameters for (homelab.hybrid.layout) module: storage_pool" in result["msg"]


# What a cleaner does between the beginning of a run and code that is imported while it goes on. {step} is a function that each item goes through.
VANISH = """
_{step}_before = {step}
def {step}(*arguments, **keywords):
    import shutil
    shutil.rmtree({folder!r}, ignore_errors=True)
    return _{step}_before(*arguments, **keywords)
"""


@pytest.mark.parametrize("step", ["_plan", "_work"])
def test_a_run_goes_on_when_its_code_is_removed_while_it_plans_or_works(tmp_path: Path, step: str) -> None:
    pool = {"name": "hlkc-pool", "path": str(tmp_path / "pool")}
    lists = {"storage_pools": [pool], "vms": [{"name": "hlkc-vm", "state": "absent"}]}
    converge(tmp_path, NOTHING)
    with zipfile.ZipFile(KEPT) as kept:
        files = {name: kept.read(name) for name in kept.namelist()}
    name = f"{CODE}/_layout/run.py"
    del files[f"{name}c"]
    files[name] += VANISH.format(step=step, folder=paths.CODE).encode()
    with zipfile.ZipFile(KEPT, "w") as kept:
        for each, content in files.items():
            kept.writestr(each, content)
    try:
        sent, result = converge(tmp_path, lists)
        assert [item["name"] for item in result["resources"] if item.get("failed")] == [] and result["changed"]
        assert (tmp_path / "pool").is_dir()
        assert sent == (["_kept", "_kept", "layout"] if step == "_plan" else ["_kept", "_kept", "_kept"])
    finally:
        converge(tmp_path, {"storage_pools": [{**pool, "state": "absent"}]})
