# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a task that changes nothing, of each module as a ratio to ping, and what it loads beyond ping.

Both through ansible-playbook on this host: a playbook of many such tasks, less an empty one. A ratio, never a time limit:
hosts differ, and so does their load. Nothing is made or changed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "plugins" / "modules"
SYSTEM_PYTHON = "/usr/bin/python3"
# Every resource knows a name that is not there, and to remove what is not there is a run without a change.
ABSENT = {"name": "bench-none", "state": "absent"}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    name: {} for name in ("guest_info", "host_info", "_hypervisor_info", "layout")
}
# Libraries that cost a task something when it loads them.
COSTLY = (
    "libvirt",
    "lxc",
    "lxml",
    "pycdlib",
    "pyroute2",
    "yaml",
    "ssl",
    "http",
    "email",
    "asyncio",
    "multiprocessing",
    "ctypes",
)

LOADED = """
import importlib, io, json, sys
import ansible.modules.ping
from ansible.module_utils.testing import patch_module_args
before = set(sys.modules)
name, arguments, costly = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
module = importlib.import_module("ansible_collections.homelab.hybrid.plugins.modules." + name)
out, sys.stdout = sys.stdout, io.StringIO()
with patch_module_args(arguments):
    try:
        module.main()
    except SystemExit:
        pass
sys.stdout = out
new = set(sys.modules) - before
own = sorted({it.split("module_utils.")[1].split(".")[0] for it in new if "hybrid.plugins.module_utils." in it})
print(json.dumps({"costly": [it for it in costly if it in new], "own": own, "count": len(new)}))
"""


def playbook(tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]


def seconds_of(tasks: list[dict[str, t.Any]]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as handle:
        yaml.safe_dump(playbook(tasks), handle)
        handle.flush()
        command = [
            "ansible-playbook",
            "-i",
            "localhost,",
            "-e",
            f"ansible_python_interpreter={SYSTEM_PYTHON}",
            handle.name,
        ]
        began = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        took = time.monotonic() - began
    if done.returncode or (tasks and "changed=0" not in done.stdout):
        raise SystemExit(f"not a run without changes:\n{done.stdout}")
    return took


def cost(action: str, arguments: dict[str, t.Any], count: int, rounds: int, empty: float) -> float:
    """Seconds of one task: the median of the rounds."""
    tasks = [{"name": f"{action} {number}", action: arguments} for number in range(count)]
    return (statistics.median(seconds_of(tasks) for dummy in range(rounds)) - empty) / count


def loaded(name: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    command = [sys.executable, "-c", LOADED, name, json.dumps(arguments), json.dumps(COSTLY)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build")}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return t.cast("dict[str, t.Any]", json.loads(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10, help="tasks in a playbook")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each playbook")
    options = parser.parse_args()
    empty = statistics.median(seconds_of([]) for dummy in range(options.rounds))
    ping = cost("ansible.builtin.ping", {}, options.tasks, options.rounds, empty)
    print(f"{'module':<16}{'ratio':>7}{'ms':>7}  {'modules':>7}  loads")
    print(f"{'ping':<16}{1:>7.2f}{ping * 1000:>7.0f}")
    for path in sorted(MODULES.glob("*.py")):
        # All its work is done on the control node, or it is the program that runs what a host keeps of the others.
        if "def main" not in path.read_text() or path.stem == "_kept":
            continue
        arguments = ARGUMENTS.get(path.stem, ABSENT)
        seconds = cost(f"homelab.hybrid.{path.stem}", arguments, options.tasks, options.rounds, empty)
        found = loaded(path.stem, arguments)
        names = ", ".join([*found["own"], *found["costly"]])
        print(f"{path.stem:<16}{seconds / ping:>7.2f}{seconds * 1000:>7.0f}  {found['count']:>7}  {names}", flush=True)


if __name__ == "__main__":
    main()
