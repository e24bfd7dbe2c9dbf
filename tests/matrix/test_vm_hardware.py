# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hardware of a machine does not bear: it is fitted and said, waits for the next boot, or is refused in the plan."""

from __future__ import annotations

import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, made_hardware
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
from ansible_collections.homelab.hybrid.tests.harness.made_hardware import CARDS

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


def free_ports() -> int:
    """How many ports of the running machine no device has."""
    root = running(NAME)
    ports = {c.get("index") for c in root.iterfind("devices/controller") if c.get("model") == "pcie-root-port"}
    taken = {str(int(str(a.get("bus", "0")), 16)) for a in root.iterfind("devices/*/address[@type='pci']")}
    return len(ports - taken)


NO_PORT, NO_SLOT = "none of its PCI Express ports is free", "it has no slot for a card such as e1000"
WITHOUT_PORTS = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
NEEDS_A_PORT: dict[str, tuple[dict[str, t.Any], str]] = {
    "disks": ({"name": "new", "pool": POOL, "size": "1M"}, NO_PORT),
    "cdroms": ({"name": "new", "bus": "scsi", "source": "/etc/hostname"}, NO_PORT),
    "networks": ({"name": "new", "bridge": BRIDGES[0]}, NO_PORT),
    "networks of PCI": ({"name": "new", "bridge": BRIDGES[0], "model": "e1000"}, NO_SLOT),
    "devices": ({"name": "new", "address": CARDS[0]}, NO_PORT),
    "shares": ({"name": "new", "source": "/srv"}, NO_PORT),
}


@pytest.mark.parametrize("what", NEEDS_A_PORT)
def test_what_finds_no_port_comes_with_the_next_start_and_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made_hardware.put_in_place(tmp_path / "sys", monkeypatch)
    make(NAME, card(MAC, BRIDGES[1]), machine="q35", rest=WITHOUT_PORTS)
    virsh("start", NAME)
    # libvirt makes a machine with a few more ports than it has devices.
    for number in range(free_ports()):
        virsh(
            "attach-interface",
            NAME,
            "bridge",
            BRIDGES[1],
            "--mac",
            f"52:54:00:ab:03:1{number}",
            "--model",
            "virtio",
            "--live",
        )
    area, (item, why) = what.partition(" ")[0], NEEDS_A_PORT[what]
    run = check_run_again(VM, {**PLAIN, area: [item]}, [f"{area}[new]"])
    assert run.plan.restart_required == [f"{area}[new]"]
    assert run.plan.warnings == [f"{area}[new]: it comes with the next start, as {why}"]


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


def command_line(name: str) -> str:
    """What QEMU itself was started with."""
    pid = Path(f"/run/libvirt/qemu/{name}.pid").read_text()
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_a_machine_starts_with_what_its_disks_and_cards_are_told(folder: Path) -> None:
    params = {
        **PLAIN,
        "memory": "64",
        "cpu": {"cores": 2},
        "state": "started",
        "disks": [
            {"name": "own", "pool": POOL, "size": "1M", "iothread": 2, "io": "native", "cache": "none"},
            {"name": "with", "pool": POOL, "size": "1M", "iothread": 2, "io": "io_uring"},
            {"name": "turns", "pool": POOL, "size": "1M", "bus": "sata", "rotation_rate": 5400},
            {"name": "ssd", "pool": POOL, "size": "1M", "bus": "scsi", "rotation_rate": 1, "io": "threads"},
            {"name": "stick", "pool": POOL, "size": "1M", "bus": "usb"},
        ],
        "networks": [
            {"name": "fast", "bridge": BRIDGES[0], "queues": 2},
            {"name": "vmware", "bridge": BRIDGES[0], "model": "vmxnet3"},
        ],
    }
    check_run_again(VM, params)
    told = command_line(NAME)
    assert told.count('"iothread":"iothread2"') == 2 and '"id":"iothread2"' in told and "iothread1" not in told
    for word in ('"aio":"native"', '"aio":"io_uring"', '"rotation_rate":5400', '"rotation_rate":1', "usb-storage"):
        assert word in told, word
    assert "vmxnet3" in told and '"mq":true' in told
    check_run_again(
        VM, {**PLAIN, "disks": [{"name": "more", "pool": POOL, "size": "1M", "iothread": 5}]}, ["disks[more]"]
    )
    assert "iothread5" in virsh("qemu-monitor-command", NAME, "--hmp", "info iothreads")
    assert virsh("iothreadinfo", NAME).split()[-4::2] == virsh("iothreadinfo", NAME, "--config").split()[-4::2]


