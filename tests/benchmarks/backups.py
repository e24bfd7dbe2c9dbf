# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup costs beside restic itself, and beside an archive of all that there is, as vzdump makes it; and how long a machine stands still."""

from __future__ import annotations

import contextlib
import functools
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

from ansible_collections.homelab.hybrid.tests.harness import backups

CONTAINERS = 10
ROUNDS = 3
FOLDER = lab.FOLDER / "backups"
POOL = lab.FOLDER / "pool"
OURS, BY_HAND, ARCHIVES = FOLDER / "ours", FOLDER / "by-hand", FOLDER / "archives"
DISK_MIB, WRITTEN_MIB = 4096, 400
MIB = 1 << 20

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
        words = [*([] if BY_HAND.exists() else [["init"]]), *(["backup", root] for root in roots)]
        return lab.timed(lambda: [restic(*its) for its in words])

    def archived() -> float:
        words = ["tar", "--numeric-owner", "--xattrs", "--acls", "--one-file-system", "-I", "zstd -T2"]
        began = time.monotonic()
        for name, root in zip(names, roots, strict=True):
            lab.command(*words, "-cf", str(ARCHIVES / f"{name}.{time.monotonic_ns()}.tar.zst"), "-C", root, ".")
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
    ways = ("a job of the host", "`restic backup` of each root by hand", "an archive of each root by `tar` and `zstd`")
    for night, told in enumerate(("the first", "the next night")):
        ours, raw, archive = medians[night * 3 : night * 3 + 3]
        yield f"{what}, {told}: {ways[1]}", f"{raw:.1f} s", "1.0"
        yield f"{what}, {told}: {ways[0]}", f"{ours:.1f} s", f"{ours / raw:.2f} (aim: 1.20)"
        yield f"{what}, {told}: {ways[2]}", f"{archive:.1f} s", f"{archive / raw:.2f}"
    for way, size in zip(ways, sizes, strict=True):
        yield f"{what}, what two nights take: {way}", f"{size:.0f} MiB", f"{size / sizes[1]:.2f}"


def machine_backed_up() -> t.Iterator[Row]:
    """A machine of 4 GiB that did not change, and how long one stands still."""
    disk = {"name": "root", "pool": lab.POOL, "size": f"{DISK_MIB}M"}
    params = lab.vm(0, disks=[disk])
    name = str(params["name"])
    lab.converge({**lab.surroundings(), "vms": [params]})
    definition = ElementTree.fromstring(lab.command("virsh", "-c", lab.URI, "dumpxml", name))
    source = definition.find("devices/disk/source")
    assert source is not None
    content = FOLDER / "content"
    FOLDER.mkdir(exist_ok=True)
    with content.open("wb") as stream:
        for dummy in range(WRITTEN_MIB):
            stream.write(os.urandom(MIB))
        stream.truncate(DISK_MIB * MIB)
    lab.command("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", str(content), source.get("file", ""))
    what = f"a backup of a machine with a disk of {DISK_MIB // 1024} GiB"
    with job(name):
        first = by_job()
        stored = backups.report()["guests"][0]["added"] / MIB
        again = by_job()
        added = backups.report()["guests"][0]["added"] / MIB
        forget_all()
    yield f"{what}, {WRITTEN_MIB} MiB of it written: the first, {stored:.0f} MiB stored", f"{first:.1f} s", "1.0"
    yield (
        f"{what}, unchanged: the next night",
        f"{again:.1f} s",
        f"{again / first:.2f}; {added:.2f} MiB stored (aim: 1 MiB)",
    )
    lab.converge({**lab.surroundings(), "vms": [{**params, "state": "started"}]})
    with job(name):
        raw, ours = lab.medians_of(
            functools.partial(standing_still, name, lambda: begin_and_end(name)),
            functools.partial(standing_still, name, by_job),
            rounds=ROUNDS,
        )
    still = "how long a machine without an agent stands still for its backup"
    yield f"{still}: suspend, `backupBegin` and resume of libvirt, in Python", f"{raw * 1000:.0f} ms", "1.0"
    yield f"{still}: a job of the host", f"{ours * 1000:.0f} ms", f"{ours / raw:.2f} (aim: 2.00)"


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


def begin_and_end(name: str) -> None:
    """What libvirt and QEMU themselves need, with the least around it."""
    connection = libvirt.open(lab.URI)
    domain = connection.lookupByName(name)
    scratch = POOL / "scratch.qcow2"
    (socket,) = (f"{folder}/bench.sock" for folder in Path("/var/lib/libvirt/qemu").glob(f"domain-{domain.ID()}-*"))
    request = (
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks><disk name='vda' backup='yes' type='file'>"
        f"<scratch file='{scratch}'/></disk></disks></domainbackup>"
    )
    domain.suspend()
    try:
        domain.backupBegin(request, None, 0)
    finally:
        domain.resume()
    domain.abortJob()
    connection.close()
    scratch.unlink(missing_ok=True)
