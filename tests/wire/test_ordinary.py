# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container cannot prove: VLANs, and the power cut of a machine while a change of its network is under way."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import ordinary_vm
from ansible_collections.homelab.hybrid.tests.harness.ordinary_host import PACKAGES, OrdinaryHost
from ansible_collections.homelab.hybrid.tests.harness.wired_host import COLLECTION

CARD, GATEWAY = "eth0", "10.0.2.2"
# Addresses of IPv6 come from the router of the network, in its own time.
NETWORK = "ip -4 -br address | sort; bridge vlan | sort; ip -4 route | sort; cat /etc/systemd/network/*"
# A bridge with a machine in VLAN 20 at one port, which sees no tags, and another one behind a port with tags.
IN_VLAN_20 = """
set -e
ip link add asked0 type bridge vlan_filtering 1
ip link set asked0 up
ip netns add near
ip link add near0 type veth peer name eth0 netns near
ip link set near0 master asked0 up
bridge vlan delete dev near0 vid 1
bridge vlan add dev near0 vid 20 pvid untagged
ip -n near address add 192.0.2.7/24 dev eth0
ip -n near address add 2001:db8::7/64 dev eth0 nodad
ip -n near link set eth0 up
ip netns add far
ip link add trunk0 type veth peer name eth0 netns far
ip link set trunk0 master asked0 up
bridge vlan add dev trunk0 vid 20
ip -n far link add far0 type bridge vlan_filtering 1
ip -n far link set eth0 master far0 up
bridge -n far vlan add dev eth0 vid 20
bridge -n far vlan add dev far0 vid 20 self pvid untagged
ip -n far address add 192.0.2.8/24 dev far0
ip -n far link set far0 up
"""
ASK = """
import json
from ansible_collections.homelab.hybrid.plugins.module_utils._host.neighbours import who_answers
asked = ["192.0.2.7", "192.0.2.8", "192.0.2.9", "2001:db8::7", "2001:db8::9"]
print(json.dumps([who_answers("asked0", asked, vlan) for vlan in (20, 30, 0)]))
"""
BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports"}
# Under emulation each look of the host takes seconds.
TIMEOUT = {"confirm_timeout": 180}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[OrdinaryHost]:
    image = ordinary_vm.built(PACKAGES)
    with OrdinaryHost.running(
        tmp_path_factory.mktemp("control"), lambda folder: ordinary_vm.start(image, folder)
    ) as host:
        yield host


def test_who_has_an_address_in_a_vlan_of_a_bridge_is_asked_there(machine: OrdinaryHost) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for folder in ("_core", "_host"):
            for path in (COLLECTION / "plugins/module_utils" / folder).glob("*.py"):
                archive.add(path, path.relative_to(COLLECTION))
    place = "/run/asked/ansible_collections/homelab/hybrid"
    code = base64.b64encode(packed.getvalue()).decode()
    machine.ask(f"mkdir -p {place} && echo {code} | base64 -d | tar xz -C {place}")
    machine.ask(IN_VLAN_20)
    told = machine.ask(f"PYTHONPATH=/run/asked python3 -c {shlex.quote(ASK)}")
    near, far = (
        machine.ask(f"ip netns exec {space} cat /sys/class/net/{link}/address")
        for space, link in (("near", "eth0"), ("far", "far0"))
    )
    assert json.loads(told) == [{"192.0.2.7": near, "2001:db8::7": near, "192.0.2.8": far}, {}, {}]
    machine.ask("ip netns delete near; ip netns delete far; ip link delete asked0")


def test_what_only_a_machine_has_is_taken_back_too(machine: OrdinaryHost) -> None:
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
