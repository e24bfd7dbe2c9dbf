# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.filter.guest_options import guest_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_error, host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._networks import (
    NetworkError,
    network_conflicts,
    networks_of,
)

LAN = {"name": "lan", "bridge": "lan0", "subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}
PORTS = {"name": "lan0", "mode": "ports", "address": "192.0.2.2/24", "ports": [{"name": "eno1"}]}
DHCP = {
    "start": "10.20.0.100",
    "end": "10.20.0.199",
    "hosts": [{"name": "builder", "mac": "52-54-00-20-00-30", "ip": "10.20.0.130"}],
}
NAT = {"name": "br0", "mode": "nat", "address": "10.20.0.1/24", "dhcp": DHCP}
LAB = {"name": "lab", "bridge": "br0", "subnet": "10.20.0.0/24", "gateway": "10.20.0.1", "domain": "lab.internal"}


def host(*networks: dict[str, t.Any], bridges: t.Sequence[dict[str, t.Any]] = (PORTS,)) -> dict[str, t.Any]:
    return {"hypervisor_networks": list(networks), "hypervisor_bridges": list(bridges)}


def sliced(of: str, bridge_address: str = "192.0.2.2/24") -> dict[str, t.Any]:
    return host({**LAN, "slice": of}, bridges=[{**PORTS, "address": bridge_address}])


def card(address: str, bridge: str = "lan0", **more: t.Any) -> dict[str, t.Any]:
    return {"name": "web", "networks": [{"name": "net0", "bridge": bridge, "ip": address, **more}]}


def conflicts(hosts: dict[str, t.Any], *guests: dict[str, t.Any], on: str = "alpha") -> list[str]:
    return network_conflicts({on: [guest["name"] for guest in guests]}, hosts, hosts, guests)


@pytest.mark.parametrize(
    ("written", "ends"),
    [
        (None, "192.0.2.1-192.0.2.254"),
        ("192.0.2.64/26", "192.0.2.64-192.0.2.127"),
        ("192.0.2.0/26", "192.0.2.1-192.0.2.63"),
        ("192.0.2.10 - 192.0.2.20", "192.0.2.10-192.0.2.20"),
    ],
)
def test_a_slice_is_a_part_of_the_subnet_or_its_ends(written: str | None, ends: str) -> None:
    (network,) = networks_of("alpha", host({**LAN, "slice": written}))
    assert str(network.slice) == ends


def test_a_network_of_the_other_family_is_one_like_it() -> None:
    (network,) = networks_of(
        "alpha", host({**LAN, "subnet": "fd00:20::/64", "gateway": None, "slice": "fd00:20::a-fd00:20::f"})
    )
    assert (network.subnet.version, str(network.slice)) == (6, "fd00:20::a-fd00:20::f")


@pytest.mark.parametrize(
    ("change", "bridge", "words"),
    [
        ({"subnet": None}, {}, "subnet is None; it must be a network"),
        ({"subnet": "192.0.2.5/24"}, {}, "subnet is '192.0.2.5/24'; it must be a network"),
        ({"gateway": "192.0.3.1"}, {}, "the gateway 192.0.3.1 is no address of a machine in the subnet 192.0.2.0/24"),
        ({"gateway": "192.0.2.255"}, {}, "the gateway 192.0.2.255 is no address of a machine"),
        ({"slice": "192.0.3.0/26"}, {}, "slice 192.0.3.0/26 is outside of the subnet 192.0.2.0/24"),
        ({"slice": "192.0.2.20-192.0.2.10"}, {}, "slice is '192.0.2.20-192.0.2.10'; it must be a part of the subnet"),
        ({"slize": "192.0.2.0/26"}, {}, "there is no slize; it has name, bridge"),
        ({"vlan": "blue"}, {}, "vlan is 'blue'; it must be a number from 1 to 4094"),
        (
            {},
            {"address": "192.0.3.2/24"},
            "the bridge lan0 has the address 192.0.3.2, outside of the subnet 192.0.2.0/24",
        ),
        (
            {"slice": "192.0.2.64/26"},
            {"dhcp": {"start": "192.0.2.100", "end": "192.0.2.200"}},
            "the DHCP range 192.0.2.100-192.0.2.200 of the bridge lan0 is outside of the slice 192.0.2.64-192.0.2.127",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(change: dict[str, t.Any], bridge: dict[str, t.Any], words: str) -> None:
    with pytest.raises(NetworkError, match=r"^hypervisor_networks\[lan\] of alpha: ") as refused:
        networks_of("alpha", host({**LAN, **change}, bridges=[{**PORTS, **bridge}]))
    assert words in str(refused.value)


def test_a_list_of_networks_has_each_name_once() -> None:
    with pytest.raises(NetworkError, match="lan is there twice"):
        networks_of("alpha", host(LAN, LAN))
    with pytest.raises(NetworkError, match="must be a list of networks, not str"):
        networks_of("alpha", {"hypervisor_networks": "lan"})


def test_slices_of_a_network_that_hypervisors_share_do_not_overlap() -> None:
    hosts = {"alpha": sliced("192.0.2.64/26"), "beta": sliced("192.0.2.96-192.0.2.140", "192.0.2.3/24")}
    assert conflicts(hosts) == [
        (
            "hypervisor_networks[lan]: the slices of alpha (192.0.2.64-192.0.2.127) and beta (192.0.2.96-192.0.2.140) overlap. "
            "Give each a slice of its own"
        )
    ]
    assert conflicts({**hosts, "beta": sliced("192.0.2.128/26", "192.0.2.3/24")}) == []


def test_a_network_that_hypervisors_share_has_one_subnet() -> None:
    (sentence,) = conflicts(
        {
            "alpha": sliced("192.0.2.64/26"),
            "beta": host({**LAN, "subnet": "192.0.2.128/25", "gateway": None}, bridges=[]),
        }
    )
    assert sentence == "hypervisor_networks[lan]: alpha has the subnet 192.0.2.0/24, beta 192.0.2.128/25"


def test_what_is_behind_a_hypervisor_may_be_behind_another_too() -> None:
    assert conflicts({"alpha": host(LAB, bridges=[NAT]), "beta": host(LAB, bridges=[NAT])}) == []


def test_the_address_of_a_bridge_is_in_no_slice_of_another_hypervisor() -> None:
    hosts = {"alpha": sliced("192.0.2.64/26", "192.0.2.130/24"), "beta": sliced("192.0.2.128/26", "192.0.2.3/24")}
    assert conflicts(hosts) == [
        "hypervisor_networks[lan]: 192.0.2.130, the address of lan0 of alpha, is in the slice 192.0.2.128-192.0.2.191 of beta"
    ]


@pytest.mark.parametrize(
    ("guest", "words"),
    [
        (
            card("198.51.100.7/24"),
            "198.51.100.7 is outside of 192.0.2.0/24, the subnet of hypervisor_networks[lan] of alpha",
        ),
        (card("192.0.2.1/24"), "192.0.2.1 is the gateway of hypervisor_networks[lan] of alpha"),
        (card("192.0.2.255/24"), "192.0.2.255 is no address of a machine in 192.0.2.0/24"),
        (card("192.0.2.3/24"), "192.0.2.3 is the address of the bridge lan0 of beta"),
        (card("192.0.2.130/24"), "192.0.2.130 is in the slice 192.0.2.128-192.0.2.191 of beta, and web is on alpha"),
    ],
)
def test_an_address_that_does_not_fit_its_network_is_refused(guest: dict[str, t.Any], words: str) -> None:
    hosts = {"alpha": sliced("192.0.2.64/26"), "beta": sliced("192.0.2.128/26", "192.0.2.3/24")}
    assert conflicts(hosts, guest) == [f"networks[net0].ip of web: {words}"]


@pytest.mark.parametrize("address", ["192.0.2.70/24", "192.0.2.200/24", "dhcp", "none", "auto", "fd00::1/64"])
def test_an_address_that_fits_its_network_is_not_refused(address: str) -> None:
    hosts = {"alpha": sliced("192.0.2.64/26"), "beta": sliced("192.0.2.128/26", "192.0.2.3/24")}
    assert conflicts(hosts, card(address)) == []
    assert conflicts(hosts, {**card("198.51.100.7/24"), "state": "absent"}) == []
    assert conflicts(hosts, card("198.51.100.7/24", vlan=20)) == []


def test_a_fixed_address_is_not_handed_out_by_dhcp_unless_it_is_kept_for_the_guest() -> None:
    hosts = {"alpha": host(LAB, bridges=[NAT])}
    (sentence,) = conflicts(hosts, card("10.20.0.120/24", "br0"))
    assert sentence == (
        "networks[net0].ip of web: 10.20.0.120 is in the DHCP range 10.20.0.100-10.20.0.199 of the bridge br0, which gives it to whoever asks"
    )
    # The server keeps that of a virtual machine, and gives it to nobody else.
    machine = {**hosts, "web": {"guest_kind": "vm"}}
    assert network_conflicts({"alpha": ["web"]}, hosts, machine, [card("10.20.0.120/24", "br0")]) == []
    (sentence,) = conflicts(hosts, card("10.20.0.130/24", "br0"))
    assert sentence == "networks[net0].ip of web: 10.20.0.130 is kept for builder by dhcp.hosts of the bridge br0"
    assert conflicts(hosts, card("10.20.0.130/24", "br0", mac="52:54:00:20:00:30")) == []
    assert conflicts(hosts, {**card("10.20.0.130/24", "br0"), "name": "builder"}) == []


def test_what_a_bridge_keeps_for_a_guest_or_says_of_it_is_the_address_that_the_guest_has() -> None:
    kept = {"name": "web", "mac": "52:54:00:20:00:31", "ip": "10.20.0.31"}
    hosts = {"alpha": host(LAB, bridges=[{**NAT, "dhcp": {"hosts": [kept]}}])}
    (sentence,) = conflicts(hosts, card("10.20.0.32/24", "br0"))
    assert (
        sentence
        == "networks[net0].ip of web: 10.20.0.32, and dhcp.hosts of the bridge br0 keeps 10.20.0.31 for it. Write one of the two"
    )
    assert conflicts(hosts, card("10.20.0.31/24", "br0")) == []
    two = [{"name": "a", "bridge": "br0", "ip": "10.20.0.31/24"}, {"name": "b", "bridge": "br0", "ip": "10.20.0.32/24"}]
    assert conflicts(hosts, {"name": "web", "networks": two}) == []
    # A card that goes leaves the other alone; what is kept for a guest is kept by its name as it is answered.
    gone = {**two[0], "state": "absent"}
    assert len(conflicts(hosts, {"name": "web", "networks": [gone, two[1]]})) == 1
    renamed = {"alpha": host(LAB, bridges=[{**NAT, "dhcp": {"hosts": [{**kept, "name": "my-web"}]}}])}
    assert len(conflicts(renamed, {**card("10.20.0.32/24", "br0"), "name": "my_web"})) == 1
    assert conflicts(renamed, {**card("10.20.0.31/24", "br0"), "name": "my_web"}) == []
    # A guest may have a second card, for which nothing is kept.
    assert conflicts(hosts, card("10.20.0.32/24", "br0", mac="52:54:00:20:00:99")) == []
    for name in ("web", "web.lab.internal"):
        hosts = {"alpha": host(LAB, bridges=[{**NAT, "dns": {"hosts": [{"name": name, "ip": "10.20.0.40"}]}}])}
        (sentence,) = conflicts(hosts, card("10.20.0.41/24", "br0"))
        assert sentence == (
            f"networks[net0].ip of web: 10.20.0.41, and dns.hosts of the bridge br0 says 10.20.0.40 of {name}. Write one of the two"
        )
        assert conflicts(hosts, card("10.20.0.40/24", "br0")) == []


def test_what_a_bridge_keeps_is_in_no_slice_of_another_hypervisor() -> None:
    routed = {"name": "lan0", "mode": "routed", "dhcp": {"hosts": [{"name": "nas", "ip": "192.0.2.130"}]}}
    hosts = {"alpha": host({**LAN, "slice": "192.0.2.64/26"}, bridges=[routed]), "beta": sliced("192.0.2.128/26")}
    assert conflicts(hosts) == [
        "hypervisor_networks[lan]: 192.0.2.130, which lan0 of alpha keeps for nas, is in the slice 192.0.2.128-192.0.2.191 of beta"
    ]


def test_a_bridge_gets_the_domain_of_its_network_unless_it_has_one() -> None:
    variables = {"inventory_hostname": "alpha", **host(LAB, bridges=[NAT])}
    (bridge,) = host_options(variables, "bridges")
    assert bridge == {**NAT, "dns": {"domain": "lab.internal"}}
    own = {**NAT, "dns": {"domain": "other.internal"}}
    assert host_options({**variables, "hypervisor_bridges": [own]}, "bridges") == [own]


def test_a_hypervisor_whose_networks_are_refused_says_so_itself() -> None:
    variables = {"inventory_hostname": "alpha", **host({**LAN, "gateway": "192.0.3.1"})}
    assert str(host_error(variables)).startswith("hypervisor_networks[lan] of alpha: the gateway")


def lab_guest(name: str, ip: str = "auto", **more: t.Any) -> dict[str, t.Any]:
    nets = [{"name": "lan", "bridge": "br0", "ip": ip, **more}]
    return {
        "guest_hypervisor": "alpha",
        "guest_kind": "container",
        "guest_spec": {"networks": nets},
        "inventory_hostname": name,
    }


def test_a_guest_takes_of_the_slice_what_nobody_has_and_gets_the_gateway() -> None:
    networks = host({**LAB, "slice": "10.20.0.90-10.20.0.210"}, bridges=[NAT])
    hostvars = {
        "alpha": networks,
        "web": lab_guest("web"),
        "db": lab_guest("db", "10.20.0.95/24"),
        "builder": lab_guest("builder"),
    }
    web, db, builder = guest_options(["web", "db", "builder"], hostvars, "container")
    assert web["networks"] == [
        {
            "name": "lan",
            "bridge": "br0",
            "ip": "auto:10.20.0.90-10.20.0.94,10.20.0.96-10.20.0.99,10.20.0.200-10.20.0.210/24",
            "gateway": "10.20.0.1",
        }
    ]
    assert db["networks"][0]["ip"] == "10.20.0.95/24"
    # The bridge keeps that address for this name.
    assert builder["networks"][0] == {
        "name": "lan",
        "bridge": "br0",
        "ip": "10.20.0.130/24",
        "gateway": "10.20.0.1",
    }


def its_cards(*cards: dict[str, t.Any], name: str = "my_db") -> list[tuple[t.Any, t.Any]]:
    kept = {"name": "my-db", "mac": "52:54:00:20:00:31", "ip": "10.20.0.31"}
    alpha = host({**LAB, "slice": "10.20.0.30-10.20.0.32"}, bridges=[{**NAT, "dhcp": {"hosts": [kept]}}])
    guest = lab_guest(name)
    guest["guest_spec"] = {"networks": [{"bridge": "br0", "ip": "auto", **card} for card in cards]}
    (found,) = guest_options([name], {"alpha": alpha, name: guest}, "container")
    return [(net["ip"], net.get("gateway")) for net in found["networks"]]


def test_who_leaves_the_choice_has_what_the_bridge_keeps_for_it_as_for_a_fixed_address() -> None:
    free, way = "auto:10.20.0.30-10.20.0.30,10.20.0.32-10.20.0.32/24", "10.20.0.1"
    own, other = "52-54-00-20-00-31", "52:54:00:20:00:99"
    assert its_cards({"name": "a"}) == [("10.20.0.31/24", way)]
    assert its_cards({"name": "a", "hwaddr": own}, name="x") == [("10.20.0.31/24", way)]
    assert its_cards({"name": "a", "mac": other}) == [(free, way)]
    # Of two cards the MAC alone tells which is meant.
    assert its_cards({"name": "a"}, {"name": "b"}) == [(free, way), (free, None)]
    assert its_cards({"name": "a"}, {"name": "b", "mac": own}) == [(free, way), ("10.20.0.31/24", None)]
    # A card that goes is none.
    assert its_cards({"name": "a", "state": "absent"}, {"name": "b"}) == [("auto", None), ("10.20.0.31/24", way)]


def test_a_name_is_answered_with_what_the_bridge_keeps_for_a_guest_that_leaves_the_choice() -> None:
    alpha = {"inventory_hostname": "alpha", **host(LAB, bridges=[NAT])}
    hostvars = {"alpha": alpha, "builder": lab_guest("builder"), "web": lab_guest("web")}
    (bridge,) = host_options(alpha, "bridges", ["builder", "web"], hostvars)
    assert bridge["dns"]["hosts"] == [{"name": "builder", "ip": "10.20.0.130"}, {"name": "web", "state": "absent"}]


def test_a_guest_on_a_bridge_without_a_network_leaves_all_to_the_bridge() -> None:
    hostvars = {"alpha": host(LAB, bridges=[NAT]), "web": lab_guest("web", bridge="other0")}
    (web,) = guest_options(["web"], hostvars, "container")
    assert web["networks"] == [{"name": "lan", "bridge": "other0", "ip": "auto"}]


def test_a_slice_of_which_nothing_is_left_offers_what_no_machine_can_have() -> None:
    hostvars = {"alpha": host({**LAB, "slice": "10.20.0.100-10.20.0.199"}, bridges=[NAT]), "web": lab_guest("web")}
    (web,) = guest_options(["web"], hostvars, "container")
    assert web["networks"][0]["ip"] == "auto:10.20.0.0-10.20.0.0/24"


SIX = {"name": "lab6", "bridge": "br0", "subnet": "fd00:20::/64", "gateway": "fd00:20::1"}


def test_a_guest_takes_of_the_slice_of_each_family_and_gets_both_gateways() -> None:
    hostvars = {
        "alpha": host(LAB, {**SIX, "slice": "fd00:20::10-fd00:20::1f"}, bridges=[NAT]),
        "web": lab_guest("web", ip6="auto"),
        "db": lab_guest("db", "10.20.0.95/24", ip6="fd00:20::15/64"),
        "own": lab_guest("own", "dhcp", ip6="auto", gateway6="fe80::1"),
    }
    web, dummy, own = guest_options(["web", "db", "own"], hostvars, "container")
    (net,) = web["networks"]
    assert net["ip"].startswith("auto:10.20.0.2-") and net["gateway"] == "10.20.0.1"
    assert net["ip6"] == "auto:fd00:20::10-fd00:20::14,fd00:20::16-fd00:20::1f/64" and net["gateway6"] == "fd00:20::1"
    assert own["networks"][0]["ip"] == "dhcp" and own["networks"][0]["gateway6"] == "fe80::1"


def test_the_only_address_of_a_guest_is_of_ipv6_where_its_network_is() -> None:
    hostvars = {"alpha": host(SIX, bridges=[NAT]), "web": lab_guest("web")}
    (web,) = guest_options(["web"], hostvars, "container")
    net = web["networks"][0]
    assert net["ip"].startswith("auto:fd00:20::2-") and net["gateway"] == "fd00:20::1" and "ip6" not in net


def test_a_machine_has_its_address_of_ipv6_in_ip6_alone_and_is_told_the_gateway_by_its_seed() -> None:
    vm = {"guest_kind": "vm"}
    both = {"alpha": host(LAB, SIX, bridges=[NAT]), "web": {**lab_guest("web", ip6="auto"), **vm}}
    (net,) = guest_options(["web"], both, "vm")[0]["networks"]
    assert net["ip6"].startswith("auto:fd00:20::2-") and net["gateway6"] == "fd00:20::1"
    # The server of the bridge tells that of IPv4.
    assert net["ip"].startswith("auto:10.20.0.2-") and "gateway" not in net
    six = {"alpha": host(SIX, bridges=[NAT]), "web": {**lab_guest("web"), **vm}}
    assert guest_options(["web"], six, "vm")[0]["networks"] == [{"name": "lan", "bridge": "br0", "ip": "auto"}]


@pytest.mark.parametrize(
    ("ip6", "words"),
    [
        ("fd00:21::5/64", "networks[net0].ip6 of web: fd00:21::5 is outside of fd00:20::/64, the subnet of"),
        ("fd00:20::1/64", "networks[net0].ip6 of web: fd00:20::1 is the gateway of"),
    ],
)
def test_an_address_of_ipv6_beside_one_of_ipv4_fits_its_network_too(ip6: str, words: str) -> None:
    hosts = {"alpha": host(LAB, SIX, bridges=[NAT])}
    (sentence,) = conflicts(hosts, card("dhcp", "br0", ip6=ip6))
    assert sentence.startswith(words)
    assert conflicts(hosts, card("dhcp", "br0", ip6="fd00:20::5/64")) == []


def test_an_address_of_ipv6_is_in_the_slice_of_its_own_hypervisor() -> None:
    wide = {**SIX, "bridge": "lan0"}
    hosts = {
        "alpha": host({**wide, "slice": "fd00:20::100-fd00:20::1ff"}),
        "beta": host({**wide, "slice": "fd00:20::200-fd00:20::2ff"}),
    }
    (sentence,) = conflicts(hosts, card("dhcp", ip6="fd00:20::205/64"))
    assert sentence.startswith(
        "networks[net0].ip6 of web: fd00:20::205 is in the slice fd00:20::200-fd00:20::2ff of beta"
    )
