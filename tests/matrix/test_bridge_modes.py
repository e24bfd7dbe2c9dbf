# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests reach on a bridge of each mode that libvirt carries, proven with connections between network namespaces."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import forwarding
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import command, virsh

PREFIX = "hlbm"
NAME = f"{PREFIX}0"
# A guest on the bridge, and a machine of the network beyond the host that knows the way back to the bridge.
GUEST, OUTSIDE = f"{PREFIX}-guest", f"{PREFIX}-outside"
GUEST_PORT, OUTSIDE_PORT = f"{PREFIX}-g", f"{PREFIX}-o"
BRIDGE_ADDRESS, GUEST_ADDRESS = "10.213.8.1", "10.213.8.10"
HOST_ADDRESS, OUTSIDE_ADDRESS = "10.213.9.1", "10.213.9.2"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE = Bridge()
PLAIN: dict[str, t.Any] = {"name": NAME, "address": f"{BRIDGE_ADDRESS}/24"}
LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 4711))
server.settimeout(4)
print("listening", flush=True)
print(server.accept()[1][0], flush=True)
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 4711), timeout=2)"


@pytest.fixture(autouse=True)
def network() -> t.Iterator[None]:
    clean()
    forwarding = FORWARDING.read_text()
    for space, link, address, gateway in (
        (GUEST, GUEST_PORT, GUEST_ADDRESS, BRIDGE_ADDRESS),
        (OUTSIDE, OUTSIDE_PORT, OUTSIDE_ADDRESS, HOST_ADDRESS),
    ):
        command("ip", "netns", "add", space)
        command("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        command("ip", "link", "set", link, "up")
        command("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        command("ip", "-n", space, "link", "set", "eth0", "up")
        command("ip", "-n", space, "route", "add", "default", "via", gateway)
    command("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", OUTSIDE_PORT)
    yield
    clean()
    if not other_bridges():
        FORWARDING.write_text(forwarding)


def clean() -> None:
    if NAME in virsh("net-list", "--all", "--name").split():
        virsh("net-destroy", NAME, check=False)
        virsh("net-undefine", NAME, check=False)
    for link in (GUEST_PORT, OUTSIDE_PORT, NAME):
        command("ip", "link", "delete", link, check=False)
    for space in (GUEST, OUTSIDE):
        command("ip", "netns", "delete", space, check=False)
    Path(paths.record_path("bridges", NAME)).unlink(missing_ok=True)


def links() -> dict[str, dict[str, t.Any]]:
    return {link["ifname"]: link for link in json.loads(command("ip", "-j", "-d", "addr"))}


def other_bridges() -> list[str]:
    return [name for name in links() if (Path("/sys/class/net") / name / "bridge").is_dir() and name != NAME]


def plug_in() -> None:
    command("ip", "link", "set", GUEST_PORT, "master", NAME)


def wait_until_forwarding() -> None:
    """A port of a bridge with spanning tree listens for a moment before it forwards."""
    state = Path(f"/sys/class/net/{GUEST_PORT}/brport/state")
    for dummy in range(400):
        if state.read_text() == "3\n":
            return
        time.sleep(0.1)
    raise AssertionError(f"the port {GUEST_PORT} does not forward")


def seen(source: str, target: str, address: str) -> str | None:
    """As whom *target* sees a connection from *source* to its *address*; ``None`` when there is none."""
    wait_until_forwarding()
    argv = ["ip", "netns", "exec", target, sys.executable, "-c", LISTEN, address]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        with contextlib.suppress(AssertionError):
            command("ip", "netns", "exec", source, sys.executable, "-c", CONNECT, address)
        return server.stdout.readline().strip() or None


# Which mode it is, as whom the guest is seen outside, and as whom an outsider is seen by the guest.
SEEN = {
    "nat": (HOST_ADDRESS, None),
    "routed": (GUEST_ADDRESS, OUTSIDE_ADDRESS),
    "isolated": (None, None),
}


@pytest.mark.parametrize(("before", "after"), [("nat", "routed"), ("routed", "isolated"), ("isolated", "nat")])
def test_guests_reach_what_the_mode_lets_them_reach_also_after_a_change(before, after):
    check_run_again(BRIDGE, {**PLAIN, "mode": before}, ["state", "mode", "address", "autostart"])
    plug_in()
    reached = [(seen(GUEST, OUTSIDE, OUTSIDE_ADDRESS), seen(OUTSIDE, GUEST, GUEST_ADDRESS))]
    outcome = check_run_again(BRIDGE, {"name": NAME, "mode": after}, ["mode"])
    assert [change.how.value for change in outcome.plan.changes] == ["restart"]
    reached.append((seen(GUEST, OUTSIDE, OUTSIDE_ADDRESS), seen(OUTSIDE, GUEST, GUEST_ADDRESS)))
    assert reached == [SEEN[before], SEEN[after]]
    assert links()[GUEST_PORT]["master"] == NAME
    assert outcome.facts["bridge"]["mode"] == after


def test_a_stopped_bridge_gets_another_mode():
    converge_now(BRIDGE, {**PLAIN, "state": "stopped"})
    check_run_again(BRIDGE, {"name": NAME, "mode": "routed"}, ["mode"])
    assert "<forward mode='route'/>" in virsh("net-dumpxml", NAME)
    assert NAME not in links()


def test_an_isolated_bridge_does_without_an_address():
    check_run_again(BRIDGE, {"name": NAME, "mode": "isolated"}, ["state", "mode", "autostart"])
    plug_in()
    assert [it for it in links()[NAME]["addr_info"] if it["family"] == "inet"] == []
    check_run_again(BRIDGE, PLAIN, ["address"])
    assert [it["local"] for it in links()[NAME]["addr_info"] if it["family"] == "inet"] == [BRIDGE_ADDRESS]
    check_run_again(BRIDGE, {"name": NAME, "unset": ["address"]}, ["address"])
    assert [it for it in links()[NAME]["addr_info"] if it["family"] == "inet"] == []
    assert links()[GUEST_PORT]["master"] == NAME


def test_an_isolated_bridge_asks_the_forwarders_that_it_is_given_and_nobody_else():
    converge_now(BRIDGE, {**PLAIN, "mode": "isolated"})
    file = Path(f"/var/lib/libvirt/dnsmasq/{NAME}.conf")
    assert [line for line in file.read_text().splitlines() if line.startswith(("server=", "no-resolv"))] == [
        "no-resolv"
    ]
    check_run_again(BRIDGE, {"name": NAME, "dns": {"forwarders": ["127.0.0.1"]}}, ["dns.forwarders"])
    assert "server=127.0.0.1" in file.read_text().splitlines()
    assert "no-resolv" in file.read_text().splitlines()


def test_an_isolated_bridge_leaves_forwarding_as_it_is():
    if other_bridges():
        pytest.skip(f"another bridge is on this host: {other_bridges()}")
    FORWARDING.write_text("0\n")
    converge_now(BRIDGE, {**PLAIN, "mode": "isolated"})
    assert FORWARDING.read_text() == "0\n"
    # What somebody else switches on since then is not ours to switch off.
    FORWARDING.write_text("1\n")
    converge_now(BRIDGE, {"name": NAME, "state": "absent"})
    assert FORWARDING.read_text() == "1\n"


def test_forwarding_is_remembered_for_a_bridge_that_needs_it(monkeypatch):
    remembered: list[str] = []
    monkeypatch.setattr(forwarding, "remember", lambda own, **families: remembered.append(own.name))
    converge_now(BRIDGE, {**PLAIN, "mode": "isolated"})
    assert remembered == []
    converge_now(BRIDGE, {**PLAIN, "mode": "routed"})
    assert remembered == [NAME]


def test_what_a_mode_needs_is_asked_for():
    refuse(BRIDGE, {"name": NAME, "mode": "routed"}, "address: is needed to make the bridge")
    refuse(
        BRIDGE,
        {"name": NAME, "mode": "isolated", "dns": {"domain": "a.internal"}},
        "dns: needs an address of the bridge",
    )
    converge_now(BRIDGE, {**PLAIN, "mode": "routed"})
    refuse(BRIDGE, {"name": NAME, "unset": ["address"]}, "address: is needed with mode routed")
    unchanged(BRIDGE, {**PLAIN, "mode": "routed"})


def test_a_bridge_that_libvirt_carries_is_not_taken_away_as_one_with_ports():
    converge_now(BRIDGE, PLAIN)
    refuse(BRIDGE, {"name": NAME, "mode": "ports", "state": "absent"}, f"is carried by the libvirt network {NAME}")
    check_run_again(BRIDGE, {"name": NAME, "state": "absent"}, ["state"])
