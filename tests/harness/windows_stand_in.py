# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes the place of Windows: a medium that UEFI boots with secure boot, and the system that it installs.

The medium finds ``autounattend.xml`` on another drive and the drivers on a third, puts a system that boots onto the first disk of virtio, with the
answer behind it, and restarts. That system has the real guest agent, which says that it is Windows, and ``powershell.exe``. Both are the tiny
guest with Debian's signed shim, GRUB and kernel.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pycdlib

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.answer import archive
from ansible_collections.homelab.hybrid.tests.harness import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once

MIB = 1024 * 1024
# Where the answer lies on the disk, behind the system.
ANSWER_AT_MIB = 200
_DISK_MIB, _ESP_START = 120, 2048
_SIGNED = ("shim-signed", "grub-efi-amd64-signed")
_BOOT_FILES = {
    "usr/lib/shim/shimx64.efi.signed": "EFI/BOOT/BOOTX64.EFI",
    "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "EFI/BOOT/grubx64.efi",
}
_MENU = """\
search --no-floppy --set=root --file /{kernel}
linux /{kernel} {words}
initrd /{initrd}
boot
"""
_DRIVERS = ("viostor/2k25/amd64/viostor.inf", "NetKVM/2k25/amd64/netkvm.inf", "guest-agent/qemu-ga-x86_64.msi")
_SYSTEM_NAME = 'ID=mswindows\nNAME="Microsoft Windows"\nPRETTY_NAME="Windows Server 2025 Standard"\nVERSION_ID=2025\n'
_BEGINS = r"""#!/bin/sh
mount -t proc proc /proc
case $(cat /proc/cmdline) in
    *tiny.installed*) umount /proc; exec /etc/rc.tiny ;;
esac
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for list in /etc/modules.agent /etc/modules.later; do
    while read module; do insmod $module; done < $list 2>/dev/null
done
say() { echo "setup: $*" > /dev/ttyS0; }
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    for drive in /dev/sr*; do
        mount -t iso9660 -o ro $drive /mnt 2>/dev/null || continue
        [ -e /mnt/autounattend.xml ] && cp /mnt/autounattend.xml /run/answer
        [ -e /mnt/viostor/2k25/amd64/viostor.inf ] && touch /run/drivers
        [ -e /mnt/sources/install.wim ] && image=$drive
        umount /mnt
    done
    [ -e /run/answer ] && [ -e /run/drivers ] && [ -n "$image" ] && [ -b /dev/vda ] && break
    sleep 1
done
[ -e /run/answer ] || say "no answer"
[ -e /run/drivers ] || say "no drivers"
[ -e /run/answer ] && [ -e /run/drivers ] || while :; do sleep 60; done
mount -t iso9660 -o ro $image /mnt
say "copies"
gunzip -c /mnt/sources/install.wim > /dev/vda
dd if=/run/answer of=/dev/vda bs=1M seek=ANSWER_AT conv=notrunc 2>/dev/null
sync
say "restarts"
reboot -f
""".replace("ANSWER_AT", str(ANSWER_AT_MIB))
# They take the words that those of Windows take, and no others. What is encoded is a script for /bin/sh here, but for that of Ansible, which
# reads a module: it is told what it got.
POWERSHELL = r"""#!/bin/sh
[ "$1 $2" = "-OutputFormat Text" ] || exit 97
while [ $# -gt 2 ]; do shift; done
[ "$1" = -EncodedCommand ] || exit 98
script=$(printf %s "$2" | base64 -d | tr -d "\000")
case $script in
    *ConvertFrom-Json*)
        cat > /run/module.json
        echo "{\"changed\": false, \"bytes\": $(wc -c < /run/module.json)}" ;;
    *) exec /bin/sh -c "$script" ;;
esac
"""
CMD = r"""#!/bin/sh
[ "$1 $2" = "/d /c" ] || exit 97
shift 2
case $1 in
    echo) [ "$2" = %TEMP% ] && printf "/run/temp\r\n" ;;
    del) rm -f "$4" ;;
    *)
        while [ "$1" != "<" ]; do words="$words $1"; shift; done
        exec $words < "$2" ;;
esac
"""


def medium(cache: Path = CACHE) -> Path:
    """The medium, built once."""
    return _built(cache) / "windows.iso"


def drivers(cache: Path = CACHE) -> Path:
    """A medium with the folders of that of virtio-win."""
    return _built(cache) / "virtio-win.iso"


def _built(cache: Path) -> Path:
    code = Path(__file__).read_bytes() + Path(tiny_vm.__file__).read_bytes()
    versions = "\n".join(tiny_vm.run("apt-get", "download", "--print-uris", *_packages()).split()).encode()
    folder = cache / f"windows-{hashlib.sha256(code + versions).hexdigest()[:12]}"
    return built_once(folder, _build)


def _packages() -> list[str]:
    kernel = tiny_vm.package_names()[0]
    return [kernel, *_SIGNED]


