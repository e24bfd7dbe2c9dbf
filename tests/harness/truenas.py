# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A medium of the shape of that of TrueNAS, which UEFI boots: its installer lays a system onto a disk that UEFI boots as well.

Both are the tiny guest of the tests with Python and ``truenas_guest.py`` in it: the kernel, GRUB and Python are Debian's.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import typing as t
from pathlib import Path

import pycdlib

from ansible_collections.homelab.hybrid.tests.harness import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.harness.small_python import entries, python_files, python_packages
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import Entry, run

GUEST = Path(__file__).with_name("truenas_guest.py")
GRUB = "grub-efi-amd64-signed"
_LABEL = "TRUENAS"
_WORDS = "console=ttyS0 quiet mitigations=off nokaslr audit=0 no_timer_check tsc=reliable panic=-1"
_INITTAB = tiny_vm.INITTAB + "::once:/etc/truenas\n"
_BEGIN = """\
#!/bin/sh
until ip -4 addr show | grep -q 'inet .*scope global' && lsmod | grep -q isofs; do sleep 1; done
exec /usr/bin/python3 /etc/truenas_guest.py > /dev/ttyS0 2>&1
"""
_MIB = 1 << 20


def medium(cache: Path = CACHE) -> Path:
    """The ISO, built if this recipe with these package versions was never built before."""
    tiny = tiny_vm.tiny_vm()
    recipe = GUEST.read_bytes() + Path(__file__).read_bytes() + str(tiny.kernel).encode()
    folder = cache.resolve() / f"truenas-{hashlib.sha256(recipe).hexdigest()[:12]}"

    def build(work: Path) -> None:
        with tempfile.TemporaryDirectory(dir=work.parent, prefix=".truenas.") as name:
            _build(Path(name), tiny, work / "truenas.iso")

    return built_once(folder, build) / "truenas.iso"


def _build(work: Path, tiny: tiny_vm.TinyVM, iso: Path) -> None:
    packages, root = work / "packages", work / "root"
    for path in (packages, root):
        path.mkdir()
    kernel = tiny_vm.package_names()[0]
    names = [kernel, GRUB, *python_packages()]
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        run("dpkg-deb", "-x", str(package), str(root))
    release = kernel.removeprefix("linux-image-")
    linux = root / "boot" / f"vmlinuz-{release}"
    initrd = work / "initrd"
    shutil.copyfile(tiny.initrd, initrd)
    with open(initrd, "ab") as stream:
        stream.write(b"\0" * (-stream.tell() % 4))
        tiny_vm.write_newc(stream, _entries(root, work))
    grub = root / "usr/lib/grub/x86_64-efi-signed"
    system, starter = work / "system.img", work / "starter.img"
    size = (linux.stat().st_size + initrd.stat().st_size) // _MIB + 16
    files = {"vmlinuz": linux, "initrd": initrd}
    _fat(
        system,
        size,
        grub / "grubx64.efi.signed",
        "linux /vmlinuz {words} truenas=system\ninitrd /initrd\nboot\n",
        files,
    )
    text = "search --no-floppy --set=root --file /live/vmlinuz\nlinux /live/vmlinuz {words} truenas=installer\ninitrd /live/initrd\nboot\n"
    _fat(starter, 8, grub / "grubx64.efi.signed", text, {})
    # GRUB does not see the file system on a medium that it was started from, and looks for a medium of Debian.
    (work / "info").write_text("TrueNAS of the tests\n")
    placed = {
        "live/vmlinuz": linux,
        "live/initrd": initrd,
        "boot/grub/grub.cfg": starter.with_suffix(".cfg"),
        ".disk/info": work / "info",
    }
    _iso(iso, starter, {**placed, "system.img": system})


def _entries(root: Path, work: Path) -> t.Iterator[Entry]:
    """What the tiny guest has more: Python with its library, and the guest's own files."""
    files = dict(python_files(root))
    files["etc/inittab"] = (0o644, _INITTAB.encode())
    files["etc/truenas"] = (0o755, _BEGIN.encode())
    files["etc/truenas_guest.py"] = (0o644, GUEST.read_bytes())
    files["etc/truenas.pem"] = (0o600, _certificate(work))
    return entries(files)


def _certificate(work: Path) -> bytes:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "3650",
    ]
    run(*command, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem", cwd=work)
    return (work / "key.pem").read_bytes() + (work / "cert.pem").read_bytes()


def _fat(path: Path, size: int, grub: Path, text: str, files: t.Mapping[str, Path]) -> None:
    """A file system that UEFI boots: GRUB, which reads its own configuration there."""
    run("truncate", "-s", f"{size}M", str(path))
    run("mkfs.vfat", "-n", "STARTER", str(path))
    configuration = path.with_suffix(".cfg")
    configuration.write_text(text.format(words=_WORDS))
    for folder in ("EFI", "EFI/BOOT", "EFI/debian"):
        run("mmd", "-i", str(path), f"::/{folder}")
    placed = {"EFI/BOOT/BOOTX64.EFI": grub, "EFI/debian/grub.cfg": configuration, **files}
    for target, source in placed.items():
        run("mcopy", "-i", str(path), str(source), f"::/{target}")


def _iso(path: Path, starter: Path, files: t.Mapping[str, Path]) -> None:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident=_LABEL)
    for number, (name, file) in enumerate(files.items()):
        place = ""
        for part in Path(name).parent.parts:
            place += f"/{part.strip('.').upper()}"
            try:
                image.get_record(iso_path=place)
            except pycdlib.pycdlibexception.PyCdlibInvalidInput:
                image.add_directory(place, rr_name=part)
        image.add_file(str(file), f"{place}/F{number}.;1", rr_name=Path(name).name)
    image.add_file(str(starter), "/STARTER.IMG;1", rr_name="starter.img")
    image.add_eltorito(
        "/STARTER.IMG;1", bootcatfile="/BOOT.CAT;1", rr_bootcatname="boot.cat", platform_id=0xEF, efi=True
    )
    image.write(str(path))
    image.close()
    path.chmod(0o644)
