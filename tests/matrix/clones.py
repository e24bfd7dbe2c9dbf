# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 with its systemd, cloud-init and guest agent, built, and cloned while it runs: ``make clones``, as each boot takes a minute under
emulation.
"""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent import Agent
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent_session import connect
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import debian_images, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import command, virsh

VM = KvmVm()
IMAGE = f"{machines.PREFIX}-debian"
BRIDGE = f"{machines.PREFIX}nat"
NAT = {"name": BRIDGE, "address": "10.219.78.1/24", "dhcp": {"start": "10.219.78.100", "end": "10.219.78.150"}}
BASE = f"{machines.PREFIX}-base"
COMMON: dict[str, t.Any] = {
    "state": "started",
    "memory": "1GiB",
    "vcpus": 2,
    "networks": [{"name": "lan", "bridge": BRIDGE}],
    "wait_for": ["agent", "ip"],
    "wait_timeout": 1800,
    "shutdown_timeout": 300,
}
SEED = {
    "user": "admin",
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1dCBubyBvbmUgaGFzIHRoaXMga2V5IGF0IGFsbA a"],
}
# What identifies a system, asked of its own programs; the journal of this boot is found by the id of the machine.
ASK = """
cloud-init status --wait > /dev/null
echo machine=$(cat /etc/machine-id)
echo dbus=$(cat /var/lib/dbus/machine-id 2> /dev/null || cat /etc/machine-id)
echo cloud=$(cloud-init status | cut -d' ' -f2)
echo instance=$(cat /var/lib/cloud/data/instance-id)
echo host=$(hostname)
echo key=$(cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2)
echo served=$(ssh-keyscan -t ed25519 localhost 2> /dev/null | grep -v '^#' | cut -d' ' -f3)
echo state=$(systemctl is-system-running --wait)
echo journal=$(journalctl -b -q -n 1 -o cat | wc -l)
echo note=$(cat /root/note 2> /dev/null)
"""


@pytest.fixture(scope="module")
def base() -> t.Iterator[dict[str, str]]:
    """What a machine that was set up long ago says of itself. It runs."""
    with machines.surroundings():
        wanted = {"name": IMAGE, "kind": "vm", "path": str(debian_images.vm_disk("trixie"))}
        disks = [{"name": "root", "pool": machines.POOL, "image": IMAGE}]
        try:
            for resource, params in (
                (Bridge(), NAT),
                (Image(), wanted),
                (VM, {**COMMON, "name": BASE, "disks": disks, "cloud_init": SEED}),
            ):
                outcome = converge_now(resource, params)
                assert outcome.error is None, outcome.error
            yield said(BASE)
        finally:
            machines.remove_machines()
            converge_now(Image(), {"name": IMAGE, "state": "absent"})
            converge_now(Bridge(), {"name": BRIDGE, "state": "absent"})


def inside(name: str, script: str) -> str:
    done = Agent(connect(name, 120)).run("/bin/sh", ["-c", script])
    assert done.rc == 0, done.stderr
    return done.stdout.decode()


def said(name: str) -> dict[str, str]:
    told = dict(line.split("=", 1) for line in inside(name, ASK).splitlines())
    print(name, told)
    return told


def leases() -> dict[str, tuple[str, str]]:
    """The address and the client's id by MAC, as the DHCP server lent them."""
    told = [line.split() for line in virsh("net-dhcp-leases", BRIDGE).splitlines()]
    print(told)
    return {words[2]: (words[4], words[-1]) for words in told}


def mac(name: str) -> str:
    return virsh("domiflist", name).split()[-1]


def check_identity(name: str, base: dict[str, str]) -> dict[str, str]:
    clone = said(name)
    assert clone["machine"] == clone["dbus"] != base["machine"]
    assert (clone["instance"], clone["host"]) == (name, name) and base["host"] == BASE
    assert clone["key"] == clone["served"] != base["key"] == base["served"]
    assert (clone["cloud"], clone["state"], clone["journal"]) == ("done", "running", "1")
    return clone


