# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a virtual machine on the host."""

from __future__ import annotations

import contextlib
import os
import types
import typing as t

from .._core import atomic, libraries
from .._core.claims import addresses_in
from .._core.errors import ObserveError
from .._core.keyed import Naming, claim_names
from .._core.options import Item, split
from .._core.reference import Reference
from .._guest import options as guest_options
from .._guest.allocation import taken_macs
from .._guest.auto_address import is_auto
from .._guest.cards import KEYS, bare_bridges, rate_obstacle
from .._guest.clones import linked_clones
from .._guest.installing import Installing
from .._guest.record import GuestRecord, Run
from .._guest.recorded import load_file
from .._guest.removal import kept_snapshots
from .._host import accelerator, handed_out, neighbours, place, vlans
from .._host.libvirt import Listings, dotted, errors_of
from .._host.snapshot import IMAGE, SERVICE_LIBVIRT, Host
from .._host.uses import obstacle
from .._image import copies
from .._image.presets import Presets
from .._image.store import stored
from .._storage import volume as volumes
from .._storage.choice import absence, drivers_of, pool_of
from .._storage.driver import Driver
from .._storage.volume import Volume
from . import addresses, cpu, firmware, installation, media, obstacles, passthrough, process, seed, sharing
from .addressing import is_address, kept_ip, with_addresses, without
from .firmware import Firmware
from .naming import PLACES, name_live_devices
from .offer import Offer
from .options import CLOUD_INIT, OPTIONS, SEED_DISK
from .seed import INSTANCE
from .seed_card import Card
from .spec import DEVICE_REFS, ISO, Spec, is_shared, reads_only, root_image, with_presets
from .state import FoundVolume, State, VmSide, seed_values
from .volumes import Drivers, place_of, read_volume, recorded_places, volume_of
from .xml import domain as domain_xml
from .xml import machine
from .xml.cdrom import Cdrom
from .xml.disk import Disk, serial_mark
from .xml.domain import Domain
from .xml.filesystem import Share, tag_mark
from .xml.hostdev import Hostdev, marks_of
from .xml.nic import Nic

# What a card has of IPv6 that no seed tells anything of it.
NO_IP6 = types.MappingProxyType({"ip6": "", "gateway6": ""})
LEAST_LIBVIRT_FOR_VLANS = 11_000_000

_FIRMWARE = {*firmware.PATHS, "tpm.version", "tpm.model"}
# What not every host has.
_OFFERED = (*firmware.PATHS, "tpm.version", "tpm.model", "machine")

# What libvirt limits a card with: fair queues for what it gets, and dropping what it sends too fast.
QUEUES = ("htb", "sfq", "police")


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
    leases, answering = _who_has_addresses(spec, state, host)
    state = state.replace(
        leases=leases,
        answering=answering,
        bare_bridges=bare_bridges(spec, host),
        taken_macs=state.taken_macs or (taken_macs(host, spec.name) if answering else {}),
        found=_find_volumes(spec, state, drivers, host),
        vlan_obstacles=_vlan_obstacles(spec, state, host),
        rate_obstacle=rate_obstacle(spec, *QUEUES),
        source_obstacles=_source_obstacles(spec, state, host),
        missing_media=_missing_media(spec),
        missing_folders=sharing.missing_folders(spec),
        device_groups=passthrough.shared_groups(spec, host, state.device_sources),
        presets=_presets(spec, state, host),
        installer_obstacle=None if state.exists else media.obstacle(spec.values, host),
    )
    asked = spec if state.exists else with_presets(spec, state.presets)
    state = state.replace(remembered=_remembered(asked, state))
    offer = _offer(asked, state, host)
    state = state.replace(offer=offer)
    if not host.missing(SERVICE_LIBVIRT) and not (offer is not None and offer.obstacle):
        state = state.replace(**obstacles.observe(asked, state, host, _place(asked, state)))
    state = state.replace(obstacles={**state.obstacles, **_device_obstacles(spec, state, host)})
    return state.replace(foreign_seed=_foreign_seed(spec, state, drivers))


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
        bridges_there=_bridges_there(spec, host),
        places={path: place.identity(path) for path in _declared_sources(spec)},
        formats={name: driver.formats for name, driver in drivers.items()},
        other_pools={name: pool.type for name, pool in host.pools.items() if name not in drivers},
        owned=owned,
        clones=linked_clones(host, spec.name) if record.exists else (),
    )
    if spec.state != "absent":
        sources, missing = passthrough.sources_of(spec, host)
        state = state.replace(device_sources=sources, missing_devices=missing)
    if spec.state == "absent":
        return state.replace(**_out_of_reach(spec.name, state, host, _used(host, spec.name, owned)))
    needs_macs = _needs_mac(spec, record)
    _check_media(spec, host)
    return state.replace(
        **_images(spec, host),
        missing_copies=_missing_copies(spec, drivers),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        taken_macs=taken_macs(host, spec.name) if needs_macs else {},
    )