def test_a_disk_on_ide_is_only_where_the_machine_has_it(folder: Path) -> None:
    old = {"name": "old", "pool": POOL, "size": "1M", "bus": "ide", "rotation_rate": 7200}
    refuse(VM, {**PLAIN, "memory": "64", "disks": [old]}, "Write sata or scsi")
    make(NAME, disk(image(folder / f"{NAME}.img")))
    check_run_again(VM, {**PLAIN, "disks": [old]}, ["disks[old]"])
    check_run_again(VM, {**PLAIN, "disks": [{"name": "disk0", "bus": "ide"}]}, ["disks[disk0].bus"])
    refuse(VM, {**PLAIN, "disks": [{"name": "old", "readonly": True}]}, "on ide only a CD-ROM is read-only")
    virsh("start", NAME)
    assert command_line(NAME).count('"driver":"ide-hd"') == 2
    run = check_run_again(VM, {**PLAIN, "disks": [{**old, "name": "late"}]}, ["disks[late]"])
    assert run.plan.restart_required == ["disks[late]"]


def on(bus: str, *names: str, **keys: t.Any) -> list[dict[str, t.Any]]:
    return [{"name": name, "pool": POOL, "size": "1M", "bus": bus, **keys} for name in names]


def test_a_fifth_place_on_ide_is_refused(folder: Path) -> None:
    new, drive = {**PLAIN, "memory": "64", "machine": "pc"}, [{"name": "cd", "bus": "ide"}]
    told = "cdroms[cd].bus: IDE has 4 places, and disks[a], disks[b], disks[c], disks[d]"
    refuse(VM, {**new, "disks": on("ide", *"abcd"), "cdroms": drive}, told)
    refuse(VM, {**new, "disks": on("ide", *"abcde")}, "disks[e].bus: IDE has 4 places")
    check_run_again(VM, {**new, "disks": on("ide", *"abc"), "cdroms": drive, "state": "started"})
    assert command_line(NAME).count('"bus":"ide.') == 4
    fifth = {**PLAIN, "disks": on("ide", "d")}
    refuse(VM, fifth, "IDE has 4 places, and disks[a], disks[b], disks[c], cdroms[cd] of")
    # What goes has its place until the machine is stopped.
    instead = {**PLAIN, "disks": [{"name": "a", "state": "absent"}, *fifth["disks"]]}
    refuse(VM, instead, "while it runs. Stop it first")
    check_run_again(VM, {**PLAIN, "state": "stopped"})
    check_run_again(VM, instead, ["disks[a]", "disks[d]"])
    moved = [{"name": "b", "bus": "sata"}, *on("ide", "e")]
    check_run_again(VM, {**PLAIN, "disks": moved, "state": "started"}, ["disks[b].bus", "disks[e]", "state"])
    assert command_line(NAME).count('"bus":"ide.') == 4


def scsi_cards() -> int:
    return virsh("qemu-monitor-command", NAME, "--hmp", "info qtree").count("dev: virtio-scsi-pci,")


def test_more_disks_than_one_controller_takes_get_others_of_its_kind(folder: Path) -> None:
    names = [f"d{number}" for number in range(8)]
    check_run_again(
        VM, {**PLAIN, "memory": "64", "disks": [*on("sata", *(f"s{n}" for n in range(7))), *on("usb", "u0")]}
    )
    assert [node.get("type") for node in definition(NAME).iterfind("devices/controller")].count("sata") == 2
    machines.remove_machines()
    check_run_again(VM, {**PLAIN, "memory": "64", "disks": on("scsi", *names), "state": "started"})
    assert scsi_cards() == 2
    run = check_run_again(VM, {**PLAIN, "disks": on("scsi", *(f"e{number}" for number in range(7)))})
    assert not run.plan.restart_required and scsi_cards() == 3
    models = [its.get("model") for its in definition(NAME).iterfind("devices/controller") if its.get("type") == "scsi"]
    assert models == ["virtio-scsi"] * 3


@pytest.mark.parametrize(
    ("keys", "saying"),
    [
        ({"io": "native"}, ".io: io native needs the cache none or directsync"),
        ({"io": "native", "cache": "writeback"}, "not writeback"),
        ({"bus": "scsi", "iothread": 1}, ".iothread: threads serve disks on virtio"),
        ({"rotation_rate": 1}, ".rotation_rate: a disk on virtio"),
        ({"rotation_rate": 100}, "1025 to 65534"),
        ({"shareable": True}, ".shareable: machines share a disk of the format raw"),
        ({"bus": "sata", "readonly": True}, ".readonly: on sata only a CD-ROM is read-only"),
    ],
)
def test_what_does_not_go_together_is_refused_in_the_plan(folder: Path, keys: dict[str, t.Any], saying: str) -> None:
    params = {**PLAIN, "memory": "64", "disks": [{"name": "root", "pool": POOL, "size": "1M"}]}
    refuse(VM, {**params, "disks": [{**params["disks"][0], **keys}]}, saying)
    check_run_again(VM, params)
    refuse(VM, {**PLAIN, "disks": [{"name": "root", **keys}]}, saying)


