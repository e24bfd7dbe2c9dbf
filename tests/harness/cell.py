# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private view of this host for tests that run side by side: ``cell.py COMMAND [ARGUMENT...]``.

The command runs as root with a root file system, network, processes, control groups, libvirt and lxcfs of its own. All of
them are gone when it ends, also when it or this process is killed. What is on the host's disk is seen as it is, and what is
written there goes nowhere, except into this tree (so that caches, logs and reports stay) and the published tiny VM.
Its only network card is one end
of a cable of its own to the host, which translates addresses; nothing reaches it from outside.

A cell is the namespaces of ``unshare``, an overlay of the whole root in memory, and one folder of the host's disk for what is
large or cannot lie on an overlay: roots of containers (idmapped mounts, overlays of their own) and images. The host must
have been prepared by ``make host``. Kernel settings that no namespace has, loop devices and ``/dev`` are those of the host.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CELLS = Path("/var/lib/homelab-cells")
# One line for each cell that ended: when, how long, how much CPU, what.
USAGE = ROOT / ".build" / "logs" / "cells.log"
NAMESPACES = ("mount", "uts", "ipc", "pid", "cgroup")
# What lies in the cell's folder on the host's disk: too large for memory, or with mounts that an overlay does not carry.
ON_DISK = ("/srv", "/tmp", "/var/tmp", "/var/lib/lxc", "/var/lib/libvirt", "/var/lib/homelab_hybrid")
# Shown as it is: containers of tests mount it with shifted owners, which an overlay does not carry either.
READ_ONLY = "/usr"
# Where in it the role links its programs.
LINKS = "/usr/local/sbin"
# Made by the tests once, each file under a name that says what is in it.
SHARED = (ROOT, ROOT / ".build" / "cache", Path("/var/cache/homelab_hybrid/tiny"))
# Definitions of guests, pools and networks that somebody has on the host.
FOREIGN = ("qemu/*.xml", "qemu/autostart", "qemu/networks/autostart", "storage", "secrets")
# Of the addresses for carriers' own translation, which no test and no home uses.
NETWORK = "100.127"
DAEMON_SECONDS = 60
END_SECONDS = 30


# ---- outside --------------------------------------------------------------------------------------------------------


def run_in_cell(command: Sequence[str]) -> int:
    """The exit status of *command*, run in a cell of its own."""
    CELLS.mkdir(mode=0o711, exist_ok=True)
    sweep()
    number, taken = take_number()
    folder = CELLS / f"{number}-{os.getpid()}"
    folder.mkdir(mode=0o711)
    end, alive = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(alive)
        os._exit(keep(folder, end, command))
    os.close(end)
    os.close(taken)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda signum, dummy: sys.exit(128 + signum))
    # A terminal sends it to the command too, which decides; this process only waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _start(folder, command)
    finally:
        os.close(alive)
        os.waitpid(keeper, 0)


def take_number() -> tuple[int, int]:
    """The least number that no other cell has, and the descriptor whose lock keeps it."""
    numbers = CELLS.with_name(f"{CELLS.name}-numbers")
    numbers.mkdir(exist_ok=True)
    for number in range(250):
        descriptor = os.open(numbers / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return number, descriptor
    raise SystemExit("cell: there are too many")


def number_of(folder: Path) -> int:
    return int(folder.name.partition("-")[0])


def make_network(number: int) -> None:
    """The network namespace, its cable to the host, and the translation of its addresses there."""
    space, cable = f"cell-{number}", f"cell{number}"
    remove_network(number)
    run("ip", "netns", "add", space)
    run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "address", "add", f"{NETWORK}.{number}.1/30", "dev", cable)
    run("ip", "link", "set", cable, "up")
    run("ip", "-n", space, "address", "add", f"{NETWORK}.{number}.2/30", "dev", "eth0")
    for link in ("lo", "eth0"):
        run("ip", "-n", space, "link", "set", link, "up")
    run("ip", "-n", space, "route", "add", "default", "via", f"{NETWORK}.{number}.1")
    rule = f"ip saddr {NETWORK}.{number}.0/30 masquerade"
    run("nft", f"table ip {cable} {{ chain out {{ type nat hook postrouting priority srcnat; {rule}; }}; }}")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def remove_network(number: int) -> None:
    for argv in (
        ("ip", "netns", "delete", f"cell-{number}"),
        ("ip", "link", "delete", f"cell{number}"),
        ("nft", "delete", "table", "ip", f"cell{number}"),
    ):
        # One may be gone with another, or was never made.
        subprocess.run(argv, capture_output=True, check=False)


