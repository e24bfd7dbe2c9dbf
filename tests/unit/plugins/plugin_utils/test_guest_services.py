# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of guests: what their roles declare, and their order over the whole lab."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_services import (
    in_order,
    lab_services,
    port_of,
    services_of,
)

MakeRole = t.Callable[..., None]


def order(*roles: str) -> list[str]:
    return [service.name for service in in_order(services_of("web", {"guest_services": list(roles)}))]


def test_a_name_without_a_dot_is_a_role_of_this_collection() -> None:
    (service,) = services_of("web", {"guest_services": ["unbound", "homelab.hybrid.unbound"]})
    assert service.role == "homelab.hybrid.unbound", "and is there once"
    assert services_of("web", {}) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["unbond"], "guest_services of web: there is no role homelab.hybrid.unbond. Is unbound meant?"),
        (["hypervisor"], "guest_services of web: homelab.hybrid.hypervisor is no role of a service: its vars/main.yml"),
        (["no.such.thing"], "guest_services of web: the collection no.such of no.such.thing is not there"),
        ("unbound", "guest_services of web: must be a list of names of roles"),
        ([{"name": "ssh", "port": 22}], "What a page shows besides is written in guest_cards"),
    ],
)
def test_what_is_no_service_is_refused_with_what_is_meant(written: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        services_of("web", {"guest_services": written})
    assert said in str(refused.value)


def test_resolvers_come_first_and_proxies_last_whatever_the_inventory_says(a_role: MakeRole) -> None:
    a_role("films")
    assert order("reverse_proxy", "my.lab.films", "unbound") == ["unbound", "films", "reverse_proxy"]
    # What a resolver fetches comes through the gateway.
    guests = {"gate": ["opnsense"], "names": ["adguard_home"], "films": ["jellyfin"]}
    steps = lab_services(guests, {name: {"guest_services": its} for name, its in guests.items()}, guests)["steps"]
    assert [step.rpartition(".")[2] for step in steps] == ["opnsense", "adguard_home", "jellyfin"]


def test_who_serves_needs_gateways_and_resolvers_and_what_is_required_before(a_role: MakeRole) -> None:
    a_role("share", "requires: [my.lab.store]")
    a_role("store", "requires: [my.lab.base]")
    a_role("base")
    guests = {
        "way": ["opnsense"],
        "dns": ["unbound"],
        "nas": ["my.lab.share"],
        "more": ["my.lab.store", "my.lab.base", "jellyfin"],
        "door": ["reverse_proxy"],
    }
    hostvars = {name: {"guest_services": its} for name, its in guests.items()}

    def steps(**more: t.Any) -> list[str]:
        return [step.rpartition(".")[2] for step in lab_services(guests, hostvars, guests, **more)["steps"]]

    assert steps(serving=["nas"]) == ["opnsense", "unbound", "base", "store", "share"]
    assert steps(serving=["nas"], run_tags=["share"]) == ["share"]
    assert steps() == ["opnsense", "unbound", "jellyfin", "base", "store", "share", "reverse_proxy"]


def test_two_resolvers_of_a_guest_need_two_ports() -> None:
    both = {"guest_services": ["unbound", "pihole"]}
    with pytest.raises(AnsibleFilterError) as refused:
        services_of("dns", both)
    assert "guest_services of dns: unbound and pihole both answer names at port 53" in str(refused.value)
    assert "unbound_port, pihole_dns_port" in str(refused.value)
    # As Pi-hole's own guide has it: a recursive resolver behind it.
    assert len(services_of("dns", {**both, "unbound_port": 5335})) == 2


def test_what_is_required_comes_before(a_role: MakeRole) -> None:
    a_role("archive", "requires: [my.lab.store, my.lab.nowhere]")
    a_role("store")
    a_role("names", "provides: resolver\nrequires: [my.lab.zone_store]")
    a_role("zone_store")
    assert order("my.lab.archive", "my.lab.store") == ["store", "archive"]
    assert order("my.lab.archive", "my.lab.store", "my.lab.names", "my.lab.zone_store") == [
        "zone_store",
        "names",
        "store",
        "archive",
    ]


def test_services_that_require_each_other_are_refused(a_role: MakeRole) -> None:
    a_role("hen", "requires: [my.lab.egg]")
    a_role("egg", "requires: [my.lab.hen]")
    with pytest.raises(AnsibleFilterError, match=r"in a circle: my\.lab\.egg, my\.lab\.hen"):
        order("my.lab.hen", "my.lab.egg")


@pytest.mark.parametrize(
    ("port", "variables", "found"),
    [
        ("films_port", {}, 8096),
        ("films_port", {"films_port": "8097"}, 8097),
        ("'{{ films_port }}'", {}, 8096),
        ("80", {}, 80),
        ("'{{ films_port + 1 }}'", {}, None),
        ("null", {}, None),
    ],
)
def test_the_port_is_that_of_the_guest_or_the_default_of_the_role(
    a_role: MakeRole, port: str, variables: dict[str, t.Any], found: int | None
) -> None:
    a_role("films", f"port: {port}", defaults={"films_port": 8096})
    (service,) = services_of("web", {"guest_services": ["my.lab.films"]})
    assert port_of(service, variables) == found


LAB: dict[str, dict[str, t.Any]] = {
    "door": {"guest_services": ["reverse_proxy"]},
    "dns": {"guest_services": ["unbound"]},
    "plain": {},
    "odd": {"guest_services": ["unbond"]},
}


@pytest.mark.parametrize(
    ("play", "run_tags", "skip_tags", "steps"),
    [
        (LAB, ["all"], [], ["unbound", "reverse_proxy"]),
        (LAB, ["services"], [], ["unbound", "reverse_proxy"]),
        (LAB, ["unbound", "guests"], [], ["unbound"]),
        (LAB, ["homelab.hybrid.unbound"], [], ["unbound"]),
        (LAB, ["all"], ["unbound"], ["reverse_proxy"]),
        (LAB, ["all"], ["services"], []),
        (LAB, ["hypervisors"], [], []),
        (["door", "plain"], ["all"], [], ["reverse_proxy"]),
    ],
)
def test_a_run_has_the_steps_of_its_hosts_and_tags(
    play: t.Any, run_tags: list[str], skip_tags: list[str], steps: list[str]
) -> None:
    told = lab_services(LAB, LAB, play, run_tags, skip_tags)
    assert told["steps"] == [f"homelab.hybrid.{name}" for name in steps]
    assert set(told["of"]) == {"door", "dns"}
    assert set(told["errors"]) == {"odd"}
