# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole host in one task, its one card and what carries the connection among it: switched and confirmed before all else."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.wired_host import ADDRESS, CARD, CONTROL, MAC, WiredHost, inside

UPLINK: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports", "ports": [CARD]}
LAB = {"name": "lab0", "mode": "ports", "ports": []}
FIXED = {"10-lan.network": f"[Match]\nName={CARD}\n\n[Network]\nAddress={ADDRESS}/24\nGateway={CONTROL}\n"}


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    try:
        built = WiredHost(tmp_path_factory.mktemp("control"))
        built.build(FIXED)
        yield built
    finally:
        wired_host.remove()


def test_the_card_of_a_host_is_switched_before_all_else_of_its_layout(host: WiredHost) -> None:
    before = wired_host.network()
    layout = {"bridges": [LAB, UPLINK]}
    checked = host.task(layout, "--check", module="layout")
    assert {it["how"] for it in checked["plan"] if it["path"].startswith("bridges[vmbr0]")} == {"confirmed"}, checked
    assert wired_host.network() == before and host.state() == {}
    silent = {**UPLINK, "verify": ["10.219.0.98"], "confirm_timeout": 20}
    refused = host.task({"bridges": [LAB, silent]}, module="layout")
    assert refused["failed"] and not refused["changed"], refused
    assert "bridges[vmbr0]: the change was taken back" in refused["msg"] and "10.219.0.98" in refused["msg"]
    told = {it["name"]: (it["failed"], "skipped" in it) for it in refused["resources"]}
    assert told == {"lab0": (False, True), "vmbr0": (True, False)}
    assert wired_host.network() == before and wired_host.leftovers() == []
    told = host.task({}, module="host_info")["host"]["switch"]
    assert (told["state"], told["bridge"]) == ("rolled_back", "vmbr0") and "10.219.0.98" in told["reason"]
    result = host.task(layout, module="layout")
    assert result["changed"] and not result["failed"], result
    assert all(it["done"] for it in result["plan"])
    assert {it["name"]: it["changed"] for it in result["resources"]} == {"lab0": True, "vmbr0": True}
    links = wired_host.network()["links"]
    assert links["vmbr0"][2:] == (MAC, [f"{ADDRESS}/24"]) and links[CARD][0] == "vmbr0" and "lab0" in links
    again = host.task(layout, module="layout")
    assert not again["changed"] and not again["failed"], again
    assert inside("ip", "route", "show", "default").startswith(f"default via {CONTROL} dev vmbr0")
