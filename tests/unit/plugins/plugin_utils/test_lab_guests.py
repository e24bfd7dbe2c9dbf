# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as services and pages see it."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._lab_guests import lab_guests, show_bytes, show_uptime

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
    "desk": {
        "guest_hypervisor": "alpha",
        "guest_kind": "vm",
        "guest_aliases": ["table"],
        "guest_services": [{"name": "ssh"}],
    },
    "late": {"guest_hypervisor": "beta", "guest_kind": "container"},
}


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
    networks = [{"name": "lan", "ip": "10.1.0.5/24"}, {"name": "dmz", "ip": "dhcp"}, {"name": "own"}]
    late = {**HOSTVARS["late"], "guest_spec": {"networks": networks}}
    results = [{"item": "alpha", "guests": [VM]}, {"item": "beta", **answer, "msg": "no route"}]
    desk, found = lab_guests(results, ["late", "desk"], {**HOSTVARS, "late": late})
    assert (found["state"], found["addresses"], desk["state"]) == ("unknown", ["10.1.0.5"], "started")


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
