# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What this host can do for guests, and what it lacks. Reads only; what must be tried is tried in a network namespace
of its own, which is gone with the program that tried."""

from __future__ import annotations

import os
import platform
import re
import socket
import typing as t

from .._core import atomic, command
from .._core.declared import check_number
from .._core.errors import HybridError
from .._core.units import MIB, show_size
from .._host import accelerator, firewall
from .._host.libvirt import dotted
from .._host.probe import VLAN_PROBE, read_memory, works_apart
from .._host.snapshot import SERVICE_LIBVIRT, Host
from .._run import journal

ARGUMENTS: dict[str, dict[str, t.Any]] = {"journal": {"type": "int", "default": 0}}
MOST_ENTRIES = 10_000
SOCKETS = {
    "libvirtd": "/run/libvirt/libvirt-sock",
    "virtlogd": "/run/libvirt/virtlogd-sock",
}
LXCFS = "/var/lib/lxcfs"
FILE_SYSTEMS = ("btrfs", "xfs", "overlay", "squashfs", "nfsd")
CAP_SYS_RESOURCE = 24


def read_host_info(params: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """The return value of ``host_info``.

    :raises SpecError, ObserveError:
    """
    from .._backup.replication.copies import read_replicas
    from .._backup.seen import read_backups  # the role asks for the rest alone
    from .._guest.quarantine import read_quarantine

    return {
        **read_host(params, host),
        "quarantine": read_quarantine(host),
        **read_backups(host),
        "replicas": read_replicas(host),
    }


def read_host(params: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """What the host is, and the entries of its journal that are asked for.

    :raises SpecError:
    """
    from .._bridge.switch.read import read_switch  # what else is asked here has nothing of a bridge

    entries = check_number("journal", params.get("journal") or 0, least=0, most=MOST_ENTRIES) or 0
    features = read_features()
    found = accelerator.probe()
    memory = read_memory()
    lacks = sorted(name for name, is_there in features.items() if not is_there)
    summary: dict[str, t.Any] = {
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "init": (atomic.read_text("/proc/1/comm") or "").strip(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "memory": show_size(memory // MIB * MIB),
        "accelerator": {"kind": found.kind, "reason": found.reason},
        "cgroup": read_cgroups(),
        "versions": read_versions(host),
        "services": read_services(),
        "subordinate_ids": {kind: read_subordinate_ids(f"/etc/sub{kind}") for kind in ("uid", "gid")},
        "features": features,
        "firewall": firewall.read_obstacles(),
        "switch": read_switch().shown(),
        "lacks": lacks if found.is_kvm else ["kvm", *lacks],
    }
    return {"host": summary, **({"journal": journal.read(entries)} if entries else {})}


def read_cgroups() -> dict[str, t.Any]:
    """The *family* (``v1``, ``hybrid``, ``v2``) and the controllers that can limit guests."""
    mounts = [line.split() for line in (atomic.read_text("/proc/self/mounts") or "").splitlines()]
    kinds = {fields[1]: fields[2] for fields in mounts if len(fields) > 2 and fields[2] in ("cgroup", "cgroup2")}
    if kinds.get("/sys/fs/cgroup") == "cgroup2":
        return {
            "family": "v2",
            "controllers": sorted((atomic.read_text("/sys/fs/cgroup/cgroup.controllers") or "").split()),
        }
    names: set[str] = set()
    for point, kind in kinds.items():
        if kind == "cgroup":
            names.update(os.path.basename(point).split(","))
    return {"family": "hybrid" if "cgroup2" in kinds.values() else "v1", "controllers": sorted(names - {"systemd"})}


def read_versions(host: Host) -> dict[str, str | None]:
    """What is installed, ``None`` for what is not."""
    emulator = accelerator.find_emulator()
    libvirt = None if host.missing(SERVICE_LIBVIRT) else dotted(host.connection.getLibVersion())
    return {
        "python": platform.python_version(),
        "libvirt": libvirt,
        "qemu": said_by([emulator, "--version"], r"version (\S+)") if emulator else None,
        "lxc": said_by(["lxc-start", "--version"], r"^(\d\S*)"),
        "lxcfs": said_by(["dpkg-query", "-W", "-f", "${Version}", "lxcfs"], r"^(\d[\d.]*)"),
        "dnsmasq": said_by(["dnsmasq", "--version"], r"version (\S+)"),
    }


def said_by(argv: list[str], pattern: str) -> str | None:
    try:
        match = re.search(pattern, command.run(argv, timeout=20))
    except HybridError:
        return None
    return match.group(1) if match else None


def read_services() -> dict[str, bool]:
    """Which of the daemons that guests need answer: a process of that name proves nothing, it can be a guest's own."""
    services = {name: answers(path) for name, path in SOCKETS.items()}
    services["lxcfs"] = is_lxcfs_alive()
    return services


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def is_lxcfs_alive() -> bool:
    try:
        return os.path.ismount(LXCFS) and bool(os.listdir(f"{LXCFS}/proc"))
    except OSError:
        return False


