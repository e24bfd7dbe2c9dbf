# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup costs beside restic itself, and beside an archive of all that there is, as vzdump makes it; and how long a machine is held for it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import statistics
import subprocess
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import lab
import libvirt

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import running
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import load
from ansible_collections.homelab.hybrid.plugins.module_utils._core import atomic, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm

CONTAINERS = 10
ROUNDS = 3
FOLDER = lab.FOLDER / "backups"
POOL = lab.FOLDER / "pool"
OURS, BY_HAND, ARCHIVES = FOLDER / "ours", FOLDER / "by-hand", FOLDER / "archives"
DISK_MIB, WRITTEN_MIB = 4096, 400
MIB = 1 << 20

# An archive of all that there is, with what tar has to be told to keep it.
PACK = ("tar", "--numeric-owner", "--xattrs", "--acls", "--one-file-system", "-I", "zstd -T2")
# How a machine is held and goes on again, by the names of libvirt.
STILL, FROZEN = ("suspend", "resume"), ("fsFreeze", "fsThaw")

Row = tuple[str, str, str]


@contextlib.contextmanager
def job(*guests: str) -> t.Iterator[None]:
    """A job of *guests* with a repository that is empty."""
    backups.set_up(OURS, guests=list(guests))
    try:
        yield
    finally:
        backups.tear_down(OURS)


def by_job() -> float:
    return lab.timed(lambda: backups.backup("run", backups.JOB))


