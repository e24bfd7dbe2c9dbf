# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can cut the connection to a host or its way out is refused in the plan, whatever these run through: each with real links
and routes in a network of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.host_networks import (
    INTERFACES,
    NETWORKD,
    network_of_a_host,
    remove_links,
    use_ifupdown,
    use_networkd,
)
from ansible_collections.homelab.hybrid.tests.harness.machines import command

PREFIX = "hlbl"
NAME, UPPER, OTHER, PORT, FREE = (f"{PREFIX}{word}" for word in ("0", "up", "1", "p1", "p2"))
PEER = f"{PREFIX}-peer"
BRIDGE = Bridge()
STANDS: dict[str, t.Any] = {"name": NAME, "mode": "ports", "ports": [{"name": PORT}], "address": "10.216.0.1/24"}
CONNECTION = "the connection to this host"
WAY_OUT = "the default route of this host"
NOT_SWITCHED = "What can cut it is refused where it cannot be taken back by itself"
OF_THE_BRIDGE: list[dict[str, t.Any]] = [
    {"address": "10.216.0.2/24"},
    {"mtu": 1400},
    {"ports": [{"name": PORT, "state": "absent"}]},
    {"state": "absent"},
]
OF_ITS_PORT = OF_THE_BRIDGE[1:]
# Where only the way that is found is another one.
SOME = [OF_THE_BRIDGE[0], OF_THE_BRIDGE[2]]


@pytest.fixture(scope="module", autouse=True)
def network() -> t.Iterator[None]:
    with network_of_a_host():
        yield


@pytest.fixture(params=["networkd", "ifupdown"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def bridge(network: None, request: pytest.FixtureRequest) -> t.Iterator[None]:
    name = request.getfixturevalue("backend") if "backend" in request.fixturenames else "networkd"
    {"networkd": use_networkd, "ifupdown": use_ifupdown}[name]()
    clean()
    command("ip", "netns", "add", PEER)
    for port in (PORT, FREE):
        command("ip", "link", "add", port, "type", "veth", "peer", "name", port, "netns", PEER)
    outcome = converge_now(BRIDGE, STANDS)
    assert outcome.error is None, outcome.error
    yield
    clean()


def clean() -> None:
    remove_links(PREFIX, PEER)
    for family in ("-4", "-6"):
        for table in ("77", "main"):
            command("ip", family, "route", "flush", "table", table, check=False)
    command("ip", "rule", "delete", "table", "77", check=False)
    for record in Path(paths.record_folder("bridges")).glob(f"{PREFIX}*"):
        record.unlink()
    for path in (*NETWORKD.glob(f"*{PREFIX}*"), *INTERFACES.parent.glob(f"interfaces.d/{PREFIX}*")):
        path.unlink()
    for path in Path("/run/network").glob("*ifstate*"):
        path.unlink()


def connect(monkeypatch: pytest.MonkeyPatch, own: str, peer: str = "192.0.2.9") -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{peer} 50000 {own} 22")


def refuse_all(cuts: t.Iterable[dict[str, t.Any]], saying: str) -> None:
    for cut in cuts:
        told = refuse(BRIDGE, {"name": NAME, **cut}, saying)
        assert NOT_SWITCHED in told


def route(*words: str) -> None:
    command("ip", "route", "add", *words)


def test_a_way_out_that_a_policy_has_is_not_cut(backend: str) -> None:
    route("default", "via", "10.216.0.254", "table", "77")
    refuse_all(OF_THE_BRIDGE, f"the bridge {NAME} carries {WAY_OUT}")
    assert converge_now(BRIDGE, {"name": NAME}).facts["bridge"]["gateway"] is None


def test_a_way_out_in_two_halves_is_not_cut() -> None:
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        route(half, "via", "10.216.0.254")
    refuse_all(SOME, f"the bridge {NAME} carries {WAY_OUT}")


def test_a_way_out_of_ipv6_in_a_table_of_its_own_is_not_cut() -> None:
    command("ip", "address", "add", "fd00:216::1/64", "dev", NAME, "nodad")
    command("ip", "-6", "route", "add", "default", "via", "fd00:216::fe", "table", "77")
    refuse_all(SOME, f"the bridge {NAME} carries {WAY_OUT}")


def test_answers_that_a_policy_sends_by_a_bridge_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "address", "add", "10.217.0.1/32", "dev", "lo")
    route("192.0.2.0/24", "via", "10.216.0.254", "table", "77")
    command("ip", "rule", "add", "from", "10.217.0.1", "table", "77")
    connect(monkeypatch, "10.217.0.1")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")
    command("ip", "address", "delete", "10.217.0.1/32", "dev", "lo")


def test_a_connection_of_ipv6_alone_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "address", "add", "fd00:216::1/64", "dev", NAME, "nodad")
    connect(monkeypatch, "fd00:216::1", "2001:db8::9")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (fd00:216::1)")
    command("ip", "address", "add", "fe80::216/64", "dev", NAME, "nodad")
    connect(monkeypatch, f"fe80::216%{NAME}", f"fe80::9%{NAME}")
    refuse_all(SOME, CONNECTION)


