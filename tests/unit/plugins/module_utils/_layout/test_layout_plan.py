# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from ipaddress import ip_network

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import RefusedError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.lxc import Container
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import (
    BRIDGE,
    GUEST,
    IMAGE,
    POOL,
    SERVICE,
    Host,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._layout import claims, plan, refusals
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import ARGUMENTS, KINDS
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.plan import Item
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.refusals import Claim, NewVolume, Place, Subnet
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.spec import Declared, as_written, parse

OF = {kind.word: kind for kind in KINDS}
WORDS = {str(kind): kind for kind in (BRIDGE, POOL, IMAGE, GUEST, SERVICE)}


def changes(*paths, after="x"):
    return {
        "changed": bool(paths),
        "plan": [{"path": path, "before": None, "after": after, "how": "live", "done": False} for path in paths],
        "diff": {"before": dict.fromkeys(paths), "after": dict.fromkeys(paths, after)},
    }


def make(kind, name, *requires, paths=("state",), **more):
    return Item(
        Declared(OF[kind], name, {"name": name}),
        changes(*paths),
        provides=(Reference(OF[kind].reference, name),),
        requires=tuple(Reference(WORDS[kind], its) for kind, its in map(str.split, requires)),
        **more,
    )


def names(items):
    return [item.declared.name for item in items]


def test_a_guest_comes_after_what_it_requires():
    guest = make("vm", "web", "bridge br0", "pool main", "image debian", "service libvirt")
    items = [guest, make("bridge", "br0"), make("storage_pool", "main"), make("image", "debian")]
    assert names(plan.in_order(items)) == ["br0", "main", "debian", "web"]


def test_what_is_taken_away_comes_after_the_guests_that_go():
    pool = make("storage_pool", "main", is_removed=True, users=frozenset({"web", "stays"}))
    items = [pool, make("container", "other", is_removed=True), make("container", "web", is_removed=True)]
    assert names(plan.dependencies(items)[0]) == ["web"]
    assert names(plan.in_order(items)) == ["web", "main", "other"]


def test_a_guest_comes_after_the_one_whose_address_it_gets_and_not_where_that_one_stays():
    heir = make("container", "new", heir_of=frozenset({"old"}))
    gone = make("vm", "old", is_removed=True)
    assert names(plan.in_order([heir, gone])) == ["old", "new"]
    gone.has_failed = True
    plan.settle([heir, gone])
    assert heir.skipped == "depends on vm old, which failed"


def test_a_failure_stops_what_depends_on_it_and_nothing_else():
    bridge = make("bridge", "br0", has_failed=True)
    items = [bridge, make("vm", "web", "bridge br0"), make("vm", "db"), make("vm", "old", "bridge br0", paths=())]
    plan.settle(items)
    assert items[1].skipped == "depends on bridge br0, which failed"
    assert (items[2].skipped, items[3].skipped) == (None, None)


def test_a_skip_is_handed_on():
    image = make("image", "debian", has_failed=True)
    pool = make("storage_pool", "main", "image debian")
    guest = make("vm", "web", "pool main")
    plan.settle([guest, pool, image])
    assert guest.skipped == "depends on storage pool main, which was skipped"


def test_what_another_item_makes_is_not_assumed():
    guest = make("vm", "web", "bridge br0", "pool other")
    guest.told["assumed"] = ["bridge br0", "pool other"]
    plan.drop_assumed([guest, make("bridge", "br0")])
    assert guest.told["assumed"] == ["pool other"]


def test_plans_become_one_below_the_paths_of_their_items():
    web = make("container", "web", paths=("memory",))
    web.told.update(restart_required=["networks[lan].mac"], kept=["/srv/x"], unmanaged=["mounts[old]"])
    gone = make("vm", "db", skipped="depends on it")
    whole = plan.merge([web, gone])
    assert [change["path"] for change in whole["plan"]] == ["containers[web].memory"]
    assert whole["diff"] == {"before": {"containers[web].memory": None}, "after": {"containers[web].memory": "x"}}
    assert whole["restart_required"] == ["containers[web].networks[lan].mac"]
    assert (whole["kept"], whole["unmanaged"]) == (["/srv/x"], ["containers[web].mounts[old]"])


def test_all_failures_are_told_together_with_what_was_skipped():
    failed = [make("bridge", "br0", has_failed=True), make("vm", "db", has_failed=True)]
    for item in failed:
        item.told["msg"] = f"{item.declared.name} is broken"
    skipped = make("vm", "web", skipped="depends on bridge br0, which failed")
    assert plan.failure([*failed, skipped]) == (
        "2 of 3 failed: bridge br0: br0 is broken; vm db: db is broken. Skipped: vm web (depends on bridge br0, which failed)"
    )
    assert plan.failure([make("vm", "web")]) is None


def test_an_item_is_told_with_its_plan_and_with_facts_on_demand():
    item = make("container", "web", paths=("memory",))
    item.told["guest"] = {"name": "web"}
    assert "facts" not in plan.tell(item, with_facts=False)
    told = plan.tell(item, with_facts=True)
    assert (told["facts"], told["changed"], told["failed"]) == ({"name": "web"}, True, False)
    item.skipped = "depends on it"
    assert (plan.tell(item, with_facts=True)["plan"], plan.tell(item, with_facts=True)["changed"]) == ([], False)


@pytest.mark.parametrize(
    ("lists", "saying"),
    [
        ({"vms": [{"name": "a"}], "containers": [{"name": "a"}]}, "share one namespace"),
        ({"vms": [{"name": "a"}, {"name": "a"}]}, "vms: a is there twice"),
        ({"overcommit": {"memory": 0.0}}, "overcommit.memory"),
        ({"parallel": 65}, "parallel"),
    ],
)
def test_what_the_lists_say_cannot_be(lists, saying):
    with pytest.raises(SpecError, match=saying.replace(".", r"\.")):
        parse(lists, KINDS)


def test_one_name_serves_a_bridge_and_a_guest():
    assert len(parse({"bridges": [{"name": "a"}], "vms": [{"name": "a"}]}, KINDS).items) == 2


def test_a_list_that_is_not_written_is_not_an_empty_one():
    assert parse({"vms": [], "containers": None}, KINDS).listed == {"vms"}


def test_only_what_was_written_is_echoed():
    params = {"vms": [{"name": "a", "state": "present", "allow": [], "memory": None}], "prune": False, "facts": True}
    assert as_written(params, ARGUMENTS) == {"vms": [{"name": "a"}], "facts": True}


def test_two_guests_cannot_have_one_mac_or_address():
    one = Claim("vm a", True, macs=frozenset({"52:54:00:00:00:01"}), addresses=frozenset({("br0", "10.0.0.2")}))
    other = Claim("container b", False, macs=one.macs, addresses=one.addresses)
    assert refusals.check_doubles([one, other]) == [
        "vm a and container b have both the MAC address 52:54:00:00:00:01",
        "vm a and container b have both the address 10.0.0.2 on br0",
    ]


def test_guests_that_are_not_listed_are_left_alone_and_bridges_do_not_share_addresses():
    one, other = (Claim(label, macs=frozenset({"52:54:00:00:00:01"})) for label in "ab")
    assert refusals.check_doubles([one, other]) == []
    listed = (Claim(label, True, addresses=frozenset({(f"br{label}", "10.0.0.2")})) for label in "ab")
    assert refusals.check_doubles(list(listed)) == []


def test_two_bridges_cannot_share_a_subnet_nor_two_pools_a_folder():
    networks = ("10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24")
    subnets = [Subnet(f"bridge br{at}", ip_network(text), at == 1) for at, text in enumerate(networks)]
    assert refusals.check_subnets(subnets) == [
        "bridge br0 and bridge br1 have subnets that overlap: 10.0.0.0/24 and 10.0.0.128/25"
    ]
    assert refusals.check_subnets([dataclasses.replace(each, is_new=False) for each in subnets]) == []
    folders = [("storage pool a", "/srv/x"), ("storage pool b", "/srv/y"), ("storage pool c", "/srv/x")]
    assert refusals.check_folders(folders) == ["storage pool a and storage pool c have both the folder /srv/x"]


def read(kind, name, resource, **params):
    """An item of the layout with what it declares, as (item, specs)."""
    item = make(kind, name)
    return item, {id(item): resource.parse({"name": name, **params})}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"mode": "ports", "vlan_aware": True}, {"br0": True}),
        ({"vlan_aware": False}, {"br0": False}),
        ({"unset": ["vlan_aware"]}, {"br0": False}),
        ({"mtu": 9000}, {}),
    ],
)
def test_guests_are_planned_on_bridges_as_the_layout_will_have_changed_them(params, expected):
    host = Host()
    host.__dict__["links"] = {"br0": {}}
    item, specs = read("bridge", "br0", Bridge(), **params)
    assert claims.expected_vlans([item], specs, host) == expected
    host.__dict__["links"] = {}
    assert claims.expected_vlans([item], specs, host) == {"br0": expected.get("br0", False)}
    item.is_removed = True
    assert claims.expected_vlans([item], specs, host) == {}


