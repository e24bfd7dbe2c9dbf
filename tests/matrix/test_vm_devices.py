# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disk and which card of a machine is meant: what is its own decides, then its name, then its place."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host, bridge_users, vlan_users
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import card, disk, image, make, volume_disk
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, POOL, definition, running, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-devices"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}
M1, M2, M3 = (f"52:54:00:ab:02:0{number}" for number in (1, 2, 3))
BOTH = card(M1, BRIDGES[0]) + card(M2, BRIDGES[0])
EMPTY_DRIVE = "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"


def macs() -> list[str]:
    return [str(node.get("address")) for node in definition(NAME).iterfind("devices/interface/mac")]


def bridges() -> dict[str, str]:
    cards = definition(NAME).iterfind("devices/interface")
    return {
        machines.attribute(c, "mac", "address") or "": machines.attribute(c, "source", "bridge") or "" for c in cards
    }


def targets() -> list[str]:
    return [str(node.get("dev")) for node in definition(NAME).iterfind("devices/disk/target")]


def networks(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "networks": list(items), **more}


def disks(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "disks": list(items), **more}


def four_disks(folder: Path) -> str:
    files = [image(folder / f"{NAME}-{target}.img") for target in ("vda", "sda", "sdb")]
    return (
        disk(files[0], "vda") + disk(files[1], "sda", "sata") + disk(files[2], "sdb", "sata") + EMPTY_DRIVE
        + "<controller type='sata'/>"
    )  # fmt: skip


# ---- what is its own decides -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_declared_mac_names_its_card_among_others_on_the_bridge(folder: Path, state: str) -> None:
    make(NAME, BOTH)
    if state == "started":
        virsh("start", NAME)
    unchanged(VM, networks({"name": "lan", "mac": M1, "bridge": BRIDGES[0]}))
    unchanged(VM, networks({"name": "wan", "mac": M2, "bridge": BRIDGES[0]}, {"name": "lan", "mac": M1}))
    assert macs() == [M1, M2]


def test_a_new_mac_is_a_new_card_also_where_another_is_alone_on_the_bridge(folder: Path) -> None:
    make(NAME, card(M1, BRIDGES[1]))
    check_run_again(VM, networks({"name": "x", "mac": M2, "bridge": BRIDGES[1]}), ["networks[x]"])
    assert macs() == [M1, M2]


def test_a_place_moves_though_another_card_is_the_only_one_on_the_new_bridge(folder: Path) -> None:
    make(NAME, card(M1, BRIDGES[0]) + card(M2, BRIDGES[1]))
    check_run_again(VM, networks({"name": "net0", "bridge": BRIDGES[1]}), ["networks[net0].bridge"])
    assert bridges() == {M1: BRIDGES[1], M2: BRIDGES[1]}


def test_a_card_that_bears_a_name_is_not_plugged_in_again_under_another(folder: Path) -> None:
    assert converge_now(VM, networks({"name": "lan", "mac": M1, "bridge": BRIDGES[0]}, memory="64")).error is None
    for more in ({}, {"state": "absent"}):
        refuse(VM, networks({"name": "x", "mac": M1, "bridge": BRIDGES[0], **more}), "lan")
    assert macs() == [M1]


def test_a_disk_that_bears_a_name_is_not_plugged_in_again_under_another(folder: Path) -> None:
    file = image(folder / f"{NAME}.img")
    assert converge_now(VM, disks({"name": "data", "source": str(file)}, memory="64")).error is None
    for more in ({}, {"state": "absent"}):
        refuse(VM, disks({"name": "x", "source": str(file), **more}), "data")
    link = folder / f"{NAME}-link.img"
    link.symlink_to(file)
    refuse(VM, disks({"name": "x", "source": str(link)}), "data")
    assert targets() == ["vda"]


