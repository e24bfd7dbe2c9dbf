# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A layout whose bridges are switched before it: which they are, and one result of all of it."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._switch import with_port_items
from ansible_collections.homelab.hybrid.plugins.plugin_utils._switched_layout import find_switched, joined, refused

Told = dict[str, t.Any]
DIFF = {"before": {"mtu": 1500}, "after": {"mtu": 1400}}


def change(how: str = "confirmed", done: bool = False) -> Told:
    return {"path": "mtu", "before": 1500, "after": 1400, "how": how, "done": done}


def resource(name: str, *plan: Told, kind: str = "bridge") -> Told:
    return {"kind": kind, "name": name, "changed": bool(plan), "failed": False, "plan": list(plan), "diff": {}}


PLANNED: Told = {
    "changed": True,
    "resources": [
        resource("vmbr0", change()),
        resource("lab0", change("live")),
        resource("vmbr0", change("live"), kind="vm"),
        resource("lab1"),
    ],
    "plan": [change()],
    "diff": DIFF,
}
SWITCHED: Told = {"changed": True, "plan": [change(done=True)], "diff": DIFF, "switch": {"state": "confirmed"}}


def test_what_is_to_be_confirmed_is_switched_with_what_is_written_of_it() -> None:
    bridges = [{"name": "lab0"}, {"name": "vmbr0", "mtu": 1400, "mac": None}]
    assert find_switched({"bridges": bridges}, PLANNED) == [{"name": "vmbr0", "mtu": 1400}]
    assert find_switched({"bridges": None}, PLANNED) == find_switched({"bridges": bridges}, {"msg": "no"}) == []


def test_a_switch_is_a_part_of_the_result_of_its_layout() -> None:
    told = {"changed": False, "resources": [resource("vmbr0"), resource("lab0")], "plan": [], "warnings": ["old"]}
    found = joined(told, {"vmbr0": {**SWITCHED, "warnings": ["another address"]}})
    assert found["changed"]
    assert found["warnings"] == ["old", "another address"]
    assert [it["path"] for it in found["plan"]] == ["bridges[vmbr0].mtu"]
    assert found["diff"] == {"before": {"bridges[vmbr0].mtu": 1500}, "after": {"bridges[vmbr0].mtu": 1400}}
    vmbr0, lab0 = found["resources"]
    assert (vmbr0["changed"], vmbr0["switch"], lab0["changed"]) == (True, {"state": "confirmed"}, False)
    assert joined({"msg": "lost"}, {"vmbr0": SWITCHED}) == {"msg": "lost"}


def test_nothing_comes_after_a_switch_that_was_taken_back() -> None:
    bridges = [*PLANNED["resources"], resource("lan0", change())]
    switched = {"vmbr0": SWITCHED, "lan0": {"failed": True, "msg": "taken back"}}
    found = refused({**PLANNED, "resources": bridges}, switched)
    assert found["failed"] and found["changed"]
    assert found["msg"] == "bridges[lan0]: taken back. Nothing that comes after it was changed"
    told = [(it["name"], it["changed"], it["failed"], "skipped" in it) for it in found["resources"]]
    assert told == [
        ("vmbr0", True, False, False),
        ("lab0", False, False, True),
        ("vmbr0", False, False, True),
        ("lab1", False, False, False),
        ("lan0", False, True, False),
    ]
    assert all(it["done"] for it in found["plan"])


def test_a_port_is_written_by_its_name_alone_too() -> None:
    written = {"name": "vmbr0", "ports": ["eno1", {"name": "eno2", "pvid": 7}]}
    assert with_port_items(written)["ports"] == [{"name": "eno1"}, {"name": "eno2", "pvid": 7}]
    for other in ({"name": "vmbr0"}, {"ports": "eno1"}, "vmbr0"):
        assert with_port_items(other) == other
