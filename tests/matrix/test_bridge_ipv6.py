# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 on the bridges that libvirt carries, proven with ip, virsh, and guests that listen to a router."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_bridges

PREFIX = "hlb6"
NAME, OTHER, HAND = f"{PREFIX}0", f"{PREFIX}1", f"{PREFIX}-hand"
PORT, PEER = f"{PREFIX}-p", f"{PREFIX}-c"
UPLINK = f"{PREFIX}-up"
FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
BRIDGE = Bridge()
PLAIN: dict[str, t.Any] = {"name": NAME, "address": "10.216.0.1/24"}
SIX: dict[str, t.Any] = {**PLAIN, "address6": "fd00:216::1/64"}
# Guests with IPv4 behind the address of the host, and with IPv6 addresses of their own.
BY_HAND = f"""<network><name>{HAND}</name><forward mode='nat'/><bridge name='{NAME}'/>
  <ip address='10.216.0.1' prefix='24'/><ip family='ipv6' address='fd00:216::1' prefix='64' localPtr='yes'/>
  <ip family='ipv6' address='fd00:2161::1' prefix='64'/></network>"""


@pytest.fixture(autouse=True)
def host() -> t.Iterator[None]:
    clean()
    forwarding = FORWARDING.read_text()
    yield
    clean()
    FORWARDING.write_text(forwarding)


def clean() -> None:
    subprocess.run(["ip", "netns", "del", PREFIX], capture_output=True, check=False)
    remove_bridges(PREFIX)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def links(*namespace: str) -> dict[str, dict[str, t.Any]]:
    return {link["ifname"]: link for link in json.loads(run("ip", *namespace, "-j", "-d", "addr"))}


def addresses(name: str = NAME) -> list[str]:
    told = links()[name]["addr_info"]
    return [f"{it['local']}/{it['prefixlen']}" for it in told if it["family"] == "inet6" and it["scope"] == "global"]


def xml(name: str = NAME, *flags: str) -> ElementTree.Element:
    return ElementTree.fromstring(run("virsh", "-q", "-c", "qemu:///system", "net-dumpxml", name, *flags))


def is_translated(name: str = NAME) -> bool:
    nat = xml(name).find("forward/nat")
    return nat is not None and nat.get("ipv6") == "yes"


def eventually(read: t.Callable[[], t.Any]) -> t.Any:
    """What *read* finds, once it finds something: a router speaks up within seconds."""
    for dummy in range(600):
        if found := read():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing came of {read}")


@pytest.fixture
def guest() -> t.Callable[[], None]:
    """Call it to plug in a guest that takes what a router announces, a network namespace."""

    def plug_in() -> None:
        run("ip", "netns", "add", PREFIX)
        run("ip", "link", "add", PORT, "type", "veth", "peer", "name", PEER, "netns", PREFIX)
        run("ip", "netns", "exec", PREFIX, "sysctl", "-qw", f"net.ipv6.conf.{PEER}.accept_dad=0")
        run("ip", "-n", PREFIX, "link", "set", PEER, "up")
        run("ip", "link", "set", PORT, "master", NAME, "up")

    return plug_in


def of_guest() -> list[str]:
    """The addresses that reach further than the link."""
    told = links("-n", PREFIX)[PEER]["addr_info"]
    return [it["local"] for it in told if it["family"] == "inet6" and it["scope"] == "global" and "dynamic" in it]


def routers() -> list[dict[str, t.Any]]:
    return t.cast(
        "list[dict[str, t.Any]]", json.loads(run("ip", "-n", PREFIX, "-6", "-j", "route", "show", "default") or "[]")
    )


def reaches(target: str) -> bool:
    argv = ["ip", "netns", "exec", PREFIX, "busybox", "ping", "-6", "-c", "1", "-W", "2", target]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("mode", "is_router"), [("nat", True), ("routed", True), ("isolated", False)])
