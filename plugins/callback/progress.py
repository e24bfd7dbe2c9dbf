# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: Tells what takes long while it does, and what took long
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - While a task takes long, says every few seconds which one, on which hosts, and for how long by now.
  - Says how long each slow task took on each host, and at the end of the playbook which were the slowest.
  - It stands beside the callback that writes to the terminal and replaces none.
requirements:
  - enabled in the configuration, with C(callbacks_enabled = homelab.hybrid.progress)
options:
  interval:
    description: How many seconds pass between two lines about what still runs.
    type: int
    default: 10
    env:
      - name: HOMELAB_HYBRID_PROGRESS_INTERVAL
    ini:
      - section: homelab_hybrid
        key: progress_interval
  slow:
    description: From how many seconds on a task is told to have taken long.
    type: float
    default: 2
    env:
      - name: HOMELAB_HYBRID_PROGRESS_SLOW
    ini:
      - section: homelab_hybrid
        key: progress_slow
"""

import threading
import time
import typing as t

from ansible.plugins.callback import CallbackBase

SLOWEST = 5
COLOR = "blue"


def show_duration(seconds: float) -> str:
    """``4.2 s``, ``1 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "homelab.hybrid.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: t.Any = None, options: t.Any = None) -> None:
        super().__init__(display=display, options=options)
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], tuple[str, float]] = {}
        self._took: list[tuple[float, str, str]] = []
        self._is_over = threading.Event()
        self._watcher: threading.Thread | None = None

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        self._watcher = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._watcher.start()

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        with self._lock:
            self._running[host.get_name(), task._uuid] = (task.get_name().strip(), time.monotonic())

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._ended(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._ended(result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._ended(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._ended(result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._is_over.set()
        if self._watcher is not None:
            self._watcher.join(timeout=1)
        self._display.display(f"Took {show_duration(time.monotonic() - self._begin)}.")
        slow = sorted(self._took, reverse=True)[:SLOWEST]
        for seconds, host, task in slow:
            self._display.display(f"  {show_duration(seconds):>12}  {host}: {task}")

    def _ended(self, result: t.Any) -> None:
        host = result.host.get_name()
        with self._lock:
            task, begin = self._running.pop((host, result.task._uuid), ("", 0.0))
        seconds = time.monotonic() - begin
        if task and seconds >= self.get_option("slow"):
            self._took.append((seconds, host, task))
            self._display.display(f"  took {show_duration(seconds)}: [{host}]", color=COLOR)

    def _watch(self) -> None:
        # Ansible starts its workers under the display's lock, so that no child inherits it held by this thread.
        interval = float(self.get_option("interval"))
        while not self._is_over.wait(interval):
            now = time.monotonic()
            with self._lock:
                running = list(self._running.items())
            by_task: dict[str, list[tuple[float, str]]] = {}
            for (host, dummy), (task, begin) in running:
                if now - begin >= interval:
                    by_task.setdefault(task, []).append((now - begin, host))
            for task, hosts in by_task.items():
                names = ", ".join(sorted(host for dummy, host in hosts))
                self._display.display(f"  ... {show_duration(max(hosts)[0])}: {task} [{names}]", color=COLOR)
