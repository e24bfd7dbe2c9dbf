# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a whole host costs: with nothing to do, and made anew; beside it the least that it can cost, and what others do to the same guests.

Ratios of one run, never limits in seconds: hosts differ, and so does their load. Everything made bears a prefix and goes.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import backups
import lab
import libvirt
import site_run

GUESTS = 50
FEW = 5
CONTAINERS = 20
MACHINES = 10
PARALLEL = 2
ROUNDS = 5
BASE = f"{lab.PREFIX}-base"
POOL = lab.FOLDER / "pool"
DEFINITIONS = lab.FOLDER / "definitions"

# The processes that the module itself starts, by what Python tells of them.
COUNT = """
import json, sys
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
started = []
sys.addaudithook(lambda event, dummy: started.append(event) if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") else None)
outcome = converge_layout(json.load(sys.stdin), dry_run=True)
assert outcome.error is None and not outcome.told["changed"], outcome.told
print(len(started))
"""

# The least that a container from an image on btrfs can cost: a snapshot, its owners (all of them the same, which is quicker than
# to shift each), the definition as `layout` wrote it, and a start. $1 is the name, $2 the copy of the image, $3 root's id.
CLONE_AND_START = """
set -e
root=/srv/hlbench/btrfs/$1.rootfs
btrfs -q subvolume snapshot "$2" "$root"
chown -hR "$3:$3" "$root"
chmod 755 "$root"
mkdir "/var/lib/lxc/$1"
cp "/srv/hlbench/definitions/$1" "/var/lib/lxc/$1/config"
lxc-start -n "$1"
"""

# What a root has of which snapshots and clones are made, allocated and never written.
KEPT = "10G"

Row = tuple[str, str, str]


def layout(vms: int, containers: int, **options: t.Any) -> lab.Params:
    return {
        **lab.surroundings(),
        "vms": [lab.vm(number, **options) for number in range(vms)],
        "containers": [lab.container(number, **options) for number in range(containers)],
    }


def task(params: lab.Params) -> lab.Task:
    return {"name": "Converge the host", "homelab.hybrid.layout": params}


