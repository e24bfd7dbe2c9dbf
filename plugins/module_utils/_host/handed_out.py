# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the DHCP servers of this host hand out, and the addresses of a bridge that are not free."""

from __future__ import annotations

import contextlib
import ipaddress
import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .._core.reference import Reference
from .dhcp import Place, Server, read_server
from .snapshot import BRIDGE, Host


def servers(host: Host) -> dict[str, Server]:
    """The DHCP servers of the networks of this host, by bridge, as a layout will have changed what bridges keep themselves."""
    known = owners(host)
    found = {
        network.bridge: read_server(network.bridge, network.xml, network.live_xml, known, host.gone)
        for network in host.networks.values()
        if network.bridge
    }
    return {
        bridge: server.once_kept(host.promised(Reference(BRIDGE, bridge), "dhcp.hosts") or {})
        for bridge, server in found.items()
        if server is not None
    }


def owners(host: Host) -> dict[Place, str]:
    """The guests that have addresses kept for them, by what the network keeps."""
    return {
        (str(kept.get("bridge")), str(kept.get("mac")), str(kept.get("ip"))): name
        for name, record in host.guest_records.items()
        for kept in record.data.get("reservations") or ()
        if isinstance(kept, dict)
    }


def leases(host: Host, bridge: str) -> dict[str, str]:
    """The MACs that have addresses of *bridge* now, by address."""
    found = {}
    for network in host.networks.values():
        if network.bridge == bridge and network.is_active:
            with contextlib.suppress(libraries.libvirt().libvirtError):  # a network that has just gone leases nothing
                for lease in network.handle.DHCPLeases(None, 0):
                    found[str(lease.get("ipaddr"))] = str(lease.get("mac")).lower()
    return found


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
    for address in leases(host, bridge):
        yield address, address
