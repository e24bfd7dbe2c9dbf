# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges on the real host, proven with ip, virsh, a DHCP client and questions to the name server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import forwarding, replug
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_options
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hostile import HostileCase, assert_harmless, hostile_cases
from ansible_collections.homelab.hybrid.tests.harness.kill import at_once, survive_kills
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_bridges
from ansible_collections.homelab.hybrid.tests.harness.questions import address_of, eventually

PREFIX = "hlbr"
NAME = f"{PREFIX}0"
OTHER = f"{PREFIX}1"
PORT, PEER = f"{PREFIX}-p", f"{PREFIX}-c"
DOMAIN = f"{PREFIX}-vm"
CONTAINER = Path("/var/lib/lxc") / f"{PREFIX}-ct"
CLIENT_MAC = "52:54:00:13:00:05"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE = Bridge()
PLAIN: dict[str, t.Any] = {"name": NAME, "address": "10.213.0.1/24"}
ALPHA = {"name": "alpha", "mac": "52:54:00:13:00:0a", "ip": "10.213.0.10"}
BETA = {"name": "beta", "mac": "52:54:00:13:00:0b", "ip": "10.213.0.11"}
FULL: dict[str, t.Any] = {
    **PLAIN,
    "dhcp": {"start": "10.213.0.100", "end": "10.213.0.199", "hosts": [ALPHA]},
    "dns": {"domain": "hlbr.internal", "hosts": [{"name": "gw", "ip": "10.213.0.1"}], "forwarders": ["127.0.0.1"]},
    "mtu": 1400,
}
BY_HAND = f"""<network><name>{PREFIX}-hand</name><forward mode='route'/><bridge name='{NAME}' stp='off' delay='3'/>
  <domain name='old.internal'/>
  <dns><txt name='note' value='by hand'/><host ip='10.213.0.2'><hostname>nas</hostname></host></dns>
  <ip address='10.213.0.1' netmask='255.255.255.0'><tftp root='/usr'/>
    <dhcp><range start='10.213.0.50' end='10.213.0.59'/><host mac='52:54:00:13:00:0c' ip='10.213.0.12'/></dhcp></ip></network>"""


@pytest.fixture(autouse=True)
def host() -> t.Iterator[None]:
    clean()
    forwarding = FORWARDING.read_text()
    yield
    clean()
    if not other_bridges():
        FORWARDING.write_text(forwarding)


def clean() -> None:
    remove_bridges(PREFIX)
    shutil.rmtree(CONTAINER, ignore_errors=True)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def virsh(*argv: str) -> str:
    return run("virsh", "-q", "-c", "qemu:///system", *argv)


def links() -> dict[str, dict[str, t.Any]]:
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "addr"))}


def address(name: str = NAME) -> list[str]:
    return [f"{it['local']}/{it['prefixlen']}" for it in links()[name]["addr_info"] if it["family"] == "inet"]


def other_bridges() -> list[str]:
    return [
        name
        for name, link in links().items()
        if link.get("linkinfo", {}).get("info_kind") == "bridge" and not name.startswith(PREFIX)
    ]


@pytest.fixture
def no_other_bridge() -> None:
    """A private view of the host (``tests/tools/cell``) has none; whoever runs this beside bridges of others is told."""
    assert not other_bridges()


def xml(name: str = NAME, *flags: str) -> ElementTree.Element:
    return ElementTree.fromstring(virsh("net-dumpxml", name, *flags))


def hosts(name: str = NAME, *flags: str) -> set[tuple[str | None, ...]]:
    return {(it.get("name"), it.get("mac"), it.get("ip")) for it in xml(name, *flags).iterfind("ip/dhcp/host")}


def ranges(name: str = NAME, *flags: str) -> list[tuple[str | None, str | None]]:
    return [(it.get("start"), it.get("end")) for it in xml(name, *flags).iterfind("ip/dhcp/range")]


def entry(item: dict[str, str]) -> tuple[str, str, str]:
    return item["name"], item["mac"], item["ip"]


def info(name: str = NAME) -> dict[str, str]:
    lines = (line.partition(":") for line in virsh("net-info", name).splitlines())
    return {key.strip(): value.strip() for key, dummy, value in lines}


def record(name: str = NAME) -> dict[str, t.Any]:
    path = Path(paths.record_path("bridges", name))
    return t.cast("dict[str, t.Any]", json.loads(path.read_text())) if path.exists() else {}


