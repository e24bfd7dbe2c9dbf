# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Debian and Ubuntu roots and Debian disks from the host's own apt sources: mmdebstrap and mke2fs, without loop devices and mounts."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import typing as t
import uuid

from .._core import atomic, command
from .._core.errors import ApplyError
from .._core.plan import Step
from . import sources

# A slow mirror is slow, a dead one is apt's to give up on: this only ends what would hold the image's lock for ever.
_BUILD_SECONDS = 3600.0

# What a guest needs to come up as `running` with a static address or DHCP, to be managed by Ansible and to be entered.
# kmod: systemd-modules-load fails without it, and the guest ends `degraded`.
_COMMON = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd-sysv",
)
CONTAINER_PACKAGES = _COMMON
# Debian's cloud kernel has no AHCI and no USB: the seed and all disks of such a guest are virtio.
VM_PACKAGES = (
    *_COMMON,
    "cloud-guest-utils",
    "cloud-init",
    "e2fsprogs",
    "fdisk",
    "grub-pc-bin",
    "grub2-common",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "qemu-guest-agent",
    "systemd-resolved",
    "udev",
)
# What starts a disk by UEFI, with secure boot too: all of it is signed, the kernel above as well.
UEFI_PACKAGES = ("grub-efi-amd64-bin", "grub-efi-amd64-signed", "shim-signed")
# Manuals and translations are half of the files of a small root, and nobody reads them in a guest.
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_APT_OPTIONS = ('Acquire::Languages "none"',)

_SSH_HOST_KEYS = """\
[Unit]
Description=Make the host keys of OpenSSH that an image must not carry
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
After=cloud-init.service
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
RequiredBy=ssh.service
"""

_COMMON_FILES = {
    "etc/systemd/system/ssh-host-keys.service": _SSH_HOST_KEYS,
    # systemd's own range reaches beyond the ids of an unprivileged container, whose kernel then refuses it: only root could ping.
    "etc/sysctl.d/50-ping-group-range.conf": "net.ipv4.ping_group_range = 0 65535\n",
}

_VM_FILES = {
    "etc/default/grub": (
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=\n"
        'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"\nGRUB_TERMINAL="console serial"\n'
        'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
    ),
    # A seed of our own or from a config drive, nothing on the network; the sources of the image stay; no locales are in it.
    "etc/cloud/cloud.cfg.d/20_homelab_hybrid.cfg": (
        "datasource_list: [NoCloud, ConfigDrive, None]\napt: {preserve_sources_list: true}\nlocale: false\n"
        "ssh_genkeytypes: [ed25519, ecdsa]\n"
    ),
    "etc/default/locale": "LANG=C.UTF-8\n",
    # An emulated CPU can take longer than the 90 s after which systemd gives a disk or a console up.
    "etc/systemd/system.conf.d/50-devices.conf": "[Manager]\nDefaultDeviceTimeoutSec=300s\n",
}

# Both scripts get the root as $1 and the folder of the files above as $2; the chroot has /proc and /dev while they run.
_FINISH = """\
set -eu
root=$1 files=$2
cp -a "$files/." "$root/"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
chroot "$root" update-ca-certificates > /dev/null
chroot "$root" systemctl --quiet enable ssh-host-keys.service systemd-networkd.service
"""
# A container waits for its address by its creator; one without a .network file would wait here in vain and end `degraded`.
_FINISH_CONTAINER = """\
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service
"""
_FINISH_VM = """\
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
chroot "$root" systemctl --quiet enable systemd-resolved.service
mkdir -p "$root/boot/grub/i386-pc"
cp "$root"/usr/lib/grub/i386-pc/*.mod "$root"/usr/lib/grub/i386-pc/*.lst "$root/boot/grub/i386-pc/"
chroot "$root" grub-editenv /boot/grub/grubenv create
chroot "$root" grub-mkimage -O i386-pc -p /boot/grub -c /boot/grub/early.cfg -o /boot/grub/i386-pc/core.img \\
    biosdisk part_gpt ext2 search search_fs_uuid configfile normal linux serial terminal echo test ls
"""

_SECTOR = 512
_MIB = 1024 * 1024
# GPT types: BIOS boot and EFI system partition, Linux root (x86-64). Numbered as in Debian's cloud images; the root is last, so it can grow.
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_BOOT_START = 2048
_ROOT_START = 8192
_EFI_SECTORS = 131072
# What a firmware without boot entries starts from a disk, and the names by which shim goes on.
_EFI_FILES = {
    "usr/lib/shim/shimx64.efi.signed": "BOOTX64.EFI",
    "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grubx64.efi",
    "usr/lib/shim/mmx64.efi.signed": "mmx64.efi",
}
_LEAST_DISK = 2048 * _MIB


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What an image is built of: a release of Debian or Ubuntu and the packages beside those that every guest needs."""

    suite: str
    packages: tuple[str, ...] = ()
    firmware: str = "bios"


def build_container_root(recipe: Recipe, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write the root file system of a container to the new file *target* (tar.zst, numeric owners, extended attributes).

    Everything temporary lies beside *target*, whose folder belongs to this attempt alone.

    :raises ObserveError: when the host has no mirror of the archive in its apt sources.
    :raises ApplyError: when mmdebstrap fails; it says what apt said.
    """
    files = _write_files(os.path.dirname(target), _COMMON_FILES)
    script = _write_script(os.path.dirname(target), _FINISH + _FINISH_CONTAINER)
    yield Step("build prepared")
    _debootstrap(recipe, CONTAINER_PACKAGES, target, script, files, keep_fds)
    shutil.rmtree(files)
    os.unlink(script)
    yield Step("root built")