def told_by(script: str, params: lab.Params) -> float:
    """What *script* prints, run by a Python of its own."""
    environment = {**os.environ, "PYTHONPATH": str(lab.BUILD)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(params),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def nothing_to_do() -> t.Iterator[Row]:
    """A host of 100 guests as it is declared."""
    lab.converge(layout(GUESTS, GUESTS))
    ping, few, many = lab.medians(
        [lab.play({"ansible.builtin.ping": {}}), *(lab.play(task(layout(n, n))) for n in (FEW, GUESTS))], rounds=7
    )
    further = (many - few) / (2 * (GUESTS - FEW)) * 1000
    more = told_by(COUNT, layout(GUESTS, GUESTS)) - told_by(COUNT, layout(FEW, FEW))
    vms = {
        "name": "Look at each machine",
        "community.libvirt.virt": {"name": f"{lab.PREFIX}-vm{{{{ item }}}}", "state": "shutdown", "uri": lab.URI},
        "loop": list(range(GUESTS)),
    }
    containers = {
        "name": "Look at each container",
        "community.general.lxc_container": {"name": f"{lab.PREFIX}-ct{{{{ item }}}}", "state": "stopped"},
        "loop": list(range(GUESTS)),
    }
    machines, others = lab.of_peers(vms, changes=False), lab.of_peers(containers, changes=False)
    yield "nothing to do: a playbook with one `ping`", f"{ping:.2f} s", "1.0"
    yield f"nothing to do: `layout`, {2 * FEW} guests", f"{few:.2f} s", f"{few / ping:.2f}"
    yield (
        f"nothing to do: `layout`, {2 * GUESTS} guests ({further:.1f} ms and {more:.0f} processes for those further)",
        f"{many:.2f} s",
        f"{many / ping:.2f} (aim: 1.30)",
    )
    yield (
        f"nothing to do: a loop over `community.libvirt.virt`, {GUESTS} machines",
        f"{machines:.1f} s",
        f"{machines / ping:.1f}",
    )
    yield (
        f"nothing to do: a loop over `community.general.lxc_container`, {GUESTS} containers",
        f"{others:.1f} s",
        f"{others / ping:.1f}",
    )


def start_of_the_module(lists: lab.Params) -> float:
    """A playbook with one `layout` that finds nothing to do on a host without guests."""
    return lab.seconds(lab.play(task(lists)))


def containers_made(root: str, image: str) -> t.Iterator[Row]:
    """20 containers created and started from an image that their pool has a copy of: by `layout`, and by the least that does it."""
    lists = lab.with_btrfs()
    lab.converge(lists)
    options = {"state": "started", "image": image, "rootfs": {"pool": lab.BTRFS}}
    params = {**layout(0, CONTAINERS, **options), **lists, "parallel": PARALLEL}
    one = {**layout(0, 1, **{**options, "state": "stopped"}), **lists}
    # The definitions for the shell.
    lab.converge(params)
    expect_containers()
    DEFINITIONS.mkdir()
    for number in range(CONTAINERS):
        name = f"{lab.PREFIX}-ct{number}"
        shutil.copy(lab.LXC / name / "config", DEFINITIONS / name)
    lab.remove_guests()
    copy = lab.FOLDER / "btrfs" / f"image+{image}"
    start, ours, floor = lab.medians_of(
        functools.partial(start_of_the_module, lists),
        on_a_new_pool(lists, one, functools.partial(made_by_layout, params, expect_containers)),
        on_a_new_pool(lists, one, functools.partial(made_by_shell, copy)),
        rounds=ROUNDS,
    )
    what = f"{CONTAINERS} containers of {root} from a cached image on btrfs, created and started"
    yield f"{what}: snapshot, `chown` and `lxc-start` in a shell, {PARALLEL} at a time", f"{floor:.1f} s", "1.0"
    yield f"{what}: one `layout` that finds nothing to do", f"{start:.1f} s", f"{start / floor:.1f}"
    yield (
        f"{what}: `layout`, {PARALLEL} at a time, in a playbook",
        f"{ours:.1f} s",
        f"{ours / floor:.1f}; {ours / (start + 2 * floor):.2f} of one start and two shells (aim: 1.00)",
    )


def on_a_new_pool(lists: lab.Params, one: lab.Params, work: t.Callable[[], float]) -> t.Callable[[], float]:
    """*work* in a pool made anew that has the copy of the image: where quotas are counted, btrfs is at work for minutes to delete the
    roots of the round before, and whoever comes next would pay for it. *one* is a layout with a guest that needs the copy.
    """

    def measure() -> float:
        lab.remove_btrfs()
        lab.converge(lists)
        lab.converge(one)
        lab.remove_guests()
        return work()

    return measure


def made_by_layout(params: lab.Params, expect: t.Callable[[], None]) -> float:
    took = lab.seconds(lab.play(task(params)), changes=True)
    expect()
    lab.remove_guests()
    return took


def made_by_shell(copy: Path) -> float:
    took = lab.timed(lambda: in_pairs(functools.partial(clone_and_start, copy), CONTAINERS))
    expect_containers()
    lab.remove_guests()
    return took


def clone_and_start(copy: Path, number: int) -> None:
    name = f"{lab.PREFIX}-ct{number}"
    lines = (DEFINITIONS / name).read_text().splitlines()
    ids = next(line.split()[4] for line in lines if line.startswith("lxc.idmap = u"))
    lab.command("sh", "-c", CLONE_AND_START, "sh", name, str(copy), ids)


def expect_containers() -> None:
    running = lab.command("lxc-ls", "--running", "-1").split()
    if sum(name.startswith(lab.PREFIX) for name in running) != CONTAINERS:
        raise SystemExit(f"not all containers run, but these: {', '.join(running) or 'none'}")


def snapshots_made() -> t.Iterator[Row]:
    """Snapshots of a running container whose root has 10 GiB on btrfs: by the module in a playbook, and by the command of btrfs."""
    guest = lab.container(0, rootfs={"pool": lab.BTRFS}, state="started")
    lab.converge({**lab.with_btrfs(), "containers": [guest]})
    root = lab.FOLDER / "btrfs" / f"{guest['name']}.rootfs"
    lab.command("fallocate", "--length", KEPT, str(root / "data"))
    lab.command("btrfs", "filesystem", "sync", str(root))
    numbers = itertools.count()

    def keep(name: str, *, changes: bool) -> float:
        task: lab.Task = {"homelab.hybrid.guest_snapshot": {"guest": guest["name"], "name": name}}
        return lab.seconds(lab.play(task), changes=changes)

    def keep_by_btrfs() -> float:
        place = f"{root}-{next(numbers)}"
        return lab.timed(lambda: lab.command("btrfs", "-q", "subvolume", "snapshot", "-r", str(root), place))

    keep("first", changes=True)
    start, ours, floor = lab.medians_of(
        lambda: keep("first", changes=False),
        lambda: keep(f"more{next(numbers)}", changes=True),
        keep_by_btrfs,
        rounds=ROUNDS,
    )
    what = f"a snapshot of a root of {KEPT}iB on btrfs, of a container that runs"
    yield f"{what}: `btrfs subvolume snapshot -r`", f"{floor:.2f} s", "1.0"
    yield (
        f"{what}: one `guest_snapshot` that finds nothing to do, in a playbook",
        f"{start:.2f} s",
        f"{start / floor:.1f}",
    )
    yield (
        f"{what}: `guest_snapshot`, in a playbook",
        f"{ours:.2f} s",
        f"{ours / floor:.1f}; {ours / (start + 2 * floor):.2f} of one start and two commands (aim: 1.00)",
    )


def containers_cloned() -> t.Iterator[Row]:
    """Clones of a container whose root has 10 GiB on btrfs: by the module in a playbook, and of the root alone by the command of btrfs."""
    origin = lab.container(0, rootfs={"pool": lab.BTRFS})
    lab.converge({**lab.with_btrfs(), "containers": [origin]})
    root = lab.FOLDER / "btrfs" / f"{origin['name']}.rootfs"
    lab.command("fallocate", "--length", KEPT, str(root / "data"))
    lab.command("btrfs", "filesystem", "sync", str(root))
    numbers = itertools.count(100)

    def clone_by_module() -> float:
        clone = {"name": f"{lab.PREFIX}-ct{next(numbers)}", "clone_from": {"guest": origin["name"]}}
        return lab.seconds(lab.play({"homelab.hybrid.lxc_container": clone}), changes=True)

    def clone_by_btrfs() -> float:
        place = str(lab.FOLDER / "btrfs" / f"{lab.PREFIX}-ct{next(numbers)}.rootfs")
        return lab.timed(lambda: lab.command("btrfs", "-q", "subvolume", "snapshot", str(root), place))

    start, ours, floor = lab.medians_of(
        lambda: lab.seconds(lab.play({"homelab.hybrid.lxc_container": {"name": origin["name"]}})),
        clone_by_module,
        clone_by_btrfs,
        rounds=ROUNDS,
    )
    what = f"a clone of a container with a root of {KEPT}iB on btrfs"
    yield f"{what}: `btrfs subvolume snapshot` of the root", f"{floor:.2f} s", "1.0"
    yield (
        f"{what}: one `lxc_container` that finds nothing to do, in a playbook",
        f"{start:.2f} s",
        f"{start / floor:.1f}",
    )
    yield (
        f"{what}: `lxc_container` with `clone_from`, in a playbook",
        f"{ours:.2f} s",
        f"{ours / floor:.1f}; {ours / (start + 2 * floor):.2f} of one start and two commands (aim: 1.00)",
    )


def containers_of_others() -> t.Iterator[Row]:
    """20 containers created and started as LXC itself copies them: by a shell, and by a loop over a module."""
    make_base()
    shell = lab.timed(lambda: in_pairs(copy_and_start, CONTAINERS))
    lab.remove_guests()
    make_base()
    clones = {
        "name": "Clone",
        "community.general.lxc_container": {
            "name": BASE,
            "state": "stopped",
            "clone_name": f"{lab.PREFIX}-ct{{{{ item }}}}",
            "clone_snapshot": True,
            "backing_store": "overlayfs",  # the state "clone" ends with an error of Python in community.general 11
        },
        "loop": list(range(CONTAINERS)),
    }
    starts = {
        "name": "Start",
        "community.general.lxc_container": {"name": f"{lab.PREFIX}-ct{{{{ item }}}}", "state": "started"},
        "loop": list(range(CONTAINERS)),
    }
    community = lab.of_peers(clones, starts, changes=True)
    lab.remove_guests()
    what = f"{CONTAINERS} privileged containers on overlays created and started"
    yield f"{what}: `lxc-copy -s`, `lxc-start`, {PARALLEL} at a time, in a shell", f"{shell:.1f} s", "1.0"
    yield f"{what}: a loop over `community.general.lxc_container`", f"{community:.1f} s", f"{community / shell:.1f}"


def make_base() -> None:
    """A container to copy, privileged: the overlays of LXC do not serve others."""
    folder = lab.LXC / BASE
    if folder.exists():
        return
    (folder / "rootfs").mkdir(parents=True)
    lab.command(
        "tar", "--numeric-owner", "-I", "zstd", "-xf", str(lab.FOLDER / "tiny.tar.zst"), "-C", str(folder / "rootfs")
    )
    settings = {
        "lxc.include": "/usr/share/lxc/config/common.conf",
        "lxc.uts.name": BASE,
        "lxc.rootfs.path": f"dir:{folder}/rootfs",
        "lxc.net.0.type": "veth",
        "lxc.net.0.link": lab.BRIDGE,
        "lxc.net.0.flags": "up",
    }
    (folder / "config").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))


