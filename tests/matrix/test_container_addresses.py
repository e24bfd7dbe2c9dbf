# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of containers: one that is taken once and kept, and none that somebody else on the bridge has. Proven with ip and LXC's files."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse

pytestmark = pytest.mark.usefixtures("container_host", "no_container")
BRIDGE, NETWORK = ct.LAN["bridge"], ipaddress.ip_network("10.91.7.0/24")
MAC = "02:00:00:91:07:01"
SPACE, LINK = f"{ct.PREFIX}nbr", f"{ct.PREFIX}nbr0"
TWO = "auto:10.91.7.20-10.91.7.21/24"


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
        yield lambda address: ip("-n", SPACE, "address", "add", address, "dev", "eth0")
    finally:
        ip("netns", "delete", SPACE, check=False)
        ip("link", "delete", LINK, check=False)


def card(address: str) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", "bridge": BRIDGE, "ip": address}]}


def address_of(name: str = ct.NAME) -> str:
    (line,) = [line for line in (ct.LXC / name / "config").read_text().splitlines() if ".ipv4.address" in line]
    return line.partition("=")[2].split()[0]


def recorded(name: str = ct.NAME) -> dict[str, str]:
    file = Path(paths.record_folder("guests")) / f"{name}.json"
    return t.cast("dict[str, str]", json.loads(file.read_text()).get("addresses", {}))


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


def test_a_declared_address_that_answers_is_refused_with_who_answers(neighbour: t.Callable[[str], None]) -> None:
    neighbour("10.91.7.40/24")
    words = f"networks[lan].ip: 10.91.7.40 answers on {BRIDGE} already, from {MAC}"
    refuse(ct.CONTAINER, {**ct.BASE, **card("10.91.7.40/24")}, words)
    ct.make(**card("10.91.7.41/24"))
    refuse(ct.CONTAINER, {"name": ct.NAME, **card("10.91.7.40/24")}, words)
    # Once it has its address nobody is asked any more: what comes later is no drift of the guest.
    neighbour("10.91.7.41/24")
    assert not converge_now(ct.CONTAINER, {"name": ct.NAME, **card("10.91.7.41/24")}).changed
