# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What libvirt keeps on this host: pools, networks and domains, each listed with one call."""

from __future__ import annotations

import contextlib
import typing as t
from xml.etree import ElementTree

from .._core import libraries, paths
from .._core.errors import HybridError, ObserveError

SYSTEM_URI = "qemu:///system"
Domain = t.Any
Connection = t.Any


class Pool:
    """A storage pool as libvirt has it."""

    __slots__ = ("autostart", "handle", "is_active", "name", "path", "type")

    def __init__(
        self,
        name: str,
        type: str,
        path: str | None,
        autostart: bool,
        is_active: bool,
        handle: t.Any,
    ) -> None:
        self.name = name
        self.type = type
        self.path = path
        self.autostart = autostart
        self.is_active = is_active
        self.handle = handle


class Network:
    """A virtual network as libvirt has it. *live_xml* is ``None`` while it is inactive.

    *bridge* is the one that it makes itself; a network that only lends the bridge of somebody else has a *lent_bridge*.
    """

    __slots__ = ("autostart", "bridge", "handle", "is_active", "lent_bridge", "live_xml", "name", "xml")

    def __init__(
        self,
        name: str,
        bridge: str | None,
        autostart: bool,
        is_active: bool,
        xml: str,
        live_xml: str | None,
        handle: t.Any,
        lent_bridge: str | None = None,
    ) -> None:
        self.name = name
        self.bridge = bridge
        self.lent_bridge = lent_bridge
        self.autostart = autostart
        self.is_active = is_active
        self.xml = xml
        self.live_xml = live_xml
        self.handle = handle


def connect() -> Connection:
    """A connection to the system's libvirt.

    :raises MissingLibrary: without python3-libvirt.
    :raises ObserveError: when no libvirtd answers.
    """
    library = libraries.libvirt()
    try:
        return library.open(SYSTEM_URI)
    except library.libvirtError as exc:
        raise ObserveError(f"libvirt does not answer ({exc}). The role homelab.hybrid.hypervisor starts it") from exc


@contextlib.contextmanager
def errors_of(what: str, error: type[HybridError]) -> t.Iterator[None]:
    """Turn an error of libvirt into *error*: a sentence that says *what* was tried."""
    library = libraries.libvirt()
    try:
        yield
    except library.libvirtError as exc:
        raise error(f"could not {what}: {exc.get_error_message()}", libvirt_code=exc.get_error_code()) from exc


Found = t.TypeVar("Found")


def read_each(handles: t.Iterable[t.Any], read: t.Callable[[t.Any], Found]) -> t.Iterator[Found]:
    """What *read* makes of each handle of a listing, without those that somebody has removed since."""
    handles = list(handles)
    if not handles:
        return
    library = libraries.libvirt()
    gone = (library.VIR_ERR_NO_DOMAIN, library.VIR_ERR_NO_NETWORK, library.VIR_ERR_NO_STORAGE_POOL)
    for handle in handles:
        try:
            yield read(handle)
        except library.libvirtError as exc:
            if exc.get_error_code() not in gone:
                raise


def read_pools(connection: Connection) -> dict[str, Pool]:
    """All pools by name.

    :raises ObserveError:
    """
    with errors_of("list the storage pools", ObserveError):
        return {pool.name: pool for pool in read_each(connection.listAllStoragePools(), _pool)}


def _pool(pool: t.Any) -> Pool:
    root = ElementTree.fromstring(pool.XMLDesc(libraries.libvirt().VIR_STORAGE_XML_INACTIVE))
    return Pool(
        name=pool.name(),
        type=root.get("type", ""),
        path=root.findtext("target/path"),
        autostart=bool(pool.autostart()),
        is_active=bool(pool.isActive()),
        handle=pool,
    )


def read_space(pool: Pool) -> tuple[int, int] | None:
    """The capacity and what is available of it, in bytes; ``None`` while the pool is not active. It takes libvirt longer than all the rest.

    :raises ObserveError:
    """
    if not pool.is_active:
        return None
    with errors_of(f"ask how large the storage pool {pool.name} is", ObserveError):
        dummy, capacity, dummy, available = pool.handle.info()
    return capacity, available


def read_networks(connection: Connection) -> dict[str, Network]:
    """All virtual networks by name.

    :raises ObserveError:
    """
    with errors_of("list the virtual networks", ObserveError):
        return {network.name: network for network in read_each(connection.listAllNetworks(), _network)}


