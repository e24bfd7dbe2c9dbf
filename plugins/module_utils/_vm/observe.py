# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a virtual machine on the host."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic, libraries
from .._core.errors import ObserveError
from .._guest.allocation import taken_macs
from .._guest.cards import bare_bridges, rate_obstacle
from .._guest.clones import linked_clones
from .._guest.installing import Installing
from .._guest.quarantine import observe_quarantine
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host import accelerator, handed_out, place, remote
from .._host.libvirt import Listings, errors_of
from .._host.snapshot import SERVICE_LIBVIRT, Host
from .._storage.choice import drivers_of
from . import addresses, cpu, firmware, installation, media, obstacles, passthrough, process, sharing
from .addressing import with_addresses
from .firmware import Firmware
from .offer import Offer
from .options import OPTIONS, SEED_DISK
from .seed import INSTANCE
from .seen_cards import QUEUES, bridges_there, needs_mac, vlan_obstacles, who_has_addresses, with_ips, with_port_vlans
from .seen_disks import (
    check_media,
    declared_sources,
    find_volumes,
    foreign_seed,
    images,
    live_seed,
    missing_copies,
    missing_sources,
    out_of_reach,
    presets_of,
    read_file,
    read_seed,
    sizes_of,
    source_obstacles,
    used,
)
from .sides import Devices, devices_running, name_devices, read_model, side_of, with_own_order, with_requested_memory
from .spec import Spec, with_presets
from .state import State, VmSide, seed_values
from .volumes import recorded_places
from .xml import machine
from .xml.disk import Disk
from .xml.domain import Domain

_FIRMWARE = {*firmware.PATHS, "tpm.version", "tpm.model"}
# What not every host has.
_OFFERED = (*firmware.PATHS, "tpm.version", "tpm.model", "machine")


def observe(spec: Spec, host: Host) -> State:
    """Read the virtual machine of *spec* through *host*.

    :raises ObserveError:
    """
    record = host.record("guests", spec.name)
    domain = host.domains.get(spec.name)
    known = load_file(record)
    spec = with_addresses(spec, known)
    state = _read_surroundings(spec, host, known)
    if domain is not None and not state.other_kind:
        with errors_of(f"read the domain {spec.name}", ObserveError):
            state = _read_domain(spec, host, domain, state)
    if spec.state == "absent":
        return state
    if not state.exists:
        found = accelerator.probe()
        state = state.replace(accelerator=found.kind, accelerator_reason=found.reason)
    drivers = drivers_of(host)
    leases, answering = who_has_addresses(spec, state, host)
    state = state.replace(
        leases=leases,
        answering=answering,
        bare_bridges=bare_bridges(spec, host),
        taken_macs=state.taken_macs or (taken_macs(host, spec.name) if answering else {}),
        found=find_volumes(spec, state, drivers, host),
        vlan_obstacles=vlan_obstacles(spec, state, host),
        rate_obstacle=rate_obstacle(spec, *QUEUES),
        source_obstacles=source_obstacles(spec, state, host),
        missing_sources=missing_sources(spec, state),
        missing_folders=sharing.missing_folders(spec),
        device_groups=passthrough.shared_groups(spec, host, state.device_sources),
        presets=presets_of(spec, state, host),
        screen_obstacle=obstacles.screen_obstacle(spec, state, host),
        installer_obstacle=None if state.exists else media.obstacle(spec.values, host),
    )
    asked = spec if state.exists else with_presets(spec, state.presets)
    state = state.replace(remembered=_remembered(asked, state))
    offer = _offer(asked, state, host)
    state = state.replace(offer=offer)
    if not host.missing(SERVICE_LIBVIRT) and not (offer is not None and offer.obstacle):
        state = state.replace(**obstacles.observe(asked, state, host, _place(asked, state)))
    state = state.replace(obstacles={**state.obstacles, **_device_obstacles(spec, state, host)})
    return state.replace(foreign_seed=foreign_seed(spec, state, drivers))


def firmwares(host: Host) -> tuple[Firmware, ...]:
    """The firmware of the host that UEFI machines can start by, the first to choose first."""
    found = (firmware.of_descriptor(data) for data in host.descriptors)
    return tuple(its for its in found if its is not None)


def _remembered(spec: Spec, state: State) -> frozenset[str]:
    """What is there of UEFI variables and of a TPM where the machine has its own, or would get them."""
    if not _FIRMWARE & {*spec.values, *spec.unset}:
        return frozenset()
    known = [its.path for its in state.record.files.values()]
    now = state.persistent.domain if state.exists else None
    places = [*now.places.values(), firmware.tpm_folder(now.uuid)] if now else []
    ways = {firmware.nvram_of(spec.name, way) for way in firmware.WAYS}
    return frozenset(path for path in {*known, *places, *ways} if path and os.path.lexists(path))


