# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The addresses of a bridge that are not free: those of the host itself, and what the DHCP server of its network hands out."""

from __future__ import annotations

import contextlib
import ipaddress
import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .snapshot import Host


def spans(host: Host, bridge: str, version: int) -> t.Iterator[tuple[int, int]]:
    """From the first to the last of each, as numbers: of the host, of DHCP ranges and reservations, and of leases that still run.

    Those of one *version* of IP alone.
    """
    for first, last in _found(host, bridge):
        ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
        if ends[0].version == version:
            yield int(ends[0]), int(ends[1])


def _found(host: Host, bridge: str) -> t.Iterator[tuple[str, str]]:
    for link in host.links.values():
        for entry in link.get("addr_info", ()):
            if "local" in entry:
                yield entry["local"], entry["local"]
    for network in host.networks.values():
        if network.bridge != bridge:
            continue
        for xml in (network.xml, network.live_xml):
            root = ElementTree.fromstring(xml) if xml else None
            for element in root.iterfind("ip/dhcp/*") if root is not None else ():
                first, last = (
                    (element.get("start"), element.get("end")) if element.tag == "range" else (element.get("ip"),) * 2
                )
                if first and last:
                    yield first, last
        with contextlib.suppress(libraries.libvirt().libvirtError):  # a network that has just gone leases nothing
            for lease in network.handle.DHCPLeases(None, 0) if network.is_active else ():
                if lease.get("ipaddr"):
                    yield lease["ipaddr"], lease["ipaddr"]