def test_what_a_port_carries_beside_its_bridge_is_not_cut(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "address", "add", "10.217.0.1/24", "dev", PORT)
    connect(monkeypatch, "10.217.0.1")
    refuse_all(OF_ITS_PORT, f"the port {PORT} carries {CONNECTION} (10.217.0.1)")
    monkeypatch.delenv("SSH_CONNECTION")
    route("default", "via", "10.217.0.254", "dev", PORT)
    refuse_all(OF_ITS_PORT[:1], f"the port {PORT} carries {WAY_OUT}")
    check_run_again(BRIDGE, {"name": NAME, "address": "10.216.0.2/24"}, ["address"])
    check_run_again(BRIDGE, {"name": NAME, "ports": [{"name": FREE}]}, [f"ports[{FREE}]"])
    check_run_again(BRIDGE, {"name": NAME, "ports": [{"name": FREE, "state": "absent"}]}, [f"ports[{FREE}]"])


def test_a_macvlan_on_a_bridge_that_has_the_connection_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "link", "add", "link", NAME, "name", UPPER, "type", "macvlan")
    command("ip", "address", "add", "10.217.0.1/24", "dev", UPPER)
    connect(monkeypatch, "10.217.0.1")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")


def test_a_pair_that_leads_into_a_bridge_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "link", "add", UPPER, "type", "veth", "peer", "name", f"{UPPER}2")
    command("ip", "link", "set", f"{UPPER}2", "master", NAME, "up")
    command("ip", "address", "add", "10.217.0.1/24", "dev", UPPER)
    connect(monkeypatch, "10.217.0.1")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")


def test_a_connection_by_a_guest_of_the_bridge_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "-n", PEER, "address", "add", "10.216.0.9/24", "dev", PORT)
    connect(monkeypatch, "10.216.0.1", "10.216.0.9")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.216.0.1)")


def test_the_outer_way_of_a_tunnel_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "link", "add", UPPER, "type", "vxlan", "id", "7", "remote", "10.216.0.9", "dstport", "4789")
    command("ip", "address", "add", "10.217.0.1/24", "dev", UPPER)
    connect(monkeypatch, "10.217.0.1", "10.217.0.9")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")
    command("ip", "link", "delete", UPPER)
    command("ip", "link", "add", UPPER, *"type vxlan id 7 group 239.1.1.1 dstport 4789 dev".split(), NAME)
    command("ip", "address", "add", "10.217.0.1/24", "dev", UPPER)
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")


def test_a_tunnel_of_a_program_may_go_by_each_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "tuntap", "add", UPPER, "mode", "tun")
    command("ip", "address", "add", "10.217.0.1/24", "dev", UPPER)
    connect(monkeypatch, "10.217.0.1", "10.217.0.9")
    refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.217.0.1)")


def test_a_task_in_the_background_knows_the_sessions_of_the_host() -> None:
    """sudo takes the variable off, and a task in the background has no session's process above it."""
    environ = {**os.environ, "SSH_CONNECTION": "192.0.2.9 50000 10.216.0.1 22"}
    session = subprocess.Popen([sys.executable, "-c", "input()"], env=environ, stdin=subprocess.PIPE)
    try:
        refuse_all(SOME, f"the bridge {NAME} carries {CONNECTION} (10.216.0.1)")
    finally:
        session.communicate(b"\n")
    check_run_again(BRIDGE, {"name": NAME, "mtu": 1400}, ["mtu"])


def test_a_bridge_that_comes_up_takes_no_port_that_is_used_otherwise(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge_now(BRIDGE, {"name": NAME, "gateway": "10.216.0.254"})
    command("ip", "link", "delete", NAME)
    command("ip", "address", "add", "10.216.0.1/24", "dev", PORT)
    command("ip", "link", "set", PORT, "up")
    connect(monkeypatch, "10.216.0.1")
    told = refuse(BRIDGE, {"name": NAME, "state": "started"}, f"ports[{PORT}]: {PORT} carries {CONNECTION}")
    assert NOT_SWITCHED in told
    monkeypatch.delenv("SSH_CONNECTION")
    command("ip", "address", "flush", "dev", PORT)
    command("ip", "address", "add", "10.217.0.1/24", "dev", FREE)
    command("ip", "link", "set", FREE, "up")
    route("default", "via", "10.217.0.254")
    told = refuse(BRIDGE, {"name": NAME, "state": "started"}, f"gateway: {WAY_OUT} goes through {FREE}")
    assert NOT_SWITCHED in told
    command("ip", "route", "delete", "default")
    check_run_again(BRIDGE, {"name": NAME, "state": "started"}, ["state"])


def test_a_lease_beside_another_way_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "address", "add", "10.217.0.1/24", "dev", FREE)
    command("ip", "link", "set", FREE, "up")
    route("default", "via", "10.217.0.254")
    told = refuse(BRIDGE, {"name": NAME, "address": "dhcp"}, f"address: {WAY_OUT} goes through {FREE}")
    assert NOT_SWITCHED in told


def test_a_subnet_that_holds_the_control_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    command("ip", "address", "add", "10.217.0.1/24", "dev", FREE)
    command("ip", "link", "set", FREE, "up")
    route("default", "via", "10.217.0.254")
    connect(monkeypatch, "10.217.0.1", "10.218.0.9")
    new = {"name": OTHER, "mode": "ports", "address": "10.218.0.1/24"}
    for params in ({"name": NAME, "address": "10.218.0.1/24"}, new):
        told = refuse(
            BRIDGE, params, "address: the subnet 10.218.0.0/24 holds 10.218.0.9, from where this host is reached"
        )
        assert NOT_SWITCHED in told
