# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges with ports in a network of the test's own, with the files of systemd-networkd and of ifupdown, proven with ip, with
connections between network namespaces, and by what ifup makes of the files after everything is gone."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.host_networks import (
    HOSTS_INTERFACES,
    INTERFACES,
    NETWORKD,
    boot_networkd,
    files,
    gateways,
    links,
    network_of_a_host,
    remove_links,
    use_ifupdown,
    use_networkd,
)
from ansible_collections.homelab.hybrid.tests.harness.hostile import HostileCase, assert_harmless, hostile_cases
from ansible_collections.homelab.hybrid.tests.harness.kill import at_once, survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import command

PREFIX = "hlbp"
NAME, OTHER = f"{PREFIX}0", f"{PREFIX}1"
PORTS = (f"{PREFIX}p1", f"{PREFIX}p2")
# The far ends of the ports: a machine on each.
PEERS = (f"{PREFIX}-one", f"{PREFIX}-two")
GUEST = f"{PREFIX}tap"
BRIDGE = Bridge()
PLAIN: dict[str, t.Any] = {"name": NAME, "mode": "ports", "ports": [{"name": PORTS[0]}]}
FULL: dict[str, t.Any] = {
    "name": NAME,
    "mode": "ports",
    "ports": [{"name": port} for port in PORTS],
    "address": "10.214.0.1/24",
    "gateway": "10.214.0.254",
    "address6": "fd00:214::1/64",
    "gateway6": "fd00:214::fe",
    "mtu": 1400,
    "mac": "52:54:00:21:40:01",
    "stp": True,
}
CONNECT = """
import socket, sys
with socket.socket() as client:
    client.settimeout(3)
    print(client.connect_ex((sys.argv[1], 4711)))
"""
# Without a way out of the host, which a bridge is not to be cut off from.
INSIDE = {key: value for key, value in FULL.items() if not key.startswith("gateway")}


@pytest.fixture(scope="module", autouse=True)
def network() -> t.Iterator[None]:
    with network_of_a_host():
        yield


@pytest.fixture(autouse=True)
def links_of_the_test(network: None) -> t.Iterator[None]:
    clean()
    for port, peer in zip(PORTS, PEERS, strict=True):
        command("ip", "netns", "add", peer)
        command("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", peer)
        command("ip", "-n", peer, "link", "set", "eth0", "up")
    yield
    clean()


def clean() -> None:
    remove_links(PREFIX, *PEERS)
    for record in Path(paths.record_folder("bridges")).glob(f"{PREFIX}*"):
        record.unlink()
    clean_files()


def clean_files() -> None:
    for path in NETWORKD.glob(f"*{PREFIX}*"):
        path.unlink()
    for path in INTERFACES.parent.glob(f"interfaces.d/{PREFIX}*"):
        path.unlink()
    if INTERFACES.exists():
        INTERFACES.write_text(HOSTS_INTERFACES)
    for path in Path("/run/network").glob("*ifstate*"):
        path.unlink()


@pytest.fixture(params=["networkd", "ifupdown"])
def backend(request: pytest.FixtureRequest, links_of_the_test: None) -> str:
    {"networkd": use_networkd, "ifupdown": use_ifupdown}[request.param]()
    return str(request.param)


@pytest.fixture
def networkd(links_of_the_test: None) -> None:
    use_networkd()


@pytest.fixture
def ifupdown(links_of_the_test: None) -> None:
    use_ifupdown()


def addresses(name: str = NAME) -> list[str]:
    return [f"{it['local']}/{it['prefixlen']}" for it in links()[name]["addr_info"] if it["scope"] == "global"]


def plugged(name: str = NAME) -> set[str]:
    return {link for link, told in links().items() if told.get("master") == name}


def info(name: str = NAME) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", links()[name]["linkinfo"]["info_data"])


def record(name: str = NAME) -> dict[str, t.Any]:
    path = Path(paths.record_path("bridges", name))
    return json.loads(path.read_text()) if path.exists() else {}


def reaches(source: str, address: str) -> bool:
    """Whether the machine at *address* answers: that nobody listens there is an answer."""
    argv = ["ip", "netns", "exec", source, sys.executable, "-c", CONNECT, address]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "111\n"


def add_guest() -> None:
    """A link of a guest, plugged in as libvirt and LXC do."""
    command("ip", "tuntap", "add", GUEST, "mode", "tap")
    command("ip", "link", "set", GUEST, "master", NAME, "up")


def boot_again() -> None:
    """The links of the bridge are gone as after a reboot, the ports are bare, and ifup brings up what the files say."""
    command("ip", "link", "delete", NAME)
    for port in PORTS:
        command("ip", "link", "set", port, "mtu", "1500", "down")
    for path in Path("/run/network").glob("*ifstate*"):
        path.unlink()
    command("ifup", "-a")


