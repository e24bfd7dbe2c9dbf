# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A module that takes long, and tells what it does while it does it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure

from ..module_utils._run import progress
from . import _progress_text
from ._diff import shown_diff
from ._kept import KeptAction, Result, Vars

# async_wrapper of ansible-core 2.19 ends a job whose limit is 0 after 5 s. What a run waits for has its own bounds.
LIMIT_SECONDS = 24 * 3600
# A host that does not answer for this long is given up; the run on it goes on.
SILENCE_SECONDS = 60
_POLL_SECONDS = 0.25
_LOOK_EVERY = 40
# What every result has that the module itself told.
_RESULT = {"plan", "invocation"}
_LOST = "the run on {host} ended before it told its result (killed, or the host restarted?). Run it again: it goes on from there"


class WatchedAction(KeptAction):
    """Runs the module of the same name: rehearsed first, and in the background where there is something to do."""

    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        known = task_vars or {}
        self._name = str(known.get("inventory_hostname", ""))
        try:
            if self._task.async_val:
                result.update(self._execute_module(task_vars=known, wrap_async=True))
            else:
                result.update(self._converge(known))
        except AnsibleConnectionFailure as exc:
            # An unreachable host would end the inventory host that carries the task, which can be another one.
            if not self._task.ignore_unreachable:
                raise
            result.update(changed=False, unreachable_host=True, msg=str(exc))
        if "diff" in result:
            self._show_diff(result, known)
        return result

    def _show_diff(self, result: Result, task_vars: Vars) -> None:
        """Leave in the diff of *result* what this task has to show."""
        template: t.Callable[[t.Any], t.Any] = self._templar.template
        diff = shown_diff(result.pop("diff"), has_guests=not template(task_vars.get("layout_guests_follow", False)))
        if diff is not None:
            result["diff"] = diff

    def _converge(self, task_vars: Vars) -> Result:
        """The plan costs one run in the foreground; only what has something to do costs more."""
        rehearsed = self._rehearse(task_vars)
        if self._task.check_mode or not (rehearsed.get("changed") or rehearsed.get("waits")):
            return rehearsed
        return self._run_watched(task_vars)

    def _rehearse(self, task_vars: Vars) -> Result:
        before = self._task.check_mode
        self._task.check_mode = True
        try:
            return self._execute_kept(task_vars)
        finally:
            self._task.check_mode = before

    def _run_watched(self, task_vars: Vars) -> Result:
        job = secrets.token_hex(8)
        self._task.async_val = LIMIT_SECONDS
        try:
            with self._environment(progress.VARIABLE, job):
                started: Result = self._execute_module(task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
        if "ansible_job_id" not in started:
            return started
        status = {"jid": started["ansible_job_id"], "_async_dir": os.path.dirname(started["results_file"])}
        watch = _Watch(self, job, task_vars)
        result = watch.until_finished(status)
        with contextlib.suppress(AnsibleConnectionFailure):
            # What async_status does to clean up, which is a module that would have to be sent for it.
            self._run_there(f"rm -f {progress.job_path(job)} {shlex.quote(started['results_file'])}")
        for key in ("ansible_job_id", "results_file", "started", "finished", "stdout", "stdout_lines"):
            result.pop(key, None)
        return result

    @property
    def host(self) -> str:
        """The inventory host that the module runs on."""
        return str(self._task.delegate_to or self._name)

    def read_from(self, job: str, offset: int) -> str:
        """What the job told behind the first *offset* bytes. JSON is written in ASCII: a byte is a character."""
        return self._run_there(f"tail -c +{offset + 1} {progress.job_path(job)} 2>/dev/null")

    def _run_there(self, command: str) -> str:
        """What *command* prints on the host."""
        execute: t.Callable[[str], Result] = self._low_level_execute_command
        return str(execute(command).get("stdout", ""))

    def look_at(self, status: Result, task_vars: Vars) -> Result:
        return t.cast(
            Result, self._execute_module("ansible.legacy.async_status", module_args=status, task_vars=task_vars)
        )

    def lives(self, status: Result) -> bool:
        """Whether the process is there that waits for the module and writes down its result."""
        job = str(status["jid"]).partition(".")[0]
        # The pattern does not match itself, in the command line of this very search.
        return bool(self._run_there(f"grep -las '[{job[0]}]{job[1:]}' /proc/[0-9]*/cmdline"))

    def show(self, line: str) -> None:
        if not self._task.no_log:
            self._display.display(line, color="blue")


class _Watch:
    """Follows one job: shows what it tells until it is over."""

    def __init__(self, action: WatchedAction, job: str, task_vars: Vars) -> None:
        self._action = action
        self._job = job
        self._task_vars = task_vars
        self._offset = 0
        self._heard = time.monotonic()
        self._narrator = _progress_text.Narrator(action.host, time.monotonic)

    def until_finished(self, status: Result) -> Result:
        """The result of the module.

        :raises AnsibleConnectionFailure: when the host does not answer any more.
        """
        polls = 0
        while True:
            polls += 1
            is_over = False
            try:
                is_over = self._listen()
                # A module that was killed tells no end.
                if is_over or polls % _LOOK_EVERY == 0:
                    # First: who is gone before the result is looked for will not write it any more.
                    is_alive = self._action.lives(status)
                    found = self._action.look_at(status, self._task_vars)
                    if found.get("finished") or found.get("failed") or not is_alive:
                        self._listen_to_the_end()
                        return found if _RESULT & set(found) else self._lost(found)
                self._heard = time.monotonic()
            except AnsibleConnectionFailure:
                if time.monotonic() - self._heard > SILENCE_SECONDS:
                    raise
            time.sleep(0.1 if is_over else _POLL_SECONDS)

    def _listen_to_the_end(self) -> None:
        """What was told since the last look: the result may have come right behind it."""
        with contextlib.suppress(AnsibleConnectionFailure):
            self._listen()

    def _lost(self, found: Result) -> Result:
        """The result of a module that told none, from what it told on its way."""
        result = {"failed": True, "changed": self._narrator.has_written, "msg": _LOST.format(host=self._action.host)}
        said = str(found.get("stderr") or "")
        return {**result, "module_stderr": said} if said else result

    def _listen(self) -> bool:
        """Show what is new. Returns whether the module told its end."""
        text = self._action.read_from(self._job, self._offset)
        whole = text[: text.rfind("\n") + 1]
        self._offset += len(whole)
        for line in self._narrator.lines(whole):
            self._action.show(line)
        return self._narrator.is_over
