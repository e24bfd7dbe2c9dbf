# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine lays claim to."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.claims import Space
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import load
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Definition
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.claims import claims_of
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.standing import standing
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import FoundVolume, State, VmSide
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.disk import Disk
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.nic import Nic

GIB = 1024**3
MAC = "52:54:00:00:00:01"
NIC = Nic("lan", "br0", {"bridge": "br0", "vlan": 0, "mac": MAC}, tap="vm.lan")
ROOT = Disk("root", "vda", "/p/vm.root.qcow2", {"source": "/p/vm.root.qcow2", "pool": "main", "size": 4 * GIB})
SIDE = VmSide(
    {"memory_max": 2 << 20, "memory": 1 << 20},
    {"root": ROOT},
    {"lan": NIC},
    domain_xml.read(domain_xml.new("vm", "u", "tcg")),
)
THERE = State(
    power="started",
    exists=True,
    persistent=SIDE,
    live=SIDE,
    formats={"main": ("qcow2", "raw")},
    owned={"root": ROOT.source, "seed": "/p/vm.seed.iso"},
    record=load({"kind": "vm", "macs": {"lan": MAC, "old": "52:54:00:00:00:02"}}, exists=True),
)
NEW = State(image_sizes={"debian": 3 * GIB}, formats={"main": ("qcow2", "raw")})


def claims(there, /, **params):
    return claims_of(parse({"name": "vm", **params}), there)


def test_it_claims_what_it_has_until_something_else_is_declared():
    its = claims(THERE)
    assert (its.macs, its.memory_kib, its.space) == ({MAC}, 2 << 20, ())
    assert claims(THERE, networks=[{"name": "lan", "mac": "52:54:00:00:00:09"}]).macs == {"52:54:00:00:00:09"}
    assert claims(THERE, networks=[], exact=["networks"]).macs == frozenset()


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (THERE, {"memory": "512MiB"}, 2 << 20),
        (THERE, {"memory": "4GiB"}, 4 << 20),
        (THERE, {"memory_max": "1GiB"}, 1 << 20),
        (NEW, {}, 1 << 20),
        (NEW, {"memory": "4GiB"}, 4 << 20),
        (NEW, {"memory": "1GiB", "memory_max": "4GiB"}, 4 << 20),
    ],
)
def test_it_is_promised_the_most_that_it_can_have(state, params, expected):
    assert claims(state, **params).memory_kib == expected


@pytest.mark.parametrize(
    ("state", "params", "expected"),
    [
        (NEW, {"disks": [{"name": "root", "pool": "main", "size": "9G"}]}, [("root", 9 * GIB)]),
        (NEW, {"image": "debian", "disks": [{"name": "root", "pool": "main"}]}, [("root", 3 * GIB)]),
        (NEW, {"cdroms": [{"name": "cd", "source": "/iso/a.iso"}]}, []),
        (THERE, {"disks": [{"name": "root", "size": "6G"}]}, [("root", 2 * GIB)]),
        (THERE, {"disks": [{"name": "root", "size": "4G"}]}, []),
        (THERE, {"disks": [{"name": "data", "pool": "main", "size": "1G"}]}, [("data", GIB)]),
        (THERE, {"disks": [{"name": "data", "pool": "main", "size": "1G", "state": "absent"}]}, []),
    ],
)
def test_disks_take_what_they_are_made_with_and_what_they_grow_by(state, params, expected):
    assert claims(state, **params).space == tuple(Space(name, "main", size) for name, size in expected)


def test_a_copy_that_disks_are_cloned_from_takes_what_the_image_has():
    copy = Volume("main", "image+debian", "block")
    state = NEW.replace(missing_copies={("main", "debian"): copy})
    space = claims(state, image="debian", disks=[{"name": "root", "pool": "main", "size": "9G"}]).space
    assert space == (
        Space("root", "main", 9 * GIB),
        Space("the copy main/image+debian", "main", 3 * GIB, is_shared=True),
    )


def test_a_kept_volume_takes_nothing_more():
    kept = State(
        formats={"main": ("qcow2", "raw")}, found={"root": FoundVolume("/p/vm.root.qcow2", "qcow2", GIB, True)}
    )
    assert claims(kept, disks=[{"name": "root", "pool": "main", "size": "9G"}]).space == ()


def test_what_goes_leaves_its_taps_and_keeps_what_is_not_deleted():
    before = claims_of(None, THERE)
    assert before.paths == {"/p/vm.root.qcow2", "/p/vm.seed.iso"} and before.links == {"vm.lan"}
    assert before.macs == {MAC, "52:54:00:00:00:02"}
    assert claims(THERE, state="absent").paths == before.paths
    assert claims(THERE, state="absent", delete=["disks"]).paths == {"/p/vm.seed.iso"}
    assert claims(THERE, state="absent", delete=["disks", "seed"]).paths == frozenset()


def test_all_that_stand_are_told_by_one_listing_and_which_of_them_were_made_here():
    pytest.importorskip("libvirt")
    xml = f"<domain><memory unit='KiB'>1024</memory><devices><interface><mac address='{MAC}'/></interface></devices></domain>"
    host = Host()
    host.__dict__.update(
        domains=dict.fromkeys(("made", "foreign")),
        definitions={name: Definition(xml) for name in ("made", "foreign")},
        guest_records={
            name: Record("guests", name, {"kind": "vm", **its})
            for name, its in {
                "made": {"uuid": "u"},
                "foreign": {},
                "begun": {"building": True},
                "kept": {"uuid": "u"},
            }.items()
        },
    )
    found = standing(host)
    assert {name: its.is_made for name, its in found.items()} == {"made": True, "foreign": False, "begun": True}
    assert (found["made"].macs, found["made"].memory_kib) == ({MAC}, 1024)


def test_it_claims_the_sources_that_it_writes():
    sources = [
        {"name": "data", "source": "/srv/data.img"},
        {"name": "shown", "source": "/srv/shown.img", "readonly": True},
    ]
    assert claims(NEW, disks=sources, cdroms=[{"name": "cd", "source": "/srv/a.iso"}]).disks == {
        "/srv/data.img": "/srv/data.img"
    }