def test_a_new_bridge_has_what_is_declared(backend: str) -> None:
    before = files()
    outcome = check_run_again(
        BRIDGE,
        FULL,
        [
            *("state", "mode", "address", "address6", "gateway", "gateway6", "mac", "mtu", "stp", "autostart"),
            *(f"ports[{port}]" for port in PORTS),
        ],
    )
    assert plugged() == set(PORTS)
    assert addresses() == ["10.214.0.1/24", "fd00:214::1/64"]
    assert gateways() == {(NAME, "10.214.0.254"), (NAME, "fd00:214::fe")}
    told = links()
    assert (told[NAME]["mtu"], told[NAME]["address"], info()["stp_state"]) == (1400, "52:54:00:21:40:01", 1)
    assert all("UP" in told[link]["flags"] for link in (NAME, *PORTS))
    assert {told[port]["mtu"] for port in PORTS} == {1400}
    assert all(files()[path] == text for path, text in before.items())
    assert outcome.facts["bridge"]["backend"] == {"networkd": "systemd-networkd"}.get(backend, backend)
    assert record()["made"] is True


def test_a_port_carries_what_machines_send(backend: str) -> None:
    converge_now(BRIDGE, {**FULL, "stp": False, "gateway": None, "gateway6": None})
    for number, peer in enumerate(PEERS, start=10):
        command("ip", "-n", peer, "address", "add", f"10.214.0.{number}/24", "dev", "eth0")
    assert reaches(PEERS[0], "10.214.0.1")
    assert reaches(PEERS[0], "10.214.0.11")
    check_run_again(BRIDGE, {"name": NAME, "ports": [{"name": PORTS[1], "state": "absent"}]}, [f"ports[{PORTS[1]}]"])
    assert not reaches(PEERS[0], "10.214.0.11")
    assert set(record()["ports"]) == {PORTS[0]}


def test_a_removed_bridge_leaves_nothing_behind(backend: str) -> None:
    before, told = files(), links()
    converge_now(BRIDGE, INSIDE)
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"}, ["state"])
    assert files() == before
    assert NAME not in links()
    for port in PORTS:
        assert (links()[port]["mtu"], links()[port]["operstate"]) == (told[port]["mtu"], told[port]["operstate"])
    assert record() == {}
    unchanged(BRIDGE, {"name": NAME, "mode": "ports", "state": "absent"})


def test_a_bridge_is_taken_away_as_what_it_is(backend: str) -> None:
    converge_now(BRIDGE, INSIDE)
    why = f"the bridge {NAME} has mode ports. Write that, or no mode"
    refuse(BRIDGE, {"name": NAME, "mode": "nat", "state": "absent"}, why)
    command("ip", "link", "delete", NAME)
    refuse(BRIDGE, {"name": NAME, "mode": "nat", "address": "10.214.0.1/24"}, why)
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"}, ["state"])


@pytest.mark.parametrize(
    ("declared", "undeclared", "path", "read", "values"),
    [
        ({"mtu": 1300}, {"mtu": 1400}, "mtu", lambda: links()[NAME]["mtu"], (1300, 1400)),
        ({"unset": ["mtu"]}, {"mtu": 1400}, "mtu", lambda: links()[PORTS[0]]["mtu"], (1500, 1400)),
        (
            {"mac": "52:54:00:21:40:02"},
            {"mac": "52:54:00:21:40:01"},
            "mac",
            lambda: links()[NAME]["address"],
            ("52:54:00:21:40:02", "52:54:00:21:40:01"),
        ),
        ({"stp": False}, {"stp": True}, "stp", lambda: info()["stp_state"], (0, 1)),
        (
            {"address": "10.214.0.2/24"},
            {"address": "10.214.0.1/24"},
            "address",
            lambda: addresses()[0],
            ("10.214.0.2/24", "10.214.0.1/24"),
        ),
        ({"address": "none"}, {"address": "10.214.0.1/24"}, "address", lambda: len(addresses()), (1, 2)),
        (
            {"address6": "fd00:214::2/64"},
            {"address6": "fd00:214::1/64"},
            "address6",
            lambda: addresses()[1],
            ("fd00:214::2/64", "fd00:214::1/64"),
        ),
        ({"unset": ["address6"]}, {"address6": "fd00:214::1/64"}, "address6", lambda: len(addresses()), (1, 2)),
        (
            {"ports": [{"name": PORTS[1], "state": "absent"}]},
            {"ports": [{"name": PORTS[1]}]},
            f"ports[{PORTS[1]}]",
            lambda: len(plugged()),
            (1, 2),
        ),
        (
            {"ports": [{"name": PORTS[0]}], "exact": ["ports"]},
            {"ports": [{"name": PORTS[1]}]},
            f"ports[{PORTS[1]}]",
            lambda: len(plugged()),
            (1, 2),
        ),
    ],
)
def test_an_option_changes_and_changes_back(backend, declared, undeclared, path, read, values):
    converge_now(BRIDGE, INSIDE)
    before, index = files(), links()[NAME]["ifindex"]
    check_run_again(BRIDGE, {"name": NAME, **declared}, [path])
    assert read() == values[0]
    assert files() != before
    check_run_again(BRIDGE, {"name": NAME, **undeclared}, [path])
    assert read() == values[1]
    # A line that went comes back behind the others of its section.
    assert {path: sorted(text.splitlines()) for path, text in files().items()} == {
        path: sorted(text.splitlines()) for path, text in before.items()
    }
    assert links()[NAME]["ifindex"] == index, "the bridge was made anew"


