# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wrote, and the plan from a state to it: tables without a host."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import cgroup, definition, guest_files
from ansible_collections.homelab.hybrid.plugins.module_utils._container.card import (
    Address,
    Nic,
    claim_cards,
    find_nic,
    read_cards,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config
from ansible_collections.homelab.hybrid.plugins.module_utils._container.idmap import Range
from ansible_collections.homelab.hybrid.plugins.module_utils._container.mount import claim_mounts
from ansible_collections.homelab.hybrid.plugins.module_utils._container.plan import ContainerKind, plan_container
from ansible_collections.homelab.hybrid.plugins.module_utils._container.spec import default_hostname, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import (
    Definition,
    HostState,
    Inside,
    Live,
    State,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._container.wanted import wanted_of
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import RECORD as RECORD_HOME
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.identity import derive_mac
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.plan import plan_guest
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import GuestRecord, RecordedVolume
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.spec import GuestSpec
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Limit, Volume
from tools import apply_cells

MAC = "00:16:3e:aa:bb:cc"
CONFIG = f"""\
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.uts.name = one
lxc.rootfs.path = dir:/pool/one.rootfs
lxc.cgroup.memory.limit_in_bytes = 67108864
lxc.cgroup2.memory.max = 67108864
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.name = eth0
lxc.net.0.veth.pair = one.0
lxc.net.0.hwaddr = {MAC}
lxc.net.0.ipv4.address = 192.0.2.5/24
lxc.net.0.ipv4.gateway = 192.0.2.1
"""
HOST = HostState(
    cpus=(0, 1, 2, 3),
    uids=(Range(100000, 6553600),),
    gids=(Range(100000, 6553600),),
    machine_id="0" * 32,
    links=frozenset({"one.0"}),
)
RECORD = GuestRecord(
    exists=True,
    kind="container",
    macs={"lan": MAC},
    volumes={"rootfs": RecordedVolume(Volume("p", "one.rootfs", "filesystem"))},
    idmap=(100000, 65536),
)


def definition_of(config: Config, record: GuestRecord, cpus: tuple[int, ...] = HOST.cpus) -> Definition:
    """What is kept of a container by its configuration, as ``observe`` puts it together."""
    numbers = claim_cards("web", (), config, record.macs)
    return Definition(
        config,
        inside=Inside(hostname="one", manager="networkd"),
        limits=cgroup.defined(config.get, is_v2=False),
        cpus=cpus,
        cards=read_cards(numbers, config, unplugged=record.unplugged, asks_dhcp=()),
        mounts=claim_mounts((), config, record.names.get("mounts") or {}),
    )


def stopped(config: str | Config, record: GuestRecord = RECORD) -> State:
    lines = Config.parse(config) if isinstance(config, str) else config
    return State(
        power="stopped",
        exists=True,
        persistent=definition_of(lines, record),
        record=record,
        rootfs="/pool/one.rootfs",
        has_rootfs=True,
        owns_rootfs="rootfs" in record.volumes,
        root_pool="p",
        owned={"rootfs": "/pool/one.rootfs"},
        host=HOST,
    )


def running(there: State, nics: tuple[Nic, ...], **keys: t.Any) -> State:
    """The container *there* with interfaces that belong to its cards."""
    found = {name: nic for name, card in there.cards.items() if (nic := find_nic(card, nics))}
    live = Live(**{**LIVE, **keys}, nics=nics, items={"networks": found})
    return there.replace(power="started", live=live)


STOPPED = stopped(CONFIG)
NIC = Nic("eth0", MAC, "one.0", "br0", 1500, (Address("192.0.2.5/24"),), ("192.0.2.1",))
LIVE: dict[str, t.Any] = {
    "pid": 1,
    "limits": {"memory.limit_in_bytes": "67108864"},
    "hostname": "one",
    "memory_in_use": 40960,
}
RUNNING = running(STOPPED, (NIC,))
ABSENT = State(host=HOST, target="/pool/one.rootfs")


NEW: dict[str, t.Any] = {"image": "i", "rootfs": {"pool": "p"}}


def plan(there: State, **params: t.Any) -> t.Any:
    return plan_container(parse({"name": "one", **params}), there)


def paths(there: State, **params: t.Any) -> list[str]:
    return [change.path for change in plan(there, **params).changes]


@pytest.mark.parametrize("state", [STOPPED, RUNNING], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, []),
        ({"memory": "64MiB", "hostname": "one", "unprivileged": True, "rootfs": {"pool": "p"}}, []),
        ({"networks": [{"name": "lan", "mac": MAC.upper(), "bridge": "br0", "ip": "192.0.2.5/24"}]}, []),
        ({"memory": 128}, ["memory"]),
        ({"unset": ["memory"]}, ["memory"]),
        ({"vcpus": 2}, ["vcpus"]),
        ({"tags": ["b", "a"], "description": "x"}, ["description", "tags"]),
        ({"startup": {"order": 0, "up_delay": 5, "down_delay": 0}}, ["startup.order", "startup.up_delay"]),
        ({"startup": {"order": None}, "unset": ["startup"]}, []),
        ({"networks": [{"name": "lan", "ip": "dhcp"}]}, ["networks[lan].ip", "networks[lan].gateway"]),
        ({"networks": [{"name": "lan", "state": "absent"}]}, ["networks[lan]"]),
        ({"networks": [{"name": "new", "bridge": "br1"}]}, ["networks[new]"]),
        ({"networks": [{"name": "lan", "vlan": 10}]}, ["networks[lan].vlan"]),
        ({"unset": ["networks[lan].vlan"]}, []),
        ({"networks": [], "exact": ["networks"]}, ["networks[lan]"]),
        ({"mounts": [{"name": "x", "source": "/x", "path": "/y"}]}, ["mounts[x]"]),
        ({"mounts": [{"name": "x", "state": "absent"}]}, []),
    ],
)
def test_what_differs_is_in_the_plan(state, params, expected):
    assert paths(state, **params) == expected