def copy_and_start(number: int) -> None:
    name = f"{lab.PREFIX}-ct{number}"
    lab.command("lxc-copy", "-n", BASE, "-N", name, "-s", "-B", "overlayfs")
    lab.command("lxc-start", "-n", name)


def in_pairs(work: t.Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(work, range(count)))


def machines_made() -> t.Iterator[Row]:
    """10 machines with linked disks defined and started: by `layout`, by libvirt alone, and by a loop over a module."""
    options = {
        "state": "started",
        "disks": [{"name": "root", "pool": lab.POOL, "image": lab.DISK_IMAGE, "size": "16M"}],
    }
    params = {**layout(MACHINES, 0, **options), "parallel": PARALLEL}
    lab.converge(params)
    expect_running()
    definition = lab.command("virsh", "-c", lab.URI, "dumpxml", f"{lab.PREFIX}-vm0", "--inactive")
    image = json.loads(lab.command("qemu-img", "info", "-U", "--output=json", str(disk_of(definition))))[
        "full-backing-filename"
    ]
    lab.remove_guests()
    start, ours, raw = lab.medians_of(
        functools.partial(start_of_the_module, lab.surroundings()),
        functools.partial(made_by_layout, params, expect_running),
        functools.partial(made_by_libvirt, definition, image),
        rounds=ROUNDS,
    )
    DEFINITIONS.mkdir()
    for number in range(MACHINES):
        (DEFINITIONS / f"{number}.xml").write_text(renamed(definition, number))
    name, loop = f"{lab.PREFIX}-vm{{{{ item }}}}", list(range(MACHINES))
    community = lab.of_peers(
        {
            "name": "Make the disks",
            "ansible.builtin.command": {
                "argv": [
                    "qemu-img",
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-F",
                    "qcow2",
                    "-b",
                    image,
                    f"{POOL}/{name}.root.qcow2",
                    "16M",
                ]
            },
            "loop": loop,
        },
        {
            "name": "Define the machines",
            "community.libvirt.virt": {
                "command": "define",
                "xml": f"{{{{ lookup('file', '{DEFINITIONS}/' ~ item ~ '.xml') }}}}",
            },
            "loop": loop,
        },
        {"name": "Start them", "community.libvirt.virt": {"name": name, "state": "running"}, "loop": loop},
        changes=True,
    )
    expect_running()
    what = f"{MACHINES} machines with linked disks defined and started"
    yield f"{what}: calls of libvirt, one after the other, in Python", f"{raw:.1f} s", "1.0"
    yield f"{what}: one `layout` that finds nothing to do", f"{start:.1f} s", f"{start / raw:.1f}"
    yield (
        f"{what}: `layout`, {PARALLEL} at a time, in a playbook",
        f"{ours:.1f} s",
        f"{ours / raw:.1f}; {ours / (start + 1.2 * raw):.2f} of one start and 1.2 of these calls (aim: 1.00)",
    )
    yield f"{what}: loops over `command` and `community.libvirt.virt`", f"{community:.1f} s", f"{community / raw:.1f}"


