# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What service roles ask of a guest is read as its programs print it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._services import (
    mosquitto_hash,
    pools_overlapping,
    ports_taken,
)

SOCKETS = """\
udp   UNCONN 0      0         127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=70,fd=13))
udp   UNCONN 0      0           10.0.0.2:67        0.0.0.0:*    users:(("dnsmasq",pid=80,fd=4))
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=109,fd=6))
tcp   LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=109,fd=7))
tcp   LISTEN 0      4096               *:80              *:*    users:(("caddy",pid=200,fd=3),("caddy",pid=201,fd=3))
"""
UNITS = "     70 systemd-resolved.service\n     80 dnsmasq.service\n    109 ssh.service\n    200 caddy.service\n    201 caddy.service\n"


def who(port: int, protocol: str = "tcp", address: str = "", unit: str = "own.service") -> list[str]:
    found = ports_taken([{"port": port, "protocol": protocol, "address": address}], SOCKETS, UNITS, [unit])
    return [item["sentence"].removeprefix("port ") for item in found]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((22,), ["22/tcp is taken by sshd (ssh.service)"]),
        ((22, "udp"), []),
        ((23,), []),
        ((80, "tcp", "10.0.0.2"), ["80/tcp is taken by caddy (caddy.service)"]),
        ((80, "tcp", "", "caddy.service"), []),
        ((67, "udp", "10.0.0.2"), ["67/udp is taken by dnsmasq (dnsmasq.service)"]),
        ((67, "udp", "10.0.0.3"), []),
        ((67, "udp", "0.0.0.0"), ["67/udp is taken by dnsmasq (dnsmasq.service)"]),
        ((53, "udp", "127.0.0.53"), ["53/udp is taken by systemd-resolve (systemd-resolved.service)"]),
    ],
)
def test_a_port_that_another_unit_has_is_told_with_its_program(wanted: tuple[t.Any, ...], expected: list[str]) -> None:
    assert who(*wanted) == expected


def test_a_process_that_no_unit_has_is_told_too() -> None:
    found = ports_taken([{"port": 22}], SOCKETS, "    109 -", ["own.service"])
    assert found[0]["sentence"] == "port 22/tcp is taken by sshd"


def test_what_is_said_of_a_process_last_counts() -> None:
    """A container in the network of its guest listens itself, in a unit of Docker's making."""
    units = "    109 docker-0a1b.scope\n109 own.service"
    assert ports_taken([{"port": 22}], SOCKETS, units, ["own.service"]) == []


def test_the_hash_of_a_password_stays_and_its_salt_is_of_one_user() -> None:
    line = mosquitto_hash("secret", "machine" + "alice")
    assert line == mosquitto_hash("secret", "machine" + "alice"), "it stays the same"
    assert line.split("$")[3] != mosquitto_hash("secret", "machine" + "bob").split("$")[3], "each user has another salt"
    assert line.startswith("$7$101$")


ROUTES = """[
  {"dst": "default", "gateway": "10.1.0.1", "dev": "eth0"},
  {"dst": "10.1.0.0/24", "dev": "eth0"},
  {"dst": "192.168.9.7", "dev": "wg0"},
  {"dst": "172.24.0.0/24", "dev": "docker0"},
  {"dst": "172.24.1.0/24", "dev": "br-0a1b2c"}
]"""
BRIDGES = [
    {"name": "br0", "address": "172.27.3.1/24"},
    {"name": "gone", "address": "10.9.0.1/24", "state": "absent"},
    {"name": "lan"},
]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("172.16.0.0/15", []),
        ("10.9.0.0/16", []),
        ("fd00::/16", []),
        ("no network", []),
        ("10.0.0.0/8", ["10.0.0.0/8 overlaps 10.1.0.0/24, the route of eth0"]),
        ("192.168.0.0/16", ["192.168.0.0/16 overlaps 192.168.9.7/32, the route of wg0"]),
        ("172.24.0.0/14", ["172.24.0.0/14 overlaps 172.27.3.0/24, the bridge br0"]),
    ],
)
def test_networks_of_containers_that_others_have_are_told(base: str, told: list[str]) -> None:
    assert pools_overlapping([{"base": base, "size": 24}], ROUTES, BRIDGES) == told