def test_how_a_change_reaches_a_container():
    assert [change.how.value for change in plan(RUNNING, memory=128, autostart=True).changes] == ["live", "live"]
    assert [change.how.value for change in plan(STOPPED, memory=128).changes] == ["offline"]
    assert [change.how.value for change in plan(RUNNING, memory=128, state="stopped").changes] == ["offline", "live"]
    mac = {"networks": [{"name": "lan", "mac": "00:16:3e:00:00:01"}]}
    assert plan(RUNNING, **mac).restart_required == ["networks[lan].mac"]
    assert plan(RUNNING, **mac, restart_policy="if_needed").changes[0].how.value == "restart"


@pytest.mark.parametrize(
    ("live", "params", "expected"),
    [
        ({"limits": {"memory.limit_in_bytes": "134217728"}}, {"memory": 64}, ["memory"]),
        ({"hostname": "drifted"}, {"hostname": "one"}, ["hostname"]),
        ({"nics": ()}, {"networks": [{"name": "lan"}]}, ["networks[lan]"]),
        (
            {"nics": (NIC.replace(bridge="br9"),)},
            {"networks": [{"name": "lan", "bridge": "br0"}]},
            ["networks[lan].bridge"],
        ),
        (
            {"nics": (NIC.replace(addresses=()),)},
            {"networks": [{"name": "lan", "ip": "192.0.2.5/24"}]},
            ["networks[lan].ip"],
        ),
        ({"nics": (NIC.replace(addresses=()),)}, {"networks": [{"name": "lan", "bridge": "br0"}]}, []),
    ],
)
def test_drift_is_repaired_where_it_is_declared(live, params, expected):
    state = running(STOPPED, **{"nics": (NIC,), **live})
    found = plan(state, **params).changes
    assert [change.path for change in found] == expected and {change.how.value for change in found} <= {"live"}


