# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.filter.guest_options import guest_options
from ansible_collections.homelab.hybrid.plugins.filter.guests_by_hypervisor import guests_by_hypervisor
from ansible_collections.homelab.hybrid.plugins.plugin_utils._conflicts import guest_conflicts

Vars = dict[str, dict[str, t.Any]]
NAT = {"hypervisor_bridges": [{"name": "br0", "mode": "nat", "address": "10.1.0.1/24"}]}
OPEN = {"hypervisor_bridges": [{"name": "br0", "mode": "ports", "ports": ["eth0"]}]}


def inventory(alpha: dict[str, t.Any], beta: dict[str, t.Any], **nets: dict[str, t.Any]) -> Vars:
    """A guest on alpha and one on beta, each with a network card."""
    guests = {
        name: {
            "guest_hypervisor": hypervisor,
            "guest_kind": "container",
            "guest_spec": {"networks": [{"name": "lan", "bridge": "br0", **nets.get(name, {})}]},
        }
        for name, hypervisor in (("one", "alpha"), ("two", "beta"))
    }
    return {"alpha": alpha, "beta": beta, **guests}


def conflicts(hostvars: Vars) -> list[str]:
    names = ["one", "two"]
    options = guest_options(names, hostvars, "container")
    return guest_conflicts(guests_by_hypervisor(names, hostvars), hostvars, options)


def test_an_address_is_another_one_in_another_vlan():
    both = {"ip": "192.0.2.9/24", "vlan": 10}
    assert conflicts(inventory(OPEN, OPEN, one=both, two={**both, "vlan": 20})) == []
    assert conflicts(inventory(OPEN, OPEN, one=both, two={"ip": both["ip"], "tag": 10})) == [
        "one on alpha and two on beta have both the address 192.0.2.9 in VLAN 10"
    ]


def test_guests_are_sorted_in_one_pass():
    on_alpha, on_beta = {"guest_hypervisor": "alpha"}, {"guest_hypervisor": "beta"}
    hostvars: Vars = {"alpha": {}, "beta": {}, "a": on_alpha, "b": on_beta, "d": on_alpha}
    assert guests_by_hypervisor("abd", hostvars) == {"alpha": ["a", "d"], "beta": ["b"]}


@pytest.mark.parametrize("variables", [{}, {"guest_hypervisor": "gamma"}])
def test_a_guest_that_lives_nowhere_is_named(variables: dict[str, t.Any]):
    with pytest.raises(AnsibleFilterError, match=r"web: guest_hypervisor is .*, it must be an inventory host"):
        guests_by_hypervisor(["web"], {"web": variables})


def test_options_are_those_of_one_kind_with_the_permits_of_the_run(given_for_a_run: t.Callable[..., None]):
    given_for_a_run(guest_allow=["replace_disk"])
    hostvars: Vars = {
        "a": {"guest_kind": "vm", "guest_spec": {"vcpus": 2}, "guest_allow": ["replace_disk"]},
        "b": {"guest_kind": "container", "guest_spec": {}},
    }
    assert guest_options(["a", "b"], hostvars, "vm") == [
        {"name": "a", "state": "started", "vcpus": 2, "allow": ["replace_disk"]}
    ]


def test_a_guest_without_a_kind_is_named():
    with pytest.raises(AnsibleFilterError, match="web: guest_kind is 'jail'"):
        guest_options(["web"], {"web": {"guest_kind": "jail", "guest_spec": {}}}, "vm")


def test_one_address_on_one_network_is_a_conflict():
    found = conflicts(inventory(OPEN, OPEN, one={"ip": "10.1.0.5/24"}, two={"ip": "10.1.0.5/16"}))
    assert found == ["one on alpha and two on beta have both the address 10.1.0.5"]


def test_one_address_of_ipv6_on_one_network_is_a_conflict():
    six = {"ip": "dhcp", "ip6": "2001:db8::5/64"}
    found = conflicts(inventory(OPEN, OPEN, one=six, two={**six, "ip6": "2001:db8:0::5/64"}))
    assert found == ["one on alpha and two on beta have both the address 2001:db8::5"]
    for word in ("slaac", "auto", "auto:2001:db8::5-2001:db8::9/64"):
        assert conflicts(inventory(OPEN, OPEN, one={"ip6": word}, two={"ip6": word})) == []


def test_one_address_behind_hosts_that_hide_it_is_none():
    assert not conflicts(inventory(NAT, NAT, one={"ip": "10.1.0.5/24"}, two={"ip": "10.1.0.5/24"}))


