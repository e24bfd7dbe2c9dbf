# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The DHCP server of a network, out of its XML."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.module_utils._host.dhcp import Reservation, read_server

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
HOSTS = f"<host mac='{MAC.upper()}' name='web' ip='10.0.0.5'/><host mac='{OTHER}' ip='10.0.0.6'/>"
RANGE = "<range start='10.0.0.100' end='10.0.0.199'/>"


def network(dhcp: str, prefix: str = "prefix='24'") -> str:
    six = "<ip family='ipv6' address='fd00::1' prefix='64'><dhcp><host name='x' ip='fd00::2'/></dhcp></ip>"
    return (
        f"<network><name>n</name>{six}<ip address='10.0.0.1' {prefix}>{dhcp and f'<dhcp>{dhcp}</dhcp>'}</ip></network>"
    )


def test_what_is_kept_is_read_with_its_owner() -> None:
    owners = {("br0", MAC, "10.0.0.5"): "web", ("br1", OTHER, "10.0.0.6"): "elsewhere"}
    server = read_server("br0", network(RANGE + HOSTS, "netmask='255.255.255.0'"), None, owners)
    assert server is not None and server.address == "10.0.0.1/24" and server.running is None
    assert server.defined == (Reservation(MAC, "10.0.0.5", "web", "web"), Reservation(OTHER, "10.0.0.6"))
    assert [kept.label for kept in server.reservations] == ["the guest web", f"dhcp.hosts[{OTHER}] of the bridge"]


def test_what_the_bridge_will_keep_takes_the_place_of_what_it_keeps() -> None:
    third = "52:54:00:00:00:03"
    owners = {("br0", OTHER, "10.0.0.6"): "vm"}
    server = read_server("br0", network(RANGE + HOSTS), network(RANGE), owners)
    assert server is not None and server.once_kept({}) == server
    ours = Reservation(OTHER, "10.0.0.6", "", "vm")
    moved = server.once_kept({"web": (MAC, "10.0.0.7")})
    assert moved.defined == (ours, Reservation(MAC, "10.0.0.7", "web"))
    assert moved.running == (Reservation(MAC, "10.0.0.7", "web"),)
    # One of the same MAC is it under another name.
    assert server.once_kept({"new": (MAC, "10.0.0.7")}).defined == (ours, Reservation(MAC, "10.0.0.7", "new"))
    assert server.once_kept({"web": (third, "10.0.0.5")}).ips_for(MAC) == [None, None]
    assert server.once_kept({"web": None}).defined == (ours,)
    # What a guest has kept stays the guest's.
    assert server.once_kept({"web": None, "vm": (OTHER, "10.0.0.6")}).defined == (ours,)


def test_what_is_kept_for_a_guest_that_goes_is_free() -> None:
    owners = {("br0", MAC, "10.0.0.5"): "web"}
    server = read_server("br0", network(RANGE + HOSTS), None, owners, gone=("web",))
    assert server is not None and [kept.mac for kept in server.reservations] == [OTHER]


def test_a_network_without_a_range_serves_those_that_it_keeps_addresses_for_itself() -> None:
    assert read_server("br0", network(""), None, {}) is None
    assert read_server("br0", "<network><name>n</name></network>", None, {}) is None
    assert read_server("br0", network(HOSTS), None, {}) is not None
    owners = {("br0", MAC, "10.0.0.5"): "web", ("br0", OTHER, "10.0.0.6"): "web"}
    assert read_server("br0", network(HOSTS), None, owners) is None


def test_the_definition_and_what_runs_are_told_apart() -> None:
    server = read_server("br0", network(RANGE + HOSTS), network(RANGE), {})
    assert server is not None
    assert server.ips_for(MAC) == ["10.0.0.5", None] and server.ips_for("52:54:00:00:00:09") == [None, None]