def test_a_gateway_comes_and_goes(backend: str) -> None:
    converge_now(BRIDGE, INSIDE)
    before = files()
    check_run_again(BRIDGE, {"name": NAME, "gateway": "10.214.0.254"}, ["gateway"])
    assert gateways() == {(NAME, "10.214.0.254")}
    command("ip", "route", "delete", "default")
    check_run_again(BRIDGE, {"name": NAME, "gateway": "10.214.0.254"}, ["gateway"])
    assert gateways() == {(NAME, "10.214.0.254")}
    refuse(BRIDGE, {"name": NAME, "unset": ["gateway"]}, "carries the default route of this host")
    command("ip", "route", "delete", "default")
    check_run_again(BRIDGE, {"name": NAME, "unset": ["gateway"]}, ["gateway"])
    assert (files(), gateways()) == (before, set())


def test_a_router_that_announces_itself_is_no_gateway_of_the_bridge(backend: str) -> None:
    converge_now(BRIDGE, {**INSIDE, "gateway6": "fd00:214::fe"})
    announced = ("default", "via", "fe80::99", "dev", NAME, "proto", "ra")
    command("ip", "-6", "route", "add", *announced, "metric", "512", "expires", "600")
    unchanged(BRIDGE, {"name": NAME, "gateway6": "fd00:214::fe"})
    command("ip", "-6", "route", "delete", "default", "via", "fd00:214::fe")
    for path, text in files().items():
        Path(path).write_text(text.replace("Gateway=fd00:214::fe\n", "").replace("    gateway fd00:214::fe\n", ""))
    unchanged(BRIDGE, {"name": NAME, "unset": ["gateway6"]})
    assert gateways() == {(NAME, "fe80::99")}


ROUTER = """
import socket, struct, time
option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 1800, 0) + socket.inet_pton(socket.AF_INET6, "fd00:2140::")
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
    router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    while True:
        try:
            to = ("ff02::1", 0, 0, socket.if_nametoindex("eth0"))
            router.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option, to)
        except OSError:
            pass  # its own address is not ready yet
        time.sleep(0.2)
"""
FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")


@pytest.fixture
def router(links_of_the_test: None) -> t.Iterator[None]:
    """The first peer announces a network and itself, and this host forwards, as it does with a nat bridge."""
    FORWARDING.write_text("1")
    with subprocess.Popen(["ip", "netns", "exec", PEERS[0], sys.executable, "-c", ROUTER]) as program:
        try:
            yield
        finally:
            program.terminate()
            FORWARDING.write_text("0")


def is_told() -> bool:
    """Whether the bridge has an address and a way out of what the router announces."""
    found = [it for it in addresses() if it.startswith("fd00:2140:")]
    return bool(found) and any(link == NAME and gateway.startswith("fe80:") for link, gateway in gateways())


def forget_router(accepts: str) -> None:
    """The bridge has no way out by it then, and may be changed without fear."""
    Path(f"/proc/sys/net/ipv6/conf/{NAME}/accept_ra").write_text(accepts)
    command("ip", "-6", "route", "flush", "default")
    command("ip", "-6", "address", "flush", "dev", NAME, "scope", "global", "dynamic")


def wait_until_told() -> None:
    wait_until("the bridge to have what the router announces", is_told, timeout_seconds=20)


@pytest.mark.usefixtures("router")
def test_the_host_takes_what_a_router_announces_also_while_it_forwards(backend: str) -> None:
    check_run_again(
        BRIDGE, {**PLAIN, "address6": "slaac"}, ["state", "mode", "address6", "autostart", f"ports[{PORTS[0]}]"]
    )
    wait_until_told()
    unchanged(BRIDGE, {**PLAIN, "address6": "slaac"})
    # As it is without the word: the kernel takes nothing more of it while it forwards.
    forget_router("1")
    check_run_again(BRIDGE, {"name": NAME, "address6": "slaac"}, ["address6"])
    wait_until_told()
    # An address of its own comes beside it.
    forget_router("0")
    check_run_again(BRIDGE, {"name": NAME, "address6": "fd00:214::1/64"}, ["address6"])
    # At the next start the files alone bring both back.
    command("ip", "link", "delete", NAME)
    if backend == "ifupdown":
        command("ifup", "--force", NAME)
        wait_until_told()
    else:
        boot_networkd(is_told)
    assert "fd00:214::1/64" in addresses()
    forget_router("0")
    check_run_again(BRIDGE, {"name": NAME, "unset": ["address6"]}, ["address6"])
    assert not any("AcceptRA" in text or "inet6" in text for text in files().values())


