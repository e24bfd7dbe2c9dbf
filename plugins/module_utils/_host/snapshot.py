# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""One look at the host for a whole run: each area is read when it is first asked for, and kept until ``drop``."""

from __future__ import annotations

import functools
import os
import time
import typing as t

from .._core import record
from .._core.claims import addresses_in
from .._core.errors import HybridError, MissingLibrary
from .._core.reference import Reference, ReferenceKind
from . import capabilities, descriptors, libvirt, links, lxc, mounts, neighbours, probe, rates, remote, vlans
from .pool_record import PoolRecord

# A bridge, a VLAN of it (0 for none) and an address there.
Asked = tuple[str, int, str]
Derived = t.TypeVar("Derived")
Read = t.TypeVar("Read")


# How long nobody has an address that nobody had: the next one who asks in the same run is told so without another question.
SILENCE_SECONDS = 60


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
    why = _missing_folder(host, str(pool.path)) if pool.path else None
    if why is not None:
        return why
    start = "Start it with homelab.hybrid.storage_pool"
    if not pool.is_active:
        return f"the storage pool {name} is not started. {start}"
    # libvirt starts a pool in the empty folder too where its disk was not there when the host started.
    its = host.pool_record(name)
    if its.source and its.path == pool.path and not os.path.ismount(str(its.path)):
        return f"the source of the storage pool {name}, {its.source}, is not mounted. {start}"
    # What is made in the folder below a mount point is hidden as soon as its file system comes back.
    if its.mount and its.path == pool.path and not host.entries_in(str(pool.path)):
        point = mounts.missing_mount(str(pool.path), [its.mount])
        return point and f"the file system of the storage pool {name} is not mounted at {point}. Mount it"
    return None


def _missing_image(host: Host, name: str) -> str | None:
    image = host.record("images", name)
    if not image.exists or image.is_building:
        return f"there is no image {name}. Make it with homelab.hybrid.image"
    return None


def _missing_guest(host: Host, name: str) -> str | None:
    return None if name in host.domains or name in host.containers else f"there is no guest {name}"


def _missing_folder(host: Host, path: str) -> str | None:
    its = remote.away(path)
    return None if its is None else remote.sentence(its, path, is_running=_runs(host, its.wait_for_guest))


def _await_folder(host: Host, path: str) -> None:
    its = remote.away(path)
    if its is not None and _runs(host, its.wait_for_guest):

        def is_served() -> bool:
            host.drop()
            return bool(_runs(host, its.wait_for_guest))

        remote.wait_until_it_answers(its, is_served)


def _runs(host: Host, guest: str) -> bool | None:
    """Whether a guest runs; ``None`` of one that is not there."""
    if guest in host.containers:
        return host.containers[guest].is_running
    return guest in host.listings.active if guest in host.domains else None


