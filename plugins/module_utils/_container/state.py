# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a container: its state as the plan reads it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from .config import Config
from .idmap import Range


@dataclasses.dataclass(frozen=True)
class Address:
    """An address with its prefix length. *is_leased*: it has a lifetime, so the guest asked for it."""

    cidr: str
    is_leased: bool = False


@dataclasses.dataclass(frozen=True)
class Nic:
    """An interface of a running container: *device* inside, *host* its other end, plugged into *bridge* unless that is empty.

    *vlan* is that of its port, 0 for none, *default_vlan* what the bridge gives to each new port; ``None`` where the bridge
    knows no VLANs.
    """

    device: str
    mac: str
    host: str = ""
    bridge: str = ""
    mtu: int = 1500
    addresses: tuple[Address, ...] = ()
    gateways: tuple[str, ...] = ()
    vlan: int | None = None
    default_vlan: int = 0

    def has(self, cidr: str) -> bool:
        return any(address.cidr == cidr for address in self.addresses)


@dataclasses.dataclass(frozen=True)
class Mounted:
    """What is mounted inside: *place* is the device and the folder in it, the same for the same folder of the host."""

    place: str
    is_readonly: bool = False


@dataclasses.dataclass(frozen=True)
class Live:
    """A running container. *items* are its control group's files, *memory_in_use* what no reclaim can free, in KiB."""

    pid: int
    items: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    hostname: str = ""
    nics: tuple[Nic, ...] = ()
    mounts: t.Mapping[str, Mounted] = dataclasses.field(default_factory=dict)
    memory_in_use: int = 0
    uptime_seconds: int = 0


@dataclasses.dataclass(frozen=True)
class Inside:
    """Files of the guest. *asks_dhcp* are the interfaces whose file of ours asks for an address."""

    hostname: str | None = None
    resolv_conf: str | None = None
    keys: str | None = None
    asks_dhcp: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one guest has that no other may get: the CPUs that it is bound to, its mapped ids, its MACs and links."""

    cpus: tuple[int, ...] = ()
    ids: tuple[Range, ...] = ()
    macs: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class HostState:
    """What of the host a plan for *guest* depends on. *cpus* are online, *links* are there; *claims* are those of all guests by name.

    What the other guests have is put together only where it is asked for: most plans of a host do not.
    """

    is_v2: bool = False
    has_swap_limit: bool = True
    has_apparmor: bool = False
    cpus: tuple[int, ...] = (0,)
    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()
    machine_id: str = ""
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    links: frozenset[str] = frozenset()
    guest: str = ""
    claims: t.Mapping[str, Claim] = dataclasses.field(default_factory=dict)

    @property
    def cpu_claims(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs that each other container is bound to."""
        return tuple(claim.cpus for claim in self._others if claim.cpus)

    @property
    def taken_ids(self) -> tuple[Range, ...]:
        return tuple(sorted({area for claim in self._others for area in claim.ids}))

    @property
    def taken_macs(self) -> frozenset[str]:
        return frozenset(mac for claim in self._others for mac in claim.macs)

    @property
    def taken_links(self) -> frozenset[str]:
        return self.links | {link for claim in self._others for link in claim.links}

    @property
    def _others(self) -> list[Claim]:
        return [claim for name, claim in self.claims.items() if name != self.guest]


@dataclasses.dataclass(frozen=True)
class State:
    """A container as it is.

    *is_registered*: it has a configuration. *is_defined*: it stands, no creation of it was interrupted. *power* is
    ``stopped``, ``started`` or ``paused``. *rootfs* is where its root is, or was when it was taken away. *pool_path* is
    that of the pool which the user named, *target* the place in it for the root, *has_target* whether something is there.
    *places* has the ``Mounted.place`` of each source of a mount that exists, *files* are those of them that are no folders.
    *vlan_obstacles* says of bridges why none of their ports can be in a VLAN. *image_kind* is that of the image which a new
    one is made of, as far as it is known.
    """

    is_registered: bool = False
    is_defined: bool = False
    is_building: bool = False
    is_vm: bool = False
    power: str = "stopped"
    config: Config = dataclasses.field(default_factory=Config)
    record: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    live: Live | None = None
    inside: Inside = dataclasses.field(default_factory=Inside)
    rootfs: str | None = None
    has_rootfs: bool = False
    mounts_in_rootfs: tuple[str, ...] = ()
    left_overs: tuple[str, ...] = ()
    pool_path: str | None = None
    pool_type: str | None = None
    closed_folder: str | None = None
    image_kind: str | None = None
    target: str | None = None
    has_target: bool = False
    places: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    vlan_obstacles: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: frozenset[str] = frozenset()
    host: HostState = dataclasses.field(default_factory=HostState)

    @property
    def is_unprivileged(self) -> bool:
        return bool(self.config.values("lxc.idmap"))

    @property
    def volume(self) -> t.Mapping[str, t.Any]:
        """What the record says of the root: its ``pool`` and ``path``, whether it was ``made`` and is ``new`` (still being made)."""
        return (self.record.get("volumes") or {}).get("rootfs") or {}

    @property
    def owns_rootfs(self) -> bool:
        return bool(self.volume.get("made")) and bool(self.volume.get("path"))
