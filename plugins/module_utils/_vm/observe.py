# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a virtual machine on the host."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import typing as t

from .._core import atomic, command, libraries, startup
from .._core.errors import ObserveError
from .._core.paths import volume_name
from .._core.record import Record
from .._host import accelerator, vlans
from .._host.libvirt import Definition, Listings, dotted, errors_of
from .._host.snapshot import SERVICE_LIBVIRT, Host
from .._image.store import chain_of, stored
from . import addresses, process, seed
from .naming import name_devices, name_live_devices
from .spec import SEED, Item, Spec, Value
from .xml import domain as domain_xml
from .xml.disk import Disk
from .xml.domain import Domain
from .xml.nic import Nic

LEAST_LIBVIRT_FOR_VLANS = 11_000_000
_FOLDERS = ("dir", "fs", "netfs", "vstorage")
_TPM_FOLDER = "/var/lib/libvirt/swtpm"
EXTENSIONS = {"qcow2": "qcow2", "raw": "raw", "iso": "iso"}
SeedValues = t.Mapping[str, "str | tuple[str, ...]"]


@dataclasses.dataclass(frozen=True)
class Volume:
    """A disk file that is there. *is_ours*: the record of this guest says that we made it; *is_fresh*: for this very creation."""

    path: str
    format: str
    size: int
    is_ours: bool
    is_fresh: bool = False


@dataclasses.dataclass(frozen=True)
class Side:
    """The definition, or the running domain: options by path in canonical form, and devices by name."""

    values: t.Mapping[str, Value]
    disks: t.Mapping[str, Disk]
    nics: t.Mapping[str, Nic]
    domain: Domain

    def devices(self, kind: str) -> t.Mapping[str, Disk] | t.Mapping[str, Nic]:
        return self.disks if kind == "disks" else self.nics


@dataclasses.dataclass(frozen=True)
class State:
    """A virtual machine as it is.

    *power* is ``absent``, ``stopped``, ``started``, ``paused`` or ``suspended``. *exists*: libvirt knows it, and no creation
    of it was interrupted. *live* is ``None`` while it is stopped. *bridges* are the bridges of virtual networks by name,
    *pools* the folders of the pools, *sizes* the virtual sizes of the disks by path in bytes, *found* the files that stand
    where a declared disk would be made, *image_sizes* in bytes. *recorded* are our volumes that are there, by disk;
    *fresh* are the disks of which a creation that was interrupted made the volume. *vlan_obstacles* says of bridges why no
    card on them can be in a VLAN. *firmware_files* hold what its UEFI and its TPM remember.
    *other_pools* are the pools that are no folders, by name, with their types. *foreign_seed* is a file of somebody else
    where the seed would be made.
    """

    power: str = "absent"
    exists: bool = False
    is_building: bool = False
    wants_start: bool = False
    persistent: Side | None = None
    live: Side | None = None
    declined: tuple[str, ...] = ()
    seed: SeedValues | None = None
    live_seed: SeedValues | None = None
    seed_path: str | None = None
    other_kind: str | None = None
    bridges: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    pools: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    sizes: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    found: t.Mapping[str, Volume] = dataclasses.field(default_factory=dict)
    image_sizes: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    recorded: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    fresh: frozenset[str] = frozenset()
    users_of_volumes: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    macs: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    taken_macs: frozenset[str] = frozenset()
    machine_id: str = ""
    accelerator: str = "tcg"
    accelerator_reason: str = ""
    snapshots: int = 0
    image: str | None = None
    is_managed: bool = False
    run: process.Run | None = None
    addresses: t.Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    vlan_obstacles: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    firmware_files: tuple[str, ...] = ()
    other_pools: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    foreign_seed: str | None = None

    def bridge_of(self, nic: Nic) -> str:
        """The bridge that *nic* is plugged into, also through a virtual network."""
        return self.bridges.get(nic.source, nic.source) if nic.type == "network" else nic.source

    def seed_pool(self, spec: Spec) -> str | None:
        """The pool of the first disk, beside which the seed lies; ``None`` for a machine without a disk in one."""
        for item in spec.items("disks"):
            if item.is_wanted and item.text("pool"):
                return item.text("pool")
        folders = {path.rstrip("/"): name for name, path in self.pools.items() if name not in self.other_pools}
        disks = self.persistent.disks.values() if self.exists and self.persistent else ()
        return next((folders[place] for disk in disks if (place := os.path.dirname(disk.source)) in folders), None)