def _start(folder: Path, command: Sequence[str]) -> int:
    groups = make_control_groups(folder)
    make_network(number_of(folder))

    def join() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text("0")

    inside = [sys.executable, __file__, "--inside", str(folder), "--", *command]
    unshare = [
        "nsenter",
        f"--net=/run/netns/cell-{number_of(folder)}",
        "unshare",
        *(f"--{each}" for each in NAMESPACES),
        "--fork",
        "--kill-child",
        *inside,
    ]
    # `setpriv --pdeathsig` lets unshare end with this process, and --kill-child everything with unshare.
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *unshare], preexec_fn=join)
    try:
        return exit_status(child.wait())
    finally:
        child.kill()
        child.wait()


def exit_status(code: int) -> int:
    """As a shell tells it."""
    return code if code >= 0 else 128 - code


def keep(folder: Path, end: int, command: Sequence[str]) -> int:
    """Wait until the process that started the cell is done with it or was killed, and take away what is left of the cell."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    began = time.monotonic()
    with lock(folder, wait=True):
        while os.read(end, 1):
            pass
        groups = control_groups(folder)
        used, lasted = cpu_seconds(groups), time.monotonic() - began
        with contextlib.suppress(OSError):
            USAGE.parent.mkdir(parents=True, exist_ok=True)
            with USAGE.open("a") as log:
                log.write(
                    f"{time.strftime('%H:%M:%S')} {lasted:7.1f} s, {used:7.1f} s of CPU: {' '.join(command)[-100:]}\n"
                )
        remove(folder)
    return 0


@contextlib.contextmanager
def lock(folder: Path, *, wait: bool) -> Iterator[None]:
    """The folder of a cell is locked by its keeper. BlockingIOError where somebody else has it and it should not wait."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def sweep() -> None:
    """Take away cells whose keeper was killed too."""
    for folder in CELLS.iterdir():
        # The keeper of a cell that is just being made has not locked it yet.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            if time.time() - folder.stat().st_mtime > END_SECONDS:
                with lock(folder, wait=False):
                    remove(folder)


def control_groups(folder: Path) -> list[Path]:
    return [Path(line) for line in _read(folder / "control-groups").splitlines()]


def cpu_seconds(groups: Sequence[Path]) -> float:
    """What the processes of the cell have used."""
    for group in groups:
        if nanoseconds := _read(group / "cpuacct.usage"):
            return int(nanoseconds) / 1e9
        if found := re.search(r"^usage_usec (\d+)", _read(group / "cpu.stat")):
            return int(found.group(1)) / 1e6
    return 0.0


