# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab may leave on its host, one thing a line: written before the lab and after it, the two are equal.

Processes, links, mounts, loop devices, firewall rules, forwarding, objects of libvirt, containers and the files that say how the host starts.
Packages and caches are none of it, nor is what their own units run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

PROGRAMS = re.compile(
    r"(qemu-|dnsmasq|lxc|libvirt|virtlog|virtlock|swtpm|virtiofsd|passt|tini|\[mux\]|caddy|unbound|mmdebstrap)"
)
# It ends by itself, half a minute after the last command that asked it.
PASSING = re.compile(r"lxc-monitord")
FILES = (
    "subuid",
    "subgid",
    "fstab",
    "network",
    "systemd/network",
    "systemd/system",
    "sysctl.d",
    "lxc",
    "default/libvirt-guests",
    "libvirt/qemu",
)
# `ip netns` mounts it over itself with the first namespace on a host, and leaves it so: only what is in it counts.
SPACES = "/run/netns"
OBJECTS = ("list --all --name", "net-list --all --name", "pool-list --all --name", "nwfilter-list", "secret-list")
FOLDERS = (
    "/srv",
    "/usr/local/sbin",
    "/var/lib/lxc",
    "/var/lib/homelab_hybrid/guests",
    "/var/lib/homelab_hybrid/pools",
    "/var/lib/homelab_hybrid/bridges",
)


def output(*argv: str) -> list[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []


def processes() -> t.Iterator[str]:
    """Those of this host itself: what runs in a container goes with the container."""
    own = os.readlink("/proc/self/ns/pid")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "ns" / "pid") != own:
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        program = command.split(" ")[0] if not command.startswith(("ssh", "[")) else command
        # libvirtd asks it when it starts.
        is_passing = PASSING.search(program) or command.endswith("dnsmasq --version")
        if PROGRAMS.search(program) and not is_passing:
            yield f"process {command[:160]}"


def links() -> t.Iterator[str]:
    for link in json.loads("".join(output("ip", "-j", "addr")) or "[]"):
        addresses = sorted(entry["local"] for entry in link["addr_info"] if entry.get("scope") == "global")
        yield f"link {link['ifname']} {' '.join(addresses)}"


def firewall() -> t.Iterator[str]:
    """The rules. A libvirtd that goes on to run keeps its empty chains, and needs them."""
    chain = ""
    for line in output("nft", "--stateless", "list", "ruleset"):
        if line.strip().startswith(("table", "chain")):
            chain = line.strip(" \t{")
        elif line.strip() not in ("", "}") and "jump LIBVIRT_" not in line and not line.strip().startswith("type "):
            yield f"firewall {chain}: {line.strip()}"


def files() -> t.Iterator[str]:
    for name in FILES:
        path = Path("/etc") / name
        for found in sorted([path, *path.rglob("*")]):
            if found.is_file():
                yield f"file {found} {hashlib.sha256(found.read_bytes()).hexdigest()[:16]}"


def everything() -> t.Iterator[str]:
    yield from processes()
    yield from links()
    points = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())
    yield from (f"mount {point}" for point in points if point != SPACES)
    yield from (f"network namespace {path.name}" for path in sorted(Path(SPACES).glob("*")))
    # All cells see all loop devices: those of others are of files that are not here.
    loops = output("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE")
    yield from (f"loop {line}" for line in loops if Path(line.split(maxsplit=1)[-1]).exists())
    yield from firewall()
    yield f"forwarding {Path('/proc/sys/net/ipv4/ip_forward').read_text(encoding='utf-8').strip()}"
    for words in OBJECTS:
        yield from (
            f"libvirt {words.partition('-')[0].partition(' ')[0]} {line}"
            for line in output("virsh", "-q", *words.split(" "))
            if line.strip()
        )
    for folder in FOLDERS:
        yield from (f"entry {path}" for path in sorted(Path(folder).glob("*")))
    yield from files()


def main() -> int:
    Path(sys.argv[1]).write_text("\n".join(sorted(everything())) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