def test_a_card_has_what_its_model_has(folder: Path) -> None:
    check_run_again(
        VM, {**PLAIN, "memory": "64", "networks": [{"name": "lan", "bridge": BRIDGES[0], "model": "e1000"}]}
    )
    refuse(VM, {**PLAIN, "networks": [{"name": "lan", "queues": 2}]}, ".queues: a card has several on virtio alone")
    igb = {**PLAIN, "networks": [{"name": "lan", "model": "igb"}]}
    if has_igb():
        check_run_again(VM, {**igb, "state": "started"})
        assert '"driver":"igb"' in command_line(NAME)
    else:
        refuse(VM, igb, "igb needs QEMU 8.0 and libvirt 9.3 or newer")


def has_igb() -> bool:
    connection = libvirt.open(machines.URI)
    versions = connection.getLibVersion(), connection.getVersion()
    connection.close()
    return versions[0] >= 9_003_000 and versions[1] >= 8_000_000


def test_machines_share_a_disk_that_each_of_them_shares(folder: Path) -> None:
    other = f"{NAME}-2"
    shared = {"name": "shared", "source": str(image(folder / f"{NAME}.img")), "shareable": True, "cache": "none"}
    one, two = ({**PLAIN, "memory": "64", "name": name, "state": "started"} for name in (NAME, other))
    check_run_again(VM, {**one, "disks": [shared]})
    refuse(VM, {**two, "disks": [{**shared, "shareable": False}]}, f"{NAME} stands on it")
    check_run_again(VM, {**two, "disks": [shared]})
    assert '"share-rw":true' in command_line(other)
    machines.remove_machines()
    make(NAME, disk(folder / f"{NAME}.img"))
    refuse(VM, {**two, "disks": [shared]}, f"{NAME} stands on it")


FILTER = "<filterref filter='clean-traffic'><parameter name='IP' value='192.0.2.7'/></filterref>"


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_the_filter_of_a_card_stays_through_every_edit(folder: Path, state: str) -> None:
    made = f"<interface type='bridge'><mac address='{MAC}'/><source bridge='{BRIDGES[0]}'/><model type='virtio'/>{FILTER}</interface>"
    make(NAME, made, rest="<features><acpi/></features>")
    if state == "started":
        virsh("start", NAME)
    edits: list[dict[str, t.Any]] = [
        {"link": "down"},
        {"bridge": BRIDGES[1]},
        {"mtu": 1400},
        {"queues": 2},
        {"model": "e1000"},
        {"mac": MAC.replace("52:54:00", "52:54:01")},
    ]
    for keys in edits:
        check_run_again(
            VM, {**PLAIN, "networks": [{"name": "net0", **keys}]}, [f"networks[net0].{key}" for key in keys]
        )
        roots = [definition(NAME), *([running(NAME)] if state == "started" else [])]
        for root in roots:
            found = root.find("devices/interface/filterref")
            assert found is not None and found.get("filter") == "clean-traffic", keys
            assert machines.attribute(found, "parameter", "value") == "192.0.2.7"
    assert definition(NAME).find("devices/interface/driver[@queues]") is None


def test_a_read_only_disk_does_not_come_to_sata(folder: Path) -> None:
    make(NAME, disk(image(folder / f"{NAME}.img"), "sda", "sata") + "<controller type='sata'/>")
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "readonly": True}]}, "on sata only a CD-ROM is read-only")
    machines.remove_machines()
    make(NAME, disk(image(folder / f"{NAME}-2.img"), rest="<readonly/>"))
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "bus": "sata"}]}, "on sata only a CD-ROM is read-only")


def test_a_disk_past_the_cache_of_the_host_gets_no_cache_and_a_card_beside_a_bridge_no_mtu(folder: Path) -> None:
    native = disk(image(folder / f"{NAME}.img")).replace("type='raw'", "type='raw' cache='none' io='native'")
    make(NAME, native + f"<interface type='user'><mac address='{MAC}'/></interface>")
    refuse(VM, {**PLAIN, "disks": [{"name": "disk0", "cache": "writeback"}]}, "io native needs")
    refuse(VM, {**PLAIN, "unset": ["disks[disk0].cache"]}, "io native needs")
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
