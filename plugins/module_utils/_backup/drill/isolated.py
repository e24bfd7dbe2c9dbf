# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A container as it is tried: its own root and addresses, and nothing of the host that it could reach or write to."""

from __future__ import annotations

import ipaddress
import typing as t

from ..._container.config import ENTRY, HOOK, INCLUDE, SHIPPED, TABLE, Config, MountEntry, parse_entry, parse_program

# Its cards have no link in the configuration: liblxc would look for that on the host, whose links are not those of the drill.
_KEPT_OF_CARD = ("name", "hwaddr", "mtu", "ipv4.address", "ipv4.gateway", "ipv6.address", "ipv6.gateway")
_EMPTY = "left_out"
_NO_CARDS = ("empty", "none")
# Starting, logging and sharing are the host's; a hook is a program of the host.
_DROPPED = (
    "lxc.start.",
    "lxc.group",
    "lxc.hook.",
    "lxc.log.",
    "lxc.console.",
    "lxc.monitor.",
    "lxc.namespace.share.",
    "lxc.cgroup.dir",
    "lxc.cgroup.relative",
    "lxc.ephemeral",
    "lxc.rootfs.",
)
_DEVICES = (".devices.allow", ".devices.deny")
# Devices that reach nothing but the kernel.
_HARMLESS = ("/dev/net/tun", "/dev/fuse")


# The source of a mount, and its path inside.
Mount = tuple[str, str]


class Wire(t.NamedTuple):
    """The end *pair* of a card that is outside of the guest, and the *segment*, by number, that it is plugged into.

    *gateways* are the ways out that its configuration names, each with the length of the prefix of its network.
    """

    pair: str
    segment: int
    gateways: tuple[str, ...] = ()


class Isolated(t.NamedTuple):
    """The *config* of a container that is tried, its *wires*, in *left_out* what it has to do without, and in *emptied* the folders in which
    nothing lies therefore.
    """

    config: Config
    wires: tuple[Wire, ...]
    left_out: tuple[str, ...]
    emptied: tuple[str, ...]


def isolated(
    config: Config, *, root: str, ids: t.Sequence[str], console: str, brought: t.Mapping[Mount, str] | None = None
) -> Isolated:
    """*config* for a root at *root*, with the ``lxc.idmap`` lines *ids*, which writes what its console shows to *console*. What mounts of it
    show came out of the backup to the places *brought*.
    """
    places = brought or {}
    left_out: list[str] = []
    edited, wires = _plugged_apart(config)
    for line in config.lines:
        key = line.key or ""
        if any(key == start or (start[-1:] in ".r" and key.startswith(start)) for start in _DROPPED):
            edited = edited.remove(key, line.value)
        elif key == TABLE or (key == INCLUDE and not line.value.startswith(SHIPPED + "/")):
            edited = edited.remove(key, line.value)
            left_out.append(f"{line.value}, a file of the host that its configuration includes")
        elif key.endswith(_DEVICES):
            edited = edited.remove(key, line.value)
        elif key == ENTRY:
            edited = _without_the_host(edited, line.value, parse_entry(line.value), places, left_out)
        if key == HOOK and (entry := parse_program(line.value)) is not None:
            if (place := places.get((entry.source, entry.path))) is not None:
                edited = edited.append(HOOK, entry.replace(source=place).text)
            else:
                edited = edited.append(ENTRY, _emptied(entry))
                left_out.append(_told(entry))
    for device in ("c 10:200 rwm", "c 10:229 rwm"):
        for family in ("lxc.cgroup.devices.allow", "lxc.cgroup2.devices.allow"):
            if any(line.key == family and line.value == device for line in config.lines):
                edited = edited.append(family, device)
    edited = edited.set("lxc.rootfs.path", root).set("lxc.console.logfile", console)
    if ids:
        edited = edited.set_all("lxc.idmap", ids)
    emptied = (entry for entry in map(parse_entry, edited.values(ENTRY)) if entry is not None)
    return Isolated(edited, wires, tuple(left_out), tuple(entry.path for entry in emptied if entry.source == _EMPTY))


def neighbour(address: str, gateway: str | None = None) -> str | None:
    """Whom a guest with *address* (``10.0.0.5/24``) can be asked by, with the length of the prefix: its *gateway*, or somebody else
    of its network; ``None`` where it has no room for anybody.
    """
    its = ipaddress.ip_interface(address)
    if gateway is not None:
        try:
            if ipaddress.ip_address(gateway) in its.network:
                return f"{gateway}/{its.network.prefixlen}"
        except ValueError:
            pass
    first = int(its.network.network_address)
    for number in range(first + 1, first + min(its.network.num_addresses - 1, 4)):
        if number != int(its.ip):
            return f"{its.network.network_address + (number - first)}/{its.network.prefixlen}"
    return None


def _plugged_apart(config: Config) -> tuple[Config, tuple[Wire, ...]]:
    """Each card is one end of a pair whose other end goes into a segment of the drill; those that shared a bridge and a VLAN share one."""
    segments: dict[tuple[str, str], int] = {}
    wires = []
    for number, net in config.nets().items():
        if net.get("type", "veth") in _NO_CARDS:
            continue
        place = (net.get("link", f"#{number}"), net.get("veth.vlan.id") or net.get("vlan.id") or "")
        segment = segments.setdefault(place, len(segments))
        kept = {key: net[key] for key in _KEPT_OF_CARD if key in net}
        if net.get("type") == "phys" and "link" in net:
            kept.setdefault("name", net["link"])
        pair = f"hhdrill{number}"
        config = config.without_net(number)
        for key, value in {"type": "veth", "flags": "up", "veth.pair": pair, **kept}.items():
            for each in value.split("\n"):
                config = config.append(f"lxc.net.{number}.{key}", each)
        wires.append(Wire(pair, segment, tuple(_gateways(net))))
    return config, tuple(wires)


def _gateways(net: t.Mapping[str, str]) -> t.Iterator[str]:
    for family in ("ipv4", "ipv6"):
        gateway = net.get(f"{family}.gateway")
        for address in net.get(f"{family}.address", "").split("\n"):
            # liblxc may have the broadcast address behind a blank.
            found = neighbour(address.split(" ")[0], gateway) if address and gateway else None
            if found is not None and found.startswith(f"{gateway}/"):
                yield found


def _without_the_host(
    config: Config, value: str, entry: MountEntry | None, places: t.Mapping[Mount, str], left_out: list[str]
) -> Config:
    """A mount of something of the host shows what came out of the backup, becomes an empty folder, or is left out where it is no folder."""
    if entry is None or not entry.source.startswith("/") or entry.source in _HARMLESS:
        return config
    if entry.source.startswith(("/proc", "/sys")) and not entry.is_bind:
        return config
    edited = config.remove(ENTRY, value)
    if (place := places.get((entry.source, entry.path))) is not None:
        # At the end as well: a mount may lie in one that became an empty folder.
        return edited.append(ENTRY, entry.replace(source=place).text)
    left_out.append(_told(entry))
    is_file = "create=file" in entry.options or entry.source.startswith("/dev/")
    return edited if is_file else edited.append(ENTRY, _emptied(entry))


def _emptied(entry: MountEntry) -> str:
    return MountEntry(_EMPTY, entry.path, "tmpfs", ("create=dir", "mode=0755")).text


def _told(entry: MountEntry) -> str:
    return f"{entry.path}, which is {entry.source} of the host"