def remove(folder: Path) -> None:
    groups = control_groups(folder)
    _wait_for_the_end(groups)
    for group in groups:
        for found in os.walk(group, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(found[0])
    remove_network(number_of(folder))
    for device in loop_devices(folder):
        subprocess.run(["losetup", "--detach", device], check=False)
    shutil.rmtree(folder)


def thaw(group: Path) -> None:
    """A process that is frozen by the first version of control groups does not even end by SIGKILL."""
    for path in group.rglob("freezer.state"):
        with contextlib.suppress(OSError):
            path.write_text("THAWED")


def _wait_for_the_end(groups: Sequence[Path]) -> None:
    """Until the last process of the cell is gone; SIGKILL for those that somehow live on."""
    until = time.monotonic() + END_SECONDS
    while processes := {
        int(word) for group in groups for path in group.rglob("cgroup.procs") for word in _read(path).split()
    }:
        if time.monotonic() > until:
            raise SystemExit(f"processes of a cell do not end: {sorted(processes)}")
        for group in groups:
            thaw(group)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def loop_devices(folder: Path) -> list[str]:
    """Those that stand on files of the cell. Their paths are told as they were inside, their inodes are not."""
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-INO"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    devices = {int(inode): name for name, inode in (line.split()[:2] for line in listed.splitlines())}
    if not devices:
        return []
    inodes = [os.lstat(os.path.join(parent, name)).st_ino for parent, dummy, names in os.walk(folder) for name in names]
    return [devices[inode] for inode in inodes if inode in devices]


class ControlGroups(t.NamedTuple):
    """A mounted hierarchy, and where this process is in it."""

    mount: Path
    options: str
    kind: str
    own: str


def hierarchies() -> list[ControlGroups]:
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        own[controllers if number != "0" else ""] = path
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, dummy, right = line.partition(" - ")
        kind, dummy, options = right.split()
        if kind in ("cgroup", "cgroup2") and left.split()[4].startswith("/sys/fs/cgroup"):
            words = [word for word in options.split(",") if word not in ("rw", "ro", "xattr")]
            key = ",".join(words) if kind == "cgroup" else ""
            found.append(ControlGroups(Path(left.split()[4]), key, kind, own[key]))
    return found


def make_control_groups(folder: Path) -> list[Path]:
    """One below the present one in each hierarchy. What they are called is written into the folder of the cell."""
    groups = [each.mount / each.own.lstrip("/") / f"cell-{folder.name}" for each in hierarchies()]
    (folder / "control-groups").write_text("".join(f"{group}\n" for group in groups))
    for group in groups:
        group.mkdir()
        # The first version of cpuset lets nobody in before it was told CPUs and memory.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists() and (group / "cgroup.clone_children").exists():
                (group / name).write_text((group.parent / name).read_text())
    return groups


# ---- inside ---------------------------------------------------------------------------------------------------------


def enter(folder: Path, command: Sequence[str]) -> int:
    """The first process of the cell: makes it, runs the command, and takes in orphans until that ends."""
    here = os.getcwd()
    root = folder / "root"
    groups = hierarchies()
    run("mount", "--make-rprivate", "/")
    mount_root(folder, root)
    mount_kernel(root, groups)
    mount_folders(folder, root)
    os.chdir(root)
    run("pivot_root", ".", ".")
    run("umount", "--lazy", ".")
    forget_guests()
    # A new network takes over what others of the host have set.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    start_daemons()
    os.chdir(here)
    os.environ["HOMELAB_CELL"] = folder.name
    # The make that started the cell, if any, gives no jobs to one inside.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        os.environ.pop(name, None)
    # Tests start children that import the collection.
    os.environ.setdefault("PYTHONPATH", str(ROOT / ".build"))
    # A child of its own takes the signals of a terminal again.
    process = os.posix_spawnp(command[0], list(command), os.environ, setsigdef=[signal.SIGINT])
    while True:
        ended, status = os.wait()
        if ended == process:
            thaw(Path("/sys/fs/cgroup"))
            return exit_status(os.waitstatus_to_exitcode(status))


def mount_root(folder: Path, root: Path) -> None:
    memory = folder / "memory"
    for path in (root, memory):
        path.mkdir()
    # An upper folder below its own lower one is refused: therefore memory.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(memory))
    for name in ("upper", "work"):
        (memory / name).mkdir()
    options = f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work,redirect_dir=on"
    run("mount", "-t", "overlay", "-o", options, "overlay", str(root))


def mount_kernel(root: Path, groups: Sequence[ControlGroups]) -> None:
    """What the kernel shows, as this cell's namespaces see it."""
    run("mount", "-t", "proc", "proc", f"{root}/proc")
    run("mount", "-t", "sysfs", "sysfs", f"{root}/sys")
    run("mount", "--bind", "/dev", f"{root}/dev")
    run("mount", "-t", "devpts", "-o", "newinstance,mode=600,ptmxmode=666", "devpts", f"{root}/dev/pts")
    run("mount", "-t", "tmpfs", "tmpfs", f"{root}/dev/shm")
    # The nodes of guests lie by the names of guests, which are the same in each cell.
    nodes = root / "dev/homelab_hybrid"
    nodes.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(nodes))
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/run")
    (root / "run/lock").mkdir(mode=0o1777)
    (root / "run/lock").chmod(0o1777)
    if all(group.mount != Path("/sys/fs/cgroup") for group in groups):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/sys/fs/cgroup")
    for group in groups:
        target = root / str(group.mount).lstrip("/")
        target.mkdir(exist_ok=True)
        run("mount", "-t", group.kind, *(["-o", group.options] if group.options else []), group.kind, str(target))


