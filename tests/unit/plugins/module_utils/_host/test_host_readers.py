# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import functools
import socket
import types

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host import libvirt, links, lxc, neighbours
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import (
    BRIDGE,
    GUEST,
    SILENCE_SECONDS,
    Gone,
    Host,
    vlan_users,
)


def test_a_container_runs_when_its_monitor_listens():
    lines = [
        "Num RefCount Protocol Flags Type St Inode Path\n",
        "0000: 00000002 00000000 00010000 0001 01 12345 @/var/lib/lxc/web/command\n",
        "0000: 00000002 00000000 00010000 0001 01 12346 @/other/db/command\n",
        "0000: 00000002 00000000 00010000 0001 01 12347 /run/systemd/notify\n",
    ]
    assert lxc.running_names(lines) == {"web"}


def test_a_guest_is_in_a_vlan_of_the_bridge_of_that_interface():
    config = (
        "lxc.net.0.link = br0\nlxc.net.1.link = br1\nlxc.net.1.veth.vlan.id = 10\n"
        "lxc.net.2.link = br2\nlxc.net.2.veth.vlan.tagged.id = 20\nlxc.net.3.link = br3\nlxc.net.3.veth.vlan.id = none\n"
    )
    xml = """<domain><devices>
      <interface type='bridge'><source bridge='br0'/></interface>
      <interface type='bridge'><source bridge='br1'/><vlan><tag id='10'/></vlan></interface>
    </devices></domain>"""
    nas = libvirt.Definition(xml, is_running=True)
    assert lxc.Container("web", config).vlan_bridges == {"br1", "br2"}
    assert lxc.Container("web", config).bridges == {"br0", "br1", "br2", "br3"}
    assert (nas.nic_sources(), nas.nic_sources(in_vlan=True)) == ({"br0", "br1"}, {"br1"})
    host = Host()
    host.__dict__.update(containers={"web": lxc.Container("web", config)}, definitions={"nas": nas})
    assert [vlan_users(host, name) for name in ("br0", "br1", "br2")] == [[], ["nas", "web"], ["web"]]


def test_what_is_derived_of_a_look_is_made_once_and_forgotten_with_it():
    made = []

    def names(host: Host) -> list[str]:
        made.append(1)
        return sorted(host.containers)

    host = Host()
    host.__dict__["containers"] = {"web": lxc.Container("web", "")}
    assert host.derived(names) is host.derived(names) and made == [1]
    host.drop()
    host.__dict__["containers"] = {}
    assert host.derived(names) == [] and made == [1, 1]


def test_a_new_look_forgets_every_area_but_the_connection_what_is_expected_and_who_was_silent():
    areas = {name for name, value in vars(Host).items() if isinstance(value, functools.cached_property)}
    host = Host()
    host.__dict__.update(dict.fromkeys(areas))
    host.drop()
    assert areas - set(host.__dict__) >= {
        "pools",
        "domains",
        "containers",
        "links",
        "_definitions",
        "_derived",
        "_missing",
    }
    assert set(host.__dict__) == {"connection", "expected", "silent"}