def _offer(spec: Spec, state: State, host: Host) -> Offer | None:
    """What the host offers, asked where something of it may be new; ``None`` where nothing is, or nobody can say it yet."""
    declared = {path: spec.get(path) for path in _OFFERED if path in spec.values}
    now = dict(state.persistent.values) if state.exists else {}
    if declared.get("machine") == machine.family(now.get("machine", "")):
        now["machine"] = declared.get("machine")
    if all(now.get(path) == value for path, value in declared.items()) or host.missing(SERVICE_LIBVIRT):
        return None
    place = _place(spec, state)
    try:
        told = host.offers(*place)
    except ObserveError as exc:
        return Offer(place[1], obstacle=exc.message)
    is_emulated = "emulator" in (told.offered("devices/tpm", "backendModel") or ())
    versions = (told.offered("devices/tpm", "backendVersion") or ()) if is_emulated else ()
    models = told.offered("devices/tpm", "model") or ()
    return Offer(told.machine, None, told.loaders, host.derived(firmwares), versions, models)


def _place(spec: Spec, state: State) -> tuple[str, str]:
    """What runs the machine, and its type, once *spec* stands."""
    its = state.persistent.domain if state.exists else None
    kind = its.type if its else "kvm" if state.accelerator == "kvm" else "qemu"
    return kind, spec.get("machine") or (its.machine if its else OPTIONS["machine"].create)


def _read_surroundings(spec: Spec, host: Host, record: GuestRecord) -> State:
    """What is known of a guest that is not there: the record, its kept volumes, and what a new one needs to know."""
    is_container = spec.name in host.containers or record.kind == "container"
    record = GuestRecord() if is_container else record
    drivers = drivers_of(host)
    owned = {**recorded_places(record, drivers), **_own_files(record)}
    state = State(
        record=record,
        other_kind="container" if is_container else None,
        bridges={its.name: bridge for its in host.networks.values() if (bridge := its.bridge or its.lent_bridge)},
        servers=host.derived(handed_out.servers),
        bridges_there=bridges_there(spec, host),
        places={path: place.identity(path) for path in declared_sources(spec)},
        formats={name: driver.formats for name, driver in drivers.items()},
        other_pools={name: pool.type for name, pool in host.pools.items() if name not in drivers},
        owned=owned,
        clones=linked_clones(host, spec.name) if record.exists else (),
        **observe_quarantine(spec, host),
    )
    if spec.state != "absent":
        sources, missing = passthrough.sources_of(spec, host)
        ports = passthrough.ports_of(sources, host)
        state = state.replace(device_sources=sources, device_ports=ports, missing_devices=missing)
    if spec.state == "absent":
        return state.replace(**out_of_reach(spec.name, state, host, used(host, spec.name, owned)))
    needs_macs = needs_mac(spec, record)
    check_media(spec, host)
    return state.replace(
        **images(spec, host),
        missing_copies=missing_copies(spec, drivers),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        taken_macs=taken_macs(host, spec.name) if needs_macs else {},
    )


def _own_files(record: GuestRecord) -> dict[str, str]:
    """What a machine remembers and is ours, once there is one that has it, or was one."""
    files = record.files.items()
    return {name: its.path for name, its in files if not its.is_fresh and os.path.lexists(its.path)}