def test_a_running_machine_is_cloned_whole_and_its_clone_is_another_system(base: dict[str, str]) -> None:
    """Its agent freezes it: what it had not written out is in the clone. No DHCP server took the clone for it at any time."""
    inside(BASE, "echo unwritten > /root/note")
    name = f"{machines.PREFIX}-clone"
    outcome = check_run_again(VM, {**COMMON, "name": name, "clone_from": {"guest": BASE}})
    assert not any("power cut" in warning or "machine-id" in warning for warning in outcome.plan.warnings)
    clone = check_identity(name, base)
    assert clone["note"] == "unwritten"
    lent = leases()
    # By the id of its origin it would have been given that one's address, in the place of it.
    assert (
        lent.keys() == {mac(BASE), mac(name)} and len({*lent.values()}) == len({ip for ip, dummy in lent.values()}) == 2
    )
    assert said(BASE)["machine"] == base["machine"]
    check_run_again(VM, {**COMMON, "name": name, "state": "stopped"}, ["state"])
    check_run_again(VM, {**COMMON, "name": name}, ["state"])
    assert said(name) == clone


def test_a_clone_whose_user_data_may_need_the_network_is_another_system_too(base: dict[str, str]) -> None:
    name = f"{machines.PREFIX}-late"
    user_data = "#cloud-config\nbootcmd: [ls]\n"
    wanted = {**COMMON, "name": name, "clone_from": {"guest": BASE}, "cloud_init": {"user_data": user_data}}
    outcome = check_run_again(VM, wanted)
    assert any("asks for its first address" in warning for warning in outcome.plan.warnings)
    check_identity(name, base)
    wait_until("a lease of its own", lambda: len({ip for ip, dummy in leases().values()}) > 1, timeout_seconds=300)
    assert inside(name, "networkctl status --json=short | grep -c configured").strip()
    unchanged(VM, wanted)


def test_a_disk_is_built_with_its_partitions_loader_and_settings(tmp_path: Path) -> None:
    disk = debian_images.vm_disk("trixie")
    info = json.loads(command("qemu-img", "info", "--output=json", str(disk)))
    assert (info["format"], info["virtual-size"], "backing-filename" in info) == ("qcow2", 2 * 2**30, False)
    raw = tmp_path / "disk.raw"
    command("qemu-img", "convert", "-O", "raw", str(disk), str(raw))
    partitions = {
        part["node"][-2:]: part
        for part in json.loads(command("sfdisk", "-J", str(raw)))["partitiontable"]["partitions"]
    }
    root, boot = partitions["w1"], partitions["14"]
    assert boot["type"] == "21686148-6449-6E6F-744E-656564454649"
    place = f"{raw}?offset={root['start'] * 512}"
    command("e2fsck", "-fn", place)

    def read(path: str) -> str:
        return command("debugfs", "-R", f"cat {path}", place)

    identity = command("dumpe2fs", "-h", place)
    uuid = re.findall(r"Filesystem UUID:\s+(\S+)", identity)[0]
    assert f"UUID={uuid} / ext4" in read("/etc/fstab")
    assert f"linux /vmlinuz root=UUID={uuid} ro console=tty0 console=ttyS0,115200" in read("/boot/grub/grub.cfg")
    assert "linux-image" not in read("/etc/machine-id")
    assert "ID=debian" in read("/usr/lib/os-release")
    assert "datasource_list: [NoCloud, ConfigDrive, None]" in read("/etc/cloud/cloud.cfg.d/20_homelab_hybrid.cfg")
    with raw.open("rb") as stream:
        sector = stream.read(512)
        stream.seek(boot["start"] * 512)
        core = stream.read(512)
    assert b"GRUB" in sector
    assert int.from_bytes(sector[0x5C:0x64], "little") == boot["start"]
    assert int.from_bytes(core[0x1F4:0x1FC], "little") == boot["start"] + 1
