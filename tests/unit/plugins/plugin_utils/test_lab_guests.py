# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as services and pages see it."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._lab_guests import (
    forgotten,
    lab_summed,
    show_bytes,
    show_uptime,
)

VM = {
    "name": "desk",
    "kind": "vm",
    "state": "started",
    "description": "A desk",
    "tags": ["a"],
    "addresses": ["192.0.2.7", "fe80::1", "127.0.0.1", "2001:db8::7"],
    "vcpus": 2,
    "memory": "1GiB",
    "disks": [
        {"pool": "fast", "size_bytes": 8 * 2**30},
        {"pool": "big", "size_bytes": 2**31},
        {"pool": None, "size_bytes": None},
    ],
    "uptime_seconds": 90061.5,
}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "alpha": {},
    "beta": {},
    "desk": {
        "guest_hypervisor": "alpha",
        "guest_kind": "vm",
        "guest_aliases": ["table"],
        "guest_cards": [{"name": "ssh"}],
    },
    "late": {"guest_hypervisor": "beta", "guest_kind": "container"},
}


DOMAIN = "lab.home.arpa"
SERVED: dict[str, dict[str, t.Any]] = {
    "dns": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_services": ["unbound"]},
    "door": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_services": ["reverse_proxy"]},
}


def lab_guests(results: list[dict[str, t.Any]], names: list[str], hostvars: t.Any) -> list[dict[str, t.Any]]:
    return t.cast("list[dict[str, t.Any]]", lab_summed(results, names, hostvars, DOMAIN)["guests"])


def published(variables: dict[str, dict[str, t.Any]], **addresses: str) -> dict[str, t.Any]:
    """The lab of running guests with these variables and addresses."""
    guests = [{"name": name, "state": "started", "addresses": [address]} for name, address in addresses.items()]
    return lab_summed([{"item": "alpha", "guests": guests}], list(variables), {"alpha": {}, **variables}, DOMAIN)


def names(lab: dict[str, t.Any]) -> dict[str, list[str]]:
    return {name: record["addresses"] for record in lab["records"] for name in (record["name"], *record["aliases"])}


@pytest.fixture
def web(a_role: t.Callable[..., None]) -> None:
    """A role of a service that answers HTTP, as a user has it."""
    a_role("films", "title: Films\nport: films_port", defaults={"films_port": 8096})


def test_a_service_is_found_at_its_guest_where_there_is_no_proxy(web: None) -> None:
    lab = published(
        {"dns": SERVED["dns"], "box": {**SERVED["dns"], "guest_services": ["my.lab.films"]}},
        dns="10.0.0.3",
        box="10.0.0.4",
    )
    assert names(lab) == {
        "dns": ["10.0.0.3"],
        "unbound": ["10.0.0.3"],
        "box": ["10.0.0.4"],
        "films": ["10.0.0.4"],
    }
    assert lab["sites"] == []
    assert [guest["services"] for guest in lab["guests"]] == [
        [{"name": "Films", "url": "http://films.lab.home.arpa:8096/", "asks": ["http://10.0.0.4:8096/"]}],
        [{"name": "DNS resolver (unbound)", "asks": [f"dns://10.0.0.3:53/dns.{DOMAIN}"]}],
    ]


def test_a_service_that_is_asked_otherwise_is_shown_with_its_port() -> None:
    (guest,) = published({"mqtt": {**SERVED["dns"], "guest_services": ["mosquitto"]}}, mqtt="10.0.0.9")["guests"]
    assert guest["services"] == [{"name": "Mosquitto", "port": 1883, "asks": ["tcp://10.0.0.9:1883"]}]


