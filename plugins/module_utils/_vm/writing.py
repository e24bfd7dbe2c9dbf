# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What all that is written of a virtual machine stands on: its domain, the plan, what is ours of it."""

from __future__ import annotations

import functools
import typing as t

from .._core import libraries
from .._core.converge import Work
from .._core.errors import ApplyError
from .._core.plan import Plan
from .._guest.ownership import Ownership
from .._guest.plan import wanted_value
from .._guest.record import RecordedVolume
from .._host.libvirt import errors_of
from .._storage.choice import drivers_of
from .._storage.driver import Driver
from .._storage.volume import Volume
from .firmware import NVRAM, own_nvram
from .options import OPTIONS
from .plan import VmKind
from .spec import Spec
from .state import State
from .xml import cdrom
from .xml import domain as domain_xml
from .xml.node import Node, name_of


class Writer:
    """What the parts of ``VmBackend`` share."""

    def __init__(self, spec: Spec, state: State, plan: Plan, work: Work) -> None:
        self.spec = spec
        self.state = state
        self.plan = plan
        self.work = work
        self.own = Ownership(work.host.record("guests", spec.name))
        self.taken = self._taken_targets()
        # The volumes that this run makes, and those that it takes over.
        self.made: dict[str, RecordedVolume] = {}
        self.adopted: dict[str, RecordedVolume] = {}

    @functools.cached_property
    def domain(self) -> t.Any:
        """The domain, with a definition: one that was started without (``virsh create``) is gone as soon as it does not run."""
        library = libraries.libvirt()
        domain = self.work.host.domains[self.spec.name]
        with errors_of(f"define {self.spec.name}", ApplyError):
            if domain.isPersistent():
                return domain
            return self._define(domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))

    def _define(self, xml: str) -> t.Any:
        return self.work.host.connection.defineXML(xml)

    def _lasting_xml(self) -> str:
        library = libraries.libvirt()
        return t.cast(str, self.domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))

    def wanted(self, path: str) -> t.Any:
        """What *path* is to become, in canonical form."""
        return wanted_value(OPTIONS, self.spec, path)

    @property
    def _variant(self) -> str:
        return self.state.variant(self.spec)

    def _taken_targets(self) -> list[str]:
        live = self.state.live
        if live is None:
            return []
        return [its.target for its in live.disks.values()] + [its.target for its in live.cdroms.values()]

    def defined(self, area: str) -> t.Mapping[str, t.Any]:
        """The devices of the machine by name; those of a half-made one are none."""
        return self.state.persistent.things(area) if self.state.exists else {}

    def _running(self, area: str) -> t.Mapping[str, t.Any]:
        """The devices of the running machine by name."""
        return self.state.live.things(area) if self.state.live else {}

    def _nodes(self, root: Node) -> dict[tuple[str, str], Node]:
        """The devices in *root* by list and name."""
        found = {}
        for area in VmKind.areas:
            for name, device in self.defined(area).items():
                node = domain_xml.FIND[area](root, device.ident)
                if node is not None:
                    found[area, name] = node
        return {**found, **named_nodes(root)}

    @property
    def _cloned_nvram(self) -> str:
        """Where a clone has UEFI variables."""
        beside = self.state.source.beside if self.state.source else {}
        return own_nvram(self.spec.name, beside[NVRAM]) if NVRAM in beside else ""

    def _driver(self, volume: Volume) -> Driver:
        driver = drivers_of(self.work.host).get(volume.pool)
        if driver is None:
            raise ApplyError(f"the storage pool {volume.pool} has no driver on this host")
        return driver

    def _remove(self, volume: Volume) -> None:
        driver = self._driver(volume)
        driver.retire(volume)
        driver.purge(volume)

    def _is_ours(self, name: str, path: str | None) -> bool:
        """Whether the disk that is on *path* is on a volume of ours."""
        recorded = self.own.record.volumes.get(name)
        driver = drivers_of(self.work.host).get(recorded.volume.pool) if recorded else None
        return recorded is not None and driver is not None and driver.location(recorded.volume) == path


def named_nodes(root: Node) -> dict[tuple[str, str], Node]:
    """The devices that bear a name of their own, by list and name."""
    found = {}
    for tag, area in domain_xml.TAGS.items():
        for node in root.iterfind(f"devices/{tag}"):
            name = name_of(node)
            if name is not None:
                found["cdroms" if tag == "disk" and cdrom.is_drive(node) else area, name] = node
    return found
