# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet costs the control node: the plays for hypervisors and guests of `site`, with 50 guests on each hypervisor.

The far end is stubbed, here alone: the role does nothing, and `layout` answers that each guest is as declared. What is left
is the inventory, the filters, the templates and Ansible itself. Time and memory must grow as the guests do. Beside them
the same plays, hosts and tasks with nothing in them: what Ansible itself takes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
GUESTS_EACH = 50
SIZES = (500, 5000)

STUB = """\
#!/usr/bin/python
from __future__ import annotations

import json
import sys

from ansible.module_utils.basic import AnsibleModule

KINDS = (("vms", "vm"), ("containers", "container"))
LISTS = ("bridges", "storage_pools", "images", "vms", "containers", "delete")


def main():
    spec = {name: {"type": "list", "elements": "raw"} for name in LISTS}
    module = AnsibleModule({**spec, "prune": {"type": "bool"}, "parallel": {}, "overcommit": {"type": "dict"}}, supports_check_mode=True)
    empty = {"plan": [], "restart_required": [], "kept": [], "unmanaged": [], "assumed": [], "diff": {"before": {}, "after": {}}}
    items = [(kind, item["name"]) for key, kind in KINDS for item in module.params[key] or ()]
    told = [{"kind": kind, "name": name, "changed": False, "failed": False, **empty} for kind, name in items]
    module.exit_json(changed=False, resources=told, unlisted=[], **empty)


if __name__ == "__main__":
    main()
"""
SITE = [
    {
        "name": "Hypervisors",
        "ansible.builtin.import_playbook": "homelab.hybrid.hypervisors",
        "vars": {"hypervisor_fails_at_once": False},
    },
    {"name": "Guests", "ansible.builtin.import_playbook": "homelab.hybrid.guests"},
]


# What a task does on its host becomes a ping, and what it does on the control node a word.
ON_HOSTS = ("homelab.hybrid.layout",)
KEPT = ("name", "hosts", "gather_facts", "strategy", "become", "run_once")


class Cost(t.NamedTuple):
    """What the plays of *guests* cost, and the same plays with tasks that do nothing (*idle_seconds*)."""

    guests: int
    seconds: float
    idle_seconds: float
    mebibytes: float


def make_collection(folder: Path) -> None:
    """The collection as it is, but for what runs on a hypervisor."""
    target = folder / "ansible_collections" / "homelab" / "hybrid"
    for name in ("meta", "plugins", "playbooks", "roles"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", target)
    for module in ("_kept", "layout"):
        (target / "plugins" / "modules" / f"{module}.py").write_text(STUB)
    role = target / "roles" / "hypervisor"
    shutil.rmtree(role)
    (role / "tasks").mkdir(parents=True)
    (role / "tasks" / "main.yml").write_text("---\n[]\n")


def idle_plays() -> list[dict[str, t.Any]]:
    """The plays of SITE, on the same hosts, with a task that does nothing for each of theirs. What is left out there is left out here."""
    plays = []
    for name in ("hypervisors", "guests"):
        for play in yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text()):
            tasks = [idle for key in ("pre_tasks", "tasks") for task in play.get(key, ()) for idle in idle_tasks(task)]
            plays.append({**{key: play[key] for key in KEPT if key in play}, "tasks": tasks})
    return plays


def idle_tasks(task: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    kept = {key: task[key] for key in KEPT if key in task}
    if "ansible.builtin.import_tasks" in task:
        for each in yaml.safe_load((ROOT / "playbooks" / task["ansible.builtin.import_tasks"]).read_text()):
            yield from idle_tasks(each)
    elif task.get("ansible.builtin.meta") == "end_play":
        yield {**kept, "ansible.builtin.meta": "end_play"}
    elif "ansible.builtin.meta" not in task:
        action = (
            {"ansible.builtin.ping": {}} if set(ON_HOSTS) & task.keys() else {"ansible.builtin.debug": {"msg": "ok"}}
        )
        # On a fleet as it is declared no condition of these plays is true.
        yield {**kept, **action, **({"when": False} if "when" in task else {})}


def inventory(guests: int) -> dict[str, t.Any]:
    hypervisors = [f"hv{number}" for number in range(guests // GUESTS_EACH)]
    hosts = {}
    for number in range(guests):
        is_container = bool(number % 2)
        net = {"name": "lan", "bridge": "br0"}
        if is_container:
            net.update(ip=f"10.20.{number % GUESTS_EACH}.10/16", gateway="10.20.0.1")
        spec = {"networks": [net], "memory": "1GiB", "vcpus": 2, "description": f"guest {number}", "tags": ["fleet"]}
        kind = (
            {"rootfs": {"pool": "main"}}
            if is_container
            else {"disks": [{"name": "root", "pool": "main", "size": "20GiB"}]}
        )
        hosts[f"guest{number}"] = {
            "guest_hypervisor": hypervisors[number // GUESTS_EACH],
            "guest_kind": "container" if is_container else "vm",
            "guest_spec": {**spec, **kind},
        }
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    bridges = {"hypervisor_bridges": [{"name": "br0", "mode": "nat", "address": "10.20.0.1/16"}]}
    return {
        "all": {
            "children": {
                "hypervisors": {"hosts": {name: {} for name in hypervisors}, "vars": {**local, **bridges}},
                "guests": {"hosts": hosts},
            }
        }
    }


def run(guests: int, folder: Path, plays: list[dict[str, t.Any]]) -> tuple[float, float]:
    """How many seconds the *plays* take, and how many MiB of memory."""
    (folder / "plays.yml").write_text(yaml.safe_dump(plays))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_INVENTORY_ENABLED": "yaml"}
    argv = ["ansible-playbook", "-i", str(folder / "inventory.yml"), str(folder / "plays.yml")]
    began = time.monotonic()
    with (folder / "log").open("w+") as log:
        child = subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT)
        dummy, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - began
        log.seek(0)
        said = log.read()
    if child.returncode or said.count("changed=0") != guests + guests // GUESTS_EACH:
        raise SystemExit(said[-4000:])
    return took, usage.ru_maxrss / 1024


def cost(guests: int, folder: Path) -> Cost:
    (folder / "inventory.yml").write_text(json.dumps(inventory(guests)))
    idle_seconds, dummy = run(guests, folder, idle_plays())
    seconds, mebibytes = run(guests, folder, SITE)
    return Cost(guests, seconds, idle_seconds, mebibytes)


def measure(sizes: t.Iterable[int] = SIZES) -> t.Iterator[Cost]:
    with tempfile.TemporaryDirectory() as name:
        make_collection(Path(name))
        for guests in sizes:
            yield cost(guests, Path(name))