def answer(name: str, server: str = "10.213.0.1", family: int = socket.AF_INET) -> str | None:
    """The address of *family* that *server* gives for *name*, ``None`` when it knows none."""
    return address_of(name, server, family)


def lease(hostname: str = "client") -> str:
    """The address that a DHCP client gets which is plugged into the bridge."""
    script = CONTAINER.parent / f"{PREFIX}-udhcpc"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "LEASE $ip"\nexit 0\n')
    script.chmod(0o700)
    command = ["ip", "netns", "exec", PREFIX, *"busybox udhcpc -n -q -f -t 5 -T 1".split()]
    try:
        for dummy in range(3):
            done = subprocess.run(
                [*command, "-i", PEER, "-x", f"hostname:{hostname}", "-s", str(script)],
                capture_output=True,
                text=True,
                check=False,
            )
            found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("LEASE ")]
            if found:
                return found[-1]
        raise AssertionError(done.stdout + done.stderr)
    finally:
        script.unlink()


@pytest.fixture
def client(host: None) -> t.Iterator[t.Callable[[], None]]:
    """A link whose other end is a client in a network namespace; call it to plug the link into the bridge."""
    subprocess.run(["ip", "netns", "del", PREFIX], capture_output=True, check=False)
    run("ip", "netns", "add", PREFIX)

    def plug_in() -> None:
        run("ip", "link", "add", PORT, "type", "veth", "peer", "name", PEER, "netns", PREFIX)
        run("ip", "-n", PREFIX, "link", "set", PEER, "address", CLIENT_MAC, "up")
        run("ip", "link", "set", PORT, "master", NAME, "up")

    yield plug_in
    subprocess.run(["ip", "netns", "del", PREFIX], capture_output=True, check=False)


def start_domain(bridge: str = NAME) -> str:
    """A virtual machine that only runs its firmware. Returns the link of the host that it is plugged in with."""
    connection = libvirt.open("qemu:///system")
    domain = connection.defineXML(
        f"""<domain type='qemu'><name>{DOMAIN}</name><memory unit='MiB'>16</memory><os><type arch='x86_64'>hvm</type></os>
        <devices><interface type='bridge'><source bridge='{bridge}'/><model type='virtio'/></interface></devices></domain>"""
    )
    domain.create()
    target = ElementTree.fromstring(domain.XMLDesc(0)).find("devices/interface/target")
    connection.close()
    assert target is not None
    return str(target.get("dev"))


def define_container(bridge: str = NAME) -> None:
    CONTAINER.mkdir(parents=True)
    (CONTAINER / "config").write_text(f"lxc.uts.name = ct\nlxc.net.0.type = veth\nlxc.net.0.link = {bridge}\n")


def define_by_hand(document: str = BY_HAND, *, start: bool = True) -> None:
    connection = libvirt.open("qemu:///system")
    network = connection.networkDefineXML(document)
    if start:
        network.create()
    connection.close()


def test_a_new_bridge_has_what_is_declared():
    outcome = check_run_again(
        BRIDGE,
        FULL,
        [
            *("state", "mode", "address", "dhcp.start", "dhcp.end", "dhcp.hosts[alpha]"),
            *("dns.domain", "dns.hosts[gw]", "dns.forwarders", "mtu", "autostart"),
        ],
    )
    assert (info()["Active"], info()["Autostart"], info()["Bridge"]) == ("yes", "yes", NAME)
    assert address() == ["10.213.0.1/24"]
    assert links()[NAME]["mtu"] == 1400
    assert (ranges(), hosts()) == ([("10.213.0.100", "10.213.0.199")], {entry(ALPHA)})
    assert FORWARDING.read_text() == "1\n"
    assert "10.213.0.0/24" in run("nft", "list", "ruleset")
    assert outcome.facts["bridge"]["mac"] == links()[NAME]["address"]
    assert record()["made"] is True


def test_a_new_bridge_can_be_left_stopped():
    check_run_again(
        BRIDGE, {**PLAIN, "state": "stopped", "autostart": False}, ["state", "mode", "address", "autostart"]
    )
    assert (info()["Active"], info()["Autostart"]) == ("no", "no")
    assert NAME not in links()