def build_vm_disk(recipe: Recipe, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Write a bootable disk (qcow2, GPT) to the new file *target*. Each starts by BIOS, one for UEFI by both.

    Everything temporary lies beside *target*, whose folder belongs to this attempt alone.

    :raises ObserveError: when the host has no mirror of the archive in its apt sources.
    :raises ApplyError, CommandError: when one of the programs fails.
    """
    folder = os.path.dirname(target)
    root, disk = os.path.join(folder, "root"), os.path.join(folder, "disk.raw")
    root_id = str(uuid.uuid4())
    files = _write_files(folder, {**_COMMON_FILES, **_VM_FILES, **_boot_files(root_id)})
    script = _write_script(folder, _FINISH + _FINISH_VM)
    yield Step("build prepared")
    has_uefi = recipe.firmware == "uefi"
    packages = (*VM_PACKAGES, *UEFI_PACKAGES) if has_uefi else VM_PACKAGES
    _debootstrap(recipe, packages, root, script, files, keep_fds)
    yield Step("root built")
    efi = _write_efi_system(recipe, root, root_id, keep_fds) if has_uefi else None
    _write_disk(root, root_id, disk, efi, keep_fds)
    yield Step("disk written")
    command.run(["qemu-img", "convert", "-q", "-O", "qcow2", disk, target], keep_fds=keep_fds)
    os.unlink(disk)
    shutil.rmtree(root)
    shutil.rmtree(files)
    os.unlink(script)
    yield Step("disk converted")


def _debootstrap(
    recipe: Recipe, packages: t.Sequence[str], target: str, script: str, files: str, keep_fds: t.Sequence[int]
) -> None:
    lines = sources.archive_lines(sources.host_sources(), recipe.suite)
    settings = (*_APT_OPTIONS, *(line.rstrip(";") for line in sources.apt_settings()))
    folder = os.path.dirname(target)
    argv = [
        # It mounts /proc, /sys and nodes of /dev into the root that it makes. Whoever cleans up behind a build that was killed
        # would else delete the host's own files through the mounts that stayed.
        *command.ALONE,
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join(sorted({*packages, *recipe.packages}))}",
        *(f"--aptopt={setting}" for setting in settings),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        f'--customize-hook=sh {script} "$1" {files}',
        *(recipe.suite, target, *lines),
    ]
    try:
        command.run(argv, env={"TMPDIR": folder}, keep_fds=keep_fds, timeout=_BUILD_SECONDS)
    except command.CommandError as exc:
        told = _complaints(exc.stderr)
        raise ApplyError(
            f"mmdebstrap could not build {sources.archive_of(recipe.suite).name} {recipe.suite}: {told}", rc=exc.rc
        ) from exc


def _complaints(stderr: str) -> str:
    """What apt and mmdebstrap call an error; without mmdebstrap's repetition of a command line of apt's."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    told = [line for line in errors if not line.startswith(("setup failed", "mmdebstrap failed"))]
    return "; ".join(dict.fromkeys(told[:4] or lines[-4:])) or "no message"


def _write_files(folder: str, texts: t.Mapping[str, str]) -> str:
    """The files that go into the root as they are, the host's own certificate authorities among them."""
    files = os.path.join(folder, "files")
    for path, text in texts.items():
        atomic.write_file(os.path.join(files, path), text)
    for certificate in sources.local_authorities():
        with open(certificate, "rb") as stream:
            atomic.write_file(os.path.join(files, certificate.lstrip("/")), stream.read())
    for parent, dummy, dummy in os.walk(files):
        os.chmod(parent, 0o755)
    return files


def _write_script(folder: str, text: str) -> str:
    script = os.path.join(folder, "finish.sh")
    atomic.write_file(script, text)
    return script


def _boot_files(root_id: str) -> dict[str, str]:
    """What names the root file system by its id: fstab, and the menu until the guest's first update-grub writes its own."""
    search = f"search --no-floppy --fs-uuid --set=root {root_id}\n"
    return {
        "etc/fstab": f"UUID={root_id} / ext4 defaults,discard,errors=remount-ro 0 1\n",
        "boot/grub/early.cfg": search + "set prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n",
        # The links follow the newest kernel, so this menu outlives kernel updates.
        "boot/grub/grub.cfg": (
            "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n"
            f"{search}linux /vmlinuz root=UUID={root_id} ro console=tty0 console=ttyS0,115200\ninitrd /initrd.img\nboot\n"
        ),
    }


def _write_efi_system(recipe: Recipe, root: str, root_id: str, keep_fds: t.Sequence[int]) -> str:
    """The EFI system partition as a file beside *root*: the signed shim, the signed GRUB, and the way to the menu in the root."""
    image = os.path.join(os.path.dirname(root), "efi.fat")
    with open(image, "wb") as stream:
        stream.truncate(_EFI_SECTORS * _SECTOR)
    # The signed GRUB looks in the folder of its distribution alone.
    name = sources.archive_of(recipe.suite).name.lower()
    menu = os.path.join(os.path.dirname(root), "efi.cfg")
    atomic.write_file(menu, _boot_files(root_id)["boot/grub/early.cfg"])
    command.run(["mkfs.vfat", "-n", "ESP", image], keep_fds=keep_fds)
    command.run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT", f"::/EFI/{name}"], keep_fds=keep_fds)
    for path, target in _EFI_FILES.items():
        command.run(["mcopy", "-i", image, os.path.join(root, path), f"::/EFI/BOOT/{target}"], keep_fds=keep_fds)
    command.run(["mcopy", "-i", image, menu, f"::/EFI/{name}/grub.cfg"], keep_fds=keep_fds)
    os.unlink(menu)
    return image


def _write_disk(root: str, root_id: str, disk: str, efi: str | None, keep_fds: t.Sequence[int]) -> None:
    size = disk_size(tree_size(root))
    with open(disk, "wb") as stream:
        stream.truncate(size)
    # The EFI system partition lies where the root does without one.
    start = _ROOT_START + (_EFI_SECTORS if efi else 0)
    system = f"15: start={_ROOT_START}, size={_EFI_SECTORS}, type={_EFI_SYSTEM}, name=esp\n" if efi else ""
    table = (
        f"label: gpt\n14: start={_BOOT_START}, size={_ROOT_START - _BOOT_START}, type={_BIOS_BOOT}, name=bios\n{system}"
        f"1: start={start}, type={_LINUX_ROOT}, name=root\n"
    )
    command.run(["sfdisk", "--quiet", disk], input=table, keep_fds=keep_fds)
    # The last MiB is the partition table's, for its copy.
    blocks = f"{(size - start * _SECTOR) // 1024 - 1024}k"
    # GRUB 2.06 of Debian 12 reads neither feature; newer mke2fs would switch them on.
    form = ("-t", "ext4", "-O", "^orphan_file,^metadata_csum_seed", "-U", root_id, "-L", "root", "-d", root)
    extended = f"offset={start * _SECTOR},lazy_itable_init=0,lazy_journal_init=0"
    command.run(["mke2fs", "-q", *form, "-E", extended, disk, blocks], keep_fds=keep_fds)
    if efi:
        whole = [f"if={efi}", f"of={disk}", "bs=1M", f"seek={_ROOT_START * _SECTOR // _MIB}", "conv=notrunc,sparse"]
        command.run(["dd", "status=none", *whole], keep_fds=keep_fds)
        os.unlink(efi)
    grub = os.path.join(root, "usr/lib/grub/i386-pc/boot.img")
    _write_boot_loader(disk, grub, os.path.join(root, "boot/grub/i386-pc/core.img"))


def tree_size(folder: str) -> int:
    """Bytes that the files below *folder* take, in blocks of 4 KiB, hard links counted once."""
    seen: set[int] = set()
    total = 0
    for parent, names, files in os.walk(folder):
        for name in names + files:
            status = os.lstat(os.path.join(parent, name))
            if status.st_nlink > 1 and not os.path.isdir(os.path.join(parent, name)):
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total += -(-status.st_size // 4096) * 4096 + 256
    return total


def disk_size(content: int) -> int:
    """The size of a disk for *content* bytes of files: a third more and room for updates, in whole GiB, at least 2."""
    gib = 1024 * _MIB
    return max(_LEAST_DISK, -(-(content * 4 // 3 + 512 * _MIB) // gib) * gib)


def _write_boot_loader(disk: str, boot_image: str, core_image: str) -> None:
    """GRUB for a BIOS, as grub-bios-setup would write it to a device: boot.img into sector 0, core.img into its partition.

    boot.img has the sector of core.img at 0x5c and a jump at 0x66 that a hard disk needs blanked; the first sector of
    core.img has at 0x1f4 where and how long the rest is, and the segment that it is loaded to.
    """
    with open(boot_image, "rb") as stream:
        boot = bytearray(stream.read())
    with open(core_image, "rb") as stream:
        core = bytearray(stream.read())
    core += b"\0" * (-len(core) % _SECTOR)
    if len(core) > (_ROOT_START - _BOOT_START) * _SECTOR:
        raise ApplyError(f"GRUB's core image of {len(core)} bytes does not fit into its partition")
    boot[0x5C:0x64] = struct.pack("<Q", _BOOT_START)
    boot[0x66:0x68] = b"\x90\x90"
    core[0x1F4:0x200] = struct.pack("<QHH", _BOOT_START + 1, len(core) // _SECTOR - 1, 0x820)
    with open(disk, "r+b") as stream:
        # The partition table begins behind the first 440 bytes.
        stream.write(boot[:440])
        stream.seek(_BOOT_START * _SECTOR)
        stream.write(core)
        stream.flush()
        os.fsync(stream.fileno())
