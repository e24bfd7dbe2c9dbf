# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A module that takes long, and tells what it does while it does it."""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure

from ..module_utils._run import progress
from . import _progress_text
from ._diff import shown_diff
from ._inventory_words import of_item, of_layout
from ._kept import KeptAction, Result, Vars

# A host that does not answer for this long is given up; the run on it goes on.
SILENCE_SECONDS = 60
_WAIT_SECONDS = 0.25
# The status of flock where the job goes on.
_RUNS = 75
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
        self._vars = known
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
        if "msg" in result and "resources" in result and known.get("layout_is_of_inventory"):
            self._tell_in_words_of_inventory(result)
        return result

    def _show_diff(self, result: Result, task_vars: Vars) -> None:
        """Leave in the diff of *result* what this task has to show."""
        template: t.Callable[[t.Any], t.Any] = self._templar.template
        diff = shown_diff(result.pop("diff"), has_guests=not template(task_vars.get("layout_guests_follow", False)))
        if diff is not None:
            result["diff"] = diff

    def _tell_in_words_of_inventory(self, result: Result) -> None:
        """A playbook's options are variables of an inventory; a task of somebody's own has the module's."""
        result["msg"] = of_layout(result)
        result["resources"] = [{**it, "msg": of_item(it)} if "msg" in it else it for it in result["resources"]]
        # The sentence of before, which ansible-core (2.19) shows instead of the message.
        result.pop("exception", None)

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
        with self._environment(progress.VARIABLE, job):
            started = self._tell_kept(task_vars)
        if "job" not in started:
            # A host that keeps no code, on a file system that is full or takes nothing, tells nothing of its progress either.
            return t.cast(Result, self._execute_module(task_vars=task_vars))
        result = _Watch(self, job).until_finished()
        with contextlib.suppress(AnsibleConnectionFailure):
            self._run_there(f"rm -f {' '.join(progress.job_paths(job))}")
        return result

    @property
    def host(self) -> str:
        """The inventory host that the module runs on."""
        return str(self._task.delegate_to or self._name)

    def listen(self, job: str, offset: int) -> tuple[str, bool]:
        """What the job told behind the first *offset* bytes, and whether it is over; waits a little for its end.

        JSON is written in ASCII: a byte is a character.
        """
        telling, result, dummy = progress.job_paths(job)
        # A host that was started again has no such folder, and no such job.
        ends = f"flock -w {_WAIT_SECONDS} -E {_RUNS} {result} true 2>/dev/null"
        answer = self._run_there(f"{ends}; rc=$?; tail -c +{offset + 1} {telling} 2>/dev/null; exit $rc")
        return str(answer["stdout"]), answer["rc"] != _RUNS

    def result_of(self, job: str) -> Result:
        """What a job that is over told as its result; only ``module_stderr`` of one that told none."""
        # As a module's, which ansible-core reads in another way in each of its versions.
        with self._environment(progress.RESULT_OF, job):
            told = self._tell_kept(self._vars)
        if _RESULT & set(told):
            return told
        said = str(self._run_there(f"cat {progress.job_paths(job)[-1]}")["stdout"])
        return {"module_stderr": said} if said else {}

    def _run_there(self, command: str) -> Result:
        """What *command* prints on the host, and its status."""
        execute: t.Callable[[str], Result] = self._low_level_execute_command
        return execute(command)

    def show(self, line: str) -> None:
        if not self._task.no_log:
            self._display.display(line, color="blue")


class _Watch:
    """Follows one job: shows what it tells until it is over."""

    def __init__(self, action: WatchedAction, job: str) -> None:
        self._action = action
        self._job = job
        self._offset = 0
        self._heard = time.monotonic()
        self._narrator = _progress_text.Narrator(action.host, time.monotonic)

    def until_finished(self) -> Result:
        """The result of the module.

        :raises AnsibleConnectionFailure: when the host does not answer any more.
        """
        while True:
            try:
                if self._listen():
                    # What was told since: the end may have come right behind it.
                    self._listen()
                    told = self._action.result_of(self._job)
                    return told if _RESULT & set(told) else self._lost(told)
                self._heard = time.monotonic()
            except AnsibleConnectionFailure:
                if time.monotonic() - self._heard > SILENCE_SECONDS:
                    raise
                time.sleep(_WAIT_SECONDS)

    def _lost(self, told: Result) -> Result:
        """The result of a module that told none, from what it told on its way."""
        result = {"failed": True, "changed": self._narrator.has_written, "msg": _LOST.format(host=self._action.host)}
        return {**result, **{key: told[key] for key in ("module_stderr", "module_stdout") if key in told}}

    def _listen(self) -> bool:
        """Show what is new. Returns whether the job is over."""
        text, is_over = self._action.listen(self._job, self._offset)
        whole = text[: text.rfind("\n") + 1]
        self._offset += len(whole)
        for line in self._narrator.lines(whole):
            self._action.show(line)
        return is_over
