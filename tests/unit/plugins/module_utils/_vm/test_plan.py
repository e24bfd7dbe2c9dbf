# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a virtual machine: from what is declared and what stands to paths, and how each gets there."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import RECORD, Item
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.identity import derive_mac
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import load
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.naming import name_live_devices
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.plan import VmKind, plan_vm
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import Spec, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import FoundVolume, State, VmSide, seed_values
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import controller
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.cdrom import Cdrom
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.disk import Disk
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.filesystem import Share
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.hostdev import Hostdev, Source
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.nic import Nic
from tools import apply_cells

DISK_VALUES = {
    "source": "/p/vm.root.qcow2",
    "format": "qcow2",
    "bus": "virtio",
    "serial": "",
    "cache": "default",
    "discard": True,
    "readonly": False,
    "pool": "main",
    "size": 4 << 30,
}
NIC_VALUES = {
    "bridge": "br0",
    "vlan": 0,
    "mac": "52:54:00:00:00:01",
    "model": "virtio",
    "link": "up",
    "mtu": 0,
    "ip6": "",
    "gateway6": "",
}


def disk(alias="root", target="vda", source="/p/vm.root.qcow2", **values):
    return Disk(alias, target, source, {**DISK_VALUES, "source": source, **values})


def nic(alias="lan", **values):
    return Nic(alias, "br0", {**NIC_VALUES, **values})


USB_SOURCE = Source("usb", id="10c4:ea60")


def device(alias="stick", source=USB_SOURCE, **values):
    told = {"type": source.type, "optional": False, "address": source.address or None, "id": source.id or None}
    return Hostdev(alias, source, values={**told, "port": None, **values})


def share(alias="media", **values):
    return Share(alias, alias, {"source": "/srv/a", "readonly": False, "cache": "auto", **values})


def cdrom(alias="cd", target="sda", source="/iso/a.iso", *, bus="scsi", **more):
    return Cdrom(alias, target, {"source": source, "bus": bus}, source=source, **more)


DISK, NIC, CDROM = disk(), nic(), cdrom()
OTHERS = {
    "boot.order": (),
    "autostart": False,
    "firmware.secure_boot": False,
    "firmware.enrolled_keys": False,
    **seed_values(None),
}


def side(disks=(DISK,), nics=(NIC,), free_ports=None, cdroms=(), devices=(), shares=(), **values):
    root = domain_xml.new("vm", "u", "tcg")
    for path, value in {
        "memory_max": 2 << 20,
        "memory": 1 << 20,
        "cpu.max_cores": 4,
        "cpu.cores": 2,
        "serial": True,
    }.items():
        domain_xml.WRITE[path](root, value)
    controller.add_ports(root)
    domain = domain_xml.read(root)
    domain.has_shared_memory = domain.has_usb = True
    domain.has_channels, domain.free_ports = True, free_ports if free_ports is not None else domain.free_ports
    known = {**domain.values, **OTHERS, **{path.replace("__", "."): value for path, value in values.items()}}
    if "cpu.cores" in known:
        known["vcpus"] = known["cpu.cores"]
    named = [{its.alias: its for its in devices_} for devices_ in (disks, nics, cdroms, devices, shares)]
    return VmSide(known, named[0], named[1], domain, *named[2:])


def stopped(persistent=None, **keys):
    found = State(
        power="stopped",
        exists=True,
        persistent=persistent or side(),
        formats={"main": ("qcow2", "raw")},
        sources={DISK.source},
        machine_id="m",
    )
    return found.replace(**keys)


def running(persistent=None, live=None, **keys):
    return stopped(persistent, **{"power": "started", "live": live or persistent or side(), **keys})


def plan(actual, **params):
    return plan_vm(parse({"name": "vm", **params}), actual)


def hows(actual, **params):
    return {change.path: change.how.value for change in plan(actual, **params).changes}


