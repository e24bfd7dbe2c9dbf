# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What layouts returned, as one report."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.filter.guest_options import guest_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._advice import guest_advice
from ansible_collections.homelab.hybrid.plugins.plugin_utils._conflicts import guest_conflicts
from ansible_collections.homelab.hybrid.plugins.plugin_utils._report import lab_report


def change(path: str, before: t.Any, after: t.Any, done: bool = False) -> dict[str, t.Any]:
    return {"path": path, "before": before, "after": after, "how": "live", "done": done}


def report(*resources: dict[str, t.Any], **result: t.Any) -> dict[str, t.Any]:
    whole = [{"kind": "container", "name": "web", "plan": [], **resource} for resource in resources]
    return lab_report([{"hypervisor": "alpha", "result": {"resources": whole, **result}}])


MEMORY = change("memory", "1GiB", "2GiB")


@pytest.mark.parametrize(
    ("resource", "status", "has_drifted", "differences"),
    [
        ({}, "as declared", False, ""),
        ({"restart_required": ["cpu.cores"]}, "waits for a restart", False, "cpu.cores"),
        ({"plan": [MEMORY]}, "differs", True, "memory: 1GiB -> 2GiB"),
        ({"plan": [{**MEMORY, "done": True}]}, "changed", True, "memory: 1GiB -> 2GiB"),
        ({"plan": [change("state", "absent", "started"), MEMORY]}, "missing", True, "is not there"),
        ({"plan": [change("state", "stopped", "started")]}, "differs", True, "state: stopped -> started"),
        ({"plan": [MEMORY], "failed": True, "msg": "no"}, "failed", True, "no"),
        ({"skipped": "depends on pool main"}, "skipped", True, "depends on pool main"),
    ],
)
def test_each_resource_has_one_word(
    resource: dict[str, t.Any], status: str, has_drifted: bool, differences: str
) -> None:
    found = report(resource)
    (told,) = found["hosts"]["alpha"]["resources"]
    assert (told["status"], told["drifted"], found["drifted"]) == (status, has_drifted, has_drifted)
    assert found["entries"][0]["differences"] == differences
    assert found["entries"][0]["status"] == status


@pytest.mark.parametrize(
    ("kind", "variable"), [("storage_pool", "hypervisor_allow"), ("vm", "guest_allow"), ("container", "guest_allow")]
)
def test_a_refusal_says_the_variable_that_permits_it(kind: str, variable: str) -> None:
    found = report({"kind": kind, "failed": True, "msg": "It is lost. Permit it with allow: [format]"})
    assert found["hosts"]["alpha"]["resources"][0]["error"].endswith(f"""-e '{{"{variable}": ["format"]}}'""")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"unreachable": True, "msg": "no route"}, "unreachable: no route"),
        ({"unreachable_host": True, "msg": "no route"}, "unreachable: no route"),
        ({"msg": "MODULE FAILURE"}, "MODULE FAILURE"),
        ({}, "it gave no answer"),
        ({"msg": "web and dns have both the address 192.0.2.1", "resources": []}, "web and dns have both"),
    ],
)
def test_a_host_without_an_answer_has_drifted(result: dict[str, t.Any], said: str) -> None:
    found = lab_report([{"hypervisor": "alpha", "result": result}])
    assert found["drifted"] is True
    assert found["hosts"]["alpha"]["error"].startswith(said)
    assert found["entries"][0]["differences"].startswith(said)


def test_a_failure_of_one_resource_is_its_own() -> None:
    assert report({"failed": True, "msg": "no"}, msg="1 of 1 failed")["hosts"]["alpha"]["error"] is None


def test_guests_that_no_inventory_names_are_told_and_no_drift() -> None:
    found = report({}, unlisted=[{"kind": "vm", "name": "old"}])
    assert found["drifted"] is False
    assert found["entries"][-1] == {"host": "alpha", "kind": "vm", "name": "old", "status": "not in the inventory"}


def test_guests_of_the_inventory_that_a_run_leaves_out_are_none_of_these() -> None:
    hostvars = {"web": {"guest_hypervisor": "alpha"}, "dns": {"guest_hypervisor": "beta"}}
    unlisted = [{"kind": "container", "name": name} for name in ("web", "dns", "old")]
    found = lab_report([{"hypervisor": "alpha", "result": {"resources": [], "unlisted": unlisted}}], hostvars=hostvars)
    assert [guest["name"] for guest in found["hosts"]["alpha"]["unlisted"]] == ["dns", "old"]
    assert [entry["name"] for entry in found["entries"]] == ["dns", "old"]