def test_a_service_is_found_at_the_proxy_and_its_guest_keeps_a_name(web: None) -> None:
    films = {**SERVED["dns"], "guest_services": ["my.lab.films"], "films_port": 8097}
    lab = published({**SERVED, "films": films}, dns="10.0.0.3", door="10.0.0.2", films="10.0.0.4")
    assert names(lab) == {
        "dns": ["10.0.0.3"],
        "unbound": ["10.0.0.3"],
        "door": ["10.0.0.2"],
        "overview": ["10.0.0.2"],
        "films": ["10.0.0.2"],
        "films.guests": ["10.0.0.4"],
    }
    url = "https://films.lab.home.arpa/"
    site = {"name": "films.lab.home.arpa", "aliases": [], "upstreams": ["http://10.0.0.4:8097"], "url": url}
    assert (lab["sites"], lab["proxies"]) == ([site], ["10.0.0.2"])
    assert lab["guests"][2]["services"] == [{"name": "Films", "url": url, "asks": ["http://10.0.0.4:8097/"]}]
    assert lab["guests"][1]["services"] == [
        {
            "name": "Overview of the lab (Caddy)",
            "url": "http://overview.lab.home.arpa/",
            "asks": ["http://10.0.0.2:80/"],
        }
    ]


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"reverse_proxy_tls": "off"}, "http://films.lab.home.arpa/"),
        ({"reverse_proxy_tls": "off", "reverse_proxy_port": 8080}, "http://films.lab.home.arpa:8080/"),
        ({"reverse_proxy_port": 8080}, "https://films.lab.home.arpa/"),
    ],
)
def test_a_page_leads_to_a_service_as_its_proxy_serves_it(web: None, variables: dict[str, t.Any], url: str) -> None:
    films = {**SERVED["dns"], "guest_services": ["my.lab.films"]}
    lab = published({"door": {**SERVED["door"], **variables}, "box": films}, door="10.0.0.2", box="10.0.0.4")
    assert lab["guests"][0]["services"] == [{"name": "Films", "url": url, "asks": ["http://10.0.0.4:8096/"]}]
    assert [site["url"] for site in lab["sites"]] == [url]


def test_of_a_service_on_two_guests_each_has_a_name_and_a_site_of_its_own(web: None) -> None:
    films = {**SERVED["dns"], "guest_services": ["my.lab.films"]}
    lab = published({**SERVED, "a": films, "b": films}, door="10.0.0.2", a="10.0.0.4", b="10.0.0.5")
    assert [site["name"].partition(".")[0] for site in lab["sites"]] == ["films-a", "films-b"]
    assert "films" not in names(lab)


def test_each_application_of_a_service_has_a_name_and_a_site() -> None:
    wanted = [
        {"name": "git_one", "preset": "forgejo"},
        {"name": "wiki", "title": "Wiki", "port": 8080},
        {"name": "job"},
        {"name": "old", "port": 8081, "state": "absent"},
    ]
    box = {**SERVED["dns"], "guest_services": ["docker_host", "compose_app"], "compose_app_apps": wanted}
    lab = published({**SERVED, "box": box}, door="10.0.0.2", box="10.0.0.4")
    assert {site["name"].partition(".")[0]: site["upstreams"] for site in lab["sites"]} == {
        "git-one": ["http://10.0.0.4:3000"],
        "wiki": ["http://10.0.0.4:8080"],
    }
    assert names(lab)["wiki"] == ["10.0.0.2"] and names(lab)["job"] == ["10.0.0.4"] and "old" not in names(lab)
    cards = next(guest for guest in lab["guests"] if guest["name"] == "box")["services"]
    assert {card["name"]: card["asks"] for card in cards} == {
        "Docker": [],
        "Forgejo": ["http://10.0.0.4:3000/api/healthz"],
        "Wiki": ["http://10.0.0.4:8080/"],
        "job": [],
    }


@pytest.mark.parametrize(
    ("declares", "asks"),
    [
        ("port: films_port\nhealth: /health", ["http://10.0.0.4:8096/health"]),
        ("listens: [{port: 53, protocol: udp}, {port: 1883}]", ["tcp://10.0.0.4:1883"]),
        ("listens: [{port: 53, protocol: udp}]", []),
        ("port: films_port\ndns_port: 5353", ["dns://10.0.0.4:5353/box.lab.home.arpa", "http://10.0.0.4:8096/"]),
    ],
)
def test_a_service_is_asked_as_its_role_declares_it(
    a_role: t.Callable[..., None], declares: str, asks: list[str]
) -> None:
    a_role("films", f"title: Films\n{declares}", defaults={"films_port": 8096})
    (box,) = published({"box": {**SERVED["dns"], "guest_services": ["my.lab.films"]}}, box="10.0.0.4")["guests"]
    assert box["services"][0]["asks"] == asks


def test_a_service_whose_address_nobody_knows_is_not_asked(web: None) -> None:
    lab = lab_guests([], ["box"], {"box": {**SERVED["dns"], "guest_services": ["my.lab.films"]}})
    assert lab[0]["services"][0]["asks"] == []


def test_a_guest_whose_services_cannot_be_read_is_shown_without_them() -> None:
    lab = published({"odd": {**SERVED["dns"], "guest_services": ["no_such_role"]}}, odd="10.0.0.9")
    assert names(lab) == {"odd": ["10.0.0.9"]}


