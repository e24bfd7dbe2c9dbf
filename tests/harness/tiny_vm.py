# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel and initrd of the tests' tiny virtual machine: seconds to boot, and it answers like a real guest.

Debian's own kernel and programs, in one uncompressed initramfs: busybox as init, QEMU guest agent, dropbear, DHCP on
every network card (also a hot-plugged one), hot-plugged CPUs and memory taken into use, power button and
``guest-shutdown`` obeyed, a root shell on the serial console.

Words on the kernel command line that it reads: ``tiny.ip=ADDRESS/PREFIX[,GATEWAY]`` (static address of the first card
instead of DHCP) and ``tiny.name=HOSTNAME``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once

# The build cache may lie below a home directory; QEMU's own user must be able to reach what a domain boots from.
PUBLISHED = Path("/var/cache/homelab_hybrid/tiny")
# The unit of measure is boot time under TCG: everything that only matters on real CPUs is switched off.
CMDLINE = "console=ttyS0 quiet mitigations=off nokaslr audit=0 no_timer_check tsc=reliable panic=-1"

PROGRAMS = ("busybox-static", "dropbear-bin", "qemu-guest-agent")
MODULES_FOR_THE_AGENT = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "button", "evdev")
MODULES_AFTERWARDS = (
    "virtio_scsi", "sd_mod", "sr_mod", "virtio_balloon", "virtio_mem", "virtiofs", "9pnet_virtio", "9p", "ext4",
    "isofs", "vfat", "nls_ascii", "virtio_rng", "e1000", "e1000e", "xhci_pci", "usb_storage", "i6300esb", "ahci",
    "vmw_vsock_virtio_transport",
)  # fmt: skip
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib64/ld-linux-x86-64.so.2"

INITTAB = """\
::sysinit:/etc/rc
::respawn:/etc/hotplug
ttyS0::respawn:-/bin/sh
::ctrlaltdel:/bin/poweroff -f
"""

RC = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
while read module; do insmod $module; done < /etc/modules.agent 2>/dev/null
for port in /sys/class/virtio-ports/*; do
    [ -e $port/name ] && ln -s ../${port##*/} "/dev/virtio-ports/$(cat $port/name)"
done
ip link set lo up
for word in $(cat /proc/cmdline); do
    case $word in
        tiny.name=*) hostname "${word#*=}" ;;
        tiny.ip=*) echo "${word#*=}" | tr , ' ' > /run/static ;;
    esac
done
[ -e /dev/virtio-ports/org.qemu.guest_agent.0 ] &&
    qemu-ga -d -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qemu-ga.pid
