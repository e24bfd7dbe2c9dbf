# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose firewall is in the way of guests: ufw and firewalld themselves, and rules as dockerd makes them, in a network of the test's own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._host.firewall import read_obstacles
from ansible_collections.homelab.hybrid.tests.harness.host_networks import unpack
from ansible_collections.homelab.hybrid.tests.harness.own_network import own_network

BRIDGE, GUEST = "hlfwbr0", "hlfw-guest"
HOST, PORT = "10.91.66.1", 5353
# dockerd's rules with its backend iptables (moby 28, daemon/libnetwork/drivers/bridge/setup_ip_tables.go).
DOCKER = (
    "-N DOCKER",
    "-N DOCKER-FORWARD",
    "-N DOCKER-USER",
    "-P FORWARD DROP",
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -j DOCKER-FORWARD",
    "-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A DOCKER-FORWARD -i docker0 -j ACCEPT",
)


# The same with its backend nftables (moby 29, daemon/libnetwork/drivers/bridge/internal/nftabler): it touches its own bridges alone.
DOCKER_NFT = """
table ip docker-bridges {
    map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 } }
    map filter-forward-out-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-out__docker0 } }
    chain filter-FORWARD {
        type filter hook forward priority filter; policy accept;
        oifname vmap @filter-forward-in-jumps
        iifname vmap @filter-forward-out-jumps
    }
    chain filter-forward-in__docker0 {
        ct state established,related counter accept
        iifname "docker0" counter accept
        counter drop comment "UNPUBLISHED PORT DROP"
    }
    chain filter-forward-out__docker0 {
        ct state established,related counter accept
        counter accept
    }
}
"""
FIREWALLD = ("firewalld", "python3-firewall", "python3-nftables")
BUS = Path("/run/network/bus")


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def network() -> t.Iterator[None]:
    """A network of the test's own with a bridge of guests and one of Docker, and a guest on the first that answers nothing."""
    for package in ("ufw", *FIREWALLD):
        unpack(package)  # no mirror can be reached from there
    try:
        with own_network():
            run("ip", "netns", "add", GUEST)
            for bridge in (BRIDGE, "docker0"):
                run("ip", "link", "add", bridge, "type", "bridge")
                run("ip", "link", "set", bridge, "up")
            run("ip", "address", "add", f"{HOST}/24", "dev", BRIDGE)
            run("ip", "link", "add", "hlfw0", "master", BRIDGE, "type", "veth", "peer", "name", "eth0", "netns", GUEST)
            run("ip", "link", "set", "hlfw0", "up")
            run("ip", "-n", GUEST, "address", "add", "10.91.66.2/24", "dev", "eth0")
            run("ip", "-n", GUEST, "link", "set", "eth0", "up")
            yield
    finally:
        subprocess.run(["ip", "netns", "delete", GUEST], check=False, capture_output=True)


def reaches_the_host() -> bool:
    """Whether a datagram of the guest arrives: those that netfilter drops are not there when its sender has sent it."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as host:
        host.bind((HOST, PORT))
        host.settimeout(1)
        send = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ({HOST!r}, {PORT}))"
        run("ip", "netns", "exec", GUEST, "/usr/bin/python3", "-c", send)
        try:
            return host.recv(100) == b"hello"
        except TimeoutError:
            return False


def install_ufw() -> None:
    """Over this network's own /usr and /etc alone, with the rules that its postinst puts into place."""
    unpacked = unpack("ufw")
    for source, target in (("usr", "/usr"), ("lib", "/usr/lib"), ("etc", "/etc")):
        if (unpacked / source).is_dir():
            run("cp", "-a", f"{unpacked / source}/.", target)
    Path("/etc/ufw").mkdir(exist_ok=True)
    for path in [*Path("/usr/share/ufw/iptables").glob("*.rules"), Path("/usr/share/ufw/ufw.conf")]:
        run("cp", str(path), "/etc/ufw")


@contextlib.contextmanager
def firewalld() -> t.Iterator[None]:
    """firewalld itself, with a bus of its own."""
    for package in FIREWALLD:
        for source, target in (("usr", "/usr"), ("lib", "/usr/lib"), ("etc", "/etc")):
            if (unpack(package) / source).is_dir():
                run("cp", "-a", f"{unpack(package) / source}/.", target)
    address = f"unix:path={BUS}"
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        for argv, is_up in (
            (["dbus-daemon", "--system", "--nofork", "--nopidfile", f"--address={address}"], BUS.exists),
            (["/usr/bin/python3", "/usr/sbin/firewalld", "--nofork", "--nopid"], firewalld_answers),
        ):
            daemon = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            stack.callback(daemon.terminate)
            wait_until(argv[0], is_up, timeout_seconds=300)
        yield