def _build(folder: Path) -> None:
    tiny = tiny_vm.tiny_vm()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".windows.") as name:
        work = Path(name)
        tiny_vm.run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *_packages(), cwd=work)
        for package in sorted(work.glob("*.deb")):
            tiny_vm.run("dpkg-deb", "-x", str(package), str(work / "root"))
        kernel = next((work / "root/boot").glob("vmlinuz-*"))
        initrd = work / "initrd"
        _write_initrd(initrd, tiny.initrd)
        words = f"{tiny.cmdline} console=ttyS0"
        boot = _fat(work, "boot.fat", 6, "", {})
        menu = _MENU.format(kernel="vmlinuz", initrd="initrd", words=f"{words} tiny.installed")
        system = _fat(work, "esp.fat", _DISK_MIB - 4, menu, {"vmlinuz": kernel, "initrd": initrd})
        disk = _disk(work, system)
        (work / "menu.cfg").write_text(_MENU.format(kernel="setup/vmlinuz", initrd="setup/initrd", words=words))
        _write_medium(folder / "windows.iso", boot, kernel, initrd, disk, work / "menu.cfg")
    _write_drivers(folder / "virtio-win.iso")


def _write_initrd(target: Path, origin: Path) -> None:
    shutil.copyfile(origin, target)
    files = {
        "etc/rc": _BEGINS,
        "etc/rc.tiny": tiny_vm.RC,
        "bin/powershell.exe": POWERSHELL,
        "bin/cmd.exe": CMD,
        "etc/os-release": _SYSTEM_NAME,
    }
    with open(target, "ab") as stream:
        for name, text in files.items():
            stream.write(archive(name, text, behind=stream.tell(), mode=0o100755))


def _fat(work: Path, name: str, size_mib: int, menu: str, more: t.Mapping[str, Path]) -> Path:
    image = work / name
    with open(image, "wb") as stream:
        stream.truncate(size_mib * MIB)
    # The signed GRUB looks in the folder of its distribution alone.
    (work / "grub.cfg").write_text(menu)
    tiny_vm.run("mkfs.vfat", "-n", "ESP", str(image))
    tiny_vm.run("mmd", "-i", str(image), "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    files = {target: work / "root" / path for path, target in _BOOT_FILES.items()}
    for target, path in {**files, "EFI/debian/grub.cfg": work / "grub.cfg", **more}.items():
        tiny_vm.run("mcopy", "-i", str(image), str(path), f"::/{target}")
    return image


def _disk(work: Path, system: Path) -> Path:
    """A disk with a GPT and the partition *system*."""
    raw, packed = work / "disk.raw", work / "disk.gz"
    with open(raw, "wb") as stream:
        stream.truncate(_DISK_MIB * MIB)
    table = f"label: gpt\nstart={_ESP_START}, size={system.stat().st_size // 512}, type=U, name=esp\n"
    subprocess.run(("sfdisk", "-q", str(raw)), input=table.encode(), check=True, capture_output=True)
    with open(raw, "r+b") as stream, open(system, "rb") as source:
        stream.seek(_ESP_START * 512)
        shutil.copyfileobj(source, stream)
    with open(raw, "rb") as source, gzip.open(packed, "wb", compresslevel=1) as stream:
        shutil.copyfileobj(source, stream)
    return packed


def _write_medium(target: Path, boot: Path, kernel: Path, initrd: Path, disk: Path, menu: Path) -> None:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident="SSS_X64FREE")
    image.add_directory("/SETUP", rr_name="setup")
    image.add_directory("/SOURCES", rr_name="sources")
    # By these the signed GRUB knows a medium of its distribution, and where its menu is.
    image.add_directory("/DISK", rr_name=".disk")
    image.add_directory("/BOOT", rr_name="boot")
    image.add_directory("/BOOT/GRUB", rr_name="grub")
    image.add_fp(io.BytesIO(b"setup"), 5, "/DISK/INFO.;1", rr_name="info")
    for path, name, short in (
        (boot, "efisys.bin", "/EFISYS.BIN;1"),
        (kernel, "vmlinuz", "/SETUP/VMLINUZ.;1"),
        (initrd, "initrd", "/SETUP/INITRD.;1"),
        (disk, "install.wim", "/SOURCES/INSTALL.WIM;1"),
        (menu, "grub.cfg", "/BOOT/GRUB/GRUB.CFG;1"),
    ):
        image.add_file(str(path), short, rr_name=name)
    image.add_eltorito(
        "/EFISYS.BIN;1",
        bootcatfile="/BOOT.CAT;1",
        rr_bootcatname="boot.cat",
        efi=True,
        platform_id=0xEF,
        boot_load_size=boot.stat().st_size // 512,
    )
    image.write(str(target))
    image.close()
    target.chmod(0o644)


def _write_drivers(target: Path) -> None:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident="virtio-win-0.1.285")
    folders: set[str] = set()
    for number, path in enumerate(("virtio-win-gt-x64.msi", *_DRIVERS)):
        parts = path.split("/")
        place = ""
        for part in parts[:-1]:
            place += f"/{part.replace('-', '_').upper()[:8]}"
            if place not in folders:
                folders.add(place)
                image.add_directory(place, rr_name=part)
        image.add_fp(io.BytesIO(b"none"), 4, f"{place}/F{number}.;1", rr_name=parts[-1])
    image.write(str(target))
    image.close()
    target.chmod(0o644)
