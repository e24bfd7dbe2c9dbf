# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cards of a virtual machine are given, and what of it the network keeps for us."""

from __future__ import annotations

import typing as t

import pytest
from unit.plugins.module_utils._vm.test_plan import nic, side

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import GuestRecord, Reserved, dump, load
from ansible_collections.homelab.hybrid.plugins.module_utils._host.dhcp import Reservation, Server
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import addressing
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.plan import plan_vm
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.seed_card import Card
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import State

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
OURS = Reserved("br0", MAC, "10.0.0.5")
KEPT = Reservation(MAC, "10.0.0.5", "vm", "vm")


def spec_of(ip: str | None = None, unset: tuple[str, ...] = (), **keys: t.Any) -> t.Any:
    card = {"name": "lan", "ip": ip, **keys}
    return parse({"name": "vm", "networks": [card], "unset": list(unset)})


def state_of(*kept: Reservation, ip: str = "dhcp", server: bool = True, **keys: t.Any) -> State:
    servers = {"br0": Server("10.0.0.1/24", kept)} if server else {}
    return State(
        exists=True,
        power="stopped",
        persistent=side(nics=(nic(ip=ip),)),
        servers=servers,
        bridges_there={"br0"},
        **keys,
    )


@pytest.mark.parametrize(
    ("running", "declared", "told"),
    [
        ((KEPT,), "10.0.0.5/24", "10.0.0.5/24"),
        ((), "10.0.0.5/24", "dhcp"),
        ((), "dhcp", "10.0.0.5/24"),
        ((), "none", "10.0.0.5/24"),
        (None, None, "10.0.0.5/24"),
    ],
)
def test_where_the_definition_and_what_runs_differ_what_is_not_as_declared_is_told(
    running: t.Any, declared: t.Any, told: str
) -> None:
    assert addressing.kept_ip(Server("10.0.0.1/24", (KEPT,), running), MAC, declared) == told


def test_no_address_and_any_address_are_the_same_to_a_server() -> None:
    assert [addressing.kept_ip(Server("10.0.0.1/24"), MAC, word) for word in ("none", "dhcp", None)] == [
        "none",
        "dhcp",
        "dhcp",
    ]


def test_the_name_of_the_guest_is_taken_once() -> None:
    assert addressing.host_name("my_vm", "lan", []) == "my-vm"
    assert addressing.host_name("vm", "lan", ["vm"]) == "vm-lan"
    assert addressing.host_name("0vm", "lan", []) == ""


def test_what_the_bridge_itself_keeps_for_a_card_is_not_ours() -> None:
    cards = addressing.given(spec_of("10.0.0.5/24"), state_of(), Plan())
    assert addressing.own_reservations(cards, state_of()) == (OURS,)
    assert addressing.own_reservations(cards, state_of(Reservation(MAC, "10.0.0.5", "x"))) == ()
    mine = state_of(KEPT, record=GuestRecord(reservations=(OURS,)))
    assert addressing.own_reservations(cards, mine) == (OURS,)


def test_a_recorded_address_goes_along_with_the_card_but_to_no_other_network() -> None:
    recorded = {"record": GuestRecord(addresses={"lan": "10.0.0.5/24"})}
    assert addressing.given(spec_of(mac=OTHER), state_of(**recorded), Plan())["lan"].kept == Reserved(
        "br0", OTHER, "10.0.0.5"
    )
    assert addressing.given(spec_of(bridge="br1"), state_of(**recorded), Plan()) == {}
    assert addressing.given(spec_of(unset=("networks[lan].ip",)), state_of(**recorded), Plan()) == {}