def observe(spec: Spec, host: Host) -> State:
    """Read the virtual machine of *spec* through *host*.

    :raises ObserveError:
    """
    state = _observe(spec, host)
    if spec.state == "absent":
        return state
    return dataclasses.replace(
        state, vlan_obstacles=_vlan_obstacles(spec, state, host), foreign_seed=_foreign_seed(spec, state)
    )


def _observe(spec: Spec, host: Host) -> State:
    record = host.record("guests", spec.name)
    domain = host.domains.get(spec.name)
    state = _read_surroundings(spec, host, record)
    if domain is None or state.other_kind:
        state = dataclasses.replace(state, found=_find_volumes(spec, state))
        return state if spec.state == "absent" else with_accelerator(state)
    with errors_of(f"read the domain {spec.name}", ObserveError):
        state = _read_domain(spec, host, record, domain, state)
    state = dataclasses.replace(state, found=_find_volumes(spec, state))
    return state if state.exists else with_accelerator(state)


def _read_surroundings(spec: Spec, host: Host, record: Record) -> State:
    """What is known of a guest that is not there: the record, its kept volumes, and what a new one needs to know."""
    is_container = spec.name in host.containers or record.data.get("kind") == "container"
    state = State(
        is_building=record.is_building,
        other_kind="container" if is_container else None,
        bridges={network.name: network.bridge for network in host.networks.values() if network.bridge},
        pools=host.pool_folders,
        other_pools={name: pool.type for name, pool in host.pools.items() if pool.type not in _FOLDERS},
        recorded={} if is_container else recorded_volumes(record),
        fresh=frozenset(name for name, volume in (record.data.get("volumes") or {}).items() if volume.get("fresh")),
        macs=record.data.get("macs") or {},
        image=record.data.get("image"),
        is_managed=record.exists and not is_container,
    )
    if spec.state == "absent":
        return dataclasses.replace(state, users_of_volumes=_other_users(host, spec.name, state.recorded.values()))
    return dataclasses.replace(
        state,
        image_sizes=_image_sizes(spec, host),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        taken_macs=frozenset(taken_macs(host, spec.name)) if _needs_mac(spec, state) else frozenset(),
    )


def _read_domain(spec: Spec, host: Host, record: Record, domain: t.Any, state: State) -> State:
    listed = host.listings
    power = read_power(domain, listed)
    run = process.find_run(spec.name) if power in ("started", "paused") else None
    notes = process.notes_of(record, run)
    claims = record.data.get("names") or {}
    # A domain that bears the name of one that we were making, and is another, is somebody else's.
    is_half_made = (
        record.is_building and spec.name not in listed.active and record.data.get("uuid") in (None, domain.UUIDString())
    )
    persistent = _read_side(spec, state, _persistent_xml(spec.name, domain, host), claims, None)
    live_xml = _live_xml(spec.name, domain, power, host)
    live = None if live_xml is None else _read_side(spec, state, live_xml, claims, persistent)
    if live is not None:
        live = _with_port_vlans(_with_requested_memory(live, notes), spec, host)
    seed_disk = persistent.disks.get(SEED)
    seed_path = seed_disk.source if seed_disk else None
    flags: dict[str, Value] = {
        "autostart": spec.name in listed.autostarted,
        "tags": tuple(record.data.get("tags") or ()),
        "protection": bool(record.data.get("protection")),
        **startup.recorded(record.data),
    }
    return dataclasses.replace(
        state,
        power=power,
        exists=not is_half_made,
        is_building=record.is_building,
        wants_start=bool(record.data.get("wants_start")),
        persistent=dataclasses.replace(persistent, values={**persistent.values, **flags}),
        live=None if live is None else dataclasses.replace(live, values={**live.values, **flags}),
        declined=tuple(notes.get("declined") or ()),
        seed=read_seed(_read_file(seed_path), spec.name),
        live_seed=read_seed(process.read_open_file(run, seed_path), spec.name) if run and seed_path else None,
        seed_path=seed_path,
        sizes=_sizes(domain, persistent, host.disk_sizes.get(spec.name, {}) if power == "stopped" else {}),
        snapshots=domain.snapshotNum(0) if spec.name in listed.with_snapshots else 0,
        run=run,
        addresses=addresses.read(host, domain, live) if live is not None and run is not None else {},
        firmware_files=_firmware_files(persistent.domain),
    )


def _firmware_files(domain: Domain) -> tuple[str, ...]:
    files = (domain.nvram, os.path.join(_TPM_FOLDER, domain.uuid) if domain.has_tpm else "")
    return tuple(path for path in files if os.path.exists(path))


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