def test_one_address_in_two_vlans_of_a_bridge_is_no_conflict():
    host = Host()
    config = (
        "lxc.net.0.link = br0\nlxc.net.0.veth.vlan.id = 10\n"
        "lxc.net.0.hwaddr = 00:16:3e:00:00:01\nlxc.net.0.ipv4.address = 10.0.0.2/24\n"
    )
    record = Record("guests", "old", {"macs": {"lan": "00:16:3e:00:00:01"}})
    areas = {"containers": {"old": Container("old", config)}, "domains": {}, "guest_records": {"old": record}}
    host.__dict__.update(areas)

    def conflicts(name, **keys):
        item, specs = read("container", name, LxcContainer(), networks=[{"name": "lan", "ip": "10.0.0.2/24", **keys}])
        return refusals.check_doubles(claims.read_claims([item], specs, host))

    assert conflicts("new", bridge="br0") == conflicts("new", bridge="br0", vlan=20) == conflicts("old", vlan=20) == []
    assert conflicts("new", bridge="br0", vlan=10) == [
        "container old and container new have both the address 10.0.0.2 on br0 in VLAN 10"
    ]


def test_containers_that_let_lxc_choose_their_mac_share_none():
    config = "lxc.net.0.link = br0\nlxc.net.0.hwaddr = 00:16:3e:xx:xx:XX\n"
    host = Host()
    containers = {name: Container(name, config) for name in ("one", "two")}
    host.__dict__.update({"containers": containers, "domains": {}, "guest_records": {}})
    item, specs = read("container", "one", LxcContainer(), memory="64")
    assert refusals.check_doubles(claims.read_claims([item], specs, host)) == []


