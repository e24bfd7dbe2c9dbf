# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import ip_network

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import Claims, Reservation, Room, Space
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import RefusedError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.mount_record import MountRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import (
    BRIDGE,
    FOLDER,
    GUEST,
    IMAGE,
    POOL,
    SERVICE,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._layout import plan, refusals
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import ARGUMENTS, KINDS
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.plan import Item
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.refusals import Claimant
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import find_claims, find_unlisted
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.spec import Declared, as_written, parse

OF = {kind.word: kind for kind in KINDS}
WORDS = {str(kind): kind for kind in (BRIDGE, POOL, IMAGE, GUEST, SERVICE, FOLDER)}


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


MEDIA = MountRecord(path="/srv/media", wait_for_guest="nas")


def test_who_stands_on_a_mount_comes_after_the_guest_that_serves_it():
    films = make("container", "films", "folder /srv/media/films")
    other = make("container", "other", "folder /srv/media2")
    nas = make("vm", "nas", "folder /srv/media/iso")
    plan.let_guests_serve([films, other, nas], [MEDIA])
    assert names(plan.in_order([films, other, nas])) == ["nas", "films", "other"]
    nas.has_failed = True
    plan.settle([films, other, nas])
    assert (films.skipped, other.skipped) == ("depends on vm nas, which failed", None)


def test_a_server_that_stands_on_what_it_serves_by_another_guest_waits_for_nobody():
    further = MountRecord(path="/srv/further", wait_for_guest="films")
    films = make("container", "films", "folder /srv/media/films")
    nas = make("vm", "nas", "folder /srv/further/x")
    plan.let_guests_serve([films, nas], [MEDIA, further])
    assert names(plan.in_order([films, nas])) == ["nas", "films"]


def test_what_is_deferred_is_told_with_its_reason_and_changes_nothing():
    films = make("container", "films", deferred="waits for nas:/x at /srv/media, which nas serves")
    web = make("container", "web")
    assert plan.tell(films, with_facts=True)["deferred"] == "waits for nas:/x at /srv/media, which nas serves"
    assert plan.tell(films, with_facts=True)["failed"] is False
    assert "deferred" not in plan.tell(web, with_facts=False)
    assert [change["path"] for change in plan.merge([films, web])["plan"]] == ["containers[web].state"]
    assert plan.failure([films, web]) is None
    assert plan.defer_reason([films]) == (
        "depends on container films, which waits for nas:/x at /srv/media, which nas serves"
    )
    assert plan.defer_reason([web]) is None


def test_who_is_made_by_a_run_is_new_and_who_is_started_is_not():
    change = {"path": "state", "before": "absent", "after": "started", "how": "live", "done": True}
    nas = make("vm", "nas")
    nas.told["plan"] = [change]
    assert nas.is_new
    nas.told["plan"] = [{**change, "before": "stopped"}]
    assert not nas.is_new


def test_who_serves_and_is_taken_away_comes_before_nobody():
    films = make("container", "films", "folder /srv/media/films")
    nas = make("vm", "nas", is_removed=True)
    plan.let_guests_serve([films, nas], [MEDIA])
    assert plan.dependencies([films, nas]) == [[], []]


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


def claimant(label, is_listed=False, before=None, **claims):
    return Claimant(label, is_listed, Claims(**claims), Claims(**(before or {})))


MAC = "52:54:00:00:00:01"


def test_two_guests_cannot_have_one_mac_or_address():
    claims = {"macs": [MAC], "addresses": [("br0", "10.0.0.2")]}
    assert refusals.check_doubles([claimant("vm a", True, **claims), claimant("container b", **claims)]) == [
        "vm a and container b have both the MAC address 52:54:00:00:00:01",
        "vm a and container b have both the address 10.0.0.2 on br0",
    ]


def test_guests_that_are_not_listed_are_left_alone_and_bridges_do_not_share_addresses():
    assert refusals.check_doubles([claimant(label, macs=[MAC]) for label in "ab"]) == []
    assert refusals.check_doubles([claimant(it, True, addresses=[(f"br{it}", "10.0.0.2")]) for it in "ab"]) == []


def test_an_address_that_is_kept_for_a_mac_is_that_of_the_guest_that_has_it():
    address = ("br0", "10.0.0.2")
    kept = {"reservations": [Reservation("the DHCP host web", MAC, address)]}
    bridge, guest = claimant("bridge br0", True, **kept), claimant("vm web", macs=[MAC], addresses=[address])
    assert refusals.check_doubles([bridge, guest]) == []
    other = claimant("container db", addresses=[address])
    sentence = "container db and the DHCP host web of bridge br0 have both the address 10.0.0.2 on br0"
    assert refusals.check_doubles([bridge, other]) == [sentence]
    assert refusals.check_doubles([bridge, claimant("vm web", macs=[MAC]), other]) == [sentence]
    assert refusals.check_doubles([bridge, claimant("vm web", macs=[MAC])]) == []


def test_two_bridges_cannot_share_a_subnet_nor_two_pools_a_folder():
    networks = ("10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24")

    def bridges(is_new):
        return [claimant(f"bridge br{at}", True, subnets=[(ip_network(it), is_new)]) for at, it in enumerate(networks)]

    assert refusals.check_subnets(bridges(is_new=True)) == [
        "bridge br0 and bridge br1 have subnets that overlap: 10.0.0.0/24 and 10.0.0.128/25"
    ]
    assert refusals.check_subnets(bridges(is_new=False)) == []
    pools = [
        claimant(f"storage pool {name}", True, folders=[f"/srv/{at}"]) for name, at in zip("abc", "xyx", strict=True)
    ]
    assert refusals.check_folders(pools) == ["storage pool a and storage pool c have both the folder /srv/x"]


def test_two_machines_do_not_write_one_disk():
    places = [{("inode", 1, 2): "/srv/a"}, {("inode", 1, 3): "/srv/b"}, {("inode", 1, 2): "/srv/link"}]
    machines = [claimant(name, True, disks=its) for name, its in zip("abc", places, strict=True)]
    assert refusals.check_disks(machines) == ["a and c have both the disk /srv/a"]


def test_containers_share_a_device_that_no_machine_has():
    stick, mark = "10c4:ea60", ("usb", "1-2")
    shared = [claimant(name, True, shared_devices={mark: f"{stick}:0001"}) for name in "ab"]
    assert refusals.check_devices(shared) == []
    machine = claimant("vm", True, devices={mark: stick})
    assert refusals.check_devices([shared[0], machine]) == ["a and vm have both the device 10c4:ea60:0001"]
    assert refusals.check_devices([machine, shared[0]]) == ["vm and a have both the device 10c4:ea60"]
    assert refusals.check_devices([machine, claimant("other", True, devices={mark: stick})])
    assert refusals.check_devices([machine, claimant("b", True, shared_devices={("usb", "1-3"): stick})]) == []


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
    web = claimant("vm web", True, {"memory_kib": before}, memory_kib=memory)
    found = refusals.check_memory([web, claimant("vm other", memory_kib=2 * GIB)], 4 * GIB, overcommit)
    assert bool(found) is is_refused
    if found:
        assert "promised 5GiB, and it has 4GiB" in found[0] and "adds vm web (3GiB)" in found[0]


def test_new_disks_fit_the_file_system_of_their_pools():
    rooms = {"main": Room("/srv", 2**31), "fast": Room("/srv", 2**31), "other": Room("/", 0)}
    guests = [
        claimant("vm a", True, space=[Space("root", "main", 2**31)]),
        claimant("container b", True, space=[Space("", "fast", 2**30), Space("gone", "unknown", 2**40)]),
    ]
    (sentence,) = refusals.check_storage(guests, rooms, 1.0)
    assert "fast and main has 2GiB free" in sentence and "3GiB to root of vm a (2GiB), container b (1GiB)" in sentence
    assert refusals.check_storage(guests, rooms, 1.5) == []


def test_what_several_are_cloned_from_is_promised_once():
    copy = Space("the copy main/image+debian", "main", 2**30, is_shared=True)
    guests = [claimant(f"container {name}", True, space=[Space("", "main", 0), copy]) for name in "ab"]
    assert refusals.check_storage(guests, {"main": Room("/srv", 2**30)}, 1.0) == []
    (sentence,) = refusals.check_storage(guests, {"main": Room("/srv", 2**29)}, 1.0)
    assert (
        "promises 1GiB to container a (0 bytes), container b (0 bytes), the copy main/image+debian (1GiB)" in sentence
    )


def test_what_stays_as_it_is_claims_what_it_has_and_a_new_plan_what_it_will_have():
    old, failed, new = make("vm", "old", is_removed=True), make("vm", "failed", has_failed=True), make("vm", "new")
    for item in (failed, new):
        item.after = Claims(memory_kib=9)
    standing = {kind.word: {} for kind in KINDS} | {
        "vm": {name: Claims(memory_kib=1) for name in ("old", "failed", "other")},
        "storage_pool": {"main": Claims(room=Room("/", 5))},
    }
    claimants, rooms = find_claims(KINDS, [old, failed, new], standing)
    told = {it.label: (it.is_listed, it.before.memory_kib, it.after.memory_kib) for it in claimants}
    assert told == {
        "storage pool main": (False, 0, 0),
        "vm old": (True, 1, 0),
        "vm failed": (True, 1, 1),
        "vm other": (False, 1, 1),
        "vm new": (True, 0, 9),
    }
    assert rooms == {"main": Room("/", 5)}


FOREIGN, LOST = ("foreign", False), ("lost", True)


@pytest.mark.parametrize(
    ("listed", "expected"), [({"vms": []}, [FOREIGN, LOST]), ({"vms": [{"name": "lost"}]}, [FOREIGN]), ({}, [])]
)
def test_guests_that_are_in_no_list_are_told_with_whether_they_were_made_here(listed, expected):
    standing = {kind.word: {} for kind in KINDS} | {"vm": {"lost": Claims(is_made=True), "foreign": Claims()}}
    assert [(name, is_made) for kind, name, is_made in find_unlisted(parse(listed, KINDS), KINDS, standing)] == expected


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
