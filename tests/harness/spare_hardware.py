# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordinary host with devices to give away: an IOMMU, a network card in a slot of its own, and a USB stick.

Its kernel is Debian's own, as that for clouds has no USB. It is kept apart from the plain one, which most tests need.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness import debian_images, ordinary_vm, tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.build_cache import built_once

CARD_MAC = "52:54:00:79:00:02"
# What QEMU's own sticks say of themselves.
STICK_ID = "46f4:0001"
SERIAL = "SPARE1"
MODULES = ("virtio_pci", "virtio_blk", "ext4")
_CLOUD, _KERNEL = "linux-image-cloud-amd64", "linux-image-amd64"
_plain_machine = ordinary_vm.machine


def machine(folder: Path, port: int) -> list[str]:
    """The command line of the plain host, with more devices."""
    argv = _plain_machine(folder, port)
    words = argv.index("-append") + 1
    argv[words] += " intel_iommu=on iommu.strict=0"
    return [
        *argv,
        *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        *("-device", "pcie-root-port,id=spare,chassis=1,bus=pcie.0,addr=0x1c"),
        *("-netdev", "user,id=n1,restrict=on", "-device", f"e1000e,netdev=n1,mac={CARD_MAC},bus=spare,romfile="),
        # Any file is content enough; one that is never written to is no part of a snapshot.
        *("-drive", f"if=none,id=stick,file={folder}/initrd,format=raw,readonly=on", "-device", "qemu-xhci,id=usb"),
        *("-device", f"usb-storage,drive=stick,bus=usb.0,port=1,serial={SERIAL}"),
    ]


def write_kernel(root: Path, folder: Path) -> None:
    """That of Debian, which has the drivers of its disk as modules."""
    release = next(path.name for path in (root / "boot").glob("vmlinuz-*")).removeprefix("vmlinuz-")
    (folder / "vmlinux").write_bytes(tiny_vm.elf_kernel((root / "boot" / f"vmlinuz-{release}").read_bytes()))
    entries = [tiny_vm.Entry(name, 0o040755) for name in ("bin", "dev", "modules", "root")]
    entries.append(tiny_vm.Entry("dev/console", 0o020600, device=(5, 1)))
    entries.append(tiny_vm.Entry("bin/busybox", 0o100755, Path("/bin/busybox").read_bytes()))
    entries.append(tiny_vm.Entry("init", 0o100755, ordinary_vm.INIT.encode()))
    for number, path in enumerate(tiny_vm.module_files(root, release, MODULES)):
        entries.append(tiny_vm.Entry(f"modules/{number:02}.ko", 0o100644, ordinary_vm.unpacked(path)))
    with (folder / "initrd").open("wb") as stream:
        tiny_vm.write_newc(stream, entries)


@contextlib.contextmanager
def _in_force() -> Iterator[None]:
    """The recipe of the ordinary host with what is another one here."""
    packages = tuple(_KERNEL if name == _CLOUD else name for name in ordinary_vm.PACKAGES)
    with mock.patch.multiple(ordinary_vm, PACKAGES=packages, machine=machine, write_kernel=write_kernel):
        yield


def built(packages: Sequence[str], cache: Path = debian_images.CACHE) -> Path:
    """The folder with disk, kernel, key and snapshot, made when what goes in was never put together before."""
    version = tiny_vm.run("qemu-system-x86_64", "--version")
    lines = sources.archive_lines(sources.host_sources(), ordinary_vm.SUITE)
    material = debian_images.container_root("bookworm", cache=cache)
    code = b"".join(Path(name or "").read_bytes() for name in (__file__, ordinary_vm.__file__, tiny_vm.__file__))
    recipe = repr((sorted(packages), version, lines, material.parent.name)).encode()
    folder = cache / f"spare-{ordinary_vm.SUITE}-{hashlib.sha256(code + recipe).hexdigest()[:12]}"

    def build_in(work: Path) -> None:
        try:
            with _in_force():
                ordinary_vm.build(work, packages, lines, material)
                ordinary_vm.take_snapshot(work)
        finally:
            ordinary_vm.stop(work)

    return built_once(folder, build_in)


def start(image: Path, folder: Path) -> int:
    """A machine of its own from the snapshot, in *folder*. Returns the port of its SSH server at 127.0.0.1."""
    with _in_force():
        return ordinary_vm.start(image, folder)
