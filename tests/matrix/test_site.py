# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site on this host and on one that does not answer, as a user runs it; proven with lxc-info, virsh and the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import GUEST
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_host
from ansible_collections.homelab.hybrid.tests.harness.questions import address_of, eventually, name_of

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hlsi"
BRIDGE, POOL, IMAGE, VM = f"{PREFIX}br0", f"{PREFIX}-pool", f"{PREFIX}-tiny", f"{PREFIX}-vm"
ONE, TWO, FAR = f"{PREFIX}-one", f"{PREFIX}-two", f"{PREFIX}-far"
FOLDER = Path("/srv") / PREFIX
LXC = Path("/var/lib/lxc")
LAN = {"name": "lan", "bridge": BRIDGE}
Inventory = dict[str, t.Any]


def command(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def power(name: str) -> str:
    return command("lxc-info", "-n", name, "-s", "-H")


def limit_of(name: str) -> str:
    found = re.search(r"^lxc\.cgroup2\.memory\.max = (\S+)$", (LXC / name / "config").read_text(), re.MULTILINE)
    return found.group(1) if found else ""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "tiny.tar.zst"
    tiny_root.build(path)
    return path


@pytest.fixture
def inventory(archive: Path) -> t.Iterator[Inventory]:
    """A machine without an operating system and two containers on this host, and a container on a host that does not answer."""
    remove_host(PREFIX, FOLDER)
    FOLDER.mkdir()
    container = {"image": IMAGE, "rootfs": {"pool": POOL}, "memory": "64MiB", "force_stop": True, "shutdown_timeout": 1}
    alpha = {
        "ansible_connection": "local",
        "hypervisor_bridges": [{"name": BRIDGE, "mode": "nat", "address": "10.91.12.1/24"}],
        "hypervisor_storage_pools": [{"name": POOL, "path": str(FOLDER / "pool")}],
        "hypervisor_images": [{"name": IMAGE, "kind": "container", "path": str(archive)}],
    }
    far = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    vm = {
        "memory": "64",
        "state": "stopped",
        "disks": [{"name": "root", "pool": POOL, "size": "16M"}],
        "networks": [LAN],
    }
    guests = {
        VM: {"guest_kind": "vm", "guest_spec": vm},
        ONE: {"guest_kind": "container", "guest_spec": {**container, "networks": [{**LAN, "ip": "10.91.12.10/24"}]}},
        TWO: {"guest_kind": "container", "guest_spec": {**container, "networks": [{**LAN, "ip": "10.91.12.11/24"}]}},
    }
    for variables in guests.values():
        variables["guest_hypervisor"] = f"{PREFIX}-alpha"
    yield {
        "all": {
            "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
            "children": {
                "hypervisors": {"hosts": {f"{PREFIX}-alpha": alpha}},
                "guests": {"hosts": guests},
                "away": {"hosts": {f"{PREFIX}-beta": far}},
            },
        }
    }
    remove_host(PREFIX, FOLDER)


def guest(inventory: Inventory, name: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", inventory["all"]["children"]["guests"]["hosts"][name])


def start(inventory: Inventory, *argv: str, **extra: t.Any) -> subprocess.Popen[str]:
    """ansible-playbook at work, as a process group of its own."""
    file = FOLDER / "hosts.yml"
    file.write_text(yaml.safe_dump(inventory))
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_SSH_TIMEOUT": "5",
    }
    program = str(ROOT / ".build/venv/bin/ansible-playbook")
    return subprocess.Popen(
        [program, "-i", str(file), "homelab.hybrid.site", "-e", json.dumps(extra), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    )


class Run:
    """One run of ansible-playbook and what it said."""

    def __init__(self, inventory: Inventory, *argv: str, **extra: t.Any) -> None:
        with start(inventory, *argv, **extra) as process:
            self.said = process.communicate()[0]
        self.rc = process.returncode

    def count(self, host: str, what: str) -> int | None:
        """A number of the host's line in the recap, ``None`` where the host has none."""
        line = re.search(rf"^{re.escape(host)}\s+: (.*)$", self.said, re.MULTILINE)
        if line is None:
            return None
        found = re.search(rf"\b{what}=(\d+)", line.group(1))
        return int(found.group(1)) if found else None

    def changed(self) -> dict[str, int | None]:
        return {name: self.count(name, "changed") for name in (f"{PREFIX}-alpha", VM, ONE, TWO)}


def converge(inventory: Inventory, *argv: str, **more: t.Any) -> Run:
    done = Run(inventory, *argv, **more)
    assert done.rc == 0, done.said
    return done


def test_a_host_and_its_guests_converge_and_each_tells_its_own(inventory: Inventory) -> None:
    planned = converge(inventory, "--check").changed()
    assert not (LXC / ONE).exists()
    first = converge(inventory)
    assert first.changed() == planned
    assert first.changed()[ONE] == 1
    assert "containers[hlsi-one] done in" in first.said
    assert [power(ONE), power(TWO)] == ["RUNNING", "RUNNING"]
    assert command("virsh", "-c", "qemu:///system", "domstate", VM) == "shut off"
    assert set(converge(inventory).changed().values()) == {0}


def test_a_run_goes_on_when_the_control_node_is_interrupted(inventory: Inventory) -> None:
    # The locks keep the run from being through before its first line is read here.
    with lock.hold([Reference(GUEST, ONE), Reference(GUEST, TWO)], []), start(inventory) as process:
        assert process.stdout is not None
        begun = any(f"images[{IMAGE}] begins" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGKILL)
        assert begun and "RUNNING" not in [power(ONE), power(TWO)]
    limit = time.monotonic() + 60
    while [power(ONE), power(TWO)] != ["RUNNING", "RUNNING"]:
        assert time.monotonic() < limit, "the run ended with its control node"
        time.sleep(0.2)
    assert set(converge(inventory).changed().values()) == {0}


def test_a_guest_alone_is_changed_and_no_other(inventory: Inventory) -> None:
    converge(inventory)
    for name in (ONE, TWO):
        guest(inventory, name)["guest_spec"]["memory"] = "80MiB"
    done = converge(inventory, "--limit", ONE)
    assert done.changed() == {f"{PREFIX}-alpha": None, VM: None, ONE: 1, TWO: None}
    assert [limit_of(ONE), limit_of(TWO)] == [str(80 << 20), str(64 << 20)]
    assert converge(inventory, "--limit", ONE).count(ONE, "changed") == 0
    whole = converge(inventory, "--limit", f"{PREFIX}-alpha")
    assert (whole.count(f"{PREFIX}-alpha", "changed"), whole.count(TWO, "changed")) == (1, None)
    assert limit_of(TWO) == str(80 << 20)


def test_of_guests_that_are_converged_together_each_tells_its_own_change(inventory: Inventory) -> None:
    converge(inventory)
    guest(inventory, TWO)["guest_spec"]["memory"] = "80MiB"
    done = converge(inventory, "--limit", f"{ONE},{TWO}")
    assert done.changed() == {f"{PREFIX}-alpha": None, VM: None, ONE: 0, TWO: 1}


def test_a_guest_that_the_limit_leaves_out_is_left_as_it_is(inventory: Inventory) -> None:
    converge(inventory)
    for name in (ONE, TWO):
        guest(inventory, name)["guest_spec"]["memory"] = "80MiB"
    limit = ("--limit", f"all:!{TWO}")
    done = converge(inventory, *limit)
    assert [limit_of(ONE), limit_of(TWO)] == [str(80 << 20), str(64 << 20)]
    assert f"{TWO}: made by this collection" not in done.said
    refused = Run(inventory, *limit, guest_prune=True)
    assert refused.rc == 2 and f"this run leaves out {TWO}" in " ".join(refused.said.split())
    assert power(TWO) == "RUNNING"


def test_one_guests_failure_is_no_others(inventory: Inventory) -> None:
    guest(inventory, ONE)["guest_spec"]["rootfs"] = {"pool": "hlsi-nowhere"}
    inventory["all"]["children"]["hypervisors"]["hosts"][f"{PREFIX}-alpha"]["hypervisor_storage_pools"].append(
        {"name": "hlsi-nowhere", "path": "/proc/hlsi"}
    )
    done = Run(inventory)
    assert done.rc == 2
    assert {name: done.count(name, "failed") for name in (VM, ONE, TWO)} == {VM: 0, ONE: 1, TWO: 0}
    assert done.count(f"{PREFIX}-alpha", "failed") == 1
    assert "depends on storage pool hlsi-nowhere, which failed" in done.said
    assert power(TWO) == "RUNNING" and not (LXC / ONE).exists()


def test_a_host_tells_why_it_failed_when_all_its_guests_failed_too(inventory: Inventory) -> None:
    alpha = inventory["all"]["children"]["hypervisors"]["hosts"][f"{PREFIX}-alpha"]
    alpha["hypervisor_images"] = [{"name": IMAGE, "kind": "container", "path": "/nonexistent/tiny.tar"}]
    del inventory["all"]["children"]["guests"]["hosts"][VM]
    for argv in ((), ("--tags", "hypervisors"), ("--skip-tags", "guests")):
        done = Run(inventory, *argv)
        assert done.rc == 2
        assert done.count(f"{PREFIX}-alpha", "failed") == 1
        assert "/nonexistent/tiny.tar" in done.said
    assert f"depends on image {IMAGE}, which failed" in Run(inventory).said


@pytest.mark.parametrize("limited", [False, True], ids=["whole", "guests alone"])
def test_guests_of_an_unreachable_host_say_so_and_others_go_on(inventory: Inventory, limited: bool) -> None:
    beta, children = f"{PREFIX}-beta", inventory["all"]["children"]
    children["hypervisors"]["hosts"][beta] = children.pop("away")["hosts"][beta]
    children["guests"]["hosts"][FAR] = {**guest(inventory, TWO), "guest_hypervisor": beta}
    converge(inventory, "--limit", f"{PREFIX}-alpha")
    command("lxc-stop", "-n", ONE, "-k")
    done = Run(inventory, *(["--limit", f"{ONE},{FAR}"] if limited else []))
    assert done.rc != 0
    assert {name: done.count(name, "failed") for name in (ONE, FAR)} == {ONE: 0, FAR: 1}
    assert done.count(FAR, "unreachable") == 0
    assert f"{beta} is unreachable: " in done.said
    assert power(ONE) == "RUNNING"
    assert done.count(beta, "failed") == (None if limited else 1)


def test_guests_of_two_hosts_with_one_mac_address_are_refused(inventory: Inventory) -> None:
    beta, children = f"{PREFIX}-beta", inventory["all"]["children"]
    children["hypervisors"]["hosts"][beta] = children.pop("away")["hosts"][beta]
    children["guests"]["hosts"][FAR] = {**guest(inventory, TWO), "guest_hypervisor": beta}
    for name in (TWO, FAR):
        spec = guest(inventory, name)["guest_spec"]
        guest(inventory, name)["guest_spec"] = {**spec, "networks": [{**LAN, "mac": "52:54:00:12:00:01"}]}
    done = Run(inventory)
    assert done.rc != 0
    assert f"{FAR} on {beta} and {TWO} on {PREFIX}-alpha have both the MAC address 52:54:00:12:00:01" in done.said
    assert not (LXC / ONE).exists() and not (FOLDER / "pool").exists()


def test_networks_that_do_not_agree_are_refused_before_any_host_is_touched(inventory: Inventory) -> None:
    alpha, beta, children = f"{PREFIX}-alpha", f"{PREFIX}-beta", inventory["all"]["children"]
    hosts = children["hypervisors"]["hosts"]
    hosts[beta] = children.pop("away")["hosts"][beta]
    slices = {alpha: "10.91.12.0/26", beta: "10.91.12.32/27"}
    for name, its in slices.items():
        networks = [{"name": "house", "bridge": "lan0", "subnet": "10.91.12.0/24", "slice": its}]
        hosts[name]["hypervisor_networks"] = networks
    lab = {
        "name": "lab",
        "bridge": BRIDGE,
        "subnet": "10.91.12.0/24",
        "gateway": "10.91.12.1",
        "slice": "10.91.12.0/27",
    }
    hosts[alpha]["hypervisor_networks"] += [lab]
    spec = guest(inventory, ONE)["guest_spec"]
    guest(inventory, ONE)["guest_spec"] = {**spec, "networks": [{**LAN, "ip": "10.91.13.10/24"}]}
    for argv in (["--check"], ["--limit", ONE]):
        done = Run(inventory, *argv)
        assert done.rc != 0
        assert "the slices of" in done.said and f"{beta} (10.91.12.32-10.91.12.63) overlap" in done.said
        assert "10.91.13.10 is outside of 10.91.12.0/24" in done.said
        assert "unreachable=1" not in done.said
    assert not (LXC / ONE).exists() and not (FOLDER / "pool").exists()


def test_guests_that_leave_their_address_to_the_host_take_one_each_and_keep_it(inventory: Inventory) -> None:
    """The slice of IPv4 has three, one of which the inventory gives to the machine's reservation; that of IPv6 is of the host's prefix."""
    alpha = inventory["all"]["children"]["hypervisors"]["hosts"][f"{PREFIX}-alpha"]
    network = {"name": "lab", "bridge": BRIDGE, "subnet": "10.91.12.0/24", "gateway": "10.91.12.1"}
    six = {"name": "lab6", "bridge": BRIDGE, "subnet": "prefix:12", "slice": "2001:db8:91:12::20-2001:db8:91:12::21"}
    alpha["hypervisor_networks"] = [{**network, "slice": "10.91.12.20-10.91.12.22"}, six]
    alpha["hypervisor_prefix6"] = "2001:db8:91::/56"
    alpha["hypervisor_bridges"][0]["address6"] = "prefix:12"
    kept = {"name": VM, "mac": "52:54:00:12:00:09", "ip": "10.91.12.21"}
    alpha["hypervisor_bridges"][0]["dhcp"] = {"hosts": [kept]}
    for name in (ONE, TWO):
        spec = guest(inventory, name)["guest_spec"]
        guest(inventory, name)["guest_spec"] = {**spec, "networks": [{**LAN, "ip": "auto", "ip6": "auto"}]}
    converge(inventory)
    configs = {name: (LXC / name / "config").read_text() for name in (ONE, TWO)}
    addresses = {re.findall(r"ipv4\.address = (\S+)", text)[0] for text in configs.values()}
    assert addresses == {"10.91.12.20/24", "10.91.12.22/24"}
    addresses = {re.findall(r"ipv6\.address = (\S+)", text)[0] for text in configs.values()}
    assert addresses == {"2001:db8:91:12::20/64", "2001:db8:91:12::21/64"}
    assert "2001:db8:91:12::1/64" in subprocess.check_output(["ip", "-br", "address"], text=True)
    assert all("ipv4.gateway = 10.91.12.1\n" in text for text in configs.values())
    assert set(converge(inventory).changed().values()) == {0}
    assert {name: (LXC / name / "config").read_text() for name in (ONE, TWO)} == configs


AUTO, KEPT, KEPT_MAC, GATEWAY = f"{PREFIX}-auto", f"{PREFIX}-kept", "52:54:00:12:00:40", "10.91.12.1"


@pytest.fixture
def named(inventory: Inventory) -> Inventory:
    """A container and machines with fixed addresses, one of which the inventory keeps with the bridge, and a machine that leaves the choice."""
    alpha, guests = (inventory["all"]["children"][group]["hosts"] for group in ("hypervisors", "guests"))
    alpha = alpha[f"{PREFIX}-alpha"]
    alpha["hypervisor_networks"] = [
        {"name": "lab", "bridge": BRIDGE, "subnet": "10.91.12.0/24", "gateway": GATEWAY, "domain": "hlsi.internal"}
    ]
    alpha["hypervisor_bridges"][0]["dhcp"] = {
        "start": "10.91.12.100",
        "end": "10.91.12.199",
        "hosts": [{"name": KEPT, "mac": KEPT_MAC, "ip": "10.91.12.40"}],
    }
    machine = guests.pop(VM)
    del guests[TWO]
    cards = {VM: {"ip": "10.91.12.30/24"}, AUTO: {"ip": "auto"}, KEPT: {"ip": "auto", "mac": KEPT_MAC}}
    for name, card in cards.items():
        disks = [{"name": "root", "pool": POOL, "size": "16M"}]
        spec = {**machine["guest_spec"], "disks": disks, "networks": [{**LAN, **card}]}
        guests[name] = {**machine, "guest_spec": spec}
    return inventory


def kept_by_network() -> dict[str, tuple[str, str]]:
    """The MAC and the address that the network keeps by name, the same as it runs and as it is defined."""
    sides = []
    for flags in ((), ("--inactive",)):
        root = ElementTree.fromstring(command("virsh", "-c", "qemu:///system", "net-dumpxml", BRIDGE, *flags))
        sides.append(
            {it.get("name", ""): (it.get("mac", ""), it.get("ip", "")) for it in root.iterfind("ip/dhcp/host")}
        )
    assert sides[0] == sides[1]
    return sides[0]


def lease(mac: str) -> str:
    """The address that whoever has *mac* is given on the bridge."""
    script, port, peer = FOLDER / "udhcpc", f"{PREFIX}p0", f"{PREFIX}p1"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "LEASE $ip"\nexit 0\n')
    script.chmod(0o700)
    command("ip", "netns", "add", PREFIX)
    try:
        command("ip", "link", "add", port, "type", "veth", "peer", "name", peer, "netns", PREFIX)
        command("ip", "-n", PREFIX, "link", "set", peer, "address", mac, "up")
        command("ip", "link", "set", port, "master", BRIDGE, "up")
        client = "busybox udhcpc -n -q -f -t 10 -T 1".split()
        told = command("ip", "netns", "exec", PREFIX, *client, "-i", peer, "-s", str(script))
        return told.partition("LEASE ")[2].partition("\n")[0]
    finally:
        command("ip", "netns", "del", PREFIX)


def test_names_answers_reservations_and_guests_agree(named: Inventory) -> None:
    planned = converge(named, "--check")
    first = converge(named)
    assert [run.count(f"{PREFIX}-alpha", "changed") for run in (planned, first)] == [1, 1]
    kept = kept_by_network()
    assert kept[VM][1] == "10.91.12.30" and kept[KEPT] == (KEPT_MAC, "10.91.12.40")
    assert re.search(r"ipv4\.address = 10\.91\.12\.10/24", (LXC / ONE / "config").read_text())
    for name, address in ((ONE, "10.91.12.10"), (VM, "10.91.12.30"), (KEPT, "10.91.12.40")):
        for asked in (name, f"{name}.hlsi.internal"):
            eventually(lambda asked=asked: address_of(asked, GATEWAY), address)
        assert (name_of(address, GATEWAY) or "").partition(".")[0] == name
    # What was chosen no inventory knows: the server that gives it answers for it.
    mac, chosen = kept[AUTO]
    assert lease(mac) == chosen
    eventually(lambda: address_of(f"{AUTO}.hlsi.internal", GATEWAY), chosen)
    again = converge(named)
    assert {again.count(name, "changed") for name in (f"{PREFIX}-alpha", ONE, VM, AUTO, KEPT)} == {0}


def test_one_run_makes_name_reservation_and_guest_agree_on_another_address(named: Inventory) -> None:
    converge(named)
    moved = {ONE: "10.91.12.11", VM: "10.91.12.31", KEPT: "10.91.12.41"}
    for name in (ONE, VM):
        guest(named, name)["guest_spec"]["networks"][0]["ip"] = f"{moved[name]}/24"
    alpha = named["all"]["children"]["hypervisors"]["hosts"][f"{PREFIX}-alpha"]
    alpha["hypervisor_bridges"][0]["dhcp"]["hosts"][0]["ip"] = moved[KEPT]
    planned = converge(named, "--check")
    done = converge(named)
    for name, changed in ((f"{PREFIX}-alpha", 1), (ONE, 1), (VM, 1), (AUTO, 0), (KEPT, 0)):
        assert planned.count(name, "changed") == done.count(name, "changed") == changed, name
    assert {name: kept_by_network()[name][1] for name in (VM, KEPT)} == {VM: moved[VM], KEPT: moved[KEPT]}
    assert "ipv4.address = 10.91.12.11/24" in (LXC / ONE / "config").read_text()
    for name, address in moved.items():
        eventually(lambda name=name: address_of(f"{name}.hlsi.internal", GATEWAY), address)
    again = converge(named)
    assert {again.count(name, "changed") for name in (f"{PREFIX}-alpha", ONE, VM, AUTO, KEPT)} == {0}


def name_others(inventory: Inventory) -> None:
    """Guests of this host that are none of the test's: named, and left as they are, or they would be pruned."""
    for record in Path(paths.record_folder("guests")).glob("*.json"):
        if not record.stem.startswith(PREFIX):
            kind = json.loads(record.read_text()).get("kind")
            inventory["all"]["children"]["guests"]["hosts"][record.stem] = {
                "guest_kind": kind,
                "guest_hypervisor": f"{PREFIX}-alpha",
                "guest_spec": {"state": "present"},
            }


def test_a_guest_that_no_inventory_names_stays_until_it_is_pruned(inventory: Inventory) -> None:
    name_others(inventory)
    converge(inventory)
    del inventory["all"]["children"]["guests"]["hosts"][TWO]
    assert f"{TWO}: made by this collection, and in no inventory" in converge(inventory).said
    assert power(TWO) == "RUNNING"
    refused = Run(inventory, "--limit", ONE, guest_prune=True)
    assert refused.rc == 2 and "not all guests of hlsi-alpha are in this run" in " ".join(refused.said.split())
    assert power(TWO) == "RUNNING"
    converge(inventory, guest_prune=True)
    assert not (LXC / TWO).exists() and (FOLDER / "pool" / f"{TWO}.rootfs").exists()
    assert power(ONE) == "RUNNING"