TABLE = [
    ({"memory": "1GiB"}, {}),
    ({"memory": "512"}, {"memory": "live"}),
    ({"memory": "4GiB"}, {"memory": "next_boot"}),
    ({"memory_max": "4GiB"}, {"memory_max": "next_boot"}),
    ({"vcpus": 2}, {}),
    ({"vcpus": 3}, {"vcpus": "live"}),
    ({"vcpus": 1}, {"vcpus": "next_boot"}),
    ({"cpu": {"cores": 5}}, {"cpu.cores": "next_boot"}),
    ({"description": "x"}, {"description": "live"}),
    ({"tags": ["b", "a", "b"]}, {"tags": "live"}),
    ({"autostart": True}, {"autostart": "live"}),
    ({"startup": {"order": 0, "up_delay": 5, "down_delay": 0}}, {"startup.order": "live", "startup.up_delay": "live"}),
    ({"startup": {"order": None}, "unset": ["startup"]}, {}),
    ({"boot": {"kernel": "/k"}}, {"boot.kernel": "next_boot"}),
    ({"boot": {"order": ["lan", "root"]}}, {"boot.order": "next_boot"}),
    ({"graphics": {"type": "vnc"}}, {"graphics.type": "next_boot"}),
    ({"agent": True}, {"agent": "live"}),
    ({"serial": False}, {"serial": "next_boot"}),
    ({"disks": [{"name": "root", "size": "8"}]}, {"disks[root].size": "live"}),
    ({"disks": [{"name": "root", "cache": "none", "discard": False}]}, {"disks[root].cache": "next_boot", "disks[root].discard": "next_boot"}),
    ({"disks": [{"name": "root", "state": "absent"}]}, {"disks[root]": "live"}),
    ({"disks": [{"name": "new", "pool": "main", "size": "1"}]}, {"disks[new]": "live"}),
    ({"disks": [{"name": "new", "pool": "main", "size": "1", "bus": "sata"}]}, {"disks[new]": "next_boot"}),
    ({"disks": [{"name": "root", "size": "1"}]}, {"disks[root].size": "refused"}),
    ({"disks": [{"name": "root", "pool": "other"}]}, {"disks[root].pool": "refused"}),
    ({"disks": [{"name": "root", "source": "/x"}]}, {"disks[root].source": "refused"}),
    ({"disks": [{"name": "root", "source": "/x"}], "allow": ["replace_disk"]}, {"disks[root].source": "next_boot"}),
    ({"disks": [], "exact": ["disks"]}, {"disks[root]": "live"}),
    ({"networks": [{"name": "lan", "bridge": "br1", "link": "down"}]}, {"networks[lan].bridge": "live", "networks[lan].link": "live"}),
    ({"networks": [{"name": "lan", "mac": "52:54:00:00:00:02"}]}, {"networks[lan].mac": "next_boot"}),
    ({"networks": [{"name": "lan", "vlan": 10}]}, {"networks[lan].vlan": "live"}),
    ({"networks": [{"name": "dmz", "bridge": "br1"}]}, {"networks[dmz]": "live"}),
    ({"cloud_init": {"packages": []}}, {}),
    ({"cloud_init": {"user": "joe"}}, {"cloud_init.user": "next_boot"}),
    ({"state": "paused"}, {"state": "live"}),
    ({"state": "restarted"}, {"state": "restart"}),
    ({"graphics": {"type": "vnc"}, "restart_policy": "if_needed"}, {"graphics.type": "restart"}),
    ({"graphics": {"type": "vnc"}, "state": "stopped"}, {"graphics.type": "offline", "state": "live"}),
    ({"state": "absent"}, {"state": "live"}),
]  # fmt: skip
STATELESS = [(params, expected) for params, expected in TABLE if "state" not in params]


@pytest.mark.parametrize(("params", "expected"), TABLE, ids=[str(params) for params, dummy in TABLE])
def test_on_a_machine_that_runs(params, expected):
    assert hows(running(), **params) == expected


@pytest.mark.parametrize(("params", "expected"), STATELESS, ids=[str(params) for params, dummy in STATELESS])
def test_on_a_machine_that_is_stopped(params, expected):
    told = {path: how if how == "refused" else "offline" for path, how in expected.items()}
    assert hows(stopped(), **params) == told


def test_what_waits_stays_pending():
    waiting = running(side(graphics__type="vnc"), side())
    assert plan(waiting, graphics={"type": "vnc"}).changes == []
    assert plan(waiting, graphics={"type": "vnc"}).restart_required == ["graphics.type"]
    assert hows(waiting, graphics={"type": "vnc"}, restart_policy="if_needed") == {"graphics.type": "restart"}
    assert hows(waiting, graphics={"type": "none"}) == {"graphics.type": "live"}


