# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a container on the host."""

from __future__ import annotations

import typing as t

from .._core.value import Value
from .._guest.device import HostDevice, Target
from .._guest.state import GuestState, Side, Things
from .._storage.volume import Limit, Volume
from .card import Card, Nic
from .config import Config, MountEntry
from .device import Device
from .idmap import Range
from .mount import Mounted, Source

# The one volume of a container.
ROOTFS = "rootfs"


class Inside(Value):
    """Files of the guest. *asks_dhcp* are the interfaces whose file of ours asks for an address, *manager* is what configures them.

    *dhcp_files* are the files of the guest by the interface that they let ask for an address, *obstacles* says of options why their
    files inside can be neither read nor written.
    """

    __slots__ = ("asks_dhcp", "dhcp_files", "hostname", "keys", "manager", "obstacles", "resolv_conf")

    def __init__(
        self,
        hostname: str | None = None,
        resolv_conf: str | None = None,
        keys: str | None = None,
        asks_dhcp: t.Collection[str] = (),
        manager: str | None = None,
        obstacles: t.Mapping[str, str] | None = None,
        dhcp_files: t.Mapping[str, str] | None = None,
    ) -> None:
        self.dhcp_files: t.Mapping[str, str] = dhcp_files or {}
        self.manager = manager
        self.obstacles: t.Mapping[str, str] = obstacles or {}
        self.hostname = hostname
        self.resolv_conf = resolv_conf
        self.keys = keys
        self.asks_dhcp = asks_dhcp


class Definition(Side):
    """A container as it is kept: its configuration, and files of the guest. Of ``items`` the networks are cards, the mounts entries, the
    devices ``device.Device``.

    *limits* are the items that it sets for the control groups which the host has, *cpus* those that are online. *ssh_keys* are
    those that the collection wrote.
    """

    __slots__ = ("config", "cpus", "inside", "limits", "ssh_keys")

    def __init__(
        self,
        config: Config | None = None,
        *,
        inside: Inside | None = None,
        limits: t.Mapping[str, str] | None = None,
        cpus: tuple[int, ...] = (0,),
        ssh_keys: tuple[str, ...] = (),
        cards: t.Mapping[str, Card] | None = None,
        mounts: t.Mapping[str, MountEntry] | None = None,
        devices: t.Mapping[str, Device] | None = None,
    ) -> None:
        super().__init__({}, {"networks": cards or {}, "mounts": mounts or {}, "devices": devices or {}})
        self.config = config or Config()
        self.inside = inside or Inside()
        self.limits: t.Mapping[str, str] = limits or {}
        self.cpus = cpus
        self.ssh_keys = ssh_keys


class Live(Side):
    """A running container. *limits* are its control group's files, *memory_in_use* what no reclaim can free, in KiB.

    *nics* are all interfaces, *mounted* all mounts by path; those that belong to items are in ``items`` by name. *held* is what its
    monitor holds of the keys that were asked for.
    """

    __slots__ = ("held", "hostname", "limits", "memory_in_use", "mounted", "nics", "pid", "uptime_seconds")

    def __init__(
        self,
        pid: int,
        limits: t.Mapping[str, str] | None = None,
        hostname: str = "",
        nics: tuple[Nic, ...] = (),
        mounted: t.Mapping[str, Mounted] | None = None,
        memory_in_use: int = 0,
        uptime_seconds: int = 0,
        items: t.Mapping[str, Things] | None = None,
        held: t.Mapping[str, str] | None = None,
    ) -> None:
        super().__init__({}, items)
        self.held: t.Mapping[str, str] = held or {}
        self.pid = pid
        self.limits: t.Mapping[str, str] = limits or {}
        self.hostname = hostname
        self.nics = nics
        self.mounted: t.Mapping[str, Mounted] = mounted or {}
        self.memory_in_use = memory_in_use
        self.uptime_seconds = uptime_seconds


class Claim(Value):
    """What one guest has that no other may get: the CPUs that it is bound to, its mapped ids and its links."""

    __slots__ = ("cpus", "ids", "links")

    def __init__(
        self,
        cpus: tuple[int, ...] = (),
        ids: tuple[Range, ...] = (),
        links: tuple[str, ...] = (),
    ) -> None:
        self.cpus = cpus
        self.ids = ids
        self.links = links


