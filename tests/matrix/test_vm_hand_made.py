# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines that somebody made by hand, by virt-install or by virt-manager, with what this collection never makes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import hand_made, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import disk, image
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, attribute, definition, running, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-by-hand"
NBD = "<source protocol='nbd' name='data'><host name='127.0.0.1' port='10999'/></source>"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}


def make(devices: str = "", *, name: str = NAME, **more: t.Any) -> str:
    return hand_made.make(name, devices, **more)


@pytest.mark.skipif(not Path("/usr/bin/swtpm").exists(), reason="needs swtpm")
def test_absent_keeps_and_names_what_a_tpm_remembers(folder: Path) -> None:
    uuid = make("<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>", machine="q35")
    virsh("start", NAME)
    kept = Path("/var/lib/libvirt/swtpm") / uuid
    assert kept.exists()
    try:
        run = check_run_again(VM, {**PLAIN, "state": "absent", "delete": ["disks"]}, ["state"])
        assert kept.exists() and run.plan.kept == [str(kept)]
    finally:
        machines.command("rm", "-rf", str(kept))


def test_a_disk_that_gets_another_source_leaves_what_the_old_one_stood_on(folder: Path) -> None:
    base = image(folder / "base.qcow2", form="qcow2")
    chain = f"<backingStore type='file'><format type='qcow2'/><source file='{base}'/><backingStore/></backingStore>"
    make(disk(image(folder / "old.qcow2", "-b", str(base), "-F", "qcow2", form="qcow2"), form="qcow2", rest=chain))
    new = {"name": "disk0", "source": str(image(folder / "new.qcow2", form="qcow2"))}
    check_run_again(VM, {**PLAIN, "disks": [new], "allow": ["replace_disk"]}, ["disks[disk0].source"])
    assert definition(NAME).find("devices/disk/backingStore") is None


def test_a_disk_on_which_a_disk_of_another_machine_stands_is_not_deleted(folder: Path) -> None:
    first = f"{machines.PREFIX}-first"
    made = {"name": first, "memory": "64", "disks": [{"name": "root", "pool": machines.POOL, "size": "1M"}]}
    assert converge_now(VM, made).error is None
    base = folder / f"{first}.root.qcow2"
    make(disk(image(folder / "clone.qcow2", "-b", str(base), "-F", "qcow2", form="qcow2"), form="qcow2"))
    gone = {"name": first, "state": "absent", "delete": ["disks"]}
    refuse(VM, gone, f"{NAME} stands on it with {folder}/clone.qcow2")
    virsh("undefine", NAME)
    refuse(VM, gone, f"{folder}/clone.qcow2 stands on it")
    (folder / "clone.qcow2").unlink()
    check_run_again(VM, gone)
    assert not base.exists()


@pytest.mark.parametrize("state", ["stopped", "restarted", "suspended", "absent"])
def test_a_machine_without_a_definition_gets_one_before_it_is_switched_off(folder: Path, state: str) -> None:
    make(disk(image(folder / "data.img")), is_transient=True)
    check_run_again(VM, {**PLAIN, "state": state}, ["state"])
    if state != "absent":
        assert definition(NAME).find("devices/disk") is not None


def test_no_disk_is_made_in_the_folder_of_devices_of_a_pool(folder: Path) -> None:
    pool = f"{machines.PREFIX}-devices"
    virsh("pool-define-as", pool, "mpath", "--target", "/dev/mapper")
    try:
        virsh("pool-start", pool)
        disks = [{"name": "root", "pool": pool, "size": "1M"}]
        refuse(VM, {**PLAIN, "memory": "64", "disks": disks}, "is of type mpath")
    finally:
        virsh("pool-destroy", pool, check=False)
        virsh("pool-undefine", pool)
    assert not Path(f"/dev/mapper/{NAME}.root.qcow2").exists()


def test_the_first_channel_of_a_machine_waits_for_its_next_boot(folder: Path) -> None:
    make()
    virsh("start", NAME)
    run = check_run_again(VM, {**PLAIN, "agent": True}, ["agent"])
    assert run.plan.restart_required == ["agent"]
    check_run_again(VM, {**PLAIN, "agent": True, "restart_policy": "if_needed"}, ["agent"])
    assert running(NAME).find("devices/channel") is not None


OTHER_CARDS = {
    "user": "<ip family='ipv4' address='172.17.2.0' prefix='24'/>",
    "ethernet": "<target dev='hlvmtap' managed='no'/>",
    "direct": f"<source dev='{BRIDGES[0]}' mode='bridge'/><virtualport type='802.1Qbh'><parameters profileid='a'/></virtualport>",
}