def test_what_the_guest_declined_is_pending_until_its_run_ends():
    params = {"disks": [{"name": "root", "state": "absent"}]}
    declined = running(side(disks=()), side(), declined=("disks[root]",))
    assert (plan(declined, **params).changes, plan(declined, **params).restart_required) == ([], ["disks[root]"])
    assert hows(running(side(disks=()), side()), **params) == {"disks[root]": "live"}


def test_a_saved_machine_takes_nothing_until_it_is_woken():
    saved = running(side(), side(), power="suspended")
    assert hows(saved, description="x") == {"description": "next_boot"}
    assert hows(saved, description="x", state="started") == {"description": "live", "state": "live"}


def test_no_free_port_waits_for_a_restart():
    state = running(side(), side(free_ports=1))
    two = [{"name": name, "bridge": "br1"} for name in ("one", "two")]
    assert hows(state, networks=two) == {"networks[one]": "live", "networks[two]": "next_boot"}


def test_unset_takes_off_and_only_what_is_there():
    state = stopped(side(nics=(nic(mtu=9000),), description="x"))
    unset = ["description", "networks[lan].mtu", "boot.kernel", "cloud_init.user"]
    assert hows(state, unset=unset) == {"description": "offline", "networks[lan].mtu": "offline"}


def in_vlan(vlan):
    return side(nics=(nic(vlan=vlan),))


def test_a_vlan_is_taken_off_and_so_is_a_trunk():
    for vlan in (10, "10,20"):
        (change,) = plan(running(in_vlan(vlan)), unset=["networks[lan].vlan"]).changes
        assert change.shown() == (vlan, None) and change.how.value == "live"
    assert plan(running(), unset=["networks[lan].vlan"]).changes == []


def test_a_vlan_that_somebody_changed_on_the_port_is_drift():
    for seen in (20, None):
        drifted = running(in_vlan(10), in_vlan(seen))
        assert hows(drifted, networks=[{"name": "lan", "vlan": 10}]) == {"networks[lan].vlan": "live"}
        assert hows(drifted, networks=[{"name": "lan"}]) == {}
    assert hows(running(in_vlan(0), in_vlan(20)), unset=["networks[lan].vlan"]) == {"networks[lan].vlan": "live"}


@pytest.mark.parametrize("state", [stopped, running])
@pytest.mark.parametrize(
    ("vlan", "item", "is_refused"),
    [
        (0, {"vlan": 10}, True),
        (10, {"vlan": 10}, True),
        (10, {}, False),
        (10, {"bridge": "br0"}, False),
        (0, {"vlan": 10, "bridge": "br1"}, False),
        (10, {"bridge": "br9"}, True),
    ],
)
def test_a_vlan_is_refused_on_a_bridge_that_cannot_have_it(state, vlan, item, is_refused):
    there = state(in_vlan(vlan), vlan_obstacles={"br0": "it is old", "br9": "it is older"})
    refused = plan(there, networks=[{"name": "lan", **item}]).refused
    assert [change.path for change in refused] == ["networks[lan].vlan"] * is_refused
    assert all(change.reason.startswith("networks[lan].vlan: 10 is refused, as it is old") for change in refused)


def test_a_vlan_of_a_new_card_is_refused_too_and_taken_off_together_with_a_move():
    obstacles = {"br9": "it is old"}
    new = {"networks": [{"name": "dmz", "bridge": "br9", "vlan": 10}]}
    assert plan(State(machine_id="m", vlan_obstacles=obstacles), **new).refused
    assert plan(running(vlan_obstacles=obstacles), **new).refused
    moved = running(in_vlan(10), vlan_obstacles=obstacles)
    params = {"networks": [{"name": "lan", "bridge": "br9"}], "unset": ["networks[lan].vlan"]}
    assert hows(moved, **params) == {"networks[lan].bridge": "live", "networks[lan].vlan": "live"}


def test_a_disk_that_goes_is_kept_as_a_file():
    gone = {"disks": [{"name": "root", "state": "absent"}], "networks": [{"name": "lan", "state": "absent"}]}
    assert plan(running(), **gone).kept == [DISK.source]


def test_what_is_not_listed_is_unmanaged():
    found = plan(stopped(), disks=[], networks=[])
    assert (found.changes, found.unmanaged) == ([], ["disks[root]", "networks[lan]"])
    assert plan(stopped()).unmanaged == []


