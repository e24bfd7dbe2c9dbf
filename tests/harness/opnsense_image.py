# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of the shape of OPNsense's nano image: a disk that BIOS boots, packed with bzip2, with a list in BSD's form and a signature of it.

What boots is a kernel and programs of Debian. It asks on the serial console what the importer of OPNsense asks, word for word
and with its seven seconds, and lives of the ``config.xml`` that it found (``opnsense_api``).
"""

from __future__ import annotations

import base64
import bz2
import hashlib
import shutil
import struct
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.answer import archive
from ansible_collections.homelab.hybrid.tests.harness import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.harness.signer import Signer
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import run

API = Path(__file__).with_name("opnsense_api.py")
NAME = "OPNsense-26.7-nano-amd64.img"
# The password of which upstream's default configuration has the hash (a public fact), and that no guest of ours may have.
DEFAULT_PASSWORD = "opnsense"
_DISK_MIB, _BEGIN_MIB = 160, 2
_PYTHON = ("python3-minimal", "libpython3-stdlib", "busybox-static", "openssl")
_GRUB = ("grub-common", "grub-pc-bin")
_GRUB_MODULES = "biosdisk part_msdos ext2 linux normal serial terminal configfile".split()

_INITTAB = """\
::sysinit:/etc/rc
::respawn:/etc/serve
::ctrlaltdel:/bin/poweroff -f
"""
_RC = r"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for list in /etc/modules.agent /etc/modules.later; do
    while read module; do insmod $module; done < $list 2>/dev/null
done
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
acpid -l /run/acpid.log
mkdir -p /disk /conf
for try in 1 2 3 4 5 6 7 8 9 10; do
    mount -t ext4 /dev/vda1 /disk 2>/dev/null && break
    sleep 1
done
mkdir -p /disk/conf
mount --bind /disk/conf /conf
# kern.cam.boot_delay of the nano image: its drives need some time.
[ -e /conf/config.xml ] || sleep 5
/etc/importer
exit 0
"""
_SERVE = """#!/bin/sh
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
for folder in proc sys dev; do mkdir -p /disk/$folder; mount --bind /$folder /disk/$folder; done
mkdir -p /disk/tmp
mount -t tmpfs tmp /disk/tmp
chroot /disk /usr/bin/python3 -I /srv/opnsense_api.py /conf/config.xml /srv/web.pem /srv/version $(cat /disk/srv/offers)
echo "it does not serve"
sleep 60
"""
# What opnsense-importer of 26.7 does with -b, with the drives of Linux in the place of those of FreeBSD.
_IMPORTER = r"""#!/bin/sh
bootstrap_and_exit() {
    mkdir -p /conf/backup /conf/sshd
    if [ ! -f /conf/config.xml ]; then
        echo -n "Bootstrapping config.xml..."
        cp /disk/usr/local/etc/config.xml /conf/config.xml
        echo "done."
    fi
    umount /mnt 2>/dev/null
    sync
    exit 0
}
[ -f /conf/config.xml ] && bootstrap_and_exit
echo -n "Press any key to start the configuration importer: "
stty -icanon -echo
pressed=
for dot in 1 2 3 4 5 6 7; do
    echo -n ". "
    if timeout 1 dd of=/dev/null count=1 2>/dev/null; then pressed=1; break; fi
done
stty icanon echo
echo
[ -n "$pressed" ] || bootstrap_and_exit
while :; do
    echo
    for drive in /sys/block/sr*; do
        [ -e $drive ] && echo "<QEMU QEMU DVD-ROM 2.5+>           at scbus0 target ${drive##*/sr} lun 0 (cd${drive##*/sr},pass0)"
    done
    echo
    echo -n "Select device to import from (e.g. ada0) or leave blank to exit: "
    read device
    echo
    [ -n "$device" ] || bootstrap_and_exit
    node=/dev/sr${device#cd}
    if [ ! -e "$node" ]; then
        echo "No known partition layout was found for '$device'."
        continue
    fi
    echo "Starting import for partition '/dev/$device'."
    echo
    if ! mount -t iso9660 -o ro $node /mnt; then
        echo "The device could not be mounted."
        continue
    fi
    if [ -f /mnt/conf/config.xml ]; then
        rm -rf /conf/*
        echo -n "Restoring config.xml..."
        cp /mnt/conf/config.xml /conf
        echo "done."
        break
    fi
    echo "The file /conf/config.xml could not be found."
done
bootstrap_and_exit
"""
_UDHCPC = """\
#!/bin/busybox sh
case $1 in
    bound|renew)
        /bin/busybox ip addr replace $ip/$mask dev $interface
        [ -z "$dns" ] || echo ${dns%% *} > /tmp/resolver
        [ -z "$router" ] || /bin/busybox ip route replace default via ${router%% *} dev $interface ;;
esac
"""
_GRUB_CFG = """\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
linux /boot/vmlinuz {words}
initrd /boot/initrd
boot
"""
_DEFAULT_CONFIG = """\
<?xml version="1.0"?>
<opnsense><trigger_initial_wizard/><system><hostname>OPNsense</hostname><domain>internal</domain></system><interfaces/></opnsense>
"""


