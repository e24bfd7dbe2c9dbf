# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The libvirt network that carries a bridge, as XML: read into settings, edited in place, and compared for live updates."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t
from xml.etree import ElementTree

from ..subnet import Range, StaticHost
from .settings import NetworkSettings

Element = ElementTree.Element
MODE_OF_FORWARD = {"nat": "nat", "route": "routed", "open": "open"}
FORWARD_OF_MODE = {"nat": "nat", "routed": "route", "open": "open"}

# In which section libvirt takes an option of a running network; all others need its start.
LIVE = {
    "dhcp": "dhcp_host",
    "dhcp.start": "dhcp_range",
    "dhcp.end": "dhcp_range",
    "dhcp.hosts[]": "dhcp_host",
    "dhcp.hosts[].name": "dhcp_host",
    "dhcp.hosts[].mac": "dhcp_host",
    "dhcp.hosts[].ip": "dhcp_host",
    "dns.hosts[]": "dns_host",
    "dns.hosts[].ip": "dns_host",
    "dns.hosts[].ip6": "dns_host",
}


@dataclasses.dataclass(frozen=True)
class Update:
    """One live update: *command* is delete or add, *section* is dhcp_range, dhcp_host or dns_host."""

    command: str
    section: str
    xml: str


def new(name: str, settings: NetworkSettings) -> str:
    """The definition of a network that makes the bridge *name*, and bears its name."""
    root = ElementTree.Element("network")
    ElementTree.SubElement(root, "name").text = name
    # A bridge of guests has no loops, and none of them should wait for a port to forward.
    ElementTree.SubElement(root, "bridge", name=name, stp="on", delay="0")
    return edit(ElementTree.tostring(root, encoding="unicode"), settings)


def read(xml: str) -> NetworkSettings:
    """What the network is set to."""
    root = ElementTree.fromstring(xml)
    return NetworkSettings(**{field: read(root) for field, read in READ.items()})


def edit(xml: str, wanted: NetworkSettings) -> str:
    """*xml* with what differs from *wanted* changed. Elements, attributes and addresses of another kind stay."""
    root = ElementTree.fromstring(xml)
    current = read(xml)
    for field, write in WRITE.items():
        value = getattr(wanted, field)
        if value != getattr(current, field):
            write(root, value)
    return ElementTree.tostring(root, encoding="unicode")


def updates(before: str, after: str) -> list[Update]:
    """What takes a running network from *before* to *after*: all that goes first, since nothing may be there twice."""
    old, new = ElementTree.fromstring(before), ElementTree.fromstring(after)
    found: list[Update] = []
    for command, source, other in (("delete", old, new), ("add", new, old)):
        for section, elements, others in (
            ("dhcp_range", _all(_ip(source), "dhcp/range"), _all(_ip(other), "dhcp/range")),
            ("dhcp_host", _all(_ip(source), "dhcp/host"), _all(_ip(other), "dhcp/host")),
            ("dns_host", source.findall("dns/host"), other.findall("dns/host")),
        ):
            known = {_canonical(element) for element in others}
            for element in elements:
                if _canonical(element) not in known:
                    found.append(Update(command, section, _update_xml(command, section, element)))
    return found


def index_of_ip(xml: str) -> int:
    """The place of the <ip> that DHCP of IPv4 belongs to among those of both families, -1 where there is none."""
    root = ElementTree.fromstring(xml)
    ip = _ip(root)
    return -1 if ip is None else root.findall("ip").index(ip)


def _canonical(element: Element) -> str:
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"), strip_text=True)


def _update_xml(command: str, section: str, element: Element) -> str:
    if (command, section) == ("delete", "dns_host"):
        # libvirt takes an entry off that shares the address or any name: the address alone names exactly one.
        element = ElementTree.Element("host", ip=element.get("ip", ""))
    return _canonical(element)


def _ip(root: Element, family: str = "ipv4") -> Element | None:
    return next((ip for ip in root.iterfind("ip") if ip.get("family", "ipv4") == family), None)


def _all(parent: Element | None, path: str) -> list[Element]:
    return [] if parent is None else parent.findall(path)