def test_a_guest_gives_itself_an_address_and_reaches_the_bridge(guest, mode, is_router):
    nat6 = ["nat6"] if mode == "nat" else []
    FORWARDING.write_text("0\n")
    declared = {**SIX, "mode": mode}
    check_run_again(BRIDGE, declared, ["state", "mode", "address", "address6", *nat6, "autostart"])
    assert (addresses(), is_translated()) == (["fd00:216::1/64"], mode == "nat")
    assert FORWARDING.read_text() == ("1\n" if is_router else "0\n")
    guest()
    own = eventually(of_guest)
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network("fd00:216::/64") for address in own)
    assert eventually(lambda: reaches("fd00:216::1"))
    assert bool(routers()) == is_router


def test_a_subnet_of_its_own_is_drawn_once_and_kept():
    check_run_again(
        BRIDGE, {**PLAIN, "address6": "auto"}, ["state", "mode", "address", "address6", "nat6", "autostart"]
    )
    (drawn,) = addresses()
    assert ipaddress.ip_interface(drawn) in ipaddress.ip_network("fd00::/8")
    assert drawn.endswith("::1/64")
    converge_now(BRIDGE, {"name": OTHER, "address6": "auto"})
    assert addresses(OTHER) not in ([], [drawn])
    # What somebody chose is one of its own too.
    check_run_again(BRIDGE, SIX, ["address6"])
    unchanged(BRIDGE, {**PLAIN, "address6": "auto"})
    assert addresses() == ["fd00:216::1/64"]


def test_it_comes_to_a_bridge_with_guests_and_goes_again(guest):
    converge_now(BRIDGE, PLAIN)
    guest()
    check_run_again(BRIDGE, SIX, ["address6", "nat6"])
    assert (links()[PORT]["master"], is_translated()) == (NAME, True)
    eventually(of_guest)
    check_run_again(BRIDGE, {"name": NAME, "nat6": False}, ["nat6"])
    assert not is_translated()
    check_run_again(BRIDGE, {"name": NAME, "nat6": True}, ["nat6"])
    check_run_again(BRIDGE, {"name": NAME, "unset": ["address6"]}, ["address6", "nat6"])
    assert (addresses(), is_translated(), links()[PORT]["master"]) == ([], False, NAME)
    assert [it.get("address") for it in xml().iterfind("ip")] == ["10.216.0.1"]


def test_a_bridge_of_ipv6_alone_has_names():
    declared = {"name": NAME, "address6": "fd00:216::1/64", "dns": {"hosts": [{"name": "nas", "ip6": "fd00:216::9"}]}}
    check_run_again(BRIDGE, declared, ["state", "mode", "address6", "nat6", "dns.hosts[nas]", "autostart"])
    refuse(BRIDGE, {"name": NAME, "unset": ["address6"]}, "address: is needed with mode nat")
    assert "fd00:216::9\tnas" in Path(f"/var/lib/libvirt/dnsmasq/{NAME}.addnhosts").read_text()


def test_another_length_of_the_prefix_is_for_addresses_that_are_written(guest):
    check_run_again(
        BRIDGE,
        {**PLAIN, "mode": "routed", "address6": "fd00:216:0:0:1::1/80"},
        ["state", "mode", "address", "address6", "autostart"],
    )
    guest()
    run("ip", "-n", PREFIX, "addr", "add", "fd00:216:0:0:1::9/80", "dev", PEER, "nodad")
    assert eventually(lambda: reaches("fd00:216:0:0:1::1"))


def test_what_stands_by_hand_is_left_alone_until_it_is_declared():
    connection = libvirt.open("qemu:///system")
    connection.networkDefineXML(BY_HAND).create()
    connection.close()
    unchanged(BRIDGE, {"name": NAME})
    unchanged(BRIDGE, {"name": NAME, "mode": "nat", "address6": "fd00:216::1/64"})
    assert not is_translated(HAND)
    check_run_again(BRIDGE, {"name": NAME, "address6": "fd00:216::2/64"}, ["address6"])
    told = [(it.get("address"), it.get("localPtr")) for it in xml(HAND, "--inactive").iterfind("ip")]
    assert told == [("10.216.0.1", None), ("fd00:216::2", "yes"), ("fd00:2161::1", None)]
    assert not is_translated(HAND)


