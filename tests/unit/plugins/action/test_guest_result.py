# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.action._guest_result import guest_result, is_of_host, layout_of

EMPTY: dict[str, t.Any] = {"plan": [], "restart_required": [], "kept": [], "unmanaged": [], "assumed": []}
WEB = {
    "kind": "container",
    "name": "web",
    "changed": True,
    "failed": False,
    "diff": {"before": {}, "after": {}},
    **EMPTY,
}
DATABASE = {"kind": "vm", "name": "db", "changed": False, "failed": True, "msg": "vcpus: 0 is refused", **EMPTY}
LATE = {
    "kind": "vm",
    "name": "late",
    "changed": False,
    "failed": False,
    "skipped": "depends on pool main, which failed",
    **EMPTY,
}
BRIDGE = {"kind": "bridge", "name": "same", "changed": True, "failed": False, **EMPTY}
LAYOUT = {"changed": True, "failed": True, "msg": "1 of 4 failed", "resources": [BRIDGE, WEB, DATABASE, LATE]}


def failure(layout: dict[str, t.Any] | None, name: str) -> str:
    told = guest_result(layout, name, "alpha")
    assert told["failed"] and not told["changed"]
    return str(told["msg"])


def test_a_guest_shows_its_own_change_where_another_failed():
    told = guest_result(LAYOUT, "web", "alpha")
    assert told == {"changed": True, "failed": False, **EMPTY}
    made = {
        **WEB,
        "diff": {"before": {"state": "absent", "memory": None}, "after": {"state": "started", "memory": "1GiB"}},
    }
    told = guest_result({**LAYOUT, "resources": [made]}, "web", "alpha")
    assert told["diff"] == {"before": {"state": "absent"}, "after": {"state": "started", "memory": "1GiB"}}


def test_a_guest_fails_for_its_own_reason():
    assert failure(LAYOUT, "db") == "vcpus: 0 is refused"
    assert failure(LAYOUT, "late") == "depends on pool main, which failed"


def test_a_guest_that_was_left_for_later_says_what_it_waits_for():
    left = {**LATE, "skipped": None, "deferred": "waits for nas:/x at /srv/media, which nas serves"}
    told = guest_result({"resources": [left]}, "late", "alpha")
    assert told.pop("_ansible_verbose_always") is True, "Ansible says nothing of what is ok"
    assert told == {"changed": False, "msg": "waits for nas:/x at /srv/media, which nas serves"}


def test_a_host_item_of_the_same_name_is_not_the_guest():
    assert failure({**LAYOUT, "msg": "no"}, "same") == "no"


def test_every_guest_of_a_refused_layout_says_why():
    assert failure({"msg": "two guests have one address", "resources": []}, "web") == "two guests have one address"


def test_the_guests_of_an_unreachable_host_say_so():
    assert failure({"unreachable_host": True, "msg": "no route"}, "web") == "alpha is unreachable: no route"


def test_the_guests_of_a_host_that_failed_before_say_so():
    assert failure(None, "web") == "alpha failed before its guests were looked at"


def test_a_guest_whose_options_cannot_be_read_fails_with_that_alone():
    assert guest_result(LAYOUT, "web", "alpha", "web: no such option")["msg"] == "web: no such option"


def test_a_refusal_is_told_in_the_words_of_a_run_and_of_an_inventory():
    refused = {**DATABASE, "msg": "disks[root].size: 2 -> 1 is refused. Permit it with allow: [replace_disk]"}
    assert failure({**LAYOUT, "resources": [refused]}, "db").endswith(
        """Permit it for one run with -e '{"guest_allow": ["replace_disk"]}'"""
    )
    told = "the host has 1GiB (overcommit.memory 1). bridges[lan].address: no. Write a higher overcommit.memory"
    assert failure({"msg": told}, "alpha") == (
        "the host has 1GiB (hypervisor_overcommit.memory 1). hypervisor_bridges[lan].address: no. "
        "Write a higher hypervisor_overcommit.memory"
    )
    whole = {"msg": "storage pool main: x holds ext4. Permit it with allow: [format]"}
    assert failure(whole, "db") == failure(whole, "alpha") and "hypervisor_allow" in failure(whole, "db")
    told = "storage_pools[main]: source: x holds ext4. Permit it with allow: [format]"
    assert failure({"msg": told}, "alpha").endswith(
        """hypervisor_storage_pools[main]: source: x holds ext4. Permit it for one run with -e '{"hypervisor_allow": ["format"]}'"""
    )
    assert (
        failure({"msg": "what images are, and vms[a].bridges[x]"}, "alpha") == "what images are, and vms[a].bridges[x]"
    )


def test_a_host_fails_as_its_layout_did():
    assert failure(LAYOUT, "alpha") == "1 of 4 failed"
    assert failure({"unreachable_host": True, "msg": "no route"}, "alpha") == "alpha is unreachable: no route"
    for layout in (None, {"changed": True, "resources": [WEB]}):
        assert guest_result(layout, "alpha", "alpha") == {"changed": False}, "what changed there its guests tell"


def test_a_host_tells_of_its_guests_in_their_words():
    raw = "disks[root]: is there already. Permit it with allow: [adopt]"
    layout = {**LAYOUT, "msg": f"1 of 4 failed: vm db: {raw}", "resources": [{**DATABASE, "msg": raw}]}
    assert failure(layout, "alpha") == f"1 of 4 failed: vm db: {failure(layout, 'db')}"
    assert "guest_allow" in failure(layout, "alpha")


def known(**variables: t.Any) -> dict[str, t.Any]:
    """The variables of a host in a run with the hypervisor alpha and its guests web and db."""
    groups = {"hypervisors": ["alpha", "both"], "guests": ["web", "db", "both"]}
    return {"groups": groups, **variables}


def test_a_hypervisor_tells_of_itself_and_one_that_is_a_guest_where_its_own_layout_failed():
    def told_as_host(name: str, **variables: t.Any) -> bool:
        return is_of_host(name, known(**variables), "hypervisors", "guests")

    assert told_as_host("alpha") and not told_as_host("web")
    assert not told_as_host("both", hypervisor_layout={"resources": []})
    assert told_as_host("both", hypervisor_layout={"msg": "refused"})
    assert not told_as_host("web", hypervisor_layout={"msg": "refused"})


def test_the_layout_of_a_guest_is_that_of_its_host_or_of_the_guests_in_the_run():
    variables = {"alpha": {"hypervisor_layout": LAYOUT}, "db": {"guest_layout": {"msg": "alone"}}, "lost": {}}
    run = {
        "guests_sorted": {"by_hypervisor": {"alpha": ["db", "web"], "lost": []}},
        "guests_hypervisors": ["alpha", "lost"],
    }
    assert layout_of("alpha", run, variables.__getitem__) == LAYOUT
    assert layout_of("alpha", {**run, "guests_hypervisors": ["lost"]}, variables.__getitem__) == {"msg": "alone"}
    assert layout_of("lost", run, variables.__getitem__) is None
    # What the role registered where it could not reach the host.
    variables["lost"] = {"__hypervisor_read": {"unreachable": True, "msg": "no route"}}
    assert failure(layout_of("lost", run, variables.__getitem__), "web") == "alpha is unreachable: no route"
