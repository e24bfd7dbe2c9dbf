# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a container on the host, read by theme: its configuration, its power, its root, what is inside, its surroundings."""

from __future__ import annotations

import os
import stat
import typing as t

from .._core import atomic, command, paths
from .._core.claims import addresses_in
from .._core.decide import SAME
from .._core.record import load_all
from .._core.reference import Reference
from .._guest.allocation import taken_macs
from .._guest.cards import bare_bridges, rate_obstacle
from .._guest.clones import linked_clones
from .._guest.device import HostDevice, target_of
from .._guest.holders import machine_with
from .._guest.host_device import find_device
from .._guest.quarantine import observe_quarantine
from .._guest.record import GuestRecord
from .._guest.recorded import load_file, load_others
from .._guest.removal import kept_snapshots, obstacle_to_deletion
from .._guest.spec import GuestSpec
from .._host import remote
from .._host.hardware import read_hardware
from .._host.lxc import Container, config_path, read_containers
from .._host.snapshot import IMAGE, Host
from .._image import copies
from .._image.store import stored
from .._storage import volume as volumes
from .._storage.choice import absence, drivers_of, pool_of
from .._storage.driver import LIMIT, Driver
from . import cgroup, cpuset, docker, guest_files, idmap, live, loading, monitor, values
from .card import RATES, VETH, Card, Nic, claim_cards, device_names, find_nic, read_cards
from .config import ADDRESSES, Config, MountEntry, root_of
from .device import Device, Node, read_devices, with_numbers
from .idmap import Range, allocate, parse_idmap, parse_others, parse_subids
from .listed import configs
from .mount import Mounted, bind_entries, claim_mounts
from .mount_sources import closed_folder, observe_sources
from .options import OPTIONS
from .source import observe_source
from .state import ROOTFS, Claim, Definition, HostState, Inside, Live, State
from .tree import Tree, network_manager

KIND = "container"
_RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"

# What the program that LXC runs for a card makes its limits of.
QUEUES = ("tbf", "ifb", "mirred")


def observe(spec: GuestSpec, host: Host) -> State:
    """Read the container of *spec* through *host*.

    :raises ObserveError:
    """
    return observe_guest(spec.name, host, spec)


def observe_guest(name: str, host: Host, spec: GuestSpec | None = None) -> State:
    """Read the container *name*; what depends on what a user wants is read where there is a *spec*.

    :raises ObserveError:
    """
    file = host.record("guests", name)
    found = load_file(file)
    record = found if found.kind in ("", KIND) else GuestRecord()
    if spec is not None and spec.state == "present" and record.due_power is not None:
        spec = spec.replace(state=record.due_power)  # whether it can be started is asked for before that is planned
    config = host.derived(configs).get(name)
    exists = config is not None and not record.is_building
    source = observe_source(spec, host) if spec is not None and spec.state != "absent" and not exists else None
    if spec is not None and source is not None:
        spec = spec.replace(values={**source.values, **spec.values})
    kept = _observe_definition(name, config or Config(), record, spec, exists=exists)
    rates = host.rates if _concerns_rates(kept, spec) else None
    entry = host.containers.get(name)
    problem = entry.problem if entry else None
    is_asked = entry is not None and problem is None and (entry.is_running or (spec is not None and declares(spec)))
    # A program for each of a hundred containers would cost more than all the rest: only the words of what fails here come from one.
    if is_asked and live.is_unloadable(name):
        problem = loading.problem_of(name)
    is_v2 = has_v2()
    keys = monitor.keys_of(kept.config, is_v2=is_v2) if spec and exists else ()
    power, running = ("absent", None) if entry is None else _observe_power(entry, host, rates, keys, problem, is_v2)
    kept.values = {path: values.kept_value(kept, path) for path in values.READ}
    away = _away(spec, kept.config) if spec else frozenset()
    places = _places(spec, kept.config, away) if spec else {}
    if running is not None:
        running.items = {
            "networks": _nics_by_name(kept, running, spec),
            "mounts": _mounted_by_name(kept, running, spec, places),
            "devices": _nodes_by_name(name, kept, running, spec),
        }
        seen = ((path, values.live_value(kept, running, path)) for path in values.READ)
        running.values = {**kept.values, **{path: value for path, value in seen if value is not SAME}}
    is_machine = name in host.domains or (file.exists and found.kind not in ("", KIND))
    return State(
        power=power,
        exists=exists,
        persistent=kept,
        live=running,
        record=record,
        other_kind="virtual machine" if is_machine else None,
        **_observe_root(name, kept.config, record, spec, host),
        **(_observe_surroundings(name, kept, spec, host, exists=exists) if spec else {}),
        places=places,
        away=away,
        **(observe_sources(kept, spec, places, exists=exists) if spec else {}),
        **(_observe_devices(name, kept, spec, running, host, exists=exists) if spec else {}),
        **(_observe_engine(kept, spec, exists=exists) if spec else {}),
        problem=problem,
        root_obstacle=_root_obstacle(kept.config) if exists else None,
        removal_obstacle=_removal_obstacle(name) if entry and spec is not None and spec.state == "absent" else None,
        files=frozenset(path for path in places if not os.path.isdir(path)),
        clones=linked_clones(host, name) if record.exists else (),
        source=source,
        **(observe_quarantine(spec, host) if spec else {}),
    )


