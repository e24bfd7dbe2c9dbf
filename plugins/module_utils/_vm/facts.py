# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A virtual machine as the modules return it."""

from __future__ import annotations

import typing as t

from .._core.units import show_memory_kib, show_size
from .._guest import facts
from .._host.snapshot import Host
from .addressing import is_address, is_address6
from .observe import observe
from .options import OPTIONS, SEED_DISK
from .process import uptime_seconds
from .spec import Spec
from .state import State, VmSide
from .xml.hostdev import Hostdev
from .xml.nic import Nic

# What only a machine has lists of.
_AREAS = ("cdroms", "devices", "shares")


def guest_facts(name: str, host: Host) -> dict[str, t.Any]:
    """The virtual machine *name* as it is, in the shape that both kinds of guest share.

    Sizes in bytes and memory in KiB beside what a person reads. *managed*: the collection keeps a record of it.

    :raises ObserveError:
    """
    return facts_of(name, observe(Spec(name), host))


def facts_of(name: str, state: State) -> dict[str, t.Any]:
    """The facts of what was observed."""
    if not state.exists:
        return {**facts.nothing(name, "vm"), **{area: [] for area in _AREAS}, "managed": state.is_managed}
    side = state.live or state.persistent
    networks = _networks(side, state)
    return {
        **facts.common(name, "vm", OPTIONS, state),
        "vcpus": side.values["vcpus"],
        "memory_kib": side.values["memory"],
        "memory": show_memory_kib(side.values["memory"]),
        "networks": networks,
        "disks": _disks(side),
        "cdroms": [
            {"name": name, "path": drive.source or None, "bus": drive.bus} for name, drive in side.cdroms.items()
        ],
        "devices": [_device(name, device) for name, device in side.devices.items()],
        "shares": [
            {"name": name, "source": share.value("source"), "readonly": share.value("readonly")}
            for name, share in side.shares.items()
        ],
        "addresses": [address for net in networks for address in net["addresses"]],
        "uptime_seconds": uptime_seconds(state.run) if state.run else None,
        "pid": state.run.pid if state.run else None,
        "os_variant": side.values["os_variant"],
        "installing": state.installing is not None,
    }


def _device(name: str, device: Hostdev) -> dict[str, t.Any]:
    source = device.source
    return {"name": name, "type": source.type, "address": source.address or None, "id": source.id or None}


def _networks(side: VmSide, state: State) -> list[dict[str, t.Any]]:
    return [
        {
            "name": name,
            "bridge": nic.value("bridge"),
            "vlan": nic.value("vlan") or None,
            "mac": nic.mac,
            "ip": nic.value("ip"),
            "ip6": nic.value("ip6") or None,
            "addresses": _addresses(nic, state),
            "link": nic.value("link"),
        }
        for name, nic in side.nics.items()
    ]


def _addresses(nic: Nic, state: State) -> list[str]:
    """Those that it has while it runs, else those that it will have."""
    if state.live is not None:
        return list(state.addresses.get(nic.mac, ()))
    return _fixed(nic.value("ip"), nic.value("ip6"))


def unseen_addresses(facts: t.Mapping[str, t.Any]) -> list[tuple[t.Mapping[str, t.Any], str]]:
    """The fixed addresses of cards that are plugged in which nobody has told yet, each with its card."""
    return [
        (net, address)
        for net in facts["networks"]
        if net["link"] == "up"
        for address in _fixed(net["ip"], net["ip6"])
        if address not in net["addresses"]
    ]


def knows_addresses(facts: t.Mapping[str, t.Any]) -> bool:
    """Whether each card that has a fixed address has it by now; where none has, whether there is any."""
    return bool(facts["addresses"]) and not unseen_addresses(facts)


def _fixed(ip: str, ip6: str | None) -> list[str]:
    return [
        cidr.partition("/")[0]
        for cidr, is_fixed in ((ip, is_address(ip)), (ip6, is_address6(ip6)))
        if cidr and is_fixed
    ]


def _disks(side: VmSide) -> list[dict[str, t.Any]]:
    return [
        {
            "name": name,
            "pool": disk.value("pool") or None,
            "path": disk.source or None,
            "size_bytes": disk.value("size"),
            "size": show_size(disk.value("size")),
        }
        for name, disk in side.disks.items()
        if name != SEED_DISK
    ]