def test_one_mac_address_is_always_a_conflict():
    found = conflicts(inventory(NAT, NAT, one={"mac": "52:54:00:aa:00:01"}, two={"mac": "52:54:00:AA:00:01"}))
    assert found == ["one on alpha and two on beta have both the MAC address 52:54:00:aa:00:01"]


def test_one_address_in_two_forms_is_a_conflict():
    assert conflicts(inventory(OPEN, OPEN, one={"ip": "fd00::5/64"}, two={"ip": "FD00:0::0005/64"})) == [
        "one on alpha and two on beta have both the address fd00::5"
    ]
    assert conflicts(inventory(OPEN, OPEN, one={"mac": "52-54-00-AA-00-01"}, two={"mac": "52:54:00:aa:00:01"})) == [
        "one on alpha and two on beta have both the MAC address 52:54:00:aa:00:01"
    ]


def test_a_guest_that_goes_claims_nothing():
    hostvars = inventory(OPEN, OPEN, one={"ip": "192.0.2.9/24"}, two={"ip": "192.0.2.9/24"})
    assert conflicts(hostvars)
    hostvars["two"]["guest_spec"]["state"] = "absent"
    assert not conflicts(hostvars)


def test_what_is_asked_for_or_taken_away_is_no_claim():
    gone = {"ip": "10.1.0.5/24", "state": "absent"}
    assert not conflicts(inventory(OPEN, OPEN, one={"ip": "10.1.0.5/24"}, two=gone))
    assert not conflicts(inventory(OPEN, OPEN, one={"ip": "dhcp"}, two={"ip": "dhcp"}))


def test_a_guest_that_is_to_go_leaves_what_it_had_to_another() -> None:
    own = {"ip": "10.1.0.5/24", "mac": "52:54:00:aa:00:01"}
    hostvars = inventory(OPEN, OPEN, one=own, two=own)
    assert len(conflicts(hostvars)) == 2
    hostvars["one"]["guest_spec"]["state"] = "absent"
    assert conflicts(hostvars) == []


def test_one_address_is_one_however_it_is_written() -> None:
    found = conflicts(inventory(OPEN, OPEN, one={"ip": "2001:DB8:0::5/64"}, two={"ip": "2001:db8::5/64"}))
    assert found == ["one on alpha and two on beta have both the address 2001:db8::5"]


def test_auto_takes_no_address_that_a_guest_declares_which_is_not_in_the_run() -> None:
    network = {
        "name": "lan",
        "bridge": "lan0",
        "subnet": "192.0.2.0/29",
        "gateway": "192.0.2.1",
        "slice": "192.0.2.2-192.0.2.4",
    }
    alpha = {
        "hypervisor_networks": [network],
        "hypervisor_bridges": [{"name": "lan0", "mode": "ports", "address": "none"}],
    }

    def its(address: str, kind: str = "container") -> dict[str, t.Any]:
        return {
            "guest_kind": kind,
            "guest_hypervisor": "alpha",
            "guest_spec": {"networks": [{"name": "lan", "bridge": "lan0", "ip": address}]},
        }

    hostvars: Vars = {
        "alpha": alpha,
        "a": its("auto"),
        "b": its("192.0.2.3/29", "vm"),
    }
    (options,) = guest_options(["a"], hostvars, "container", ["b"])
    assert options["networks"][0]["ip"] == "auto:192.0.2.2-192.0.2.2,192.0.2.4-192.0.2.4/29"
    assert options["networks"][0]["gateway"] == "192.0.2.1"


def test_who_is_told_its_address_by_the_server_of_the_bridge_is_told_the_gateway_too() -> None:
    network = {"name": "lab", "bridge": "br0", "subnet": "10.20.0.0/24", "gateway": "10.20.0.1"}
    bridge = {
        "name": "br0",
        "mode": "nat",
        "address": "10.20.0.1/24",
        "dhcp": {"start": "10.20.0.100", "end": "10.20.0.199"},
    }
    alpha = {"hypervisor_networks": [network], "hypervisor_bridges": [bridge]}
    spec = {"networks": [{"name": "lan", "bridge": "br0", "ip": "auto"}]}
    for kind, gateway in (("vm", None), ("container", "10.20.0.1")):
        hostvars: Vars = {"alpha": alpha, "a": {"guest_kind": kind, "guest_hypervisor": "alpha", "guest_spec": spec}}
        (options,) = guest_options(["a"], hostvars, kind)
        assert options["networks"][0].get("gateway") == gateway
        assert options["networks"][0]["ip"] == "auto:10.20.0.2-10.20.0.99,10.20.0.200-10.20.0.254/24"