def _declared_sources(spec: Spec) -> list[str]:
    items = (*spec.items("disks"), *spec.items("cdroms"))
    return [path for item in items if (path := item.text("source"))]


def _missing_media(spec: Spec) -> list[str]:
    """The media of drives that are declared and not there. Those of images are required by their names."""
    media = [item.text("source") for item in spec.wanted("cdroms") if "image" not in item.values]
    return [path for path in dict.fromkeys(media) if path and not os.path.exists(path)]


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
    model = _read_model(_persistent_xml(spec.name, domain, host), host)
    sizes = _sizes(domain, model, host.disk_sizes.get(spec.name, {}) if power == "stopped" else {})
    flags = {"autostart": spec.name in listed.autostarted}
    drivers = drivers_of(host)
    named = _name_devices(spec, state, model, drivers)
    disks: t.Mapping[str, Disk] = named.disks.things
    devices = Devices(disks, named.cdroms.things, named.nics.things, named.devices.things, named.shares.things)
    seed_path = disks[SEED_DISK].source if SEED_DISK in disks else None
    lasting = read_seed(_read_file(seed_path), spec.name)
    is_asked = not _FIRMWARE.isdisjoint({*spec.values, *spec.unset})
    ways = _way_values(model, host) if is_asked else {}
    persistent = _side(model, devices, {**flags, **seed_values(lasting), **ways}, state, sizes, host)
    live, found_addresses = None, {}
    if installing is not None and installing.runs:
        # What only this run has, and what it lacks, is no difference.
        live = persistent
    elif live_xml is not None:
        model = _read_model(live_xml, host)
        devices = _name_live_devices(state, model, persistent)
        seeds = _live_seed(run, seed_path, lasting, spec.name)
        ways = _way_values(model, host) if is_asked else {}
        live = _side(model, devices, {**flags, **seeds, **ways}, state, sizes, host)
        live = _with_port_vlans(_with_requested_memory(_with_own_order(live, notes), notes), spec, host)
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
    return _with_ips(spec, state)


def _with_ips(spec: Spec, state: State) -> State:
    """*state* with what each card has as ``networks[].ip``: a running guest that was given another address has it from its next start on."""
    lasting: dict[str, dict[str, t.Any]] = {}
    running: dict[str, dict[str, t.Any]] = {}
    seeds = _seed_cards(spec, state)
    six = {name: tuple(_told_of_ipv6(cards, nic.mac) for cards in seeds) for name, nic in state.persistent.nics.items()}
    for name, nic in state.persistent.nics.items():
        item = spec.item("networks", name)
        bridge = (item and item.text("bridge")) or nic.value("bridge")
        mac = (item and item.text("mac")) or nic.mac
        server, declared = state.servers.get(bridge), item.text("ip") if item else None
        declared = guest_options.DHCP if f"networks[{name}].ip" in spec.unset else declared
        if server is None:
            lasting[name], running[name] = (_told_by_seed(cards, nic, declared) for cards in seeds)
            continue
        ip, address = kept_ip(server, mac, declared), server.address.partition("/")[0]
        # The server tells its own address as the gateway.
        gateway = address if item is not None and item.get("gateway") == address else ""
        lasting[name] = {"ip": ip, "gateway": gateway, "dns": ()}
        running[name] = {**lasting[name], "ip": _running_ip(name, nic, ip, state)}
    persistent, live = state.persistent, state.live
    told = {
        name: (_told_by_seed(seeds[0], nic, None)["ip"], six[name][0]["ip6"]) for name, nic in persistent.nics.items()
    }
    nics = {
        name: nic.with_values(**lasting[name], **six[name][0], told=told[name]) for name, nic in persistent.nics.items()
    }
    persistent = persistent.but(nics=nics)
    if live is not None:
        unknown = {"ip": guest_options.DHCP, "gateway": "", "dns": ()}
        now6 = {name: its[1] for name, its in six.items()}
        nics = {
            name: nic.with_values(**running.get(name, unknown), **now6.get(name, NO_IP6))
            for name, nic in live.nics.items()
        }
        live = live.but(nics=nics)
    # What was noted of addresses is in the values of the cards now: it keeps nobody from asking for any address again.
    declined = tuple(path for path in state.declined if not path.endswith("].ip"))
    return state.replace(persistent=persistent, live=live, declined=declined)


