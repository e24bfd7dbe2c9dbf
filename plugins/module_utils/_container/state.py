# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a container on the host."""

from __future__ import annotations

import typing as t

from .._core.value import Value
from .card import Card, Nic
from .config import Config, MountEntry
from .idmap import Range
from .mount import Mounted


class Live(Value):
    """A running container. *items* are its control group's files, *memory_in_use* what no reclaim can free, in KiB."""

    __slots__ = ("hostname", "items", "memory_in_use", "mounts", "nics", "pid", "uptime_seconds")

    def __init__(
        self,
        pid: int,
        items: t.Mapping[str, str] | None = None,
        hostname: str = "",
        nics: tuple[Nic, ...] = (),
        mounts: t.Mapping[str, Mounted] | None = None,
        memory_in_use: int = 0,
        uptime_seconds: int = 0,
    ) -> None:
        self.pid = pid
        self.items: t.Mapping[str, str] = items or {}
        self.hostname = hostname
        self.nics = nics
        self.mounts: t.Mapping[str, Mounted] = mounts or {}
        self.memory_in_use = memory_in_use
        self.uptime_seconds = uptime_seconds


class Inside(Value):
    """Files of the guest. *asks_dhcp* are the interfaces whose file of ours asks for an address."""

    __slots__ = ("asks_dhcp", "hostname", "keys", "resolv_conf")

    def __init__(
        self,
        hostname: str | None = None,
        resolv_conf: str | None = None,
        keys: str | None = None,
        asks_dhcp: t.Collection[str] = (),
    ) -> None:
        self.hostname = hostname
        self.resolv_conf = resolv_conf
        self.keys = keys
        self.asks_dhcp = asks_dhcp


class Claim(Value):
    """What one guest has that no other may get: the CPUs that it is bound to, its mapped ids, its MACs and links."""

    __slots__ = ("cpus", "ids", "links", "macs")

    def __init__(
        self,
        cpus: tuple[int, ...] = (),
        ids: tuple[Range, ...] = (),
        macs: tuple[str, ...] = (),
        links: tuple[str, ...] = (),
    ) -> None:
        self.cpus = cpus
        self.ids = ids
        self.macs = macs
        self.links = links


class HostState(Value):
    """What of the host a plan for *guest* depends on. *cpus* are online, *links* are there; *claims* are those of all guests by name.

    What the other guests have is put together only where it is asked for: most plans of a host do not.
    """

    __slots__ = (
        "claims",
        "cpus",
        "gids",
        "guest",
        "has_apparmor",
        "has_swap_limit",
        "is_v2",
        "links",
        "machine_id",
        "search",
        "servers",
        "uids",
    )

    def __init__(
        self,
        *,
        is_v2: bool = False,
        has_swap_limit: bool = True,
        has_apparmor: bool = False,
        cpus: tuple[int, ...] = (0,),
        uids: tuple[Range, ...] = (),
        gids: tuple[Range, ...] = (),
        machine_id: str = "",
        servers: tuple[str, ...] = (),
        search: tuple[str, ...] = (),
        links: frozenset[str] = frozenset(),
        guest: str = "",
        claims: t.Mapping[str, Claim] | None = None,
    ) -> None:
        self.is_v2 = is_v2
        self.has_swap_limit = has_swap_limit
        self.has_apparmor = has_apparmor
        self.cpus = cpus
        self.uids = uids
        self.gids = gids
        self.machine_id = machine_id
        self.servers = servers
        self.search = search
        self.links = links
        self.guest = guest
        self.claims: t.Mapping[str, Claim] = claims or {}

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


class State(Value):
    """A container as it is.

    *is_registered*: it has a configuration. *exists*: it stands, no creation of it was interrupted. *other_kind* is what else
    on this host has its name, empty for nothing. *power* is ``stopped``, ``started`` or ``paused``. *cards* and *mounts* are by
    name; *limits* those of the configuration, for the control groups that the host has. *rootfs* is where its root is, or was
    when it was taken away. *pool_path* is that of the pool which the user named, *target* the place in it for the root,
    *has_target* whether something is there. *places* has the ``Mounted.place`` of each source of a mount that exists, *files*
    are those of them that are no folders. *vlan_obstacles* says of bridges why none of their ports can be in a VLAN.
    *image_kind* is that of the image which a new one is made of, as far as it is known.
    """

    __slots__ = (
        "cards",
        "closed_folder",
        "config",
        "exists",
        "files",
        "has_rootfs",
        "has_target",
        "host",
        "image_kind",
        "inside",
        "is_building",
        "is_registered",
        "left_overs",
        "limits",
        "live",
        "mounts",
        "mounts_in_rootfs",
        "other_kind",
        "places",
        "pool_path",
        "pool_type",
        "power",
        "record",
        "rootfs",
        "target",
        "vlan_obstacles",
    )

    def __init__(
        self,
        *,
        is_registered: bool = False,
        exists: bool = False,
        is_building: bool = False,
        other_kind: str = "",
        power: str = "stopped",
        config: Config | None = None,
        record: t.Mapping[str, t.Any] | None = None,
        live: Live | None = None,
        inside: Inside | None = None,
        cards: t.Mapping[str, Card] | None = None,
        mounts: t.Mapping[str, MountEntry] | None = None,
        limits: t.Mapping[str, str] | None = None,
        rootfs: str | None = None,
        has_rootfs: bool = False,
        mounts_in_rootfs: tuple[str, ...] = (),
        left_overs: tuple[str, ...] = (),
        pool_path: str | None = None,
        pool_type: str | None = None,
        closed_folder: str | None = None,
        image_kind: str | None = None,
        target: str | None = None,
        has_target: bool = False,
        places: t.Mapping[str, str] | None = None,
        vlan_obstacles: t.Mapping[str, str] | None = None,
        files: frozenset[str] = frozenset(),
        host: HostState | None = None,
    ) -> None:
        self.is_registered = is_registered
        self.exists = exists
        self.is_building = is_building
        self.other_kind = other_kind
        self.power = power
        self.config = config or Config()
        self.record: t.Mapping[str, t.Any] = record or {}
        self.live = live
        self.inside = inside or Inside()
        self.cards: t.Mapping[str, Card] = cards or {}
        self.mounts: t.Mapping[str, MountEntry] = mounts or {}
        self.limits: t.Mapping[str, str] = limits or {}
        self.rootfs = rootfs
        self.has_rootfs = has_rootfs
        self.mounts_in_rootfs = mounts_in_rootfs
        self.left_overs = left_overs
        self.pool_path = pool_path
        self.pool_type = pool_type
        self.closed_folder = closed_folder
        self.image_kind = image_kind
        self.target = target
        self.has_target = has_target
        self.places: t.Mapping[str, str] = places or {}
        self.vlan_obstacles: t.Mapping[str, str] = vlan_obstacles or {}
        self.files = files
        self.host = host or HostState()

    @property
    def is_unprivileged(self) -> bool:
        return bool(self.config.values("lxc.idmap"))

    @property
    def nics(self) -> tuple[Nic, ...]:
        """The interfaces of the running container."""
        return self.live.nics if self.live else ()

    @property
    def volume(self) -> t.Mapping[str, t.Any]:
        """What the record says of the root: its ``pool`` and ``path``, whether it was ``made`` and is ``new`` (still being made)."""
        return (self.record.get("volumes") or {}).get("rootfs") or {}

    @property
    def owns_rootfs(self) -> bool:
        return bool(self.volume.get("made")) and bool(self.volume.get("path"))
