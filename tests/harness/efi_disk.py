# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small systems for appliances: a disk that UEFI starts, with Debian's kernel and programs in one EFI file."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.answer import archive
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.harness.small_python import entries, python_files, python_packages
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import package_names, run, tiny_vm, write_newc

MIB = 2**20
# Where the sections of a unified kernel image begin, as ukify of systemd 252 lays them out: each behind the one before.
_SECTIONS = {"osrel": 0x20000, "cmdline": 0x30000, "linux": 0x2000000, "initrd": 0x3000000}
_CMDLINE = "console=ttyS0 quiet mitigations=off nokaslr audit=0 no_timer_check tsc=reliable panic=-1"
# In the place of the tiny guest's own beginning, which it goes on with: it gives the first card the address in /run/static, or asks by DHCP.
_BEGINNING = r"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
for list in /etc/modules.agent /etc/modules.later; do
    while read module; do insmod $module; done < $list 2>/dev/null
done
: > /etc/modules.later
for port in /sys/class/virtio-ports/*; do
    [ -e $port/name ] && ln -s ../${port##*/} "/dev/virtio-ports/$(cat $port/name)"
done
ip link set lo up
"""
_END = r"""
[ -e /dev/virtio-ports/org.qemu.guest_agent.0 ] &&
    qemu-ga -d -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qemu-ga.pid
acpid -l /run/acpid.log
exit 0
"""


def packed_disk(name: str, script: str, program: Path | None = None, cache: Path = CACHE) -> Path:
    """``NAME.qcow2.xz``, a disk whose system does *script* (of busybox) when it starts; built if this recipe never was before.

    With a *program* in Python it has that as ``/etc/program.py``, and a Python.
    """
    tiny = tiny_vm()
    recipe = Path(__file__).read_bytes() + script.encode() + tiny.initrd.parent.name.encode()
    recipe += program.read_bytes() if program else b""
    folder = cache.resolve() / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    built = built_once(folder, lambda work: _build(work / f"{name}.qcow2.xz", script, program, tiny.initrd))
    return built / f"{name}.qcow2.xz"


def _build(packed: Path, script: str, program: Path | None, tiny_initrd: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="efi_disk.") as name:
        work = Path(name)
        kernel = next(package for package in package_names() if package.startswith("linux-image-"))
        names = [kernel, "systemd-boot-efi", *(python_packages() if program else ())]
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=work)
        for package in work.glob("*.deb"):
            run("dpkg-deb", "-x", str(package), str(work / "root"))
        initrd = work / "initrd"
        shutil.copyfile(tiny_initrd, initrd)
        with open(initrd, "ab") as stream:
            stream.write(archive("etc/rc", _BEGINNING + script + _END, behind=stream.tell(), mode=0o100755))
            if program:
                stream.write(b"\0" * (-stream.tell() % 4))
                files = {**dict(python_files(work / "root")), "etc/program.py": (0o644, program.read_bytes())}
                write_newc(stream, entries(files))
        parts = {"linux": next((work / "root/boot").glob("vmlinuz-*")), "initrd": initrd}
        for section, text in (("osrel", "ID=small\nNAME=Small\n"), ("cmdline", _CMDLINE)):
            parts[section] = work / section
            parts[section].write_text(text)
        started = work / "BOOTX64.EFI"
        argv = ["objcopy"]
        for section, place in _SECTIONS.items():
            argv += ["--add-section", f".{section}={parts[section]}", "--change-section-vma", f".{section}={place:#x}"]
        stub = work / "root/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
        run(*argv, str(stub), str(started))
        disk = _disk_of(started, work)
        run("qemu-img", "convert", "-O", "qcow2", str(disk), str(work / "disk.qcow2"))
        packed.write_bytes(lzma.compress((work / "disk.qcow2").read_bytes(), preset=0))


def _disk_of(program: Path, work: Path) -> Path:
    """A disk with one partition, that of the firmware."""
    disk = work / "disk.raw"
    size = (program.stat().st_size // MIB + 16) * MIB
    with open(disk, "wb") as stream:
        stream.truncate(size + 2 * MIB)
    layout = (
        f"label: gpt\nstart=2048, size={size // 512}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=hassos-boot\n"
    )
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=layout, text=True, check=True)
    place = f"{disk}@@{MIB}"
    run("mformat", "-i", place, "-F", "-T", str(size // 512), "::")
    run("mmd", "-i", place, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", place, str(program), "::/EFI/BOOT/BOOTX64.EFI")
    return disk
