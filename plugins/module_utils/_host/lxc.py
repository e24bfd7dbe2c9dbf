# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What liblxc keeps on this host: the configuration files of the containers, and which of them run."""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from .._core import atomic, libraries
from .._core.errors import MissingLibrary

LXC_PATH = "/var/lib/lxc"
_LINK = re.compile(r"^\s*lxc\.net\.(\d+)\.link\s*=\s*(\S+)\s*$", re.MULTILINE)
_VLAN = re.compile(r"^\s*lxc\.net\.(\d+)\.veth\.vlan\.(?:tagged\.)?id\s*=\s*\d", re.MULTILINE)
_MAC = re.compile(r"^\s*lxc\.net\.\d+\.hwaddr\s*=\s*([0-9A-Fa-f:]+)\s*$", re.MULTILINE)


class Container:
    """A container by its configuration file."""

    __slots__ = ("config", "is_running", "name")

    def __init__(self, name: str, config: str, is_running: bool = False) -> None:
        self.name = name
        self.config = config
        self.is_running = is_running

    @property
    def bridges(self) -> set[str]:
        """The links of the host that its interfaces are plugged into, or stand on."""
        return {link for dummy, link in _LINK.findall(self.config)}

    @property
    def macs(self) -> list[str]:
        """The MACs that the configuration gives to its interfaces; LXC makes a digit by chance of each x, which is none."""
        return [mac.lower() for mac in _MAC.findall(self.config)]

    @property
    def vlan_bridges(self) -> set[str]:
        """Those on which it is in a VLAN."""
        numbers = set(_VLAN.findall(self.config))
        return {link for number, link in _LINK.findall(self.config) if number in numbers}


def config_path(name: str) -> str:
    return os.path.join(LXC_PATH, name, "config")


def read_containers() -> dict[str, Container]:
    """All containers by name. Needs no library and starts no process."""
    running = running_names()
    try:
        names = sorted(os.listdir(LXC_PATH))
    except FileNotFoundError:
        return {}
    texts = {name: atomic.read_text(config_path(name)) for name in names}
    return {name: Container(name, text, name in running) for name, text in texts.items() if text is not None}


def running_names(lines: t.Iterable[str] | None = None) -> set[str]:
    """The containers whose monitor listens: on the abstract socket ``@/var/lib/lxc/NAME/command`` (LXC 5 and 6)."""
    prefix, suffix = f"@{LXC_PATH}/", "/command"
    if lines is None:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines()
    sockets = (line.rstrip("\n").split(" ")[-1] for line in lines)
    return {name[len(prefix) : -len(suffix)] for name in sockets if name.startswith(prefix) and name.endswith(suffix)}


def missing() -> str | None:
    """Why no container can be made on this host, as a sentence; ``None`` when it can."""
    if not os.path.isdir(LXC_PATH) or shutil.which("lxc-start") is None:
        return "LXC is not installed on this host. The role homelab.hybrid.hypervisor installs it"
    try:
        libraries.lxc()
    except MissingLibrary as exc:
        return exc.message
    return None
