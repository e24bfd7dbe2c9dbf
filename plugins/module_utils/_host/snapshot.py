# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""One look at the host for a whole run: each area is read when it is first asked for, and kept until ``drop``."""

from __future__ import annotations

import functools
import typing as t

from .._core import record
from .._core.errors import HybridError, MissingLibrary
from .._core.reference import Reference, ReferenceKind
from . import libvirt, links, lxc, probe, vlans

Derived = t.TypeVar("Derived")
Read = t.TypeVar("Read")


class _Lasting(functools.cached_property[Read]):
    """What ``Host.drop`` does not forget."""


def _missing_service(host: Host, name: str) -> str | None:
    if name == "lxc":
        return lxc.missing()
    try:
        dummy = host.connection
    except (MissingLibrary, HybridError) as exc:
        return exc.message
    return None


def _missing_bridge(dummy: Host, name: str) -> str | None:
    return None if links.is_bridge(name) else f"there is no bridge {name}. Make or start it with homelab.hybrid.bridge"


def _missing_pool(host: Host, name: str) -> str | None:
    pool = host.pools.get(name)
    if pool is None:
        return f"there is no storage pool {name}. Make it with homelab.hybrid.storage_pool"
    start = "Start it with homelab.hybrid.storage_pool"
    return None if pool.is_active else f"the storage pool {name} is not started. {start}"


def _missing_image(host: Host, name: str) -> str | None:
    image = host.record("images", name)
    if not image.exists or image.is_building:
        return f"there is no image {name}. Make it with homelab.hybrid.image"
    return None


def _missing_guest(host: Host, name: str) -> str | None:
    return None if name in host.domains or name in host.containers else f"there is no guest {name}"


SERVICE = ReferenceKind("service", None, _missing_service)
BRIDGE = ReferenceKind("bridge", 0, _missing_bridge)
POOL = ReferenceKind("pool", 1, _missing_pool)
IMAGE = ReferenceKind("image", 2, _missing_image)
GUEST = ReferenceKind("guest", 3, _missing_guest)
SERVICE_LIBVIRT = Reference(SERVICE, "libvirt")
SERVICE_LXC = Reference(SERVICE, "lxc")


