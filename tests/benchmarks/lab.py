# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks stand on: pools, a bridge, images; playbooks timed on this host; and nothing left afterwards."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import debian_images, leftovers, tiny_root

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
SYSTEM_PYTHON = "/usr/bin/python3"
PREFIX = "hlbench"
BRIDGE, POOL, BTRFS = f"{PREFIX}0", f"{PREFIX}-pool", f"{PREFIX}-btrfs"
IMAGE, DEBIAN, DISK_IMAGE = f"{PREFIX}-tiny", f"{PREFIX}-debian", f"{PREFIX}-disk"
FOLDER = Path("/srv") / PREFIX
LXC = Path("/var/lib/lxc")
URI = "qemu:///system"
# No round of a measurement begins later than that after the first one: a run of all of them ends within a quarter of an hour.
LAST_ROUND_SECONDS = 90

Params = dict[str, t.Any]
Task = dict[str, t.Any]


def command(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr or done.stdout}")
    return done.stdout


def surroundings() -> Params:
    """The lists of a layout without guests."""
    return {
        "bridges": [{"name": BRIDGE, "mode": "nat", "address": "10.91.40.1/22"}],
        "storage_pools": [{"name": POOL, "path": str(FOLDER / "pool")}],
        "images": [
            {"name": IMAGE, "kind": "container", "path": str(FOLDER / "tiny.tar.zst")},
            {"name": DISK_IMAGE, "kind": "vm", "path": str(FOLDER / "disk.qcow2")},
        ],
        # Paper guests: what they are promised is never used.
        "overcommit": {"memory": 100, "storage": 1000},
    }


def with_btrfs() -> Params:
    """The same with a pool on btrfs and an image of Debian besides."""
    lists = surroundings()
    path, source = str(FOLDER / "btrfs"), str(FOLDER / "btrfs.img")
    lists["storage_pools"].append({"name": BTRFS, "type": "btrfs", "path": path, "source": source})
    lists["images"].append({"name": DEBIAN, "kind": "container", "path": str(FOLDER / "debian.tar.zst")})
    return lists


def vm(number: int, **options: t.Any) -> Params:
    """A virtual machine without an operating system: firmware, one disk, one network."""
    return {
        "name": f"{PREFIX}-vm{number}",
        "memory": "64MiB",
        "vcpus": 1,
        "state": "stopped",
        "disks": [{"name": "root", "pool": POOL, "size": "16M"}],
        "networks": [{"name": "lan", "bridge": BRIDGE}],
        **options,
    }


def container(number: int, **options: t.Any) -> Params:
    """A container with an address, of busybox unless *options* name another image."""
    return {
        "name": f"{PREFIX}-ct{number}",
        "image": IMAGE,
        "state": "stopped",
        "rootfs": {"pool": POOL},
        "networks": [{"name": "lan", "bridge": BRIDGE, "ip": f"10.91.41.{number + 1}/22", "gateway": "10.91.40.1"}],
        **options,
    }


def converge(params: Params) -> None:
    outcome = converge_layout(params, dry_run=False)
    if outcome.error is not None:
        raise SystemExit(outcome.error.message)


@contextlib.contextmanager
def lab() -> t.Iterator[None]:
    """The surroundings, for as long as it lasts. What an earlier run left is removed first."""
    clean()
    FOLDER.mkdir()
    try:
        FOLDER.chmod(0o711)
        tiny_root.build(FOLDER / "tiny.tar.zst")
        shutil.copy(debian_images.container_root("bookworm"), FOLDER / "debian.tar.zst")
        command("truncate", "-s", "20G", str(FOLDER / "btrfs.img"))
        command("qemu-img", "create", "-q", "-f", "qcow2", str(FOLDER / "disk.qcow2"), "8M")
        converge(surroundings())
        yield
    finally:
        clean()


def remove_guests() -> None:
    """Every guest of the benchmarks, with its disks."""
    leftovers.remove_guests(PREFIX)
    for path in (FOLDER / "pool").glob(f"{PREFIX}-[vc]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    roots = [str(path) for path in (FOLDER / "btrfs").glob(f"{PREFIX}-ct*")]
    if roots:
        command("btrfs", "-q", "subvolume", "delete", *roots)


def remove_btrfs() -> None:
    """The pool on btrfs with all that is in it, as its module removes it."""
    pool = {"name": BTRFS, "state": "absent", "allow": ["delete_data"]}
    converge({"storage_pools": [pool]})


def clean() -> None:
    leftovers.remove_guests(PREFIX)
    if os.path.ismount(FOLDER / "btrfs"):
        command("umount", str(FOLDER / "btrfs"))
    leftovers.remove_host(PREFIX, FOLDER)


def play(*tasks: Task, **keywords: t.Any) -> list[Params]:
    return [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks), **keywords}]


def seconds(
    plays: list[Params],
    *,
    changes: bool = False,
    collections: str = "",
    playbook: str = "ansible-playbook",
    inventory: str = "localhost,",
) -> float:
    """How long the plays take. A run that changes what it must not, or the other way round, is no measurement."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as handle:
        # JSON is YAML, and Ansible reads it in a fifth of the time: what is measured is not how it reads 100 guests.
        json.dump(plays, handle)
        handle.flush()
        environment = {
            **os.environ,
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_COLLECTIONS_PATH": collections or str(BUILD),
        }
        argv = [playbook, "-i", inventory, "-e", f"ansible_python_interpreter={SYSTEM_PYTHON}", handle.name]
        began = time.monotonic()
        done = subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        took = time.monotonic() - began
    if done.returncode or changes != bool(re.search(r" changed=[1-9]", done.stdout)):
        raise SystemExit(f"a run that should have {'changed' if changes else 'left'} the host:\n{done.stdout}")
    return took


def medians(playbooks: t.Sequence[list[Params]], rounds: int) -> list[float]:
    """The median of each, run in turns: a busy moment of the host hits all alike."""
    return medians_of(*(functools.partial(seconds, plays) for plays in playbooks), rounds=rounds)


def medians_of(*works: t.Callable[[], float], rounds: int) -> list[float]:
    """The median of what each of *works* returns, run in turns: in as many *rounds* as begin in time, and in one at least."""
    begin, taken = time.monotonic(), []
    while not taken or (len(taken) < rounds and time.monotonic() - begin < LAST_ROUND_SECONDS):
        taken.append([work() for work in works])
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def timed(work: t.Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def peers() -> Path:
    """ansible-playbook of the package `ansible`, which brings community.libvirt and community.general. For benchmarks alone."""
    folder = BUILD / "peers"
    if not (folder / ".installed").exists():
        command(SYSTEM_PYTHON, "-m", "venv", str(folder))
        command(str(folder / "bin" / "pip"), "install", "-qq", "ansible")
        (folder / ".installed").touch()
    return folder / "bin" / "ansible-playbook"


def of_peers(*tasks: Task, changes: bool) -> float:
    return seconds(play(*tasks), changes=changes, collections="/nonexistent", playbook=str(peers()))
