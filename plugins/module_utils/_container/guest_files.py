# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The texts of the files that a guest is given: pure, from what is there to what shall be there."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core.value import Value

RESOLV_CONF = "/etc/resolv.conf"
KEYS = "/root/.ssh/authorized_keys"
INTERFACES = "/etc/network/interfaces"
GROUP = "/etc/group"
# The files that an option is read from and written to.
FILES = {
    "hostname": ("/etc/hostname", "/etc/hosts"),
    "dns.servers": (RESOLV_CONF,),
    "dns.search": (RESOLV_CONF,),
    "ssh_keys": (KEYS,),
}
NETWORKD_LINKS = (
    (
        "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/lib/systemd/system/systemd-networkd.service",
    ),
    ("/etc/systemd/system/sockets.target.wants/systemd-networkd.socket", "/lib/systemd/system/systemd-networkd.socket"),
    ("/etc/systemd/system/dbus-org.freedesktop.network1.service", "/lib/systemd/system/systemd-networkd.service"),
)
_STANZAS = ("iface", "mapping", "source", "source-directory", "rename", "template")
_HEADER = "# Kept by homelab.hybrid.lxc_container\n"
_LOCALHOST = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


class Net(Value):
    """An interface as the guest sees it. *ip* is ``dhcp``, ``none`` or an address with its prefix length, *ip6* one of IPv6 beside it;
    that and the gateways may be empty."""

    __slots__ = ("device", "gateway", "gateway6", "ip", "ip6", "name")

    def __init__(self, name: str, device: str, ip: str, gateway: str = "", ip6: str = "", gateway6: str = "") -> None:
        self.ip6 = ip6
        self.gateway6 = gateway6
        self.name = name
        self.device = device
        self.ip = ip
        self.gateway = gateway


def hosts(old: str | None, hostname: str) -> str:
    """``/etc/hosts`` in which 127.0.1.1 is the guest itself, as Debian's installer has it."""
    short = hostname.partition(".")[0]
    names = hostname if short == hostname else f"{hostname} {short}"
    kept = [line for line in (old or _LOCALHOST).splitlines() if line.split()[:1] != ["127.0.1.1"]]
    place = 1 + max((number for number, line in enumerate(kept) if line.split()[:1] == ["127.0.0.1"]), default=-1)
    return "\n".join([*kept[:place], f"127.0.1.1 {names}", *kept[place:]]) + "\n"