def _network(network: t.Any) -> Network:
    is_active = bool(network.isActive())
    live_xml = network.XMLDesc(0) if is_active else None
    xml = network.XMLDesc(libraries.libvirt().VIR_NETWORK_XML_INACTIVE) if is_active else network.XMLDesc(0)
    bridge, is_lent = _bridge_of(live_xml or xml)
    return Network(
        name=network.name(),
        bridge=None if is_lent else bridge,
        autostart=bool(network.autostart()),
        is_active=is_active,
        xml=xml,
        live_xml=live_xml,
        handle=network,
        lent_bridge=bridge if is_lent else None,
    )


def _bridge_of(xml: str) -> tuple[str | None, bool]:
    """The bridge of a network, and whether it is somebody else's."""
    root = ElementTree.fromstring(xml)
    forward, bridge = root.find("forward"), root.find("bridge")
    is_lent = forward is not None and forward.get("mode", "nat") not in ("nat", "route", "open")
    return None if bridge is None else bridge.get("name"), is_lent


def read_domains(connection: Connection) -> dict[str, Domain]:
    """All domains by name, as libvirt's handles: their XML is read where it is needed. What is tried in a drill is no guest of the host, though
    it has the MACs and addresses of one.

    :raises ObserveError:
    """
    with errors_of("list the domains", ObserveError):
        domains = {domain.name(): domain for domain in connection.listAllDomains()}
    return {name: domain for name, domain in domains.items() if not name.endswith(paths.DRILL_MARK)}


class Listings:
    """The names of the domains of which something holds: a call for each question, not one for each domain."""

    __slots__ = ("active", "autostarted", "saved", "with_snapshots")

    def __init__(
        self,
        active: frozenset[str],
        autostarted: frozenset[str],
        saved: frozenset[str],
        with_snapshots: frozenset[str],
    ) -> None:
        self.active = active
        self.autostarted = autostarted
        self.saved = saved
        self.with_snapshots = with_snapshots


def read_listings(connection: Connection) -> Listings:
    """What libvirt says of all domains at once. Libvirt's errors are raised as they are."""
    library = libraries.libvirt()

    def names(flag: int) -> frozenset[str]:
        return frozenset(domain.name() for domain in connection.listAllDomains(flag))

    return Listings(
        active=names(library.VIR_CONNECT_LIST_DOMAINS_ACTIVE),
        autostarted=names(library.VIR_CONNECT_LIST_DOMAINS_AUTOSTART),
        saved=names(library.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
        with_snapshots=names(library.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT),
    )


class Definition:
    """The XML of a domain, as it runs or else as it is defined, secrets included."""

    __slots__ = ("_root", "is_running", "xml")

    def __init__(self, xml: str, is_running: bool = False) -> None:
        self.xml = xml
        self.is_running = is_running
        self._root: ElementTree.Element | None = None

    @property
    def root(self) -> ElementTree.Element:
        if self._root is None:
            self._root = ElementTree.fromstring(self.xml)
        return self._root

    @property
    def macs(self) -> list[str]:
        """The MACs of the interfaces."""
        return [mac.get("address", "").lower() for mac in self.root.iterfind("devices/interface/mac")]

    def nic_sources(self, *, in_vlan: bool = False) -> set[str]:
        """The bridges and the virtual networks that the interfaces are plugged into, with *in_vlan* those in a VLAN."""
        sources = [
            source
            for card in self.root.iterfind("devices/interface")
            for source in card.iterfind("source")
            if not in_vlan or card.find("vlan/tag") is not None
        ]
        return {name for source in sources for name in (source.get("bridge"), source.get("network")) if name}


def read_definition(domain: Domain, *, is_running: bool) -> Definition:
    """What *domain* is. Libvirt's errors are raised as they are."""
    library = libraries.libvirt()
    which = 0 if is_running else library.VIR_DOMAIN_XML_INACTIVE
    return Definition(domain.XMLDesc(which | library.VIR_DOMAIN_XML_SECURE), is_running)


def read_disk_sizes(connection: Connection) -> dict[str, dict[str, int]]:
    """The virtual sizes in bytes of the disks of all domains that do not run, by name and path. Libvirt's errors are raised as they are.

    A disk whose file is gone has none.
    """
    library = libraries.libvirt()
    which = library.VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE
    found: dict[str, dict[str, int]] = {}
    for domain, told in connection.getAllDomainStats(library.VIR_DOMAIN_STATS_BLOCK, which):
        disks = [f"block.{number}" for number in range(told.get("block.count", 0))]
        found[domain.name()] = {
            told[f"{disk}.path"]: told[f"{disk}.capacity"]
            for disk in disks
            if f"{disk}.path" in told and f"{disk}.capacity" in told
        }
    return found


def dotted(number: int) -> str:
    """libvirt writes 9.0.1 as 9000001."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"
