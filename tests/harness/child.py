# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a process of its own: ``python child.py < {"resource": [module, class], "params": {...}, "kill_at": N}``.

Prints a line for each step that stands, and last the result as JSON. With *kill_at* it ends itself by SIGKILL right after
that step. Without a resource it is the run of a layout. With *watch* the result has as "idle" the numbers of the steps before which
nothing was done since the step before.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import signal
import sys
import types
import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

# What is written in C and reaches nothing outside of this process; all else there may.
CALCULATING_TYPES = (
    str,
    bytes,
    int,
    float,
    dict,
    list,
    set,
    frozenset,
    tuple,
    types.GeneratorType,
    types.MappingProxyType,
)
CALCULATING_MODULES = ("_collections", "_functools", "_operator", "_sre", "itertools", "math", "time")
REACHING = ("open", "exec", "eval", "compile", "input", "__import__")


class Watch:
    """Whether anything was done since it was last asked, other than to calculate: told by the calls of what is written in C."""

    def __init__(self) -> None:
        self.is_idle = True

    def __call__(self, frame: types.FrameType, event: str, called: t.Any) -> None:
        if event == "c_call" and self.is_idle:
            self.is_idle = calculates(called)

    def was_idle(self) -> bool:
        was, self.is_idle = self.is_idle, True
        return was


def calculates(called: t.Any) -> bool:
    """Whether this function, written in C, reaches nothing outside of the process."""
    owner = getattr(called, "__objclass__", None) or getattr(called, "__self__", None)
    if owner is builtins:
        return called.__name__ not in REACHING
    if isinstance(owner, types.ModuleType):
        return owner.__name__ in CALCULATING_MODULES
    return issubclass(owner if isinstance(owner, type) else type(owner), CALCULATING_TYPES)


def main() -> None:
    order = json.load(sys.stdin)
    idle: list[int] = []
    outcome = run_layout(order) if order["resource"] is None else run_resource(order, idle)
    told = {**outcome.result(), "idle": idle} if order.get("watch") else outcome.result()
    print("RESULT " + json.dumps(told, default=str), flush=True)


def run_layout(order: dict[str, t.Any]) -> t.Any:
    from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout

    return converge_layout(order["params"], dry_run=False, report=lambda message: print(message, flush=True))


def run_resource(order: dict[str, t.Any], idle: list[int]) -> t.Any:
    """*idle* is filled with what is told under that name."""
    module, name = order["resource"]
    resource = getattr(importlib.import_module(module), name)()
    steps: list[str] = []
    watch = Watch()

    def report(step: Change | Step) -> None:
        if watch.was_idle():
            idle.append(len(steps) + 1)
        steps.append(step.name if isinstance(step, Step) else step.path)
        print(steps[-1], flush=True)
        if len(steps) == order.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    if order.get("watch"):
        sys.setprofile(watch)

    return converge(
        resource, order["params"], host=Host(), dry_run=False, report=report, lock_seconds=order.get("lock_seconds", 60)
    )


if __name__ == "__main__":
    main()