SERVICE = ReferenceKind("service", None, _missing_service)
BRIDGE = ReferenceKind("bridge", 0, _missing_bridge)
POOL = ReferenceKind("pool", 1, _missing_pool)
IMAGE = ReferenceKind("image", 2, _missing_image)
GUEST = ReferenceKind("guest", 3, _missing_guest)
# What a guest is made of, and needs no more once it stands: whether it has to be there, the plan of that guest says.
ORIGIN = ReferenceKind("guest", 3, lambda dummy, name: None, is_needed=False)
# What a guest finds on this host, by its path: on a mount from elsewhere it may be away. What runs already runs on.
FOLDER = ReferenceKind("folder", None, _missing_folder, is_needed=False, wait=_await_folder)
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

    def offers(self, accelerator: str, machine: str) -> capabilities.Capabilities:
        """What a virtual machine of the type *machine* can have here that *accelerator* (``kvm`` or ``qemu``) runs, asked once.

        :raises ObserveError:
        """
        known = self._offers
        if (accelerator, machine) not in known:
            known[accelerator, machine] = capabilities.read(self.connection, accelerator, machine)
        return known[accelerator, machine]

    @functools.cached_property
    def _offers(self) -> dict[tuple[str, str], capabilities.Capabilities]:
        return {}

    @functools.cached_property
    def descriptors(self) -> list[t.Any]:
        """The descriptors of firmware, see ``descriptors.read``."""
        return descriptors.read()

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
    def link_names(self) -> frozenset[str]:
        """Those of ``links``, without the program that tells what they are."""
        return links.read_names()

    @functools.cached_property
    def rates(self) -> dict[str, tuple[int, int]]:
        """What limited links may send and get, in bits per second; see ``rates.read_rates``."""
        return rates.read_rates(self.links)

    @functools.cached_property
    def port_vlans(self) -> dict[str, int]:
        """The VLAN of each port of a bridge that knows VLANs: what comes without a tag belongs to it. 0 for none."""
        return links.read_port_vlans(self.links)

    @_Lasting
    def expected(self) -> dict[Reference, t.Mapping[str, t.Any]]:
        """What will be there before others are changed, as far as a layout says: of each thing what it promises, by option path."""
        return {}

    def promised(self, reference: Reference, path: str) -> t.Any:
        """What is expected of *reference* at *path*, ``None`` where nobody says it."""
        return self.expected.get(reference, {}).get(path)

    @property
    def expected_pools(self) -> dict[str, tuple[str, str]]:
        """The types and folders of the pools that are made before the guests, as far as a layout says."""
        pools = ((it.name, its) for it, its in self.expected.items() if it.kind is POOL)
        return {name: (its["type"], its["path"]) for name, its in pools if "path" in its}

    def who_answers(self, bridge: str, addresses: t.Collection[str], vlan: int = 0) -> dict[str, str]:
        """Those of the *addresses* that somebody else on *bridge* has, each with its MAC; see ``neighbours.who_answers``.

        To hear that nobody has one takes half a second. So what guests that a layout makes will have there is asked for with the first of them.
        """
        since = time.monotonic() - SILENCE_SECONDS
        asked = {address for address in addresses if self.silent.get((bridge, vlan, address), since) <= since}
        if not asked:
            return {}
        asked |= {address for address in self._foreseen(bridge, vlan) if (bridge, vlan, address) not in self.silent}
        found = neighbours.who_answers(bridge, asked, vlan)
        now = time.monotonic()
        self.silent.update({(bridge, vlan, address): now for address in asked.difference(found)})
        return {address: mac for address, mac in found.items() if address in addresses}

    @_Lasting
    def silent(self) -> dict[Asked, float]:
        """The addresses that nobody had who was asked, and when that was, by the monotonic clock in seconds. Who answers may do so no more."""
        return {}

    def _foreseen(self, bridge: str, vlan: int) -> t.Iterator[str]:
        """The addresses on *bridge* of guests that are not there yet, as far as a layout says: one that starts would give up its own."""
        for it, its in self.expected.items():
            if it.kind is GUEST and it.name not in self.containers and it.name not in self.domains:
                for card in its.get("networks", ()):
                    if (card.bridge, card.vlan) == (bridge, vlan):
                        yield from addresses_in(*card.addresses)

    def vlan_obstacle(self, bridge: str) -> str | None:
        """Why no guest on *bridge* can be in a VLAN, and what permits it; ``None`` where it can, or nothing is known yet."""
        expected = {
            it.name: bool(its.get("vlan_aware"))
            for it, its in self.expected.items()
            if it.kind is BRIDGE and ("vlan_aware" in its or it.name not in self.links)
        }
        return vlans.obstacle(bridge, self.links, expected, lambda: probe.works_apart(*probe.VLAN_PROBE))

    def ports_of(self, bridge: str) -> tuple[str, ...]:
        """The links that are plugged into *bridge*, read anew."""
        return tuple(links.ports_of(bridge))

    def entries_in(self, folder: str) -> tuple[str, ...] | None:
        """The names in *folder*, read anew; ``None`` where it is no folder."""
        return tuple(sorted(os.listdir(folder))) if os.path.isdir(folder) else None

    @functools.cached_property
    def guest_records(self) -> dict[str, record.Record]:
        return record.load_all("guests")

    def record(self, kind: str, name: str) -> record.Record:
        """The ownership record of one resource, read anew."""
        return record.load(kind, name)

    def pool_record(self, name: str) -> PoolRecord:
        """What the record says of the storage pool *name*, read anew."""
        return PoolRecord.load(self.record("pools", name).data)

    def derived(self, make: t.Callable[[Host], Derived]) -> Derived:
        """What *make* makes of this look at the host, made once for all that ask and forgotten with it."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return t.cast(Derived, self._derived[make])

    @functools.cached_property
    def _derived(self) -> dict[t.Any, t.Any]:
        return {}

    @property
    def gone(self) -> t.Collection[str]:
        """The guests that are counted as no more; see ``without``."""
        return ()

    def missing(self, reference: Reference) -> str | None:
        """Why *reference* cannot be used, as a sentence; ``None`` when it can."""
        question = reference.kind.missing, reference.name
        if question not in self._missing:
            self._missing[question] = reference.kind.missing(self, reference.name)
        return self._missing[question]

    @functools.cached_property
    def _missing(self) -> dict[tuple[t.Any, str], str | None]:
        return {}

    def drop(self) -> None:
        """Forget every area that was read; only the connection and what a layout expects stay."""
        for area in [name for name in self.__dict__ if _is_forgotten(getattr(type(self), name, None))]:
            del self.__dict__[area]

    def without(self, gone: t.Mapping[str, Gone]) -> Host:
        """The host as it will be when the guests *gone*, by name, are no more. It shares what this one has read; nothing is applied to it."""
        return _HostWithout(self, gone)


def _is_forgotten(attribute: t.Any) -> bool:
    return isinstance(attribute, functools.cached_property) and not isinstance(attribute, _Lasting)


class Gone(t.NamedTuple):
    """What goes with a guest: its *links* and *paths* on the host and, *is_forgotten*, its record too."""

    links: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    is_forgotten: bool = False


def _shared(area: str) -> t.Any:
    return functools.cached_property(lambda self: getattr(self._host, area))


class _HostWithout(Host):
    """See ``Host.without``."""

    def __init__(self, host: Host, gone: t.Mapping[str, Gone]) -> None:
        self._host = host
        self._gone = gone
        self._forgotten = {name for name, its in gone.items() if its.is_forgotten}
        self._links = {link for its in gone.values() for link in its.links}
        self._paths = {path for its in gone.values() for path in its.paths}

    @property
    def gone(self) -> t.Collection[str]:
        return self._gone.keys()

    connection = _shared("connection")
    expected = _shared("expected")
    silent = _shared("silent")
    pools = _shared("pools")
    networks = _shared("networks")
    listings = _shared("listings")
    disk_sizes = _shared("disk_sizes")

    @functools.cached_property
    def domains(self) -> dict[str, libvirt.Domain]:
        return {name: its for name, its in self._host.domains.items() if name not in self._gone}

    @functools.cached_property
    def containers(self) -> dict[str, lxc.Container]:
        return {name: its for name, its in self._host.containers.items() if name not in self._gone}

    @functools.cached_property
    def guest_records(self) -> dict[str, record.Record]:
        return {name: its for name, its in self._host.guest_records.items() if name not in self._forgotten}

    @functools.cached_property
    def links(self) -> dict[str, links.Link]:
        return {name: its for name, its in self._host.links.items() if name not in self._links}

    @functools.cached_property
    def link_names(self) -> frozenset[str]:
        return self._host.link_names - self._links

    @functools.cached_property
    def port_vlans(self) -> dict[str, int]:
        return {name: its for name, its in self._host.port_vlans.items() if name not in self._links}

    def definition(self, name: str) -> libvirt.Definition:
        return self._host.definition(name)

    def offers(self, accelerator: str, machine: str) -> capabilities.Capabilities:
        return self._host.offers(accelerator, machine)

    def record(self, kind: str, name: str) -> record.Record:
        is_forgotten = kind == "guests" and name in self._forgotten
        return record.Record(kind, name) if is_forgotten else self._host.record(kind, name)

    def ports_of(self, bridge: str) -> tuple[str, ...]:
        return tuple(port for port in self._host.ports_of(bridge) if port not in self._links)

    def entries_in(self, folder: str) -> tuple[str, ...] | None:
        entries = self._host.entries_in(folder)
        return entries and tuple(name for name in entries if os.path.join(folder, name) not in self._paths)


def bridge_users(host: Host, names: t.Collection[str]) -> dict[str, bool]:
    """The guests that are plugged into a bridge, by name, and whether each runs. *names* are those of the bridge and its network."""
    wanted = {*names, *(network.name for network in host.networks.values() if network.lent_bridge in names)}
    users = {name: container.is_running for name, container in host.containers.items() if container.bridges & wanted}
    for name, definition in host.definitions.items():
        if definition.nic_sources() & wanted:
            users[name] = definition.is_running
    return users


def vlan_users(host: Host, bridge: str) -> list[str]:
    """The guests that are in a VLAN of *bridge*, by name."""
    users = [name for name, container in host.containers.items() if bridge in container.vlan_bridges]
    wanted = {bridge, *(its.name for its in host.networks.values() if bridge in (its.bridge, its.lent_bridge))}
    definitions = host.definitions.items()
    return sorted(users + [name for name, its in definitions if its.nic_sources(in_vlan=True) & wanted])