def _read_side(spec: Spec, state: State, xml: str, claims: t.Mapping[str, t.Any], persistent: Side | None) -> Side:
    domain = domain_xml.read(domain_xml.parse(xml))
    if persistent is None:
        disks = name_devices(
            "disks", domain.disks, spec.items("disks"), claims.get("disks") or {}, _hints(spec, state, "disks")
        )
        nics = name_devices(
            "networks",
            domain.nics,
            spec.items("networks"),
            claims.get("networks") or {},
            _hints(spec, state, "networks"),
        )
    else:
        disks = name_live_devices("disks", domain.disks, persistent.disks, claims.get("disks") or {})
        nics = name_live_devices("networks", domain.nics, persistent.nics, claims.get("networks") or {})
    numbers = {name: disk.boot_order for name, disk in disks.items()} | {
        name: nic.boot_order for name, nic in nics.items()
    }
    ordered = sorted((number, name) for name, number in numbers.items() if number)
    order = tuple(name for dummy, name in ordered) or tuple(f"class:{word}" for word in domain.boot_classes)
    return Side({**domain.values, "boot.order": order}, disks, nics, domain)


def _hints(spec: Spec, state: State, kind: str) -> dict[str, set[str]]:
    """What a declared item says that a device of its own would have."""
    hints: dict[str, set[str]] = {}
    for item in spec.items(kind):
        keys = ("source", "serial") if kind == "disks" else ("mac", "bridge")
        hints[item.name] = {str(item.values[key]) for key in keys if item.values.get(key)}
        if kind == "disks":
            hints[item.name] |= set(volume_paths(spec.name, item, state.pools))
        else:
            bridge = item.text("bridge")
            hints[item.name] |= {network for network, its in state.bridges.items() if its == bridge}
    return hints


def volume_paths(guest: str, item: Item, pools: t.Mapping[str, str]) -> list[str]:
    """Where the volume of a declared disk lies or would lie, the likeliest first; nowhere while its pool is not known."""
    folder = pools.get(item.text("pool") or "")
    if folder is None or "source" in item.values:
        return []
    wanted = item.text("format") or "qcow2"
    return [
        volume_path(folder, guest, item.name, format_) for format_ in (wanted, *(set(EXTENSIONS) - {wanted, "iso"}))
    ]


def volume_path(folder: str, guest: str, disk: str, format_: str) -> str:
    return os.path.join(folder, f"{volume_name(guest, disk)}.{EXTENSIONS[format_]}")


def _foreign_seed(spec: Spec, state: State) -> str | None:
    folder = state.pools.get(state.seed_pool(spec) or "")
    if not spec.has_seed or folder is None:
        return None
    path = volume_path(folder, spec.name, SEED, "iso")
    return path if os.path.exists(path) and path not in state.recorded.values() else None


def recorded_volumes(record: Record) -> dict[str, str]:
    """Our volumes that are there, by disk."""
    volumes = record.data.get("volumes") or {}
    return {
        name: volume["path"]
        for name, volume in volumes.items()
        if volume.get("made") and os.path.exists(volume["path"])
    }


def _find_volumes(spec: Spec, state: State) -> dict[str, Volume]:
    found = {}
    plugged = state.persistent.disks if state.exists and state.persistent else {}
    for item in spec.items("disks"):
        if item.name in plugged:
            continue
        for path in volume_paths(spec.name, item, state.pools):
            if item.is_wanted and os.path.exists(path):
                size, format_ = read_volume(path)
                found[item.name] = Volume(
                    path, format_, size, path in state.recorded.values(), item.name in state.fresh
                )
                break
    return found


def read_volume(path: str) -> tuple[int, str]:
    """The virtual size in bytes and the format of a disk file.

    :raises ObserveError: when it is no disk file.
    """
    try:
        # -U: QEMU may have it open.
        said = json.loads(command.run(["qemu-img", "info", "-U", "--output=json", path]))
    except (command.CommandError, ValueError) as exc:
        raise ObserveError(f"{path} cannot be read as a disk: {exc}") from exc
    return said["virtual-size"], said["format"]


def _image_sizes(spec: Spec, host: Host) -> dict[str, int]:
    names = {spec.image, *(item.text("image") for item in spec.items("disks"))} - {None}
    sizes = {}
    for name in sorted(t.cast("set[str]", names)):
        image = stored(host.record("images", name))
        kind = image.kind if image else host.expected_images.get(name, "vm")
        if kind != "vm":
            raise ObserveError(f"image: {name} is an image for containers; a virtual machine needs one of kind vm")
        if image is not None:
            sizes[name] = image.size_bytes
    return sizes


