# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary host: Debian 13 in a virtual machine, with what a container or the tests' own host cannot have.

systemd as the first process, control groups v2 alone, AppArmor, a kernel with modules, VLANs and device-mapper. Everything
that it needs is in its image, as nothing should be installed under emulation, and it is started from a snapshot of the booted
machine. Both are built once and kept in the build cache under what goes into them.

QEMU is run directly and with user-mode networking: nothing of this host is touched.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness import debian_images, tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.build_cache import built_once

SUITE = "trixie"
SNAPSHOT = "booted"
# A boot takes half a minute, what libvirt asks QEMU then another; both many times that on a host that is busy with other tests.
BOOT_SECONDS = 900
MAC = "52:54:00:79:00:01"
PACKAGES = (
    "apparmor", "ca-certificates", "dbus", "iputils-ping", "less", "libpam-systemd", "openssh-server",
    "python3", "quota", "systemd-sysv", "udev",
)  # fmt: skip
# What would start on its own and only cost time under emulation.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "logrotate.timer", "modprobe@drm.service", "systemd-pstore.service", "xfs_scrub_all.timer",
)  # fmt: skip

FILES = {
    "etc/fstab": "LABEL=rootfs / ext4 defaults 0 1\n",
    "etc/hostname": "hlor\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 hlor\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/ssh/sshd_config.d/lab.conf": "UsePAM no\nUseDNS no\n",
    "etc/systemd/network/10-lan.network": f"[Match]\nMACAddress={MAC}\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n",
    # An emulated CPU can take longer than the 90 s after which systemd gives up.
    "etc/systemd/system.conf.d/50-slow.conf": "[Manager]\nDefaultDeviceTimeoutSec=300s\nDefaultTimeoutStartSec=300s\n",
}


class Recipe(t.NamedTuple):
    """What an ordinary host is made of: its kernel's package, which modules find the disk, and what QEMU's command line has beside
    the plain one. ``{folder}`` is that of the machine.
    """

    name: str
    kernel: str
    modules: tuple[str, ...]
    cmdline: str = ""
    words: tuple[str, ...] = ()


PLAIN = Recipe("ordinary", "linux-image-cloud-amd64", ("virtio_blk",))
INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod $module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def machine(folder: Path, port: int, recipe: Recipe = PLAIN) -> list[str]:
    """QEMU's command line. A snapshot is loaded only by the one that it was saved under; the port may differ."""
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-machine", "q35,usb=off", "-cpu", "max"),
        *("-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-serial", f"file:{folder}/console"),
        *("-monitor", f"unix:{folder}/monitor,server=on,wait=off", "-pidfile", f"{folder}/pid", "-daemonize"),
        *("-kernel", f"{folder}/vmlinux", "-initrd", f"{folder}/initrd"),
        *(
            "-append",
            # While the kernel patches its own code one emulated processor may run half of it (QEMU 7.2, on a busy host): then it starts anew.
            f"root=/dev/vda rw console=ttyS0 quiet panic=1 mitigations=off tsc=reliable net.ifnames=0{recipe.cmdline}",
        ),
        *("-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", f"virtio-net-pci,netdev=n0,mac={MAC},romfile=", "-device", "virtio-rng-pci"),
        *("-drive", f"file={folder}/disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
        *(word.format(folder=folder) for word in recipe.words),
    ]


def built(
    packages: Sequence[str], cache: Path = debian_images.CACHE, *, recipe: Recipe = PLAIN, is_booted: bool = True
) -> Path:
    """The folder with disk, kernel and key, made when what goes in was never put together before. With the snapshot if it *is_booted*."""
    version = tiny_vm.run("qemu-system-x86_64", "--version")
    lines = sources.archive_lines(sources.host_sources(), SUITE)
    material = debian_images.container_root("bookworm", cache=cache)
    code = b"".join(Path(name or "").read_bytes() for name in (__file__, tiny_vm.__file__))
    rest = repr((recipe, sorted(packages), version, lines, material.parent.name)).encode()
    kind = recipe.name if is_booted else "machine"
    folder = cache / f"{kind}-{SUITE}-{hashlib.sha256(code + rest).hexdigest()[:12]}"

    def build_in(work: Path) -> None:
        try:
            build(work, packages, lines, material, recipe)
            if is_booted:
                take_snapshot(work, recipe)
        finally:
            stop(work)

    return built_once(folder, build_in)


