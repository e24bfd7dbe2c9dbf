# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordinary host with devices to give away: an IOMMU, a network card and a controller with a disk in slots of their own, and a USB stick.

Its kernel is Debian's own, as that for clouds has no USB, and has the drivers of its disk as modules. It is kept apart from the plain
one, which most tests need.
"""

from __future__ import annotations

from ansible_collections.homelab.hybrid.tests.harness.ordinary_vm import Recipe

CARD_MAC = "52:54:00:79:00:02"
# What QEMU's own sticks say of themselves.
STICK_ID = "46f4:0001"
SERIAL = "SPARE1"
# The serial of the disk at the controller.
DISK = "SPAREDISK1"
SPARE = Recipe(
    "spare",
    "linux-image-amd64",
    ("virtio_pci", "virtio_blk", "ext4"),
    " intel_iommu=on iommu.strict=0",
    (
        *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        *("-device", "pcie-root-port,id=spare,chassis=1,bus=pcie.0,addr=0x1c"),
        *("-netdev", "user,id=n1,restrict=on", "-device", f"e1000e,netdev=n1,mac={CARD_MAC},bus=spare,romfile="),
        *(
            "-device",
            "pcie-root-port,id=disks,chassis=2,bus=pcie.0,addr=0x1d",
            "-device",
            "megasas-gen2,id=controller,bus=disks",
        ),
        *(
            "-drive",
            "if=none,id=disk,file={folder}/initrd,format=raw,readonly=on",
            "-device",
            f"scsi-hd,drive=disk,bus=controller.0,serial={DISK}",
        ),
        # Any file is content enough; one that is never written to is no part of a snapshot.
        *("-drive", "if=none,id=stick,file={folder}/initrd,format=raw,readonly=on", "-device", "qemu-xhci,id=usb"),
        *("-device", f"usb-storage,drive=stick,bus=usb.0,port=1,serial={SERIAL}"),
    ),
)
