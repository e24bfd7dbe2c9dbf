# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The /sys of a host that has PCI and USB devices and an IOMMU: the machines that run the tests have neither."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import hardware

# Two cards of one kind, each alone in its group; a graphics card whose group has its sound too; and a bridge.
CARDS = ("0000:03:00.0", "0000:04:00.0")
CARD_ID = "8086:1533"
GRAPHICS, SOUND = "0000:05:00.0", "0000:05:00.1"
BRIDGE = "0000:00:1c.0"
# A stick alone, two of one kind that their serials tell apart, and a hub.
STICK, TWINS, HUB = "1-2", ("1-3.1", "1-3.2"), "1-3"
STICK_ID, TWIN_ID = "10c4:ea60", "1a86:7523"


class Hardware:
    """What is below *folder*, in place of /sys."""

    def __init__(self, folder: Path) -> None:
        self.sys = folder
        for number, address in enumerate(CARDS):
            self.pci(address, CARD_ID, "0200", driver="igb", group=str(10 + number))
        self.pci(GRAPHICS, "10de:1eb8", "0300", driver="nouveau", group="20")
        self.pci(SOUND, "10de:10f8", "0403", driver="snd_hda_intel", group="20")
        self.pci(BRIDGE, "8086:a110", "0604", driver="pcieport", group="20")
        self.usb(STICK, STICK_ID, "0001", 2)
        self.usb(HUB, "05e3:0610", "", 3, kind="09")
        for number, port in enumerate(TWINS):
            self.usb(port, TWIN_ID, f"TWIN{number}", 4 + number)
        (folder / "bus/pci/drivers/vfio-pci").mkdir(parents=True)

    def pci(self, address: str, ids: str, kind: str, *, driver: str = "", group: str = "") -> Path:
        vendor, dummy, product = ids.partition(":")
        texts = {"vendor": f"0x{vendor}", "device": f"0x{product}", "class": f"0x{kind}00"}
        place = self._device("pci", address, texts)
        for name, target in (("driver", f"drivers/{driver}"), ("iommu_group", f"iommu_groups/{group}")):
            if not target.endswith("/") and not (place / name).is_symlink():
                (self.sys / target).mkdir(parents=True, exist_ok=True)
                (place / name).symlink_to(self.sys / target)
        return place

    def usb(self, port: str, ids: str, serial: str, number: int, *, kind: str = "00") -> Path:
        vendor, dummy, product = ids.partition(":")
        texts = {"idVendor": vendor, "idProduct": product, "busnum": port.partition("-")[0], "devnum": str(number)}
        texts |= {"bDeviceClass": kind, **({"serial": serial} if serial else {})}
        return self._device("usb", port, texts)

    def pull_out(self, port: str) -> None:
        (self.sys / "bus/usb/devices" / port).unlink()

    def without_iommu(self) -> None:
        for place in (self.sys / "devices").glob("*/iommu_group"):
            place.unlink()

    def card_of(self, device: str, link: str) -> None:
        """Let the network card *link* of this host be on *device*."""
        (self.sys / "devices" / device / "net" / link).mkdir(parents=True)

    def disk_of(self, device: str, block: str) -> None:
        (self.sys / "devices" / device / "host0/target0/block" / block).mkdir(parents=True)

    def _device(self, bus: str, name: str, texts: t.Mapping[str, str]) -> Path:
        place = self.sys / "devices" / name
        place.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (place / file).write_text(f"{text}\n")
        link = self.sys / f"bus/{bus}/devices" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            os.symlink(place, link)
        return place


def put_in_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """Such a host, as long as *monkeypatch* lasts."""
    monkeypatch.setattr(hardware, "SYS", str(folder))
    return Hardware(folder)