def test_a_pool_behind_a_link_lies_where_the_link_leads(tmp_path):
    (tmp_path / "pool").symlink_to("/dev/shm")
    assert claims._place_of(str(tmp_path / "pool" / "new")) == claims._place_of("/dev/shm") == "/dev/shm"


GIB = 1024 * 1024


@pytest.mark.parametrize(
    ("memory", "before", "overcommit", "is_refused"),
    [
        (3 * GIB, 0, 1.0, True),
        (2 * GIB, 0, 1.0, False),
        (3 * GIB, 0, 1.5, False),
        (3 * GIB, 3 * GIB, 1.0, False),
        (3 * GIB, 2 * GIB, 1.0, True),
    ],
)
def test_more_memory_than_the_host_has_is_not_promised(memory, before, overcommit, is_refused):
    claims = [Claim("vm web", True, memory=memory, memory_before=before), Claim("vm other", memory=2 * GIB)]
    found = refusals.check_memory(claims, 4 * GIB, overcommit)
    assert bool(found) is is_refused
    if found:
        assert "promised 5GiB, and it has 4GiB" in found[0] and "adds vm web (3GiB)" in found[0]


def test_new_disks_fit_the_file_system_of_their_pools():
    volumes = [NewVolume("root of vm a", "/srv", 2**31), NewVolume("container b", "/srv", 2**30)]
    places = {"/srv": Place(("main", "fast"), 2**31), "/": Place(("other",), 0)}
    (sentence,) = refusals.check_storage(volumes, places, 1.0)
    assert "main and fast has 2GiB free" in sentence and "3GiB to root of vm a (2GiB), container b (1GiB)" in sentence
    assert refusals.check_storage(volumes, places, 1.5) == []


def test_what_is_required_is_there_or_made_here():
    def missing(reference):
        return None if reference.name in ("br0", "libvirt") else f"there is no {reference}"

    guest = make("vm", "web", "bridge br0", "pool main", "service libvirt")
    (sentence,) = refusals.check_requirements([guest], missing)
    assert sentence.startswith("vm web needs pool main: there is no pool main")
    assert refusals.check_requirements([guest, make("storage_pool", "main")], missing) == []
    assert refusals.check_requirements([guest, make("storage_pool", "main", has_failed=True)], missing) == []
    assert refusals.check_requirements([guest, make("storage_pool", "main", paths=("autostart",))], missing)
    (sentence,) = refusals.check_requirements([guest, make("storage_pool", "main", is_removed=True)], missing)
    assert sentence == "vm web needs pool main, which this layout takes away"
    stopped = make("storage_pool", "main")
    stopped.told = changes("state", after="stopped")
    (sentence,) = refusals.check_requirements([guest, stopped], missing)
    assert sentence == "vm web needs pool main, which this layout leaves stopped"


def test_refusals_are_one_error():
    refusals.refuse([])
    refusals.refuse([], ["vm web: memory: is needed"])
    with pytest.raises(RefusedError, match=r"^one; two$"):
        refusals.refuse(["one", "two"])
    with pytest.raises(RefusedError, match=r"^one\. These fail too: vm web: memory: is needed$") as caught:
        refusals.refuse(["one"], ["vm web: memory: is needed"])
    assert caught.value.facts == {"conflicts": ["one"]}