def has_v2() -> bool:
    """Whether the controllers of this host are those of the second family of control groups."""
    return os.path.exists(_CONTROLLERS)


# ---- power -------------------------------------------------------------------------------------------------------------------


def _concerns_rates(kept: Definition, spec: GuestSpec | None) -> bool:
    """Whether anybody limits a card: tc is not asked for nothing."""
    cards: list[t.Any] = [*kept.things("networks").values(), *(spec.wanted("networks") if spec else ())]
    declared = [card.value(key) if isinstance(card, Card) else card.get(key) for card in cards for key in RATES]
    return any(declared)


def declares(spec: GuestSpec) -> bool:
    """Whether anything is to be compared, or is to run: more than a look at it, or its end."""
    is_over = spec.state in ("present", "stopped", "absent")
    return not is_over or bool(spec.unset or any(spec.lists.values()) or spec.exact or _compared(spec))


def _compared(spec: GuestSpec) -> bool:
    return any(spec.get(path) is not None for path in OPTIONS.compared())


def _observe_power(
    entry: Container,
    host: Host,
    rates: t.Mapping[str, tuple[int, int]] | None,
    keys: t.Iterable[str],
    problem: str | None,
    is_v2: bool,
) -> tuple[str, Live | None]:
    if not entry.is_running:
        return "stopped", None
    if problem is not None:
        # Its monitor runs with what it was started with; liblxc tells nothing of it.
        return "started", None
    container = live.handle(entry.name)
    state = live.settled_state(container)
    if state == "STOPPED":
        return "stopped", None
    power = "paused" if state == "FROZEN" else "started"
    return power, live.observe(container, host.links, host.port_vlans, rates, keys, is_v2=is_v2)


def _nics_by_name(kept: Definition, running: Live, spec: GuestSpec | None) -> dict[str, Nic]:
    """The interfaces of the cards; and those that run without lines in the configuration, where a MAC is declared that is theirs.

    A run was killed before it wrote them, or somebody took the lines away.
    """
    cards = t.cast("t.Mapping[str, Card]", kept.things("networks"))
    found = {name: nic for name, card in cards.items() if (nic := find_nic(card, running.nics))}
    for name, card in cards.items():
        if card.kind != VETH:
            # What becomes of it is LXC's: it is never plugged in again by us.
            found.setdefault(name, Nic(card.device, card.text("mac")))
    for name, card in cards.items():
        held = (running.held.get(f"lxc.net.{card.number}.{key}", "").split("\n") for key in ADDRESSES)
        old = {line.split()[0] for its in held for line in its if line.strip()} - {
            card["ip"],
            card["ip6"],
            *card.others,
        }
        if name in found and old:
            found[name] = found[name].replace(stale=tuple(cidr for cidr in sorted(old) if found[name].has(cidr)))
    for item in spec.items("networks") if spec else ():
        mac = item.get("mac")
        stray = next((nic for nic in running.nics if mac and nic.mac == mac and nic.host), None)
        if stray is not None and item.name not in cards:
            found[item.name] = stray
    return found