def test_the_name_server_answers():
    converge_now(BRIDGE, FULL)
    eventually(lambda: answer("gw"), "10.213.0.1")
    # The forwarder is this host itself: a question that was passed on would come back to nobody.
    assert answer("nobody.hlbr.internal") is None


def test_a_client_gets_an_address_of_the_range_and_a_name(client):
    converge_now(BRIDGE, FULL)
    client()
    given = lease("laptop")
    assert 100 <= int(given.split(".")[3]) <= 199
    # libvirt's helper writes the lease down after dnsmasq has given it.
    eventually(lambda: given in virsh("net-dhcp-leases", NAME), True)
    eventually(lambda: answer("laptop.hlbr.internal"), given)


def test_a_range_changes_while_a_client_is_plugged_in(client):
    converge_now(BRIDGE, FULL)
    client()
    check_run_again(
        BRIDGE, {"name": NAME, "dhcp": {"start": "10.213.0.30", "end": "10.213.0.30"}}, ["dhcp.start", "dhcp.end"]
    )
    assert ranges() == ranges(NAME, "--inactive") == [("10.213.0.30", "10.213.0.30")]
    assert lease() == "10.213.0.30"


def test_a_fixed_address_comes_and_changes_while_a_client_is_plugged_in(client):
    converge_now(BRIDGE, FULL)
    client()
    item = {"name": "fixed", "mac": CLIENT_MAC, "ip": "10.213.0.5"}
    outcome = check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [item]}}, ["dhcp.hosts[fixed]"])
    assert outcome.plan.unmanaged == ["dhcp.hosts[alpha]"]
    assert hosts() == hosts(NAME, "--inactive") == {entry(ALPHA), entry(item)}
    assert lease() == "10.213.0.5"
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [{**item, "ip": "10.213.0.6"}]}}, ["dhcp.hosts[fixed].ip"])
    assert lease() == "10.213.0.6"
    assert links()[PORT]["master"] == NAME


def test_fixed_addresses_are_swapped_renamed_and_taken_off():
    converge_now(BRIDGE, {**PLAIN, "dhcp": {"hosts": [ALPHA, BETA]}})
    swapped = [{**ALPHA, "mac": BETA["mac"], "ip": BETA["ip"]}, {**BETA, "mac": ALPHA["mac"], "ip": ALPHA["ip"]}]
    keys = [f"dhcp.hosts[{name}].{key}" for name in ("alpha", "beta") for key in ("ip", "mac")]
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": swapped}}, keys)
    assert hosts() == hosts(NAME, "--inactive") == {entry(item) for item in swapped}
    renamed = {**swapped[0], "name": "gamma"}
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [renamed]}}, ["dhcp.hosts[gamma].name"])
    assert hosts() == hosts(NAME, "--inactive") == {entry(renamed), entry(swapped[1])}
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [renamed]}, "exact": ["dhcp.hosts"]}, ["dhcp.hosts[beta]"])
    gone = {"name": "gamma", "state": "absent"}
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [gone]}}, ["dhcp.hosts[gamma]"])
    assert hosts() == hosts(NAME, "--inactive") == set()


def test_names_come_and_go_live():
    converge_now(BRIDGE, FULL)
    more = [{"name": "gw", "ip": "10.213.0.3"}, {"name": "www.hlbr.internal", "ip": "10.213.0.3"}]
    check_run_again(
        BRIDGE, {"name": NAME, "dns": {"hosts": more}}, ["dns.hosts[gw].ip", "dns.hosts[www.hlbr.internal]"]
    )
    eventually(lambda: (answer("gw.hlbr.internal"), answer("www.hlbr.internal")), ("10.213.0.3", "10.213.0.3"))
    less = [{"name": "gw", "state": "absent"}]
    check_run_again(BRIDGE, {"name": NAME, "dns": {"hosts": less}}, ["dns.hosts[gw]"])
    eventually(lambda: (answer("gw.hlbr.internal"), answer("www.hlbr.internal")), (None, "10.213.0.3"))
    check_run_again(
        BRIDGE, {"name": NAME, "dns": {"hosts": []}, "exact": ["dns.hosts"]}, ["dns.hosts[www.hlbr.internal]"]
    )
    eventually(lambda: answer("www.hlbr.internal"), None)


