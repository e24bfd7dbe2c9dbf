# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The definition of a virtual machine and what runs of it: the devices of each by name, with what only the host knows of them."""

from __future__ import annotations

import contextlib
import typing as t

from .._core import libraries
from .._core.keyed import Naming, claim_names
from .._core.options import Item
from .._guest.record import Run
from .._host import place
from .._host.snapshot import Host
from .._storage.choice import drivers_of, pool_of
from . import passthrough
from .naming import PLACES, name_live_devices
from .spec import DEVICE_REFS, Spec
from .state import State, VmSide
from .volumes import Drivers, place_of
from .xml import domain as domain_xml
from .xml.cdrom import Cdrom
from .xml.disk import Disk, serial_mark
from .xml.domain import Domain
from .xml.filesystem import Share, tag_mark
from .xml.hostdev import Hostdev, marks_of
from .xml.nic import Nic


class _Named(t.NamedTuple):
    """The devices of a domain by name."""

    disks: Naming[Disk]
    cdroms: Naming[Cdrom]
    nics: Naming[Nic]
    devices: Naming[Hostdev]
    shares: Naming[Share]


class Devices(t.NamedTuple):
    """The devices of one side under the names that they have there."""

    disks: t.Mapping[str, Disk]
    cdroms: t.Mapping[str, Cdrom]
    nics: t.Mapping[str, Nic]
    devices: t.Mapping[str, Hostdev]
    shares: t.Mapping[str, Share]


_OnSourceT = t.TypeVar("_OnSourceT", Disk, Cdrom)


def read_model(xml: str, host: Host) -> Domain:
    """The model of *xml*, each disk with what its source leads to; of one on a volume of a pool libvirt knows the path."""
    model = domain_xml.read(domain_xml.parse(xml))
    model.disks = tuple(_located(disk, host) for disk in model.disks)
    model.cdroms = tuple(_located(drive, host) for drive in model.cdroms)
    return model


def _located(device: _OnSourceT, host: Host) -> _OnSourceT:
    path = device.source or (_path_of_volume(host, *device.volume) if device.volume else "")
    return device.standing_on(path, place.identity(path)) if path else device


def _path_of_volume(host: Host, pool: str, name: str) -> str:
    its, library = host.pools.get(pool), libraries.libvirt()
    if its is None or not its.is_active:
        return ""
    with contextlib.suppress(library.libvirtError):
        return t.cast(str, its.handle.storageVolLookupByName(name).path())
    return ""


def name_devices(spec: Spec, state: State, domain: Domain, drivers: Drivers) -> _Named:
    recorded = state.record.names
    disks, cdroms, nics = spec.items("disks"), spec.items("cdroms"), spec.items("networks")
    return _Named(
        claim_names(
            domain.disks,
            PLACES["disks"],
            recorded=recorded.get("disks"),
            declared=[item.name for item in disks],
            marks={item.name: _marks_of_disk(spec, item, state, drivers) for item in disks},
        ),
        claim_names(
            domain.cdroms,
            PLACES["cdroms"],
            recorded=recorded.get("cdroms"),
            declared=[item.name for item in cdroms],
            hints={item.name: [state.places[path]] for item in cdroms if (path := item.text("source"))},
        ),
        claim_names(
            domain.nics,
            PLACES["networks"],
            recorded=recorded.get("networks"),
            declared=[item.name for item in nics],
            marks={item.name: {mac: mac} for item in nics if (mac := item.text("mac"))},
            hints={item.name: _networks_of(item, state) for item in nics},
            can_exchange=True,
        ),
        claim_names(
            domain.devices,
            PLACES["devices"],
            recorded=recorded.get("devices"),
            declared=[item.name for item in spec.items("devices")],
            marks={name: dict.fromkeys(marks_of(its), _told(spec, name)) for name, its in state.device_sources.items()},
        ),
        claim_names(
            domain.shares,
            PLACES["shares"],
            recorded=recorded.get("shares"),
            declared=[item.name for item in spec.items("shares")],
            marks={
                item.name: {tag_mark(item.name): f"the tag {item.name}"}
                for item in spec.items("shares")
                if any(its.tag == item.name for its in domain.shares)
            },
            hints={item.name: [source] for item in spec.items("shares") if (source := item.text("source"))},
        ),
    )


