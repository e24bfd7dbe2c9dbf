# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of virtual machines: what the network of their bridge keeps for them, proven with virsh net-dumpxml and inside a guest."""

from __future__ import annotations

import ipaddress
import json
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, PAPER, definition, device, virsh
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm

VM, BRIDGE = KvmVm(), Bridge()
NAME, OTHER = f"{machines.PREFIX}-addr", f"{machines.PREFIX}-addr2"
SERVED = f"{machines.PREFIX}net0"
MAC = "52:54:00:91:08:05"
PATH = "networks[lan].ip"
LAN: dict[str, t.Any] = {
    "name": SERVED,
    "mode": "isolated",
    "address": "10.91.8.1/24",
    "dhcp": {"start": "10.91.8.100", "end": "10.91.8.199"},
}


@pytest.fixture(scope="module")
def served(machine_host: Path) -> t.Iterator[None]:
    """A bridge with a DHCP server."""
    yield from _served()


def _served() -> t.Iterator[None]:
    try:
        outcome = converge_now(BRIDGE, {**LAN, "state": "started"})
        assert outcome.error is None, outcome.error
        yield
    finally:
        machines.remove_machines()
        outcome = converge_now(BRIDGE, {"name": SERVED, "state": "absent"})
        assert outcome.error is None, outcome.error


@pytest.fixture
def lan(served: None, folder: Path) -> t.Iterator[None]:
    """No address is kept before or after the test."""
    yield
    machines.remove_machines()
    for flag in ("--config", "--live"):
        for text in map(as_text, kept_in(flag)):
            virsh("net-update", SERVED, "delete", "ip-dhcp-host", text, flag)


def kept_in(flag: str) -> list[ElementTree.Element]:
    xml = virsh("net-dumpxml", SERVED, *(["--inactive"] if flag == "--config" else []))
    return ElementTree.fromstring(xml).findall("ip/dhcp/host")


def as_text(element: ElementTree.Element) -> str:
    return ElementTree.tostring(element, encoding="unicode").strip()


def kept(name: str = NAME) -> str | None:
    """The address that the network keeps under that name, the same as it is defined and as it runs."""
    found = {
        flag: [host.get("ip") for host in kept_in(flag) if host.get("name") == name] for flag in ("--config", "--live")
    }
    assert found["--config"] == found["--live"], found
    return found["--live"][0] if found["--live"] else None


def card(ip: str | None = None, **keys: t.Any) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", "bridge": SERVED, **({"ip": ip} if ip else {}), **keys}]}


def machine(state: str = "stopped", **params: t.Any) -> dict[str, t.Any]:
    """One without a link: the firmware of a machine that has nothing else to start asks for an address by itself."""
    networks = [{"link": "down", **network} for network in params.pop("networks", ())]
    return {"name": NAME, "state": state, **PAPER, **params, **({"networks": networks} if networks else {})}


def recorded(name: str = NAME) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((Path(paths.record_folder("guests")) / f"{name}.json").read_text()))


def mac_of(name: str = NAME) -> str:
    node = device(definition(name), "interface", "lan")
    return str(machines.attribute(node, "mac", "address")) if node is not None else ""


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_an_address_is_kept_by_the_network_as_long_as_the_card_has_it(lan: None, state: str) -> None:
    check_run_again(VM, machine(state, **card("10.91.8.5/24")))
    assert kept() == "10.91.8.5"
    assert [host.get("mac") for host in kept_in("--live")] == [mac_of()]
    run = check_run_again(VM, {"name": NAME, **card("10.91.8.6/24")}, [PATH])
    assert kept() == "10.91.8.6" and len(kept_in("--config")) == 1
    assert run.plan.changes[0].how.value == ("next_boot" if state == "started" else "offline")
    assert (PATH in run.plan.restart_required) == (state == "started")
    run = check_run_again(VM, {"name": NAME, "unset": [PATH]}, [PATH])
    assert kept_in("--config") == kept_in("--live") == [] and "reservations" not in recorded()
    assert not run.plan.restart_required
    check_run_again(VM, {"name": NAME, **card("10.91.8.7/24")}, [PATH])
    check_run_again(VM, {**machine(), "state": "absent"})
    assert kept_in("--config") == kept_in("--live") == []


