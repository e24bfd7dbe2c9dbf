# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container cannot prove: VLANs, and the power cut of a machine while a change of its network is under way."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import ordinary_vm
from ansible_collections.homelab.hybrid.tests.harness.wired_host import COLLECTION, WiredHost

# The machine of `make ordinary`, whose image and snapshot are built once for both.
ROLE = yaml.safe_load((COLLECTION / "roles/hypervisor/vars/main.yml").read_text())
PACKAGES = [
    *ROLE["__hypervisor_packages_common"],
    *ROLE["__hypervisor_packages_of_release"]["13"],
    *ROLE["__hypervisor_packages_of_architecture"]["x86_64"],
]
CARD, GATEWAY = "eth0", "10.0.2.2"
# Addresses of IPv6 come from the router of the network, in its own time.
NETWORK = "ip -4 -br address | sort; bridge vlan | sort; ip -4 route | sort; cat /etc/systemd/network/*"
BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports"}
# Under emulation each look of the host takes seconds.
TIMEOUT = {"confirm_timeout": 180}


class Machine(WiredHost):
    """The machine in *folder*, reached by a port of the loopback address."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.machine = folder / "machine"
        self.key = self.machine / "key"
        self.address = "127.0.0.1"
        self.port = ordinary_vm.start(ordinary_vm.built(PACKAGES), self.machine)

    def ask(self, command: str) -> str:
        return ordinary_vm.ssh(self.machine, self.port, command).stdout.strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Machine]:
    folder = tmp_path_factory.mktemp("control")
    try:
        yield Machine(folder)
    finally:
        ordinary_vm.stop(folder / "machine")
        shutil.rmtree(folder / "machine", ignore_errors=True)


def test_what_only_a_machine_has_is_taken_back_too(machine: Machine) -> None:
    result = machine.task({**BRIDGE, "ports": [CARD], "verify": [GATEWAY], **TIMEOUT})
    assert result["changed"] and not result["failed"], result
    before = machine.ask(NETWORK)
    assert f"default via {GATEWAY} dev vmbr0" in before
    # What comes without a tag is in VLAN 7 then, and the host itself in VLAN 1.
    vlan = machine.task({**BRIDGE, "vlan_aware": True, "ports": [{"name": CARD, "pvid": 7}], **TIMEOUT})
    assert vlan["failed"] and f"the gateway {GATEWAY} does not answer" in vlan["msg"], vlan
    assert machine.ask(NETWORK) == before
    boot = machine.ask("cat /proc/sys/kernel/random/boot_id")
    running = machine.start_task({**BRIDGE, "address": "10.77.0.1/24", "unset": ["gateway"], "confirm_timeout": 3000})
    wait_until("the host to be cut off", lambda: not machine.is_reached(), timeout_seconds=300)
    # No file system is unmounted, and what was in memory alone is gone.
    ordinary_vm.monitor(machine.machine, "system_reset", 60)
    ordinary_vm.wait_for_ssh(machine.machine, machine.port, ordinary_vm.BOOT_SECONDS)
    out, errors = running.communicate()
    assert "the host was restarted before the change was confirmed" in out + errors
    assert machine.ask("cat /proc/sys/kernel/random/boot_id") != boot
    machine.ask("/lib/systemd/systemd-networkd-wait-online --interface vmbr0:routable --timeout 120")
    assert machine.ask(NETWORK) == before
    assert not machine.task({**BRIDGE, "ports": [CARD]})["changed"]