def firewalld_answers() -> bool:
    return subprocess.run(["firewall-cmd", "--state"], check=False, capture_output=True).returncode == 0


def firewall_cmd(*argv: str) -> None:
    """Ask until it is done: the client waits 25 s for an answer (libdbus), however long a busy host takes to load the rules."""
    wait_until(
        f"firewall-cmd {argv}",
        lambda: subprocess.run(["firewall-cmd", *argv], check=False, capture_output=True).returncode == 0,
        timeout_seconds=300,
    )


needs_a_bus = pytest.mark.skipif(
    subprocess.run(["/usr/bin/python3", "-c", "import dbus, gi"], check=False, capture_output=True).returncode != 0
    or shutil.which("dbus-daemon") is None,
    reason="needs dbus, python3-dbus and python3-gi",
)


@pytest.mark.usefixtures("network")
class TestFirewall:
    def test_without_one_nothing_is_in_the_way(self) -> None:
        assert read_obstacles() == [] and reaches_the_host()

    def test_ufw_is_named_until_it_lets_the_bridge_through(self) -> None:
        install_ufw()
        run("ufw", "--force", "enable")
        told = read_obstacles()
        assert [sentence.partition(" (")[0] for sentence in sorted(told)] == [
            "ufw drops what guests ask of the host",
            "ufw drops what is forwarded",
        ]
        assert all(f"each bridge of guests ({BRIDGE}): ufw allow in on BRIDGE" in sentence for sentence in told)
        assert not reaches_the_host()
        run("ufw", "allow", "in", "on", BRIDGE)
        run("ufw", "route", "allow", "in", "on", BRIDGE)
        assert read_obstacles() == [] and reaches_the_host()

    def test_docker_is_named_until_it_lets_the_bridge_through_also_where_a_ufw_was(self) -> None:
        install_ufw()
        run("ufw", "--force", "enable")
        run("ufw", "--force", "disable")
        for words in DOCKER:
            run("iptables", *words.split())
        (told,) = read_obstacles()
        assert told.startswith("Docker drops what is forwarded") and f"({BRIDGE})" in told
        run("iptables", "-I", "DOCKER-USER", "-i", BRIDGE, "-j", "ACCEPT")
        assert read_obstacles() == []

    @needs_a_bus
    def test_firewalld_is_named_until_the_bridge_is_in_a_zone_that_lets_it_through(self) -> None:
        with firewalld():
            (told,) = read_obstacles()
            assert told.startswith("firewalld rejects what no zone lets through. Put each bridge of guests")
            assert f"({BRIDGE}) into a zone" in told and not reaches_the_host()
            firewall_cmd("--zone=home", f"--add-interface={BRIDGE}")
            assert read_obstacles() == [told] and not reaches_the_host()
            firewall_cmd("--permanent", "--zone=trusted", f"--add-interface={BRIDGE}")
            firewall_cmd("--reload")
            assert read_obstacles() == [] and reaches_the_host()
            firewall_cmd("--zone=trusted", f"--remove-interface={BRIDGE}")
            assert read_obstacles() == [told]
            firewall_cmd("--set-default-zone=trusted")
            assert read_obstacles() == [] and reaches_the_host()

    def test_docker_with_nftables_is_in_nobodys_way(self, tmp_path: Path) -> None:
        rules = tmp_path / "docker.nft"
        rules.write_text(DOCKER_NFT, encoding="utf-8")
        run("nft", "-f", str(rules))
        assert read_obstacles() == [] and reaches_the_host()

    def test_a_chain_whose_last_rule_drops_all_is_named_until_it_lets_the_bridge_through(self) -> None:
        run("nft", "add table inet mine")
        run("nft", "add chain inet mine in { type filter hook input priority 0; policy accept; }")
        run("nft", "add rule inet mine in iifname lo accept")
        run("nft", "add rule inet mine in counter drop")
        (told,) = read_obstacles()
        assert told.startswith("the chain inet mine in drops what guests ask of the host") and not reaches_the_host()
        run("nft", "insert rule inet mine in iifname", BRIDGE, "accept")
        assert read_obstacles() == [] and reaches_the_host()