def test_a_name_has_the_addresses_of_both_families_that_are_written_and_no_others():
    converge_now(BRIDGE, FULL)

    def written(**addresses: str) -> dict[str, t.Any]:
        return {"name": NAME, "dns": {"hosts": [{"name": "gw", **addresses}]}}

    def answers() -> tuple[str | None, str | None]:
        return answer("gw.hlbr.internal"), answer("gw.hlbr.internal", family=socket.AF_INET6)

    check_run_again(BRIDGE, written(ip="10.213.0.1", ip6="fd00:213::1"), ["dns.hosts[gw].ip6"])
    eventually(answers, ("10.213.0.1", "fd00:213::1"))
    check_run_again(BRIDGE, written(ip6="fd00:213::2"), ["dns.hosts[gw].ip", "dns.hosts[gw].ip6"])
    eventually(answers, (None, "fd00:213::2"))
    check_run_again(BRIDGE, written(ip="10.213.0.1"), ["dns.hosts[gw].ip", "dns.hosts[gw].ip6"])
    eventually(answers, ("10.213.0.1", None))


def test_dhcp_is_taken_off_and_put_on():
    converge_now(BRIDGE, FULL)
    check_run_again(BRIDGE, {"name": NAME, "unset": ["dhcp"]}, ["dhcp"])
    assert (ranges(), hosts(), ranges(NAME, "--inactive")) == ([], set(), [])
    check_run_again(BRIDGE, {"name": NAME, "dhcp": FULL["dhcp"]}, ["dhcp.start", "dhcp.end", "dhcp.hosts[alpha]"])
    assert (ranges(), hosts()) == ([("10.213.0.100", "10.213.0.199")], {entry(ALPHA)})


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize(
    ("declared", "undeclared", "path", "find"),
    [
        ({"mtu": 1300}, {"mtu": 1400}, "mtu", ("mtu", "size", "1300")),
        ({"unset": ["mtu"]}, {"mtu": 1400}, "mtu", ("mtu", "size", None)),
        (
            {"dns": {"domain": "b.internal"}},
            {"dns": {"domain": "hlbr.internal"}},
            "dns.domain",
            ("domain", "name", "b.internal"),
        ),
        ({"unset": ["dns.domain"]}, {"dns": {"domain": "hlbr.internal"}}, "dns.domain", ("domain", "name", None)),
        (
            {"dns": {"forwarders": ["127.0.0.2"]}},
            {"unset": ["dns.forwarders"]},
            "dns.forwarders",
            ("dns/forwarder", "addr", "127.0.0.2"),
        ),
        ({"address": "10.213.0.2/24"}, {"address": "10.213.0.1/24"}, "address", ("ip", "address", "10.213.0.2")),
        ({"autostart": False}, {"autostart": True}, "autostart", None),
        (
            {"dhcp": {"start": "10.213.0.100", "end": "10.213.0.150"}},
            {"dhcp": {"start": "10.213.0.100", "end": "10.213.0.199"}},
            "dhcp.end",
            ("ip/dhcp/range", "end", "10.213.0.150"),
        ),
        (
            {"dhcp": {"hosts": [BETA]}},
            {"dhcp": {"hosts": [ALPHA]}, "exact": ["dhcp.hosts"]},
            "dhcp.hosts[beta]",
            ("ip/dhcp/host[@name='beta']", "ip", "10.213.0.11"),
        ),
    ],
)
def test_an_option_changes_and_changes_back(is_active, declared, undeclared, path, find):
    converge_now(BRIDGE, {**FULL, "state": "started" if is_active else "stopped"})
    check_run_again(BRIDGE, {"name": NAME, **declared}, [path])
    assert info()["Active"] == ("yes" if is_active else "no")
    if find is None:
        assert info()["Autostart"] == "no"
    else:
        for flags in ([], ["--inactive"]):
            element = xml(NAME, *flags).find(find[0])
            assert (None if element is None else element.get(find[1])) == find[2]
    check_run_again(BRIDGE, {"name": NAME, **undeclared}, [path])
    assert info()["Active"] == ("yes" if is_active else "no")


