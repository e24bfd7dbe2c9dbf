# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job on a host that is followed from the control node: what it told, and what became of it."""

from __future__ import annotations

import fcntl
import json
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import progress
from ansible_collections.homelab.hybrid.plugins.plugin_utils import _watched

JOB = "0123456789abcdef"
STEP = {"item": "vms[a]", "step": "record written"}
SHOWN = "  alpha: vms[a]: record written"
Result = dict[str, t.Any]


class Host:
    """A host as the action sees it: *says* are the bytes that each look finds beyond those before; the job is over with the last."""

    host = "alpha"

    def __init__(self, told: Result, *says: str) -> None:
        self._told = told
        self._says = list(says)
        self._text = ""
        self.shown: list[str] = []

    def listen(self, job: str, offset: int) -> tuple[str, bool]:
        self._text += self._says.pop(0) if self._says else ""
        return self._text[offset:], not self._says

    def result_of(self, job: str) -> Result:
        return self._told

    def show(self, line: str) -> None:
        self.shown.append(line)


def follow(host: Host) -> Result:
    return _watched._Watch(t.cast(t.Any, host), JOB).until_finished()


def line(message: Result) -> str:
    return json.dumps(message) + "\n"


def test_what_the_module_told_is_the_result():
    told = {"changed": True, "plan": []}
    half = line(STEP)[:9]
    host = Host(told, half, line(STEP)[9:], "")
    assert follow(host) == told
    assert host.shown == [SHOWN]
    failed = {"failed": True, "msg": "unsupported option", "invocation": {}}
    assert follow(Host(failed, "")) == failed


@pytest.mark.parametrize("told", [{}, {"failed": True, "msg": "Module result deserialization failed."}])
def test_a_killed_module_says_so_and_whether_anything_was_written(told: Result):
    lost = {"failed": True, "msg": _watched._LOST.format(host="alpha")}
    assert follow(Host(told, line(STEP))) == {**lost, "changed": True}
    assert follow(Host({**told, "module_stderr": "NameError: x"}, line({"plan": []}))) == {
        **lost,
        "changed": False,
        "module_stderr": "NameError: x",
    }


def test_a_host_that_is_silent_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    class Silent(Host):
        silences = 3

        def listen(self, job: str, offset: int) -> tuple[str, bool]:
            if self.silences:
                self.silences -= 1
                raise AnsibleConnectionFailure("no route")
            return super().listen(job, offset)

    assert follow(Silent({"plan": []}, "")) == {"plan": []}


class Action(_watched.WatchedAction):
    """The action without a connection: commands run here, and *told* is what the module told."""

    def __init__(self, told: Result | None = None) -> None:
        self._told = told or {}
        self._vars: Result = {}
        self._task = types.SimpleNamespace(environment=[])

    def _tell_kept(self, task_vars: Result) -> Result:
        return self._told if self._task.environment == [{progress.RESULT_OF: JOB}] else {"plan": "of another"}

    def _run_there(self, command: str) -> Result:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
        return {"stdout": done.stdout, "rc": done.returncode}


def test_a_job_goes_on_as_long_as_its_result_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "PROGRESS", str(tmp_path))
    telling, result, errors = map(Path, progress.job_paths(JOB))
    telling.write_text(line(STEP))
    errors.write_text("NameError: x")
    with result.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert Action().listen(JOB, 0) == (line(STEP), False)
    assert Action().listen(JOB, len(line(STEP))) == ("", True)
    assert Action().result_of(JOB) == {"module_stderr": "NameError: x"}
    assert Action({"failed": True, "msg": "no JSON"}).result_of(JOB) == {"module_stderr": "NameError: x"}
    assert Action({"plan": []}).result_of(JOB) == {"plan": []}


def test_a_host_that_was_started_again_has_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "PROGRESS", str(tmp_path / "gone"))
    assert Action().listen(JOB, 0) == ("", True)
    assert Action().result_of(JOB) == {}


@pytest.mark.parametrize("no_log", [False, True])
def test_nothing_is_shown_of_a_task_with_no_log(no_log):
    class Display:
        lines: t.ClassVar[list[str]] = []

        def display(self, line: str, color: str) -> None:
            self.lines.append(line)

    class Task:
        pass

    action, Task.no_log = Action(), no_log
    action._task, action._display = Task(), Display()
    action.show("a line")
    assert Display.lines == ([] if no_log else ["a line"])