def mount_folders(folder: Path, root: Path) -> None:
    for name in ON_DISK:
        own = folder / name.strip("/").replace("/", "-")
        own.mkdir()
        if os.path.isdir(name):
            shutil.copystat(name, own)
            os.chown(own, os.stat(name).st_uid, os.stat(name).st_gid)
        bind(own, root / name.lstrip("/"))
    for kept in ("/var/lib/libvirt", "/var/lib/homelab_hybrid/*.json"):
        copy_skeleton(kept, root)
    # What tests delete is gone at once, as on a host without a quarantine.
    (root / "var/lib/homelab_hybrid/quarantine.json").unlink(missing_ok=True)
    for path in SHARED:
        path = path.resolve()
        path.mkdir(parents=True, exist_ok=True)
        bind(path, root / str(path).lstrip("/"))
    bind(Path(READ_ONLY), root / READ_ONLY.lstrip("/"))
    run("mount", "-o", "remount,bind,ro", f"{root}{READ_ONLY}")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}{LINKS}")


def copy_skeleton(pattern: str, root: Path) -> None:
    """Of a folder the folders in it, of files all: what packages and the role `hypervisor` made, not what guests did."""
    for path in Path("/").glob(pattern.lstrip("/")):
        copy = ["rsync", "-a", "--relative", *(["--include=*/", "--exclude=*"] if path.is_dir() else []), str(path)]
        run(*copy, f"{root}/")


def bind(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "--rbind", str(source), str(target))


def forget_guests() -> None:
    for pattern in FOREIGN:
        for path in Path("/etc/libvirt").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in Path("/etc/libvirt/qemu/networks").glob("*.xml"):
        if path.name != "default.xml":
            path.unlink()


def start_daemons() -> None:
    """The daemons of the role `hypervisor`, as it starts them where systemd is not the first process."""
    variables = yaml.safe_load((ROOT / "roles/hypervisor/vars/main.yml").read_text())
    folder, mount = variables["__hypervisor_pid_files"], variables["__hypervisor_lxcfs_mount"]
    os.makedirs(folder)
    for daemon in variables["__hypervisor_daemons"]:
        name = daemon["name"]
        arguments = [each.replace("{{ __hypervisor_lxcfs_mount }}", mount) for each in daemon["arguments"]]
        start = ["start-stop-daemon", "--start", "--background", "--make-pidfile", "--pidfile", f"{folder}/{name}.pid"]
        start += ["--chdir", "/", "--output", f"/var/log/libvirt/{name}.out", "--exec", daemon["program"], "--"]
        run(*start, *arguments)
    until = time.monotonic() + DAEMON_SECONDS
    while not (
        os.path.exists("/run/libvirt/libvirt-sock")
        and os.path.exists("/run/libvirt/virtlogd-sock")
        and os.path.ismount(mount)
    ):
        if time.monotonic() > until:
            raise SystemExit(f"cell: the daemons do not answer; see {folder}")
        time.sleep(0.02)


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cell: {' '.join(argv)}: {done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("which command?")
    if os.geteuid() != 0:
        parser.error("a cell needs root")
    return enter(options.inside, command) if options.inside else run_in_cell(command)


if __name__ == "__main__":
    sys.exit(main())