class Host:
    """The host as it was at the first look. A resource opens no connection of its own.

    Where libvirt is missing its areas are empty: check mode works on a bare host, and ``requires`` says what is missing.
    """

    @_Lasting
    def connection(self) -> libvirt.Connection:
        """The connection to libvirt. Stays open over ``drop``.

        :raises MissingLibrary, ObserveError:
        """
        return libvirt.connect()

    @functools.cached_property
    def pools(self) -> dict[str, libvirt.Pool]:
        return {} if self.missing(SERVICE_LIBVIRT) else libvirt.read_pools(self.connection)

    @functools.cached_property
    def networks(self) -> dict[str, libvirt.Network]:
        return {} if self.missing(SERVICE_LIBVIRT) else libvirt.read_networks(self.connection)

    @functools.cached_property
    def domains(self) -> dict[str, libvirt.Domain]:
        return {} if self.missing(SERVICE_LIBVIRT) else libvirt.read_domains(self.connection)

    @functools.cached_property
    def definitions(self) -> dict[str, libvirt.Definition]:
        """What each domain is. Libvirt's errors are raised as they are."""
        return dict(libvirt.read_each(self.domains, lambda name: (name, self.definition(name))))

    def definition(self, name: str) -> libvirt.Definition:
        """What the domain *name* is, read once. Libvirt's errors are raised as they are."""
        known = self._definitions
        if name not in known:
            known[name] = libvirt.read_definition(self.domains[name], is_running=name in self.listings.active)
        return known[name]

    @functools.cached_property
    def _definitions(self) -> dict[str, libvirt.Definition]:
        return {}

    @functools.cached_property
    def disk_sizes(self) -> dict[str, dict[str, int]]:
        """The sizes in bytes of the disks of the domains that do not run, by name and path. Libvirt's errors are raised as they are."""
        return libvirt.read_disk_sizes(self.connection)

    @functools.cached_property
    def listings(self) -> libvirt.Listings:
        """Which domains run, start with the host, are saved to disk, have snapshots. Libvirt's errors are raised as they are."""
        return libvirt.read_listings(self.connection)

    @functools.cached_property
    def containers(self) -> dict[str, lxc.Container]:
        return lxc.read_containers()

    @functools.cached_property
    def links(self) -> dict[str, links.Link]:
        return links.read_links()

    @functools.cached_property
    def port_vlans(self) -> dict[str, int]:
        """The VLAN of each port of a bridge that knows VLANs: what comes without a tag belongs to it. 0 for none."""
        return links.read_port_vlans(self.links)

    @_Lasting
    def expected_vlans(self) -> dict[str, bool]:
        """Whether bridges will know VLANs by the time that guests are changed, as far as a layout says. Stays over ``drop``."""
        return {}

    @_Lasting
    def expected_images(self) -> dict[str, str]:
        """The kinds of the images that are made before the guests, as far as a layout says. Stays over ``drop``."""
        return {}

    @_Lasting
    def expected_pools(self) -> dict[str, tuple[str, str]]:
        """The types and folders of the pools that are made before the guests, as far as a layout says. Stays over ``drop``."""
        return {}

    @property
    def pool_folders(self) -> dict[str, str]:
        """Where the pools lie, also those that are made before the guests."""
        expected = {name: path for name, (dummy, path) in self.expected_pools.items()}
        return {**expected, **{name: pool.path for name, pool in self.pools.items() if pool.path}}

    @_Lasting
    def expected_gone(self) -> set[str]:
        """The guests that go before another gets what they have, as far as a layout says. Stays over ``drop``."""
        return set()

    def vlan_obstacle(self, bridge: str) -> str | None:
        """Why no guest on *bridge* can be in a VLAN, and what permits it; ``None`` where it can, or nothing is known yet."""

        return vlans.obstacle(bridge, self.links, self.expected_vlans, lambda: probe.works_apart(*probe.VLAN_PROBE))

    @functools.cached_property
    def guest_records(self) -> dict[str, record.Record]:
        return record.load_all("guests")

    def record(self, kind: str, name: str) -> record.Record:
        """The ownership record of one resource, read anew."""
        return record.load(kind, name)

    def derived(self, make: t.Callable[[Host], Derived]) -> Derived:
        """What *make* makes of this look at the host, made once for all that ask and forgotten with it."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return t.cast(Derived, self._derived[make])

    @functools.cached_property
    def _derived(self) -> dict[t.Any, t.Any]:
        return {}

    def missing(self, reference: Reference) -> str | None:
        """Why *reference* cannot be used, as a sentence; ``None`` when it can."""
        if reference not in self._missing:
            self._missing[reference] = reference.kind.missing(self, reference.name)
        return self._missing[reference]

    @functools.cached_property
    def _missing(self) -> dict[Reference, str | None]:
        return {}

    def drop(self) -> None:
        """Forget every area that was read; only the connection and what a layout expects stay."""
        for area in [name for name in self.__dict__ if not isinstance(getattr(type(self), name, None), _Lasting)]:
            del self.__dict__[area]


def path_users(host: Host, folder: str) -> dict[str, bool]:
    """The guests that stand on something below *folder*, by name, and whether each runs."""
    users: dict[str, bool] = {}
    prefix = folder.rstrip("/") + "/"

    def is_below(paths: t.Iterable[str]) -> bool:
        return any(path == folder or path.startswith(prefix) for path in paths)

    for name, container in host.containers.items():
        if is_below(container.sources):
            users[name] = container.is_running
    for name, definition in host.definitions.items():
        if is_below(definition.disk_sources):
            users[name] = definition.is_running
    return users


def bridge_users(host: Host, names: t.Collection[str]) -> dict[str, bool]:
    """The guests that are plugged into a bridge, by name, and whether each runs. *names* are those of the bridge and its network."""
    wanted = set(names)
    users = {name: container.is_running for name, container in host.containers.items() if container.bridges & wanted}
    for name, definition in host.definitions.items():
        if definition.nic_sources() & wanted:
            users[name] = definition.is_running
    return users


def vlan_users(host: Host, bridge: str) -> list[str]:
    """The guests that are in a VLAN of *bridge*, by name."""
    users = [name for name, container in host.containers.items() if bridge in container.vlan_bridges]
    definitions = host.definitions.items()
    return sorted(users + [name for name, its in definitions if bridge in its.nic_sources(in_vlan=True)])
