# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Has the DHCP server of a virtual network keep an address for a card, or no more: in its definition, and while it runs."""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .._core.errors import ApplyError
from .._guest.record import Reserved
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .addressing import host_name

Element = ElementTree.Element


def keep(host: Host, kept: Reserved, guest: str, card: str) -> bool:
    """Have the network keep the address of *kept*, under a name of *guest* and its *card*. Returns whether anything was written.

    :raises ApplyError:
    """
    written = [_change(handle, flag, xml, kept, (guest, card)) for handle, flag, xml in _sides(host, kept.bridge)]
    return any(written)


def give_up(host: Host, kept: Reserved) -> bool:
    """Have the network keep the address of *kept* no more. Returns whether anything was written.

    :raises ApplyError:
    """
    written = [_change(handle, flag, xml, kept, None) for handle, flag, xml in _sides(host, kept.bridge)]
    return any(written)


def _sides(host: Host, bridge: str) -> t.Iterator[tuple[t.Any, int, str]]:
    """The network of *bridge*, read anew, as it is defined and as it runs, each with the flag for it."""
    library = libraries.libvirt()
    for network in host.networks.values():
        if network.bridge != bridge:
            continue
        with errors_of(f"read the network of the bridge {bridge}", ApplyError):
            handle = network.handle
            if handle.isPersistent():
                xml = handle.XMLDesc(library.VIR_NETWORK_XML_INACTIVE if handle.isActive() else 0)
                yield handle, library.VIR_NETWORK_UPDATE_AFFECT_CONFIG, xml
            if handle.isActive():
                yield handle, library.VIR_NETWORK_UPDATE_AFFECT_LIVE, handle.XMLDesc(0)


def _change(handle: t.Any, flag: int, xml: str, kept: Reserved, names: tuple[str, str] | None) -> bool:
    library = libraries.libvirt()
    index, hosts = _hosts(xml)
    there = [host for host in hosts if (_mac(host), host.get("ip")) == (kept.mac, kept.ip)]
    if bool(there) == (names is not None) or index < 0:
        return False
    if names is None:
        command, element, what = library.VIR_NETWORK_UPDATE_COMMAND_DELETE, there[0], "give up"
    else:
        name = host_name(*names, [host.get("name", "") for host in hosts])
        element = ElementTree.Element("host", {"mac": kept.mac, **({"name": name} if name else {}), "ip": kept.ip})
        command, what = library.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, "keep"
    with errors_of(f"have the bridge {kept.bridge} {what} the address {kept.ip}", ApplyError):
        text = ElementTree.tostring(element, encoding="unicode")
        handle.update(command, library.VIR_NETWORK_SECTION_IP_DHCP_HOST, index, text, flag)
    return True


def _hosts(xml: str) -> tuple[int, list[Element]]:
    """The place of the first <ip> of IPv4 among all, -1 where there is none, and for whom it keeps addresses."""
    for index, ip in enumerate(ElementTree.fromstring(xml).iterfind("ip")):
        if ip.get("family", "ipv4") == "ipv4":
            return index, ip.findall("dhcp/host")
    return -1, []


def _mac(host: Element) -> str:
    return host.get("mac", "").lower()
