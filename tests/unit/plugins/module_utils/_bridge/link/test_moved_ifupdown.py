# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new bridge takes over from its only port in the files of ifupdown, and what is refused there by its name."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import way_back
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.backends import client_of
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import MAIN, Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.moved import Moved, wanted_of
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse

MAC = "52:54:00:00:00:01"
LO = "auto lo\niface lo inet loopback\n\n"
STATIC = f"""{LO}# The primary network interface
allow-hotplug eno1
iface eno1 inet static
    # the router's
    address 192.0.2.10/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    mtu 9000
    offload-tx off
    post-up ethtool -K eno1 tso off
    up ip route add 10.88.0.0/16 via 192.0.2.1 dev $IFACE
"""
INSTALLER = (
    f"{LO}allow-hotplug eno1\niface eno1 inet dhcp\n# This is an autoconfigured IPv6 interface\niface eno1 inet6 auto\n"
)


def move(text: str, client: str = "", **params: t.Any) -> tuple[Ifupdown, Moved, dict[str, str | None]]:
    backend = Ifupdown({MAIN: text}, ["eno1"])
    settings = backend.own_settings("eno1")
    assert settings is not None
    moved = Moved("eno1", dataclasses.replace(settings, mac=MAC), client=client)
    spec = parse({"name": "vmbr0", "mode": "ports", "ports": [{"name": "eno1"}], **params})
    return backend, moved, backend.define("vmbr0", wanted_of(spec, LinkSettings(), moved), moved=moved)


def test_what_the_files_say_of_the_card_they_say_of_the_bridge_and_the_card_keeps_what_is_its_own() -> None:
    dummy, dummy, edits = move(STATIC)
    assert edits == {
        MAIN: f"""{LO}# The primary network interface
allow-hotplug eno1
iface eno1 inet manual
    mtu 9000
    offload-tx off
    post-up ethtool -K eno1 tso off

auto vmbr0
iface vmbr0 inet static
    # the router's
    address 192.0.2.10/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    up ip route add 10.88.0.0/16 via 192.0.2.1 dev $IFACE
    bridge_ports eno1
    bridge_stp off
    bridge_fd 0
    hwaddress {MAC}
"""
    }


def test_a_lease_is_asked_for_by_the_bridge_under_the_name_of_before() -> None:
    backend, dummy, edits = move(INSTALLER, "ff:65:6e:6f:31:00:04")
    text = edits[MAIN] or ""
    assert "iface vmbr0 inet dhcp\n    client ff:65:6e:6f:31:00:04\n" in text
    assert "# This is an autoconfigured IPv6 interface\niface vmbr0 inet6 auto\n" in text
    after = Ifupdown({MAIN: text}, ["eno1", "vmbr0"]).read("vmbr0")
    assert after == LinkSettings(addresses=("dhcp",), addresses6=("slaac",), mac=MAC, ports=(Port("eno1"),))
    assert backend.text_without_client("eno1").startswith("iface eno1 inet manual\n")


def test_another_address_stands_in_its_place() -> None:
    dummy, dummy, edits = move(STATIC, address="192.0.2.20/24")
    assert "address 192.0.2.20/24\n" in (edits[MAIN] or "") and "192.0.2.10" not in (edits[MAIN] or "")


def test_the_way_back_knows_both_texts() -> None:
    backend, moved, edits = move(INSTALLER)
    texts = way_back.of_moved(backend, "vmbr0", moved, edits)["texts"]
    assert "bridge_ports eno1" in texts["vmbr0"] and "inet dhcp" not in texts["vmbr0"]
    assert (
        texts["eno1"] == "iface eno1 inet manual\n# This is an autoconfigured IPv6 interface\niface eno1 inet6 auto\n"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mapping eno*\n    script /bin/true\n\niface eno1 inet dhcp\n", "has a mapping for eno1"),
        ("iface eno1 inet dhcp\n\niface eno1:1 inet static\n    address 10.0.0.1/24\n", "defines eno1:1 over eno1"),
        ("iface eno1 inet dhcp\n\niface lan inet manual\n    vlan-raw-device eno1\n", "defines lan over eno1"),
        ("iface eno1 inet dhcp\n\niface eno1.7 inet manual\n", "defines eno1.7 over eno1"),
        ("iface eno1 inet dhcp\n\niface eno1 inet ppp\n", "configures it with inet ppp"),
        ("iface eno1 inet dhcp inherits lan\n", "configures it with inet dhcp inherits lan"),
        ("iface eno1 inet dhcp\n    wpa-ssid home\n", "has the word wpa_ssid"),
        ("iface eno1 inet dhcp\n    up ip route add 10.0.0.0/8 dev eno1\n", "names eno1 in the line up ip route"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(text: str, why: str) -> None:
    (told,) = Ifupdown({MAIN: text}, ["eno1"]).obstacles("vmbr0", ["eno1"], (), None, "eno1")
    assert told.startswith(f"ports[eno1]: {MAIN} ") and why in told


def test_a_card_that_has_nothing_or_is_a_bridge_gives_nothing() -> None:
    for text in (
        "",
        "iface eno1 inet manual\n",
        "iface eno1 inet static\n    address 192.0.2.1/24\n    bridge_ports none\n",
    ):
        assert Ifupdown({MAIN: text}, ["eno1"]).own_settings("eno1") is None


@pytest.mark.parametrize(
    ("port", "bridge", "config", "expected"),
    [
        ("eno1", "vmbr0", "hostname\nduid\n", "ff:65:6e:6f:31:00:04:aa"),
        ("enp3s0", "br0", "duid\n", "ff:00:00:00:01:00:04:aa"),
        ("enp3s0", "vmbr0", "duid\n", ""),
        ("eno1", "vmbr0", "clientid\n#duid\n", ""),
        ("eno1", "vmbr0", "", ""),
    ],
)
def test_dhcpcd_is_told_its_name_where_it_would_have_another(
    port: str, bridge: str, config: str, expected: str
) -> None:
    assert client_of(port, bridge, MAC, config, "00:04:aa") == expected