@pytest.mark.parametrize(
    ("state", "params", "reason"),
    [
        (RUNNING, {"memory": 32}, "processes of it would be killed"),
        (RUNNING, {"unprivileged": False}, "was made unprivileged"),
        (STOPPED, {"rootfs": {"pool": "other"}}, "is not moved"),
        (STOPPED.replace(size_obstacle="no quotas"), {"rootfs": {"size": "5G"}}, "rootfs.size: no quotas"),
        (
            ABSENT.replace(image_bytes=2 << 30),
            {"image": "i", "rootfs": {"pool": "p", "size": "1G"}},
            "is less than the image i takes (2GiB)",
        ),
        (ABSENT.replace(image_largest_id=65536), {"image": "i", "rootfs": {"pool": "p"}}, "has the ids 0 to 65535"),
        (STOPPED.replace(limit=Limit(5 << 30)), {"rootfs": {"size": "4G"}}, "is never made smaller"),
        (STOPPED.replace(limit=Limit(used=2 << 30)), {"rootfs": {"size": "1G"}}, "holds 2GiB already"),
        (STOPPED, {"networks": [{"name": "lan", "ip": "198.51.100.1/24"}]}, "is not in the network of"),
        (STOPPED, {"vcpus": 5}, "has 4 CPUs"),
        (STOPPED, {"cpu": {"pin": "3-4"}}, "not all online"),
        (
            STOPPED.replace(record=RECORD.replace(options={"protection": True})),
            {"state": "absent"},
            "is protected",
        ),
        (
            ABSENT.replace(other_kind="virtual machine"),
            {"image": "i", "rootfs": {"pool": "p"}},
            "is the name of a virtual machine",
        ),
        (
            ABSENT.replace(has_target=True),
            {"image": "i", "rootfs": {"pool": "p"}},
            "no record says what it is",
        ),
        (
            ABSENT.replace(host=HOST.replace(uids=(Range(1, 9),))),
            {"image": "i", "rootfs": {"pool": "p"}},
            "are left of root's",
        ),
    ],
)
def test_what_is_refused(state, params, reason):
    assert any(reason in str(change.reason) for change in plan(state, **params).refused)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"name": "../x"}, "name"),
        ({"networks": [{"name": "a.b"}]}, "networks[].name"),
        ({"networks": [{"name": "a", "mac": "01:00:00:00:00:00"}]}, "networks[a].mac"),
        ({"networks": [{"name": "a", "bridge": "x/y"}]}, "networks[a].bridge"),
        ({"networks": [{"name": "a", "vlan": 4095}]}, "networks[a].vlan"),
        ({"networks": [{"name": "a", "vlan": 0}]}, "networks[a].vlan"),
        ({"networks": [{"name": "a", "ip": "192.0.2.1"}]}, "networks[a].ip"),
        ({"networks": [{"name": "a", "ip": "dhcp", "gateway": "192.0.2.1"}]}, "networks[a].gateway"),
        ({"networks": [{"name": "a", "ip": "192.0.2.9/24", "gateway": "198.51.100.1"}]}, "networks[a].gateway"),
        ({"networks": [{"name": "a", "ip6": "192.0.2.9/24"}]}, "networks[a].ip6"),
        ({"networks": [{"name": "a", "ip6": "fe80::9/64"}]}, "networks[a].ip6"),
        ({"networks": [{"name": "a", "ip": "none", "ip6": "2001:db8::9/64"}]}, "networks[a].ip6"),
        ({"networks": [{"name": "a", "ip": "2001:db8::8/64", "ip6": "2001:db8::9/64"}]}, "networks[a].ip6"),
        ({"networks": [{"name": "a", "ip6": "2001:db8::9/64", "gateway6": "192.0.2.1"}]}, "networks[a].gateway6"),
        ({"networks": [{"name": "a", "ip6": "2001:db8::9/64", "gateway6": "2001:db9::1"}]}, "networks[a].gateway6"),
        ({"networks": [{"name": "a", "ip6": "slaac", "gateway6": "2001:db8::1"}]}, "networks[a].gateway6"),
        ({"networks": [{"name": each, "mac": "00:16:3e:00:00:01"} for each in "ab"]}, "networks: a mac is there twice"),
        (
            {"networks": [{"name": each, "bridge": "br0", "ip": "192.0.2.9/24"} for each in "ab"]},
            "networks: an ip is there twice",
        ),
        ({"mounts": [{"name": "a", "path": "/../etc"}]}, "mounts[a].path"),
        ({"mounts": [{"name": "a", "path": "/x"}, {"name": "b", "path": "/x/"}]}, "mounts"),
        ({"vcpus": 1, "cpu": {"cores": 2}}, "vcpus"),
        ({"cpu": {"cores": 2, "pin": "0"}}, "cpu.pin"),
        ({"cpu": {"pin": "a"}}, "cpu.pin"),
        ({"cpu": {"limit": 0.0}}, "cpu.limit"),
        ({"memory": "1GB"}, "memory"),
        ({"hostname": "a\nb"}, "hostname"),
        ({"hostname": "-a"}, "hostname"),
        ({"dns": {"servers": ["x"]}}, "dns.servers"),
        ({"ssh_keys": ["rm -rf /"]}, "ssh_keys"),
        ({"exact": ["mounts"]}, "exact"),
        ({"unset": ["autostart"]}, "unset"),
        ({"unset": ["memory"], "memory": 64}, "unset"),
        ({"unset": ["startup"], "startup": {"up_delay": 0}}, "unset"),
        ({"startup": {"order": -1}}, "startup.order"),
        ({"startup": {"down_delay": 86401}}, "startup.down_delay"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(params, key):
    with pytest.raises(SpecError) as caught:
        parse({"name": "one", **params})
    assert caught.value.message.startswith(key)


def test_one_address_on_two_bridges_or_vlans_of_a_container_is_no_mistake():
    net = {"ip": "192.0.2.9/24", "bridge": "br0"}
    others = [{"bridge": "br1"}, {"vlan": 10}, {"state": "absent"}]
    networks = [{"name": "a", **net}, *({"name": f"b{at}", **net, **other} for at, other in enumerate(others))]
    assert len(parse({"name": "one", "networks": networks}).items("networks")) == 4


def in_vlan(vlan: int | None, there: State = STOPPED) -> State:
    """The container *there* in *vlan* by its configuration."""
    if vlan is None:
        return there
    changed = stopped(there.config.set("lxc.net.0.veth.vlan.id", str(vlan)))
    return changed if there.live is None else running(changed, there.live.nics)


def on_port(vlan: int | None) -> State:
    """A running container on a port in *vlan*; its bridge gives 1 to every port."""
    return running(STOPPED, (NIC.replace(vlan=vlan, default_vlan=1),))


@pytest.mark.parametrize(
    ("vlan", "seen", "params", "expected"),
    [
        (None, 1, {"networks": [{"name": "lan", "vlan": 10}]}, (None, 10)),
        (10, 10, {"networks": [{"name": "lan", "vlan": 10}]}, None),
        (10, 20, {"networks": [{"name": "lan", "vlan": 10}]}, (20, 10)),
        (10, 20, {"networks": [{"name": "lan"}]}, None),
        (10, 1, {"networks": [{"name": "lan", "vlan": 10}]}, (1, 10)),
        (10, 0, {"networks": [{"name": "lan", "vlan": 10}]}, (None, 10)),
        (10, 10, {"unset": ["networks[lan].vlan"]}, (10, None)),
        (None, 1, {"unset": ["networks[lan].vlan"]}, None),
        (None, 20, {"unset": ["networks[lan].vlan"]}, (20, None)),
        (None, None, {"unset": ["networks[lan].vlan"]}, None),
        (10, None, {"networks": [{"name": "lan", "vlan": 10}]}, None),
    ],
)
def test_the_vlan_of_a_running_container_is_that_of_its_port(vlan, seen, params, expected):
    found = plan(in_vlan(vlan, on_port(seen)), **params).changes
    assert [change.shown() for change in found] == ([expected] if expected else [])
    assert {change.how.value for change in found} <= {"live"}


@pytest.mark.parametrize("there", [STOPPED, on_port(10)], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("vlan", "item", "is_refused"),
    [
        (None, {"vlan": 10}, True),
        (10, {"vlan": 10}, True),
        (10, {}, False),
        (10, {"bridge": "br0"}, False),
        (None, {"vlan": 10, "bridge": "br1"}, False),
        (10, {"bridge": "br9"}, True),
    ],
)
def test_a_vlan_is_refused_on_a_bridge_that_cannot_have_it(there, vlan, item, is_refused):
    obstacles = {"br0": "it is old", "br9": "it is older"}
    state = in_vlan(vlan, there).replace(vlan_obstacles=obstacles)
    refused = plan(state, networks=[{"name": "lan", **item}]).refused
    assert [change.path for change in refused] == ["networks[lan].vlan"] * is_refused
    assert all(change.reason.startswith("networks[lan].vlan: 10 is refused, as it is old") for change in refused)


def test_a_vlan_of_a_new_interface_is_refused_too_and_taken_off_together_with_a_move():
    obstacles = {"br9": "it is old"}
    new = {"networks": [{"name": "dmz", "bridge": "br9", "vlan": 10}]}
    made = {"image": "i", "rootfs": {"pool": "p"}}
    assert plan(ABSENT.replace(vlan_obstacles=obstacles), **made, **new).refused
    assert plan(RUNNING.replace(vlan_obstacles=obstacles), **new).refused
    moved = in_vlan(10).replace(vlan_obstacles=obstacles)
    params = {"networks": [{"name": "lan", "bridge": "br9"}], "unset": ["networks[lan].vlan"]}
    assert not plan(moved, **params).refused


def lines_of(there: State, **params: t.Any) -> list[str]:
    spec = parse({"name": "one", **params})
    text = definition.edit(there.config, wanted_of(spec, there), plan_container(spec, there).changes).text
    return [line for line in text.splitlines() if line.startswith(("lxc.net.0.veth.", "lxc.net.1."))]


def test_a_vlan_is_written_behind_what_it_belongs_to():
    pair = "lxc.net.0.veth.pair = one.0"
    mode, ten = "lxc.net.0.veth.mode = bridge", "lxc.net.0.veth.vlan.id = 10"
    assert lines_of(STOPPED, networks=[{"name": "lan", "vlan": 10}]) == [pair, mode, ten]
    assert lines_of(STOPPED, networks=[{"name": "lan", "mtu": 9000}]) == [pair]
    assert lines_of(in_vlan(10), networks=[{"name": "lan", "mtu": 9000}]) == [pair, ten]
    assert lines_of(in_vlan(10), unset=["networks[lan].vlan"]) == [pair]
    new = lines_of(STOPPED, networks=[{"name": "dmz", "bridge": "br1", "vlan": 20}])
    # liblxc takes the keys of a type only after the type.
    assert new.index("lxc.net.1.type = veth") < new.index("lxc.net.1.veth.mode = bridge")
    assert "lxc.net.1.veth.vlan.id = 20" in new


def test_everything_new_is_complete_before_the_first_start():
    spec = parse(
        {
            "name": "one",
            "image": "i",
            "rootfs": {"pool": "p"},
            "networks": [{"name": "lan", "bridge": "br0"}],
            "memory": 64,
            "vcpus": 2,
        }
    )
    made = plan_container(spec, ABSENT)
    assert made.changes[0].after == "stopped"
    config = definition.new_config("one", "/pool/one.rootfs", Range(100000), has_apparmor=False)
    text = definition.edit(config, wanted_of(spec, ABSENT), made.changes).text
    for line in (
        "lxc.idmap = u 0 100000 65536",
        "lxc.cap.drop = sys_rawio",
        "lxc.mount.auto = sys:mixed",
        "lxc.cgroup.memory.limit_in_bytes = 67108864",
        "lxc.cgroup2.memory.max = 67108864",
        "lxc.cgroup.cpuset.cpus = 0-1",
        "lxc.net.0.link = br0",
        f"lxc.net.0.hwaddr = {derive_mac('', 'one', 'lan', (), prefix=ContainerKind.mac_prefix)}",
    ):
        assert line in text.splitlines()
    assert "lxc.apparmor.profile = generated" in definition.new_config("one", "/x", None, has_apparmor=True).text


@pytest.mark.parametrize("guest", ["one", "a" * 63])
def test_a_card_has_a_stable_name_on_the_host_from_birth(guest):
    spec = parse({"name": guest, **NEW, "networks": [{"name": name, "bridge": "br0"} for name in ("lan", "dmz")]})
    taken = ABSENT.replace(host=HOST.replace(links=frozenset({f"{guest}.lan"})))
    for state in (ABSENT, taken):
        pairs = [card.pair for card in wanted_of(spec, state).cards.values()]
        assert len(set(pairs)) == 2 and all(0 < len(pair) <= 15 for pair in pairs)
        assert not set(pairs) & state.host.taken_links
        assert pairs == [card.pair for card in wanted_of(spec, state).cards.values()]


def test_a_card_made_by_hand_is_left_without_a_name_until_it_is_plugged_in_again():
    nameless = stopped(Config.parse(CONFIG).unset("lxc.net.0.veth.pair").unset("lxc.net.0.hwaddr"), GuestRecord())
    changed = {"networks": [{"name": "net0", "mtu": 9000}]}
    assert lines_of(nameless, **changed) == []
    nic = NIC.replace(host="vethX1Y2Z3")
    assert running(nameless, (nic,)).nics and lines_of(running(nameless, (nic,)), **changed) == []
    (line,) = lines_of(running(nameless, ()), **changed)
    assert line == "lxc.net.0.veth.pair = one.net0"


def test_the_files_of_a_guest():
    assert default_hostname("my_guest.x") == "my-guest.x"
    assert (
        guest_files.hosts("127.0.0.1 localhost\n127.0.1.1 old\n# x\n", "new.lan")
        == "127.0.0.1 localhost\n127.0.1.1 new.lan new\n# x\n"
    )
    assert guest_files.hosts(None, "a").startswith("127.0.0.1 localhost\n127.0.1.1 a\n")
    net = guest_files.Net("lan", "eth0", "192.0.2.5/24", "192.0.2.1")
    assert "Address=192.0.2.5/24\nGateway=192.0.2.1\n" in str(guest_files.networkd(net))
    assert "DHCP=yes" in str(guest_files.networkd(guest_files.Net("lan", "eth0", "dhcp")))
    assert guest_files.networkd(guest_files.Net("lan", "eth0", "none")) is None
    assert guest_files.host_resolver(["nameserver 127.0.0.53\n", "search lan .\nnameserver 192.0.2.1\n"]) == (
        ("192.0.2.1",),
        ("lan",),
    )
    assert guest_files.names_interfaces("iface lo inet loopback\n") is False
    assert guest_files.names_interfaces("iface eth0 inet dhcp\n") is True


def test_a_root_gets_a_size_and_grows_while_it_runs():
    assert changes(STOPPED, rootfs={"size": "5G"}) == [("rootfs.size", None, "5GiB")]
    grown = RUNNING.replace(limit=Limit(5 << 30))
    (change,) = plan(grown, rootfs={"size": "6G"}).changes
    assert (change.before, change.after, change.how.value) == ("5GiB", "6GiB", "live")
    assert changes(grown, rootfs={"size": "5G"}) == []


def test_the_size_of_a_root_is_taken_off_while_it_runs():
    (change,) = plan(RUNNING.replace(limit=Limit(5 << 30)), unset=["rootfs.size"]).changes
    assert (change.path, change.before, change.after, change.how.value) == ("rootfs.size", "5GiB", None, "live")
    assert changes(RUNNING, unset=["rootfs.size"]) == []


def test_subvolumes_that_a_container_made_come_under_its_size():
    state = STOPPED.replace(limit=Limit(5 << 30, ("srv/a", "srv/b")))
    assert changes(state, rootfs={"size": "5G"}) == [("rootfs.size", "5GiB without 2 subvolumes", "5GiB")]
    assert changes(state, rootfs={"size": "6G"}) == [("rootfs.size", "5GiB", "6GiB")]
    assert changes(state) == []


def test_the_first_root_of_an_image_in_a_pool_comes_with_a_copy_of_it():
    state = ABSENT.replace(missing_copy=Volume("p", "image+i", "filesystem"))
    found = changes(state, image="i", rootfs={"pool": "p"})
    assert ("copies.i@p", None, "p/image+i") in found


def changes(state, **params):
    return [(change.path, change.before, change.after) for change in plan(state, **params).changes]


# What something else than the option decides: how many CPUs there are, what is in use, where the root lies, its limit, who stands on it.
ELSEWHERE = {"vcpus", "cpu.cores", "cpu.pin", "swap", "rootfs.pool", "rootfs.size", "unprivileged", "template"}
POWERS = {"running": (apply_cells.RUNNING, RUNNING), "stopped": (apply_cells.STOPPED, STOPPED)}
CELLS = [
    pytest.param(row, way, power, id=f"{row.path} {way} {power}")
    for row in apply_cells.rows("lxc_container")
    for way in apply_cells.directions(row)
    for power in POWERS
    if row.path not in ELSEWHERE
]


class Standing(ContainerKind):
    """A container of which one option has the value *before*, in its definition and while it runs."""

    before: t.ClassVar[dict[str, t.Any]] = {}

    def value(self, side: t.Any, path: str) -> t.Any:
        return self.before[path] if path in self.before else super().value(side, path)

    def live_value(self, area: str, key: str, item: t.Any, before: t.Any, now: t.Any) -> t.Any:
        return before.value(key)


class Mounted:
    """A mount or a device by its options alone."""

    def __init__(self, **values: t.Any) -> None:
        own = {"source": "/srv/a", "path": "/data", "readonly": False, "mapped": False, "map_ids": (), "type": "usb"}
        self.values = {**own, **values}

    def value(self, key: str) -> t.Any:
        return self.values.get(key)


@pytest.mark.parametrize(("row", "way", "power"), CELLS)
def test_the_table_of_apply_paths_says_what_the_plan_answers(row, way, power):
    before, after = apply_cells.directions(row)[way]
    cells, there = POWERS[power]
    told, dummy = apply_cells.outcome(row, before, after, cells)
    area, dummy, key = row.path.partition("[]")
    key = key.lstrip(".")
    card = there.cards["lan"]
    things: dict[str, t.Any] = {
        "networks": {"thing": card},
        "mounts": {"thing": Mounted()},
        "devices": {"thing": Mounted()},
    }
    if key:
        is_card = area == "networks"
        beside = {"ip6": "2001:db8::9/64"} if key == "gateway6" else {}
        things[area] = {
            "thing": card.replace(values={**card.values, **beside, key: before})
            if is_card
            else Mounted(**{key: before})
        }
        more = {"type": "usb"} if key == "id" else {}
        spec = GuestSpec("one", lists={area: (Item("thing", True, {**more, key: after}),)})
    elif row.type == "item":
        new = {
            "networks": {"bridge": "br0"},
            "mounts": {"source": "/srv/a", "path": "/data"},
            "devices": {"path": "/dev/fuse"},
        }[area]
        things[area] = things[area] if before else {}
        spec = GuestSpec("one", lists={area: (Item("thing", after, new if after else {}),)})
    else:
        spec = GuestSpec("one", values={row.path: after})
    record = RECORD.with_value(row, before) if row.home == RECORD_HOME else RECORD
    persistent = definition_of(there.config, record)
    persistent.items = things
    live = None if there.live is None else Live(**LIVE, items=things)
    kind = Standing(
        spec, there.replace(persistent=persistent, live=live, record=record, groups={"render": 1, "video": 2})
    )
    kind.before = {} if "[]" in row.path else {row.path: before}
    change = plan_guest(kind).get(row.path.replace("[]", "[thing]"))
    assert change is not None
    assert change.how.value == told


def test_a_deletion_that_was_interrupted_is_finished_and_the_container_does_not_go_twice():
    """Killed between the root and its name in the record, the next run told that the container goes, which it had told before."""
    found = plan(ABSENT.replace(record=RECORD), state="absent", delete=["rootfs"])
    assert [(change.path, change.before, change.after) for change in found.changes] == [
        ("rootfs", "p/one.rootfs", None)
    ]
    assert paths(ABSENT.replace(record=RECORD.replace(volumes={})), state="absent") == ["state"]
