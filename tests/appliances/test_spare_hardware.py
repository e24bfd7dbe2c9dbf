# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A card, a controller and a stick of an ordinary host go to a machine and come back, and what the host needs stays: with its kernel and IOMMU."""

from __future__ import annotations

import base64
import functools
import gzip
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import installers, ordinary_vm
from ansible_collections.homelab.hybrid.tests.harness.ordinary_host import PACKAGES, OrdinaryHost
from ansible_collections.homelab.hybrid.tests.harness.spare_hardware import CARD_MAC, DISK, SERIAL, SPARE, STICK_ID

NAME = "hlsp"
# Under emulation libvirt takes many seconds for a start.
PLAIN: dict[str, t.Any] = {"name": NAME, "memory": 64, "shutdown_timeout": 1, "force_stop": True}


class Machine(OrdinaryHost):
    """The host with devices to give away."""

    def vm(self, **options: t.Any) -> dict[str, t.Any]:
        return self.task({**PLAIN, **options}, module="kvm_vm")

    def done(self, **options: t.Any) -> dict[str, t.Any]:
        """A run that changes something, and one that finds nothing left to do."""
        result = self.vm(**options)
        assert not result.get("failed") and result["changed"], result
        again = self.vm(**options)
        assert not again.get("failed") and not again["changed"], again
        return result

    def refused(self, **options: t.Any) -> str:
        result = self.vm(**options)
        assert result["failed"] and not result["changed"], result
        return str(result["msg"])

    def driver(self, address: str) -> str:
        return self.ask(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Machine]:
    image = ordinary_vm.built(PACKAGES, recipe=SPARE)
    start = functools.partial(ordinary_vm.start, image, recipe=SPARE)
    with Machine.running(tmp_path_factory.mktemp("control"), start) as its:
        yield its


def test_a_card_and_a_stick_go_to_a_machine_and_come_back(host: Machine) -> None:
    card = host.ask("ls /sys/bus/pci/drivers/e1000e | grep ^0000")
    assert host.driver(card) == "e1000e" and host.ask("lsblk -dno tran | grep usb") == "usb"
    devices = [
        {"name": "card", "address": card},
        {"name": "stick", "type": "usb", "id": f"{STICK_ID}:{SERIAL}"},
    ]
    host.done(devices=devices, state="started")
    assert host.driver(card) == "vfio-pci"
    command = host.ask(f"tr '\\0' '\\n' < /proc/$(cat /run/libvirt/qemu/{NAME}.pid)/cmdline")
    assert f'"driver":"vfio-pci","host":"{card}"' in command and '"driver":"usb-host"' in command
    # While it has them nobody else gets them.
    other = host.refused(name=f"{NAME}-other", devices=[{"name": "card", "address": card}])
    assert f"{NAME} runs with it" in other
    gone = host.done(devices=[{"name": "stick", "state": "absent"}])
    assert gone["restart_required"] == []
    # Firmware answers no request to let go of a card.
    waits = host.done(devices=[{"name": "card", "state": "absent"}])
    assert waits["restart_required"] == ["devices[card]"], waits
    host.done(state="stopped")
    assert host.driver(card) == "e1000e"
    assert CARD_MAC in host.ask("cat /sys/class/net/*/address")


def test_a_card_is_plugged_in_while_the_machine_runs(host: Machine) -> None:
    card = host.ask("ls /sys/bus/pci/drivers/e1000e | grep ^0000")
    host.done(state="started")
    result = host.done(devices=[{"name": "card", "address": card}])
    assert result["plan"][0]["how"] == "live" and host.driver(card) == "vfio-pci"
    assert "and is not saved to disk" in host.refused(state="suspended")
    host.done(state="absent")
    assert host.driver(card) == "e1000e"


def test_a_controller_goes_to_a_machine_with_its_disks(host: Machine, tmp_path: Path) -> None:
    controller = host.ask("ls /sys/bus/pci/drivers/megaraid_sas | grep ^0000")
    disk = host.ask(f"readlink -f /dev/disk/by-id/*{DISK}* | sort -u")
    beginning = host.ask(f"head -c 60 {disk}")
    assert disk.startswith("/dev/sd") and beginning.startswith("0707")
    medium = base64.b64encode(gzip.compress(installers.reading_iso(tmp_path / "reads.iso").read_bytes())).decode()
    host.ask(f"echo {medium} | base64 -d | gunzip > /srv/reads.iso")
    # What the host has of it in use stays.
    host.ask(f"echo 0 2048 linear {disk} 0 | dmsetup create --readonly hlsp-held")
    said = host.refused(devices=[{"name": "disks", "address": controller}])
    assert disk in said, said
    host.ask("dmsetup remove hlsp-held")
    host.done(
        devices=[{"name": "disks", "address": controller}],
        cdroms=[{"name": "reads", "source": "/srv/reads.iso"}],
        boot={"order": ["reads"]},
        state="started",
    )
    assert host.driver(controller) == "vfio-pci" and host.ask(f"test ! -e {disk} && echo gone") == "gone"
    assert beginning in host.ask(f"timeout 300 script -qfc 'virsh console {NAME}' /dev/null | grep -aom1 '{beginning}'")
    host.done(state="absent")
    assert host.driver(controller) == "megaraid_sas"
    assert host.ask(f"udevadm settle; head -c 60 $(readlink -f /dev/disk/by-id/*{DISK}* | sort -u)") == beginning


def test_what_the_host_lives_on_is_not_given_away(host: Machine) -> None:
    # Which card has which name is a matter of who was first.
    link = host.ask("ip -o route show default | sed 's/.* dev //; s/ .*//'")
    network = host.ask(f"basename $(realpath /sys/class/net/{link}/device/..)")
    said = host.refused(devices=[{"name": "card", "address": network}])
    assert f"its network card {link} carries" in said, said
    disk = host.ask("basename $(realpath /sys/class/block/vda/device/..)")
    said = host.refused(devices=[{"name": "disk", "address": disk}])
    assert "the mount at / stands on its disk /dev/vda" in said, said


def test_a_machine_has_a_socket_to_its_host(host: Machine) -> None:
    host.done(vsock="77", state="started")
    command = host.ask(f"tr '\\0' '\\n' < /proc/$(cat /run/libvirt/qemu/{NAME}.pid)/cmdline")
    assert '"driver":"vhost-vsock-pci","id":"vsock0","guest-cid":77' in command, command
    host.done(state="absent")


def test_a_folder_is_shared_read_only(host: Machine) -> None:
    host.ask("mkdir -p /srv/films")
    host.done(shares=[{"name": "films", "source": "/srv/films", "readonly": True}], state="started")
    assert "--readonly" in host.ask("tr '\\0' ' ' < /proc/$(pgrep -o virtiofsd)/cmdline")
    host.done(state="absent")