def test_a_running_machine_with_another_address_is_pending_until_it_starts_again(lan: None) -> None:
    converge_now(VM, machine("started", **card()))
    check_run_again(VM, {"name": NAME, **card("10.91.8.5/24")}, [PATH])
    assert unchanged(VM, {"name": NAME, **card("10.91.8.5/24")}).plan.restart_required == [PATH]
    run = check_run_again(VM, machine("started", restart_policy="if_needed", **card("10.91.8.5/24")), [PATH])
    assert run.plan.changes[0].how.value == "restart" and not run.plan.restart_required
    assert kept() == "10.91.8.5"


def test_the_address_follows_the_card_to_another_mac_and_goes_with_it(lan: None) -> None:
    check_run_again(VM, machine(**card("10.91.8.5/24")))
    check_run_again(VM, {"name": NAME, "networks": [{"name": "lan", "mac": MAC}]}, ["networks[lan].mac"])
    assert [(host.get("mac"), host.get("ip")) for host in kept_in("--config")] == [(MAC, "10.91.8.5")]
    two = {"name": "two", "bridge": SERVED, "ip": "10.91.8.9/24"}
    check_run_again(VM, {"name": NAME, "networks": [two]}, ["networks[two]"])
    assert kept(f"{NAME}-two") == "10.91.8.9" and kept() == "10.91.8.5"
    check_run_again(VM, {"name": NAME, "networks": [{"name": "lan", "state": "absent"}]}, ["networks[lan]"])
    assert [host.get("ip") for host in kept_in("--live")] == ["10.91.8.9"]
    away = {"name": "two", "bridge": BRIDGES[0]}
    check_run_again(VM, {"name": NAME, "networks": [away]}, ["networks[two].bridge"])
    assert kept_in("--config") == [] and recorded().get("addresses") is None


def test_what_is_gone_by_hand_is_brought_back(lan: None) -> None:
    params = machine(**card("10.91.8.5/24"))
    check_run_again(VM, params)
    for flag in ("--live", "--config"):
        (host,) = kept_in(flag)
        virsh("net-update", SERVED, "delete", "ip-dhcp-host", as_text(host), flag)
        check_run_again(VM, params, [PATH])
        assert kept() == "10.91.8.5"


def test_an_address_of_another_is_refused_with_its_name(lan: None) -> None:
    host = {"name": "printer", "mac": MAC, "ip": "10.91.8.20"}
    check_run_again(BRIDGE, {"name": SERVED, "dhcp": {"hosts": [host]}})
    words = f"{PATH}: 10.91.8.20 is kept for dhcp.hosts[printer] of the bridge, by {SERVED}"
    refuse(VM, machine(**card("10.91.8.20/24")), words)
    refuse(VM, machine(**card("10.91.8.5/24", mac=MAC)), f"{PATH}: {SERVED} keeps 10.91.8.20 for this card, {MAC}")
    check_run_again(VM, machine(**card("10.91.8.5/24")))
    refuse(VM, {**machine(**card("10.91.8.5/24")), "name": OTHER}, f"{PATH}: 10.91.8.5 is kept for the guest {NAME}")
    refuse(
        VM, machine(**card("10.91.9.5/24")), f"{PATH}: 10.91.9.5/24 is not in 10.91.8.0/24, the subnet of the bridge"
    )
    refuse(VM, machine(**card("10.91.8.1/24")), f"{PATH}: 10.91.8.1 is the address of the bridge {SERVED} itself")
    # The same as the bridge itself says is no other: it stays its own.
    same = {**machine(**card("10.91.8.20/24", mac=MAC)), "name": OTHER}
    check_run_again(VM, same)
    check_run_again(VM, {"name": OTHER, "state": "absent"})
    assert [host.get("name") for host in kept_in("--config")] == ["printer", NAME]


def test_a_bridge_without_a_server_is_refused_with_why(lan: None) -> None:
    params = machine(networks=[{"name": "lan", "bridge": BRIDGES[0], "ip": "10.91.8.5/24"}])
    refuse(
        VM,
        params,
        f"{PATH}: the bridge {BRIDGES[0]} has no DHCP server of this host, and {NAME} has no seed (cloud_init)",
    )
    for word in ("dhcp", "none"):
        check_run_again(VM, machine(networks=[{"name": "lan", "bridge": BRIDGES[0], "ip": word}]))


