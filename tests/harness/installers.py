# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installers of our own: one that the firmware boots, and one that has a kernel as those of Debian, Ubuntu and RHEL have theirs.

What they install is real: a sector that boots, or the answer that they found, on the first disk of the machine.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import pycdlib

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.answer import archive
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import TinyVM, tiny_vm

SECTOR = 512
# Assembled (16 bit): stack below 7c00; the text at 7d00 to the serial port; the sector at 7e00 to the first disk.
_WRITES_TEXT = bytes.fromhex("fa31c08ed88ec08ed0bc007cbe007dac84c0741288c4bafd03eca82074f8baf80388e0eeebe9")
_WRITES_SECTOR = bytes.fromhex("bb007eb80103b90100ba8000cd13")
# Before that text: the first sector of the first disk to 7e00, and as the text what stands there.
_READS_SECTOR = bytes.fromhex("bb007eb80102b90100ba8000cd13")
# To the port of ACPI by which a q35 goes off, to that by which it restarts, and nothing any more.
_GOES_OFF = bytes.fromhex("ba0406b80020effaf4ebfd")
_RESTARTS = bytes.fromhex("baf90cb006eefaf4ebfd")
_RESTS = bytes.fromhex("faf4ebfd")
SYSTEM_TELLS = "the system has started"
# What the tiny guest does in the place of its own beginning: it looks for an answer as those installers do, and obeys its words.
_INSTALLS = r"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for list in /etc/modules.agent /etc/modules.later; do
    while read module; do insmod $module; done < $list 2>/dev/null
done
say() { echo "installer: $*" > /dev/ttyS0; }
say "words: $(cat /proc/cmdline)"
found=/preseed.cfg
for try in 1 2 3 4 5 6 7 8 9 10; do
    [ -e $found ] && break
    for drive in /dev/sr*; do
        mount -t iso9660 -o ro $drive /mnt 2>/dev/null || continue
        for file in ks.cfg user-data autounattend.xml conf/config.xml; do
            [ -e /mnt/$file ] && cat /mnt/$file > /run/answer && found=/run/answer &&
                say "$file of $(dd if=$drive bs=1 skip=32808 count=32 2>/dev/null)"
        done
        umount /mnt
    done
    [ -e $found ] || sleep 1
done
say "answer: $(cat $found)"
case $(cat $found) in
    *"and fail"*) say "no mirror answers"; while :; do sleep 60; done ;;
esac
cat $found | dd of=/dev/vda conv=sync bs=512 2>/dev/null
sync
say "done"
case $(cat $found) in
    *"and restart"*) reboot -f ;;
    *"and stay"*) exec /etc/rc.own ;;
esac
poweroff -f
"""


def sector(text: str, *, ends: bytes) -> bytes:
    """A sector that boots: it writes *text* to the serial port."""
    code = (_WRITES_TEXT + ends).ljust(0x100, b"\0") + text.encode() + b"\r\n\0"
    return code.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def reading_iso(path: Path) -> Path:
    """A medium that the firmware boots: it writes the beginning of the first disk, a text, to the serial port, again and again."""
    sets_up, text, prints = _WRITES_TEXT[:12], _WRITES_TEXT[12:15], _WRITES_TEXT[15:]
    program = sets_up + _READS_SECTOR + text.replace(b"\x7d", b"\x7e") + prints + _RESTARTS
    return _iso(path, program.ljust(SECTOR, b"\0"))


def firmware_iso(path: Path, *, restarts: bool = False) -> Path:
    """A medium that the firmware boots: it writes a sector that boots onto the first disk, and the machine goes off or *restarts*."""
    return _iso(path, _installing(restarts=restarts))


def _iso(path: Path, program: bytes) -> Path:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident="INSTALLER")
    _let_firmware_boot(image, program)
    image.write(str(path))
    image.close()
    path.chmod(0o644)
    return path


def _installing(*, restarts: bool = False) -> bytes:
    system = sector(SYSTEM_TELLS, ends=_RESTS)
    return sector("the installer is at work", ends=_WRITES_SECTOR + (_RESTARTS if restarts else _GOES_OFF)) + system


def _let_firmware_boot(image: pycdlib.PyCdlib, program: bytes) -> None:
    names = {"rr_name": "boot.bin"} if image.has_rock_ridge() else {}
    image.add_fp(io.BytesIO(program.ljust(2048, b"\0")), 2048, "/BOOT.BIN;1", **names)
    names = {"rr_bootcatname": "boot.cat"} if names else {}
    image.add_eltorito("/BOOT.BIN;1", bootcatfile="/BOOT.CAT;1", boot_load_size=4, **names)


def kernel_and_initrd(folder: Path) -> tuple[TinyVM, Path]:
    """The tiny guest, and its initial RAM disk as that of an installer."""
    tiny = tiny_vm()
    initrd = folder / "installer.initrd"
    shutil.copyfile(tiny.initrd, initrd)
    with open(initrd, "ab") as stream:
        stream.write(archive("etc/rc", _INSTALLS, behind=stream.tell(), mode=0o100755))
    return tiny, initrd


# A folder, and the kernel and the initial RAM disk in it.
_PLACES = (
    ("install.amd", "vmlinuz", "initrd.gz"),
    ("casper", "vmlinuz", "initrd"),
    ("images/pxeboot", "vmlinuz", "initrd.img"),
)


def kernel_iso(path: Path) -> Path:
    """A medium that the firmware boots, with a kernel where Debian, Ubuntu and RHEL have it."""
    tiny, initrd = kernel_and_initrd(path.parent)
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident="Tiny 1")
    _let_firmware_boot(image, _installing())
    with open(tiny.kernel, "rb") as kernel, open(initrd, "rb") as disk:
        for folder, *names in _PLACES:
            place = ""
            for part in folder.split("/"):
                place += f"/{part.replace('.', '_').upper()}"
                image.add_directory(place, rr_name=part)
            for short, name, stream, file in zip("KI", names, (kernel, disk), (tiny.kernel, initrd), strict=True):
                image.add_fp(stream, file.stat().st_size, f"{place}/{short}.;1", rr_name=name)
        image.write(str(path))
    image.close()
    path.chmod(0o644)
    return path


def first_bytes(disk: Path, count: int = SECTOR) -> bytes:
    """What lies at the beginning of a disk, whoever has it open."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        subprocess.run(("qemu-img", "convert", "-U", "-O", "raw", str(disk), str(raw)), check=True)
        with open(raw, "rb") as stream:
            return stream.read(count)