def test_what_somebody_changed_in_the_kernel_is_repaired(backend: str) -> None:
    params = INSIDE
    converge_now(BRIDGE, params)
    before = files()
    command("ip", "link", "set", PORTS[0], "nomaster")
    command("ip", "link", "set", NAME, "mtu", "1280", "type", "bridge", "stp_state", "0")
    command("ip", "address", "delete", "10.214.0.1/24", "dev", NAME)
    command("ip", "address", "add", "10.214.0.99/24", "dev", NAME)
    check_run_again(BRIDGE, params, ["address", "mtu", "stp", f"ports[{PORTS[0]}]"])
    assert (files(), plugged(), addresses()[0]) == (before, set(PORTS), "10.214.0.1/24")


def test_an_address_gives_way_to_the_one_that_takes_its_place_and_no_other_does(ifupdown: None) -> None:
    INTERFACES.write_text(
        HOSTS_INTERFACES + f"auto {NAME}\niface {NAME} inet manual\n\tbridge_ports {PORTS[0]}\n"
        f"iface {NAME} inet6 static\n\taddress fd00:214::1/64\niface {NAME} inet6 static\n\taddress fd00:215::1/64\n"
    )
    command("ifup", NAME)
    command("ip", "address", "add", "fd00:216::1/64", "dev", NAME)
    # The kernel tells the address that came last first.
    assert addresses() == ["fd00:216::1/64", "fd00:215::1/64", "fd00:214::1/64"]
    check_run_again(BRIDGE, {"name": NAME, "address6": "fd00:214::9/64"}, ["address6"])
    assert set(addresses()) == {"fd00:214::9/64", "fd00:215::1/64", "fd00:216::1/64"}
    command("ip", "address", "delete", "fd00:214::9/64", "dev", NAME)
    command("ip", "address", "delete", "fd00:216::1/64", "dev", NAME)
    check_run_again(BRIDGE, {"name": NAME, "address6": "fd00:214::9/64"}, ["address6"])
    assert set(addresses()) == {"fd00:214::9/64", "fd00:215::1/64"}


def test_a_bridge_that_is_gone_from_the_kernel_is_left_or_started(backend: str) -> None:
    converge_now(BRIDGE, FULL)
    command("ip", "link", "delete", NAME)
    unchanged(BRIDGE, {"name": NAME, "mode": "ports"})
    check_run_again(BRIDGE, {"name": NAME, "state": "started"}, ["state"])
    assert (plugged(), addresses()) == (set(PORTS), ["10.214.0.1/24", "fd00:214::1/64"])
    assert gateways() == {(NAME, "10.214.0.254"), (NAME, "fd00:214::fe")}


def test_a_bridge_that_somebody_set_down_is_left_or_started(backend: str) -> None:
    converge_now(BRIDGE, INSIDE)
    command("ip", "link", "set", NAME, "down")
    assert unchanged(BRIDGE, {"name": NAME}).facts["bridge"]["state"] == "stopped"
    outcome = check_run_again(BRIDGE, {**INSIDE, "state": "started"}, ["address6", "state"])
    assert outcome.facts["bridge"]["state"] == "started"
    assert ("UP" in links()[NAME]["flags"], addresses()) == (True, ["10.214.0.1/24", "fd00:214::1/64"])
    command("ip", "link", "set", NAME, "down")
    check_run_again(BRIDGE, {"name": NAME, "mtu": 1300}, ["mtu", "state"])


def test_the_link_of_a_guest_is_left_alone(backend: str) -> None:
    converge_now(BRIDGE, PLAIN)
    add_guest()
    outcome = check_run_again(BRIDGE, {**PLAIN, "mtu": 1400, "exact": ["ports"]}, ["mtu"])
    assert outcome.plan.unmanaged == []
    assert plugged() == {PORTS[0], GUEST}
    refuse(BRIDGE, {"name": NAME, "state": "absent"}, f"in use by {GUEST}, plugged in by somebody else")


def test_ports_that_nobody_lists_stay_and_are_named(backend: str) -> None:
    converge_now(BRIDGE, {**PLAIN, "ports": [{"name": port} for port in PORTS]})
    outcome = unchanged(BRIDGE, PLAIN)
    assert outcome.plan.unmanaged == [f"ports[{PORTS[1]}]"]
    assert plugged() == set(PORTS)


def test_a_port_that_is_pulled_out_for_now_keeps_its_place(backend: str) -> None:
    both = {**PLAIN, "ports": [{"name": port} for port in PORTS]}
    converge_now(BRIDGE, both)
    command("ip", "link", "delete", PORTS[1])
    unchanged(BRIDGE, both)
    check_run_again(BRIDGE, {**both, "mtu": 1400}, ["mtu"])
    command("ip", "link", "add", PORTS[1], "type", "veth", "peer", "name", "eth1", "netns", PEERS[1])
    check_run_again(BRIDGE, both, [f"ports[{PORTS[1]}]"])
    assert (plugged(), links()[PORTS[1]]["mtu"]) == (set(PORTS), 1400)
    command("ip", "link", "delete", PORTS[1])
    check_run_again(BRIDGE, {"name": NAME, "ports": [{"name": PORTS[1], "state": "absent"}]}, [f"ports[{PORTS[1]}]"])
    assert PORTS[1] not in "".join(files().values())