def test_a_new_machine_is_the_plan_against_nothing():
    params = {
        "disks": [{"name": "root", "pool": "main"}],
        "image": "deb",
        "networks": [{"name": "lan", "bridge": "br0"}],
    }
    state = State(
        formats={"main": ("qcow2", "raw")}, image_sizes={"deb": 2 << 30}, machine_id="m", accelerator_reason="no KVM"
    )
    found = plan(state, **params)
    assert found.get("state").report()["after"] == "stopped"
    assert found.get("disks[root]").after["size"] == "2GiB" and found.get("disks[root]").after["image"] == "deb"
    assert found.get("networks[lan]").after["mac"] == derive_mac("m", "vm", "lan", (), prefix=VmKind.mac_prefix)
    assert found.get("memory").after == "1GiB" and "no KVM" in found.warnings[0]
    assert all(change.how.value in ("offline", "live") for change in found.changes)


def test_a_volume_that_is_there_is_taken_only_with_permission():
    params = {"disks": [{"name": "root", "pool": "main", "size": "1"}]}
    path = "/p/vm.root.qcow2"

    def found(size, **record):
        volume = FoundVolume(path, "qcow2", size, is_ours=True)
        return State(
            formats={"main": ("qcow2", "raw")}, found={"root": volume}, machine_id="m", record=load(record, exists=True)
        )

    assert [change.permit for change in plan(found(1 << 30), **params).refused] == ["adopt"]
    assert not plan(found(1 << 30), **params, allow=["adopt"]).refused
    assert plan(found(2 << 30), **params, allow=["adopt"]).refused
    half_made = found(
        1 << 30, building=True, volumes={"root": {"pool": "main", "name": "vm.root", "kind": "block", "fresh": True}}
    )
    assert not plan(half_made, **params).refused


def test_absent_deletes_only_what_is_ours_and_named():
    owned = {"root": "/p/vm.root.qcow2", "seed": "/p/vm.seed.iso"}
    found = plan(stopped(owned=owned), state="absent")
    assert ([change.path for change in found.changes], found.kept) == (["state"], list(owned.values()))
    found = plan(stopped(owned=owned), state="absent", delete=["disks"])
    assert ([change.path for change in found.changes], found.kept) == (["state", "disks[root]"], ["/p/vm.seed.iso"])
    foreign = plan(stopped(foreign=("/x (not made by this collection)",)), state="absent", delete=["disks"])
    assert foreign.kept == ["/x (not made by this collection)"]
    for refused in (stopped(record=load({"protection": True}, exists=True)), stopped(libvirt_snapshots=2)):
        assert plan(refused, state="absent").refused


def test_snapshots_are_kept_or_deleted_by_their_word_and_those_of_libvirt_need_it():
    kept = stopped(snapshots={"before": ("/p/vm.root@before.raw", "/p/vm.data@before.raw")})
    found = plan(kept, state="absent")
    assert ([change.path for change in found.changes], found.kept) == (["state"], [*kept.snapshots["before"]])
    found = plan(kept, state="absent", delete=["snapshots"])
    assert ([change.path for change in found.changes], found.kept) == (["state", "snapshots[before]"], [])
    used = kept.replace(used={"snapshots[before]": "lab stands on it"})
    assert "lab stands on it" in str(plan(used, state="absent", delete=["snapshots"]).refused[0].reason)
    theirs = stopped(libvirt_snapshots=2)
    assert "delete: [snapshots]" in str(plan(theirs, state="absent").refused[0].reason)
    assert not plan(theirs, state="absent", delete=["snapshots"]).refused