@pytest.mark.parametrize(
    ("state", "ip", "why"),
    [
        (state_of(server=False), "10.0.0.5/24", "the bridge br0 has no DHCP server of this host, and vm has no seed (cloud_init)"),
        (
            State(
                exists=True,
                power="stopped",
                persistent=side(nics=(nic(ip="dhcp"),), **{"cloud_init.network_config": "version: 1"}),
                bridges_there={"br0"},
                seed_path="/seed",
            ),
            "10.0.0.5/24",
            "cloud_init.network_config says how vm comes to its addresses",
        ),
        (state_of(server=False), "auto", "the bridge br0 has no DHCP server of this host"),
        (state_of(), "10.0.1.5/24", "10.0.1.5/24 is not in 10.0.0.0/24, the subnet of the bridge br0"),
        (state_of(), "10.0.0.1/24", "10.0.0.1 is the address of the bridge br0 itself"),
        (state_of(Reservation(OTHER, "10.0.0.5", "tv")), "10.0.0.5/24", "10.0.0.5 is kept for dhcp.hosts[tv] of the bridge, by br0"),
        (state_of(Reservation(MAC, "10.0.0.9", "tv")), "10.0.0.5/24", "br0 keeps 10.0.0.9 for this card, 52:54:00:00:00:01"),
        (state_of(leases={"br0": {"10.0.0.5": OTHER}}), "10.0.0.5/24", "br0 has leased 10.0.0.5 to 52:54:00:00:00:02"),
        (state_of(answering={"10.0.0.5": OTHER}), "10.0.0.5/24", "10.0.0.5 answers on br0 already, from 52:54:00:00:00:02"),
        (state_of(), "auto:10.0.0.0-10.0.0.0/24", "no address of 10.0.0.0/24 that may be taken on br0 is free"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_why(state: State, ip: str, why: str) -> None:
    (change,) = plan_vm(spec_of(ip), state).refused
    assert change.path == "networks[lan].ip" and f"networks[lan].ip: {why}" in str(change.reason)


def test_what_the_bridge_itself_keeps_is_said_with_the_way_to_have_it() -> None:
    (change,) = plan_vm(spec_of("10.0.0.5/24"), state_of(Reservation(OTHER, "10.0.0.5", "vm"))).refused
    assert str(change.reason).endswith(f"take it off there, or give this card the MAC {OTHER}")
    own = state_of(Reservation(MAC, "10.0.0.9", "tv"))
    (change,) = plan_vm(spec_of("auto"), own).refused
    words = f"br0 keeps 10.0.0.9 for this card, {MAC}, by dhcp.hosts[tv] of the bridge. Write 10.0.0.9/24"
    assert str(change.reason) == f"networks[lan].ip: {words}"
    assert plan_vm(spec_of("10.0.0.9/24"), own).refused == []


def test_where_nobody_else_does_the_seed_tells_the_address() -> None:
    keys = {"gateway": "10.0.0.1", "dns": ["10.0.0.53"]}
    state = state_of(server=False, seed_path="/seed")
    plan = plan_vm(spec_of("10.0.0.5/24", **keys), state)
    assert [change.path for change in plan.changes] == [
        "networks[lan].ip",
        "networks[lan].gateway",
        "networks[lan].dns",
    ]
    told = addressing.seed_cards(spec_of("10.0.0.5/24", **keys), state, plan)
    assert told == {"lan": Card(MAC, "10.0.0.5/24", "10.0.0.1", ("10.0.0.53",))}
    # What a server keeps the guest asks for; what is not written stays as the seed told it.
    assert addressing.seed_cards(spec_of("10.0.0.5/24"), state_of(), Plan()) == {"lan": Card(MAC)}
    kept = state_of(server=False, ip="10.0.0.9/24", seed_path="/seed")
    assert addressing.seed_cards(spec_of(), kept, Plan()) == {"lan": Card(MAC, "10.0.0.9/24")}
    assert addressing.seed_cards(spec_of(unset=("networks[lan].ip",)), kept, Plan()) == {"lan": Card(MAC)}


def test_what_the_server_tells_is_not_declared_beside_it() -> None:
    (change,) = plan_vm(spec_of(gateway="10.0.0.2"), state_of()).refused
    assert "networks[lan].gateway: the DHCP server of br0 tells its guests" in str(change.reason)


def test_what_a_killed_run_left_in_the_record_is_settled_by_the_next() -> None:
    state = state_of(
        KEPT, ip="10.0.0.5/24", record=GuestRecord(exists=True, reservations=(OURS, Reserved("br0", MAC, "10.0.0.6")))
    )
    plan = plan_vm(spec_of("10.0.0.5/24"), state)
    assert not plan.changed and plan.notes == ["networks"]


def test_a_record_keeps_the_reservations() -> None:
    record = load(dump(GuestRecord(reservations=(OURS,))), exists=True)
    assert record.reservations == (OURS,) and record.options == {}


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ([{"name": "lan", "ip": "dhcp", "gateway": "10.0.0.1"}], "gateway: needs a fixed address in ip"),
        ([{"name": "lan", "ip": "10.0.0.5/24", "gateway": "10.0.1.1"}], "an address in the network of 10.0.0.5/24"),
        ([{"name": "lan", "ip": "2001:db8::5/64"}], r"networks\[lan\]\.ip: must be an address of IPv4"),
        ([{"name": "lan", "ip": "auto:fd00::5-fd00::9/64"}], r"networks\[lan\]\.ip: must be an address of IPv4"),
        ([{"name": "lan", "ip": "10.0.0.5/24", "gateway": "fd00::1"}], "gateway: must be of IPv4"),
        ([{"name": "lan", "ip6": "10.0.0.5/24"}], "an IPv6 address with its prefix length"),
        ([{"name": "lan", "ip6": "slaac", "gateway6": "fd00::1"}], "gateway6: needs a fixed address in ip6"),
        ([{"name": "lan", "ip6": "fd00::5/64", "gateway6": "fd00:1::1"}], "an address in the network of fd00::5/64"),
        (
            [{"name": "a", "bridge": "br0", "ip6": "fd00::5/64"}, {"name": "b", "bridge": "br0", "ip6": "fd00::5/64"}],
            "is there twice",
        ),
        (
            [{"name": "a", "bridge": "br0", "ip": "10.0.0.5/24"}, {"name": "b", "bridge": "br0", "ip": "10.0.0.5/24"}],
            "is there twice",
        ),
    ],
)
def test_bad_input_is_refused(networks: list[dict[str, str]], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        parse({"name": "vm", "networks": networks})


SEEDED = {"seed_path": "/seed"}
FIXED = "fd00::5/64"


def with_ip6(ip6: str, gateway6: str = "", **keys: t.Any) -> State:
    return state_of(**keys).replace(persistent=side(nics=(nic(ip="dhcp", ip6=ip6, gateway6=gateway6),)))


@pytest.mark.parametrize("server", [True, False])
def test_the_seed_tells_an_address_of_ipv6_on_every_kind_of_bridge(server: bool) -> None:
    state, spec = state_of(server=server, **SEEDED), spec_of(ip6=FIXED, gateway6="fd00::1")
    plan = plan_vm(spec, state)
    assert [change.path for change in plan.changes] == ["networks[lan].ip6", "networks[lan].gateway6"]
    told = {"lan": Card(MAC, ip6=FIXED, gateway6="fd00::1")}
    assert addressing.seed_cards(spec, state, plan) == told and addressing.given6(spec, state, plan) == {"lan": FIXED}
    # What is not written stays as the seed told it, and follows the card to another MAC.
    stands = with_ip6(FIXED, "fd00::1", server=server, record=GuestRecord(addresses6={"lan": FIXED}), **SEEDED)
    assert not plan_vm(spec, stands).changed and not plan_vm(spec_of(), stands).notes
    assert addressing.seed_cards(spec_of(mac=OTHER), stands, Plan()) == {"lan": told["lan"]._replace(mac=OTHER)}


def test_the_way_out_of_ipv6_goes_with_its_address() -> None:
    stands = with_ip6(FIXED, "fd00::1", **SEEDED)
    for spec in (spec_of(ip6="slaac"), spec_of(unset=("networks[lan].ip6",))):
        plan = plan_vm(spec, stands)
        assert [change.path for change in plan.changes] == ["networks[lan].ip6", "networks[lan].gateway6"]
        assert addressing.seed_cards(spec, stands, plan) == {"lan": Card(MAC)}
    # What runs has both until it starts again.
    runs = with_ip6("", **SEEDED).replace(power="started", live=stands.persistent)
    plan = plan_vm(spec_of(ip6="slaac"), runs)
    assert not plan.changed and plan.restart_required == ["networks[lan].ip6", "networks[lan].gateway6"]
    (change,) = plan_vm(spec_of(ip6="fd00:1::5/64"), stands).refused
    assert "networks[lan].gateway6: fd00::1 is not in the network of fd00:1::5/64" in str(change.reason)


@pytest.mark.parametrize(
    ("state", "keys", "why"),
    [
        (state_of(), {"ip6": FIXED}, "ip6: no DHCP server keeps addresses of IPv6, and vm has no seed (cloud_init)"),
        (state_of(), {"ip6": "auto"}, "ip6: no DHCP server keeps addresses of IPv6, and vm has no seed (cloud_init)"),
        (
            state_of(**SEEDED).replace(
                persistent=side(nics=(nic(ip="dhcp"),), **{"cloud_init.network_config": "version: 1"})
            ),
            {"ip6": FIXED},
            "ip6: cloud_init.network_config says how vm comes to its addresses",
        ),
        (
            state_of(answering={"fd00::5": OTHER}, **SEEDED),
            {"ip6": FIXED},
            "ip6: fd00::5 answers on br0 already, from 52:54:00:00:00:02",
        ),
        (
            state_of(bare_bridges={("br0", "ip6")}, **SEEDED),
            {"ip6": "auto"},
            "ip6: br0 has no IPv6 address that would tell the network. Write what may be taken",
        ),
        (state_of(**SEEDED), {"ip6": "auto:fd00::-fd00::/64"}, "ip6: no address of fd00::/64 that may be taken on br0"),
        (state_of(**SEEDED), {"gateway6": "fd00::1"}, "gateway6: needs a fixed address in ip6"),
    ],
)
def test_what_of_ipv6_cannot_be_is_refused_with_why(state: State, keys: dict[str, str], why: str) -> None:
    (change,) = plan_vm(spec_of(**keys), state).refused
    assert f"networks[lan].{why}" in str(change.reason)


def test_an_address_of_ipv6_that_was_taken_stays() -> None:
    state = with_ip6(FIXED, record=GuestRecord(exists=True, addresses6={"lan": FIXED}), **SEEDED)
    for words in ("auto", "auto:fd00::100-fd00::1ff/64"):
        assert not plan_vm(spec_of(ip6=words), state).changed
    assert plan_vm(spec_of(ip6="auto:fd00:1::100-fd00:1::1ff/64"), state).changed


def test_nothing_of_a_seed_that_is_left_is_compared() -> None:
    card = {"name": "lan", "ip6": FIXED, "gateway6": "fd00::1"}
    spec = parse({"name": "vm", "networks": [card], "cloud_init": {"on_change": "ignore"}})
    assert not plan_vm(spec, state_of(**SEEDED)).changed
    with pytest.raises(SpecError, match=r"is not taken off, as cloud_init\.on_change says ignore"):
        parse({"name": "vm", "unset": ["networks[lan].ip6"], "cloud_init": {"on_change": "ignore"}})
