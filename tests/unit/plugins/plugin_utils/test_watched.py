# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job on a host that is followed from the control node: what it told, and what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils import _watched

STATUS = {"jid": "j123456789012.77", "_async_dir": "/nowhere"}
RUNS = {"started": True, "finished": False}
STEP = {"item": "vms[a]", "step": "record written"}
Result = dict[str, t.Any]


class Host:
    """A host as the action sees it: *looks* are the answers of async_status, one after the other."""

    host = "alpha"

    def __init__(self, looks: t.Sequence[Result], *messages: Result, is_alive: bool = True) -> None:
        self._looks = list(looks)
        self._text = "".join(json.dumps(message) + "\n" for message in messages)
        self._is_alive = is_alive
        self.shown: list[str] = []

    def read_from(self, job: str, offset: int) -> str:
        return self._text[offset:]

    def lives(self, status: Result) -> bool:
        return self._is_alive

    def look_at(self, status: Result, task_vars: Result) -> Result:
        return self._looks.pop(0)

    def show(self, line: str) -> None:
        self.shown.append(line)


def follow(host: Host) -> Result:
    return _watched._Watch(t.cast(t.Any, host), "0" * 16, {}).until_finished(STATUS)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_what_the_module_told_is_the_result():
    told = {"changed": True, "plan": [], "finished": True}
    assert follow(Host([RUNS, told], STEP, {"end": True})) == told
    failed = {"failed": True, "msg": "unsupported option", "invocation": {}, "finished": True}
    assert follow(Host([failed], {"end": True})) == failed


def test_a_job_that_is_gone_with_all_its_processes_is_not_waited_for():
    host = Host([RUNS], STEP, is_alive=False)
    assert follow(host) == {"failed": True, "changed": True, "msg": _watched._LOST.format(host="alpha")}
    assert host.shown == ["  alpha: vms[a]: record written"]


@pytest.mark.parametrize(
    "found",
    [
        {"failed": True, "cmd": "AnsiballZ_layout.py", "data": "", "msg": "Traceback: no JSON", "finished": True},
        {"failed": True, "msg": "could not find job", "finished": True},
    ],
)
def test_a_killed_module_says_so_and_whether_anything_was_written(found):
    assert follow(Host([found], STEP)) == {"failed": True, "changed": True, "msg": _watched._LOST.format(host="alpha")}
    lost = follow(Host([{**found, "stderr": "NameError: x"}], {"plan": []}))
    assert (lost["changed"], lost["module_stderr"]) == (False, "NameError: x")


class Action(_watched.WatchedAction):
    """The action without a connection: commands run here."""

    def __init__(self) -> None:
        pass

    def _run_there(self, command: str) -> str:
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False).stdout


def test_the_process_that_writes_the_result_is_found_by_its_job():
    job = f"j{os.getpid():012}"
    status = {"jid": f"{job}.1"}
    program = [sys.executable, "-c", "print(flush=True); input()", "async_wrapper.py", job]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as wrapper:
        # The kernel tells the command line of a process only when it has begun.
        assert wrapper.stdout is not None and wrapper.stdout.readline()
        assert Action().lives(status)
        wrapper.kill()
    assert not Action().lives(status)


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