def test_what_lies_in_the_quarantine_is_told_and_no_drift() -> None:
    lies = {
        "guest": "old",
        "kind": "vm",
        "moment": "20261127T221500Z",
        "until": "2026-12-04T22:15:00Z",
        "bytes": 3 * 2**20 + 1,
    }
    nothing = {"resources": []}
    found = lab_report(
        [{"hypervisor": "alpha", "result": nothing}, {"hypervisor": "alpha", "result": nothing, "quarantine": [lies]}]
    )
    assert found["drifted"] is False and found["hosts"]["alpha"]["quarantine"] == [lies]
    del lies["bytes"]
    assert found["quarantine"] == [{"host": "alpha", **lies, "size": "3MiB"}]


def test_the_steps_of_one_host_are_one_host() -> None:
    step = {"resources": [{"kind": "vm", "name": "desk", "plan": []}]}
    failed = {"resources": [{"kind": "vm", "name": "web", "plan": [], "failed": True, "msg": "no"}]}
    found = lab_report([{"hypervisor": "alpha", "result": result} for result in (step, failed)])
    assert [each["name"] for each in found["hosts"]["alpha"]["resources"]] == ["desk", "web"]
    assert found["hosts"]["alpha"]["drifted"] is True


def test_what_is_declared_is_told_without_secrets() -> None:
    hostvars = {
        "alpha": {"hypervisor_storage_pools": [{"name": "main", "path": "/srv/a"}]},
        "desk": {
            "guest_kind": "vm",
            "guest_spec": {
                "disks": [{"name": "root", "size": "8GiB"}],
                "cloud_init": {"user": "admin", "user_data": "#cloud-config\npassword: correct horse\n"},
            },
        },
    }
    parts = {"alpha": {"hypervisor": "alpha", "is_whole": True, "guests": ["desk"]}}
    resources = [{"kind": kind, "name": name, "plan": []} for kind, name in (("storage_pool", "main"), ("vm", "desk"))]
    found = lab_report([{"hypervisor": "alpha", "result": {"resources": resources}}], parts, hostvars)
    pool, desk = found["hosts"]["alpha"]["resources"]
    assert pool["declared"] == {"name": "main", "path": "/srv/a"}
    assert desk["declared"]["cloud_init"] == {"user": "admin", "user_data": "(secret)"}
    assert desk["declared"]["disks"] == [{"name": "root", "size": "8GiB"}]


@pytest.mark.parametrize("written", [["br0"], "br0", {"name": "br0"}, [None]])
def test_a_list_of_another_form_is_left_to_the_module_to_refuse(written: t.Any) -> None:
    hostvars = {
        "alpha": {"hypervisor_bridges": written},
        "web": {
            "guest_kind": "vm",
            "guest_hypervisor": "alpha",
            "guest_spec": {"disks": {"root": 1}, "networks": "lan"},
        },
    }
    parts = {"alpha": {"hypervisor": "alpha", "is_whole": True, "guests": ["web"]}}
    found = lab_report([{"hypervisor": "alpha", "result": {"msg": "bridges: no"}}], parts, hostvars)
    assert found["hosts"]["alpha"]["error"] == "bridges: no"
    options = guest_options(["web"], hostvars, "vm")
    assert guest_conflicts({"alpha": ["web"]}, hostvars, options) == []
    assert guest_advice(["web"], hostvars) == []


def test_what_a_host_is_to_tell_is_what_it_does_not_see_itself() -> None:
    resources = [
        {"kind": "vm", "name": "web", "plan": [MEMORY]},
        {"kind": "storage_pool", "name": "main", "failed": True, "msg": "it is full"},
        {"kind": "container", "name": "ok", "plan": [], "restart_required": ["memory: 1 -> 2"]},
    ]
    told = {"hypervisor": "alpha", "result": {"resources": resources}, "backups": [backed_up("overdue")]}
    found = lab_report([told], None, {"alpha": {"hypervisor_backup_jobs": [{"name": "nightly"}]}})["hosts"]["alpha"]
    assert found["drift"] == [
        f"vm web differs ({MEMORY['path']}: {MEMORY['before']} -> {MEMORY['after']})",
        "storage pool main failed (it is full)",
    ]
    assert lab_report([{"hypervisor": "alpha", "result": {"msg": "no"}}])["hosts"]["alpha"]["drift"] == ["no"]


def test_long_values_are_cut_in_the_table_alone() -> None:
    found = report({"plan": [change("description", None, "x" * 500)]})
    assert found["entries"][0]["differences"] == f"description: nothing -> {'x' * 57}..."
    assert len(found["hosts"]["alpha"]["resources"][0]["plan"][0]["after"]) == 500


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="hypervisor and result"):
        lab_report([{"result": {}}])