@pytest.fixture
def told_route() -> None:
    """The host has a way out that a router told it."""
    run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", PORT)
    run("ip", "link", "set", PORT, "up")
    run("sysctl", "-qw", f"net.ipv6.conf.{UPLINK}.accept_dad=0")
    run("ip", "link", "set", UPLINK, "up")
    run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", UPLINK, "proto", "ra", "expires", "1800")


def way_out() -> str:
    return run("ip", "-6", "route", "show", "default", "dev", UPLINK)


def test_the_way_out_that_a_router_told_is_not_lost(told_route):
    sentence = f"net.ipv6.conf.{UPLINK}.accept_ra is 2"
    FORWARDING.write_text("0\n")
    refuse(BRIDGE, SIX, sentence)
    refuse(BRIDGE, {**SIX, "mode": "routed"}, sentence)
    converge_now(BRIDGE, PLAIN)
    refuse(BRIDGE, SIX, sentence)
    assert "fe80::1" in way_out()
    # A bridge that forwards nothing takes nothing from it, nor does one that is only defined.
    converge_now(BRIDGE, {**SIX, "name": OTHER, "address": "10.216.1.1/24", "mode": "isolated"})
    assert "fe80::1" in way_out()
    run("sysctl", "-qw", f"net.ipv6.conf.{UPLINK}.accept_ra=2")
    check_run_again(BRIDGE, {**PLAIN, "address6": "fd00:2162::1/64"}, ["address6", "nat6"])
    assert FORWARDING.read_text() == "1\n"
    assert "fe80::1" in way_out()


def test_the_way_out_that_a_program_takes_of_a_router_is_its_own_business(told_route):
    FORWARDING.write_text("0\n")
    run("sysctl", "-qw", f"net.ipv6.conf.{UPLINK}.accept_ra=0")
    refuse(BRIDGE, SIX, "where systemd-networkd keeps")
    run("sysctl", "-qw", "net.ipv6.conf.all.accept_ra=2")
    try:
        # The kernel itself would still lose what it has learned.
        run("sysctl", "-qw", f"net.ipv6.conf.{UPLINK}.accept_ra=1")
        refuse(BRIDGE, SIX, f"net.ipv6.conf.{UPLINK}.accept_ra is 2")
        run("sysctl", "-qw", f"net.ipv6.conf.{UPLINK}.accept_ra=0")
        check_run_again(BRIDGE, SIX, ["state", "mode", "address", "address6", "nat6", "autostart"])
    finally:
        run("sysctl", "-qw", "net.ipv6.conf.all.accept_ra=1")
    assert FORWARDING.read_text() == "1\n"
    assert "fe80::1" in way_out()


def test_forwarding_is_switched_off_with_the_last_bridge_of_ipv6():
    FORWARDING.write_text("0\n")
    converge_now(BRIDGE, SIX)
    assert FORWARDING.read_text() == "1\n"
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "0\n"
    FORWARDING.write_text("1\n")
    converge_now(BRIDGE, SIX)
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "1\n"


def test_what_cannot_be_is_refused():
    refuse(BRIDGE, {**SIX, "mtu": 1000}, "IPv6 with 1280 and more only")
    refuse(BRIDGE, {**SIX, "mode": "routed", "nat6": True}, "nat6: a bridge with mode routed translates no addresses")
    refuse(BRIDGE, {**PLAIN, "nat6": True}, "nat6: needs an address6 of the bridge")
    refuse(BRIDGE, {**PLAIN, "address6": "dhcp"}, "address6: dhcp is for mode ports")
    refuse(BRIDGE, {"name": NAME, "mode": "ports", "address6": "auto"}, "address6: auto is a subnet of its own")
    run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", PORT)
    run("ip", "addr", "add", "fd00:216::9/48", "dev", UPLINK)
    refuse(BRIDGE, SIX, f"address6: the subnet fd00:216::/64 overlaps with fd00:216::/48 of the link {UPLINK}")