def _mounted_by_name(
    kept: Definition, running: Live, spec: GuestSpec | None, places: t.Mapping[str, str]
) -> dict[str, Mounted]:
    """What is mounted for each entry; and what is mounted without one exactly as it is declared."""
    entries = t.cast(t.Mapping[str, MountEntry], kept.things("mounts"))
    found = {name: mounted for name, entry in entries.items() if (mounted := running.mounted.get(entry.path))}
    for item in spec.items("mounts") if spec else ():
        stray = running.mounted.get(item.text("path") or "")
        is_same = stray is not None and stray.place == places.get(item.text("source") or "")
        if stray is not None and item.name not in entries and (is_same or not item.is_wanted):
            found[item.name] = stray
    return found


def _nodes_by_name(name: str, kept: Definition, running: Live, spec: GuestSpec | None) -> dict[str, Node]:
    """The nodes of the devices; and those that are in the guest without lines in the configuration, of names that are declared."""
    devices = t.cast(t.Mapping[str, Device], kept.things("devices"))
    names = dict.fromkeys((*devices, *(item.name for item in spec.items("devices"))) if spec else devices)
    if not names:
        return {}
    mounts, ids = live.mounts_of("/proc/self/mountinfo"), kept.config.values("lxc.idmap")
    found = {}
    for item in names:
        device = devices.get(item)
        node = _node_at(f"{paths.DEVICES}/{name}/{item}", ids)
        place = live.place_of(device.source if device else f"{paths.DEVICES}/{name}/{item}", mounts)
        there = running.mounted.get(device.path) if device else None
        is_seen = (
            there.place == place
            if there
            else device is None and place in {its.place for its in running.mounted.values()}
        )
        if node is not None and is_seen:
            found[item] = node
        elif node is None and device is not None and device.optional and isinstance(find_device(device.target), str):
            found[item] = Node(is_missing=True)
    return found


def _node_at(path: str, ids: t.Sequence[str]) -> Node | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
    numbers = f"{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return Node(numbers, f"{stat.S_IMODE(status.st_mode):04o}", idmap.inside_gid(ids, status.st_gid))


# ---- the root ----------------------------------------------------------------------------------------------------------------


def _observe_root(
    name: str, config: Config, record: GuestRecord, spec: GuestSpec | None, host: Host
) -> dict[str, t.Any]:
    drivers = drivers_of(host)
    recorded = record.volumes.get(ROOTFS)
    own = drivers.get(recorded.volume.pool) if recorded else None
    place = own.location(recorded.volume) if recorded and own else None
    path = root_of(config) or place
    is_there = path is not None and os.path.isdir(path)
    owns = place is not None and place == path
    found: dict[str, t.Any] = {
        "rootfs": path,
        "has_rootfs": is_there,
        "owns_rootfs": owns,
        "root_pool": recorded.volume.pool if recorded and owns else pool_of(path, drivers) if path else None,
    }
    is_asked = spec is None or spec.get("rootfs.size") is not None or "rootfs.size" in spec.unset
    if recorded and own and owns and is_there and is_asked:
        found["limit"] = own.limit(recorded.volume)
    if spec is not None and spec.state == "absent":
        return {**found, **_observe_removal(name, path if is_there else None, record, host)}
    driver = drivers.get(spec.get("rootfs.pool") or (found["root_pool"] if config else "") or "") if spec else None
    return {**found, **_observe_target(name, spec, driver, host)} if spec and driver else found


def _observe_target(name: str, spec: GuestSpec, driver: Driver, host: Host) -> dict[str, t.Any]:
    """What the pool says of a root of *spec*."""
    target = volumes.of_guest(driver.pool, name, ROOTFS, volumes.FILESYSTEM)
    image = stored(host.record("images", spec.image)) if spec.image else None
    kind = image.kind if image else KIND
    copy = copies.copy_in(spec.image, kind, driver) if spec.image and kind == KIND else None
    return {
        "size_obstacle": driver.obstacle(LIMIT) if spec.get("rootfs.size") is not None else None,
        "closed_folder": closed_folder(driver.path),
        "target": driver.location(target),
        "has_target": driver.exists(target),
        "is_cloned": copy is not None,
        "missing_copy": copy if copy is not None and not driver.exists(copy) else None,
    }