class HostState(Value):
    """What of the host a plan for *guest* depends on. *cpus* are online, *links* are there; *claims* are those of all guests by name,
    *reserved* the subordinate ids of the users of the host.

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
        "reserved",
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
        reserved: tuple[Range, ...] = (),
    ) -> None:
        self.reserved = reserved
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
        return tuple(sorted({*self.reserved, *(area for claim in self._others for area in claim.ids)}))

    @property
    def taken_links(self) -> frozenset[str]:
        return self.links | {link for claim in self._others for link in claim.links}

    @property
    def _others(self) -> list[Claim]:
        return [claim for name, claim in self.claims.items() if name != self.guest]


class State(GuestState):
    """A container as it is: see ``GuestState``.

    *rootfs* is where its root is, or was when it was taken away; *owns_rootfs*: it is ours. *root_pool* is the pool that it lies in.
    *limit* is what its file system holds it to, *size_obstacle* why it cannot have a size. *target* is the place for the root in the
    pool which the user named, *has_target* whether something is there; *missing_copy* is the copy of its image that a new root would
    be cloned from, where there is none yet, *is_cloned* whether it would.
    *problem* says why liblxc cannot load its configuration, *root_obstacle* why no file of its root can be reached,
    *removal_obstacle* why it cannot be taken away; *mount_obstacles* says of new mounts by name why LXC could not mount them at the
    next start, *sources* what the folders of the host are for them. *places* has the ``Mounted.place`` of each source
    of a mount that exists, *files* are those of them that are no folders, *away* the sources on mounts from elsewhere that do not
    answer: nothing is known of them. *host_devices* are those of the host that a device is or
    shall be, *device_obstacles* say of devices by name why the host has none such, *device_owners* which machine runs with them;
    *groups* are those of the guest. *lxc_version* is that of the host and *engine* a package of the guest with a strict runc, where
    Docker is asked for.
    *image_kind*, *image_bytes* and *image_largest_id* are of the image which a new one is made of, as far as they are known.
    """

    __slots__ = (
        "away",
        "closed_folder",
        "device_obstacles",
        "device_owners",
        "engine",
        "files",
        "groups",
        "has_rootfs",
        "has_target",
        "host",
        "host_devices",
        "image_bytes",
        "image_kind",
        "image_largest_id",
        "is_cloned",
        "limit",
        "lxc_version",
        "missing_copy",
        "mount_obstacles",
        "owns_rootfs",
        "places",
        "problem",
        "removal_obstacle",
        "root_obstacle",
        "root_pool",
        "rootfs",
        "size_obstacle",
        "sources",
        "target",
    )
    persistent: Definition  # pylint: disable=declare-non-slot  # a narrower type of a slot of its mother
    live: Live | None  # pylint: disable=declare-non-slot  # likewise

    def __init__(
        self,
        *,
        rootfs: str | None = None,
        has_rootfs: bool = False,
        owns_rootfs: bool = False,
        root_pool: str | None = None,
        limit: Limit | None = None,
        size_obstacle: str | None = None,
        closed_folder: str | None = None,
        image_kind: str | None = None,
        image_bytes: int = 0,
        image_largest_id: int = 0,
        missing_copy: Volume | None = None,
        is_cloned: bool = False,
        target: str | None = None,
        has_target: bool = False,
        places: t.Mapping[str, str] | None = None,
        files: frozenset[str] = frozenset(),
        away: frozenset[str] = frozenset(),
        host: HostState | None = None,
        problem: str | None = None,
        root_obstacle: str | None = None,
        removal_obstacle: str | None = None,
        mount_obstacles: t.Mapping[str, str] | None = None,
        sources: t.Mapping[str, Source] | None = None,
        host_devices: t.Mapping[Target, HostDevice] | None = None,
        device_obstacles: t.Mapping[str, str] | None = None,
        device_owners: t.Mapping[str, str] | None = None,
        groups: t.Mapping[str, int] | None = None,
        lxc_version: str = "",
        engine: str | None = None,
        persistent: Definition | None = None,
        **common: t.Any,
    ) -> None:
        super().__init__(persistent=persistent or Definition(), **common)
        self.host_devices: t.Mapping[Target, HostDevice] = host_devices or {}
        self.device_obstacles: t.Mapping[str, str] = device_obstacles or {}
        self.device_owners: t.Mapping[str, str] = device_owners or {}
        self.lxc_version = lxc_version
        self.engine = engine
        self.groups: t.Mapping[str, int] = groups or {}
        self.mount_obstacles: t.Mapping[str, str] = mount_obstacles or {}
        self.sources: t.Mapping[str, Source] = sources or {}
        self.problem = problem
        self.root_obstacle = root_obstacle
        self.removal_obstacle = removal_obstacle
        self.rootfs = rootfs
        self.has_rootfs = has_rootfs
        self.owns_rootfs = owns_rootfs
        self.root_pool = root_pool
        self.limit = limit or Limit()
        self.size_obstacle = size_obstacle
        self.closed_folder = closed_folder
        self.image_kind = image_kind
        self.image_bytes = image_bytes
        self.image_largest_id = image_largest_id
        self.missing_copy = missing_copy
        self.is_cloned = is_cloned
        self.target = target
        self.has_target = has_target
        self.places: t.Mapping[str, str] = places or {}
        self.files = files
        self.away = away
        self.host = host or HostState()

    @property
    def config(self) -> Config:
        return self.persistent.config

    @property
    def cards(self) -> t.Mapping[str, Card]:
        """The network cards of the definition by name."""
        return t.cast("t.Mapping[str, Card]", self.persistent.things("networks"))

    @property
    def mounts(self) -> t.Mapping[str, MountEntry]:
        """The mounts of the definition by name."""
        return t.cast("t.Mapping[str, MountEntry]", self.persistent.things("mounts"))

    @property
    def devices(self) -> t.Mapping[str, Device]:
        """The devices of the definition by name."""
        return t.cast("t.Mapping[str, Device]", self.persistent.things("devices"))

    @property
    def nics(self) -> t.Mapping[str, Nic]:
        """The interfaces of the running container by the names of their cards."""
        return t.cast("t.Mapping[str, Nic]", self.live.things("networks") if self.live else {})

    @property
    def is_unprivileged(self) -> bool:
        return bool(self.config.values("lxc.idmap"))