def _seed_cards(spec: Spec, state: State) -> tuple[t.Mapping[str, Card] | None, t.Mapping[str, Card] | None]:
    """What the seed tells the cards, by their MACs, as it lies there and as the running machine read it; ``None`` where it tells none."""
    keys = {"ip", "gateway", "dns", "ip6", "gateway6"}
    unset = any(split(path)[0] == "networks" and split(path)[2] in keys for path in spec.unset)
    is_asked = unset or any(keys & item.values.keys() for item in spec.items("networks"))
    is_written = spec.has_seed or any(path in CLOUD_INIT for path in spec.unset)
    is_recorded = bool(state.record.addresses or state.record.addresses6)
    if state.seed_path is None or not (is_asked or is_written or is_recorded):
        return None, None
    lasting = _cards_in(_read_file(state.seed_path))
    if state.run is None:
        return lasting, lasting
    return lasting, _cards_in(process.read_open_file(state.run, state.seed_path))


def _cards_in(data: bytes | None) -> t.Mapping[str, Card] | None:
    files = None if data is None else seed.unpack(data)
    return None if files is None else seed.read_cards(files)


def _told_by_seed(cards: t.Mapping[str, Card] | None, nic: Nic, declared: str | None) -> dict[str, t.Any]:
    card = None if cards is None else cards.get(nic.mac)
    if card is None:
        return {"ip": without(declared), "gateway": "", "dns": ()}
    return {"ip": card.ip, "gateway": card.gateway, "dns": card.dns}


def _told_of_ipv6(cards: t.Mapping[str, Card] | None, mac: str) -> t.Mapping[str, str]:
    card = (cards or {}).get(mac)
    return {"ip6": card.ip6, "gateway6": card.gateway6} if card else NO_IP6


def _running_ip(name: str, nic: Nic, lasting: str, state: State) -> str:
    seen, address = state.addresses.get(nic.mac, ()), lasting.partition("/")[0]
    if f"networks[{name}].ip" not in state.declined or not is_address(lasting) or address in seen:
        return lasting
    length = lasting.partition("/")[2]
    return next((f"{other}/{length}" for other in seen if "." in other), guest_options.NO_ADDRESS)


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
        *(path for path in remembered if path not in ours and os.path.exists(path)),
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


# ---- the two sides ----------------------------------------------------------------------------------------------------


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


def _read_model(xml: str, host: Host) -> Domain:
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


def _name_devices(spec: Spec, state: State, domain: Domain, drivers: Drivers) -> _Named:
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


def _name_live_devices(state: State, domain: Domain, persistent: VmSide) -> Devices:
    recorded = state.record.names
    return Devices(
        name_live_devices("disks", domain.disks, persistent.disks, recorded.get("disks", {})),
        name_live_devices("cdroms", domain.cdroms, persistent.cdroms, recorded.get("cdroms", {})),
        name_live_devices("networks", domain.nics, persistent.nics, recorded.get("networks", {})),
        name_live_devices("devices", domain.devices, persistent.devices, recorded.get("devices", {})),
        name_live_devices("shares", domain.shares, persistent.shares, recorded.get("shares", {})),
    )