def test_a_recorded_name_gives_way_to_another_of_the_same_card(folder: Path) -> None:
    make(NAME, BOTH)
    check_run_again(VM, networks({"name": "old", "mac": M2, "link": "down"}), ["networks[old].link"])
    unchanged(VM, networks({"name": "new", "mac": M2, "link": "down"}))
    check_run_again(VM, networks({"name": "new", "link": "up"}), ["networks[new].link"])
    assert macs() == [M1, M2]


def test_one_source_is_not_declared_twice(folder: Path) -> None:
    file = image(folder / f"{NAME}.img")
    link = folder / f"{NAME}-link.img"
    link.symlink_to(file)
    for second in (file, link):
        pair = disks({"name": "one", "source": str(file)}, {"name": "two", "source": str(second)}, memory="64")
        refuse(VM, pair, "one")


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_name_does_not_move_to_another_card(folder: Path, state: str) -> None:
    both = [{"name": "lan", "mac": M1, "bridge": BRIDGES[0]}, {"name": "wan", "mac": M2, "bridge": BRIDGES[0]}]
    assert converge_now(VM, networks(*both, memory="64", state=state)).error is None
    refuse(VM, networks({"name": "lan", "mac": M2}, {"name": "wan", "state": "absent"}), "wan")
    refuse(VM, networks({"name": "lan", "mac": M2, "state": "absent"}), "wan")
    assert macs() == [M1, M2]


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_two_cards_exchange_their_macs_in_one_run(folder: Path, state: str) -> None:
    both = [{"name": "lan", "mac": M1, "bridge": BRIDGES[0]}, {"name": "wan", "mac": M2, "bridge": BRIDGES[1]}]
    assert converge_now(VM, networks(*both, memory="64", state=state)).error is None
    paths = ["networks[lan].mac", "networks[wan].mac"]
    check_run_again(VM, networks({"name": "lan", "mac": M2}, {"name": "wan", "mac": M1}), paths)
    assert bridges() == {M2: BRIDGES[0], M1: BRIDGES[1]}
    # One takes what the other leaves; and while the machine runs as before, each is known by its name.
    check_run_again(
        VM,
        networks({"name": "lan", "mac": M1}, {"name": "wan", "mac": M3, "link": "down"}),
        [*paths, "networks[wan].link"],
    )
    assert bridges() == {M1: BRIDGES[0], M3: BRIDGES[1]}
    if state == "started":
        assert converge_now(VM, {**PLAIN, "state": "restarted"}).error is None
        live = {its.get("address") for its in running(NAME).iterfind("devices/interface/mac")}
        assert live == {M1, M3}


def test_macs_of_cards_that_bear_no_name_are_exchanged_in_two_runs(folder: Path) -> None:
    make(NAME, BOTH)
    check_run_again(
        VM, networks({"name": "old", "mac": M1, "link": "down"}, {"name": "new", "mac": M2, "link": "down"})
    )
    swapped = networks({"name": "old", "mac": M2}, {"name": "new", "mac": M1})
    refuse(VM, swapped, "To exchange two, give one of them another that is free in a run before")
    check_run_again(VM, networks({"name": "old", "mac": M3}), ["networks[old].mac"])
    check_run_again(VM, networks({"name": "new", "mac": M1}), ["networks[new].mac"])
    check_run_again(VM, networks({"name": "old", "mac": M2}), ["networks[old].mac"])
    assert macs() == [M2, M1]


def test_a_mac_of_another_machine_is_refused_with_its_name_and_the_way(folder: Path) -> None:
    make(NAME, card(M1, BRIDGES[0]))
    other = f"{machines.PREFIX}-other"
    wanted = {"name": other, "memory": "64", "networks": [{"name": "lan", "mac": M1, "bridge": BRIDGES[0]}]}
    refuse(VM, wanted, f"{M1} belongs to the guest {NAME} of this host. To exchange two, give one of them another")