def _needs_mac(spec: Spec, state: State) -> bool:
    """Whether a card may get an address that it does not have yet."""
    cards = [item for item in spec.items("networks") if item.is_wanted]
    return any(state.macs.get(item.name) != item.values.get("mac", state.macs.get(item.name, "")) for item in cards)


def taken_macs(host: Host, except_guest: str) -> set[str]:
    """The MACs that other guests have, by their records and their definitions."""
    nobody = {except_guest, *host.expected_gone}
    return {mac for name, macs in host.derived(_macs_of_all).items() if name not in nobody for mac in macs}


def _macs_of_all(host: Host) -> dict[str, list[str]]:
    found = {name: list((record.data.get("macs") or {}).values()) for name, record in host.guest_records.items()}
    for name, its in _definitions(host).items():
        found.setdefault(name, []).extend(nic.mac for nic in domain_xml.read(domain_xml.parse(its.xml)).nics)
    return found


def _definitions(host: Host) -> dict[str, Definition]:
    if not host.domains:
        return {}  # a bare host has not even the library whose errors would be read
    with errors_of("read the domains", ObserveError):
        return host.definitions


def _other_users(host: Host, name: str, volumes: t.Iterable[str]) -> dict[str, str]:
    """Which other domain has one of *volumes* plugged in, or a disk that stands on it, by path."""
    wanted = set(volumes)
    users: dict[str, str] = {}
    if not wanted:
        return users
    for other, its in _definitions(host).items():
        if other != name:
            files = {file for path in its.disk_sources for file in chain_of(path)}
            users.update((path, other) for path in files & wanted)
    return users


def _sizes(domain: t.Any, side: Side, known: t.Mapping[str, int]) -> dict[str, int]:
    """The virtual sizes of the disks by path, as *known* or asked for; of one whose file is gone there is none."""
    library = libraries.libvirt()
    sizes = {}
    for disk in side.disks.values():
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


def _with_requested_memory(live: Side, notes: t.Mapping[str, t.Any]) -> Side:
    """The balloon as it was asked for in this run: on its way there, or where the guest keeps more, it is no difference."""
    balloon = notes.get("balloon")
    if not balloon or "memory" in (notes.get("declined") or ()):
        return live
    least, most = sorted((balloon["requested"], balloon["before"]))
    if not least <= t.cast(int, live.values["memory"]) <= most:
        return live
    return dataclasses.replace(live, values={**live.values, "memory": balloon["requested"]})


def _with_port_vlans(live: Side, spec: Spec, host: Host) -> Side:
    """The VLANs as the ports have them: libvirt says what it once set."""
    is_declared = any("vlan" in item.values for item in spec.items("networks"))
    is_unset = any(path.endswith("].vlan") for path in spec.unset)
    if not (is_declared or is_unset or any(nic.vlan for nic in live.nics.values())):
        return live
    return dataclasses.replace(live, nics={name: _with_port_vlan(nic, host) for name, nic in live.nics.items()})


def _with_port_vlan(nic: Nic, host: Host) -> Nic:
    default = vlans.default_vlan(host.links.get(nic.tap, {}).get("master", ""), host.links)
    if default is None or not isinstance(nic.vlan, int):
        return nic
    return dataclasses.replace(nic, vlan=vlans.canonical(host.port_vlans.get(nic.tap, 0), nic.vlan, default))


def _vlan_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Nothing is asked where no declared card is in a VLAN or is to be in one."""
    items = [item for item in spec.items("networks") if item.is_wanted]
    defined = state.persistent.nics if state.persistent else {}
    nics = [defined[item.name] for item in items if item.name in defined]
    if not any("vlan" in item.values for item in items) and not any(nic.vlan for nic in nics):
        return {}
    old = _too_old_for_vlans(host)
    bridges = {item.text("bridge") for item in items} | {state.bridge_of(nic) for nic in nics}
    return {bridge: why for bridge in bridges if bridge and (why := old or host.vlan_obstacle(bridge))}


def _too_old_for_vlans(host: Host) -> str | None:
    if host.missing(SERVICE_LIBVIRT):
        return None
    with errors_of("ask libvirt for its version", ObserveError):
        version = host.connection.getLibVersion()
    if version >= LEAST_LIBVIRT_FOR_VLANS:
        return None
    return f"libvirt {dotted(version)} of this host has no VLANs on Linux bridges. 11.0 or newer permits it, as Debian 13 has it"


def with_accelerator(state: State) -> State:
    """*state* with what a new machine would run with, and why."""
    found = accelerator.probe()
    return dataclasses.replace(state, accelerator=found.kind, accelerator_reason=found.reason)


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