def test_a_port_that_somebody_plugged_in_elsewhere_stays_as_it_is_there(backend: str) -> None:
    converge_now(BRIDGE, {**PLAIN, "mtu": 1400})
    command("ip", "link", "add", OTHER, "type", "bridge")
    command("ip", "link", "set", PORTS[0], "master", OTHER)
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"}, ["state"])
    assert (plugged(OTHER), links()[PORTS[0]]["mtu"]) == ({PORTS[0]}, 1400)
    assert "UP" in links()[PORTS[0]]["flags"]


def test_a_port_that_carries_the_connection_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.9 50000 fe80::1%eth0 22")
    converge_now(BRIDGE, PLAIN)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.9 50000 10.214.7.1 22")
    command("ip", "address", "add", "10.214.7.1/24", "dev", PORTS[1])
    two = {**PLAIN, "ports": [{"name": PORTS[1]}]}
    refuse(BRIDGE, two, f"ports[{PORTS[1]}]: {PORTS[1]} carries the connection to this host (10.214.7.1)")
    monkeypatch.delenv("SSH_CONNECTION")
    refuse(BRIDGE, two, f"{PORTS[1]} has the address 10.214.7.1/24 of its own")
    command("ip", "link", "set", PORTS[1], "up")
    command("ip", "route", "add", "default", "via", "10.214.7.254", "dev", PORTS[1])
    refuse(BRIDGE, two, f"ports[{PORTS[1]}]: {PORTS[1]} carries the default route of this host")
    refuse(
        BRIDGE,
        {**PLAIN, "address": "10.214.0.1/24", "gateway": "10.214.0.254"},
        f"gateway: the default route of this host goes through {PORTS[1]}",
    )
    assert plugged() == {PORTS[0]}


CUTS: list[dict[str, t.Any]] = [
    {"address": "10.214.0.2/24"},
    {"unset": ["address"]},
    {"unset": ["address6"]},
    {"mtu": 1300},
    {"mac": "52:54:00:21:40:02"},
    {"stp": False},
    {"ports": [{"name": PORTS[0], "state": "absent"}]},
    {"state": "absent"},
]