def _observe_removal(name: str, path: str | None, record: GuestRecord, host: Host) -> dict[str, t.Any]:
    """What is kept of the root at *path* and of those kept of earlier containers of this name, or deleted."""
    owned, used, is_lost = {}, {}, False
    drivers = drivers_of(host)
    for item, volume in ((item, recorded.volume) for item, recorded in record.volumes.items()):
        driver = drivers.get(volume.pool)
        if driver is not None and driver.exists(volume):
            owned[item] = place = driver.location(volume)
            why = obstacle_to_deletion(name, place, host)
        else:
            why = absence(host, volume.pool)
            if why is not None:
                owned[item], is_lost = f"{volume} ({why})", True
        if why is not None:
            used[item] = why
    is_ours = path is None or is_lost or path in owned.values()
    snapshots, held = kept_snapshots(name, record, host)
    return {
        "owned": owned,
        "used": {**used, **held},
        "snapshots": snapshots,
        "foreign": () if is_ours else (f"{path} (not made by this collection)",),
    }


def _root_obstacle(config: Config) -> str | None:
    path = root_of(config)
    if path is None:
        return "its configuration names no root"
    return None if os.path.isdir(path) else f"its root {config.get('lxc.rootfs.path')} is no folder of this host"


def _removal_obstacle(name: str) -> str | None:
    path = config_path(name)
    is_full = os.path.isdir(path) and not os.path.islink(path) and bool(os.listdir(path))
    return f"{path} is a folder, and not empty. Look what is in it, and take it away" if is_full else None


# ---- the configuration, and the files inside ---------------------------------------------------------------------------------


def _observe_definition(
    name: str, config: Config, record: GuestRecord, spec: GuestSpec | None, *, exists: bool
) -> Definition:
    limits = cgroup.defined(config.get, is_v2=has_v2())
    if not exists:
        return Definition(config, limits=limits)
    numbers = claim_cards(name, spec.items("networks") if spec else (), config, record.macs)
    path = root_of(config)
    inside = read_inside(path, numbers, device_names(config.nets()).values()) if path else Inside()
    devices = read_devices(name, config)
    there = {
        its.target: found
        for its in devices.values()
        if its.rule and not isinstance(found := find_device(its.target), str)
    }
    return Definition(
        config,
        devices={item: with_numbers(its, there.get(its.target)) for item, its in devices.items()},
        inside=inside,
        limits=limits,
        cpus=online_cpus(),
        ssh_keys=record.ssh_keys,
        cards=read_cards(numbers, config, unplugged=record.unplugged, asks_dhcp=inside.asks_dhcp),
        mounts=claim_mounts(
            spec.items("mounts") if spec else (), config, record.names.get("mounts") or {}, record.backed_up
        ),
    )


def read_inside(path: str, cards: t.Iterable[str], devices: t.Iterable[str]) -> Inside:
    """What the files of the guest say."""
    tree = Tree(path)
    hostname, manager = tree.read("/etc/hostname"), network_manager(tree)
    interfaces = tree.read(guest_files.INTERFACES) if manager == "ifupdown" else None
    return Inside(
        hostname=hostname.strip() if hostname else None,
        resolv_conf=tree.read(guest_files.RESOLV_CONF),
        keys=tree.read(guest_files.KEYS),
        asks_dhcp=frozenset(name for name in cards if asks_dhcp(tree, name)),
        manager=manager,
        dhcp_files={
            device: guest_files.INTERFACES for device in devices if guest_files.asks_dhcp_for(interfaces, device)
        },
        obstacles={
            option: why
            for option, files in guest_files.FILES.items()
            if (why := next(filter(None, map(tree.obstacle, files)), None)) is not None
        },
    )


def asks_dhcp(tree: Tree, name: str) -> bool:
    """Whether the file that we keep of the interface *name* makes the guest ask for its address."""
    text = tree.read(guest_files.networkd_path(name)) or tree.read(guest_files.ifupdown_path(name)) or ""
    return "DHCP=yes" in text or " inet dhcp" in text


# ---- what a plan depends on besides ------------------------------------------------------------------------------------------


def _observe_surroundings(
    name: str, kept: Definition, spec: GuestSpec, host: Host, *, exists: bool
) -> dict[str, t.Any]:
    there = read_host(name, host)
    bridges = _bridges_of_vlans(spec, kept.config)
    # Most plans of a host need nobody's MAC, and reading all of them costs.
    cards = kept.things("networks")
    needs_macs = any(item.get("mac") or item.name not in cards for item in spec.wanted("networks"))
    answering = _observe_neighbours(kept, spec, host)
    return {
        "host": there,
        "machine_id": there.machine_id,
        "taken_macs": taken_macs(host, name) if needs_macs or answering else {},
        "answering": answering,
        "bare_bridges": bare_bridges(spec, host),
        **(_observe_image(spec.image, host) if spec.image and not exists else {}),
        "rate_obstacle": rate_obstacle(spec, *QUEUES),
        "vlan_obstacles": {bridge: why for bridge in bridges if (why := host.vlan_obstacle(bridge))},
    }


