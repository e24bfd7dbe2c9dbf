# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices of the host that go to a machine: which one is meant, what the host needs itself, and what libvirt is told.

libvirt and the machine are real; the devices are made, as this host has none to give away. That one is really taken from its
driver, given to a machine and given back, an ordinary host shows (``tests/appliances``).
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import hardware, links, uses
from ansible_collections.homelab.hybrid.plugins.module_utils._host.routes import DefaultRoute
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, made_hardware
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import make
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, attribute, definition, virsh
from ansible_collections.homelab.hybrid.tests.harness.made_hardware import (
    BRIDGE,
    CARD_ID,
    CARDS,
    GRAPHICS,
    HUB,
    SOUND,
    STICK,
    STICK_ID,
    TWIN_ID,
    TWINS,
    Hardware,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-passed"
PLAIN: dict[str, t.Any] = {"name": NAME, **machines.PAPER}


@pytest.fixture
def host(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """A host with devices, and no machine."""
    return made_hardware.put_in_place(tmp_path / "sys", monkeypatch)


def devices(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "devices": list(items), **more}


def card(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": "card", **keys}


def stick(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": "stick", "type": "usb", **keys}


def sources() -> list[dict[str, str]]:
    """What virsh says of each device: its address, or vendor, product and number."""
    found = []
    for node in definition(NAME).iterfind("devices/hostdev"):
        parts = {f"{part.tag} {key}": value for part in node.iterfind("source/*") for key, value in part.attrib.items()}
        found.append({**parts, "managed": node.get("managed", "")})
    return found


def pci(address: str) -> dict[str, str]:
    words = dict(zip(("domain", "bus", "slot", "function"), address.replace(".", ":").split(":"), strict=True))
    return {**{f"address {word}": f"0x{text}" for word, text in words.items()}, "managed": "yes"}


def usb(ids: str = "", number: int = 0) -> dict[str, str]:
    vendor, dummy, product = ids.partition(":")
    found = {"vendor id": f"0x{vendor}", "product id": f"0x{product}"} if ids else {}
    place = {"address bus": "1", "address device": str(number)} if number else {}
    return {**found, **place, "managed": "no"}


# ---- which one is meant ------------------------------------------------------------------------------------------------------


def test_a_device_is_defined_by_each_way_of_knowing_it(host: Hardware) -> None:
    run = check_run_again(VM, devices(card(address="04:00.0"), stick(id=STICK_ID.upper())))
    assert run.plan.get("devices[card]") is not None
    assert run.facts["guest"]["devices"] == [
        {"name": "card", "type": "pci", "address": CARDS[1], "id": None},
        {"name": "stick", "type": "usb", "address": None, "id": STICK_ID},
    ]
    assert sources() == [pci(CARDS[1]), usb(STICK_ID)]
    check_run_again(VM, devices(stick(id=f"{TWIN_ID}:TWIN1")), ["devices[stick].id"])
    assert sources() == [pci(CARDS[1]), usb(TWIN_ID, 5)]
    check_run_again(VM, devices({"name": "stick", "port": TWINS[0]}), ["devices[stick].port"])
    assert sources() == [pci(CARDS[1]), usb(number=4)]
    check_run_again(VM, devices(card(address=CARDS[0])), ["devices[card].address"])
    assert sources()[0] == pci(CARDS[0])


def test_an_id_means_the_only_device_that_has_it(host: Hardware) -> None:
    refuse(VM, devices(card(type="pci", id=CARD_ID)), f"2 PCI devices of this host are {CARD_ID}: {', '.join(CARDS)}")
    refuse(VM, devices(stick(id=TWIN_ID)), f"{TWINS[0]} (serial TWIN0), {TWINS[1]} (serial TWIN1)")
    (host.sys / "bus/pci/devices" / CARDS[1]).unlink()
    assert converge_now(VM, devices(card(type="pci", id=CARD_ID))).error is None
    assert sources() == [pci(CARDS[0])]
    # The card that it has is meant, also when another one of its kind comes into the host.
    host.pci(CARDS[1], CARD_ID, "0200", driver="igb", group="11")
    unchanged(VM, devices(card(type="pci", id=CARD_ID)))


def test_what_is_not_there_is_refused_and_a_stick_may_come_later(host: Hardware) -> None:
    refuse(VM, devices(card(address="0000:09:00.0")), "there is no PCI device 0000:09:00.0 on this host")
    refuse(VM, devices(stick(id="1209:0001")), "there is no USB device 1209:0001 on this host")
    refuse(VM, devices({"name": "stick", "port": "9-1"}), "nothing is plugged into the USB port 9-1")
    check_run_again(VM, devices(stick(id="1209:0001", optional=True)))
    assert attribute(definition(NAME), "devices/hostdev/source", "startupPolicy") == "optional"
    check_run_again(
        VM, {**PLAIN, "devices": [stick()], "unset": ["devices[stick].optional"]}, ["devices[stick].optional"]
    )
    assert attribute(definition(NAME), "devices/hostdev/source", "startupPolicy") is None


def test_a_stick_by_its_serial_or_port_follows_what_is_plugged_in(host: Hardware) -> None:
    by_serial = devices(stick(id=f"{TWIN_ID}:TWIN0"), {"name": "by-port", "port": STICK})
    check_run_again(VM, by_serial)
    for port, ids, serial, number in ((TWINS[0], TWIN_ID, "TWIN0", 8), (STICK, STICK_ID, "0001", 9)):
        host.pull_out(port)
        host.usb(port, ids, serial, number)
    check_run_again(VM, by_serial, ["devices[by-port].port", "devices[stick].id"])
    assert sources() == [usb(TWIN_ID, 8), usb(number=9)]


def test_one_device_is_not_given_twice(host: Hardware) -> None:
    refuse(
        VM,
        devices(stick(id=STICK_ID), {"name": "other", "type": "usb", "id": STICK_ID}),
        "is the same device of this host as stick",
    )
    refuse(VM, devices(card(address=CARDS[0]), {"name": "stick", "address": CARDS[0]}), "is the same device")


# ---- what the host needs itself ----------------------------------------------------------------------------------------------


def test_without_an_iommu_no_pci_device_goes_to_a_machine(
    host: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.without_iommu()
    cpu = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "CPUINFO", str(cpu))
    for vendor, way in (("GenuineIntel", "intel_iommu=on"), ("AuthenticAMD", "AMD-Vi")):
        cpu.write_text(f"vendor_id\t: {vendor}\n")
        assert "has no IOMMU in use" in refuse(VM, devices(card(address=CARDS[0])), way)
    check_run_again(VM, devices(stick(id=STICK_ID)))


def test_a_group_goes_to_a_machine_as_a_whole(host: Hardware) -> None:
    refuse(VM, devices(card(address=GRAPHICS)), f"this host uses {SOUND} (10de:10f8, driver snd_hda_intel) of it")
    check_run_again(VM, devices(card(address=GRAPHICS), {"name": "sound", "address": SOUND}))
    assert sources() == [pci(GRAPHICS), pci(SOUND)]
    refuse(VM, devices(card(address=BRIDGE)), "is a bridge to other devices")
    refuse(VM, devices({"name": "stick", "port": HUB}), "is a hub")


def test_a_kernel_without_vfio_is_named(host: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.sys / "bus/pci/drivers/vfio-pci").rmdir()
    monkeypatch.setattr(hardware, "MODULES", str(tmp_path))
    refuse(VM, devices(card(address=CARDS[0])), "linux-image-amd64 has it")


def test_what_carries_the_host_stays_with_it(host: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.command("ip", "link", "add", "hlvmcard", "type", "veth", "peer", "name", "hlvmpeer")
    try:
        host.card_of(CARDS[0], "hlvmcard")
        monkeypatch.setattr(links, "read_default_routes", lambda: [DefaultRoute(4, "hlvmcard", "10.0.0.1")])
        refuse(VM, devices(card(address=CARDS[0])), "its network card hlvmcard carries the default route of this host")
        monkeypatch.setattr(links, "read_default_routes", list)
        machines.command("ip", "link", "set", "hlvmcard", "master", BRIDGES[0])
        refuse(VM, devices(card(address=CARDS[0])), f"its network card hlvmcard is plugged into {BRIDGES[0]}")
    finally:
        machines.command("ip", "link", "del", "hlvmcard")


def test_a_disk_that_is_in_use_stays_with_the_host(host: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    for device, item in ((CARDS[0], card(address=CARDS[0])), (STICK, stick(id=STICK_ID))):
        host.disk_of(device, "hlvmdisk")
        monkeypatch.setattr(uses, "_of_host", lambda: [uses.Use("the mount at /srv", "/dev/hlvmdisk", is_guest=False)])
        refuse(VM, devices(item), "the mount at /srv stands on its disk /dev/hlvmdisk")


# ---- while it runs -----------------------------------------------------------------------------------------------------------


def test_what_qemu_does_not_get_is_not_left_in_the_definition(host: Hardware) -> None:
    assert converge_now(VM, {**PLAIN, "state": "started"}).error is None
    run = converge_now(VM, devices(card(address=CARDS[0])))
    assert run.error is not None and "attach devices[card]" in run.error.message
    assert definition(NAME).find("devices/hostdev") is None


def test_two_devices_of_one_group_wait_for_the_next_boot(host: Hardware) -> None:
    assert converge_now(VM, {**PLAIN, "state": "started"}).error is None
    both = devices(card(address=GRAPHICS), {"name": "sound", "address": SOUND})
    run = check_run_again(VM, both, ["devices[card]", "devices[sound]"])
    assert run.plan.restart_required == ["devices[card]", "devices[sound]"]


# ---- somebody else's ---------------------------------------------------------------------------------------------------------

THEIRS = (
    "<hostdev mode='subsystem' type='usb' managed='no'><source><vendor id='0x10c4'/><product id='0xea60'/></source></hostdev>"
    "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='4' slot='0' function='0'/></source>"
    "<rom bar='off'/></hostdev>"
)


def test_a_device_of_a_machine_made_by_hand_has_a_place_until_it_gets_a_name(host: Hardware) -> None:
    make(NAME, THEIRS)
    run = unchanged(VM, {"name": NAME, "devices": []})
    assert run.plan.unmanaged == ["devices[device0]", "devices[device1]"]
    unchanged(VM, {"name": NAME, "devices": [card(address=CARDS[1]), stick(id=STICK_ID)]})
    unchanged(VM, {"name": NAME, "devices": [{"name": "nic", "address": CARDS[1]}]})
    check_run_again(VM, {"name": NAME, "devices": [{"name": "nic", "address": CARDS[0]}]}, ["devices[nic].address"])
    assert sources() == [usb(STICK_ID), pci(CARDS[0])]
    assert attribute(definition(NAME), "devices/hostdev/rom", "bar") == "off"
    check_run_again(VM, {"name": NAME, "devices": [{"name": "nic"}], "exact": ["devices"]}, ["devices[stick]"])
    assert sources() == [pci(CARDS[0])]


def test_a_device_becomes_one_of_another_type(host: Hardware) -> None:
    make(NAME, THEIRS)
    check_run_again(
        VM,
        {"name": NAME, "devices": [{"name": "device1", "port": TWINS[0]}]},
        ["devices[device1].type", "devices[device1].port"],
    )
    assert sources() == [usb(STICK_ID), usb(number=4)]


def test_two_guests_of_a_layout_do_not_get_one_device(host: Hardware) -> None:
    both = [{**devices(stick(id=STICK_ID)), "name": f"{NAME}-{letter}"} for letter in "ab"]
    outcome = converge_layout({"vms": both}, dry_run=True)
    assert outcome.error is not None and f"the device {STICK_ID}" in outcome.error.message


def test_a_device_goes_to_one_running_machine(host: Hardware) -> None:
    other = f"{NAME}-other"
    make(other, THEIRS)
    assert virsh("domstate", other) == "shut off"
    check_run_again(VM, devices(card(address=CARDS[1])))