NAT = {"name": "nat0", "address": "10.0.0.1/24"}
OWN = {**NAT, "name": "nat1", "mode": "routed", "dns": {"hosts": [{"name": "dns.lab.home.arpa", "ip": "10.0.0.9"}]}}
LAN = {"name": "lan0", "mode": "ports", "address": "192.0.2.2/24"}


def test_the_bridges_that_guests_ask_answer_the_names_of_the_lab() -> None:
    alpha = {"hypervisor_bridges": [NAT, OWN, LAN]}
    guests = [{"name": "dns", "state": "started", "addresses": ["fd00::3", "10.0.0.3", "fd00::4"]}]
    hostvars = {"alpha": alpha, "dns": SERVED["dns"]}
    nat, own = lab_summed([{"item": "alpha", "guests": guests}], ["dns"], hostvars, DOMAIN)["bridges"]
    assert nat["hosts"] == [
        {"name": "dns.lab.home.arpa", "ip": "10.0.0.3", "ip6": "fd00::3"},
        {"name": "unbound.lab.home.arpa", "ip": "10.0.0.3", "ip6": "fd00::3"},
    ]
    assert (own["name"], [host["name"] for host in own["hosts"]]) == ("nat1", ["unbound.lab.home.arpa"])


@pytest.mark.parametrize(("keeps", "gone"), [(False, ["old.lab.home.arpa"]), (True, [])])
def test_a_name_that_is_no_longer_the_labs_is_forgotten_where_all_of_it_is_known(keeps: bool, gone: list[str]) -> None:
    bridge = {"hosts": [{"name": "a.lab.home.arpa"}], "others": ["b.lab.home.arpa"], "keeps": keeps}
    there = ["a.lab.home.arpa", "b.lab.home.arpa", "old.lab.home.arpa", "printer", "c.elsewhere.org"]
    told = {"bridge": {"dns": {"hosts": [{"name": name, "ip": "10.0.0.1"} for name in there]}}}
    assert forgotten(told, bridge, DOMAIN) == [{"name": name, "state": "absent"} for name in gone]
    assert forgotten({"skipped": True}, bridge, DOMAIN) == []


def test_each_guest_is_seen_on_its_own_hypervisor() -> None:
    other = {**VM, "state": "stopped"}
    results = [{"item": "beta", "guests": [other, {"name": "stranger"}]}, {"item": "alpha", "guests": [VM]}]
    desk, late = lab_guests(results, ["late", "desk"], HOSTVARS)
    assert desk == {
        "name": "desk",
        "kind": "vm",
        "state": "started",
        "hypervisor": "alpha",
        "description": "A desk",
        "tags": ["a"],
        "addresses": ["192.0.2.7", "2001:db8::7"],
        "cpus": 2,
        "memory": "1GiB",
        "disk": "10GiB",
        "pool": "big, fast",
        "uptime": "1 d 1 h",
        "services": [{"name": "ssh"}],
        "aliases": ["table"],
    }
    assert (late["state"], late["kind"], late["addresses"], late["hypervisor"]) == ("absent", "container", [], "beta")


@pytest.mark.parametrize("answer", [{"unreachable": True}, {"failed": True}], ids=["unreachable", "failed"])
def test_a_guest_whose_hypervisor_does_not_answer_keeps_its_fixed_addresses(answer: dict[str, bool]) -> None:
    networks = [
        {"name": "lan", "ip": "10.1.0.5/24", "ip6": "fd00::5/64"},
        {"name": "dmz", "ip": "dhcp", "ip6": "slaac"},
        {"name": "own"},
    ]
    late = {**HOSTVARS["late"], "guest_spec": {"networks": networks}}
    results = [{"item": "alpha", "guests": [VM]}, {"item": "beta", **answer, "msg": "no route"}]
    desk, found = lab_guests(results, ["late", "desk"], {**HOSTVARS, "late": late})
    assert (found["state"], found["addresses"], desk["state"]) == ("unknown", ["10.1.0.5", "fd00::5"], "started")


def test_what_is_no_answer_of_guest_info_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="guest_info"):
        lab_guests([{"item": "alpha", "msg": "no"}], [], {})


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0, "0 s"), (59.9, "59 s"), (3600, "1 h 0 min"), (86400 * 3, "3 d 0 h")]
)
def test_uptime_has_its_two_largest_units(seconds: float | None, shown: str) -> None:
    assert show_uptime(seconds) == shown


@pytest.mark.parametrize(("size", "shown"), [(2**30, "1GiB"), (2**30 * 5 // 2, "2.5GiB"), (300 * 2**20, "300MiB")])
def test_sizes_are_short(size: int, shown: str) -> None:
    assert show_bytes(size) == shown
