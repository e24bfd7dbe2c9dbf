# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One place says which addresses go by the name of a guest: resolvers of bridges, the lab and the comparison of guests have it from there."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._conflicts import guest_conflicts
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._lab_guests import declared_addresses
from ansible_collections.homelab.hybrid.plugins.plugin_utils._named import cards_of, with_names

NAT = {"name": "br0", "mode": "nat", "address": "10.20.0.1/24"}
OTHER = {"name": "br1", "mode": "routed", "address": "10.30.0.1/24"}


def guest(name: str, *cards: dict[str, t.Any], **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "networks": [{"name": f"net{number}", **card} for number, card in enumerate(cards)], **keys}


WEB = guest("web", {"bridge": "br0", "ip": "10.20.0.5/24", "ip6": "fd00:20::5/64"})


def hosts(*guests: dict[str, t.Any], bridge: dict[str, t.Any] | None = None) -> t.Any:
    (found,) = with_names([bridge or NAT], guests)
    return (found.get("dns") or {}).get("hosts")


def test_a_guest_is_found_at_its_fixed_addresses() -> None:
    assert hosts(WEB) == [{"name": "web", "ip": "10.20.0.5", "ip6": "fd00:20::5"}]
    assert hosts(guest("my_db", {"bridge": "br0", "ip": "10.20.0.6/24"})) == [{"name": "my-db", "ip": "10.20.0.6"}]


def test_it_is_found_at_the_first_of_each_family_as_the_lab_has_it() -> None:
    both = guest(
        "gw",
        {"bridge": "br0"},
        {"bridge": "br1", "ip": "10.30.0.2/24"},
        {"bridge": "br0", "ip": "10.20.0.2/24", "ip6": "fd00::2/64"},
    )
    assert hosts(both) == hosts(both, bridge=OTHER) == [{"name": "gw", "ip": "10.30.0.2", "ip6": "fd00::2"}]


def test_who_has_no_fixed_address_any_more_is_not_found() -> None:
    gone = [
        guest("dyn", {"bridge": "br0", "ip": "dhcp"}),
        guest("auto", {"bridge": "br0", "ip": "auto"}),
        {**WEB, "state": "absent"},
    ]
    assert hosts(*gone) == [{"name": name, "state": "absent"} for name in ("dyn", "auto", "web")]


def test_what_the_inventory_says_itself_of_a_name_stands() -> None:
    written = {"name": "web.home.arpa", "ip": "10.20.0.99"}
    assert hosts(WEB, bridge={**NAT, "dns": {"domain": "home.arpa", "hosts": [written]}}) == [written]
    assert with_names([{**NAT, "dns": {"domain": "x"}}], [WEB])[0]["dns"]["domain"] == "x"


def test_a_bridge_without_a_resolver_of_its_own_gets_no_names() -> None:
    for bridge in ({"name": "lan0", "mode": "ports"}, {**NAT, "state": "absent"}, {"name": "b", "mode": "isolated"}):
        assert with_names([bridge], [WEB]) == [bridge]
    assert with_names(["x", NAT], []) == ["x", NAT]


def test_the_options_of_bridges_have_the_names_and_the_lab_has_the_same_addresses() -> None:
    variables = {"inventory_hostname": "alpha", "hypervisor_bridges": [NAT]}
    spec = {"networks": WEB["networks"]}
    its = {"guest_kind": "container", "guest_hypervisor": "alpha", "guest_spec": spec}
    (bridge,) = host_options(variables, "bridges", ["web"], {"alpha": variables, "web": its})
    (host,) = bridge["dns"]["hosts"]
    assert (
        declared_addresses(its)
        == [host["ip"], host["ip6"]]
        == [str(it) for card in cards_of(WEB) for it in card.addresses.values()]
    )
    assert host_options(variables, "bridges") == [NAT]
    # The lab gives the names of services itself: they may lead to its proxy.
    served = {**its, "guest_services": ["jellyfin"]}
    assert host_options(variables, "bridges", ["web"], {"alpha": variables, "web": served}) == [NAT]


def conflicts(*guests: tuple[str, dict[str, t.Any]], others: t.Collection[str] = ()) -> list[str]:
    on: dict[str, list[str]] = {}
    for hypervisor, its in guests:
        on.setdefault(hypervisor, []).append(its["name"])
    hostvars = {name: {"hypervisor_bridges": [NAT]} for name in on}
    return guest_conflicts(on, hostvars, [its for dummy, its in guests], others)


def test_a_guest_of_the_run_is_compared_with_all_of_the_inventory() -> None:
    lan = {"bridge": "lan0", "ip": "192.0.2.5/24"}
    one, two = guest("one", lan), guest("two", lan)
    same = [("alpha", one), ("alpha", two)]
    # Of one host, both in the run: its layout compares them.
    assert conflicts(*same) == []
    assert conflicts(*same, others={"two"}) == ["one on alpha and two on alpha have both the address 192.0.2.5"]
    assert conflicts(*same, others={"one", "two"}) == []
    apart = [("alpha", one), ("beta", two)]
    assert (
        conflicts(*apart, others={"two"})
        == conflicts(*apart)
        == ["one on alpha and two on beta have both the address 192.0.2.5"]
    )
    hidden = guest("a", {"bridge": "br0", "ip": "10.20.0.5/24"}), guest("b", {"bridge": "br0", "ip": "10.20.0.5/24"})
    assert conflicts(("alpha", hidden[0]), ("beta", hidden[1]), others={"b"}) == []
    sentence = "a on alpha and b on alpha have both the address 10.20.0.5 on br0 of alpha"
    assert conflicts(("alpha", hidden[0]), ("alpha", hidden[1]), others={"b"}) == [sentence]
