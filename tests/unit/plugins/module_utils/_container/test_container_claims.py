# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container lays claim to."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import cgroup
from ansible_collections.homelab.hybrid.plugins.module_utils._container.card import Nic, claim_cards, read_cards
from ansible_collections.homelab.hybrid.plugins.module_utils._container.claims import claims_of
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config
from ansible_collections.homelab.hybrid.plugins.module_utils._container.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._container.standing import standing
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import Definition, Live, State
from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import Space
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import load
from ansible_collections.homelab.hybrid.plugins.module_utils._host.lxc import Container
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Limit, Volume

GIB = 1024**3
MAC = "00:16:3e:00:00:01"
CONFIG = f"""\
lxc.net.0.link = br0
lxc.net.0.veth.vlan.id = 10
lxc.net.0.hwaddr = {MAC.upper()}
lxc.net.0.ipv4.address = 10.0.0.2/24 10.0.0.255
lxc.net.1.link = br1
lxc.net.1.hwaddr = 00:16:3e:xx:xx:XX
lxc.cgroup.memory.limit_in_bytes = 64M
lxc.cgroup2.memory.max = 64M
"""
MACS = {"lan": MAC}
PARSED = Config.parse(CONFIG)
KEPT = Definition(
    PARSED,
    cards=read_cards(claim_cards("web", (), PARSED, MACS), PARSED, unplugged={}, asks_dhcp=()),
    limits=cgroup.defined(PARSED.get, is_v2=True),
)
THERE = State(
    power="started",
    exists=True,
    persistent=KEPT,
    record=load({"kind": "container", "macs": MACS}, exists=True),
    owned={"rootfs": "/p/c.rootfs"},
)


def declared(**params):
    return parse({"name": "c", **params})


def test_it_claims_what_it_has_until_something_else_is_declared():
    claims = claims_of(declared(), THERE)
    assert claims.macs == {MAC} and claims.addresses == {("br0 in VLAN 10", "10.0.0.2")}
    assert (claims.memory_kib, claims.space) == (64 * 1024, ())
    moved = claims_of(declared(networks=[{"name": "lan", "vlan": 20, "ip": "10.0.0.3/24"}], memory="1GiB"), THERE)
    assert moved.macs == {MAC} and moved.addresses == {("br0 in VLAN 20", "10.0.0.3")}
    assert moved.memory_kib == 1024 * 1024
    assert claims_of(declared(unset=["memory"]), THERE).memory_kib == 0


def test_it_claims_no_mac_that_lxc_makes_by_chance():
    assert claims_of(declared(networks=[{"name": "lan", "state": "absent"}]), THERE).macs == frozenset()


def test_what_goes_leaves_its_links_and_unless_it_is_deleted_keeps_its_root():
    live = Live(1, nics=(Nic("eth0", MAC, host="c.0"),))
    before = claims_of(None, THERE.replace(live=live))
    assert (before.paths, before.links, before.macs) == ({"/p/c.rootfs"}, {"c.0"}, {MAC})
    assert claims_of(declared(state="absent"), THERE).paths == {"/p/c.rootfs"}
    assert claims_of(declared(state="absent", delete=["rootfs"]), THERE).paths == frozenset()


def test_a_new_root_takes_what_its_image_takes_and_a_kept_one_nothing():
    new = State(image_bytes=5)
    spec = declared(image="debian", rootfs={"pool": "main"})
    assert claims_of(spec, new).space == (Space("", "main", 5),)
    assert claims_of(spec, new.replace(has_target=True)).space == ()
    copy = Volume("main", "image+debian", "filesystem")
    cloned = claims_of(spec, new.replace(is_cloned=True, missing_copy=copy)).space
    assert cloned == (Space("", "main", 0), Space("the copy main/image+debian", "main", 5, is_shared=True))
    assert claims_of(declared(rootfs={"pool": "main"}), THERE).space == ()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(Limit(2 * GIB), 2 * GIB), (Limit(4 * GIB), None), (Limit(used=GIB), 3 * GIB)],
)
def test_a_root_that_grows_takes_what_it_gains(limit, expected):
    there = THERE.replace(root_pool="main", limit=limit)
    spaces = () if expected is None else (Space("", "main", expected),)
    assert claims_of(declared(rootfs={"size": "4GiB"}), there).space == spaces


def test_all_that_stand_are_told_by_one_listing_and_which_of_them_were_made_here():
    host = Host()
    host.__dict__["containers"] = {name: Container(name, CONFIG) for name in ("made", "foreign")}
    records = {"made": {"image": "debian"}, "foreign": {"tags": []}, "begun": {"building": True}}
    host.__dict__["guest_records"] = {
        name: Record("guests", name, {"kind": "container", **its}) for name, its in records.items()
    }
    host.__dict__["guest_records"]["vm"] = Record("guests", "vm", {"kind": "vm", "building": True})
    found = standing(host)
    assert {name: its.is_made for name, its in found.items()} == {"made": True, "foreign": False, "begun": True}
    assert found["made"].macs == {MAC} and found["made"].addresses == {("br0 in VLAN 10", "10.0.0.2")}
    assert found["begun"].macs == frozenset()