def _observe_neighbours(kept: Definition, spec: GuestSpec, host: Host) -> dict[str, str]:
    """Who has the fixed addresses that cards are to get."""
    asked: dict[tuple[str, int], list[str]] = {}
    cards = t.cast("t.Mapping[str, Card]", kept.things("networks"))
    for item in spec.wanted("networks"):
        card = cards.get(item.name)
        bridge = item.get("bridge") or (card.text("bridge") if card else "")
        vlan = item.get("vlan", card["vlan"] if card else 0)
        for key in ("ip", "ip6"):
            is_there = card is not None and (card[key], card["bridge"], card["vlan"]) == (item.get(key), bridge, vlan)
            if not is_there:
                asked.setdefault((bridge, vlan), []).extend(addresses_in(item.text(key)))
    own = {card["mac"] for card in cards.values()} | {item.get("mac") for item in spec.wanted("networks")}
    found = {}
    for (bridge, vlan), addresses in asked.items():
        if addresses and bridge in host.link_names:
            found.update(host.who_answers(bridge, addresses, vlan))
    return {address: mac for address, mac in found.items() if mac not in own}


def _observe_image(name: str, host: Host) -> dict[str, t.Any]:
    image = stored(host.record("images", name))
    if image is None:
        return {"image_kind": host.promised(Reference(IMAGE, name), "kind")}
    return {"image_kind": image.kind, "image_bytes": image.size_bytes, "image_largest_id": image.largest_id}


def _bridges_of_vlans(spec: GuestSpec, config: Config) -> set[str]:
    """The bridges that may have to know VLANs: none where nobody speaks of any."""
    declared, nets = spec.items("networks"), config.nets().values()
    if not (any(item.get("vlan") for item in declared) or any("veth.vlan.id" in net for net in nets)):
        return set()
    bridges = (*(item.text("bridge") for item in declared), *(net.get("link") for net in nets))
    return {bridge for bridge in bridges if bridge}


def _sources(spec: GuestSpec, config: Config) -> set[str]:
    declared = [source for item in spec.items("mounts") if (source := item.text("source"))]
    return {*declared, *(entry.source for entry in bind_entries(config))}


def _away(spec: GuestSpec, config: Config) -> frozenset[str]:
    return frozenset(source for source in _sources(spec, config) if remote.away(source) is not None)


def _places(spec: GuestSpec, config: Config, away: t.Collection[str]) -> dict[str, str]:
    sources = _sources(spec, config).difference(away)
    if not sources:
        return {}
    mounts = live.mounts_of("/proc/self/mountinfo")
    found = {source: live.place_of(source, mounts) for source in sources}
    return {source: place for source, place in found.items() if place}


def _observe_devices(
    name: str, kept: Definition, spec: GuestSpec, running: Live | None, host: Host, *, exists: bool
) -> dict[str, t.Any]:
    """What the host has of the devices that are declared, who has those that the guest does not have yet, and the groups of the guest."""
    devices = t.cast(t.Mapping[str, Device], kept.things("devices"))
    wanted = {}
    for item in spec.wanted("devices"):
        before = devices.get(item.name)
        target = target_of(item, before.type if before else None, before.ref if before else None)
        if target is not None:
            wanted[item.name] = target
    # What is not written keeps a container from its start all the same.
    is_due = spec.state not in ("present", "stopped", "absent")
    wanted.update({item: its.target for item, its in devices.items() if is_due and spec.item("devices", item) is None})
    if not wanted:
        return {}
    root = root_of(kept.config)
    found = {target: find_device(target) for target in {*wanted.values(), *(its.target for its in devices.values())}}
    there = {target: its for target, its in found.items() if isinstance(its, HostDevice)}
    has = running.things("devices") if running is not None else {}
    new = {item: its.port for item, target in wanted.items() if item not in has and (its := there.get(target))}
    usb = host.derived(read_hardware).usb if any(new.values()) else {}
    owners = {item: machine_with(host, name, usb[port]) for item, port in new.items() if port in usb}
    return {
        "host_devices": there,
        "device_obstacles": {item: why for item, target in wanted.items() if isinstance(why := found[target], str)},
        "device_owners": {item: owner for item, owner in owners.items() if owner},
        "groups": guest_files.groups(Tree(root).read(guest_files.GROUP)) if exists and root else {},
    }