def test_a_restart_keeps_what_is_plugged_in(client):
    """A veth and the tap of a running virtual machine hang on the bridge again, with the flags of their ports."""
    converge_now(BRIDGE, FULL)
    client()
    run("bridge", "link", "set", "dev", PORT, "isolated", "on", "hairpin", "on")
    tap = start_domain()
    before = {name: links()[name]["ifindex"] for name in (PORT, tap)}
    bridge = links()[NAME]["ifindex"]
    outcome = check_run_again(
        BRIDGE, {"name": NAME, "mtu": 1350, "dns": {"domain": "new.internal"}}, ["mtu", "dns.domain"]
    )
    assert {change.how.value for change in outcome.plan.changes} == {"restart"}
    assert links()[NAME]["ifindex"] != bridge
    assert {name: (links()[name]["ifindex"], links()[name]["master"]) for name in before} == {
        name: (number, NAME) for name, number in before.items()
    }
    port = links()[PORT]["linkinfo"]["info_slave_data"]
    assert (port["isolated"], port["hairpin"]) == (True, True)
    assert links()[NAME]["mtu"] == 1350
    assert virsh("domstate", DOMAIN).strip() == "running"
    assert "replug" not in record()
    assert 100 <= int(lease().split(".")[3]) <= 199


def test_a_bridge_in_use_is_neither_stopped_nor_removed():
    converge_now(BRIDGE, PLAIN)
    start_domain()
    define_container()
    refuse(BRIDGE, {"name": NAME, "state": "stopped"}, f"in use by running guests: {DOMAIN}")
    refuse(BRIDGE, {"name": NAME, "state": "absent"}, f"in use by guests: {CONTAINER.name}, {DOMAIN}")
    virsh("destroy", DOMAIN)
    check_run_again(BRIDGE, {"name": NAME, "state": "stopped"}, ["state"])
    refuse(BRIDGE, {"name": NAME, "state": "absent"}, f"in use by guests: {CONTAINER.name}, {DOMAIN}")


def test_a_bridge_that_carries_the_connection_is_not_started_anew(monkeypatch):
    converge_now(BRIDGE, PLAIN)
    address = PLAIN["address"].partition("/")[0]
    monkeypatch.setenv("SSH_CONNECTION", f"192.0.2.9 50000 {address} 22")
    for cut in ({"mtu": 1400}, {"mode": "isolated"}, {"state": "stopped"}, {"state": "absent"}):
        refuse(BRIDGE, {"name": NAME, **cut}, f"the bridge {NAME} carries the connection to this host ({address})")
    check_run_again(BRIDGE, {"name": NAME, "autostart": False}, ["autostart"])


def test_a_link_of_somebody_else_keeps_the_bridge(client):
    converge_now(BRIDGE, PLAIN)
    client()
    refuse(BRIDGE, {"name": NAME, "state": "stopped"}, f"in use by {PORT}, plugged in by somebody else")
    refuse(BRIDGE, {"name": NAME, "state": "absent"}, f"in use by {PORT}, plugged in by somebody else")


def test_a_bridge_is_started_and_stopped():
    converge_now(BRIDGE, PLAIN)
    check_run_again(BRIDGE, {"name": NAME, "state": "stopped"}, ["state"])
    assert NAME not in links()
    unchanged(BRIDGE, {"name": NAME})
    check_run_again(BRIDGE, {"name": NAME, "state": "started", "mtu": 1400}, ["mtu", "state"])
    assert (links()[NAME]["mtu"], address()) == (1400, ["10.213.0.1/24"])
    check_run_again(BRIDGE, {"name": NAME, "state": "stopped", "mtu": 1300}, ["mtu", "state"])
    assert NAME not in links()


def test_a_removed_bridge_leaves_nothing_behind():
    converge_now(BRIDGE, FULL)
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"}, ["state"])
    assert NAME not in links()
    assert NAME not in virsh("net-list", "--all", "--name").split()
    assert "10.213.0.0/24" not in run("nft", "list", "ruleset")
    assert record() == {}
    unchanged(BRIDGE, {"name": NAME, "state": "absent"})


@pytest.mark.usefixtures("no_other_bridge")
def test_forwarding_is_switched_off_with_the_last_bridge():
    FORWARDING.write_text("0\n")
    converge_now(BRIDGE, PLAIN)
    converge_now(BRIDGE, {"name": OTHER, "address": "10.213.1.1/24"})
    assert FORWARDING.read_text() == "1\n"
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "1\n"
    converge_now(BRIDGE, {"name": OTHER, "state": "absent"})
    assert FORWARDING.read_text() == "0\n"


