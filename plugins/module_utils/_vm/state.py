# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a virtual machine."""

from __future__ import annotations

import typing as t

from .._guest.record import Run
from .._guest.state import GuestState, Side, Things
from .._host.dhcp import Server
from .._image.presets import Presets
from .._storage.volume import Volume
from .offer import Offer
from .options import CLOUD_INIT, OPTIONS
from .spec import NO_PRESETS, ImagePresets, Spec
from .xml.cdrom import Cdrom
from .xml.disk import Disk
from .xml.domain import Domain
from .xml.filesystem import Share
from .xml.hostdev import Hostdev, Source
from .xml.nic import Nic
from .xml.variant import LINUX


class FoundVolume:
    """A disk file that stands where a declared disk would be made. *is_ours*: the record of this guest says that we made it.

    *obstacle* says why no machine can have it, as a sentence.
    """

    __slots__ = ("format", "is_ours", "obstacle", "path", "size")

    def __init__(self, path: str, format: str, size: int, is_ours: bool, obstacle: str | None = None) -> None:
        self.obstacle = obstacle
        self.path = path
        self.format = format
        self.size = size
        self.is_ours = is_ours


class VmSide(Side):
    """The definition, or the running domain, with what *domain* says beyond its options."""

    __slots__ = ("cdroms", "devices", "disks", "domain", "nics", "shares")

    def __init__(
        self,
        values: t.Mapping[str, t.Any],
        disks: t.Mapping[str, Disk],
        nics: t.Mapping[str, Nic],
        domain: Domain,
        cdroms: t.Mapping[str, Cdrom] | None = None,
        devices: t.Mapping[str, Hostdev] | None = None,
        shares: t.Mapping[str, Share] | None = None,
    ) -> None:
        self.disks = disks
        self.cdroms: t.Mapping[str, Cdrom] = cdroms or {}
        self.nics = nics
        self.devices: t.Mapping[str, Hostdev] = devices or {}
        self.domain = domain
        self.shares: t.Mapping[str, Share] = shares or {}
        items: dict[str, Things] = {"disks": disks, "cdroms": self.cdroms, "networks": nics}
        super().__init__(values, {**items, "devices": self.devices, "shares": self.shares})

    def but(self, **changes: t.Any) -> VmSide:
        """The same side with other *values*, *nics* and the like."""
        names = ("values", *VmSide.__slots__)
        return VmSide(**{name: changes.get(name, getattr(self, name)) for name in names})


