# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of containers stand on: a pool, two bridges, the tiny image; and a look at a container with other tools."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.fingerprint import is_listening

PREFIX = "hlct"
NAME = f"{PREFIX}-a"
POOL, IMAGE = f"{PREFIX}-pool", f"{PREFIX}-tiny"
BRIDGES = {f"{PREFIX}br0": "10.91.7.1/24", f"{PREFIX}br1": "10.91.8.1/24"}
FOLDER = Path("/srv") / PREFIX
REPOSITORY = FOLDER / "restic"
LXC = Path("/var/lib/lxc")
CONTAINER = LxcContainer()
LAN = {"name": "lan", "bridge": f"{PREFIX}br0", "ip": "10.91.7.10/24", "gateway": "10.91.7.1"}
BASE: dict[str, t.Any] = {"name": NAME, "state": "started", "image": IMAGE, "rootfs": {"pool": POOL}}


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def inside(*argv: str, name: str = NAME, check: bool = True) -> str:
    """What *argv* prints in the container."""
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    return run("lxc-attach", "-n", name, "--clear-env", "-v", path, "--", *argv, check=check).strip()


def state(name: str = NAME) -> str:
    """``RUNNING``, ``STOPPED``, ``FROZEN``, or nothing where there is no container."""
    return run("lxc-info", "-n", name, "-s", "-H", check=False).strip() if (LXC / name / "config").exists() else ""


def config(name: str = NAME) -> str:
    return (LXC / name / "config").read_text()


def values(key: str, name: str = NAME) -> list[str]:
    """The values of *key* in the file, read without the collection's model."""
    found = []
    for line in config(name).splitlines():
        left, equals, right = line.partition("=")
        if equals and left.strip() == key:
            found.append(right.strip())
    return found


def record(name: str = NAME) -> dict[str, t.Any]:
    path = Path(paths.record_path("guests", name))
    return json.loads(path.read_text()) if path.exists() else {}


def rootfs(name: str = NAME) -> Path:
    return FOLDER / "pool" / f"{name}.rootfs"


def cgroup(item: str, name: str = NAME) -> str:
    return run("lxc-cgroup", "-n", name, item).strip()


def links() -> dict[str, t.Any]:
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "addr"))}


def rates(pair: str) -> tuple[int, int]:
    """What the guest may get and send through the link *pair*, in bits per second, by tc."""
    told = json.loads(run("tc", "-j", "qdisc", "show"))
    out = {queue["dev"]: queue["options"]["rate"] * 8 for queue in told if queue["kind"] == "tbf"}
    return out.get(pair, 0), out.get(f"rl{links()[pair]['ifindex']}", 0)


def ends() -> list[str]:
    """The host's ends of the interfaces of containers."""
    return [
        name
        for name, link in links().items()
        if name.startswith(PREFIX) and link.get("linkinfo", {}).get("info_kind") == "veth"
    ]


def pid(name: str = NAME) -> int:
    return int(run("lxc-info", "-n", name, "-p", "-H"))


def network(*argv: str, name: str = NAME) -> str:
    """What the host's own ``ip`` says in the network namespace of the container."""
    return run("nsenter", "-t", str(pid(name)), "-n", "ip", *argv).strip()


def left_of_a_backup() -> list[str]:
    """What of a capture of the container is still there, as the host's own tools see it."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "homelab_hybrid/backup" in line]
    found += [path.name for path in (FOLDER / "pool").iterdir() if "+backup" in path.name]
    places = (paths.capture_folder(NAME), paths.capture_note(NAME))
    return found + [path for path in places if Path(path).exists()]


def left_of_a_drill() -> list[str]:
    """What of a drill is still there, as the host's own tools see it."""
    found = [line for line in run("ip", "netns", "list").splitlines() if "drill" in line]
    found += [path.name for path in (FOLDER / "pool").iterdir() if "+drill" in path.name]
    found += [str(path) for path in Path(paths.DRILLS).glob("*/*")]
    found += [str(path) for path in Path(paths.record_folder("drills")).glob("*")]
    found += [line for line in run("ps", "-eo", "args").splitlines() if "+drill" in line]
    return found


