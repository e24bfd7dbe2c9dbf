# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hardware of a machine does not bear: it is fitted and said, waits for the next boot, or is refused in the plan."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.hand_made import card, disk, image, make
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    BRIDGES,
    POOL,
    attribute,
    definition,
    running,
    virsh,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-hardware"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}
MAC = "52:54:00:ab:03:01"


# ---- devices that come and go ------------------------------------------------------------------------------------------------


def test_without_acpi_devices_come_and_go_with_the_next_boot(folder: Path) -> None:
    make(NAME, disk(image(folder / f"{NAME}.img")) + card(MAC, BRIDGES[0]))
    virsh("start", NAME)
    new = {
        "disks": [{"name": "data", "pool": POOL, "size": "1M"}, {"name": "disk0", "state": "absent"}],
        "networks": [{"name": "lan", "bridge": BRIDGES[1]}, {"name": "net0", "state": "absent"}],
    }
    paths = ["disks[data]", "disks[disk0]", "networks[lan]", "networks[net0]"]
    run = check_run_again(VM, {**PLAIN, **new}, paths)
    assert sorted(run.plan.restart_required) == paths
    check_run_again(VM, {**PLAIN, **new, "restart_policy": "if_needed"})
    root = running(NAME)
    assert [node.get("bridge") for node in root.iterfind("devices/interface/source")] == [BRIDGES[1]]
    assert [attribute(node, "alias", "name") for node in root.iterfind("devices/disk")] == ["ua-data"]


def test_what_cannot_be_plugged_in_is_not_left_in_the_definition(folder: Path) -> None:
    make(NAME, rest="<features><acpi/></features>")
    virsh("start", NAME)
    wrong = {"name": "data", "source": str(image(folder / f"{NAME}.img")), "format": "qcow2"}
    for dummy in range(2):
        run = converge_now(VM, {**PLAIN, "disks": [wrong]})
        assert run.error is not None and definition(NAME).find("devices/disk") is None


# ---- memory and CPUs ---------------------------------------------------------------------------------------------------------

NO_BALLOON = "<memballoon model='none'/>"


def test_without_a_balloon_less_memory_comes_with_the_next_boot(folder: Path) -> None:
    make(NAME, NO_BALLOON)
    virsh("start", NAME)
    less = {**PLAIN, "memory": "48"}
    assert check_run_again(VM, less, ["memory"]).plan.restart_required == ["memory"]
    check_run_again(VM, {**less, "restart_policy": "if_needed"}, ["memory"])
    assert running(NAME).findtext("memory") == str(48 << 10)
    refuse(VM, {**less, "memory_max": "64"}, "has no balloon")


def cpus(count: int, rest: str = "", current: str = "") -> str:
    return f"<vcpu{current}>{count}</vcpu>{rest}"


NAMED_CPUS = {
    "vcpusched": "<cputune><vcpusched vcpus='0-3' scheduler='batch'/></cputune>",
    "vcpupin": "<cputune><vcpupin vcpu='3' cpuset='0'/></cputune>",
    "cells": "<cpu><numa><cell id='0' cpus='0-3' memory='64' unit='MiB'/></numa></cpu>",
}


@pytest.mark.parametrize("what", NAMED_CPUS)
def test_a_cpu_that_the_definition_names_is_not_taken_away(folder: Path, what: str) -> None:
    in_front = NAMED_CPUS[what] if what != "cells" else ""
    make(NAME, vcpu=cpus(4, in_front), rest=NAMED_CPUS[what] if what == "cells" else "")
    refuse(VM, {**PLAIN, "cpu": {"cores": 2, "max_cores": 2}}, "names the CPU 3")
    check_run_again(VM, {**PLAIN, "cpu": {"cores": 2}}, ["cpu.cores"])
    check_run_again(VM, {**PLAIN, "cpu": {"cores": 4, "max_cores": 6}}, ["cpu.cores", "cpu.max_cores"])


def topology(sockets: int, cores: int, threads: int) -> str:
    return f"<cpu><topology sockets='{sockets}' cores='{cores}' threads='{threads}'/></cpu>"


def test_a_topology_is_fitted_and_said_or_the_number_refused(folder: Path) -> None:
    make(NAME, vcpu=cpus(4), rest=topology(1, 2, 2))
    refuse(VM, {**PLAIN, "cpu": {"cores": 3, "max_cores": 3}}, "no multiple")
    assert definition(NAME).find("cpu/topology") is not None
    run = check_run_again(VM, {**PLAIN, "vcpus": 6}, ["vcpus"])
    assert run.plan.warnings == [f"vcpus: the topology of {NAME} gets 3 cores"]
    run = check_run_again(VM, {**PLAIN, "cpu": {"max_cores": 12}}, ["cpu.max_cores"])
    assert run.plan.warnings == [f"cpu.max_cores: the topology of {NAME} gets 2 sockets"]
    assert attribute(definition(NAME), "cpu/topology", "threads") == "2"


# ---- drives ------------------------------------------------------------------------------------------------------------------


def test_a_read_only_disk_does_not_come_to_sata(folder: Path) -> None:
    make(NAME, disk(image(folder / f"{NAME}.img"), "sda", "sata") + "<controller type='sata'/>")
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "readonly": True}]}, "only a CD-ROM is read-only")
    machines.remove_machines()
    make(NAME, disk(image(folder / f"{NAME}-2.img"), rest="<readonly/>"))
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "bus": "sata"}]}, "on SATA only a CD-ROM is")


def test_a_disk_past_the_cache_of_the_host_gets_no_cache_and_a_card_beside_a_bridge_no_mtu(folder: Path) -> None:
    native = disk(image(folder / f"{NAME}.img")).replace("type='raw'", "type='raw' cache='none' io='native'")
    make(NAME, native + f"<interface type='user'><mac address='{MAC}'/></interface>")
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "cache": "writeback"}]}, "io='native'")
    refuse(VM, {**PLAIN, "unset": ["disks[disk0].cache"]}, "io='native'")
    check_run_again(VM, {**PLAIN, "disks": [{"name": "disk0", "cache": "directsync"}]}, ["disks[disk0].cache"])
    refuse(VM, {**PLAIN, "networks": [{"name": "net0", "mtu": 1400}]}, "of the type user")
    moved = {"name": "net0", "mtu": 1400, "bridge": BRIDGES[0]}
    check_run_again(VM, {**PLAIN, "networks": [moved]}, ["networks[net0].bridge", "networks[net0].mtu"])


# ---- the screen --------------------------------------------------------------------------------------------------------------

SPICE = (
    "<graphics type='spice' autoport='yes'><listen type='none'/><gl enable='yes'/></graphics>"
    "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>"
    "<smartcard mode='passthrough' type='spicevmc'/>"
    "<redirdev bus='usb' type='spicevmc'/><controller type='usb' model='qemu-xhci'/>"
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
    "<serial type='spiceport'><source channel='org.qemu.console.serial.0'/></serial>"
    "<sound model='ich9'><audio id='1'/></sound><audio id='1' type='spice'/>"
)


@pytest.mark.parametrize("kind", ["vnc", "none"])
def test_a_machine_with_all_of_spice_starts_with_another_screen(folder: Path, kind: str) -> None:
    make(NAME, SPICE, machine="q35")
    check_run_again(VM, {**PLAIN, "graphics": {"type": kind}, "state": "started"}, ["graphics.type", "state"])
    assert "spice" not in virsh("dumpxml", NAME)
