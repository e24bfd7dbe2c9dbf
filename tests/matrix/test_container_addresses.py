# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of containers: one that is taken once and kept, and none that somebody else on the bridge has. Proven with ip and LXC's files."""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import json
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse

pytestmark = pytest.mark.usefixtures("container_host", "no_container")
BRIDGE, NETWORK = ct.LAN["bridge"], ipaddress.ip_network("10.91.7.0/24")
MAC = "02:00:00:91:07:01"
SPACE, LINK = f"{ct.PREFIX}nbr", f"{ct.PREFIX}nbr0"
TWO = "auto:10.91.7.20-10.91.7.21/24"
TWO6 = "auto:fd00:91:7::20-fd00:91:7::21/64"


def ip(*argv: str, check: bool = True) -> None:
    subprocess.run(["ip", *argv], check=check, capture_output=not check)


@pytest.fixture
def neighbour() -> t.Iterator[t.Callable[[str], None]]:
    """A machine on the bridge that no record and no lease knows of. Gives it one more address."""
    try:
        ip("netns", "add", SPACE)
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", SPACE)
        ip("link", "set", LINK, "master", BRIDGE, "up")
        ip("-n", SPACE, "link", "set", "eth0", "up")
        yield lambda address: ip(
            "-n", SPACE, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else [])
        )
    finally:
        ip("netns", "delete", SPACE, check=False)
        ip("link", "delete", LINK, check=False)


def card(address: str, **keys: str) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", "bridge": BRIDGE, "ip": address, **keys}]}


def address_of(name: str = ct.NAME, version: int = 4) -> str:
    lines = (ct.LXC / name / "config").read_text().splitlines()
    (line,) = [line for line in lines if f".ipv{version}.address" in line]
    return line.partition("=")[2].split()[0]


def recorded(name: str = ct.NAME, area: str = "addresses") -> dict[str, str]:
    file = Path(paths.record_folder("guests")) / f"{name}.json"
    return t.cast("dict[str, str]", json.loads(file.read_text()).get(area, {}))


def test_an_address_is_taken_once_and_kept() -> None:
    outcome = check_run_again(ct.CONTAINER, {**ct.BASE, **card("auto")})
    address = address_of()
    assert ipaddress.ip_interface(address).network == NETWORK and address != "10.91.7.1/24"
    assert recorded() == {"lan": address}
    assert f"a free address on {BRIDGE}" in outcome.plan.assumed
    assert f"inet {address}" in ct.inside("ip", "-4", "address", "show", "eth0")
    # Another that may be taken is no reason to move while it is of the same network; another address is, and it is free again.
    assert not converge_now(ct.CONTAINER, {**ct.BASE, **card(TWO)}).changed
    both = {**card(TWO)["networks"][0], "ip6": "fd00:91:7::10/64"}
    check_run_again(ct.CONTAINER, {**ct.BASE, "networks": [both]}, ["networks[lan].ip6"])
    assert address_of() == address
    check_run_again(ct.CONTAINER, {**ct.BASE, **card("10.91.7.30/24")}, ["networks[lan].ip"])
    assert address_of() == "10.91.7.30/24" and recorded() == {}


def test_an_offer_without_an_address_for_a_machine_is_refused_unless_the_card_has_one() -> None:
    none = "auto:10.91.7.0-10.91.7.0/24"
    refuse(
        ct.CONTAINER,
        {**ct.BASE, **card(none)},
        f"networks[lan].ip: no address of 10.91.7.0/24 that may be taken on {BRIDGE} is free",
    )
    ct.make(**card(TWO))
    assert not converge_now(ct.CONTAINER, {**ct.BASE, **card(none)}).changed


def test_an_address_that_somebody_has_is_not_taken(neighbour: t.Callable[[str], None]) -> None:
    neighbour("10.91.7.20/24")
    ct.make(**card(TWO))
    assert address_of() == "10.91.7.21/24"
    # Nothing is left: one answers, the other is in the record and the configuration of a guest that does not run.
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"})
    outcome = converge_now(ct.CONTAINER, {**ct.BASE, "name": f"{ct.NAME}2", **card(TWO)})
    assert outcome.error is not None
    assert "networks[lan].ip: no address of 10.91.7.0/24 that may be taken" in outcome.error.message
    assert not (ct.LXC / f"{ct.NAME}2").exists()


