# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The program on a hypervisor that the inventory plugin ``guests`` asks.

Prints one line: ``MARKER`` and JSON, with ``guests`` (as the module guest_info returns them) and ``private_bridges``, or with ``error``.
"""

from __future__ import annotations

import json
import sys
import typing as t

from .._core.errors import HybridError
from .._host.links import Link
from .._host.snapshot import Host
from .read import read_guests

MARKER = "homelab.hybrid.guests: "


def main() -> None:
    """Print what this host has."""
    host = Host()
    try:
        told: dict[str, t.Any] = {
            **read_guests({}, host),
            "private_bridges": private_bridges(host.links, (network.bridge for network in host.networks.values())),
        }
    except HybridError as exc:
        told = {"error": exc.message}
    sys.stdout.write(f"\n{MARKER}{json.dumps(told)}\n")


def private_bridges(links: t.Mapping[str, Link], made: t.Iterable[str | None]) -> list[str]:
    """The bridges whose guests are reached only through this host: those *made* by libvirt, and those with ports of guests alone."""
    private = {bridge for bridge in made if bridge}
    for name, link in links.items():
        if kind_of(link) == "bridge":
            ports = [port for port in links.values() if port.get("master") == name]
            if all(kind_of(port) in ("tun", "veth") for port in ports):
                private.add(name)
    return sorted(private)


def kind_of(link: Link) -> str:
    """What the kernel says that a link is; nothing for a network card."""
    return str(link.get("linkinfo", {}).get("info_kind", ""))