def read_subordinate_ids(path: str) -> list[dict[str, int]]:
    """The ranges of root, from which unprivileged containers get theirs."""
    ranges = []
    for line in (atomic.read_text(path) or "").splitlines():
        owner, dummy, rest = line.strip().partition(":")
        match = re.fullmatch(r"(\d+):(\d+)", rest)
        if owner in ("root", "0") and match:
            ranges.append({"start": int(match.group(1)), "count": int(match.group(2))})
    return ranges


def read_features() -> dict[str, bool]:
    """What the kernel offers, by name."""
    features = {f"filesystem_{name}": has_file_system(name) for name in FILE_SYSTEMS}
    features.update(
        apparmor=(atomic.read_text("/sys/module/apparmor/parameters/enabled") or "").startswith("Y"),
        bridge=works_apart("ip", "link", "add", "name", "probe0", "type", "bridge"),
        vlan_filtering=works_apart(*VLAN_PROBE),
        vlan=works_apart("ip", "link", "add", "link", "lo", "name", "probe0", "type", "vlan", "id", "5"),
        nftables=works_apart("nft", "add", "table", "inet", "probe0"),
        traffic_fair_queue=works_apart("tc", "qdisc", "add", "dev", "lo", "root", "sfq"),
        device_mapper=" device-mapper\n" in (atomic.read_text("/proc/misc") or "") or has_module("dm_mod"),
        fuse=os.path.exists("/dev/fuse"),
        iommu=has_entries("/sys/kernel/iommu_groups"),
        loop=os.path.exists("/dev/loop-control"),
        online_grow_ext4=has_capability(CAP_SYS_RESOURCE),
        tun=os.path.exists("/dev/net/tun"),
        user_namespaces=int(atomic.read_text("/proc/sys/user/max_user_namespaces") or 0) > 0,
        vhost_net=os.path.exists("/dev/vhost-net"),
        vhost_vsock=os.path.exists("/dev/vhost-vsock"),
        zfs=has_file_system("zfs"),
    )
    return dict(sorted(features.items()))


def has_file_system(name: str) -> bool:
    known = (line.split()[-1] for line in (atomic.read_text("/proc/filesystems") or "").splitlines() if line.strip())
    return name in known or has_module(name)


def has_module(name: str) -> bool:
    """Whether the kernel has the module loaded, built in, or on disk."""
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    folder = f"/lib/modules/{platform.release()}"
    pattern = re.compile(rf"/{name.replace('_', '[_-]')}\.ko\b")
    return any(
        pattern.search(atomic.read_text(f"{folder}/{index}") or "") for index in ("modules.builtin", "modules.dep")
    )


def has_entries(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False


def has_capability(number: int) -> bool:
    match = re.search(r"^CapEff:\s+([0-9a-f]+)", atomic.read_text("/proc/self/status") or "", re.MULTILINE)
    return match is not None and bool(int(match.group(1), 16) >> number & 1)
