# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash is a pause: SIGKILL at every named step and at random moments, after which the next run converges."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.tests.harness.cases import AnyResource, Params, converge_now, unchanged

CHILD = Path(__file__).with_name("child.py")
# What is drawn is the same in each run of `make test`, whose verdict is then the change's; HARNESS_SEED draws others.
SEED = int(os.environ.get("HARNESS_SEED") or 9)
# The same moments again and again find nothing more: without a seed of its own a run has one beside the steps. test_kills.py has others.
MOMENTS = None if os.environ.get("HARNESS_SEED") else 1


class Child:
    """A run in a process of its own, of a layout where there is no *resource*."""

    def __init__(
        self, resource: AnyResource | None, params: Params, kill_at: int | None = None, *, is_watched: bool = False
    ) -> None:
        kind = type(resource)
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        assert self.process.stdin is not None
        json.dump(
            {
                "resource": None if resource is None else [kind.__module__, kind.__name__],
                "params": dict(params),
                "kill_at": kill_at,
                "watch": is_watched,
            },
            self.process.stdin,
        )
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self) -> tuple[list[str], dict[str, t.Any] | None]:
        """The steps that stood, and the result unless the run was killed."""
        out, err = self.process.communicate(timeout=300)
        lines = out.splitlines()
        if lines and lines[-1].startswith("RESULT "):
            return lines[:-1], json.loads(lines[-1].removeprefix("RESULT "))
        assert self.process.returncode == -signal.SIGKILL, err
        return lines, None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def kill_all(self) -> None:
        """Kill what it started too: workers, and programs that write for it. What it let go, as a guest, goes on."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                found += [child, *descendants(child)]
    return found


def survive_kills(
    resource: AnyResource,
    params: Params,
    *,
    begin: t.Callable[[], None],
    verify: t.Callable[[Outcome], None],
    moments: int = 3,
    seed: int = SEED,
    then: Params | None = None,
) -> int:
    """Kill the run at each of its steps and at *moments* random moments, without HARNESS_SEED at MOMENTS. Returns how many kills there were.

    Of steps between which nothing is done the last one is taken, where most was told: the host is the same at all of them.

    *begin* brings the host to where the run starts from. After each kill no change that was told to stand is planned again,
    the next run, of *then* where that is given, must converge, *verify* must accept what stands, and a further run must find
    nothing to do.
    """
    then = params if then is None else then
    moments = min(moments, moments if MOMENTS is None else MOMENTS)
    begin()
    started = time.monotonic()
    steps, result = Child(resource, params, is_watched=True).finish()
    duration = time.monotonic() - started
    assert result is not None and "msg" not in result, result
    draw = random.Random(seed)
    numbers = [number for number in range(1, len(steps) + 1) if number + 1 not in result["idle"]]
    print(f"kills: at {numbers} of {len(steps)} steps {steps}, then {moments} moments of {duration:.2f} s, seed {seed}")
    for number in numbers:
        begin()
        stood, killed = Child(resource, params, kill_at=number).finish()
        assert killed is None and len(stood) == number
        _converges(resource, then, verify, f"killed after step {number} ({stood[-1]})", stood)
    for dummy in range(moments):
        begin()
        moment = draw.uniform(0.0, duration)
        child = Child(resource, params)
        time.sleep(moment)
        child.kill()
        stood = child.finish()[0]
        _converges(resource, then, verify, f"killed after {moment:.3f} s (seed {seed})", stood)
    return len(numbers) + moments


def _converges(
    resource: AnyResource,
    params: Params,
    verify: t.Callable[[Outcome], None],
    when: str,
    stood: t.Collection[str],
) -> None:
    """*stood* is what the killed run told: of its changes none may be left to do."""
    outcome = converge_now(resource, params)
    assert outcome.error is None, f"{when}: the next run fails: {outcome.error}"
    untrue = {change.path for change in outcome.plan.changes} & {*stood}
    assert not untrue, f"{when}: it had told that these stand: {sorted(untrue)}"
    try:
        verify(outcome)
        unchanged(resource, params)
    except AssertionError as exc:
        raise AssertionError(f"{when}: {exc}") from exc


def at_once(resource: AnyResource, *params: Params) -> list[dict[str, t.Any]]:
    """Runs of *resource* started together. Returns their results in the order of *params*."""
    children = [Child(resource, each) for each in params]
    results = [child.finish()[1] for child in children]
    return [t.cast("dict[str, t.Any]", result) for result in results]