def resolver(text: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The servers and search domains of a ``resolv.conf``."""
    servers: list[str] = []
    search: list[str] = []
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif words and words[0] in ("search", "domain"):
            search = words[1:]
    return tuple(servers), tuple(search)


def resolv_conf(old: str | None, servers: t.Sequence[str], search: t.Sequence[str]) -> str:
    """``resolv.conf`` with these *servers* and *search* domains; its options and comments stay."""
    ours = ("nameserver", "search", "domain")
    kept = [line for line in (old or "").splitlines() if line.split()[:1] and line.split()[0] not in ours]
    new = [f"search {' '.join(search)}"] if search else []
    return "\n".join([*kept, *new, *(f"nameserver {server}" for server in servers)]) + "\n"


def host_resolver(texts: t.Iterable[str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a guest can use of the host's own resolver files, the first that names a server which is not the host's own loopback."""
    for text in texts:
        servers, search = resolver(text)
        usable = tuple(server for server in servers if not _is_loopback(server))
        if usable:
            return usable, tuple(domain for domain in search if domain != ".")
    return (), ()


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def groups(text: str | None) -> dict[str, int]:
    """The numbers of the groups of an ``/etc/group``; of a name that is there twice the first counts, as for libc."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        name, *rest = line.split(":")
        if len(rest) == 3 and rest[1].isdecimal() and len(rest[1]) < 10:
            found.setdefault(name, int(rest[1]))
    return found


def keys_there(text: str | None, declared: t.Sequence[str], ours: t.Sequence[str]) -> tuple[str, ...]:
    """Those of the *declared* keys and of *ours* that a file of authorized keys holds, in the order in which they were declared."""
    lines = {line.strip() for line in (text or "").splitlines()}
    return tuple(key for key in dict.fromkeys([*declared, *ours]) if key in lines)


def authorized_keys(old: str | None, keys: t.Sequence[str], ours: t.Sequence[str]) -> str:
    """The file with *keys*, without those of *ours* that are no longer among them, and with all other lines as they are."""
    gone = set(ours) - set(keys)
    kept = [line for line in (old or "").splitlines() if line.strip() not in gone]
    there = {line.strip() for line in kept}
    lines = [*kept, *(key for key in keys if key not in there)]
    return "".join(line + "\n" for line in lines)


def networkd_path(name: str) -> str:
    # networkd takes the first file that matches, by its name: images bring some that ask for an address (00-eth0.network).
    return f"/etc/systemd/network/00-0-homelab-{name}.network"


def networkd(net: Net) -> str | None:
    """The unit of systemd-networkd; ``None`` where it shall leave the interface alone."""
    if net.ip == "none":
        return None
    lines = ["[Match]", f"Name={net.device}", "", "[Network]"]
    if net.ip == "dhcp":
        lines.append("DHCP=yes")
    else:
        lines.append(f"Address={net.ip}")
        lines += [f"Gateway={net.gateway}"] if net.gateway else []
    lines += [f"Address={net.ip6}"] if net.ip6 else []
    lines += [f"Gateway={net.gateway6}"] if net.gateway6 else []
    # resolv.conf is kept by the host (option dns), and udev does not run in a container.
    lines += ["", "[DHCPv4]", "ClientIdentifier=mac"] if net.ip == "dhcp" else []
    return _HEADER + "\n".join(lines) + "\n"


def ifupdown_path(name: str) -> str:
    return f"/etc/network/interfaces.d/homelab-{name}"


def ifupdown(net: Net) -> str | None:
    """The stanza of ifupdown; ``None`` where it shall leave the interface alone."""
    if net.ip == "none":
        return None
    lines = [f"auto {net.device}"]
    if net.ip == "dhcp":
        lines.append(f"iface {net.device} inet dhcp")
    else:
        family = "inet6" if ":" in net.ip else "inet"
        lines += [f"iface {net.device} {family} static", f"    address {net.ip}"]
        lines += [f"    gateway {net.gateway}"] if net.gateway else []
    lines += [f"iface {net.device} inet6 static", f"    address {net.ip6}"] if net.ip6 else []
    lines += [f"    gateway {net.gateway6}"] if net.gateway6 else []
    return _HEADER + "\n".join(lines) + "\n"


def ifupdown_main(old: str | None) -> str:
    """``/etc/network/interfaces`` that reads the folder beside it.

    Of the ways to say so this is the one that Debian's ifupdown, ifupdown-ng (Alpine) and busybox's have in common:
    the last two know ``source`` for a single file, or not at all.
    """
    return (old or "auto lo\niface lo inet loopback\n") + "source-directory /etc/network/interfaces.d\n"


def asks_dhcp_for(text: str | None, device: str) -> bool:
    """Whether an ``interfaces`` file lets the interface *device* ask for an address."""
    stanzas = [line.split() for line in (text or "").splitlines()]
    return any(words[:2] == ["iface", device] and "dhcp" in words[2:] for words in stanzas)


def without_interface(text: str, device: str) -> str:
    """An ``interfaces`` file in which the stanzas of *device* are comments."""
    lines, is_its = [], False
    for line in text.split("\n"):
        words = line.split()
        if (words[:1] and words[0] in _STANZAS) or (words[:1] and words[0].startswith(("auto", "allow-"))):
            is_its = device in words[1:2] or (words[0].startswith(("auto", "allow-")) and words[1:] == [device])
        lines.append(f"# {line}" if is_its and words and not line.lstrip().startswith("#") else line)
    return "\n".join(lines)


def names_interfaces(text: str | None) -> bool:
    """Whether an ``interfaces`` file configures more than the loopback."""
    stanzas = [line.split() for line in (text or "").splitlines()]
    return any(words[:1] == ["iface"] and words[1:2] != ["lo"] for words in stanzas)