SEEDED: dict[str, t.Any] = {
    "disks": [{"name": "root", "pool": machines.POOL, "size": "16M"}],
    "cloud_init": {"user": "admin"},
}


def network_config(folder: Path) -> dict[str, t.Any]:
    """What a guest would read: the file of the seed, by another program."""
    (path,) = folder.glob(f"{NAME}.seed*")
    text = machines.command("isoinfo", "-J", "-x", "/network-config", "-i", str(path))
    return t.cast("dict[str, t.Any]", json.loads(text)["ethernets"])


def meta_data(folder: Path) -> dict[str, t.Any]:
    (path,) = folder.glob(f"{NAME}.seed*")
    text = machines.command("isoinfo", "-J", "-x", "/meta-data", "-i", str(path))
    return t.cast("dict[str, t.Any]", json.loads(text))


def plain_card(ip: str | None = None, **keys: t.Any) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", "bridge": BRIDGES[0], **({"ip": ip} if ip else {}), **keys}]}


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_without_a_server_the_seed_tells_the_address(lan: None, folder: Path, state: str) -> None:
    keys = {"gateway": "192.0.2.1", "dns": ["192.0.2.53"]}
    check_run_again(VM, machine(state, **SEEDED, **plain_card("192.0.2.5/24", **keys)))
    told = network_config(folder)["lan"]
    assert told["addresses"] == ["192.0.2.5/24"] and told["nameservers"] == {"addresses": ["192.0.2.53"]}
    assert told["routes"] == [{"to": "0.0.0.0/0", "via": "192.0.2.1"}] and told["match"] == {"macaddress": mac_of()}
    paths = [PATH, "networks[lan].gateway", "networks[lan].dns"]
    other = plain_card("198.51.100.5/24", gateway="198.51.100.1", dns=["198.51.100.53"])
    run = check_run_again(VM, {"name": NAME, **other}, paths)
    assert {change.how.value for change in run.plan.changes} == {"next_boot" if state == "started" else "offline"}
    assert network_config(folder)["lan"]["addresses"] == ["198.51.100.5/24"] and kept_in("--config") == []
    # What else is written leaves the address alone.
    check_run_again(VM, {"name": NAME, "cloud_init": {"user": "other"}}, ["cloud_init.user"])
    assert network_config(folder)["lan"]["addresses"] == ["198.51.100.5/24"]
    check_run_again(VM, {"name": NAME, "unset": paths}, paths)
    assert network_config(folder)["lan"] == {"match": {"macaddress": mac_of()}, "dhcp4": True}
    check_run_again(VM, {"name": NAME, **plain_card("none")}, [PATH])
    assert network_config(folder)["lan"] == {"match": {"macaddress": mac_of()}, "dhcp4": False}
    refuse(
        VM,
        {"name": NAME, "cloud_init": {"network_config": "version: 1"}, **plain_card("192.0.2.5/24")},
        f"{PATH}: cloud_init.network_config says how {NAME} comes to its addresses",
    )


def test_a_card_that_moves_to_a_bridge_with_a_server_asks_it(lan: None, folder: Path) -> None:
    check_run_again(VM, machine(**SEEDED, **plain_card("192.0.2.5/24")))
    check_run_again(VM, {"name": NAME, **card("10.91.8.5/24")}, ["networks[lan].bridge", PATH])
    assert kept() == "10.91.8.5" and network_config(folder)["lan"]["dhcp4"] is True
    refuse(VM, {"name": NAME, **card(gateway="10.91.8.2")}, f"the DHCP server of {SERVED} tells its guests")
    unchanged(VM, {"name": NAME, **card("10.91.8.5/24", gateway="10.91.8.1")})


SIX, WAY6 = "networks[lan].ip6", "networks[lan].gateway6"
TWO6 = "auto:fd00:91:8::20-fd00:91:8::21/64"
SPACE, LINK, FOREIGN = f"{machines.PREFIX}nbr", f"{machines.PREFIX}nbr0", "02:00:00:91:08:01"


def ip(*argv: str) -> None:
    machines.command("ip", *argv)