def _told(spec: Spec, name: str) -> str:
    """What is written of which device of the host *name* is."""
    item = t.cast(Item, spec.item("devices", name))
    return next(text for word in DEVICE_REFS if (text := item.text(word)) is not None)


def _marks_of_disk(spec: Spec, item: Item, state: State, drivers: Drivers) -> dict[t.Hashable, str]:
    """What tells which disk is meant: what it stands on or would be made as, and its serial."""
    marks: dict[t.Hashable, str] = {}
    source, serial = item.text("source"), item.text("serial")
    path = source or place_of(spec.name, item, drivers)
    if path:
        marks[state.places.get(path) or place.identity(path)] = path
    if serial:
        marks[serial_mark(serial)] = f"the serial {serial}"
    return marks


def _networks_of(item: Item, state: State) -> list[str]:
    """The bridge that a card is declared to be on, and the virtual networks that have it."""
    bridge = item.text("bridge")
    return [bridge, *(network for network, its in state.bridges.items() if its == bridge)] if bridge else []


def devices_running(state: State, domain: Domain, persistent: VmSide) -> Devices:
    recorded = state.record.names
    return Devices(
        name_live_devices("disks", domain.disks, persistent.disks, recorded.get("disks", {})),
        name_live_devices("cdroms", domain.cdroms, persistent.cdroms, recorded.get("cdroms", {})),
        name_live_devices("networks", domain.nics, persistent.nics, recorded.get("networks", {})),
        name_live_devices("devices", domain.devices, persistent.devices, recorded.get("devices", {})),
        name_live_devices("shares", domain.shares, persistent.shares, recorded.get("shares", {})),
    )


def side_of(
    domain: Domain,
    devices: Devices,
    more: t.Mapping[str, t.Any],
    state: State,
    sizes: t.Mapping[str, int],
    host: Host,
) -> VmSide:
    """One side with what only the host knows of its devices: the bridge of a card, the pool and the size of a disk."""
    disks, cdroms, nics, hostdevs, shares = devices
    drivers = drivers_of(host)
    numbers = [(device.boot_order, name) for its in (disks, cdroms, nics) for name, device in its.items()]
    ordered = tuple(name for number, name in sorted(numbers) if number)
    order = ordered or tuple(f"class:{word}" for word in domain.boot_classes)

    def pool_with(disk: Disk) -> str:
        return (pool_of(disk.source, drivers) if disk.source else None) or ""

    def bridge_of(nic: Nic) -> str:
        return state.bridges.get(nic.source, nic.source) if nic.type == "network" else nic.source

    return VmSide(
        {**domain.values, "boot.order": order, **more},
        {name: disk.with_values(pool=pool_with(disk), size=sizes.get(disk.source)) for name, disk in disks.items()},
        {name: nic.with_values(bridge=bridge_of(nic)) for name, nic in nics.items()},
        domain,
        cdroms,
        {name: passthrough.described(device, host) for name, device in hostdevs.items()},
        shares,
    )


def with_own_order(live: VmSide, notes: Run | None) -> VmSide:
    """What it boots from otherwise, of one that was started from something else for once: that needs no restart."""
    if notes is None or notes.order is None:
        return live
    return live.but(values={**live.values, "boot.order": notes.order})


def with_requested_memory(live: VmSide, notes: Run | None) -> VmSide:
    """The balloon as it was asked for in this run: on its way there, or where the guest keeps more, it is no difference."""
    if notes is None or notes.balloon is None or "memory" in notes.declined:
        return live
    requested, before = notes.balloon
    if not min(requested, before) <= live.values["memory"] <= max(requested, before):
        return live
    return live.but(values={**live.values, "memory": requested})
