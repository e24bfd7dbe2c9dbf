# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door of a guest that is a virtual machine: an ordinary Debian 13 at its SSH server, without an agent."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import ordinary_vm
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import clock, debian_archive

IMAGE = f"{guest.PREFIX}-disk"
PACKAGES = ("iproute2", "nftables", "procps", "python3-apt")
# As the network of its image is.
GATEWAY, ADDRESS = "10.0.2.2", "10.0.2.15"
DUMP = "/var/lib/homelab-clock/dump"
SSH = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")


class Machine:
    """A machine that runs, with an archive of its own."""

    def __init__(self, built: Path, folder: Path) -> None:
        self.key = folder / "key"
        shutil.copy(built / "key", self.key)
        self.key.chmod(0o600)
        # The root in which packages are made, before they are carried over.
        self.root = folder / "root"
        (self.root / "etc/apt/sources.list.d").mkdir(parents=True)

    def inside(self, command: str, check: bool = True) -> str:
        """What a shell in the machine prints."""
        login = ("-i", str(self.key), *SSH, "-o", "ConnectTimeout=60", f"root@{ADDRESS}")
        return guest.run("ssh", *login, command, check=check)

    def answers(self) -> bool:
        return self.inside("echo yes", check=False) == "yes"

    def publish(self, version: str, program: str = clock.WORKS) -> None:
        debian_archive.publish(self.root, clock.PACKAGE, version, clock.files(version, program))
        place = f"/{debian_archive.PLACE}"
        self.inside(f"rm -rf {place}; mkdir -p {place}")
        found = [str(path) for path in (self.root / debian_archive.PLACE).iterdir()]
        guest.run("scp", "-q", "-i", str(self.key), *SSH, *found, f"root@{ADDRESS}:{place}")


def answer() -> str:
    return guest.run("curl", "-sS", "--max-time", "10", f"http://{ADDRESS}:7000/", check=False)


@pytest.fixture
def machine(tmp_path: Path) -> t.Iterator[Machine]:
    built = ordinary_vm.built(PACKAGES, is_booted=False)
    try:
        tear_down()
        guest.FOLDER.mkdir(parents=True)
        guest.run("truncate", "-s", "6G", str(guest.FOLDER / "machine.img"))
        source = {"path": str(guest.FOLDER / "pool"), "source": str(guest.FOLDER / "machine.img")}
        boot = {"kernel": str(built / "vmlinux"), "initrd": str(built / "initrd")}
        guest.converge(
            bridges=[{"name": guest.BRIDGE, "mode": "nat", "address": f"{GATEWAY}/24"}],
            storage_pools=[{"name": guest.POOL, "type": "btrfs", **source}],
            images=[{"name": IMAGE, "kind": "vm", "path": str(built / "disk.qcow2")}],
            vms=[
                {
                    "name": guest.NAME,
                    "state": "started",
                    "memory": "1GiB",
                    "vcpus": 2,
                    "boot": {**boot, "cmdline": "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0"},
                    "disks": [{"name": "root", "pool": guest.POOL, "image": IMAGE}],
                    "networks": [{"name": "lan", "bridge": guest.BRIDGE, "mac": ordinary_vm.MAC}],
                    "agent": False,
                }
            ],
        )
        started = Machine(built, tmp_path)
        # The host has no neighbour yet in a machine that nobody spoke to, and knows no address to wait for.
        wait_until("the machine", started.answers, timeout_seconds=ordinary_vm.BOOT_SECONDS)
        yield started
    finally:
        tear_down()


def tear_down() -> None:
    guest.run("virsh", "destroy", guest.NAME, check=False)
    gone = {"state": "absent"}
    guest.converge(
        vms=[{**gone, "name": guest.NAME, "delete": ["disks", "snapshots"]}],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": guest.POOL, "allow": ["delete_data"]}],
        bridges=[{**gone, "name": guest.BRIDGE}],
    )
    shutil.rmtree(guest.FOLDER, ignore_errors=True)


def test_a_service_of_a_machine_goes_back_when_its_new_version_does_not_answer(
    machine: Machine, tmp_path: Path
) -> None:
    declaration = {**clock.DECLARATION, "dump": [["sh", "-c", f"date > {DUMP}"]]}
    clock.write_role(tmp_path, declaration)
    debian_archive.use_alone(machine.root)
    machine.publish("1")
    line = debian_archive.LINE.strip()
    machine.inside(f"rm -rf /etc/apt/sources.list.d/*; echo '{line}' > /etc/apt/sources.list; apt-get -qq update")
    login = {
        "ansible_connection": "ssh",
        "ansible_host": ADDRESS,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(machine.key),
        "ansible_ssh_common_args": " ".join(SSH),
        "guest_kind": "vm",
    }
    lab = guest.Lab(tmp_path, "my.test.clock", login)
    lab.entry("main").succeeded()
    assert answer().startswith("clock 1 ticks")
    machine.inside(f"mkdir -p /var/lib/homelab-clock; echo kept > {clock.ROW}")

    machine.publish("2", clock.BREAKS)
    failed = lab.entry("update").failed()
    assert "went back" in failed.said, failed.printed[-4000:]
    assert answer().startswith("clock 1 ticks") and machine.inside(f"cat {clock.ROW}") == "kept"
    assert machine.inside(f"cat {DUMP}") != "", "what the machine had only in its memory is in the snapshot"
    assert machine.inside("nft list tables") == "", "it answers everybody"

    machine.publish("3")
    assert lab.entry("update").succeeded().changed
    assert answer().startswith("clock 3 ticks") and machine.inside(f"cat {clock.ROW}") == "kept"
    assert lab.entry("update").succeeded().changed == 0