@pytest.fixture
def neighbour(machine_host: Path) -> t.Iterator[t.Callable[[str], None]]:
    """A machine on the bridge without a server that nobody knows of. Gives it one more address."""
    ip("netns", "add", SPACE)
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "address", FOREIGN, "netns", SPACE)
        ip("link", "set", LINK, "master", BRIDGES[0], "up")
        ip("-n", SPACE, "link", "set", "eth0", "up")
        yield lambda address: ip("-n", SPACE, "address", "add", address, "dev", "eth0", "nodad")
    finally:
        ip("netns", "delete", SPACE)


@pytest.mark.parametrize("state", ["stopped", "started"])
@pytest.mark.parametrize("bridge", [SERVED, BRIDGES[0]])
def test_on_every_bridge_the_seed_tells_the_address_of_ipv6(lan: None, folder: Path, bridge: str, state: str) -> None:
    def six(**keys: str) -> dict[str, t.Any]:
        return {"name": NAME, "networks": [{"name": "lan", "bridge": bridge, **keys}]}

    check_run_again(VM, {**machine(state, **SEEDED), **six(ip6="fd00:91:8::5/64")})
    plain = {"match": {"macaddress": mac_of()}, "dhcp4": True}
    assert network_config(folder)["lan"] == {**plain, "addresses": ["fd00:91:8::5/64"], "accept-ra": True}
    assert recorded()["addresses6"] == {"lan": "fd00:91:8::5/64"}
    params = six(ip6="fd00:91:9::5/64", gateway6="fd00:91:9::1")
    run = check_run_again(VM, params, [SIX, WAY6])
    assert {change.how.value for change in run.plan.changes} == {"next_boot" if state == "started" else "offline"}
    assert unchanged(VM, params).plan.restart_required == ([SIX, WAY6] if state == "started" else [])
    routes = [{"to": "::/0", "via": "fd00:91:9::1"}]
    told = {**plain, "addresses": ["fd00:91:9::5/64"], "routes": routes}
    assert network_config(folder)["lan"] == told
    # It starts with what its seed says; what else is written leaves the address alone, and so does the same again.
    if state == "started":
        run = check_run_again(VM, {**machine("started", restart_policy="if_needed"), **params}, [SIX, WAY6])
        assert not run.plan.restart_required
    check_run_again(VM, {"name": NAME, "cloud_init": {"user": "other"}}, ["cloud_init.user"])
    assert network_config(folder)["lan"] == told
    (net,) = unchanged(VM, params).facts["guest"]["networks"]
    assert net["ip6"] == "fd00:91:9::5/64" and (state == "started" or net["addresses"] == ["fd00:91:9::5"])
    check_run_again(VM, {"name": NAME, "unset": [SIX]}, [SIX, WAY6])
    assert network_config(folder)["lan"] == plain and "addresses6" not in recorded()
    unchanged(VM, six(ip6="slaac"))


def test_the_address_of_ipv6_goes_along_and_stands_beside_that_of_ipv4(lan: None, folder: Path) -> None:
    check_run_again(VM, machine(**SEEDED, **plain_card("192.0.2.5/24", gateway="192.0.2.1", ip6="fd00:91:8::5/64")))
    assert network_config(folder)["lan"]["addresses"] == ["192.0.2.5/24", "fd00:91:8::5/64"]
    mac = "networks[lan].mac"
    check_run_again(VM, {"name": NAME, "networks": [{"name": "lan", "mac": MAC}]}, [mac])
    told = network_config(folder)["lan"]
    assert told["match"] == {"macaddress": MAC} and told["addresses"] == ["192.0.2.5/24", "fd00:91:8::5/64"]
    # A bridge with a server keeps that of IPv4; the seed tells the other one there too.
    check_run_again(VM, {"name": NAME, **card("10.91.8.5/24")}, ["networks[lan].bridge", PATH])
    told = network_config(folder)["lan"]
    assert kept() == "10.91.8.5" and told["dhcp4"] is True and told["addresses"] == ["fd00:91:8::5/64"]
    check_run_again(VM, {"name": NAME, "networks": [{"name": "lan", "state": "absent"}]}, ["networks[lan]"])
    assert not {"addresses", "addresses6"} & recorded().keys()