def made_by_libvirt(definition: str, image: str) -> float:
    took = lab.timed(lambda: define_and_start(definition, image))
    expect_running()
    lab.remove_guests()
    return took


def expect_running() -> None:
    names = lab.command("virsh", "-c", lab.URI, "list", "--name").split()
    if sum(name.startswith(lab.PREFIX) for name in names) != MACHINES:
        known = lab.command("virsh", "-c", lab.URI, "list", "--all", "--name").split()
        reasons = [
            f"{name} {lab.command('virsh', '-c', lab.URI, 'domstate', name, '--reason').strip()}" for name in known
        ]
        raise SystemExit(f"not all machines run; libvirt knows: {', '.join(reasons) or 'none'}")


def disk_of(definition: str) -> Path:
    source = ElementTree.fromstring(definition).find("devices/disk/source")
    assert source is not None
    return Path(source.get("file", ""))


def renamed(definition: str, number: int) -> str:
    """The definition for another machine: without what libvirt gives to each."""
    root = ElementTree.fromstring(definition.replace(f"{lab.PREFIX}-vm0", f"{lab.PREFIX}-vm{number}"))
    for parent, tag in ((root, "uuid"), *((nic, "mac") for nic in root.iterfind("devices/interface"))):
        found = parent.find(tag)
        if found is not None:
            parent.remove(found)
    return ElementTree.tostring(root, encoding="unicode")