def build(folder: Path, packages: Sequence[str], lines: Sequence[str], material: Path, recipe: Recipe) -> None:
    """Root, disk, kernel, initrd and key. No partition table and no boot loader: the kernel comes from outside, also at a reboot."""
    root, overlay = folder / "root", folder / "overlay"
    tiny_vm.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ordinary", "-f", str(folder / "key"))
    texts = {**FILES, "root/.ssh/authorized_keys": (folder / "key.pub").read_text()}
    for name, text in texts.items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (overlay / "root/.ssh").chmod(0o700)
    (overlay / "root").chmod(0o700)
    (overlay / "srv/share/debian").mkdir(parents=True)
    os.link(material, overlay / "srv/share/debian" / material.name)
    hooks = [
        f'cp -a --no-preserve=links {overlay}/. "$1/"',
        'chroot "$1" systemctl --quiet enable systemd-networkd.service',
        f'chroot "$1" systemctl --quiet mask {" ".join(MASKED)}',
        'chroot "$1" ssh-keygen -A > /dev/null',
        # Each profile is loaded at boot, which takes seconds under emulation: only those of guests and their tools stay.
        'find "$1/etc/apparmor.d" -maxdepth 1 -type f ! -name "lxc*" ! -name "*libvirt*" ! -name "*virtiofsd*" -delete',
        # Points at a file that does not exist; systemd-modules-load fails on it.
        'rm -f "$1/etc/modules-load.d/modules.conf"',
    ]
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    command += [f"--include={','.join(sorted({*PACKAGES, recipe.kernel, *packages}))}"]
    command += [f"--aptopt={setting.rstrip(';')}" for setting in sources.apt_settings()]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    command += [f"--customize-hook={hook}" for hook in hooks]
    subprocess.run([*command, SUITE, str(root), *lines], check=True)
    _write_kernel(root, folder, recipe.modules)
    with (folder / "disk.raw").open("wb") as disk:
        disk.truncate(8 * 2**30)
    tiny_vm.run("mke2fs", "-q", "-t", "ext4", "-L", "rootfs", "-d", str(root), str(folder / "disk.raw"))
    tiny_vm.run("qemu-img", "convert", "-O", "qcow2", str(folder / "disk.raw"), str(folder / "disk.qcow2"))
    (folder / "disk.raw").unlink()
    shutil.rmtree(root)
    shutil.rmtree(overlay)


def _write_kernel(root: Path, folder: Path, modules: Sequence[str]) -> None:
    """The kernel as an ELF file, and the smallest initrd that finds the disk."""
    release = next(path.name for path in (root / "boot").glob("vmlinuz-*")).removeprefix("vmlinuz-")
    (folder / "vmlinux").write_bytes(tiny_vm.elf_kernel((root / "boot" / f"vmlinuz-{release}").read_bytes()))
    entries = [tiny_vm.Entry(name, 0o040755) for name in ("bin", "dev", "modules", "root")]
    entries.append(tiny_vm.Entry("dev/console", 0o020600, device=(5, 1)))
    entries.append(tiny_vm.Entry("bin/busybox", 0o100755, Path("/bin/busybox").read_bytes()))
    entries.append(tiny_vm.Entry("init", 0o100755, INIT.encode()))
    for number, path in enumerate(tiny_vm.module_files(root, release, modules)):
        entries.append(tiny_vm.Entry(f"modules/{number:02}.ko", 0o100644, _unpacked(path)))
    with (folder / "initrd").open("wb") as stream:
        tiny_vm.write_newc(stream, entries)