def test_what_becomes_of_a_seed_with_another_address_of_ipv6_is_said_of_it(lan: None, folder: Path) -> None:
    check_run_again(VM, machine(**SEEDED, **plain_card(ip6="fd00:91:8::5/64")))
    left = {**SEEDED["cloud_init"], "on_change": "ignore"}
    unchanged(VM, {"name": NAME, "cloud_init": left, **plain_card(ip6="fd00:91:8::6/64", gateway6="fd00:91:8::1")})
    assert network_config(folder)["lan"]["addresses"] == ["fd00:91:8::5/64"]
    before = meta_data(folder)["instance-id"]
    new = {**SEEDED["cloud_init"], "on_change": "new_instance"}
    check_run_again(VM, {"name": NAME, "cloud_init": new, **plain_card(ip6="fd00:91:8::6/64")}, [SIX])
    assert network_config(folder)["lan"]["addresses"] == ["fd00:91:8::6/64"]
    assert meta_data(folder)["instance-id"] != before


def test_an_address_of_ipv6_that_nothing_would_tell_is_refused_with_why(lan: None) -> None:
    for word in ("fd00:91:8::5/64", "auto"):
        words = f"{SIX}: no DHCP server keeps addresses of IPv6, and {NAME} has no seed (cloud_init) that would tell it"
        refuse(VM, machine(**card(ip6=word)), words)
        check_run_again(VM, machine(**card(ip6="slaac")))
        refuse(VM, {"name": NAME, **card(ip6=word)}, words)
        check_run_again(VM, {"name": NAME, "state": "absent"})
    check_run_again(VM, machine(**SEEDED, **plain_card()))
    written = {"cloud_init": {"network_config": "version: 1"}}
    words = f"{SIX}: cloud_init.network_config says how {NAME} comes to its addresses"
    refuse(VM, {"name": NAME, **written, **plain_card(ip6="fd00:91:8::5/64")}, words)
    refuse(VM, {"name": NAME, **plain_card(gateway6="fd00:91:8::1")}, f"{WAY6}: needs a fixed address in ip6")


def test_an_address_of_ipv6_is_taken_once_and_none_that_somebody_has(
    lan: None, folder: Path, neighbour: t.Callable[[str], None]
) -> None:
    neighbour("fd00:91:8::20/64")
    answers = f"{SIX}: fd00:91:8::20 answers on {BRIDGES[0]} already, from {FOREIGN}"
    refuse(VM, machine(**SEEDED, **plain_card(ip6="fd00:91:8::20/64")), answers)
    run = check_run_again(VM, machine(**SEEDED, **plain_card(ip6=TWO6)))
    assert f"a free IPv6 address on {BRIDGES[0]}" in run.plan.assumed
    assert network_config(folder)["lan"]["addresses"] == ["fd00:91:8::21/64"]
    assert recorded()["addresses6"] == {"lan": "fd00:91:8::21/64"} and "addresses" not in recorded()
    refuse(VM, {"name": NAME, **plain_card(ip6="fd00:91:8::20/64")}, answers)
    unchanged(VM, {"name": NAME, **plain_card(ip6="auto")})
    # Nothing is left: one answers, the other is in the record of a machine that does not run.
    outcome = converge_now(VM, {**machine(**SEEDED, **plain_card(ip6=TWO6)), "name": OTHER})
    assert outcome.error is not None
    assert f"{SIX}: no address of fd00:91:8::/64 that may be taken on {BRIDGES[0]}" in outcome.error.message


def test_a_bridge_offers_its_own_network_of_ipv6_and_none_without_one(lan: None, folder: Path) -> None:
    words = f"{SIX}: {BRIDGES[0]} has no IPv6 address that would tell the network. Write what may be taken"
    refuse(VM, machine(**SEEDED, **plain_card(ip6="auto")), words)
    ip("address", "add", "fd00:91:8::1/64", "dev", BRIDGES[0], "nodad")
    try:
        check_run_again(VM, machine(**SEEDED, **plain_card(ip6="auto")))
    finally:
        ip("address", "delete", "fd00:91:8::1/64", "dev", BRIDGES[0])
    (address,) = network_config(folder)["lan"]["addresses"]
    assert ipaddress.ip_interface(address).network == ipaddress.ip_network("fd00:91:8::/64")