def test_a_name_does_not_move_to_another_disk(folder: Path) -> None:
    one, two = (image(folder / f"{NAME}-{word}.img") for word in ("one", "two"))
    make(NAME, disk(one) + disk(two, "vdb"))
    check_run_again(VM, disks({"name": "data", "source": str(one), "serial": "S1"}))
    refuse(VM, disks({"name": "data", "source": str(two)}, allow=["replace_disk"]), "disk1")
    assert len(targets()) == 2


def test_of_a_source_and_a_serial_that_two_disks_have_the_source_decides(folder: Path) -> None:
    one, two = (image(folder / f"{NAME}-{word}.img") for word in ("one", "two"))
    make(NAME, disk(one) + disk(two, "vdb", rest="<serial>S2</serial>"))
    refuse(VM, disks({"name": "data", "source": str(one), "serial": "S2"}), "disk1")
    unchanged(VM, disks({"name": "data", "serial": "S2"}))
    assert len(targets()) == 2


def test_several_keys_of_one_device_are_written_at_once(folder: Path) -> None:
    make(NAME, BOTH + disk(image(folder / f"{NAME}.img")))
    wanted = [{"name": "net0", "mac": M3, "link": "down", "bridge": BRIDGES[1]}, {"name": "net1", "mtu": 1400}]
    paths = ["networks[net0].mac", "networks[net0].link", "networks[net0].bridge", "networks[net1].mtu"]
    root = {"name": "disk0", "bus": "sata", "serial": "S", "cache": "none"}
    paths += ["disks[disk0].bus", "disks[disk0].serial", "disks[disk0].cache"]
    check_run_again(VM, {**networks(*wanted), "disks": [root]}, paths)
    assert bridges() == {M3: BRIDGES[1], M2: BRIDGES[0]}


# ---- places ------------------------------------------------------------------------------------------------------------------


def test_a_place_is_not_used_up(folder: Path) -> None:
    make(NAME, four_disks(folder) + BOTH + card(M3, BRIDGES[0]))
    gone = {"disks": [{"name": "disk1", "state": "absent"}], "networks": [{"name": "net1", "state": "absent"}]}
    check_run_again(VM, {**PLAIN, **gone}, ["disks[disk1]", "networks[net1]"])
    assert targets() == ["vda", "sdb", "hdc"] and macs() == [M1, M3]
    # What somebody plugs in where it was is another one.
    sda = folder / f"{NAME}-sda.img"
    virsh("attach-disk", NAME, str(sda), "sda", "--targetbus", "sata", "--config")
    virsh("attach-interface", NAME, "bridge", BRIDGES[0], "--mac", M2, "--config")
    unchanged(VM, {**PLAIN, **gone})
    assert len(targets()) == 4 and len(macs()) == 3


def test_a_place_is_not_used_up_while_the_machine_runs(folder: Path) -> None:
    make(NAME, BOTH + card(M3, BRIDGES[0]), rest="<features><acpi/></features>")
    virsh("start", NAME)
    gone = networks({"name": "net1", "state": "absent"})
    check_run_again(VM, gone)
    assert macs() == [M1, M3]
    check_run_again(VM, {**gone, "restart_policy": "if_needed"})
    assert macs() == [M1, M3]


def test_a_card_is_plugged_in_though_its_place_is_taken_until_the_next_boot(folder: Path) -> None:
    make(NAME, BOTH, rest="<features><acpi/></features>")
    virsh("start", NAME)
    virsh("detach-interface", NAME, "bridge", "--mac", M2, "--config")
    assert macs() == [M1] and M2 in slots(running(NAME))
    check_run_again(VM, networks({"name": "new", "bridge": BRIDGES[0], "mac": M3}), ["networks[new]"])
    assert slots(definition(NAME))[M3] == slots(running(NAME))[M2]
    assert M3 in slots(running(NAME))


def slots(root: machines.Element) -> dict[str | None, str | None]:
    """The PCI slot of each card, by MAC."""
    cards = root.iterfind("devices/interface")
    return {machines.attribute(c, "mac", "address"): machines.attribute(c, "address", "slot") for c in cards}


