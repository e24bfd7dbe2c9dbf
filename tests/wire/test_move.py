# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one network card of a host becomes the port of a new bridge, which takes over what the card has: over that very card."""

from __future__ import annotations

import socket
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.machines import command
from ansible_collections.homelab.hybrid.tests.harness.wired_host import (
    ADDRESS,
    CARD,
    CONTROL,
    KINDS,
    MAC,
    WITH_DHCLIENT,
    WiredHost,
    inside,
)

BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports", "ports": [{"name": CARD}]}
SECOND, SIXTH = "10.219.1.10/24", "fd00:219::10/64"
# By the name of who keeps the network.
FIXED = {
    "networkd": {
        "10-lan.network": f"[Match]\nName={CARD}\n\n[Network]\n# the router's\nAddress={ADDRESS}/24\nAddress={SECOND}\nAddress={SIXTH}\n"
        f"Gateway={CONTROL}\n\n[Route]\nDestination=10.88.0.0/16\nGateway={CONTROL}\n"
    },
    "ifupdown": {
        "interfaces": f"auto lo\niface lo inet loopback\n\n# The primary network interface\nallow-hotplug {CARD}\nauto {CARD}\n"
        f"iface {CARD} inet static\n    # the router's\n    address {ADDRESS}/24\n    gateway {CONTROL}\n    dns-nameservers {CONTROL}\n"
        f"    up ip route add 10.88.0.0/16 via {CONTROL} dev $IFACE\n    up touch /run/up-$IFACE\n    down rm /run/up-$IFACE\n\n"
        f"iface {CARD} inet static\n    address {SECOND}\n\niface {CARD} inet6 static\n    address {SIXTH}\n"
    },
}
LEASED = {
    "networkd": {"80-ethernet.network": "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n"},
    "ifupdown": {
        "interfaces": f"auto lo\niface lo inet loopback\n\nauto {CARD}\nallow-hotplug {CARD}\niface {CARD} inet dhcp\n"
        f"# This is an autoconfigured IPv6 interface\niface {CARD} inet6 auto\n"
    },
}
LEASED["dhclient"] = LEASED["ifupdown"]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    try:
        yield WiredHost(tmp_path_factory.mktemp("control"), request.param)
    finally:
        wired_host.remove()


def scripts_of() -> str:
    """The links whose up lines ran, and whose down lines did not."""
    return inside("sh", "-c", "cd /run && echo up-*")


def test_a_card_with_fixed_addresses_becomes_a_port(host: WiredHost) -> None:
    host.build(FIXED[host.kind.name])
    before = wired_host.network()
    silent = host.task({**BRIDGE, "verify": ["10.219.0.98"], "confirm_timeout": 20})
    assert "verify: 10.219.0.98 does not answer" in silent["msg"]
    assert wired_host.network() == before and wired_host.leftovers() == []
    assert scripts_of() in (f"up-{CARD}", "up-*")
    result = host.task({**BRIDGE, "verify": [CONTROL]})
    assert result["changed"] and not result.get("failed"), result
    assert {it["how"] for it in result["plan"]} == {"confirmed"}
    assert result["bridge"]["address"] == f"{ADDRESS}/24"
    links = wired_host.network()["links"]
    assert links["vmbr0"] == (None, 1500, MAC, sorted([f"{ADDRESS}/24", SECOND, SIXTH]))
    assert links[CARD][0] == "vmbr0" and links[CARD][3] == []
    assert inside("ip", "route", "show", "10.88.0.0/16").startswith(f"10.88.0.0/16 via {CONTROL} dev vmbr0")
    file = {"networkd": "05-vmbr0.network"}.get(host.kind.name, "interfaces")
    assert "# the router's" in wired_host.network()["files"][file]
    assert scripts_of() in ("up-vmbr0", "up-*")
    assert not host.task(BRIDGE)["changed"]
    wired_host.plug_in_guest()
    # Nobody listens there, and it says so.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((wired_host.GUEST, 9), timeout=10)
    inside("systemctl", "reboot", check=False)
    wait_until("the host to go down", lambda: not host.is_reached(), timeout_seconds=60)
    host.wait_until_up()
    assert wired_host.network()["links"]["vmbr0"] == links["vmbr0"]