def test_the_bridge_leaves_what_guests_have_kept_to_them(lan: None) -> None:
    check_run_again(VM, machine(**card("10.91.8.5/24")))
    before = as_text(kept_in("--config")[0])
    unchanged(BRIDGE, LAN)
    exact = {"name": SERVED, "dhcp": {"hosts": []}, "exact": ["dhcp.hosts"]}
    assert not unchanged(BRIDGE, exact).plan.unmanaged
    host = {"name": "printer", "mac": MAC, "ip": "10.91.8.20"}
    check_run_again(BRIDGE, {**exact, "dhcp": {"hosts": [host]}}, ["dhcp.hosts[printer]"])
    check_run_again(BRIDGE, exact, ["dhcp.hosts[printer]"])
    assert [as_text(its) for its in kept_in("--config")] == [before] == [as_text(its) for its in kept_in("--live")]
    same = {"name": "mine", "mac": mac_of(), "ip": "10.91.8.5"}
    unchanged(BRIDGE, {**exact, "dhcp": {"hosts": [same]}})
    for wrong in ({**same, "ip": "10.91.8.6"}, {"name": NAME, "state": "absent"}):
        refuse(BRIDGE, {"name": SERVED, "dhcp": {"hosts": [wrong]}}, f"of the guest {NAME} (networks[].ip)")
    taken = {**host, "ip": "10.91.8.5"}
    refuse(BRIDGE, {"name": SERVED, "dhcp": {"hosts": [taken]}}, f"10.91.8.5 is kept for the guest {NAME}")
    refuse(BRIDGE, {"name": SERVED, "unset": ["dhcp"]}, f"dhcp: addresses are kept for guests: {NAME}")
    # A new start of the network keeps it.
    check_run_again(BRIDGE, {"name": SERVED, "mtu": 1400}, ["mtu"])
    assert [as_text(its) for its in kept_in("--live")] == [before]
    check_run_again(BRIDGE, {"name": SERVED, "unset": ["mtu"]}, ["mtu"])


def test_an_address_is_taken_once_and_kept(lan: None) -> None:
    run = check_run_again(VM, machine(**card("auto")))
    address = recorded()["addresses"]["lan"]
    assert ipaddress.ip_interface(address).network == ipaddress.ip_network("10.91.8.0/24")
    assert kept() == address.partition("/")[0] and f"a free address on {SERVED}" in run.plan.assumed
    assert int(ipaddress.ip_interface(address).ip) & 0xFF not in range(100, 200), "it is in the range of the server"
    two = "auto:10.91.8.20-10.91.8.21/24"
    unchanged(VM, machine(**card(two)))
    check_run_again(VM, {"name": NAME, **card("10.91.8.20/24")}, [PATH])
    check_run_again(VM, {**machine(**card(two)), "name": OTHER})
    assert kept(OTHER) == "10.91.8.21"
    outcome = converge_now(VM, {**machine(**card(two)), "name": f"{OTHER}x"})
    assert (
        outcome.error is not None and f"{PATH}: no address of 10.91.8.0/24 that may be taken" in outcome.error.message
    )
    refuse(
        VM,
        {**machine(**card("auto:10.91.8.0-10.91.8.0/24")), "name": f"{OTHER}x"},
        f"{PATH}: no address of 10.91.8.0/24",
    )


def test_an_address_that_another_guest_of_the_layout_declares_is_not_taken(lan: None) -> None:
    two = "auto:10.91.8.20-10.91.8.21/24"
    # The choice begins at a place that the name tells: one of them would take what the other declares.
    for declared, left in (("10.91.8.20", "10.91.8.21"), ("10.91.8.21", "10.91.8.20")):
        vms = [machine(**card(two)), {**machine(**card(f"{declared}/24")), "name": OTHER}]
        for parallel in (1, 4):
            outcome = converge_layout({"vms": vms, "parallel": parallel}, dry_run=False)
            assert outcome.error is None, outcome.error
            assert (kept(), kept(OTHER)) == (left, declared)
            converge_layout(
                {"vms": [{**machine(), "name": name, "state": "absent"} for name in (NAME, OTHER)]}, dry_run=False
            )
            nothing_is_kept()


def test_a_bridge_without_an_address_offers_none(lan: None) -> None:
    words = f"{PATH}: {BRIDGES[0]} has no IPv4 address that would tell the network. Write what may be taken"
    refuse(VM, machine(**SEEDED, **plain_card("auto")), words)
    check_run_again(VM, machine(**SEEDED, **plain_card("auto:192.0.2.5-192.0.2.5/24")))
    assert recorded()["addresses"] == {"lan": "192.0.2.5/24"}


