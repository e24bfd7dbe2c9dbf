# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the kernel knows of network links, addresses and bridges."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import command

Link = t.Mapping[str, t.Any]


def read_links() -> dict[str, Link]:
    """All links of the host by name, as ``ip -j -d addr`` tells them (with ``addr_info``, ``master``, ``linkinfo``)."""
    return {
        link["ifname"]: link
        for link in json.loads(command.run(["ip", "-j", "-d", "addr", "show"]) or "[]")
        if "ifname" in link
    }


def is_bridge(name: str) -> bool:
    """Whether the kernel has a bridge of that name."""
    return os.path.isdir(f"/sys/class/net/{name}/bridge")


def ports_of(bridge: str) -> list[str]:
    """The links that are plugged into *bridge*."""
    try:
        return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
    except FileNotFoundError:
        return []


def subnets_of(links: t.Mapping[str, Link]) -> list[tuple[str, str]]:
    """The IPv4 addresses of *links*, each as (link, address in CIDR form)."""
    return [
        (name, f"{address['local']}/{address['prefixlen']}")
        for name, link in links.items()
        for address in link.get("addr_info", ())
        if address.get("family") == "inet"
    ]