def test_forwarding_is_remembered_before_a_start_and_given_back_after_a_removal(monkeypatch):
    seen: list[tuple[str, bool, bool]] = []

    def look(moment: str) -> t.Callable[..., None]:
        return lambda own, **families: seen.append((moment, NAME in links(), own.exists))

    monkeypatch.setattr(forwarding, "remember", look("remember"))
    monkeypatch.setattr(forwarding, "give_back", look("give back"))
    converge_now(BRIDGE, PLAIN)
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert seen == [("remember", False, True), ("give back", False, True)]


@pytest.mark.usefixtures("no_other_bridge")
def test_forwarding_stays_on_for_a_bridge_that_came_since():
    FORWARDING.write_text("0\n")
    converge_now(BRIDGE, PLAIN)
    run("ip", "link", "add", f"{PREFIX}-new", "type", "bridge")
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "1\n"


@pytest.mark.usefixtures("no_other_bridge")
def test_forwarding_stays_on_for_who_translates_addresses():
    FORWARDING.write_text("0\n")
    converge_now(BRIDGE, PLAIN)
    run(
        "nft",
        f"table ip {PREFIX} {{ chain out {{ type nat hook postrouting priority 100; oifname eth9 masquerade; }}; }}",
    )
    try:
        converge_now(BRIDGE, {"name": NAME, "state": "absent"})
        assert FORWARDING.read_text() == "1\n"
    finally:
        run("nft", "delete", "table", "ip", PREFIX)


def test_forwarding_that_was_on_before_stays_on():
    FORWARDING.write_text("1\n")
    converge_now(BRIDGE, PLAIN)
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "1\n"


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_restart_that_was_interrupted_is_ended(client, state):
    """The network is down and its ports hang loose, as after a crash between the two halves of a restart."""
    converge_now(BRIDGE, PLAIN)
    client()
    kept = {"made": True, "network": NAME, "schema": 1}
    Path(paths.record_path("bridges", NAME)).write_text(
        json.dumps({**kept, "replug": [{"link": PORT, "flags": {}}, {"link": f"{PREFIX}-gone", "flags": {}}]})
    )
    virsh("net-destroy", NAME)
    check_run_again(BRIDGE, {"name": NAME, "state": state}, ["state"])
    assert info()["Active"] == {"started": "yes", "stopped": "no"}[state]
    assert links()[PORT].get("master") == {"started": NAME, "stopped": None}[state]
    assert record() == kept


def test_a_link_that_found_another_bridge_stays_there(client):
    converge_now(BRIDGE, PLAIN)
    client()
    replug.plug_in(NAME, replug.remember(NAME))
    assert links()[PORT]["master"] == NAME
    remembered = replug.remember(NAME)
    run("ip", "link", "add", f"{PREFIX}-other", "type", "bridge")
    run("ip", "link", "set", PORT, "master", f"{PREFIX}-other")
    replug.plug_in(NAME, remembered)
    assert links()[PORT]["master"] == f"{PREFIX}-other"


def test_a_link_that_the_kernel_refuses_is_told_after_the_others_are_plugged_in(client):
    converge_now(BRIDGE, PLAIN)
    client()
    run("ip", "link", "set", PORT, "nomaster")
    with pytest.raises(CommandError, match="ip link set"):
        replug.plug_in(NAME, [{"link": "lo", "flags": {}}, {"link": PORT, "flags": {}}])
    assert links()[PORT]["master"] == NAME


@pytest.mark.parametrize("is_active", [True, False])
def test_a_network_made_by_hand_is_changed_in_place(is_active):
    define_by_hand(start=is_active)
    hand = f"{PREFIX}-hand"
    before = xml(hand, "--inactive")
    outcome = check_run_again(
        BRIDGE,
        {
            **PLAIN,
            "mode": "nat",
            "dhcp": {"start": "10.213.0.50", "end": "10.213.0.79", "hosts": [ALPHA]},
            "dns": {"domain": "new.internal", "hosts": [{"name": "gw", "ip": "10.213.0.1"}]},
        },
        ["mode", "dhcp.end", "dhcp.hosts[alpha]", "dns.domain", "dns.hosts[gw]"],
    )
    assert outcome.plan.unmanaged == ["dhcp.hosts[52:54:00:13:00:0c]", "dns.hosts[nas]"]
    after = xml(hand, "--inactive")
    for path in ("uuid", "bridge", "mac", "dns/txt", "ip/tftp"):
        old, new = before.find(path), after.find(path)
        assert old is not None and new is not None
        assert ElementTree.tostring(old).strip() == ElementTree.tostring(new).strip()
    assert hosts(hand, "--inactive") == {entry(ALPHA), (None, "52:54:00:13:00:0c", "10.213.0.12")}
    assert (info(hand)["Active"], info(hand)["Autostart"]) == ("yes" if is_active else "no", "no")
    assert record().get("made") is None


