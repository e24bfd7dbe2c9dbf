# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What is plugged into a bridge: remembered before the bridge goes, and plugged in again when it is back."""

from __future__ import annotations

import os
import typing as t

from ..._core import atomic, command
from ..._core.command import CommandError
from ..._host import links

# What libvirt and administrators set on a port; the kernel forgets it with the bridge.
_FLAGS = (
    "isolated",
    "hairpin_mode",
    "learning",
    "unicast_flood",
    "multicast_flood",
    "broadcast_flood",
    "bpdu_guard",
    "root_block",
)

Port = t.Mapping[str, t.Any]


def remember(bridge: str) -> list[Port]:
    """The links that are plugged into *bridge*, each with the flags of its port."""
    return [{"link": name, "flags": _flags(name)} for name in links.ports_of(bridge)]


def plug_in(bridge: str, ports: t.Iterable[Port]) -> None:
    """Plug in again those of *ports* that still exist and hang on no other bridge.

    :raises CommandError: when the kernel refuses one, after all others are plugged in.
    """
    failures: list[CommandError] = []
    for port in ports:
        name = port["link"]
        if not os.path.isdir(f"/sys/class/net/{name}"):
            continue
        if os.path.exists(f"/sys/class/net/{name}/master") and name not in links.ports_of(bridge):
            continue
        try:
            command.run(["ip", "link", "set", "dev", name, "master", bridge])
        except CommandError as exc:
            if os.path.isdir(f"/sys/class/net/{name}"):
                failures.append(exc)
            continue
        _set_flags(name, port["flags"])
    if failures:
        raise failures[0]


def _flags(name: str) -> dict[str, str]:
    read = {flag: atomic.read_text(f"/sys/class/net/{name}/brport/{flag}") for flag in _FLAGS}
    return {flag: text.strip() for flag, text in read.items() if text is not None}


def _set_flags(name: str, flags: t.Mapping[str, str]) -> None:
    current = _flags(name)
    for flag, value in flags.items():
        if flag in current and current[flag] != value:
            with open(f"/sys/class/net/{name}/brport/{flag}", "w", encoding="ascii") as stream:
                stream.write(value)
