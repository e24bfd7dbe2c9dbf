# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a process of its own: ``python child.py < {"resource": [module, class], "params": {...}, "kill_at": N}``.

Prints a line for each step that stands, and last the result as JSON. With *kill_at* it ends itself by SIGKILL right after
that step. Without a resource it is the run of a layout.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host


def main() -> None:
    order = json.load(sys.stdin)
    outcome = run_layout(order) if order["resource"] is None else run_resource(order)
    print("RESULT " + json.dumps(outcome.result(), default=str), flush=True)


def run_layout(order: dict[str, t.Any]) -> t.Any:
    from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout

    return converge_layout(order["params"], dry_run=False, report=lambda message: print(message, flush=True))


def run_resource(order: dict[str, t.Any]) -> t.Any:
    module, name = order["resource"]
    resource = getattr(importlib.import_module(module), name)()
    steps: list[str] = []

    def report(step: Change | Step) -> None:
        steps.append(step.name if isinstance(step, Step) else step.path)
        print(steps[-1], flush=True)
        if len(steps) == order.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    return converge(
        resource, order["params"], host=Host(), dry_run=False, report=report, lock_seconds=order.get("lock_seconds", 60)
    )


if __name__ == "__main__":
    main()