def restic(*words: str) -> str:
    """restic as somebody runs it by hand, with a repository and a cache of its own."""
    environment = {**os.environ, "RESTIC_PASSWORD": backups.PASSWORD, "RESTIC_CACHE_DIR": str(FOLDER / "cache")}
    done = subprocess.run(
        ["restic", "-q", "-r", str(BY_HAND), *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def forget_all() -> None:
    """Begin again with nothing stored."""
    for path in (OURS, BY_HAND, ARCHIVES, FOLDER / "cache"):
        shutil.rmtree(path, ignore_errors=True)
    ARCHIVES.mkdir(parents=True)


def used_mebibytes(path: Path) -> float:
    return int(lab.command("du", "-sk", str(path)).split()[0]) / 1024


def containers_backed_up() -> t.Iterator[Row]:
    """Ten containers of Debian on btrfs: into an empty repository, and on the next night."""
    lab.converge(lab.with_btrfs())
    root = {"image": lab.DEBIAN, "rootfs": {"pool": lab.BTRFS}}
    lab.converge({**lab.with_btrfs(), "containers": [lab.container(number, **root) for number in range(CONTAINERS)]})
    names = [f"{lab.PREFIX}-ct{number}" for number in range(CONTAINERS)]
    roots = [str(lab.FOLDER / "btrfs" / f"{name}.rootfs") for name in names]

    def by_restic() -> float:
        # The first job of a host makes the repository, too.
        began = time.monotonic()
        if not BY_HAND.exists():
            restic("init")
        for root in roots:
            # What is read is of one moment there too. Nothing of a snapshot is in memory: its files are others to the kernel.
            kept = f"{root}.by-hand"
            lab.command("btrfs", "-q", "subvolume", "snapshot", "-r", root, kept)
            restic("backup", kept)
            lab.command("btrfs", "-q", "subvolume", "delete", kept)
        return time.monotonic() - began

    def archived() -> float:
        began = time.monotonic()
        for name, root in zip(names, roots, strict=True):
            lab.command(*PACK, "-cf", str(ARCHIVES / f"{name}.{time.monotonic_ns()}.tar.zst"), "-C", root, ".")
        return time.monotonic() - began

    # Who comes first would read from the disk what the others find in memory.
    lab.command("tar", "-cf", f"{FOLDER}.tar", *roots)
    Path(f"{FOLDER}.tar").unlink()
    nights: list[list[float]] = []
    begin = time.monotonic()
    while not nights or (len(nights) < ROUNDS and time.monotonic() - begin < lab.LAST_ROUND_SECONDS):
        forget_all()
        with job(*names):
            nights.append([work() for dummy in range(2) for work in (by_job, by_restic, archived)])
            sizes = [used_mebibytes(path) for path in (OURS, BY_HAND, ARCHIVES)]
    medians = [statistics.median(column) for column in zip(*nights, strict=True)]
    what = f"a backup of {CONTAINERS} containers of Debian on btrfs"
    ways = (
        "a job of the host",
        "`restic backup` of a snapshot of each root by hand",
        "an archive of each root by `tar` and `zstd`",
    )
    for night, told in enumerate(("the first", "the next night")):
        ours, raw, archive = medians[night * 3 : night * 3 + 3]
        yield f"{what}, {told}: {ways[1]}", f"{raw:.1f} s", "1.0"
        yield f"{what}, {told}: {ways[0]}", f"{ours:.1f} s", f"{ours / raw:.2f} (aim: 1.20)"
        yield f"{what}, {told}: {ways[2]}", f"{archive:.1f} s", f"{archive / raw:.2f}"
    for way, size in zip(ways, sizes, strict=True):
        yield f"{what}, what two nights take: {way}", f"{size:.0f} MiB", f"{size / sizes[1]:.2f}"


def machines_backed_up() -> t.Iterator[Row]:
    """A machine of 4 GiB that did not change; and how long one is held, without an agent and with one."""
    name = f"{lab.PREFIX}-vm0"
    disk = {"name": "root", "pool": lab.POOL, "size": f"{DISK_MIB}M"}
    params = lab.vm(0, disks=[disk])
    lab.converge({**lab.surroundings(), "vms": [params]})
    yield from unchanged_machine(name)
    lab.converge({**lab.surroundings(), "vms": [{**params, "state": "started"}]})
    with job(name):
        raw, ours = lab.medians_of(
            functools.partial(standing_still, name, lambda: begin_and_end(name, *STILL)),
            functools.partial(standing_still, name, by_job),
            rounds=ROUNDS,
        )
    still = "how long a machine without an agent stands still for its backup"
    yield f"{still}: suspend, `backupBegin` and resume of libvirt, in Python", f"{raw * 1000:.0f} ms", "1.0"
    yield f"{still}: a job of the host", f"{ours * 1000:.0f} ms", f"{ours / raw:.2f} (aim: 2.00)"
    yield from frozen_machine(f"{lab.PREFIX}-vm1")


def unchanged_machine(name: str) -> t.Iterator[Row]:
    """What is stored of it, and what on the next night."""
    definition = ElementTree.fromstring(lab.command("virsh", "-c", lab.URI, "dumpxml", name))
    source = definition.find("devices/disk/source")
    assert source is not None
    disk, content = Path(source.get("file", "")), FOLDER / "content"
    forget_all()
    with content.open("wb") as stream:
        for dummy in range(WRITTEN_MIB):
            stream.write(os.urandom(MIB))
        stream.truncate(DISK_MIB * MIB)
    lab.command("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", str(content), str(disk))
    archive = ARCHIVES / f"{name}.tar.zst"
    packed = lab.timed(lambda: lab.command(*PACK, "-cf", str(archive), "-C", str(disk.parent), disk.name))
    what = f"a backup of a machine with a disk of {DISK_MIB // 1024} GiB"
    with job(name):
        first = by_job()
        stored = backups.report()["guests"][0]["added"] / MIB
        again = by_job()
        added = backups.report()["guests"][0]["added"] / MIB
    yield f"{what}, {WRITTEN_MIB} MiB of it written: the first, {stored:.0f} MiB stored", f"{first:.1f} s", "1.0"
    yield (
        f"{what}, {WRITTEN_MIB} MiB of it written: an archive of the disk by `tar` and `zstd`, {used_mebibytes(archive):.0f} MiB",
        f"{packed:.1f} s",
        f"{packed / first:.2f}",
    )
    yield (
        f"{what}, unchanged: the next night",
        f"{again:.1f} s",
        f"{again / first:.2f}; {added:.2f} MiB stored (aim: 1 MiB)",
    )
    forget_all()


def frozen_machine(name: str) -> t.Iterator[Row]:
    """How long the file systems of a machine are frozen by its agent."""
    tiny = tiny_vm()
    boot = {"kernel": str(tiny.kernel), "initrd": str(tiny.initrd), "cmdline": tiny.cmdline}
    disk = {"name": "data", "pool": lab.POOL, "size": "64M"}
    wanted = {"state": "started", "memory": "256MiB", "boot": boot, "disks": [disk], "networks": []}
    lab.converge({**lab.surroundings(), "vms": [lab.vm(1, **wanted, wait_for=["agent"], wait_timeout=180)]})
    mounted = "until grep -qw ext4 /proc/filesystems; do sleep 1; done; mke2fs /dev/vda && mount -t ext4 /dev/vda /mnt"
    inside(name, mounted)
    with job(name):
        raw, ours = lab.medians_of(
            functools.partial(frozen, lambda: begin_and_end(name, *FROZEN)),
            functools.partial(frozen, in_this_process),
            rounds=ROUNDS,
        )
    still = "how long the file systems of a machine are frozen for its backup"
    yield f"{still}: freeze, `backupBegin` and thaw of libvirt, in Python", f"{raw * 1000:.0f} ms", "1.0"
    yield f"{still}: a job of the host", f"{ours * 1000:.0f} ms", f"{ours / raw:.2f} (aim: 2.00)"


def inside(name: str, script: str) -> None:
    """Run *script* in the machine, by its agent."""

    def ask(request: str, **arguments: t.Any) -> t.Any:
        words = json.dumps({"execute": request, "arguments": arguments})
        return json.loads(lab.command("virsh", "-c", lab.URI, "qemu-agent-command", name, words))["return"]

    pid = ask("guest-exec", path="/bin/sh", arg=["-c", script])["pid"]
    while not (told := ask("guest-exec-status", pid=pid))["exited"]:
        time.sleep(0.1)
    if told["exitcode"]:
        raise SystemExit(f"{script} ended with {told['exitcode']} in {name}")


def in_this_process() -> None:
    """What the program on the host does, where one can see what it asks of libvirt."""
    its = load(atomic.read_text(paths.BACKUP_CONFIG)).backups[backups.JOB]
    is_well = running.run(its, Host(), lambda line: None)
    if not is_well or backups.report()["guests"][0]["consistent"] != "application":
        raise SystemExit(f"no backup of a machine that was frozen: {backups.report()}")


def frozen(work: t.Callable[[], object]) -> float:
    """For how many seconds *work* has a machine frozen: from when it asks libvirt to freeze it until libvirt says that it is thawed."""
    moments: list[float] = []
    freeze, thaw = libvirt.virDomain.fsFreeze, libvirt.virDomain.fsThaw

    def begin(*words: t.Any, **options: t.Any) -> t.Any:
        moments.append(time.monotonic())
        return freeze(*words, **options)

    def end(*words: t.Any, **options: t.Any) -> t.Any:
        told = thaw(*words, **options)
        moments.append(time.monotonic())
        return told

    libvirt.virDomain.fsFreeze, libvirt.virDomain.fsThaw = begin, end
    try:
        work()
    finally:
        libvirt.virDomain.fsFreeze, libvirt.virDomain.fsThaw = freeze, thaw
    first, last = moments
    return last - first


def standing_still(name: str, work: t.Callable[[], object]) -> float:
    """For how many seconds the machine stood still while *work* ran, by what virsh hears of libvirt."""
    argv = ["virsh", "-c", lab.URI, "event", "--domain", name, "--event", "lifecycle", "--loop", "--timestamp"]
    with subprocess.Popen(["stdbuf", "-oL", *argv], stdout=subprocess.PIPE, text=True) as listener:
        try:
            time.sleep(1)  # until it listens, which it does not say
            work()
            time.sleep(1)  # until the last event is told
        finally:
            listener.terminate()
        told = listener.communicate()[0].splitlines()
    moments = {word: next(_seconds(line) for line in told if f"': {word}" in line) for word in ("Suspended", "Resumed")}
    return moments["Resumed"] - moments["Suspended"]


def _seconds(line: str) -> float:
    """The moment at which virsh heard of an event, as `2026-11-28 02:00:00.123+0000: event ...` has it."""
    clock = line.split()[1].partition("+")[0]
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def begin_and_end(name: str, hold: str, let_go: str) -> None:
    """What libvirt and QEMU themselves need, with the least around it."""
    connection = libvirt.open(lab.URI)
    domain = connection.lookupByName(name)
    scratch = POOL / "scratch.qcow2"
    (socket,) = (f"{folder}/bench.sock" for folder in Path("/var/lib/libvirt/qemu").glob(f"domain-{domain.ID()}-*"))
    request = (
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks><disk name='vda' backup='yes' type='file'>"
        f"<scratch file='{scratch}'/></disk></disks></domainbackup>"
    )
    getattr(domain, hold)()
    try:
        domain.backupBegin(request, None, 0)
    finally:
        getattr(domain, let_go)()
    domain.abortJob()
    connection.close()
    scratch.unlink(missing_ok=True)