def set_up(pool_type: str = "dir", *, disk: str = "pool.img") -> None:
    """The host as all tests of containers need it; nothing of an earlier run is left.

    A pool of *pool_type* btrfs lies on a file system of its own, in the file *disk*, and has its copy of the image already. All
    cells see each other's loop devices: what runs beside needs another name for it.
    """
    tear_down()
    FOLDER.mkdir(parents=True)
    for bridge, address in BRIDGES.items():
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "address", "add", address, "dev", bridge)
        run("ip", "link", "set", bridge, "up")
    pool = {"name": POOL, "type": pool_type, "path": str(FOLDER / "pool")}
    if pool_type == "btrfs":
        run("truncate", "-s", "2G", str(FOLDER / disk))
        pool["source"] = str(FOLDER / disk)
    outcome = converge_now(StoragePool(), pool)
    assert outcome.error is None, outcome.error
    tiny_root.build(FOLDER / "tiny.tar.zst")
    tiny_root.store(IMAGE, FOLDER / "tiny.tar.zst")
    if pool_type == "btrfs":
        outcome = converge_now(CONTAINER, {**BASE, "state": "stopped"})
        assert outcome.error is None, outcome.error
        clean()


def pools(disk: str) -> t.Any:
    """A fixture for the tests of one file: a pool of each type in which containers are copied in another way, by its type."""

    @pytest.fixture(scope="module", params=["btrfs", "dir"])
    def pool(request: pytest.FixtureRequest) -> t.Iterator[str]:
        set_up(request.param, disk=disk)
        yield request.param
        tear_down()

    return pool


def clean() -> None:
    """Take the containers of the tests away, whatever they became."""
    for folder in LXC.glob(f"{PREFIX}*"):
        # Not lxc-info: it waits for ever for a configuration that is a pipe.
        if is_listening(folder.name):
            run("lxc-stop", "-n", folder.name, "-k", check=False)
        shutil.rmtree(folder)
    for path in Path(paths.record_folder("guests")).glob(f"{PREFIX}*"):
        path.unlink()
    for name in ends():
        run("ip", "link", "delete", name, check=False)
    for path in [*(FOLDER / "pool").glob("*"), *(FOLDER / "pool").glob(".*")]:
        if not path.name.startswith("image+"):
            if "@" in path.name:
                _open_to_deletion(path)
            # A program of a run that was killed may still be deleting it.
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                # The root of a template.
                _open_to_deletion(path)
                shutil.rmtree(path, ignore_errors=True)


def _open_to_deletion(snapshot: Path) -> None:
    """The subvolumes of a snapshot are read-only."""
    for place in [str(snapshot), *run("find", str(snapshot), "-mindepth", "1", "-inum", "256").splitlines()]:
        run("btrfs", "property", "set", "-f", "-ts", place, "ro", "false", check=False)


def tear_down() -> None:
    clean()
    converge_now(StoragePool(), {"name": POOL, "state": "absent", "allow": ["delete_data"]})
    if os.path.ismount(FOLDER / "pool"):
        run("umount", "-l", str(FOLDER / "pool"))
    connection = libvirt.open("qemu:///system")
    with contextlib.suppress(libvirt.libvirtError):
        pool = connection.storagePoolLookupByName(POOL)
        if pool.isActive():
            pool.destroy()
        pool.undefine()
    connection.close()
    for kind in ("pools", "images"):
        for path in Path(paths.record_folder(kind)).glob(f"{PREFIX}*"):
            path.unlink()
    for bridge in BRIDGES:
        run("ip", "link", "delete", bridge, check=False)
    shutil.rmtree(FOLDER, ignore_errors=True)


def make(**params: t.Any) -> dict[str, t.Any]:
    """A container that stands, and its parameters."""
    wanted = {**BASE, **params}
    outcome = converge_now(CONTAINER, wanted)
    assert outcome.error is None, outcome.error
    return wanted


def left_behind() -> list[str]:
    """What must not be there once the containers are gone: mounts, links, control groups, folders."""
    mounts = Path("/proc/self/mountinfo").read_text()
    found = [line for line in mounts.splitlines() if f"/{PREFIX}-" in line]
    found += ends()
    for parent, names, dummy in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(parent, name) for name in names if name.startswith(f"lxc.payload.{PREFIX}")]
        names[:] = []
    found += [str(path) for path in LXC.glob(f"{PREFIX}*")]
    found += [str(path) for path in (FOLDER / "pool").glob(".*")]
    return found