@pytest.mark.parametrize("kind", OTHER_CARDS)
def test_a_card_of_another_kind_is_brought_to_a_bridge(folder: Path, kind: str) -> None:
    make(f"<interface type='{kind}'><mac address='52:54:00:ab:01:01'/>{OTHER_CARDS[kind]}</interface>")
    card = {"networks": [{"name": "lan", "mac": "52:54:00:ab:01:01", "bridge": BRIDGES[1]}]}
    check_run_again(VM, {**PLAIN, **card}, ["networks[lan].bridge"])
    check_run_again(VM, {**PLAIN, "state": "started"})
    assert machines.taps(BRIDGES[1])


@pytest.mark.parametrize("kind", ["user", "direct"])
def test_a_card_of_another_kind_comes_to_a_bridge_with_the_next_boot(folder: Path, kind: str) -> None:
    source = f"<source dev='{BRIDGES[0]}' mode='bridge'/>" if kind == "direct" else ""
    make(f"<interface type='{kind}'><mac address='52:54:00:ab:01:01'/>{source}</interface>")
    virsh("start", NAME)
    card = {"networks": [{"name": "lan", "mac": "52:54:00:ab:01:01", "bridge": BRIDGES[1], "link": "down"}]}
    run = check_run_again(VM, {**PLAIN, **card}, ["networks[lan].bridge", "networks[lan].link"])
    assert run.plan.restart_required == ["networks[lan].bridge"]
    check_run_again(VM, {**PLAIN, **card, "restart_policy": "if_needed"}, ["networks[lan].bridge"])
    assert machines.taps(BRIDGES[1])


def test_a_disk_of_which_no_path_is_known_is_not_replaced_without_permission(folder: Path) -> None:
    make(f"<disk type='network' device='disk'>{NBD}<target dev='vda' bus='virtio'/></disk>")
    new = {"name": "disk0", "source": str(image(folder / "other.img"))}
    refuse(VM, {**PLAIN, "disks": [new]}, "allow: [replace_disk]")


def test_what_is_no_file_is_not_made_larger_and_refused_in_the_plan(folder: Path) -> None:
    device = machines.command("losetup", "-f", "--show", str(image(folder / "device.img"))).strip()
    drives = ("vda", f"block' device='disk'><source dev='{device}'/>", "vdb", "network' device='disk'>" + NBD)
    try:
        pairs = zip(drives[::2], drives[1::2], strict=True)
        make("".join(f"<disk type='{rest}<target dev='{target}' bus='virtio'/></disk>" for target, rest in pairs))
        unchanged(VM, {**PLAIN, "disks": [{"name": "disk0", "size": "1M"}]})
        for name, saying in (
            ("disk0", f"{device} is a device"),
            ("disk1", "vdb is on no file"),
        ):
            refuse(VM, {**PLAIN, "disks": [{"name": name, "size": "2M"}]}, saying)
    finally:
        machines.remove_machines()
        machines.command("losetup", "-d", device)


def test_memory_that_is_the_sum_of_numa_cells_is_not_made_more_and_refused_in_the_plan(folder: Path) -> None:
    make(rest="<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>")
    for memory in ({"memory": "128"}, {"memory_max": "128"}, {"memory_max": "32", "memory": "32"}):
        refuse(VM, {**PLAIN, **memory}, "sum of its NUMA cells")
    check_run_again(VM, {**PLAIN, "memory": "32", "memory_max": "64"}, ["memory"])


def test_a_disk_leaves_on_its_old_bus_what_the_new_one_does_not_have(folder: Path) -> None:
    first, second = disk(image(folder / "first.img")), disk(image(folder / "second.img"), "sdb", "sata")
    fast = first.replace("type='raw'", "type='raw' io='threads' iothread='1' queues='2' packed='on' event_idx='on'")
    turning = second.replace("bus='sata'", "bus='sata' rotation_rate='7200'")
    make(fast + turning, rest="<iothreads>1</iothreads>")
    disks = [{"name": "disk0", "bus": "sata"}, {"name": "disk1", "bus": "virtio"}]
    check_run_again(VM, {**PLAIN, "disks": disks}, ["disks[disk0].bus", "disks[disk1].bus"])
    assert attribute(definition(NAME), "devices/disk/driver", "io") == "threads"