@pytest.mark.parametrize(
    "params",
    [
        {"name": "../../etc"},
        {"name": "a\nb"},
        {"memory": "2GB"},
        {"memory": "1.5KiB"},
        {"memory": "2GiB", "memory_max": "1GiB"},
        {"cpu": {"cores": 4, "max_cores": 2}},
        {"disks": [{"name": "a"}, {"name": "a"}]},
        {"disks": [{"name": "seed", "pool": "main", "size": "1"}]},
        {"disks": [{"name": "a", "source": "/x", "size": "1"}]},
        {"disks": [{"name": "a", "source": "../x"}]},
        {"disks": [{"name": "a", "serial": "<x>"}]},
        {"networks": [{"name": "a", "mac": "01:00:00:00:00:00"}]},
        {"networks": [{"name": "a", "bridge": "way-too-long-a-name"}]},
        {"networks": [{"name": "a", "bridge": "b", "mtu": 1}]},
        {"networks": [{"name": "a", "bridge": "b", "vlan": 0}]},
        {"networks": [{"name": "a", "bridge": "b", "vlan": 4095}]},
        {"networks": [{"name": "a", "vlan": 1}], "unset": ["networks[a].vlan"]},
        {"boot": {"cmdline": "a\nb"}},
        {"boot": {"order": ["a", "a"]}},
        {"cloud_init": {"user": "Root!"}},
        {"cloud_init": {"ssh_keys": ["one"]}},
        {"cloud_init": {"meta_data": "{'a': 1}"}},
        {"unset": ["memory"]},
        {"unset": ["description"], "description": "x"},
        {"unset": ["cpu"]},
        {"unset": ["startup"], "startup": {"up_delay": 0}},
        {"startup": {"order": -1}},
        {"startup": {"down_delay": 86401}},
        {"exact": ["networks"]},
        {"disks": [{"name": "a", "pool": "main"}], "networks": [{"name": "a", "bridge": "br0"}]},
        {"disks": [{"name": "root", "limits": {"iops": 5, "read_iops": 5}}]},
        {"disks": [{"name": "root", "limits": {"bytes": "1MiB", "write_bytes": "1MiB"}}]},
        {"disks": [{"name": "root", "limits": {"iops": 0}}]},
        {"disks": [{"name": "root", "limits": {"bytes": "5MB"}}]},
    ],
    ids=str,
)
def test_nonsense_is_refused_before_the_host_is_looked_at(params):
    with pytest.raises(SpecError):
        parse({"name": "vm", **params})


def test_a_live_device_has_the_name_of_its_definition():
    persistent = {"data": disk("data", "sda", "/d", bus="scsi")}
    live = [disk(None, "vdb", "/d"), disk("gone", "vdc", "/g")]
    named = name_live_devices("disks", live, persistent, {})
    assert {name: its.target for name, its in named.items()} == {"data": "vdb", "gone": "vdc"}


def test_no_disk_is_made_in_a_pool_that_is_no_folder():
    state = stopped(formats={"main": ("qcow2", "raw")}, other_pools={"vg": "logical"})
    for actual in (state, state.replace(exists=False, power="absent", persistent=None)):
        (refused,) = plan(actual, disks=[{"name": "data", "pool": "vg", "size": "1G"}]).refused
        assert refused.path == "disks[data].pool" and "logical" in refused.reason


@pytest.mark.parametrize(
    ("bus", "how"), [("virtio", "live"), ("scsi", "live"), ("usb", "live"), ("sata", "next_boot"), ("ide", "next_boot")]
)
def test_a_disk_is_unplugged_live_where_its_bus_lets_it_go(bus, how):
    actual = running(side(disks=[disk(bus=bus)]))
    gone = {"disks": [{"name": "root", "state": "absent"}]}
    assert hows(actual, **gone) == hows(actual, disks=[], exact=["disks"]) == {"disks[root]": how}
    assert plan(running(side(disks=[]), actual.live), **gone).restart_required == (
        ["disks[root]"] if how == "next_boot" else []
    )


@pytest.mark.parametrize("power", ["paused", "suspended"])
def test_a_machine_that_is_held_or_saved_is_not_restarted_unless_it_goes_on(power):
    actual = running(power=power)
    change = {"graphics": {"type": "vnc"}, "restart_policy": "if_needed"}
    for state in ("present", power):
        assert hows(actual, **change, state=state) == {"graphics.type": "next_boot"}
    for state in ("started", "restarted"):
        assert hows(actual, **change, state=state)["graphics.type"] == "restart"


def test_a_disk_is_limited_as_a_whole_or_in_its_parts():
    limited = stopped(side(disks=(disk(**{"limits.read_iops": 5}),)))
    params = {"disks": [{"name": "root", "limits": {"iops": 9}}]}
    with pytest.raises(SpecError, match=r"limits\.read_iops is set too"):
        plan(limited, **params)
    unset = ["disks[root].limits.read_iops"]
    paths = [change.path for change in plan(limited, **params, unset=unset).changes]
    assert paths == ["disks[root].limits.iops", "disks[root].limits.read_iops"]