def test_dhcp_of_ipv6_by_hand_stays_as_it_is_beside_that_of_ipv4():
    define_by_hand(
        f"""<network><name>{PREFIX}-hand</name><bridge name='{NAME}'/>
        <ip family='ipv6' address='fd00:213::1' prefix='64'><dhcp><range start='fd00:213::64' end='fd00:213::c7'/></dhcp></ip>
        <ip address='10.213.0.1' prefix='24'/></network>"""
    )
    six = ("fd00:213::64", "fd00:213::c7")
    first = {"start": "10.213.0.100", "end": "10.213.0.199", "hosts": [ALPHA]}
    check_run_again(BRIDGE, {"name": NAME, "dhcp": first}, ["dhcp.start", "dhcp.end", "dhcp.hosts[alpha]"])
    assert ranges(f"{PREFIX}-hand") == [six, ("10.213.0.100", "10.213.0.199")]
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"start": "10.213.0.110", "end": "10.213.0.199"}}, ["dhcp.start"])
    check_run_again(BRIDGE, {"name": NAME, "dhcp": {"hosts": [{**ALPHA, "state": "absent"}]}}, ["dhcp.hosts[alpha]"])
    assert ranges(f"{PREFIX}-hand") == [six, ("10.213.0.110", "10.213.0.199")]
    assert ranges(f"{PREFIX}-hand") == ranges(f"{PREFIX}-hand", "--inactive")


def test_what_somebody_changed_in_the_running_network_is_repaired():
    converge_now(BRIDGE, FULL)
    virsh("net-update", NAME, "delete", "ip-dhcp-host", f"<host mac='{ALPHA['mac']}'/>", "--live")
    run("ip", "link", "set", NAME, "mtu", "1500")
    check_run_again(BRIDGE, FULL, ["dhcp.hosts[alpha]", "mtu"])
    assert (hosts(), links()[NAME]["mtu"]) == ({entry(ALPHA)}, 1400)


def test_a_bridge_that_vanished_under_libvirt_is_started_again():
    converge_now(BRIDGE, PLAIN)
    run("ip", "link", "del", NAME)
    check_run_again(BRIDGE, {**PLAIN, "state": "started"}, ["state"])
    assert address() == ["10.213.0.1/24"]


def test_a_failed_restart_brings_the_old_bridge_back(client):
    """Another network took the new subnet after the plan was made: libvirt refuses to start, and the ports must not be lost."""
    converge_now(BRIDGE, PLAIN)
    client()
    # A route to the same subnet is what libvirt refuses and what no address of a link shows.
    run("ip", "route", "add", "10.213.7.0/24", "dev", "lo")
    try:
        outcome = converge_now(BRIDGE, {"name": NAME, "address": "10.213.7.1/24"})
    finally:
        run("ip", "route", "del", "10.213.7.0/24", "dev", "lo")
    assert outcome.error is not None and "start the network" in outcome.error.message
    assert (address(), links()[PORT]["master"], info()["Active"]) == (["10.213.0.1/24"], NAME, "yes")
    assert "replug" not in record()
    unchanged(BRIDGE, PLAIN)


def test_what_cannot_be_made_is_refused():
    refuse(BRIDGE, {"name": NAME}, "address: is needed to make the bridge")
    refuse(BRIDGE, {**PLAIN, "stp": True}, "stp: a bridge with mode nat does not have it")
    run("ip", "link", "add", PORT, "type", "veth", "peer", "name", PEER)
    refuse(BRIDGE, {**PLAIN, "name": PORT}, f"this host has a link {PORT} already")
    run("ip", "addr", "add", "10.213.0.200/25", "dev", PORT)
    refuse(BRIDGE, PLAIN, f"overlaps with 10.213.0.128/25 of the link {PORT}")
    define_by_hand(BY_HAND.replace(f"{PREFIX}-hand", OTHER), start=False)
    refuse(BRIDGE, {**PLAIN, "name": OTHER}, f"libvirt has a network {OTHER} already")