def test_what_guests_of_a_layout_get_is_asked_for_at_once_and_again_only_where_somebody_answers(monkeypatch):
    questions = []

    def answer(bridge, addresses, vlan):
        questions.append((bridge, vlan, *sorted(addresses)))
        return {"10.0.0.4": "02:00:00:00:00:04"} if "10.0.0.4" in addresses else {}

    monkeypatch.setattr(neighbours, "who_answers", answer)
    host = Host()
    host.__dict__.update(domains={}, containers={"there": lxc.Container("there", "")})
    for name, bridge, address in (
        ("web", "br0", "10.0.0.2/24"),
        ("db", "br0", "10.0.0.3/24"),
        ("nas", "br0", "10.0.0.4/24"),
        ("tv", "br1", "10.0.1.2/24"),
        ("there", "br0", "10.0.0.5/24"),
    ):
        card = types.SimpleNamespace(bridge=bridge, vlan=0, addresses=(address, "dhcp"))
        host.expected[Reference(GUEST, name)] = {"networks": (card,)}
    assert host.who_answers("br0", ["10.0.0.2"]) == {} and questions == [("br0", 0, "10.0.0.2", "10.0.0.3", "10.0.0.4")]
    host.drop()
    host.__dict__.update(domains={}, containers={})
    assert host.without({}).who_answers("br0", ["10.0.0.3"]) == {} and len(questions) == 1
    for dummy in range(2):
        assert host.who_answers("br0", ["10.0.0.4"]) == {"10.0.0.4": "02:00:00:00:00:04"}
    assert questions[1:] == [("br0", 0, "10.0.0.4", "10.0.0.5"), ("br0", 0, "10.0.0.4")]
    assert host.who_answers("br0", ["10.0.0.2"], 7) == {} and questions[3:] == [("br0", 7, "10.0.0.2")]
    host.silent["br0", 0, "10.0.0.2"] -= SILENCE_SECONDS + 1
    assert host.who_answers("br0", ["10.0.0.2"]) == {} and questions[4:] == [("br0", 0, "10.0.0.2", "10.0.0.4")]


def test_the_names_of_links_are_those_that_the_kernel_tells():
    def told() -> set[str]:
        return {name for dummy, name in socket.if_nameindex()}

    # Others may plug and unplug on this host meanwhile.
    before, found, after = told(), links.read_names(), told()
    assert "lo" in found and before & after <= found and "bonding_masters" not in found


def test_the_space_of_a_pool_is_that_of_one_that_is_active():
    handle = types.SimpleNamespace(info=lambda: [2, 100, 60, 40])
    space = [libvirt.read_space(libvirt.Pool("main", "dir", "/srv", True, it, handle)) for it in (True, False)]
    assert space == [(100, 40), None]


def test_a_host_without_a_guest_lacks_what_goes_with_it_and_shares_the_rest():
    host = Host()
    pool = libvirt.Pool("main", "dir", "/srv/main", True, True, None)
    host.__dict__.update(
        pools={"main": pool},
        domains={"nas": object()},
        containers={name: lxc.Container(name, "") for name in ("web", "db")},
        guest_records={name: Record("guests", name, {"image": "debian"}) for name in ("web", "db")},
        links={name: {"master": "br0"} for name in ("web.0", "db.0")},
        link_names=frozenset({"web.0", "db.0"}),
    )
    gone = host.without({"web": Gone(frozenset({"web.0"}), is_forgotten=True), "db": Gone(), "nas": Gone()})
    assert (gone.domains, gone.containers, set(gone.links), gone.link_names) == ({}, {}, {"db.0"}, {"db.0"})
    assert set(gone.guest_records) == {"db"} and gone.pools is host.pools and gone.expected is host.expected
    assert not gone.record("guests", "web").exists
    gone.drop()
    assert (set(gone.guest_records), set(host.containers)) == ({"db"}, {"web", "db"})


def test_a_folder_lacks_the_paths_that_go(tmp_path):
    for name in ("web.rootfs", "notes"):
        (tmp_path / name).touch()
    paths = frozenset({str(tmp_path / "web.rootfs")})
    assert Host().entries_in(str(tmp_path)) == ("notes", "web.rootfs")
    assert Host().without({"web": Gone(paths=paths)}).entries_in(str(tmp_path)) == ("notes",)
    assert Host().without({}).entries_in(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("promises", "is_there", "is_obstacle"),
    [
        ({"vlan_aware": True}, False, False),
        ({"vlan_aware": False}, True, True),
        ({}, False, True),
        ({}, True, False),
        (None, False, False),
    ],
)
def test_guests_are_planned_on_bridges_as_the_layout_will_have_changed_them(promises, is_there, is_obstacle):
    host = Host()
    aware = {"vlan_filtering": 1, "vlan_default_pvid": 1}
    bridge = {"linkinfo": {"info_kind": "bridge", "info_data": aware}}
    host.__dict__["links"] = {"other": bridge, **({"br0": bridge} if is_there else {})}
    if promises is not None:
        host.expected[Reference(BRIDGE, "br0")] = promises
    assert bool(host.vlan_obstacle("br0")) is is_obstacle
