# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with two disks in one of two pools, raw on btrfs or qcow2 in a plain folder. qemu-io writes and reads them."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, pools
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, command, definition, state_of, virsh

NAME = f"{machines.PREFIX}-base"
BTRFS = f"{machines.PREFIX}-btrfs"
FORMATS = {BTRFS: "raw", machines.POOL: "qcow2"}
DISKS = ("root", "data")


@contextlib.contextmanager
def surroundings() -> t.Iterator[dict[str, Path]]:
    """Both pools, and what ``machines.surroundings`` makes, for as long as it lasts. Yields their folders by name."""
    with machines.surroundings() as beside, pools.btrfs(beside.parent, size="512M") as point:
        outcome = converge_now(StoragePool(), {"name": BTRFS, "type": "btrfs", "path": str(point / "pool")})
        assert outcome.error is None, outcome.error
        try:
            yield {machines.POOL: beside, BTRFS: point / "pool"}
        finally:
            machines.remove_machines()
            outcome = converge_now(StoragePool(), {"name": BTRFS, "state": "absent", "allow": ["delete_data"]})
        assert outcome.error is None, outcome.error


def clean(folders: t.Mapping[str, Path]) -> None:
    """Remove every machine of the tests with its disks and snapshots."""
    machines.remove_machines()
    for path in Path(paths.SNAPSHOTS).glob(f"{machines.PREFIX}*"):
        shutil.rmtree(path)
    for path in folders[BTRFS].iterdir():
        path.unlink()


def make(pool: str, state: str = "stopped") -> None:
    disks = [{"name": "root", "pool": pool, "size": "2M"}, {"name": "data", "pool": pool, "size": "1M"}]
    outcome = converge_now(KvmVm(), {"name": NAME, "state": "stopped", **PAPER, "disks": disks})
    assert outcome.error is None, outcome.error
    if state == "started":
        virsh("start", NAME)


def path_of(pool: str, folder: Path, disk: str, name: str = NAME, end: str = "") -> Path:
    """The file of a disk, or with ``@SNAPSHOT`` as *end* of its snapshot."""
    return folder / f"{name}.{disk}{end}.{FORMATS[pool]}"


def write(pool: str, folder: Path, pattern: int, name: str = NAME) -> None:
    """What a machine writes, done while it is off."""
    was_running = state_of(name) == "running"
    if was_running:
        virsh("destroy", name)
    for disk in DISKS:
        path = path_of(pool, folder, disk, name)
        command("qemu-io", "-f", FORMATS[pool], "-c", f"write -P {pattern} 0 64k", str(path))
    if was_running:
        virsh("start", name)


def holds(pool: str, folder: Path, pattern: int, name: str = NAME, end: str = "") -> bool:
    """Whether both disks, or both of their snapshots, have *pattern*."""
    told = []
    for disk in DISKS:
        argv = ["qemu-io", "-U", "-r", "-f", FORMATS[pool], "-c", f"read -P {pattern} 0 64k"]
        told.append(command(*argv, str(path_of(pool, folder, disk, name, end)), check=False))
    assert all("read 65536/65536" in each for each in told), told
    return not any("verification failed" in each for each in told)


# See the fixture ``firmware``.
needs_firmware = pytest.mark.skipif(
    not (Path("/usr/bin/swtpm").exists() and Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists()),
    reason="needs swtpm and OVMF",
)


@contextlib.contextmanager
def firmware(folder: Path) -> t.Iterator[dict[str, Path]]:
    """The machine, which is off, gets UEFI and a TPM for as long as it lasts. Yields files of both that a test may write to."""
    root = definition(NAME)
    node = root.find("os")
    assert node is not None
    loader = ElementTree.SubElement(node, "loader", readonly="yes", type="pflash")
    loader.text = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    variables = Path("/var/lib/libvirt/qemu/nvram") / f"{NAME}.fd"
    ElementTree.SubElement(node, "nvram", template="/usr/share/OVMF/OVMF_VARS_4M.fd").text = str(variables)
    tpm = ElementTree.SubElement(t.cast(ElementTree.Element, root.find("devices")), "tpm", model="tpm-crb")
    ElementTree.SubElement(tpm, "backend", type="emulator", version="2.0")
    file = folder.parent / f"{NAME}.xml"
    file.write_text(ElementTree.tostring(root, encoding="unicode"), encoding="utf-8")
    virsh("define", str(file))
    file.unlink()
    virsh("start", NAME)  # libvirt makes both
    virsh("destroy", NAME)
    state = Path("/var/lib/libvirt/swtpm") / root.findtext("uuid", "") / "tpm2"
    assert variables.is_file() and (state / "tpm2-00.permall").is_file()
    (state / "secret").touch()
    os.chown(state / "secret", 1234, 1234)
    try:
        yield {"nvram": variables, "tpm": state / "secret"}
    finally:
        machines.remove_machines()
        variables.unlink()
        shutil.rmtree(state.parent, ignore_errors=True)


def remember(files: t.Mapping[str, Path], word: bytes) -> None:
    """Write *word* into the files of ``firmware``."""
    for path in files.values():
        with path.open("r+b") as stream:
            stream.write(word)
