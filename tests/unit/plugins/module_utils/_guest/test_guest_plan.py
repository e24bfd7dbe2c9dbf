# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a guest: what both kinds share, asked once."""

from __future__ import annotations

import typing as t

import pytest
from unit.plugins.module_utils._guest.fake import OPTIONS, Card, PaperKind, declared, running, side, stopped

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.plan import plan_guest
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import dump, load
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.state import GuestState


def plan(actual: GuestState, **params: t.Any) -> t.Any:
    return plan_guest(PaperKind(declared(**params), actual))


def hows(actual: GuestState, **params: t.Any) -> dict[str, str]:
    return {change.path: change.how.value for change in plan(actual, **params).changes}


def test_a_guest_of_the_other_kind_keeps_its_name() -> None:
    (refused,) = plan(GuestState(other_kind="container"), state="started").refused
    assert refused.path == "name" and "container" in refused.reason
    assert plan(GuestState(other_kind="container"), state="absent").changes == []


def test_what_the_record_holds_is_compared_with_the_record() -> None:
    record = load({"tags": ["a", "b"], "startup": {"order": 2, "up_delay": 5}, "protection": True}, exists=True)
    state = running(record=record)
    assert hows(state, tags=["b", "a"], startup={"order": 2}, protection=True) == {}
    assert hows(state, tags=["c"], unset=["startup"]) == {
        "tags": "live",
        "startup.order": "live",
        "startup.up_delay": "live",
    }


def test_a_mac_of_another_guest_is_refused_for_a_new_card_and_for_one_that_is_there() -> None:
    state = stopped(taken_macs={"52:54:00:00:00:09": "nas"})
    for name in ("lan", "new"):
        (refused,) = plan(state, networks=[{"name": name, "bridge": "br0", "mac": "52:54:00:00:00:09"}]).refused
        assert refused.path == f"networks[{name}].mac" and "the guest nas" in refused.reason


def test_a_mac_that_is_not_given_is_recorded_or_derived_and_nobody_elses() -> None:
    new = {"networks": [{"name": "dmz", "bridge": "br0"}]}
    recorded = stopped(record=load({"macs": {"dmz": "52:54:00:aa:00:01"}}, exists=True))
    assert plan(recorded, **new).get("networks[dmz]").after["mac"] == "52:54:00:aa:00:01"
    derived = plan(stopped(machine_id="m"), **new).get("networks[dmz]").after["mac"]
    other = plan(stopped(machine_id="m", taken_macs={derived: "nas"}), **new).get("networks[dmz]").after["mac"]
    assert derived.startswith("52:54:00:") and other != derived


def test_a_mac_moves_from_a_card_that_goes_to_another() -> None:
    items = [{"name": "lan", "state": "absent"}, {"name": "new", "bridge": "br0", "mac": "52:54:00:00:00:01"}]
    assert hows(running(), networks=items) == {"networks[lan]": "live", "networks[new]": "live"}
    both = [{"name": "lan", "mac": "52:54:00:00:00:01"}, {"name": "new", "mac": "52:54:00:00:00:01"}]
    with pytest.raises(SpecError, match="there twice"):
        declared(networks=both)


def test_a_removal_is_refused_while_the_guest_is_protected_and_not_when_that_is_taken_off_along() -> None:
    state = stopped(record=load({"protection": True}, exists=True))
    assert "protected" in plan(state, state="absent").refused[0].reason
    assert not plan(state, state="absent", protection=False).refused


def test_a_volume_that_is_in_use_is_not_deleted() -> None:
    data = {"volumes": {"root": {"pool": "main", "name": "web.root", "kind": "block"}}}
    record = load(data, exists=True)
    state = stopped(record=record, owned={"root": "/p/web.root"}, used={"root": "a clone stands on it"})
    (refused,) = plan(state, state="absent", delete=["volumes"]).refused
    assert refused.path == "volumes[root]" and "a clone stands on it" in refused.reason
    assert plan(state, state="absent").kept == ["/p/web.root"]


def test_what_an_interrupted_creation_made_is_neither_kept_nor_told() -> None:
    data = {"building": True, "volumes": {"root": {"pool": "main", "name": "web.root", "kind": "block", "fresh": True}}}
    state = GuestState(record=load(data, exists=True), owned={"root": "/p/web.root"})
    found = plan(state, state="absent")
    assert ([change.before for change in found.changes], found.kept) == (["building"], [])


@pytest.mark.parametrize("power", ["paused", "suspended"])
def test_a_guest_that_somebody_holds_is_not_restarted_for_what_waits(power: str) -> None:
    state = running(power=power)
    params = {"networks": [{"name": "lan", "mtu": 9000}], "restart_policy": "if_needed"}
    assert hows(state, **params) == {"networks[lan].mtu": "next_boot"}
    assert hows(state, **params, state="started")["networks[lan].mtu"] == "restart"


def test_a_card_that_the_running_guest_lacks_is_brought_back() -> None:
    state = running(side(), side({}))
    assert hows(state, networks=[{"name": "lan", "bridge": "br0"}]) == {"networks[lan]": "live"}


def test_a_vlan_waits_for_a_bridge_that_knows_it() -> None:
    state = running(side({"lan": Card("lan", vlan=10)}), vlan_obstacles={"br0": "it is old", "br9": "it is old"})
    assert hows(state, networks=[{"name": "lan"}]) == {}
    for item in ({"vlan": 10}, {"vlan": 20}, {"bridge": "br9"}):
        assert plan(state, networks=[{"name": "lan", **item}]).refused[0].path == "networks[lan].vlan"
    moved = plan(state, networks=[{"name": "lan", "bridge": "br9"}], unset=["networks[lan].vlan"])
    assert not moved.refused


def test_a_record_says_after_it_was_written_what_it_said_before() -> None:
    data = {
        "kind": "vm",
        "building": True,
        "uuid": "u",
        "image": "debian",
        "volumes": {"root": {"pool": "main", "name": "web.a", "kind": "block", "fresh": True}},
        "macs": {"lan": "52:54:00:00:00:01"},
        "names": {"disks": {"root": "vda"}},
        "unplugged": {"lan": "br0"},
        "idmap": {"start": 100000, "count": 65536},
        "ssh_keys": ["ssh-ed25519 AAAA"],
        "due_power": "started",
        "run": {"pid": 1, "start": 2, "declined": ["memory"], "balloon": {"requested": 3, "before": 4}},
        "tags": ["a"],
        "startup": {"order": 2},
    }
    record = load(data, exists=True)
    assert {key: value for key, value in dump(record).items() if value is not None} == data
    assert record.value(OPTIONS["startup.order"]) == 2 and record.value(OPTIONS["startup.up_delay"]) == 0
    off = record.with_value(OPTIONS["startup.order"], -1).with_value(OPTIONS["tags"], ())
    assert off.options == {}