def test_a_bridge_that_carries_the_connection_is_not_cut(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    converge_now(BRIDGE, INSIDE)
    monkeypatch.setenv("SSH_CONNECTION", "10.9.9.9 50000 10.214.0.1 22")
    for cut in CUTS:
        refuse(BRIDGE, {"name": NAME, **cut}, f"the bridge {NAME} carries the connection to this host (10.214.0.1)")
    command("ip", "tuntap", "add", GUEST, "mode", "tap")
    check_run_again(BRIDGE, {"name": NAME, "ports": [{"name": GUEST}]}, [f"ports[{GUEST}]"])


def test_a_bridge_that_answers_to_the_control_node_go_out_by_is_not_cut(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge_now(BRIDGE, INSIDE)
    command("ip", "address", "add", "10.214.9.1/32", "dev", "lo")
    monkeypatch.setenv("SSH_CONNECTION", "10.214.0.9 50000 10.214.9.1 22")
    for cut in CUTS:
        refuse(BRIDGE, {"name": NAME, **cut}, f"the bridge {NAME} carries the connection to this host (10.214.9.1)")
    command("ip", "address", "delete", "10.214.9.1/32", "dev", "lo")


def test_a_bridge_that_carries_the_default_route_is_not_cut(backend: str) -> None:
    converge_now(BRIDGE, FULL)
    before = gateways()
    for cut in [*CUTS, {"gateway": "10.214.0.253"}, {"unset": ["gateway"]}, {"unset": ["gateway6"]}]:
        refuse(BRIDGE, {"name": NAME, **cut}, f"the bridge {NAME} carries the default route of this host")
    assert gateways() == before


def test_what_cannot_be_made_is_refused(backend: str) -> None:
    refuse(BRIDGE, {**PLAIN, "ports": [{"name": f"{PREFIX}none"}]}, f"this host has no link {PREFIX}none")
    refuse(BRIDGE, {**PLAIN, "ports": [{"name": NAME}]}, f"ports[{NAME}]")
    command("ip", "tuntap", "add", f"{PREFIX}tun", "mode", "tun")
    refuse(BRIDGE, {**PLAIN, "ports": [{"name": f"{PREFIX}tun"}]}, f"{PREFIX}tun cannot be plugged into a bridge")
    refuse(BRIDGE, {**PLAIN, "name": PORTS[1]}, f"this host has a link {PORTS[1]} already that is no bridge")
    refuse(
        BRIDGE, {**PLAIN, "address": "dhcp"} if backend == "networkd" else {**PLAIN, "address": "10.0.0.1"}, "address"
    )
    refuse(BRIDGE, {**PLAIN, "gateway": "10.214.0.254"}, "gateway: needs a fixed address")
    refuse(
        BRIDGE, {**PLAIN, "address": "10.214.0.1/24", "gateway": "10.9.9.9"}, "10.9.9.9 is in no subnet of the bridge"
    )
    refuse(BRIDGE, {**PLAIN, "dns": {"domain": "a.internal"}}, "dns: a bridge with mode ports does not have it")
    refuse(
        BRIDGE, {"name": NAME, "address": "10.214.0.1/24", "stp": True}, "stp: a bridge with mode nat does not have it"
    )
    refuse(BRIDGE, {**PLAIN, "state": "stopped"}, "Take it away with absent")
    command("ip", "link", "add", OTHER, "type", "bridge")
    refuse(BRIDGE, {**PLAIN, "name": OTHER}, "that neither systemd-networkd nor ifupdown defines")
    command("ip", "link", "set", PORTS[0], "master", OTHER)
    refuse(BRIDGE, PLAIN, f"{PORTS[0]} hangs on {OTHER} already")


def test_a_link_that_guests_have_by_macvtap_is_no_port(backend: str) -> None:
    command("ip", "link", "add", "link", PORTS[0], "name", f"{PREFIX}up", "type", "macvlan")
    refuse(BRIDGE, PLAIN, f"ports[{PORTS[0]}]: {PREFIX}up takes what comes in on {PORTS[0]}")
    command("ip", "link", "delete", f"{PREFIX}up")
    check_run_again(BRIDGE, PLAIN)


def test_an_mtu_that_a_port_or_ipv6_cannot_have_is_refused(backend: str) -> None:
    upper = f"{PREFIX}up"
    command("ip", "link", "add", "link", PORTS[1], "name", upper, "type", "macvlan")
    command("ip", "tuntap", "add", GUEST, "mode", "tap")
    refuse(BRIDGE, {**PLAIN, "ports": [{"name": upper}], "mtu": 9000}, f"mtu: {upper} takes 1500 at most")
    converge_now(BRIDGE, {**INSIDE, "ports": [{"name": PORTS[0]}, {"name": GUEST}]})
    refuse(BRIDGE, {"name": NAME, "mtu": 65535}, f"mtu: {GUEST} takes 65521 at most")
    refuse(BRIDGE, {"name": NAME, "mtu": 1279}, "IPv6 with 1280 and more only")
    check_run_again(BRIDGE, {"name": NAME, "mtu": 9000}, ["mtu"])
    refuse(BRIDGE, {"name": NAME, "ports": [{"name": upper}]}, f"mtu: {upper} takes 1500 at most")


def test_vlans_are_refused_where_the_kernel_has_none(backend: str) -> None:
    refuse(BRIDGE, {**PLAIN, "ports": [{"name": PORTS[0], "pvid": 7}]}, "has VLANs, and the bridge knows none")
    aware = {**PLAIN, "vlan_aware": True, "ports": [{"name": PORTS[0], "pvid": 7, "vids": ["20", "30-39"]}]}
    probe = ["unshare", "--net", "ip", "link", "add", "x0", "type", "bridge", "vlan_filtering", "1"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        refuse(BRIDGE, aware, "vlan_aware: the kernel of this host has no VLAN filtering for bridges")
        return
    check_run_again(BRIDGE, aware)
    (port,) = (it for it in json.loads(command("bridge", "-j", "vlan")) if it["ifname"] == PORTS[0])
    assert next((it["vlan"], it.get("flags", [])) for it in port["vlans"]) == (7, ["PVID", "Egress Untagged"])


def test_a_bond_is_a_port(backend: str) -> None:
    bond = f"{PREFIX}bond"
    added = subprocess.run(["ip", "link", "add", bond, "type", "bond"], capture_output=True, text=True, check=False)
    if added.returncode != 0:
        pytest.skip(f"the kernel of this host has no bonds: {added.stderr.strip()}")
    check_run_again(BRIDGE, {**PLAIN, "ports": [{"name": bond}]})
    assert plugged() == {bond}


def test_a_gateway_goes_with_the_address_that_it_needs(backend: str) -> None:
    params = {**PLAIN, "address": "10.214.0.1/24", "gateway": "10.214.0.254"}
    converge_now(BRIDGE, params)
    command("ip", "route", "delete", "default")
    outcome = check_run_again(BRIDGE, {"name": NAME, "address": "none"}, ["address", "gateway"])
    assert outcome.facts["bridge"]["gateway"] is None


@pytest.mark.parametrize(
    ("path", "text", "tool"),
    [
        ("/etc/netplan/50.yaml", "network:\n  ethernets:\n    {link}:\n      dhcp4: true\n", "netplan"),
        ("/etc/netplan/50.yaml", "network: {{ethernets: {{other: {{}}, {link}: {{dhcp4: true}}}}}}\n", "netplan"),
        (
            "/etc/NetworkManager/system-connections/a.nmconnection",
            "[connection]\ninterface-name={link}\n",
            "NetworkManager",
        ),
    ],
)
@pytest.mark.parametrize("link", [NAME, PORTS[0]])
def test_a_link_that_another_tool_owns_is_refused(networkd, path, text, tool, link):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text.format(link=link))
    try:
        refuse(BRIDGE, PLAIN, f"{tool} ({path}) owns the link {link}")
    finally:
        Path(path).unlink()
    check_run_again(BRIDGE, PLAIN)


def test_a_host_without_a_known_tool_is_refused(networkd: None) -> None:
    Path("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service").unlink()
    refuse(BRIDGE, PLAIN, "this host uses neither. Enable systemd-networkd, or install ifupdown and bridge-utils")


def test_what_ifup_makes_of_the_files_is_what_was_declared(ifupdown: None) -> None:
    converge_now(BRIDGE, FULL)
    assert command("ifquery", "--state").split() == [f"{NAME}={NAME}"]
    boot_again()
    unchanged(BRIDGE, FULL)
    assert (plugged(), links()[NAME]["mtu"]) == (set(PORTS), 1400)
    command("ifdown", NAME)
    assert NAME not in links()


@pytest.mark.parametrize("address", ["10.214.0.1/24", "none"])
def test_mtu_and_mac_stand_after_a_boot_with_and_without_an_address(ifupdown, address):
    params = {**PLAIN, "address": address, "mtu": 1400, "mac": "52:54:00:21:40:07"}
    converge_now(BRIDGE, params)
    boot_again()
    unchanged(BRIDGE, params)


def test_a_bridge_made_by_hand_is_changed_in_place(ifupdown: None) -> None:
    text = (
        HOSTS_INTERFACES
        + f"""
# the old bridge
allow-hotplug {NAME}
iface {NAME} inet static
\taddress 10.214.0.5
\tnetmask 255.255.255.0
\tbridge-ports {PORTS[0]}
\tbridge-stp off
\tbridge-fd 0
\tup echo done
# of what follows
iface {PREFIX}9 inet manual
"""
    )
    INTERFACES.write_text(text)
    command("ifup", NAME)
    unchanged(BRIDGE, {**PLAIN, "address": "10.214.0.5/24", "stp": False, "autostart": True})
    check_run_again(
        BRIDGE,
        {"name": NAME, "address": "10.214.0.6/24", "ports": [{"name": PORTS[1]}]},
        ["address", f"ports[{PORTS[1]}]"],
    )
    expected = text.replace("\taddress 10.214.0.5\n\tnetmask 255.255.255.0\n", "\taddress 10.214.0.6/24\n")
    assert INTERFACES.read_text() == expected.replace(f"bridge-ports {PORTS[0]}", f"bridge-ports {PORTS[0]} {PORTS[1]}")
    assert addresses() == ["10.214.0.6/24"]
    refuse(BRIDGE, {"name": NAME, "state": "absent"}, "this collection did not make the bridge")


def test_a_bridge_made_by_hand_starts_with_the_host_when_that_is_written(ifupdown: None) -> None:
    text = f"iface {NAME} inet manual\n\tbridge_ports {PORTS[0]}\n"
    INTERFACES.write_text(HOSTS_INTERFACES + text)
    command("ifup", NAME)
    check_run_again(BRIDGE, {"name": NAME, "mtu": 1400}, ["mtu"])
    assert INTERFACES.read_text() == HOSTS_INTERFACES + text + "\tmtu 1400\n"
    check_run_again(BRIDGE, {"name": NAME, "autostart": True}, ["autostart"])
    assert INTERFACES.read_text() == HOSTS_INTERFACES + f"auto {NAME}\n" + text + "\tmtu 1400\n"


def test_a_port_with_files_of_its_own_keeps_them(networkd: None) -> None:
    path = NETWORKD / f"30-{PREFIX}.network"
    text = f"# by hand\n[Match]\nName={PORTS[0]}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nLLDP=yes\n"
    path.write_text(text)
    check_run_again(BRIDGE, PLAIN)
    assert path.read_text() == text + f"Bridge={NAME}\n"
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"})
    assert files()[str(path)] == text


SHARED = NETWORKD / f"20-{PREFIX}-shared.network"


@pytest.mark.parametrize(
    "match",
    [
        f"Name={NAME} {OTHER}",
        f"Name={PREFIX}?",
        f"Name={OTHER}\nName={NAME}",
        f"Name={OTHER}\n\n[Match]\nName={NAME}",
        "Kind=bridge",
        f"Name={NAME}\nProperty=!A=b",
    ],
)
def test_a_file_that_is_about_more_links_stays_and_is_named(networkd: None, match: str) -> None:
    (NETWORKD / f"10-{NAME}.netdev").write_text(f"[NetDev]\nName={NAME}\nKind=bridge\n")
    text = (
        f"[Match]\n{match}\n\n[Network]\nAddress=10.214.0.1/24\nDNS=10.214.0.53\n\n[Route]\nDestination=10.215.0.0/16\n"
    )
    SHARED.write_text(text)
    command("ip", "link", "add", NAME, "type", "bridge")
    command("ip", "address", "add", "10.214.0.1/24", "dev", NAME)
    command("ip", "link", "set", NAME, "up")
    before = files()
    unchanged(BRIDGE, {"name": NAME, "mode": "ports", "address": "10.214.0.1/24"})
    check_run_again(BRIDGE, {"name": NAME, "mode": "ports", "mtu": 1400}, ["mtu"])
    assert SHARED.read_text() == text
    assert set(files()) == set(before)
    assert addresses() == ["10.214.0.1/24"]
    refuse(
        BRIDGE,
        {"name": NAME, "mode": "ports", "address": "10.214.0.2/24"},
        f"{SHARED} configures more links than {NAME}",
    )
    assert SHARED.read_text() == text


def test_ports_that_a_file_names_on_two_lines_are_plugged_in(networkd: None) -> None:
    (NETWORKD / f"10-{NAME}.netdev").write_text(f"[NetDev]\nName={NAME}\nKind=bridge\n")
    names = "".join(f"Name={port}\n" for port in PORTS)
    SHARED.write_text(f"[Match]\n{names}\n[Network]\nBridge={NAME}\nLLDP=yes\n")
    command("ip", "link", "add", NAME, "type", "bridge")
    for link in (*PORTS, NAME):
        command("ip", "link", "set", link, "up", *(["master", NAME] if link in PORTS else []))
    before = files()
    unchanged(BRIDGE, {"name": NAME, "mode": "ports", "ports": [{"name": port} for port in PORTS]})
    assert files() == before


def test_a_word_of_networkd_in_the_place_of_a_mac_comes_back(networkd: None) -> None:
    netdev = NETWORKD / f"10-{NAME}.netdev"
    netdev.write_text(f"[NetDev]\nName={NAME}\nKind=bridge\nMACAddress=none\n")
    text = netdev.read_text()
    command("ip", "link", "add", NAME, "type", "bridge")
    command("ip", "link", "set", NAME, "up")
    unchanged(BRIDGE, {"name": NAME, "mode": "ports", "unset": ["mac"]})
    check_run_again(BRIDGE, {"name": NAME, "mac": "52:54:00:21:40:05"}, ["mac"])
    check_run_again(BRIDGE, {"name": NAME, "unset": ["mac"]}, ["mac"])
    assert netdev.read_text() == text


def test_creation_survives_every_kill(backend: str) -> None:
    def begin() -> None:
        for name in (NAME,):
            command("ip", "link", "delete", name, check=False)
        Path(paths.record_path("bridges", NAME)).unlink(missing_ok=True)
        clean_files()
        for port in PORTS:
            command("ip", "link", "set", port, "mtu", "1500", "down")

    def verify(outcome: t.Any) -> None:
        assert (plugged(), addresses()) == (set(PORTS), ["10.214.0.1/24", "fd00:214::1/64"])
        assert "building" not in record()

    survive_kills(BRIDGE, FULL, begin=begin, verify=verify, moments=3)


def test_a_change_survives_every_kill(backend: str) -> None:
    start = INSIDE
    change = {
        "name": NAME,
        "address": "10.214.0.2/24",
        "ports": [{"name": PORTS[1], "state": "absent"}],
        "unset": ["mtu", "address6"],
        "stp": False,
    }

    def begin() -> None:
        outcome = converge_now(BRIDGE, start)
        assert outcome.error is None, outcome.error

    def verify(outcome: t.Any) -> None:
        assert (plugged(), addresses(), links()[NAME]["mtu"]) == ({PORTS[0]}, ["10.214.0.2/24"], 1500)
        assert {links()[port]["mtu"] for port in PORTS} == {1500}

    survive_kills(BRIDGE, change, begin=begin, verify=verify, moments=2)


def test_removal_survives_every_kill(backend: str) -> None:
    nothing = files()

    def begin() -> None:
        outcome = converge_now(BRIDGE, INSIDE)
        assert outcome.error is None, outcome.error

    def verify(outcome: t.Any) -> None:
        assert (NAME in links(), files(), record()) == (False, nothing, {})
        assert {links()[port]["mtu"] for port in PORTS} == {1500}

    survive_kills(BRIDGE, {"name": NAME, "state": "absent"}, begin=begin, verify=verify, moments=2)


def test_two_runs_at_once_make_one_bridge(backend: str) -> None:
    first, second = at_once(BRIDGE, FULL, FULL)
    assert "msg" not in first
    assert "msg" not in second
    assert sorted([first["changed"], second["changed"]]) == [False, True]


def test_two_bridges_at_once_both_stand_in_one_file(ifupdown: None) -> None:
    INTERFACES.write_text(HOSTS_INTERFACES.replace("source /etc/network/interfaces.d/*\n", ""))
    other = {**PLAIN, "name": OTHER, "ports": [{"name": PORTS[1]}]}
    for result in at_once(BRIDGE, PLAIN, other):
        assert "msg" not in result, result
    unchanged(BRIDGE, PLAIN)
    unchanged(BRIDGE, other)
    assert (plugged(), plugged(OTHER)) == ({PORTS[0]}, {PORTS[1]})


HOSTILE = hostile_cases(ARGUMENTS, INSIDE, skip=["exact", "dhcp", "dns"])


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_text_is_refused_or_kept_to_the_letter(networkd: None, case: HostileCase) -> None:
    is_ours = case.params["name"].startswith(PREFIX)

    def remove() -> None:
        command("ip", "link", "delete", NAME, check=False)
        Path(paths.record_path("bridges", NAME)).unlink(missing_ok=True)
        clean_files()

    assert_harmless(BRIDGE, case, is_ours=lambda params: is_ours, remove=remove)