def _side(
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


def _with_own_order(live: VmSide, notes: Run | None) -> VmSide:
    """What it boots from otherwise, of one that was started from something else for once: that needs no restart."""
    if notes is None or notes.order is None:
        return live
    return live.but(values={**live.values, "boot.order": notes.order})


def _with_requested_memory(live: VmSide, notes: Run | None) -> VmSide:
    """The balloon as it was asked for in this run: on its way there, or where the guest keeps more, it is no difference."""
    if notes is None or notes.balloon is None or "memory" in notes.declined:
        return live
    requested, before = notes.balloon
    if not min(requested, before) <= live.values["memory"] <= max(requested, before):
        return live
    return live.but(values={**live.values, "memory": requested})


def _with_port_vlans(live: VmSide, spec: Spec, host: Host) -> VmSide:
    """The VLANs as the ports have them: libvirt says what it once set."""
    is_declared = any("vlan" in item.values for item in spec.items("networks"))
    is_unset = any(path.endswith("].vlan") for path in spec.unset)
    if not (is_declared or is_unset or any(nic.value("vlan") for nic in live.nics.values())):
        return live
    return live.but(nics={name: _with_port_vlan(nic, host) for name, nic in live.nics.items()})


def _with_port_vlan(nic: Nic, host: Host) -> Nic:
    vlan = nic.value("vlan")
    default = vlans.default_vlan(host.links.get(nic.tap, {}).get("master", ""), host.links)
    if default is None or not isinstance(vlan, int):
        return nic
    return nic.with_values(vlan=vlans.canonical(host.port_vlans.get(nic.tap, 0), vlan, default))


# ---- volumes and seed -------------------------------------------------------------------------------------------------


def _foreign_seed(spec: Spec, state: State, drivers: Drivers) -> str | None:
    driver = drivers.get(state.seed_pool(spec) or "")
    if not spec.has_seed or driver is None:
        return None
    seed_volume = volumes.of_guest(driver.pool, spec.name, SEED_DISK, volumes.BLOCK)
    path = driver.location(seed_volume)
    return path if driver.exists(seed_volume) and path not in state.owned.values() else None


def _missing_copies(spec: Spec, drivers: Drivers) -> dict[tuple[str, str], Volume]:
    """The copies of images in pools that new disks would be cloned from, and that are not there yet."""
    found = {}
    for item in spec.wanted("disks"):
        driver = drivers.get(item.text("pool") or "")
        for image in {item.text("image"), spec.image} - {None} if driver else ():
            copy = copies.copy_in(str(image), "vm", t.cast(Driver, driver))
            if copy is not None and driver is not None and not driver.exists(copy):
                found[driver.pool, str(image)] = copy
    return found


def _out_of_reach(name: str, state: State, host: Host, used: t.Mapping[str, str]) -> dict[str, t.Any]:
    """What a removal says of our volumes and snapshots: of those whose pool is not there, or not mounted, it deletes none."""
    lost = {item: its.volume for item, its in state.record.volumes.items() if item not in state.owned}
    why = {item: reason for item, volume in lost.items() if (reason := absence(host, volume.pool))}
    told = {item: f"{lost[item]} ({reason})" for item, reason in why.items()}
    snapshots, held = kept_snapshots(name, state.record, host)
    return {"owned": {**state.owned, **told}, "used": {**used, **why, **held}, "snapshots": snapshots}


def _find_volumes(spec: Spec, state: State, drivers: Drivers, host: Host) -> dict[str, FoundVolume]:
    found = {}
    plugged = state.persistent.disks if state.exists else {}
    for item in spec.wanted("disks"):
        if item.name in plugged:
            continue
        volume = volume_of(spec.name, item)
        driver = drivers.get(volume.pool) if volume else None
        if volume is not None and driver is not None and driver.exists(volume):
            path = driver.location(volume)
            size, format_ = read_volume(path)
            is_ours = path in state.owned.values()
            found[item.name] = FoundVolume(path, format_, size, is_ours, _obstacle(host, spec.name, path))
    return found


def _source_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Why the new sources of disks cannot be used. What is only read others may have too."""
    plugged = state.persistent.disks if state.exists else {}
    found = {}
    for item in spec.wanted("disks"):
        source, there = item.text("source"), plugged.get(item.name)
        if source is None or (there is not None and there.place == state.places.get(source)):
            continue
        sharing = _sharing(host, source) if is_shared(item, there) else ()
        why = None if reads_only(item, there) else _obstacle(host, spec.name, source, sharing=sharing)
        if why is not None:
            found[item.name] = why
    return found


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


def _images(spec: Spec, host: Host) -> dict[str, t.Any]:
    """The sizes of the images that are named, and what is known of the systems in them."""
    names = {spec.image, *(item.text("image") for item in spec.items("disks"))} - {None}
    sizes, presets = {}, {}
    for name in sorted(t.cast("set[str]", names)):
        image = stored(host.record("images", name))
        kind = image.kind if image else host.promised(Reference(IMAGE, name), "kind") or "vm"
        if kind != "vm":
            what = "an ISO" if kind == "iso" else "an image for containers"
            raise ObserveError(f"image: {name} is {what}; a virtual machine needs one of kind vm")
        told = (image.presets if image else Presets())._replace(
            **host.promised(Reference(IMAGE, name), "presets") or {}
        )
        if image is not None:
            sizes[name] = image.size_bytes
            told = told._replace(disk=told.disk if (told.disk or 0) > image.size_bytes else None)
        presets[name] = told
    return {"image_sizes": sizes, "image_presets": presets}


def _presets(spec: Spec, state: State, host: Host) -> Presets:
    """What is known of the system in the machine: since it was made, or of what it is made of."""
    if state.exists:
        return state.record.presets
    if spec.origin is not None:
        return load_file(host.record("guests", spec.origin)).presets
    return state.image_presets.get(root_image(spec) or "", Presets())


def _check_media(spec: Spec, host: Host) -> None:
    for item in spec.wanted("cdroms"):
        name = item.text("image")
        image = stored(host.record("images", name)) if name else None
        kind = image.kind if image else host.promised(Reference(IMAGE, name or ""), "kind") or ISO
        if kind != ISO:
            raise ObserveError(
                f"cdroms[{item.name}].image: {name} is an image of the kind {kind}; a drive needs one of the kind {ISO}"
            )


def _used(host: Host, name: str, owned: t.Mapping[str, str]) -> dict[str, str]:
    """Why our volumes cannot be deleted, as a sentence, of those that somebody else or another file stands on."""
    ours = owned.values()
    found = {item: _obstacle(host, name, path, ours) for item, path in owned.items()}
    return {item: why for item, why in found.items() if why}


def _sharing(host: Host, path: str) -> set[str]:
    """The machines of which each disk that stands on *path* is shared too."""
    wanted = place.identity(path)
    found: set[str] = set()
    others: set[str] = set()
    for name, definition in host.definitions.items() if host.domains else ():
        for node in definition.root.iterfind("devices/disk"):
            source = node.find("source")
            if source is not None and place.identity(source.get("file") or source.get("dev") or "") == wanted:
                (others if node.find("shareable") is None else found).add(name)
    return found - others


def _obstacle(
    host: Host, name: str, path: str, besides: t.Collection[str] = (), sharing: t.Collection[str] = ()
) -> str | None:
    if not host.domains:
        # A bare host has not even the library whose errors would be read.
        return obstacle(host, name, path, besides=besides)
    with errors_of("read the domains", ObserveError):
        return obstacle(host, name, path, besides=besides, sharing=sharing)


def _sizes(domain: t.Any, model: Domain, known: t.Mapping[str, int]) -> dict[str, int]:
    """The virtual sizes of the disks by path, as *known* or asked for; of one whose file is gone there is none."""
    library = libraries.libvirt()
    sizes = {}
    for disk in model.disks:
        if not disk.source:
            continue
        if disk.source in known:
            sizes[disk.source] = known[disk.source]
            continue
        try:
            sizes[disk.source] = domain.blockInfo(disk.source, 0)[0]
        except library.libvirtError:
            # Of a running machine libvirt tells only of the disks that are plugged in now.
            if os.path.exists(disk.source):
                # A drive of the host without a medium is there, and cannot be read.
                with contextlib.suppress(ObserveError):
                    sizes[disk.source] = read_volume(disk.source)[0]
    return sizes


def _live_seed(
    run: Run | None, path: str | None, lasting: t.Mapping[str, t.Any] | None, guest: str
) -> dict[str, t.Any]:
    """What the running machine read; one that was saved, or has a seed that cannot be read, reads what lies there."""
    if run is None or path is None:
        return seed_values(lasting)
    seen = read_seed(process.read_open_file(run, path), guest)
    if seen is None and lasting is not None:
        return dict.fromkeys(seed_values(None))
    return seed_values(seen)


def _read_file(path: str | None) -> bytes | None:
    try:
        with open(path or "", "rb") as stream:
            return stream.read()
    except OSError:
        return None


def read_seed(data: bytes | None, guest: str) -> dict[str, str | tuple[str, ...]] | None:
    """What a seed says, by option path; ``None`` where there is none."""
    files = None if data is None else seed.unpack(data)
    return None if files is None else seed.read(files, guest)


# ---- cards ------------------------------------------------------------------------------------------------------------


def _needs_mac(spec: Spec, record: GuestRecord) -> bool:
    """Whether a card may get an address that it does not have yet."""
    known = record.macs
    cards = spec.wanted("networks")
    return any(known.get(item.name) != item.values.get("mac", known.get(item.name, "")) for item in cards)


def _bridges_there(spec: Spec, host: Host) -> frozenset[str]:
    made = {network.bridge for network in host.networks.values()}
    named = (item.text("bridge") for item in spec.wanted("networks"))
    return frozenset(name for name in named if name and (name in made or name in host.link_names))


def _who_has_addresses(spec: Spec, state: State, host: Host) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The leases of bridges of which a card is to get an address, and who answers on them to one that a card is to get."""
    nics = state.persistent.nics if state.exists else {}
    own = {nic.mac for nic in nics.values()} | {*state.record.macs.values()}
    own |= {item.text("mac") or "" for item in spec.wanted("networks")}
    leases: dict[str, dict[str, str]] = {}
    found: dict[str, str] = {}
    for item in spec.wanted("networks"):
        nic = nics.get(item.name)
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")
        vlan = item.get("vlan", nic.value("vlan") if nic else 0) or 0
        stays = nic is not None and nic.value("bridge") == bridge
        new = {key: item.text(key) for key in KEYS if not (nic and stays and nic.value(key) == item.text(key))}
        asked = addresses_in(*(ip for ip in new.values() if not is_auto(ip)))
        if not asked or bridge not in host.link_names:
            continue
        if is_address(new.get("ip")):
            leases[bridge] = handed_out.leases(host, bridge)
        found.update(neighbours.who_answers(bridge, asked, vlan if isinstance(vlan, int) else 0))
    return leases, {address: mac for address, mac in found.items() if mac not in own}


def _vlan_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Nothing is asked where no declared card is in a VLAN or is to be in one."""
    items = spec.wanted("networks")
    defined = state.persistent.nics if state.exists else {}
    nics = [defined[item.name] for item in items if item.name in defined]
    if not any("vlan" in item.values for item in items) and not any(nic.value("vlan") for nic in nics):
        return {}
    old = _too_old_for_vlans(host)
    bridges = {item.text("bridge") for item in items} | {nic.value("bridge") for nic in nics}
    return {bridge: why for bridge in bridges if bridge and (why := old or host.vlan_obstacle(bridge))}


def _too_old_for_vlans(host: Host) -> str | None:
    if host.missing(SERVICE_LIBVIRT):
        return None
    with errors_of("ask libvirt for its version", ObserveError):
        version = host.connection.getLibVersion()
    if version >= LEAST_LIBVIRT_FOR_VLANS:
        return None
    return f"libvirt {dotted(version)} of this host has no VLANs on Linux bridges. 11.0 or newer permits it, as Debian 13 has it"