def test_a_disk_that_waits_for_a_port_waits_also_where_only_a_key_of_it_is_taken_off():
    state = running(side(disks=(disk(serial="x"),)), side(disks=(), free_ports=0))
    found = plan(state, unset=["disks[root].serial"])
    assert {change.path: change.how.value for change in found.changes} == {"disks[root].serial": "next_boot"}
    assert found.restart_required == ["disks[root].serial", "disks[root]"]


POWERS = {"running": apply_cells.RUNNING, "stopped": apply_cells.STOPPED}
# What another thing than the option decides: the machine's own maximum, the devices that there are, who stands on its disks.
TOPOLOGY = {f"cpu.topology.{key}" for key in ("sockets", "dies", "cores", "threads")}
SCREEN = {"graphics.listen", "graphics.port", "graphics.password", "video", "tablet", "watchdog.action"}
ELSEWHERE = (
    TOPOLOGY | SCREEN | {"vcpus", "cpu.cores", "cpu.max_cores", "memory", "memory_max", "boot.order", "template"}
)
# What a disk has to be for a value.
NEEDED = {
    "shareable": {"format": "raw"},
    "rotation_rate": {"bus": "scsi"},
    "io": {"cache": "none"},
    "gateway6": {"ip6": "2001:db8::10/64"},
}
CELLS = [
    pytest.param(row, way, power, id=f"{row.path} {way} {power}")
    for row in apply_cells.rows("kvm_vm")
    for way in apply_cells.directions(row)
    for power in POWERS
    if row.path not in ELSEWHERE
]


@pytest.mark.parametrize(("row", "way", "power"), CELLS)
def test_the_table_of_apply_paths_says_what_the_plan_answers(row, way, power):
    before, after = apply_cells.directions(row)[way]
    told, permit = apply_cells.outcome(row, before, after, POWERS[power])
    area, dummy, key = row.path.partition("[]")
    thing = {"disks": "root", "cdroms": "cd", "devices": "stick", "shares": "media"}.get(area, "lan")
    path = row.path.replace("[]", f"[{thing}]")
    if row.type == "item":
        values = {
            "disks": {"pool": "main", "size": 4 << 30},
            "cdroms": {"bus": "scsi", "source": "/iso/a.iso"},
            "networks": {"bridge": "br0"},
            "devices": {"type": "usb", "id": "10c4:ea60"},
            "shares": {"source": "/srv/a"},
        }
        lists = {area: (Item(thing, after, values[area] if after else {}),)}
        stands = side(
            disks=(DISK,) if before or area != "disks" else (),
            nics=(NIC,) if before or area != "networks" else (),
            cdroms=(CDROM,) if before or area != "cdroms" else (),
            devices=(device(),) if before and area == "devices" else (),
            shares=(share(),) if before and area == "shares" else (),
        )
        spec = Spec("vm", lists=lists)
    elif key:
        key = key.lstrip(".")
        spec = Spec("vm", lists={area: (Item(thing, True, {key: after}),)})
        changed = {**NEEDED.get(key, {}), key: before}
        stands = {
            "disks": lambda: side(disks=(disk(**changed),)),
            "cdroms": lambda: side(cdroms=(cdrom(**changed),)),
            "networks": lambda: side(nics=(nic(**changed),)),
            "devices": lambda: side(devices=(device(**changed),)),
            "shares": lambda: side(shares=(share(**changed),)),
        }[area]()
    else:
        spec = Spec("vm", values={row.path: after})
        stands = side(**{row.path.replace(".", "__"): before})
    record = (
        load({**nested(row.path, before), "schema": 1}, exists=True) if row.home == RECORD else load({}, exists=True)
    )
    sources = {DISK.source, "/srv/a", "/srv/b"}
    actual = (running if power == "running" else stopped)(stands, record=record, sources=sources, seed_path="/p/seed")
    change = plan_vm(spec, actual).get(path)
    assert change is not None
    assert change.how.value == told
    assert permit is None or change.permit == permit


def nested(path, value):
    """``startup.order`` as the record keeps it."""
    folder, dot, key = path.partition(".")
    return {folder: {key: value}} if dot else {folder: list(value) if isinstance(value, tuple) else value}