def _read_domain(spec: Spec, host: Host, domain: t.Any, state: State) -> State:
    listed, record = host.listings, state.record
    power = read_power(domain, listed)
    live_xml = _live_xml(spec.name, domain, power, host)
    installing = installation.look(record, domain, live_xml=live_xml, host=host)
    run = process.find_run(spec.name) if power in ("started", "paused") else None
    notes = record.run if record.run is not None and record.run.is_of(run) else None
    # A domain that bears the name of one that we were making, and is another, is somebody else's.
    is_half_made = record.is_building and spec.name not in listed.active and record.uuid in (None, domain.UUIDString())
    is_half_made = is_half_made and not _holds_system(spec, installing)
    model = read_model(_persistent_xml(spec.name, domain, host), host)
    sizes = sizes_of(domain, model, host.disk_sizes.get(spec.name, {}) if power == "stopped" else {})
    flags = {"autostart": spec.name in listed.autostarted}
    drivers = drivers_of(host)
    named = name_devices(spec, state, model, drivers)
    disks: t.Mapping[str, Disk] = named.disks.things
    devices = Devices(disks, named.cdroms.things, named.nics.things, named.devices.things, named.shares.things)
    seed_path = disks[SEED_DISK].source if SEED_DISK in disks else None
    lasting = read_seed(read_file(seed_path), spec.name)
    is_asked = not _FIRMWARE.isdisjoint({*spec.values, *spec.unset})
    ways = _way_values(model, host) if is_asked else {}
    persistent = side_of(model, devices, {**flags, **seed_values(lasting), **ways}, state, sizes, host)
    live, found_addresses = None, {}
    if installing is not None and installing.runs:
        # What only this run has, and what it lacks, is no difference.
        live = persistent
    elif live_xml is not None:
        model = read_model(live_xml, host)
        devices = devices_running(state, model, persistent)
        seeds = live_seed(run, seed_path, lasting, spec.name)
        ways = _way_values(model, host) if is_asked else {}
        live = side_of(model, devices, {**flags, **seeds, **ways}, state, sizes, host)
        live = with_port_vlans(with_requested_memory(with_own_order(live, notes), notes), spec, host)
        if run is not None:
            live = cpu.as_started(live, spec, domain, host)
            is_connected = model.is_agent_connected
            found_addresses = addresses.read(host, domain, list(live.nics.values()), is_agent_connected=is_connected)
    state = state.replace(
        power=power,
        exists=not is_half_made,
        installing=None if is_half_made else installing,
        persistent=persistent,
        live=live,
        declined=notes.declined if notes else (),
        seed_path=seed_path,
        seed_instance=str((lasting or {}).get(INSTANCE) or "") or None,
        sources=frozenset(sizes),
        libvirt_snapshots=domain.snapshotNum(0) if spec.name in listed.with_snapshots else 0,
        run=run,
        addresses=found_addresses,
        mistaken={
            "disks": named.disks.mistaken,
            "cdroms": named.cdroms.mistaken,
            "networks": named.nics.mistaken,
            "devices": named.devices.mistaken,
            "shares": named.shares.mistaken,
        },
        foreign=_foreign(persistent, state),
    )
    return with_ips(spec, state)


def _way_values(domain: Domain, host: Host) -> dict[str, t.Any]:
    """By what it starts, by option path; without what no descriptor tells."""
    way = firmware.way_of(domain.firmware, domain.values["machine"], host.derived(firmwares))
    return way.values if way else {}


def _holds_system(spec: Spec, installing: Installing | None) -> bool:
    """Whether the disks of a machine whose installer is gone may hold a system."""
    if installing is None:
        return False
    return installing.is_over or (installing.is_lost and "recreate" not in spec.allow)


def _foreign(persistent: VmSide, state: State) -> tuple[str, ...]:
    """What is kept of it though we did not make it: disks of others, and what its UEFI and its TPM remember."""
    ours = set(state.owned.values())
    named = [its.source for its in persistent.disks.values()] + [its.source for its in persistent.cdroms.values()]
    sources = [path for path in named if path and path not in ours]
    remembered = persistent.domain.places.values()
    return (
        *(f"{path} (not made by this collection)" for path in sources),
        *(path for path in remembered if path not in ours and remote.is_there(path)),
    )


def read_power(domain: t.Any, listed: Listings) -> str:
    """``started``, ``paused``, ``suspended`` (saved to disk) or ``stopped``."""
    library = libraries.libvirt()
    name = domain.name()
    state, reason = domain.state() if name in listed.active else (library.VIR_DOMAIN_SHUTOFF, 0)
    if state != library.VIR_DOMAIN_SHUTOFF:
        is_starting = reason == library.VIR_DOMAIN_PAUSED_STARTING_UP
        is_held = state == library.VIR_DOMAIN_PAUSED and not is_starting
        return "paused" if is_held or state == library.VIR_DOMAIN_PMSUSPENDED else "started"
    return "suspended" if name in listed.saved else "stopped"


def runs(host: Host, name: str) -> bool:
    """Whether the machine *name* runs now, and nobody holds it."""
    with errors_of(f"read the domain {name}", ObserveError):
        return read_power(host.domains[name], host.listings) == "started"


def _persistent_xml(name: str, domain: t.Any, host: Host) -> str:
    library = libraries.libvirt()
    if name not in host.listings.active:
        return host.definition(name).xml
    return t.cast(str, domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))


def _live_xml(name: str, domain: t.Any, power: str, host: Host) -> str | None:
    if power == "suspended":
        return t.cast(str, domain.managedSaveGetXMLDesc(libraries.libvirt().VIR_DOMAIN_SAVE_IMAGE_XML_SECURE))
    return None if power == "stopped" else host.definition(name).xml


def _device_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Why devices and shares that the machine does not have yet cannot go to it, by option path."""
    defined = state.persistent if state.exists else None
    running = state.live.devices if state.live is not None else None
    given = passthrough.obstacles(spec, host, state.device_sources, defined.devices if defined else {}, running)
    shared = sharing.obstacles(spec, host, defined.shares if defined else {})
    return {
        **{f"devices[{name}]": why for name, why in {**given, **state.missing_devices}.items()},
        **shared,
    }