@pytest.mark.parametrize(
    ("switch", "plan", "line"),
    [
        ({"state": "armed", "ends": "20:16"}, [], "is being changed: is taken back at 20:16 unless it is confirmed"),
        ({"state": "rolled_back", "began": "20:15", "reason": "cut"}, [MEMORY], "was taken back: 20:15: cut"),
        ({"state": "rolled_back", "began": "20:15", "reason": "cut"}, [], None),
        ({"state": "confirmed"}, [MEMORY], None),
    ],
)
def test_a_switch_is_told_while_it_is_under_way_or_what_it_took_back_is_declared(
    switch: dict[str, t.Any], plan: list[t.Any], line: str | None
) -> None:
    resources = [{"kind": "bridge", "name": "vmbr0", "plan": plan}]
    told = {"hypervisor": "alpha", "result": {"resources": resources}, "switch": {**switch, "bridge": "vmbr0"}}
    found = lab_report([told])
    lines = [f"{it['status']}: {it['differences']}" for it in found["entries"] if "kept" not in it]
    assert lines == ([line] if line else [])
    assert found["hosts"]["alpha"]["switch"]["state"] == switch["state"]
    assert found["drifted"] is bool(plan)


def backed_up(status: str, **more: t.Any) -> dict[str, t.Any]:
    last = {
        "id": "1234",
        "made": "2026-11-28T02:30:00Z",
        "age": 7300,
        "consistent": "crash",
        "added": 100,
        "processed": 5 << 30,
    }
    return {
        "guest": "web",
        "kind": "vm",
        "jobs": ["nightly"],
        "status": status,
        "backup": {**last, "job": "nightly"},
        **more,
    }


@pytest.mark.parametrize(
    ("its", "jobs", "line"),
    [
        (backed_up("ok"), [{"name": "nightly"}], None),
        (backed_up("failed", failure={"error": "no room"}), [{"name": "nightly"}], "failed: no room"),
        (backed_up("overdue"), [{"name": "nightly"}], "overdue: its job did not run"),
        (backed_up("overdue"), [{"name": "nightly", "state": "absent"}], None),
        (backed_up("overdue"), [], None),
        (backed_up("none", jobs=[], backup=None), [{"name": "nightly"}], None),
    ],
)
def test_a_backup_that_a_declared_job_did_not_make_is_drift(
    its: dict[str, t.Any], jobs: list[t.Any], line: str | None
) -> None:
    hostvars = {"alpha": {"hypervisor_backup_jobs": jobs}}
    found = lab_report([{"hypervisor": "alpha", "result": {"resources": []}, "backups": [its]}], None, hostvars)
    assert [f"{it['status']}: {it['differences']}" for it in found["entries"]] == ([line] if line else [])
    assert found["drifted"] is bool(line)
    assert found["hosts"]["alpha"]["backups"] == [its]


@pytest.mark.parametrize(
    ("status", "state", "is_drift"),
    [("ok", "present", False), ("overdue", "present", True), ("failed", "present", True), ("failed", "absent", False)],
)
def test_a_copy_that_a_declared_job_did_not_bring_is_drift(status: str, state: str, is_drift: bool) -> None:
    its = {"job": "spare", "guest": "web", "target": "pve2", "pool": "main", "status": status, "age": 7300}
    its |= {"made": "2026-11-28T02:30:00Z", "error": "away" if status == "failed" else None}
    hostvars = {"alpha": {"hypervisor_replication_jobs": [{"name": "spare", "state": state}]}}
    told = {"hypervisor": "alpha", "result": {"resources": []}, "replications": [its]}
    found = lab_report([told], None, hostvars)
    assert (found["drifted"], len(found["entries"])) == (is_drift, int(is_drift))
    (line,) = found["replications"]
    assert (
        line | {"host": "alpha", "last": its["made"], "age": "2 hours", "target": "pve2", "why": its["error"]} == line
    )


def test_the_table_of_backups_begins_with_what_is_wrong() -> None:
    each = [
        backed_up("ok"),
        backed_up("none", backup=None, guest="bare"),
        backed_up("failed", guest="mail", failure={"error": "no room"}),
    ]
    found = lab_report([{"hypervisor": "alpha", "result": {"resources": []}, "backups": each}])["backups"]
    assert [(it["guest"], it["status"], it["why"]) for it in found] == [
        ("mail", "failed", "no room"),
        ("bare", "none", None),
        ("web", "ok", None),
    ]
    assert (
        found[2] | {"host": "alpha", "age": "2 hours", "size": "5GiB", "new": "100", "job": "nightly", "drill": None}
        == found[2]
    )