def test_killed_anywhere_the_next_run_converges(lan: None) -> None:
    def clean() -> None:
        machines.remove_machines()
        for flag in ("--config", "--live"):
            for text in map(as_text, kept_in(flag)):
                virsh("net-update", SERVED, "delete", "ip-dhcp-host", text, flag)

    def stands(outcome: t.Any) -> None:
        assert kept() == "10.91.8.5" and len(kept_in("--config")) == 1
        assert recorded()["reservations"] == [{"bridge": SERVED, "ip": "10.91.8.5", "mac": mac_of()}]

    survive_kills(VM, machine(**card("10.91.8.5/24")), begin=clean, verify=stands)

    def begin() -> None:
        clean()
        converge_now(VM, machine(**card("10.91.8.9/24")))

    survive_kills(VM, {"name": NAME, **card("10.91.8.5/24")}, begin=begin, verify=stands)
    gone = {"name": NAME, "state": "absent"}
    survive_kills(VM, gone, begin=begin, verify=lambda outcome: nothing_is_kept())


def nothing_is_kept() -> None:
    assert kept_in("--config") == kept_in("--live") == []


def test_a_guest_gets_its_address_and_is_waited_for(lan: None) -> None:
    tiny = tiny_vm()
    params = {
        "name": NAME,
        "state": "started",
        "memory": "256",
        "boot": {"kernel": str(tiny.kernel), "initrd": str(tiny.initrd), "cmdline": tiny.cmdline},
        **card("10.91.8.5/24"),
        "wait_for": ["ip", "agent"],
        "wait_timeout": 120,
        "shutdown_timeout": 0,
        "force_stop": True,
    }
    outcome = check_run_again(VM, params)
    assert outcome.facts["guest"]["addresses"] == ["10.91.8.5"]
    assert f"10.91.8.5 {mac_of()}" in lease_lines()
    # Given another one it has that from its next start on.
    run = check_run_again(VM, {**params, **card("10.91.8.6/24"), "restart_policy": "if_needed"}, [PATH])
    assert run.facts["guest"]["addresses"] == ["10.91.8.6"] and not run.plan.restart_required
    assert f"10.91.8.6 {mac_of()}" in lease_lines()
    words = f"{PATH}: {SERVED} has leased 10.91.8.6 to {mac_of()}"
    refuse(VM, {**machine(**card("10.91.8.6/24")), "name": OTHER}, f"{PATH}: 10.91.8.6 is kept for the guest {NAME}")
    check_run_again(VM, {"name": NAME, "unset": [PATH]}, [PATH])
    refuse(VM, {**machine(**card("10.91.8.6/24")), "name": OTHER}, words)


@pytest.mark.parametrize(
    ("own", "declared"),
    [
        ("192.0.2.5/24", {"ip": "192.0.2.5/24"}),
        ("fd00:91:9::5/64", {"ip": "none", "ip6": "fd00:91:9::5/64"}),
    ],
)
def test_a_guest_that_speaks_to_nobody_is_waited_for_by_asking_its_bridge(
    lan: None, own: str, declared: dict[str, str]
) -> None:
    tiny = tiny_vm()
    cmdline = f"{tiny.cmdline} tiny.ip={own}"
    params = {
        "name": NAME,
        "state": "started",
        "memory": "256",
        "agent": False,
        "boot": {"kernel": str(tiny.kernel), "initrd": str(tiny.initrd), "cmdline": cmdline},
        **SEEDED,
        **plain_card(**declared),
        "wait_for": ["ip"],
        "wait_timeout": 120,
        "shutdown_timeout": 0,
        "force_stop": True,
    }
    check_run_again(VM, params)
    # One whose seed says another address than it has is not there.
    version = "ip6" if ":" in own else "ip"
    other = plain_card(**{**declared, version: declared[version].replace("5/", "6/")})
    outcome = converge_now(VM, {**params, **other, "restart_policy": "if_needed", "wait_timeout": 6})
    assert outcome.error is not None
    assert f"waited 6 s for an address of {NAME}" in outcome.error.message


def lease_lines() -> list[str]:
    lines = (line.split() for line in virsh("net-dhcp-leases", SERVED).splitlines())
    return [f"{ipaddress.ip_interface(words[4]).ip} {words[2]}" for words in lines if len(words) > 4]
