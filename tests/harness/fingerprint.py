# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check or a refusal must leave as it was: one value that differs when anything on the host differs.

``FINGERPRINT_PREFIX`` in the environment narrows it to the things of that name prefix, for a host that others work on too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import libvirt

LXC = Path("/var/lib/lxc")
STATE = Path("/var/lib/homelab_hybrid")
# dnsmasq of libvirt rewrites its leases, and a locked password file its last-changed day, without anybody's doing.
VOLATILE = re.compile(r"/etc/(mtab|resolv\.conf|ld\.so\.cache|\.pwd\.lock)$")

Fingerprint = dict[str, t.Any]


def fingerprint() -> Fingerprint:
    """The host as it is, by area."""
    prefix = os.environ.get("FINGERPRINT_PREFIX")
    return (
        narrowed(prefix)
        if prefix
        else {**narrowed(""), "firewall": firewall(), "etc": tree(Path("/etc"), content=True)}
    )


def narrowed(prefix: str) -> Fingerprint:
    """The areas whose entries have names, those with *prefix* only."""
    return {
        "domains": domains(prefix),
        "pools": pools(prefix),
        "networks": networks(prefix),
        "containers": containers(prefix),
        "links": links(prefix),
        "vlans": [] if prefix else run("bridge", "-j", "vlan"),
        "state": {
            path: digest
            for path, digest in tree(STATE, content=True).items()
            if prefix in path and "/digest.key" not in path
        },
    }


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """The entries that differ, as ``area: entry``."""
    found = []
    for area in before:
        old, new = before[area], after[area]
        if isinstance(old, dict):
            found += [
                f"{area}: {key}: {_change(old.get(key), new.get(key))}"
                for key in {**old, **new}
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            found.append(f"{area}: {_change(old, new)}")
    return found


def _change(old: t.Any, new: t.Any) -> str:
    """Both, or of what has many lines only those that differ."""
    if "\\n" not in repr(old) or "\\n" not in repr(new):
        return f"{old!r} -> {new!r}"
    lines = difflib.ndiff(*(repr(each).replace("\\n", "\n").splitlines() for each in (old, new)))
    return "\n".join(line for line in lines if line[0] in "+-")


def domains(prefix: str) -> dict[str, t.Any]:
    connection = libvirt.open("qemu:///system")
    try:
        found = {}
        for domain in connection.listAllDomains():
            if domain.name().startswith(prefix):
                inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
                found[domain.name()] = (
                    inactive,
                    domain.XMLDesc(0) if domain.isActive() else None,
                    domain.autostart(),
                    domain.state()[0],
                )
        return found
    finally:
        connection.close()


def pools(prefix: str) -> dict[str, t.Any]:
    connection = libvirt.open("qemu:///system")
    try:
        found: dict[str, t.Any] = {}
        for pool in connection.listAllStoragePools():
            if pool.name().startswith(prefix):
                xml = pool.XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE)
                sizeless = re.sub(r"<(capacity|allocation|available) .*?\n", "", xml)
                path = re.search(r"<path>(.*?)</path>", xml)
                found[pool.name()] = (sizeless, pool.isActive(), pool.autostart())
                found.update(tree(Path(path.group(1)), content=False) if path else {})
        return found
    finally:
        connection.close()


def networks(prefix: str) -> dict[str, t.Any]:
    connection = libvirt.open("qemu:///system")
    try:
        return {
            network.name(): (network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE), network.isActive(), network.autostart())
            for network in connection.listAllNetworks()
            if network.name().startswith(prefix)
        }
    finally:
        connection.close()


def containers(prefix: str) -> dict[str, t.Any]:
    names = [path.name for path in LXC.glob(f"{prefix}*") if (path / "config").is_file()] if LXC.is_dir() else []
    return {name: ((LXC / name / "config").read_text(), is_listening(name)) for name in names}


def is_listening(container: str) -> bool:
    """Whether the monitor of *container* has its command socket open."""
    return f"@{LXC}/{container}/command\n" in Path("/proc/net/unix").read_text()


def links(prefix: str) -> dict[str, t.Any]:
    """The links; without what the kernel takes up by itself some time after the other end changed."""
    found = {}
    for link in json.loads(run("ip", "-j", "addr") or "[]"):
        if prefix in link.get("ifname", ""):
            addresses = sorted(
                f"{entry['local']}/{entry['prefixlen']}"
                for entry in link.get("addr_info", ())
                if entry.get("local") and entry.get("scope") != "link"
            )
            flags = sorted(set(link["flags"]) - {"LOWER_UP", "NO-CARRIER", "M-DOWN"})
            found[link["ifname"]] = (link.get("master"), link.get("address"), link["mtu"], flags, addresses)
    return found


def live_folders() -> set[str]:
    """Where the system of a container that runs writes without anybody's doing."""
    found = set()
    for config, runs in containers("").values():
        root = re.search(r"^lxc\.rootfs\.path *= *(?:dir:)?(/.+)$", config, re.MULTILINE)
        if runs and root:
            found.update(f"{root.group(1)}/{folder}" for folder in ("run", "tmp", "var"))
    return found


def firewall() -> str:
    return run("nft", "--stateless", "list", "ruleset")


def tree(folder: Path, *, content: bool) -> dict[str, str]:
    """Every path below *folder* with its owner, mode, size and either the digest of its content or its time of change."""
    found = {}
    live = live_folders()
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if os.path.join(parent, name) not in live]
        for name in names + files:
            path = os.path.join(parent, name)
            if VOLATILE.search(path):
                continue
            try:
                found[path] = entry(path, content)
            except FileNotFoundError:
                found[path] = "vanished"
    return found


def entry(path: str, content: bool) -> str:
    status = os.lstat(path)
    told = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
    if os.path.islink(path):
        return f"{told} -> {os.readlink(path)}"
    if not os.path.isfile(path):
        return told
    if not content or status.st_size > 4 * 2**20:
        return f"{told} {status.st_size} {status.st_mtime_ns}"
    return f"{told} {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