@pytest.mark.parametrize("host", (*KINDS, WITH_DHCLIENT), ids=lambda kind: kind.name, indirect=True)
def test_a_lease_goes_over_to_the_bridge_and_stays_the_same(host: WiredHost) -> None:
    host.build(LEASED[host.kind.name], dhcp=True)
    lease = host.lease()
    result = host.task(BRIDGE)
    assert result["changed"] and not result.get("failed"), result
    inside(*host.kind.renew)
    wait_until("the lease", lambda: host.lease() == lease, timeout_seconds=60)
    assert host.lease() == lease
    assert wired_host.network()["clients"] == ([] if host.kind is wired_host.NETWORKD else ["vmbr0"])
    assert wired_host.network()["links"]["vmbr0"][3] == [f"{host.address}/24"]
    if host.kind is wired_host.NETWORKD:
        text = LEASED["networkd"]["80-ethernet.network"].strip()
        assert wired_host.network()["files"]["80-ethernet.network"] == text
    assert not host.task(BRIDGE)["changed"]


def test_a_lease_that_does_not_come_is_taken_back(host: WiredHost) -> None:
    host.build(LEASED[host.kind.name], dhcp=True)
    before = wired_host.network()
    command("kill", wired_host.SERVER.read_text().strip())
    # The server removes it too, in its own time.
    wired_host.SERVER.unlink(missing_ok=True)
    result = host.task({**BRIDGE, "confirm_timeout": 20})
    assert result["failed"] and "as it was" in result["msg"], result
    assert wired_host.network() == before and wired_host.leftovers() == []
    assert host.is_reached()


def told(link: str) -> list[str]:
    """What the host gave itself there of the router's announcements."""
    return [it for it in wired_host.network()["links"][link][3] if it.startswith(wired_host.ANNOUNCED.rstrip(":"))]


def test_what_a_router_told_the_card_it_tells_the_bridge_also_while_the_host_forwards(host: WiredHost) -> None:
    # A static stanza of ifupdown has the kernel take no announcements.
    static = f"iface {CARD} inet6 static\n    address {SIXTH}\n"
    files = {name: text.replace(static, f"iface {CARD} inet6 auto\n") for name, text in FIXED[host.kind.name].items()}
    host.build(files)
    host.start_router()
    (before,) = wait_until("the card to be told", lambda: told(CARD), timeout_seconds=60)
    inside("sysctl", "-qw", f"net.ipv6.conf.{CARD}.accept_ra=2")
    inside("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    result = host.task({**BRIDGE, "verify": [CONTROL]})
    assert result["changed"] and not result.get("failed"), result.get("msg", "")
    assert wait_until("the bridge to be told", lambda: told("vmbr0"), timeout_seconds=60) == [before]
    # networkd takes the way out when the address is there for good.
    wait_until("its way out", lambda: "via fe80" in inside("ip", "-6", "route", "show", "default"), timeout_seconds=60)
    assert not host.task({**BRIDGE, "address6": "slaac"})["changed"]
    inside("systemctl", "reboot", check=False)
    wait_until("the host to go down", lambda: not host.is_reached(), timeout_seconds=60)
    wait_until("the host to come back", host.is_reached, timeout_seconds=180)
    inside("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    assert wait_until("the bridge to be told again", lambda: told("vmbr0"), timeout_seconds=60) == [before]


def test_a_bridge_that_no_router_tells_anything_is_taken_back(host: WiredHost) -> None:
    host.build(host.kind.bridge)
    before, listens = wired_host.network(), inside("sysctl", "net.ipv6.conf.vmbr0.accept_ra")
    result = host.task({"name": "vmbr0", "mode": "ports", "address6": "slaac", "confirm_timeout": 20})
    assert result["failed"] and "address6: no router announced a network on vmbr0" in result["msg"], result
    assert wired_host.network() == before and wired_host.leftovers() == []
    assert inside("sysctl", "net.ipv6.conf.vmbr0.accept_ra") == listens
    host.start_router()
    result = host.task({"name": "vmbr0", "mode": "ports", "address6": "slaac", "confirm_timeout": 60})
    assert result["changed"] and not result.get("failed"), result.get("msg", "")
    assert told("vmbr0")
    assert not host.task({"name": "vmbr0", "mode": "ports", "address6": "slaac"})["changed"]