def _observe_engine(kept: Definition, spec: GuestSpec, *, exists: bool) -> dict[str, t.Any]:
    """What has to go together where Docker shall run in the guest."""
    if not spec.get("features.docker"):
        return {}
    root = root_of(kept.config)
    version = command.run(["dpkg-query", "--show", "--showformat=${Version}", "liblxc1"], check=False).strip()
    status = Tree(root).read("/var/lib/dpkg/status") if exists and root else None
    return {"lxc_version": version, "engine": docker.strict_engine(status)}


def read_host(name: str, host: Host) -> HostState:
    """What a plan for *name* depends on: the host, and what all other guests have."""
    return host.derived(_read_host).replace(guest=name)


def free_ids(name: str) -> Range | None:
    """Ids for the container *name* that nobody has at this moment; ``None`` where none are left. The lock of allocations is held."""
    subuids, subgids = _subids()
    return allocate(tuple(parse_subids(subuids)), tuple(parse_subids(subgids)), tuple(sorted(_taken_ids(name))))


def has_ids(name: str, area: Range) -> bool:
    """Whether the container *name* can have the ids of *area*: they are root's, and nobody else's. The lock of allocations is held."""
    are_ours = all(any(its.holds(area) for its in parse_subids(text)) for text in _subids())
    return are_ours and not any(its.overlaps(area) for its in _taken_ids(name))


def _taken_ids(name: str) -> set[Range]:
    """What anybody but the container *name* has."""
    subuids, subgids = _subids()
    known = {other: Config.parse(its.config, its.included, its.tables) for other, its in read_containers().items()}
    records = load_others(load_all("guests"))
    taken = {
        area
        for other in {**known, **records}
        if other != name
        for area in _ids_of(known.get(other, Config()), records.get(other, GuestRecord()))
    }
    # What is tried runs beside the guest that it is a backup of.
    tried = {Range(*its.idmap) for its in load_others(load_all("drills")).values() if its.idmap}
    return {*parse_others(subuids), *parse_others(subgids), *taken, *tried}


def _subids() -> tuple[str, str]:
    subuids, subgids = (atomic.read_text(path) or "" for path in ("/etc/subuid", "/etc/subgid"))
    return subuids, subgids


def online_cpus() -> tuple[int, ...]:
    return cpuset.parse(atomic.read_text("/sys/devices/system/cpu/online") or "0")


def _read_host(host: Host) -> HostState:
    is_v2 = has_v2()
    servers, search = guest_files.host_resolver([atomic.read_text(path) for path in _RESOLVERS])
    subuids, subgids = _subids()
    known, records = host.derived(configs), load_others(host.guest_records)
    return HostState(
        is_v2=is_v2,
        has_swap_limit=is_v2 or os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
        has_apparmor=(atomic.read_text("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y",
        cpus=online_cpus(),
        uids=tuple(parse_subids(subuids)),
        gids=tuple(parse_subids(subgids)),
        reserved=(*parse_others(subuids), *parse_others(subgids)),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        servers=servers,
        search=search,
        links=host.link_names,
        claims={
            name: _claim(known.get(name, Config()), records.get(name, GuestRecord()), is_v2)
            for name in {**known, **records}
        },
    )


def _claim(config: Config, record: GuestRecord, is_v2: bool) -> Claim:
    nets = config.nets().values()
    return Claim(
        cpus=cpuset.parse(config.get(f"{cgroup.V2 if is_v2 else cgroup.V1}cpuset.cpus") or ""),
        ids=_ids_of(config, record),
        links=tuple(net.get("veth.pair", "") for net in nets),
    )


def _ids_of(config: Config, record: GuestRecord) -> tuple[Range, ...]:
    """Of a guest that was taken away the record still claims the ids of a root that was kept."""
    kept = [Range(*record.idmap)] if record.idmap else []
    return tuple(parse_idmap(config.values("lxc.idmap")) + kept)