def _unpacked(module: Path) -> bytes:
    programs = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
    if module.suffix not in programs:
        return module.read_bytes()
    return subprocess.run((programs[module.suffix], "-dc", str(module)), capture_output=True, check=True).stdout


def take_snapshot(folder: Path, recipe: Recipe) -> None:
    """Boot it once, wait until it is idle, and save it running."""
    port = free_port()
    tiny_vm.run(*machine(folder, port, recipe))
    wait_for_ssh(folder, port, BOOT_SECONDS)
    state = ssh(
        folder, port, "systemctl is-system-running --wait; systemctl --failed --plain --no-legend", timeout=BOOT_SECONDS
    )
    if state.stdout.split("\n")[0] != "running":
        raise RuntimeError(f"the machine is not well after its boot: {state.stdout}")
    # libvirt asks QEMU for all it can do when it is first spoken to.
    ssh(folder, port, "virsh -q capabilities > /dev/null; sync", timeout=BOOT_SECONDS)
    monitor(folder, f"savevm {SNAPSHOT}", 300)
    stop(folder)


def start(image: Path, folder: Path, recipe: Recipe = PLAIN) -> int:
    """A machine of its own from the snapshot, in *folder*. Returns the port of its SSH server at 127.0.0.1."""
    folder.mkdir(parents=True)
    for name in ("vmlinux", "initrd", "disk.qcow2", "key"):
        tiny_vm.run("cp", "--reflink=auto", "--sparse=always", str(image / name), str(folder / name))
    port = free_port()
    tiny_vm.run(*machine(folder, port, recipe), "-loadvm", SNAPSHOT)
    wait_for_ssh(folder, port, BOOT_SECONDS)
    # Its clock is that of the snapshot.
    ssh(folder, port, f"date -s @{int(time.time())}")
    return port


def stop(folder: Path) -> None:
    """End the machine of *folder*, if there is one."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int((folder / "pid").read_text())
        if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return t.cast(int, listener.getsockname()[1])


def ssh(folder: Path, port: int, command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
    argv = ["ssh", "-i", str(folder / "key"), "-p", str(port), *options, "-o", "ConnectTimeout=60", "root@127.0.0.1"]
    return subprocess.run([*argv, command], capture_output=True, text=True, timeout=timeout, check=False)


def wait_for_ssh(folder: Path, port: int, seconds: float) -> None:
    """Until it answers."""
    end = time.monotonic() + seconds
    while ssh(folder, port, "true").returncode:
        if time.monotonic() > end:
            raise RuntimeError(f"no SSH server within {seconds:g} s: {(folder / 'console').read_text()[-2000:]}")
        time.sleep(0.5)


def monitor(folder: Path, command: str, seconds: float) -> str:
    """What QEMU's monitor answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(folder / "monitor"))
        answer = "".join(_until_prompt(client))
        client.sendall(command.encode() + b"\n")
        answer = "".join(_until_prompt(client))
    if "Error" in answer:
        raise RuntimeError(answer)
    return answer


def _until_prompt(client: socket.socket) -> Iterator[str]:
    received = ""
    while not received.endswith("(qemu) "):
        piece = client.recv(4096).decode(errors="replace")
        if not piece:
            raise RuntimeError("QEMU ended")
        received += piece
    yield received


def main() -> int:
    """Build and start it, and say as JSON how it is reached; or end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("start", "stop"))
    parser.add_argument("folder", type=Path, help="where this machine lives; gone after stop")
    parser.add_argument("packages", nargs="*")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    if arguments.verb == "start":
        port = start(built(arguments.packages), folder)
        print(json.dumps({"address": "127.0.0.1", "port": port, "key": str(folder / "key")}))
    else:
        stop(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