def test_a_place_is_free_for_a_name_later(folder: Path) -> None:
    make(NAME, BOTH.replace(BRIDGES[0], BRIDGES[1], 1))
    check_run_again(VM, {**networks({"name": "net1", "link": "down"}), "description": "x"})
    unchanged(VM, networks({"name": "lan", "bridge": BRIDGES[1]}))
    check_run_again(VM, networks({"name": "lan", "bridge": BRIDGES[0]}), ["networks[lan].bridge"])
    assert macs() == [M1, M2]


def test_the_name_of_a_hand_made_disk_is_kept(folder: Path) -> None:
    file = image(folder / f"{NAME}.img")
    make(NAME, disk(image(folder / f"{NAME}-root.img")) + disk(file, "vdb"))
    unchanged(VM, disks({"name": "data", "source": str(file)}))
    check_run_again(VM, disks({"name": "data", "size": "2M"}), ["disks[data].size"])
    assert machines.volume(file)["virtual-size"] == 2 << 20


def test_the_name_of_a_hand_made_card_is_kept(folder: Path) -> None:
    make(NAME, card(M1, BRIDGES[0]))
    unchanged(VM, networks({"name": "lan", "bridge": BRIDGES[0]}))
    check_run_again(VM, networks({"name": "lan", "bridge": BRIDGES[1]}), ["networks[lan].bridge"])
    assert macs() == [M1]


def test_a_layout_keeps_the_name_too(folder: Path) -> None:
    file = image(folder / f"{NAME}.img")
    make(NAME, disk(image(folder / f"{NAME}-root.img")) + disk(file, "vdb"))
    named = {"vms": [{"name": NAME, "disks": [{"name": "data", "source": str(file)}]}]}
    outcome = converge_layout(named, dry_run=False)
    assert outcome.error is None and not outcome.told["changed"]
    check_run_again(VM, disks({"name": "data", "serial": "S"}), ["disks[data].serial"])


# ---- two cards of one MAC ----------------------------------------------------------------------------------------------------


def teaming() -> str:
    """A card on a bridge, and a function of a card of the host that takes its place while it is plugged in."""
    device = "<source><address type='pci' domain='0x0000' bus='0x03' slot='0x07' function='0x1'/></source>"
    team = "<teaming type='transient' persistent='ua-steady'/>"
    transient = f"<interface type='hostdev' managed='yes'><mac address='{M1}'/>{device}{team}</interface>"
    return card(M1, BRIDGES[0], "<alias name='ua-steady'/><teaming type='persistent'/>") + transient


def two_of_one_mac() -> str:
    return card(M1, BRIDGES[0]) + card(M1, BRIDGES[1]) + card(M2, BRIDGES[0])


def test_of_two_cards_of_one_mac_the_named_one_goes(folder: Path) -> None:
    make(NAME, two_of_one_mac())
    check_run_again(VM, networks({"name": "net1", "state": "absent"}), ["networks[net1]"])
    cards = definition(NAME).iterfind("devices/interface/source")
    assert [source.get("bridge") for source in cards] == [BRIDGES[0], BRIDGES[0]] and macs() == [M1, M2]


def test_of_a_team_the_named_card_is_down_and_goes(folder: Path) -> None:
    make(NAME, teaming() + card(M2, BRIDGES[0]))
    check_run_again(VM, networks({"name": "steady", "link": "down"}), ["networks[steady].link"])
    links = [node.find("link") is not None for node in definition(NAME).iterfind("devices/interface")]
    assert links == [True, False, False]
    check_run_again(VM, networks({"name": "net1", "state": "absent"}), ["networks[net1]"])
    kinds = [node.get("type") for node in definition(NAME).iterfind("devices/interface")]
    assert kinds == ["bridge", "bridge"] and macs() == [M1, M2]