def test_a_running_bridge_does_not_move_onto_another_subnet():
    converge_now(BRIDGE, FULL)
    converge_now(BRIDGE, {"name": OTHER, "address": "10.213.1.1/24"})
    refuse(BRIDGE, {"name": NAME, "address": "10.213.1.9/24", "unset": ["dhcp"]}, f"of the link {OTHER}")
    refuse(BRIDGE, {"name": NAME, "address": "10.213.2.1/24"}, "no address for a guest in 10.213.2.0/24")
    taken = {**BETA, "ip": ALPHA["ip"]}
    refuse(BRIDGE, {"name": NAME, "dhcp": {"hosts": [taken]}}, "10.213.0.10 is given to alpha already")


def test_creation_survives_every_kill():
    def verify(outcome: t.Any) -> None:
        assert (info()["Active"], info()["Autostart"], address()) == ("yes", "yes", ["10.213.0.1/24"])
        assert hosts() == {entry(ALPHA)}
        assert set(record()) - {"bridges_without_forwarding"} == {"made", "network", "schema"}
        eventually(lambda: answer("gw"), "10.213.0.1")

    survive_kills(BRIDGE, FULL, begin=clean, verify=verify, moments=3)


def test_a_restart_survives_every_kill(client):
    def begin() -> None:
        clean()
        converge_now(BRIDGE, FULL)
        client()

    def verify(outcome: t.Any) -> None:
        assert (links()[PORT]["master"], links()[NAME]["mtu"]) == (NAME, 1350)
        assert "replug" not in record()

    survive_kills(BRIDGE, {"name": NAME, "mtu": 1350, "dhcp": {"hosts": [BETA]}}, begin=begin, verify=verify, moments=3)


def test_removal_survives_every_kill():
    def begin() -> None:
        clean()
        converge_now(BRIDGE, FULL)

    def verify(outcome: t.Any) -> None:
        assert NAME not in links()
        assert NAME not in virsh("net-list", "--all", "--name").split()
        assert record() == {}

    survive_kills(BRIDGE, {"name": NAME, "state": "absent"}, begin=begin, verify=verify, moments=2)


def test_two_runs_at_once_make_one_bridge():
    first, second = at_once(BRIDGE, FULL, FULL)
    assert "msg" not in first
    assert "msg" not in second
    assert sorted([first["changed"], second["changed"]]) == [False, True]


HOSTILE = hostile_cases(ARGUMENTS, {**FULL, "state": "stopped"}, skip=["exact"])


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_text_is_refused_or_kept_to_the_letter(case: HostileCase):
    is_ours = case.params["name"].startswith(PREFIX)
    assert_harmless(BRIDGE, case, is_ours=lambda params: is_ours, remove=clean)


def test_the_names_of_guests_with_fixed_addresses_are_answered_without_writing_them_twice() -> None:
    hypervisor = {"inventory_hostname": "alpha", "hypervisor_bridges": [{**PLAIN, "dns": {"domain": "hlbr.internal"}}]}

    def inventory(kind: str, ip: str) -> dict[str, t.Any]:
        card = {"name": "lan", "bridge": NAME, "ip": ip}
        return {"guest_kind": kind, "guest_hypervisor": "alpha", "guest_spec": {"networks": [card]}}

    guests = {"web": inventory("container", "10.213.0.21/24"), "my_vm": inventory("vm", "10.213.0.22/24")}
    (options,) = host_options(hypervisor, "bridges", guests, {"alpha": hypervisor, **guests})
    check_run_again(BRIDGE, options)
    for name, ip in (
        ("web", "10.213.0.21"),
        ("web.hlbr.internal", "10.213.0.21"),
        ("my-vm.hlbr.internal", "10.213.0.22"),
    ):
        eventually(lambda name=name: answer(name), ip)
    guests["web"]["guest_spec"]["networks"][0]["ip"] = "10.213.0.23/24"
    guests["my_vm"]["guest_spec"]["networks"][0]["ip"] = "dhcp"
    (options,) = host_options(hypervisor, "bridges", guests, {"alpha": hypervisor, **guests})
    check_run_again(BRIDGE, options, ["dns.hosts[web].ip", "dns.hosts[my-vm]"])
    eventually(lambda: answer("web.hlbr.internal"), "10.213.0.23")
    eventually(lambda: answer("my-vm.hlbr.internal"), None)
