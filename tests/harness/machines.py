# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines for tests, and what virsh, qemu-img and the kernel say of them.

A *paper* machine runs firmware without an operating system: it has every device path and answers nothing. It starts in a
second. A *tiny* one boots a kernel and answers; see ``tiny_vm``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record

PREFIX = "hlvm"
POOL = f"{PREFIX}-pool"
IMAGE = f"{PREFIX}-image"
BRIDGES = (f"{PREFIX}br0", f"{PREFIX}br1")
URI = "qemu:///system"
PAPER: dict[str, t.Any] = {"memory": "64", "shutdown_timeout": 1, "force_stop": True}
Element = ElementTree.Element


def command(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def virsh(*argv: str, check: bool = True) -> str:
    return command("virsh", "-q", "-c", URI, *argv, check=check).strip()


def definition(name: str) -> Element:
    """What the next boot will be."""
    return ElementTree.fromstring(virsh("dumpxml", name, "--inactive", "--security-info"))


def running(name: str) -> Element:
    """What runs now."""
    return ElementTree.fromstring(virsh("dumpxml", name))


def device(root: Element, tag: str, name: str) -> Element | None:
    """The disk or interface that bears the alias of *name*."""
    for node in root.iterfind(f"devices/{tag}"):
        alias = node.find("alias")
        if alias is not None and alias.get("name") == f"ua-{name}":
            return node
    return None


def attribute(root: Element | None, path: str, name: str) -> str | None:
    node = None if root is None else root.find(path)
    return None if node is None else node.get(name)


def state_of(name: str) -> str:
    return virsh("domstate", name, check=False)


def qemu_words(name: str) -> list[str]:
    """The command line of the QEMU that runs the machine, as the kernel has it."""
    pid = Path(f"/run/libvirt/qemu/{name}.pid").read_text(encoding="ascii").strip()
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")


def volume(path: Path) -> dict[str, t.Any]:
    """What qemu-img says of a disk file."""
    return t.cast("dict[str, t.Any]", json.loads(command("qemu-img", "info", "-U", "--output=json", str(path))))


@contextlib.contextmanager
def surroundings() -> t.Iterator[Path]:
    """A pool, two bridges and an image of 8 MiB, for as long as it lasts. Yields the folder of the pool."""
    remove_surroundings()
    # Not below pytest's own folder: another run of pytest closes that to QEMU's user again.
    base = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-", dir="/var/tmp"))
    base.chmod(0o711)
    try:
        _make_surroundings(base / "pool")
        yield base / "pool"
    finally:
        remove_surroundings()
        shutil.rmtree(base)


def _make_surroundings(folder: Path) -> None:
    folder.mkdir(mode=0o711)
    virsh("pool-define-as", POOL, "dir", "--target", str(folder))
    virsh("pool-start", POOL)
    for bridge in BRIDGES:
        command("ip", "link", "add", bridge, "type", "bridge")
        command("ip", "link", "set", bridge, "up")
    image = folder / "image" / "disk.qcow2"
    image.parent.mkdir(mode=0o711)
    command("qemu-img", "create", "-q", "-f", "qcow2", str(image), "8M")
    image.chmod(0o644)
    data = {"kind": "vm", "format": "qcow2", "path": str(image), "size_bytes": 8 << 20, "digest": "sha256:0"}
    record.load("images", IMAGE).save(**data)


def left_of_a_drill() -> list[str]:
    """What of a drill of a machine is still there, as the host's own tools see it."""
    found = [name for name in virsh("list", "--all", "--name").splitlines() if "+drill" in name]
    found += [line for line in command("ip", "netns", "list").splitlines() if "drill" in line]
    found += [
        line for line in command("ps", "-eo", "args").splitlines() if "+drill" in line and "<defunct>" not in line
    ]
    # Their ends on the host are called by the beginning of its name, and a digest.
    found += [name for name in os.listdir("/sys/class/net") if name.startswith(f"{PREFIX}-.")]
    pools = [target for name in virsh("pool-list", "--name").split() if (target := _target(name))]
    for folder in (*map(Path, pools), Path("/var/lib/libvirt/qemu/nvram")):
        found += [path.name for path in folder.glob("*+drill*")]
    found += [str(path) for path in Path(paths.DRILLS).glob("*/*")]
    found += [str(path) for path in Path(paths.record_folder("drills")).glob("*")]
    uuids = {virsh("domuuid", name) for name in virsh("list", "--all", "--name").split()}
    return [*found, *(path.name for path in Path("/var/lib/libvirt/swtpm").glob("*-*") if path.name not in uuids)]


def _target(pool: str) -> str | None:
    return ElementTree.fromstring(virsh("pool-dumpxml", pool)).findtext("target/path")


def remove_machines(prefix: str = PREFIX) -> None:
    """Every machine of that prefix, its files in the pool and its record."""
    connection = libvirt.open(URI)
    for domain in connection.listAllDomains():
        if domain.name().startswith(prefix):
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                domain.undefineFlags(flags | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
    pools = [pool for pool in connection.listAllStoragePools() if pool.name() == POOL]
    for pool in pools:
        folder = Path(ElementTree.fromstring(pool.XMLDesc(0)).findtext("target/path") or "")
        for file in [*folder.glob(f"{prefix}*"), *folder.glob(f".{prefix}*")]:
            file.unlink()
    connection.close()
    for file in Path(paths.record_folder("guests")).glob(f"{prefix}*"):
        file.unlink()
    for left in Path(paths.INSTALLERS).glob(f"{prefix}*"):
        shutil.rmtree(left)


def remove_surroundings() -> None:
    """Everything that tests of machines make on the host."""
    remove_machines()
    connection = libvirt.open(URI)
    for pool in connection.listAllStoragePools():
        if pool.name() == POOL:
            if pool.isActive():
                pool.destroy()
            pool.undefine()
    connection.close()
    for bridge in BRIDGES:
        command("ip", "link", "del", bridge, check=False)
    for file in Path(paths.record_folder("images")).glob(f"{PREFIX}*"):
        file.unlink()


def taps(bridge: str) -> list[str]:
    """The ports of *bridge*."""
    return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
