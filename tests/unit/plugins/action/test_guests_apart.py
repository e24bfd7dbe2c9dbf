# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.action._guests_apart import reasons


def guest(hypervisor: str, **spec: t.Any) -> dict[str, t.Any]:
    return {"guest_hypervisor": hypervisor, "guest_kind": "container", "guest_spec": spec}


def on(address: str) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", "bridge": "br0", "ip": address}]}


HOSTS = {
    "alpha": {},
    "beta": {},
    "web": guest("alpha", **on("10.0.0.7/24")),
    "db": guest("beta", **on("10.0.0.7/24")),
    "mail": guest("beta", **on("10.0.0.8/24")),
    "odd": guest("beta", memmory="1GiB"),
}


def test_guests_of_different_hypervisors_have_no_address_in_common():
    (sentence,) = reasons(["web", "db", "mail"], HOSTS, prune=False)
    assert sentence == "web on alpha and db on beta have both the address 10.0.0.7"
    assert reasons(["web", "mail"], HOSTS, prune=True) == []


def test_a_guest_that_cannot_be_read_stops_nobody_but_who_would_prune_it():
    assert reasons(["web", "odd"], HOSTS, prune=False) == []
    (sentence,) = reasons(["web", "odd"], HOSTS, prune=True)
    assert sentence == "guest_spec of odd: there is no option memmory. Is memory meant?"


def test_a_guest_that_lives_nowhere_stops_nobody_but_who_would_prune_it():
    hosts = {**HOSTS, "lost": guest("gamma")}
    assert reasons(["web", "lost"], hosts, prune=False) == []
    (sentence,) = reasons(["web", "lost"], hosts, prune=True)
    assert sentence == "lost: guest_hypervisor is 'gamma', it must be an inventory host"


def test_a_limited_run_is_compared_with_all_guests_of_the_inventory():
    hosts = {**HOSTS, "twin": guest("alpha", **on("10.0.0.7/24")), "lost": guest("gamma")}
    assert reasons(["web"], hosts, [], ["mail", "odd", "lost"], prune=True) == []
    assert reasons(["web"], hosts, [], ["db"], prune=False) == [
        "web on alpha and db on beta have both the address 10.0.0.7"
    ]
    assert reasons(["web"], hosts, [], ["twin"], prune=False) == [
        "web on alpha and twin on alpha have both the address 10.0.0.7"
    ]
    # What is wrong between two others is no business of this run.
    assert reasons(["mail"], hosts, [], ["web", "db", "twin"], prune=False) == []


def test_guests_that_want_nothing_for_themselves_are_compared_with_nobody():
    class Asked(dict[str, t.Any]):
        def __getitem__(self, name: str) -> t.Any:
            assert name != "db", "it was read"
            return super().__getitem__(name)

    hosts = Asked({**HOSTS, "plain": guest("alpha", **on("dhcp"))})
    assert reasons(["plain"], hosts, [], ["db"], prune=False) == []