dropbear -s -E -r /etc/dropbear/host_key 2>/dev/null
acpid -l /run/acpid.log
echo online > /sys/devices/system/memory/auto_online_blocks 2>/dev/null
exit 0
"""

HOTPLUG = """\
#!/bin/sh
# Every second: new CPUs are used (once: what the agent takes offline stays so), new network cards are configured.
configure() {
    ip link set $1 up
    if [ $1 = eth0 ] && [ -s /run/static ]; then
        read address gateway < /run/static
        ip addr add $address dev $1
        [ -z "$gateway" ] || ip route add default via $gateway
    else
        udhcpc -b -S -t 3 -T 1 -A 2 -i $1 -s /etc/udhcpc -x hostname:$(hostname) -p /run/udhcpc.$1 >/dev/null 2>&1
    fi
}
loaded=
while :; do
    for seen in /run/cpu[0-9]*; do
        [ -e "/sys/devices/system/cpu/${seen##*/}" ] || rm -f $seen
    done
    for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
        [ -e $cpu/online ] && [ ! -e /run/${cpu##*/} ] && echo 1 > $cpu/online && echo > /run/${cpu##*/}
    done
    for card in /sys/class/net/eth*; do
        name=${card##*/}
        [ -e $card ] || continue
        index=$(cat $card/ifindex)
        [ -e /run/card.$index ] && continue
        echo > /run/card.$index
        configure $name
    done
    if [ -z "$loaded" ]; then
        loaded=1
        while read module; do insmod $module; done < /etc/modules.later 2>/dev/null
    fi
    sleep 1
done
"""

UDHCPC = """\
#!/bin/sh
case $1 in
    deconfig) ip addr flush dev $interface ;;
    bound|renew)
        ip addr replace $ip/$mask dev $interface
        [ -z "$router" ] || ip route replace default via ${router%% *} dev $interface
        for server in $dns; do echo nameserver $server; done > /etc/resolv.conf ;;
esac
"""

# qemu-ga runs it as `shutdown -h -P|-H|-r +0 MESSAGE`.
SHUTDOWN = """\
#!/bin/sh
sync
for word in "$@"; do
    [ "$word" = -r ] && exec /bin/reboot -f
done
exec /bin/poweroff -f
"""


@dataclasses.dataclass(frozen=True)
class TinyVM:
    """What a test puts into ``<os>``: files that libvirt-qemu can read, and the words of the command line."""

    kernel: Path
    initrd: Path
    cmdline: str
    ssh_key: Path
    """Private key of root inside the guest (0600)."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One member of the initramfs."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a child; RuntimeError with its standard error if it fails."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: rc {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def tiny_vm(cache: Path = CACHE, published: Path = PUBLISHED) -> TinyVM:
    """Kernel and initrd from ``cache``, built if this recipe with these package versions was never built before."""
    cache = cache.resolve()
    try:
        offered = offered_packages()
    except RuntimeError:
        # Without the network the newest build of this very recipe is as good.
        offered = None
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    if offered is None:
        built = sorted(cache.glob(f"tiny-{recipe}-*"), key=os.path.getmtime)
        if not built:
            raise RuntimeError("the packages of the tiny VM cannot be listed: run apt-get update")
        folder = built[-1]
    else:
        versions = hashlib.sha256("\n".join(sorted(offered)).encode()).hexdigest()[:12]
        folder = cache / f"tiny-{recipe}-{versions}"
        built_once(folder, build)
    return publish(folder, published / folder.name)


def publish(folder: Path, target: Path) -> TinyVM:
    """Copy a build to where QEMU's user can read it."""

    def copy(fresh: Path) -> None:
        for name in ("vmlinux", "initrd", "ssh_key"):
            shutil.copy2(folder / name, fresh / name)

    built_once(target, copy)
    return TinyVM(target / "vmlinux", target / "initrd", CMDLINE, target / "ssh_key")


def offered_packages() -> list[str]:
    """``NAME HASH`` of every package file that goes in, as apt would fetch it now."""
    lines = run("apt-get", "download", "--print-uris", *package_names()).splitlines()
    return [" ".join((line.split()[1], line.split()[-1])) for line in lines]


def package_names() -> list[str]:
    """The kernel that Debian's meta package points at, the programs, and the libraries that these depend on."""
    kernel = re.search(r"Depends: (linux-image-[0-9]\S+)", run("apt-cache", "depends", "linux-image-amd64"))
    if not kernel:
        raise RuntimeError("apt offers no linux-image-amd64: run apt-get update")
    skip = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    found = run("apt-cache", "depends", "--recurse", *skip, *PROGRAMS)
    libraries = {line for line in found.splitlines() if re.match(r"z?lib", line) and "perl" not in line}
    return [kernel[1], *PROGRAMS, *sorted(libraries)]


def build(folder: Path) -> None:
    """Fill ``folder`` with vmlinux, initrd and ssh_key."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tiny.") as name:
        work = Path(name)
        packages, root = work / "packages", work / "root"
        for path in (packages, root):
            path.mkdir()
        # As root apt drops to the user _apt, who may not enter a private build folder.
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *package_names(), cwd=packages)
        for package in sorted(packages.glob("*.deb")):
            run("dpkg-deb", "-x", str(package), str(root))
        release = next(path.name for path in (root / "boot").glob("vmlinuz-*")).removeprefix("vmlinuz-")
        (folder / "vmlinux").write_bytes(elf_kernel((root / "boot" / f"vmlinuz-{release}").read_bytes()))
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tiny", "-f", str(folder / "ssh_key"))
        with open(folder / "initrd", "wb") as stream:
            write_newc(stream, entries(root, release, (folder / "ssh_key.pub").read_bytes(), work))
        for path in (folder / "vmlinux", folder / "initrd"):
            path.chmod(0o644)


def elf_kernel(image: bytes) -> bytes:
    """The ELF inside a bzImage: unpacking it once here saves every boot some six seconds under TCG."""
    offset = image.find(b"\xfd7zXZ\x00")
    if offset >= 0:
        kernel = lzma.LZMADecompressor().decompress(image[offset:])
    else:
        offset = image.find(b"\x28\xb5\x2f\xfd")
        if offset < 0:
            raise RuntimeError("the kernel is packed neither with xz nor with zstd")
        # zstd complains about what follows the frame, after it has written the kernel.
        kernel = subprocess.run(("zstd", "-dcq"), input=image[offset:], capture_output=True, check=False).stdout
    if not kernel.startswith(b"\x7fELF"):
        raise RuntimeError("what is packed in the kernel image is no ELF file")
    return kernel


def entries(root: Path, release: str, public_key: bytes, work: Path) -> Iterator[Entry]:
    """Everything that goes into the initramfs, folders before what is in them."""
    files = dict(program_files(root))
    files.update(configuration(public_key, host_key(root, work)))
    for name, modules in (("agent", MODULES_FOR_THE_AGENT), ("later", MODULES_AFTERWARDS)):
        packed = {f"modules/{path.name.removesuffix('.xz')}": path for path in module_files(root, release, modules)}
        chosen = [path for path in packed if path not in files]
        files[f"etc/modules.{name}"] = (0o644, "".join(f"/{path}\n" for path in chosen).encode())
        for path in chosen:
            data = packed[path].read_bytes()
            files[path] = (0o644, lzma.decompress(data) if packed[path].suffix == ".xz" else data)
    folders = {"dev", "proc", "sys", "run", "tmp", "mnt", "var", "var/log"}
    for path in files:
        folders.update(str(parent) for parent in Path(path).parents)
    for folder in sorted(folders - {"."}):
        yield Entry(folder, stat.S_IFDIR | (0o700 if folder in ("root", "root/.ssh") else 0o755))
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("init", stat.S_IFLNK | 0o777, b"bin/busybox")
    for path, (mode, data) in sorted(files.items()):
        yield Entry(path, stat.S_IFREG | mode, data)
    applets = subprocess.run((root / "bin/busybox", "--list"), capture_output=True, text=True, check=True).stdout
    for applet in sorted(set(applets.split()) - {"busybox", "shutdown"}):
        yield Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")


def configuration(public_key: bytes, dropbear_key: bytes) -> dict[str, tuple[int, bytes]]:
    """The files that are written here, by path: mode and content."""
    scripts = {
        "etc/rc": RC,
        "etc/hotplug": HOTPLUG,
        "etc/udhcpc": UDHCPC,
        "sbin/shutdown": SHUTDOWN,
        # The path that busybox acpid runs for the power button.
        "etc/acpi/PWRF/00000080": "#!/bin/sh\nexec /sbin/shutdown -h\n",
    }
    texts = {
        "etc/inittab": INITTAB,
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/shells": "/bin/sh\n",
        "etc/profile": "export PATH=/bin:/sbin:/usr/sbin\n",
        "etc/os-release": 'ID=tiny\nNAME="Tiny VM"\nPRETTY_NAME="Tiny VM"\nVERSION_ID=1\n',
    }
    return {
        **{path: (0o755, text.encode()) for path, text in scripts.items()},
        **{path: (0o644, text.encode()) for path, text in texts.items()},
        "etc/shadow": (0o600, b"root:*:1:0:99999:7:::\n"),
        "root/.ssh/authorized_keys": (0o600, public_key),
        "etc/dropbear/host_key": (0o600, dropbear_key),
    }


def library_path(root: Path) -> str:
    """Where the unpacked packages keep their libraries."""
    return ":".join(str(root / folder) for folder in LIBRARY_FOLDERS)


def host_key(root: Path, work: Path) -> bytes:
    """An ssh host key made now: no entropy and no time is spent on it in each boot."""
    target = work / "host_key"
    program = str(root / "usr/bin/dropbearkey")
    run(loader(root), "--library-path", library_path(root), program, "-t", "ed25519", "-f", str(target))
    return target.read_bytes()


def loader(root: Path) -> str:
    """The dynamic loader of the unpacked libc."""
    return str(next(path for path in (root / LOADER, root / "usr" / LOADER) if path.exists()))


def program_files(root: Path) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """The programs and the libraries that they load, as (path in the initramfs, (mode, content))."""
    yield "bin/busybox", (0o755, (root / "bin/busybox").read_bytes())
    for program in ("usr/sbin/dropbear", "usr/sbin/qemu-ga"):
        yield program, (0o755, (root / program).read_bytes())
        listing = run(loader(root), "--library-path", library_path(root), "--list", str(root / program))
        for library in map(Path, re.findall(r"=> (\S+)", listing)):
            if not library.is_relative_to(root):
                raise RuntimeError(f"{program}: {library} of the host would be used, its package was not fetched")
            if library.name != Path(LOADER).name:
                yield f"lib/x86_64-linux-gnu/{library.name}", (0o755, library.read_bytes())
    yield LOADER, (0o755, Path(loader(root)).read_bytes())


def module_files(root: Path, release: str, modules: Sequence[str]) -> list[Path]:
    """Kernel modules with all that they need, in the order in which they load; what is built in needs no file."""
    if not (root / "lib" / "modules").exists():
        (root / "lib").mkdir(exist_ok=True)
        (root / "lib" / "modules").symlink_to("../usr/lib/modules")
    if not (root / "lib" / "modules" / release / "modules.dep").exists():
        run("depmod", "-b", str(root), release)
    ordered: dict[Path, None] = {}
    for module in modules:
        shown = run("modprobe", "-S", release, "-d", str(root), "--show-depends", module)
        for path in re.findall(r"^insmod (\S+)", shown, re.MULTILINE):
            ordered[Path(path)] = None
    return list(ordered)


def write_newc(stream: t.BinaryIO, members: Iterable[Entry]) -> None:
    """An initramfs in the kernel's format (cpio newc), all of it owned by root and without dates."""
    inode = 0
    for inode, member in enumerate(members, 1):
        _write_member(stream, inode, member)
    _write_member(stream, inode + 1, Entry("TRAILER!!!", 0))


def _write_member(stream: t.BinaryIO, inode: int, member: Entry) -> None:
    name = member.path.encode() + b"\0"
    numbers = (inode, member.mode, 0, 0, 1, 0, len(member.data), 0, 0, *member.device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers) + name
    stream.write(header + b"\0" * (-len(header) % 4))
    stream.write(member.data + b"\0" * (-len(member.data) % 4))


def main() -> int:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description="Build the tests' tiny virtual machine.")
    parser.add_argument("cache", type=Path, help="folder that keeps the builds")
    vm = tiny_vm(parser.parse_args().cache)
    print(vm.kernel, vm.initrd, vm.cmdline, vm.ssh_key, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