@pytest.mark.parametrize("is_running", [False, True])
def test_of_two_cards_of_one_mac_the_named_one_is_down(folder: Path, is_running: bool) -> None:
    make(NAME, two_of_one_mac())
    if is_running:
        virsh("start", NAME)
    check_run_again(VM, networks({"name": "net1", "link": "down"}), ["networks[net1].link"])
    for root in [definition(NAME), *([running(NAME)] if is_running else [])]:
        down = [node.find("link") is not None for node in root.iterfind("devices/interface")]
        assert down == [False, True, False]


def test_a_mac_that_two_cards_have_names_neither(folder: Path) -> None:
    make(NAME, two_of_one_mac())
    refuse(VM, networks({"name": "x", "mac": M1, "link": "down"}), "net0, net1")
    unchanged(VM, networks({"name": "x", "mac": M1, "bridge": BRIDGES[1]}))


# ---- volumes and lent bridges ------------------------------------------------------------------------------------------------


def test_a_disk_on_a_volume_of_a_pool_is_the_one_on_its_file(folder: Path) -> None:
    file = image(folder / f"{NAME}.img")
    virsh("pool-refresh", POOL)
    make(NAME, volume_disk(POOL, file.name) + disk(image(folder / f"{NAME}-b.img"), "vdb"))
    unchanged(VM, disks({"name": "data", "source": str(file)}))
    check_run_again(VM, disks({"name": "data", "size": "2M"}), ["disks[data].size"])
    assert machines.volume(file)["virtual-size"] == 2 << 20
    assert machines.attribute(definition(NAME), "devices/disk/source", "volume") == file.name


def lent_network(name: str, bridge: str) -> None:
    groups = "<portgroup name='servers'><bandwidth><inbound average='1000'/></bandwidth></portgroup>"
    xml = f"<network><name>{name}</name><forward mode='bridge'/><bridge name='{bridge}'/>{groups}</network>"
    file = Path(f"/var/tmp/{name}.xml")
    file.write_text(xml)
    try:
        virsh("net-define", str(file))
    finally:
        file.unlink()


@pytest.fixture
def lent(folder: Path) -> t.Iterator[str]:
    name = f"{machines.PREFIX}-lent"
    virsh("net-undefine", name, check=False)
    lent_network(name, BRIDGES[0])
    virsh("net-start", name)
    try:
        yield name
    finally:
        machines.remove_machines()
        virsh("net-destroy", name)
        virsh("net-undefine", name)


def test_a_card_on_a_network_that_lends_a_bridge_is_on_that_bridge(lent: str) -> None:
    make(NAME, f"<interface type='network'><mac address='{M1}'/><source network='{lent}'/></interface>")
    before = virsh("dumpxml", NAME)
    unchanged(VM, networks({"name": "lan", "bridge": BRIDGES[0]}))
    assert virsh("dumpxml", NAME) == before
    check_run_again(VM, networks({"name": "lan", "bridge": BRIDGES[1]}), ["networks[lan].bridge"])


def test_a_lent_bridge_is_in_use(lent: str) -> None:
    vlan = "<vlan><tag id='7'/></vlan>"
    make(NAME, f"<interface type='network'><mac address='{M1}'/><source network='{lent}'/>{vlan}</interface>")
    assert bridge_users(Host(), [BRIDGES[0]]) == {NAME: False} and bridge_users(Host(), [BRIDGES[1]]) == {}
    assert vlan_users(Host(), BRIDGES[0]) == [NAME]


def test_a_card_does_not_leave_its_portgroup_without_a_word(lent: str) -> None:
    source = f"<source network='{lent}' portgroup='servers'/>"
    make(NAME, f"<interface type='network'><mac address='{M1}'/>{source}</interface>")
    unchanged(VM, networks({"name": "lan", "bridge": BRIDGES[0]}))
    check_run_again(VM, networks({"name": "lan", "link": "down"}), ["networks[lan].link"])
    assert machines.attribute(definition(NAME), "devices/interface/source", "portgroup") == "servers"
    refuse(VM, networks({"name": "lan", "bridge": BRIDGES[1]}), "servers")
