# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays of site where guests stand on what a guest of their host serves: what comes after what, and who is told what.

What runs on a host is stubbed, here alone: a guest whose source nobody serves yet is deferred or fails as the module says it, and a folder
keeps which guests there are and who serves. tests/homelab/test_nas_guest.py mounts and serves for real.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """\
#!/usr/bin/python
from __future__ import annotations

import json
import os

from ansible.module_utils.basic import AnsibleModule

IS_REHEARSAL = False
KINDS = (("vms", "vm"), ("containers", "container"))
LISTS = ("bridges", "storage_pools", "images", "vms", "containers", "delete", "serve_later", "name")
EMPTY = {"plan": [], "restart_required": [], "kept": [], "unmanaged": [], "assumed": [], "diff": {"before": {}, "after": {}}}


def told(module, world, kind, item):
    path = os.path.join(world, "guests", item["name"])
    found = {"kind": kind, "name": item["name"], "changed": not os.path.exists(path), "failed": False, **EMPTY}
    server = next((mount["source"].split("/")[2] for mount in item.get("mounts") or ()), None)
    if not found["changed"]:
        return found
    if server and not os.path.exists(os.path.join(world, server)) and not (IS_REHEARSAL or module.check_mode):
        if server in (module.params["serve_later"] or ()):
            return {**found, "changed": False, "deferred": f"waits for {server}"}
        return {**found, "changed": False, "failed": True, "msg": f"{server} does not answer"}
    if not (IS_REHEARSAL or module.check_mode):
        open(path, "w").close()
        with open(os.path.join(world, "order"), "a") as stream:
            stream.write(f"{item['name']}\\n")
    return found


def main():
    spec = {name: {"type": "list", "elements": "raw"} for name in LISTS}
    module = AnsibleModule({**spec, "prune": {"type": "bool"}, "parallel": {}, "overcommit": {"type": "dict"}}, supports_check_mode=True)
    world = os.environ["SERVED_WORLD"]
    if module.params["name"] is not None:
        there = [name for name in module.params["name"] if os.path.exists(os.path.join(world, "guests", name))]
        module.exit_json(changed=False, guests=[{"name": name, "kind": "container", "state": "started"} for name in there])
    items = [told(module, world, kind, item) for key, kind in KINDS for item in module.params[key] or ()]
    failed = [f"{item['kind']} {item['name']}: {item['msg']}" for item in items if item["failed"]]
    told_whole = {"changed": any(item["changed"] for item in items), "resources": items, "unlisted": [], **EMPTY}
    if failed:
        module.fail_json(msg="; ".join(failed), **told_whole)
    module.exit_json(**told_whole)


if __name__ == "__main__":
    main()
"""
SERVE = """\
- ansible.builtin.fail:
  when: inventory_hostname in broken | default([])
- ansible.builtin.lineinfile:
    path: "{{ lookup('env', 'SERVED_WORLD') }}/{{ inventory_hostname }}"
    line: serves
    create: true
    mode: "0644"
- ansible.builtin.lineinfile:
    path: "{{ lookup('env', 'SERVED_WORLD') }}/order"
    line: "{{ inventory_hostname }} serves"
    create: true
    mode: "0644"
"""
HERE = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as it is, but for what runs on a host; and a service of a user."""
    folder = tmp_path_factory.mktemp("collections")
    target = folder / "ansible_collections/homelab/hybrid"
    for name in ("meta", "plugins", "playbooks", "roles"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", target)
    for module in ("layout", "guest_info"):
        (target / f"plugins/modules/{module}.py").write_text(STUB)
    (target / "plugins/modules/_kept.py").write_text(STUB.replace("IS_REHEARSAL = False", "IS_REHEARSAL = True"))
    (target / "roles/hypervisor/tasks/main.yml").write_text("---\n[]\n")
    for name, declared in {"share": "title: Share", "other": "title: Other", "way": "provides: gateway"}.items():
        role = folder / "ansible_collections/my/lab/roles" / name
        for part, text in {"vars": f"__{name}_service: {{{declared}}}\n", "tasks": SERVE}.items():
            (role / part).mkdir(parents=True)
            (role / part / "main.yml").write_text(text)
    return folder


class Lab:
    """Two hypervisors; the first has a NAS, a guest that stands on it and a gateway, the second one guest."""

    def __init__(self, folder: Path, collections: Path) -> None:
        self.world, self.collections = folder / "world", collections
        (self.world / "guests").mkdir(parents=True)
        self.inventory = folder / "hosts.yml"
        mount = {"path": "/srv/nas", "type": "nfs", "source": "nas:/tank", "wait_for_guest": "nas"}
        films = {"mounts": [{"name": "films", "source": "/srv/nas/films", "path": "/films"}]}
        self.guests: dict[str, dict[str, t.Any]] = {
            "films": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_spec": films},
            "nas": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_services": ["my.lab.share"]},
            "web": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_services": ["my.lab.way"]},
            "far": {"guest_hypervisor": "beta", "guest_kind": "container", "guest_services": ["my.lab.other"]},
        }
        pool = {
            "hypervisor_storage_pools": [{"name": "main", "path": "/srv/main"}],
            "hypervisor_default_bridge": "lan0",
        }
        images = {
            "hypervisor_images": [{"name": name, "kind": "container", "path": "/x"} for name in ("debian-13", "t")]
        }
        self.hypervisors: dict[str, dict[str, t.Any]] = {
            "alpha": {**pool, **images, "hypervisor_mounts": [mount]},
            "beta": {**pool, **images},
        }

    def site(self, *argv: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        groups = {"hypervisors": {"hosts": self.hypervisors}, "guests": {"hosts": self.guests}}
        self.inventory.write_text(json.dumps({"all": {"vars": {**HERE, **variables}, "children": groups}}))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), *argv]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_NOCOLOR": "1",
            "SERVED_WORLD": str(self.world),
        }
        done = [*command, "homelab.hybrid.site"]
        return subprocess.run(done, env=environment, capture_output=True, text=True, check=False)

    @property
    def order(self) -> list[str]:
        path = self.world / "order"
        return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def lab(tmp_path: Path, collections: Path) -> Lab:
    return Lab(tmp_path, collections)


def recap(done: subprocess.CompletedProcess[str], word: str) -> dict[str, int]:
    """Each host of the run with its number of what *word* counts."""
    lines = done.stdout.partition("PLAY RECAP")[2].splitlines()
    found = (re.match(rf"(\S+) .*\b{word}=(\d+)", line) for line in lines)
    return {match[1]: int(match[2]) for match in found if match}


def plays(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """The tasks of each play."""
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"PLAY \[(.*)\]", line):
            tasks = found.setdefault(match[1], [])
        elif match := re.match(r"TASK \[(.*)\]", line):
            tasks.append(match[1])
    return found


def test_one_run_keeps_the_services_of_a_server_before_it_makes_who_stands_on_it(lab: Lab) -> None:
    done = lab.site()
    assert done.returncode == 0, done.stdout + done.stderr
    # The hypervisors are at work at once.
    assert sorted(lab.order[:3]) == ["far", "nas", "web"]
    assert lab.order[3:] == ["web serves", "nas serves", "films", "far serves"]
    assert '"msg": "waits for nas"' in done.stdout
    assert recap(done, "changed")["films"] == 1 and set(recap(done, "failed").values()) == {0}
    again = lab.site()
    assert again.returncode == 0 and set(recap(again, "changed").values()) == {0}, again.stdout
    assert plays(again)["Guests that waited for them"] == []


def test_a_fleet_in_which_nobody_serves_has_no_task_more(lab: Lab) -> None:
    lab.hypervisors["alpha"]["hypervisor_mounts"] = []
    done = lab.site("--limit", "beta:far")
    assert done.returncode == 0, done.stdout + done.stderr
    assert plays(done)["Guests that waited for them"] == []
    assert plays(done)["Services"].count("Know the services of the lab") == 1
    assert "Could not match" not in done.stdout + done.stderr


def test_a_guest_whose_server_serves_nothing_still_fails_and_the_run_goes_on(lab: Lab) -> None:
    done = lab.site(broken=["nas"])
    assert done.returncode == 2
    # It is the service of the server that fails, and the guest, for which nothing answers.
    assert recap(done, "failed") == {"alpha": 1, "beta": 0, "far": 0, "films": 1, "nas": 1, "web": 0}
    assert "films" not in lab.order and lab.order[-2:] == ["web serves", "far serves"]
    assert "nas does not answer" in done.stdout


@pytest.mark.parametrize(
    ("argv", "order", "failed"),
    [
        (["--limit", "films,nas"], ["nas", "nas serves", "films"], []),
        (["--limit", "alpha,nas"], ["nas", "web", "nas serves", "films"], []),
        (["--limit", "alpha"], ["nas", "web"], ["alpha"]),
        (["--limit", "nas"], ["nas", "nas serves"], []),
        (["--tags", "guests,services", "--limit", "films,nas"], ["nas", "nas serves", "films"], []),
        (["--tags", "hypervisors,share", "--limit", "alpha,nas,films"], ["nas", "web", "nas serves", "films"], []),
        (["--tags", "guests", "--limit", "films,nas"], ["nas"], ["films"]),
        (["--tags", "share", "--limit", "films"], [], []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_only_a_run_that_keeps_the_services_leaves_something_for_later(
    lab: Lab, argv: list[str], order: list[str], failed: list[str]
) -> None:
    done = lab.site(*argv)
    assert lab.order == order, done.stdout + done.stderr
    assert [name for name, count in recap(done, "failed").items() if count] == failed
    assert done.returncode == (2 if failed else 0)


def test_a_plan_shows_everything_and_leaves_nothing_for_later(lab: Lab) -> None:
    done = lab.site("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.order == [] and recap(done, "changed")["films"] == 1
    assert plays(done)["Guests that waited for them"] == []