def _mode(root: Element) -> str:
    forward = root.find("forward")
    mode = None if forward is None else forward.get("mode", "nat")
    return "isolated" if mode is None else MODE_OF_FORWARD.get(mode, mode)


def _mtu(root: Element) -> int:
    mtu = root.find("mtu")
    return 0 if mtu is None else int(mtu.get("size", "0"))


def _domain(root: Element) -> str:
    domain = root.find("domain")
    return "" if domain is None else domain.get("name", "").lower()


def _dns_hosts(root: Element) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.text or "", host.get("ip", ""))
        for host in root.iterfind("dns/host")
        for name in host.iterfind("hostname")
    )


def _address(root: Element) -> str:
    ip = _ip(root)
    if ip is None or not ip.get("address"):
        return ""
    return str(ipaddress.IPv4Interface(f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask') or '32'}"))


def _address6(root: Element) -> str:
    ip = _ip(root, "ipv6")
    if ip is None or not ip.get("address"):
        return ""
    return str(ipaddress.IPv6Interface(f"{ip.get('address')}/{ip.get('prefix') or '128'}"))


def _nat6(root: Element) -> bool:
    nat = root.find("forward/nat")
    return nat is not None and nat.get("ipv6") == "yes"


def _range(element: Element) -> Range:
    return element.get("start", ""), element.get("end", "")


def _static_host(element: Element) -> StaticHost:
    mac = element.get("mac")
    return StaticHost(element.get("name"), None if mac is None else mac.lower(), element.get("ip"))


def _forwarders(root: Element) -> list[Element]:
    """The servers for all names; one for a domain of its own is another thing."""
    return [element for element in root.iterfind("dns/forwarder") if element.get("addr") and not element.get("domain")]


def _set_one(root: Element, tag: str, attributes: t.Mapping[str, str] | None) -> None:
    element = root.find(tag)
    if attributes is None:
        if element is not None:
            root.remove(element)
    elif element is None:
        ElementTree.SubElement(root, tag, dict(attributes))
    else:
        first = next(iter(attributes))
        element.set(first, attributes[first])


def _set_mode(root: Element, mode: str) -> None:
    forward = root.find("forward")
    if mode == "isolated":
        if forward is not None:
            root.remove(forward)
        return
    if forward is None:
        forward = ElementTree.SubElement(root, "forward")
    forward.set("mode", FORWARD_OF_MODE.get(mode, mode))
    nat = forward.find("nat")
    if mode != "nat" and nat is not None:
        forward.remove(nat)


def _make(parent: Element, tag: str) -> Element:
    found = parent.find(tag)
    return ElementTree.SubElement(parent, tag) if found is None else found


def _set_forwarders(root: Element, servers: t.Sequence[str]) -> None:
    dns = _make(root, "dns")
    for element in _forwarders(root):
        dns.remove(element)
    for address in reversed(servers):
        dns.insert(0, ElementTree.Element("forwarder", addr=address))
    _drop_if_empty(root, dns)


def _set_dns_hosts(root: Element, pairs: t.Sequence[tuple[str, str]]) -> None:
    dns = _make(root, "dns")
    left = list(pairs)
    for host in dns.findall("host"):
        for hostname in host.findall("hostname"):
            pair = (hostname.text or "", host.get("ip", ""))
            if pair in left:
                left.remove(pair)
            else:
                host.remove(hostname)
        if host.find("hostname") is None:
            dns.remove(host)
    for name, address in left:
        same = next((host for host in dns.iterfind("host") if host.get("ip") == address), None)
        host = ElementTree.SubElement(dns, "host", ip=address) if same is None else same
        ElementTree.SubElement(host, "hostname").text = name
    _drop_if_empty(root, dns)


def _drop_if_empty(parent: Element, element: Element) -> None:
    if len(element) == 0 and not element.attrib:
        parent.remove(element)


def _set_address(root: Element, address: str) -> None:
    if not address:
        # A second address would be the first one then.
        while (ip := _ip(root)) is not None:
            root.remove(ip)
        return
    ip = _ip(root)
    if ip is None:
        ip = ElementTree.SubElement(root, "ip")
    interface = ipaddress.IPv4Interface(address)
    ip.attrib.pop("netmask", None)
    ip.set("address", str(interface.ip))
    ip.set("prefix", str(interface.network.prefixlen))


def _set_address6(root: Element, address: str) -> None:
    if not address:
        while (ip := _ip(root, "ipv6")) is not None:
            root.remove(ip)
        return
    ip = _ip(root, "ipv6")
    if ip is None:
        ip = ElementTree.SubElement(root, "ip", family="ipv6")
    interface = ipaddress.IPv6Interface(address)
    ip.set("address", str(interface.ip))
    ip.set("prefix", str(interface.network.prefixlen))


def _set_nat6(root: Element, is_on: bool) -> None:
    forward = root.find("forward")
    if forward is None:
        return
    nat = _make(forward, "nat")
    if is_on:
        nat.set("ipv6", "yes")
    else:
        nat.attrib.pop("ipv6", None)
    _drop_if_empty(forward, nat)


def _set_ranges(root: Element, ranges: t.Sequence[Range]) -> None:
    ip = _ip(root)
    if ip is None:
        return
    dhcp = _make(ip, "dhcp")
    elements = dhcp.findall("range")
    for element in elements[len(ranges) :]:
        dhcp.remove(element)
    for place, (first, last) in enumerate(ranges):
        element = elements[place] if place < len(elements) else ElementTree.SubElement(dhcp, "range")
        element.set("start", first)
        element.set("end", last)
    _drop_if_empty(ip, dhcp)


def _set_hosts(root: Element, hosts: t.Sequence[StaticHost]) -> None:
    ip = _ip(root)
    if ip is None:
        return
    dhcp = _make(ip, "dhcp")
    free = dhcp.findall("host")
    for host in hosts:
        element = _take(free, host)
        if element is None:
            element = ElementTree.SubElement(dhcp, "host")
        for key, value in (("mac", host.mac), ("name", host.name), ("ip", host.ip)):
            if value is not None and value != getattr(_static_host(element), key):
                element.set(key, value)
    for element in free:
        dhcp.remove(element)
    _drop_if_empty(ip, dhcp)


def _take(free: list[Element], host: StaticHost) -> Element | None:
    """Take the element of *host* out of those that no host has yet: the same one, else by its name, else by its MAC address."""
    known = [_static_host(element) for element in free]
    rules: tuple[t.Callable[[StaticHost], bool], ...] = (
        lambda other: other == host,
        lambda other: host.name is not None and other.name == host.name,
        lambda other: host.mac is not None and other.mac == host.mac,
    )
    for same in rules:
        for place, other in enumerate(known):
            if same(other):
                return free.pop(place)
    return None


def _set_mtu(root: Element, mtu: int) -> None:
    _set_one(root, "mtu", {"size": str(mtu)} if mtu else None)


def _set_domain(root: Element, domain: str) -> None:
    # Questions for the lab's own domain never leave the host.
    _set_one(root, "domain", {"name": domain, "localOnly": "yes"} if domain else None)


# Each field of the settings. DHCP lies in the address, which is written before it.
READ: dict[str, t.Callable[[Element], t.Any]] = {
    "mode": _mode,
    "mtu": _mtu,
    "domain": _domain,
    "forwarders": lambda root: tuple(element.get("addr", "") for element in _forwarders(root)),
    "dns_hosts": _dns_hosts,
    "address": _address,
    "address6": _address6,
    "nat6": _nat6,
    "ranges": lambda root: tuple(_range(element) for element in _all(_ip(root), "dhcp/range")),
    "hosts": lambda root: tuple(_static_host(element) for element in _all(_ip(root), "dhcp/host")),
}
WRITE: dict[str, t.Callable[[Element, t.Any], None]] = {
    "mode": _set_mode,
    "mtu": _set_mtu,
    "domain": _set_domain,
    "forwarders": _set_forwarders,
    "dns_hosts": _set_dns_hosts,
    "address": _set_address,
    "address6": _set_address6,
    "nat6": _set_nat6,
    "ranges": _set_ranges,
    "hosts": _set_hosts,
}
