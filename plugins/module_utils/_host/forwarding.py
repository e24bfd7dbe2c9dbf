# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Who on this host needs the kernel to forward: its own settings, and rules that translate addresses."""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from .._core import atomic, command

# Of one file name the first folder counts, and the names decide about the order: sysctl.d(5). procps reads the last file last.
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
LAST = "/etc/sysctl.conf"
_KEYS = {
    4: ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
    6: ("net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding"),
}
_OPENED = re.compile(r"(?:table \S+|\s*chain) (\S+) \{")
# Its chains in the tables of iptables, and the table that it has since libvirt 10.4.
_LIBVIRT = re.compile(r"LIBVIRT_|libvirt_network$")
# As nft says it, also of what iptables wrote; a target that it does not know it shows as a text.
_TRANSLATION = re.compile(r'\b(masquerade|snat|dnat|redirect)\b|xt target "(MASQUERADE|SNAT|DNAT|REDIRECT|NETMAP)"')


def is_configured(version: int) -> bool:
    """Whether the settings of the host switch forwarding of IPv4 or IPv6 on when it starts."""
    files: dict[str, str] = {}
    for folder in FOLDERS:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith(".conf"):
                files.setdefault(name, os.path.join(folder, name))
    found = None
    for path in (*(files[name] for name in sorted(files)), LAST):
        found = setting(atomic.read_text(path) or "", version, found)
    return found == "1"


def setting(text: str, version: int, before: str | None = None) -> str | None:
    """The value of forwarding after the lines of one file, *before* being that of the files before it."""
    for line in text.splitlines():
        key, equals, value = line.strip().lstrip("-").partition("=")
        if equals and key.strip().replace("/", ".") in _KEYS[version]:
            before = value.strip()
    return before


def is_translated() -> bool:
    """Whether somebody beside libvirt translates addresses of what goes through the host."""
    return shutil.which("nft") is not None and has_translation(command.run(["nft", "list", "ruleset"]).splitlines())


def has_translation(ruleset: t.Iterable[str]) -> bool:
    """The same of the lines of a ruleset."""
    table = chain = ""
    for line in ruleset:
        if opened := _OPENED.match(line):
            table, chain = (opened[1], "") if line.startswith("table") else (table, opened[1])
        elif not (_LIBVIRT.match(table) or _LIBVIRT.match(chain)) and _TRANSLATION.search(line):
            return True
    return False