class State(GuestState):
    """A virtual machine as it is.

    *bridges* are the bridges of virtual networks by name, *formats* those that the disks of each pool can have, *other_pools* the
    types of the pools that have no driver. *missing_copies* are the copies of images that new disks would be cloned from, where there
    are none yet, by pool and image. *sources* are the paths of disks that are there, *found* the files that stand where a declared
    disk would be made, *image_sizes* in bytes, *image_presets* of the images by name, *presets* of the system that is or will be in it.
    *seed_instance* is the instance that its seed tells. *seed_path* is where its seed lies, *foreign_seed* a file of somebody else where
    it would be made. *run* is the process behind it. *places* are what declared sources lead to, *mistaken* says by list and item
    why nobody can tell which device is meant, *obstacles* by option path why its declared value cannot be had, *hyperv* what
    Windows could find of Microsoft's hypervisor, *source_obstacles* by disk why its new source cannot be used, *missing_sources* are
    the sources of drives and new ones of disks that are not there, *missing_folders* those that are to be shared. *offer* is what the host
    offers where that matters, *remembered* are the paths of UEFI variables and of TPMs that are there. *bridges_there* are those of
    declared cards that are there, *servers* the DHCP servers of bridges, *leases* the MACs that have addresses of them now, by bridge
    and address. *device_sources* are the devices of the host that are declared, by item, *device_ports* where those on USB are
    plugged in, *missing_devices* say why there is none,
    *device_groups* are those that only go together with another one. *installer_obstacle* says why
    nothing can be installed, as a sentence; *screen_obstacle* why the screen cannot listen where it is declared to.
    """

    __slots__ = (
        "accelerator",
        "accelerator_reason",
        "addresses",
        "bridges",
        "bridges_there",
        "device_groups",
        "device_ports",
        "device_sources",
        "foreign_seed",
        "formats",
        "found",
        "hyperv",
        "image_presets",
        "image_sizes",
        "installer_obstacle",
        "leases",
        "libvirt_snapshots",
        "missing_copies",
        "missing_devices",
        "missing_folders",
        "missing_sources",
        "mistaken",
        "obstacles",
        "offer",
        "other_pools",
        "places",
        "presets",
        "remembered",
        "run",
        "screen_obstacle",
        "seed_instance",
        "seed_path",
        "servers",
        "source_obstacles",
        "sources",
    )
    persistent: VmSide  # pylint: disable=declare-non-slot  # a narrower type of a slot of its mother
    live: VmSide | None  # pylint: disable=declare-non-slot  # likewise

    def __init__(
        self,
        *,
        seed_path: str | None = None,
        seed_instance: str | None = None,
        installer_obstacle: str | None = None,
        screen_obstacle: str | None = None,
        foreign_seed: str | None = None,
        bridges: t.Mapping[str, str] | None = None,
        formats: t.Mapping[str, tuple[str, ...]] | None = None,
        missing_copies: t.Mapping[tuple[str, str], Volume] | None = None,
        other_pools: t.Mapping[str, str] | None = None,
        sources: t.Collection[str] = (),
        found: t.Mapping[str, FoundVolume] | None = None,
        image_sizes: t.Mapping[str, int] | None = None,
        image_presets: ImagePresets = NO_PRESETS,
        presets: Presets | None = None,
        accelerator: str = "tcg",
        accelerator_reason: str = "",
        libvirt_snapshots: int = 0,
        run: Run | None = None,
        places: t.Mapping[str, t.Hashable] | None = None,
        mistaken: t.Mapping[str, t.Mapping[str, str]] | None = None,
        source_obstacles: t.Mapping[str, str] | None = None,
        obstacles: t.Mapping[str, str] | None = None,
        missing_sources: t.Collection[str] = (),
        hyperv: t.Collection[str] = (),
        addresses: t.Mapping[str, tuple[str, ...]] | None = None,
        offer: Offer | None = None,
        remembered: t.Collection[str] = (),
        servers: t.Mapping[str, Server] | None = None,
        leases: t.Mapping[str, t.Mapping[str, str]] | None = None,
        bridges_there: t.Collection[str] = (),
        device_sources: t.Mapping[str, Source] | None = None,
        device_ports: t.Mapping[str, str] | None = None,
        missing_devices: t.Mapping[str, str] | None = None,
        device_groups: t.Collection[str] = (),
        missing_folders: tuple[str, ...] = (),
        **common: t.Any,
    ) -> None:
        super().__init__(**common)
        self.seed_path = seed_path
        self.seed_instance = seed_instance
        self.image_presets = image_presets
        self.presets = presets or Presets()
        self.installer_obstacle = installer_obstacle
        self.screen_obstacle = screen_obstacle
        self.foreign_seed = foreign_seed
        self.bridges: t.Mapping[str, str] = bridges or {}
        self.formats: t.Mapping[str, tuple[str, ...]] = formats or {}
        self.missing_copies: t.Mapping[tuple[str, str], Volume] = missing_copies or {}
        self.other_pools: t.Mapping[str, str] = other_pools or {}
        self.sources = sources
        self.found: t.Mapping[str, FoundVolume] = found or {}
        self.image_sizes: t.Mapping[str, int] = image_sizes or {}
        self.accelerator = accelerator
        self.accelerator_reason = accelerator_reason
        self.libvirt_snapshots = libvirt_snapshots
        self.run = run
        self.places: t.Mapping[str, t.Hashable] = places or {}
        self.mistaken: t.Mapping[str, t.Mapping[str, str]] = mistaken or {}
        self.hyperv = hyperv
        self.obstacles: t.Mapping[str, str] = obstacles or {}
        self.missing_sources = missing_sources
        self.source_obstacles: t.Mapping[str, str] = source_obstacles or {}
        self.addresses: t.Mapping[str, tuple[str, ...]] = addresses or {}
        self.offer = offer
        self.remembered = remembered
        self.servers: t.Mapping[str, Server] = servers or {}
        self.bridges_there = bridges_there
        self.leases: t.Mapping[str, t.Mapping[str, str]] = leases or {}

        self.device_sources: t.Mapping[str, Source] = device_sources or {}
        self.device_ports: t.Mapping[str, str] = device_ports or {}
        self.missing_devices: t.Mapping[str, str] = missing_devices or {}
        self.device_groups = device_groups
        self.missing_folders = missing_folders

    def variant(self, spec: Spec) -> str:
        """The system inside, as it is declared or else as it stands."""
        now = self.persistent.values.get("os_variant", LINUX) if self.exists else LINUX
        return t.cast(str, spec.get("os_variant", now))

    def seed_pool(self, spec: Spec) -> str | None:
        """The pool of the first disk, beside which the seed lies; ``None`` for a machine without a disk in one."""
        for item in spec.wanted("disks"):
            if item.text("pool"):
                return item.text("pool")
        disks = self.persistent.disks.values() if self.exists else ()
        pools = (disk.value("pool") for disk in disks)
        return next((pool for pool in pools if pool and pool not in self.other_pools), None)


def seed_values(seed: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """What a seed says by option path; the off values where there is none."""
    return {path: OPTIONS[path].off if seed is None else seed.get(path) for path in CLOUD_INIT}
