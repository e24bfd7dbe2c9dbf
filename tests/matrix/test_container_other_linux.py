# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of another Linux than Debian: no bash, no Python, no systemd. Made of an image of their own, addressed and entered."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.tests.harness import alpine_root
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, unchanged

IMAGE = f"{ct.PREFIX}-alpine"
NAT = f"{ct.PREFIX}nat0"
GUEST: dict[str, t.Any] = {**ct.BASE, "image": IMAGE, "hostname": "alpine.example.org", "networks": [ct.LAN]}

pytestmark = pytest.mark.usefixtures("no_container")


@pytest.fixture(scope="module", autouse=True)
def _host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    ct.set_up()
    archive = tmp_path_factory.mktemp("alpine") / "rootfs.tar.xz"
    alpine_root.build(archive)
    made = converge_now(Image(), {"name": IMAGE, "kind": "container", "path": str(archive)})
    assert made.error is None, made.error
    yield
    converge_now(Bridge(), {"name": NAT, "state": "absent"})
    converge_now(Image(), {"name": IMAGE, "state": "absent"})
    ct.tear_down()


def addresses() -> list[str]:
    told = ct.network("-o", "-4", "addr", "show", "dev", "eth0")
    return [line.split()[3] for line in told.splitlines()]


def test_a_guest_has_the_declared_address_alone_and_is_entered():
    check_run_again(ct.CONTAINER, {**GUEST, "wait_for": ["ip"]})
    assert addresses() == ["10.91.7.10/24"]
    assert "default via 10.91.7.1" in ct.network("route")
    assert ct.inside("/bin/sh", "-c", "cat /etc/alpine-release; hostname") == "3.22.0\nalpine.example.org"
    assert "127.0.1.1 alpine.example.org alpine" in ct.inside("cat", "/etc/hosts")
    assert not Path(ct.rootfs(), "bin/bash").exists()


def test_its_address_changes_and_it_ends_when_it_is_asked_to():
    converge_now(ct.CONTAINER, GUEST)
    moved = {
        **GUEST,
        "networks": [{**ct.LAN, "ip": "10.91.7.11/24"}],
        "restart_policy": "if_needed",
        "shutdown_timeout": 20,
    }
    check_run_again(ct.CONTAINER, moved)
    assert addresses() == ["10.91.7.11/24"]
    outcome = check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "stopped", "shutdown_timeout": 20})
    assert outcome.error is None and ct.state() == "STOPPED"


def test_a_guest_asks_for_its_address():
    bridge = {
        "name": NAT,
        "mode": "nat",
        "address": "10.91.9.1/24",
        "dhcp": {"start": "10.91.9.100", "end": "10.91.9.110"},
    }
    assert converge_now(Bridge(), bridge).error is None
    params = {
        **GUEST,
        "networks": [{"name": "lan", "bridge": NAT, "ip": "dhcp"}],
        "wait_for": ["ip"],
        "wait_timeout": 90,
    }
    outcome = converge_now(ct.CONTAINER, params)
    assert outcome.error is None, outcome.error
    assert [address.startswith("10.91.9.1") for address in addresses()] == [True]
    unchanged(ct.CONTAINER, params)
