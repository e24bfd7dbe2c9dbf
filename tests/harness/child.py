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
CALCULATING_MODULES = ("_collections", "_functools", "_operator", "_sre", "itertools", "math")
REACHING = ("open", "exec", "eval", "compile", "input", "__import__")


class Watch:
    """The numbers of the steps that are *idle*: since the one before nothing was done but to calculate.

    As a function for ``sys.setprofile`` it hears of each call of what is written in C.
    """

    def __init__(self) -> None:
        self.idle: list[int] = []
        self._steps = 0
        self._has_acted = False

    def __call__(self, frame: types.FrameType | None, event: str, called: t.Any) -> None:
        if event == "c_call" and not self._has_acted:
            self._has_acted = not calculates(called)

    def note_step(self) -> None:
        self._steps += 1
        if not self._has_acted:
            self.idle.append(self._steps)
        self._has_acted = False


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
    watch = Watch()
    outcome = run_layout(order) if order["resource"] is None else run_resource(order, watch)
    told = {**outcome.result(), "idle": watch.idle} if order.get("watch") else outcome.result()
    print("RESULT " + json.dumps(told, default=str), flush=True)


def run_layout(order: dict[str, t.Any]) -> t.Any:
    from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout

    return converge_layout(order["params"], dry_run=False, report=lambda message: print(message, flush=True))


def run_resource(order: dict[str, t.Any], watch: Watch) -> t.Any:
    module, name = order["resource"]
    resource = getattr(importlib.import_module(module), name)()
    steps: list[str] = []

    def report(step: Change | Step) -> None:
        watch.note_step()
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
