# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small lab for the tests of playbooks: its inventory, this host as it says, and the playbooks run as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.plugin_utils._named import with_names
from ansible_collections.homelab.hybrid.tests.harness import tiny_root

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hlpb"
FOLDER = Path("/srv") / PREFIX
POOL, BRIDGE, IMAGE = f"{PREFIX}-pool", f"{PREFIX}br0", f"{PREFIX}-tiny"
FIRST, SECOND, MACHINE = f"{PREFIX}-first", f"{PREFIX}-second", f"{PREFIX}-vm"
GUESTS = (FIRST, SECOND, MACHINE)
STARTUP = {FIRST: {"order": 1, "up_delay": 1, "down_delay": 1}, MACHINE: {"order": 2}}
Variables = dict[str, t.Any]

HOST: Variables = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "/usr/bin/python3",
    "hypervisor_bridges": [{"name": BRIDGE, "mode": "nat", "address": "10.93.61.1/24"}],
    "hypervisor_storage_pools": [{"name": POOL, "path": str(FOLDER / "pool")}],
    "hypervisor_images": [{"name": IMAGE, "kind": "container", "path": str(FOLDER / "tiny.tar.zst")}],
}
CATALOG: Variables = {
    "tiny": {
        "image": IMAGE,
        "rootfs": {"pool": POOL},
        "memory": "32MiB",
        "networks": [{"name": "lan", "bridge": BRIDGE}],
    },
    # A machine without an operating system answers no request to shut down.
    "paper": {
        "memory": "64MiB",
        "disks": [{"name": "root", "pool": POOL, "size": "16MiB"}],
        "networks": [{"name": "lan", "bridge": BRIDGE}],
        "shutdown_timeout": 1,
        "force_stop": True,
    },
}


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def power() -> dict[str, str]:
    """Each guest that is there, and what LXC and libvirt themselves say of it."""
    found = {}
    for name in (FIRST, SECOND):
        if (Path("/var/lib/lxc") / name / "config").exists():
            found[name] = run("lxc-info", "-n", name, "-s", "-H").lower()
    said = run("virsh", "-q", "-c", "qemu:///system", "domstate", MACHINE, check=False)
    return {**found, **({MACHINE: said} if said else {})}


class Lab:
    """The lab as its inventory in *folder* declares it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host: Variables = dict(HOST)
        # Further ones of the user's own.
        self.collections: list[Path] = []
        self.hosts: dict[str, Variables] = {
            FIRST: {"guest_kind": "container", "guest_startup": STARTUP[FIRST]},
            SECOND: {"guest_kind": "container"},
            MACHINE: {"guest_kind": "vm", "guest_startup": STARTUP[MACHINE], "guest_needs": ["isolation"]},
        }
        for name, variables in self.hosts.items():
            profile = "paper" if name == MACHINE else "tiny"
            address = f"10.93.61.{10 + GUESTS.index(name)}/24"
            own = {} if name == MACHINE else {"networks": [{"name": "lan", "ip": address}]}
            variables.update(guest_hypervisor="alpha", guest_profiles=[profile], guest_spec=own)

    def spec(self, name: str) -> Variables:
        return t.cast(Variables, self.hosts[name]["guest_spec"])

    def write(self) -> Path:
        path = self.folder / "hosts.yml"
        children = {
            "hypervisors": {"hosts": {"alpha": self.host}},
            "guests": {"hosts": self.hosts, "vars": {"guest_profile_catalog": CATALOG}},
        }
        path.write_text(yaml.safe_dump({"all": {"children": children}}))
        return path

    def environment(self) -> dict[str, str]:
        return {
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, (ROOT / ".build", *self.collections))),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INJECT_FACT_VARS": "false",
        }

    def command(self, playbook: str, *argv: str) -> list[str]:
        return [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", str(self.write()), playbook, *argv]

    def play(self, name: str, *argv: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        extra = ["-e", json.dumps(variables)] if variables else []
        command = self.command(f"homelab.hybrid.{name}", *argv, *extra)
        return subprocess.run(command, capture_output=True, text=True, env=self.environment(), check=False)

    def report(self, *argv: str, **variables: t.Any) -> Variables:
        path = self.folder / "report.json"
        path.unlink(missing_ok=True)
        done = self.play("report", *argv, report_file=str(path), report_fails=False, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return t.cast(Variables, json.loads(path.read_text()))


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks of the run report a change."""
    recap = done.stdout.partition("PLAY RECAP")[2]
    return sum(int(word.removeprefix("changed=")) for word in recap.split() if word.startswith("changed="))


def merged(name: str, profile: str, state: str, **options: t.Any) -> Variables:
    return {**CATALOG[profile], "name": name, "state": state, **options}


def set_up() -> None:
    """The host as the inventory says: all guests there and running."""
    tear_down()
    FOLDER.mkdir(parents=True)
    tiny_root.build(FOLDER / "tiny.tar.zst")
    lan = {"name": "lan", "bridge": BRIDGE}
    containers = [
        merged(
            name, "tiny", "started", networks=[{**lan, "ip": f"10.93.61.{10 + number}/24"}], startup=STARTUP.get(name)
        )
        for number, name in enumerate((FIRST, SECOND))
    ]
    vms = [merged(MACHINE, "paper", "started", startup=STARTUP[MACHINE])]
    converge(
        # The playbooks let it answer the names of guests with fixed addresses.
        bridges=with_names(HOST["hypervisor_bridges"], [*containers, *vms]),
        storage_pools=HOST["hypervisor_storage_pools"],
        images=HOST["hypervisor_images"],
        containers=containers,
        vms=vms,
    )


def converge(**lists: t.Any) -> None:
    outcome = converge_layout(lists, dry_run=False)
    assert outcome.error is None, outcome.error


def tear_down() -> None:
    absent = {"state": "absent", "force_stop": True, "shutdown_timeout": 1}
    gone = {"state": "absent"}
    converge(
        containers=[{**absent, "name": name, "delete": ["rootfs"]} for name in (FIRST, SECOND)],
        vms=[{**absent, "name": MACHINE, "delete": ["disks"]}],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": POOL, "allow": ["delete_data"]}],
        bridges=[{**gone, "name": BRIDGE}],
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