def test_all_that_a_layout_gives_is_asked_for_once(neighbour: t.Callable[[str], None]) -> None:
    neighbour("10.91.7.60/24")
    guests = [{**ct.BASE, **card(f"10.91.7.{61 + number}/24"), "name": f"{ct.NAME}{number}"} for number in range(3)]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as heard:
        # What the bridge sends out of a port hears only who listens to all protocols.
        heard.bind((LINK, 0x0003))
        heard.setblocking(False)
        outcome = converge_layout({"containers": guests, "parallel": 2}, dry_run=False)
        assert outcome.error is None, outcome.error
        asked: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while frame := heard.recv(64):
                # A question from no address; three times, as RFC 5227 wants it.
                if frame[12:14] == b"\x08\x06" and frame[28:32] == bytes(4):
                    asked.append(socket.inet_ntoa(frame[38:42]))
    assert collections.Counter(asked) == {f"10.91.7.{61 + number}": 3 for number in range(3)}


def test_a_declared_address_that_answers_is_refused_with_who_answers(neighbour: t.Callable[[str], None]) -> None:
    neighbour("10.91.7.40/24")
    words = f"networks[lan].ip: 10.91.7.40 answers on {BRIDGE} already, from {MAC}"
    refuse(ct.CONTAINER, {**ct.BASE, **card("10.91.7.40/24")}, words)
    ct.make(**card("10.91.7.41/24"))
    refuse(ct.CONTAINER, {"name": ct.NAME, **card("10.91.7.40/24")}, words)
    # Once it has its address nobody is asked any more: what comes later is no drift of the guest.
    neighbour("10.91.7.41/24")
    assert not converge_now(ct.CONTAINER, {"name": ct.NAME, **card("10.91.7.41/24")}).changed


def test_an_address_of_ipv6_is_taken_once_beside_that_of_ipv4_and_kept() -> None:
    outcome = check_run_again(ct.CONTAINER, {**ct.BASE, **card("auto", ip6=TWO6)})
    address = address_of(version=6)
    assert address in ("fd00:91:7::20/64", "fd00:91:7::21/64")
    assert recorded(area="addresses6") == {"lan": address} and recorded() == {"lan": address_of()}
    assert f"a free IPv6 address on {BRIDGE}" in outcome.plan.assumed
    assert f"inet6 {address}" in ct.inside("ip", "-6", "address", "show", "eth0")
    # A bridge without IPv6 offers nothing by itself, and what has been taken stays.
    assert not converge_now(ct.CONTAINER, {**ct.BASE, **card("auto", ip6="auto")}).changed
    check_run_again(ct.CONTAINER, {**ct.BASE, **card("auto", ip6="slaac")}, ["networks[lan].ip6"])
    assert recorded(area="addresses6") == {} and recorded() == {"lan": address_of()}
    check_run_again(ct.CONTAINER, {**ct.BASE, **card("auto", ip6=TWO6)}, ["networks[lan].ip6"])
    assert address_of(version=6) == address


def test_a_bridge_offers_its_own_network_of_ipv6_and_none_without_one() -> None:
    words = f"networks[lan].ip6: {BRIDGE} has no IPv6 address that would tell the network. Write what may be taken"
    refuse(ct.CONTAINER, {**ct.BASE, **card("10.91.7.50/24", ip6="auto")}, words)
    ip("address", "add", "fd00:91:8::1/64", "dev", BRIDGE, "nodad")
    try:
        ct.make(**card("10.91.7.50/24", ip6="auto"))
    finally:
        ip("address", "delete", "fd00:91:8::1/64", "dev", BRIDGE)
    assert ipaddress.ip_interface(address_of(version=6)).network == ipaddress.ip_network("fd00:91:8::/64")


def test_an_address_of_ipv6_that_somebody_has_is_neither_taken_nor_given(neighbour: t.Callable[[str], None]) -> None:
    neighbour("fd00:91:7::20/64")
    refuse(
        ct.CONTAINER,
        {**ct.BASE, **card("10.91.7.50/24", ip6="fd00:91:7::20/64")},
        f"networks[lan].ip6: fd00:91:7::20 answers on {BRIDGE} already, from {MAC}",
    )
    ct.make(**card("10.91.7.50/24", ip6=TWO6))
    assert address_of(version=6) == "fd00:91:7::21/64"


def test_the_only_address_of_a_guest_may_be_taken_of_a_network_of_ipv6() -> None:
    check_run_again(ct.CONTAINER, {**ct.BASE, **card(TWO6)})
    assert recorded() == {"lan": address_of(version=6)}