class Upstream(t.NamedTuple):
    """What an upstream publishes in a folder: the packed image, the list, the signature; and the public key of it."""

    image: Path
    checksums: Path
    signature: Path
    key: str


def publish(folder: Path, signer: Signer, *, version: str = "26.7", offers: str = "") -> Upstream:
    """The image, as OPNsense publishes its own: the signature is of what is in the archive (build/nano.sh of opnsense/tools)."""
    packed = built_once(CACHE / f"opnsense-{_recipe(version, offers)}", lambda new: _build(new, version, offers))
    image = folder / f"{NAME}.bz2"
    shutil.copyfile(packed / f"{NAME}.bz2", image)
    checksums = folder / "OPNsense-26.7-checksums-amd64.sha256"
    checksums.write_text(f"SHA256 ({image.name}) = {hashlib.sha256(image.read_bytes()).hexdigest()}\n")
    signature = folder / f"{NAME}.sig"
    raw = subprocess.run(
        ("openssl", "dgst", "-sha256", "-sign", str(signer.private)),
        input=bz2.decompress(image.read_bytes()),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    signature.write_bytes(base64.encodebytes(raw))
    return Upstream(image, checksums, signature, signer.pem)


def _recipe(version: str, offers: str) -> str:
    parts = (
        Path(__file__).read_bytes(),
        API.read_bytes(),
        Path(tiny_vm.__file__).read_bytes(),
        version.encode(),
        offers.encode(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _build(folder: Path, version: str, offers: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".opnsense.") as name:
        work = Path(name)
        root, grub, kernel = work / "root", work / "grub", work / "kernel"
        _unpack(root, _with_libraries(_PYTHON))
        _unpack(grub, _with_libraries(_GRUB))
        _unpack(kernel, [tiny_vm.package_names()[0]])
        _fill(root, version, offers)
        _install_boot(root, next((kernel / "boot").glob("vmlinuz-*")))
        disk = work / NAME
        with open(disk, "wb") as stream:
            stream.truncate(_DISK_MIB << 20)
        size = (_DISK_MIB - _BEGIN_MIB) << 20
        run(
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-d",
            str(root),
            "-E",
            f"offset={_BEGIN_MIB << 20}",
            str(disk),
            f"{size >> 10}k",
        )
        _write_loader(disk, grub, size)
        with open(disk, "rb") as source, bz2.open(folder / f"{NAME}.bz2", "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target)


def _with_libraries(names: t.Sequence[str]) -> list[str]:
    """The packages *names*, with the libraries and the parts of Python that they depend on."""
    skip = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    found = run("apt-cache", "depends", "--recurse", *skip, *names).splitlines()
    wanted = [line for line in found if line.startswith(("lib", "zlib1g", "python3")) and "perl" not in line]
    return list(dict.fromkeys([*names, *wanted]))


def _unpack(root: Path, names: t.Sequence[str]) -> None:
    root.mkdir()
    packages = root.with_name(f"{root.name}.packages")
    packages.mkdir()
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        run("dpkg-deb", "-x", str(package), str(root))


def _fill(root: Path, version: str, offers: str) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / name, ignore_errors=True)
    python = next(path for path in sorted((root / "usr/bin").glob("python3.[0-9]*")) if path.name.count(".") == 1)
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to(python.name)
    for name in ("srv", "conf", "etc", "tmp", "proc", "sys", "dev", "usr/local/etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(API, root / "srv/opnsense_api.py")
    (root / "srv/version").write_text(version)
    (root / "srv/offers").write_text(offers)
    (root / "etc/udhcpc").write_text(_UDHCPC)
    (root / "etc/udhcpc").chmod(0o755)
    (root / "usr/local/etc/config.xml").write_text(_DEFAULT_CONFIG)
    certificate(root / "srv/web.pem")


def certificate(path: Path) -> None:
    """A certificate of its own with its key, as OPNsense makes one at its first start."""
    key = path.with_suffix(".key")
    words = ("-newkey", "rsa:2048", "-nodes", "-days", "397", "-subj", "/CN=OPNsense.internal")
    run("openssl", "req", "-x509", *words, "-keyout", str(key), "-out", str(path))
    with open(path, "a", encoding="ascii") as stream:
        stream.write(key.read_text())
    key.unlink()


def _install_boot(root: Path, kernel: Path) -> None:
    tiny = tiny_vm.tiny_vm()
    (root / "boot/grub").mkdir(parents=True)
    shutil.copyfile(kernel, root / "boot/vmlinuz")
    initrd = root / "boot/initrd"
    shutil.copyfile(tiny.initrd, initrd)
    with open(initrd, "ab") as stream:
        for name, text, mode in (
            ("etc/rc", _RC, 0o100755),
            ("etc/inittab", _INITTAB, 0o100644),
            ("etc/importer", _IMPORTER, 0o100755),
            ("etc/serve", _SERVE, 0o100755),
        ):
            stream.write(archive(name, text, behind=stream.tell(), mode=mode))
    (root / "boot/grub/grub.cfg").write_text(_GRUB_CFG.format(words=tiny.cmdline))


def _write_loader(disk: Path, grub: Path, size: int) -> None:
    """GRUB by hand, since no file of the host is to be mounted: its first sector, what that loads, and the one partition."""
    core = disk.with_name("core.img")
    modules = grub / "usr/lib/grub/i386-pc"
    libraries = ":".join(str(grub / folder) for folder in tiny_vm.LIBRARY_FOLDERS)
    words = ("-O", "i386-pc", "-d", str(modules), "-p", "(hd0,msdos1)/boot/grub", "-o", str(core), *_GRUB_MODULES)
    run(tiny_vm.loader(grub), "--library-path", libraries, str(grub / "usr/bin/grub-mkimage"), *words)
    first, rest = bytearray((modules / "boot.img").read_bytes()), bytearray(core.read_bytes())
    rest += b"\0" * (-len(rest) % 512)
    first[0x5C:0x64] = struct.pack("<Q", 1)
    first[0x66:0x68] = b"\x90\x90"
    rest[0x1F4:0x200] = struct.pack("<QHH", 2, len(rest) // 512 - 1, 0x820)
    entry = struct.pack(
        "<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", (_BEGIN_MIB << 20) // 512, size // 512
    )
    first[446:512] = entry + b"\0" * 48 + b"\x55\xaa"
    with open(disk, "r+b") as stream:
        stream.write(first + rest)