def define_and_start(definition: str, image: str) -> None:
    connection = libvirt.open(lab.URI)
    for number in range(MACHINES):
        xml = renamed(definition, number)
        lab.command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, str(disk_of(xml)), "16M")
        connection.defineXML(xml).create()
    connection.close()


def in_a_lab(rows: t.Callable[[], t.Iterator[Row]]) -> t.Callable[[], t.Iterator[Row]]:
    """*rows* with surroundings of their own: a part that fails leaves nothing to the next."""

    def measure() -> t.Iterator[Row]:
        with lab.lab():
            yield from rows()

    return measure


# What is measured, by what it is called where it fails.
PARTS: dict[str, t.Callable[[], t.Iterator[Row]]] = {
    "nothing to do": in_a_lab(nothing_to_do),
    "containers of busybox": in_a_lab(functools.partial(containers_made, "busybox", lab.IMAGE)),
    "containers of Debian": in_a_lab(functools.partial(containers_made, "Debian", lab.DEBIAN)),
    "machines": in_a_lab(machines_made),
    "snapshots": in_a_lab(snapshots_made),
    "clones": in_a_lab(containers_cloned),
    "backups of containers": in_a_lab(backups.containers_backed_up),
    "backups of machines": in_a_lab(backups.machines_backed_up),
    "containers of others": in_a_lab(containers_of_others),
    "site": in_a_lab(site_run.rows),
}
