# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor under systemd for a lab of services: a privileged system container of this host, reached by ssh as a user's is.

Its root lies on btrfs, and so do the roots of its guests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.tests.harness import debian_images, nested
from ansible_collections.homelab.hybrid.tests.harness.service_guest import Play, converge, make_disk, run

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hlla"
HOST, POOL, BRIDGE, IMAGE = f"{PREFIX}-host", f"{PREFIX}-pool", f"{PREFIX}br0", f"{PREFIX}-host"
# Behind the second card of a hypervisor that has one.
OUTER = f"{PREFIX}br1"
FOLDER = Path("/srv") / PREFIX
KEY = FOLDER / "key"
GATEWAY, ADDRESS = "10.93.66.1", "10.93.66.10"
# Of the lab.
NETWORK, DOMAIN = "10.93.67", "lab.home.arpa"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Variables = dict[str, t.Any]

CONNECTION: Variables = {
    "ansible_host": ADDRESS,
    "ansible_user": "root",
    "ansible_ssh_private_key_file": str(KEY),
    "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=accept-new",
    "ansible_python_interpreter": "/usr/bin/python3",
}
IMAGES = [{"name": "debian-13", "kind": "container", "path": "/srv/debian/root.tar.zst"}]
ALPHA: Variables = {
    **CONNECTION,
    "hypervisor_bridges": [
        {
            "name": "lab0",
            "mode": "nat",
            "address": f"{NETWORK}.1/24",
            "dhcp": {"start": f"{NETWORK}.100", "end": f"{NETWORK}.199"},
        }
    ],
    "hypervisor_storage_pools": [{"name": "lab", "type": "btrfs", "path": "/srv/lab"}],
    "hypervisor_images": IMAGES,
}


def on_host(*argv: str, check: bool = True) -> str:
    """What *argv* prints on the hypervisor."""
    return run("lxc-attach", "-n", HOST, "--clear-env", "-v", _PATH, "--", *argv, check=check)


def in_guest(name: str, *argv: str, check: bool = True) -> str:
    """What *argv* prints in a guest of the lab."""
    return on_host("lxc-attach", "-n", name, "--clear-env", "-v", _PATH, "--", *argv, check=check)


def rootfs() -> Path:
    """The root of the hypervisor."""
    return FOLDER / "pool" / f"{HOST}.rootfs"


def set_up(*, is_between: bool = False) -> None:
    """The hypervisor, which runs and has nothing but its packages; one *is_between* two networks, with a second card that is nobody's."""
    tear_down()
    FOLDER.mkdir(parents=True)
    disk = make_disk(FOLDER, "lab.img", "200G")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(KEY))
    converge(
        bridges=[
            {"name": BRIDGE, "mode": "nat", "address": f"{GATEWAY}/24"},
            *([{"name": OUTER, "mode": "isolated"}] if is_between else []),
        ],
        storage_pools=[{"name": POOL, "type": "btrfs", "path": str(FOLDER / "pool"), "source": disk}],
        images=[
            {
                "name": IMAGE,
                "kind": "container",
                "path": str(debian_images.container_root("trixie", nested.packages("13"))),
            }
        ],
        containers=[_host()],
    )
    if is_between:
        converge(containers=[_host(networks=[{"name": "outer", "bridge": OUTER, "ip": "none"}])])
    nested.allow_guests_with_limits(HOST, rootfs())
    converge(containers=[_host(state="started", wait_for=["ip"])])


def _host(**options: t.Any) -> Variables:
    lan = {"name": "lan", "bridge": BRIDGE, "ip": f"{ADDRESS}/24", "gateway": GATEWAY}
    image = debian_images.container_root("trixie")
    return {
        "name": HOST,
        "image": IMAGE,
        "unprivileged": False,
        "rootfs": {"pool": POOL},
        "networks": [lan],
        "dns": {"servers": [GATEWAY]},
        "ssh_keys": [KEY.with_suffix(".pub").read_text(encoding="utf-8").strip()],
        "mounts": [{"name": "debian", "source": str(image.parent), "path": "/srv/debian", "readonly": True}],
        "shutdown_timeout": 120,
        **options,
    }


def restart() -> None:
    """Shut the hypervisor down as its power button does, and start it again."""
    converge(containers=[_host(state="stopped")])
    converge(containers=[_host(state="started", wait_for=["ip"])])


def tear_down() -> None:
    run("lxc-stop", "-n", HOST, "-k", check=False)
    gone = {"state": "absent"}
    converge(
        containers=[{**gone, "name": HOST, "delete": ["rootfs", "snapshots"]}],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": POOL, "allow": ["delete_data"]}],
        bridges=[{**gone, "name": name} for name in (BRIDGE, OUTER)],
    )
    shutil.rmtree(FOLDER, ignore_errors=True)


class Lab:
    """An inventory in *folder*: the hypervisor, and *guests* by name with their variables."""

    def __init__(self, folder: Path, guests: t.Mapping[str, Variables]) -> None:
        self.folder = folder
        everything = {"hybrid_domain": DOMAIN, "hybrid_is_disposable": True}
        children = {"hypervisors": {"hosts": {"alpha": ALPHA}}, "guests": {"hosts": dict(guests)}}
        inventory = {"all": {"vars": everything, "children": children}}
        # As it stands in memory YAML would have anchors.
        (folder / "hosts.yml").write_text(yaml.safe_dump(json.loads(json.dumps(inventory))), encoding="utf-8")

    def play(self, name: str, *argv: str) -> Play:
        """Run a playbook of the collection."""
        return play([self.folder / "hosts.yml"], name, *argv)


def play(inventories: t.Sequence[Path], name: str, *argv: str) -> Play:
    """Run a playbook of the collection with *inventories*, of which each lies over those before it."""
    environment = {
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_TIMEOUT": "60",
    }
    command = [str(ROOT / ".build/venv/bin/ansible-playbook")]
    for inventory in inventories:
        command += ["-i", str(inventory)]
    command += [f"homelab.hybrid.{name}", *argv]
    return Play(subprocess.run(command, capture_output=True, text=True, env=environment, check=False))
