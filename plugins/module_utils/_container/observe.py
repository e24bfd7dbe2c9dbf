# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a container on the host, and what is told of it."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .._core import atomic, startup
from .._core.record import Record
from .._core.units import show_memory_kib
from .._host.snapshot import Host
from .._image.store import stored
from .._storage.mounts import mounts_in
from . import cgroup, cpuset, guest_files, inside, live, rootfs
from .config import Config
from .idmap import Range, parse_idmap, parse_subids, root_of
from .items import bind_entries, claim_mounts, claim_networks, live_nic, live_vlan, net_lines
from .spec import Spec
from .state import Claim, HostState, Inside, Live, State

_RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


def observe(spec: Spec, host: Host) -> State:
    """Read the container of *spec* through *host*.

    :raises ObserveError:
    """
    return observe_guest(spec.name, host, spec)


def observe_guest(name: str, host: Host, spec: Spec | None = None) -> State:
    """Read the container *name*; what depends on what a user wants is read where there is a *spec*.

    :raises ObserveError:
    """
    record = host.record("guests", name)
    is_container = record.data.get("kind", "container") == "container"
    data = record.data if is_container else {}
    entry = host.containers.get(name)
    config = host.derived(configs).get(name, Config())
    power, running = _power(name, host) if entry else ("stopped", None)
    path = rootfs_path(config) or _volume_path(data)
    pool = host.pools.get(spec.pool) if spec and spec.pool else None
    folder = host.pool_folders.get(spec.pool) if spec and spec.pool else None
    target = rootfs.path_in(folder, name) if folder else None
    names = _net_names(config, data, spec)
    places = _places(spec, config)
    bridges = _bridges_of_vlans(spec, config)
    is_defined = entry is not None and not (record.is_building and is_container)
    mine = [place for place in dict.fromkeys((path, target, _volume_path(data))) if place]
    return State(
        is_registered=entry is not None,
        is_defined=is_defined,
        is_building=record.is_building and is_container,
        is_vm=name in host.domains or (record.exists and not is_container and record.data.get("kind") == "vm"),
        power=power,
        config=config,
        record=data,
        live=running,
        inside=read_inside(path, names) if entry and path and config.get("lxc.rootfs.path") else Inside(),
        rootfs=path,
        has_rootfs=bool(path) and os.path.isdir(str(path)),
        mounts_in_rootfs=mounts_in(path) if path and not running else (),
        left_overs=tuple(left for place in mine for left in rootfs.left_overs(place)),
        pool_path=folder,
        pool_type=pool.type if pool else None,
        closed_folder=closed_folder(folder) if folder else None,
        target=target,
        has_target=bool(target) and os.path.lexists(str(target)),
        image_kind=_image_kind(spec.image, host) if spec and spec.image and not is_defined else None,
        places=places,
        vlan_obstacles={bridge: why for bridge in bridges if (why := host.vlan_obstacle(bridge))},
        files=frozenset(source for source in places if not os.path.isdir(source)),
        host=read_host(name, host) if spec else HostState(),
    )


def _power(name: str, host: Host) -> tuple[str, Live | None]:
    if not host.containers[name].is_running:
        return "stopped", None
    container = live.handle(name)
    state = live.settled_state(container)
    if state == "STOPPED":
        return "stopped", None
    return ("paused" if state == "FROZEN" else "started"), live.observe(container, host.links, host.port_vlans)


def rootfs_path(config: Config) -> str | None:
    """The folder of the root; the drivers of liblxc stand before it."""
    value = config.get("lxc.rootfs.path")
    if not value:
        return None
    driver, colon, path = value.partition(":")
    return path if colon and "/" not in driver else value


def _volume_path(data: t.Mapping[str, t.Any]) -> str | None:
    volume = (data.get("volumes") or {}).get("rootfs") or {}
    return volume.get("path")


def _image_kind(name: str, host: Host) -> str | None:
    image = stored(host.record("images", name))
    return image.kind if image else host.expected_images.get(name)


def _net_names(config: Config, data: t.Mapping[str, t.Any], spec: Spec | None) -> set[str]:
    declared = {item.name for item in (spec.networks if spec else None) or ()}
    return declared | set(data.get("macs") or {}) | set(claim_networks((), config, data.get("macs") or {}))


def _bridges_of_vlans(spec: Spec | None, config: Config) -> set[str]:
    """The bridges that may have to know VLANs: none where nobody speaks of any."""
    declared = (spec.networks if spec else None) or ()
    nets = config.nets().values()
    if not spec or not (any(item.vlan for item in declared) or any("veth.vlan.id" in net for net in nets)):
        return set()
    return {bridge for bridge in (*(item.bridge for item in declared), *(net.get("link") for net in nets)) if bridge}


def read_inside(path: str, net_names: t.Iterable[str]) -> Inside:
    """What the files of the guest say."""
    tree = inside.Tree(path)
    hostname = tree.read("/etc/hostname")
    return Inside(
        hostname=hostname.strip() if hostname else None,
        resolv_conf=tree.read("/etc/resolv.conf"),
        keys=tree.read(guest_files.KEYS),
        asks_dhcp=frozenset(name for name in net_names if inside.asks_dhcp(tree, name)),
    )


def closed_folder(path: str) -> str | None:
    """The first folder on the way to *path* that the mapped root of a container may not pass through."""
    place = ""
    for part in [part for part in os.path.realpath(path).split("/") if part]:
        place += "/" + part
        try:
            if not os.stat(place).st_mode & 0o001:
                return place
        except FileNotFoundError:
            return None
    return None


def _places(spec: Spec | None, config: Config) -> dict[str, str]:
    declared = [mount.source for mount in (spec.mounts if spec else None) or () if mount.source]
    sources = {*declared, *(entry.source for entry in bind_entries(config))}
    if not sources:
        return {}
    mounts = live.mounts_of("/proc/self/mountinfo")
    found = {source: live.place_of(source, mounts) for source in sources}
    return {source: place for source, place in found.items() if place}


def configs(host: Host) -> dict[str, Config]:
    """The configuration of every container. Ask for it through ``Host.derived``."""
    return {name: Config.parse(entry.config) for name, entry in host.containers.items()}


def read_host(name: str, host: Host) -> HostState:
    """What a plan for *name* depends on: the host, and what all other guests have."""
    return dataclasses.replace(host.derived(_read_host), guest=name)


def _read_host(host: Host) -> HostState:
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    servers, search = guest_files.host_resolver([atomic.read_text(path) for path in _RESOLVERS])
    known = host.derived(configs)
    return HostState(
        is_v2=is_v2,
        has_swap_limit=is_v2 or os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
        has_apparmor=(atomic.read_text("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y",
        cpus=cpuset.parse(atomic.read_text("/sys/devices/system/cpu/online") or "0"),
        uids=tuple(parse_subids(atomic.read_text("/etc/subuid") or "")),
        gids=tuple(parse_subids(atomic.read_text("/etc/subgid") or "")),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        servers=servers,
        search=search,
        links=frozenset(host.links),
        claims={
            name: _claim(known.get(name, Config()), host.guest_records.get(name), is_v2)
            for name in {**known, **host.guest_records}
        },
    )


def _claim(config: Config, record: Record | None, is_v2: bool) -> Claim:
    """Of a guest that was taken away the record still claims the ids of a root that was kept."""
    data = record.data if record else {}
    nets = config.nets().values()
    kept = data.get("idmap")
    ids = parse_idmap(config.values("lxc.idmap")) + ([Range(int(kept["start"]), int(kept["count"]))] if kept else [])
    return Claim(
        cpus=cpuset.parse(config.get(f"{cgroup.V2 if is_v2 else cgroup.V1}cpuset.cpus") or ""),
        ids=tuple(ids),
        macs=(
            *(net["hwaddr"].lower() for net in nets if "hwaddr" in net),
            *map(str, (data.get("macs") or {}).values()),
        ),
        links=tuple(net.get("veth.pair", "") for net in nets),
    )


def guest_facts(name: str, host: Host) -> dict[str, t.Any]:
    """The container *name* as every module tells it: sizes in bytes and KiB beside what a person reads.

    :raises ObserveError:
    """
    return facts_of(name, observe_guest(name, host))


def facts_of(name: str, state: State) -> dict[str, t.Any]:
    """What is told of the container in *state*."""
    running = state.live
    memory = cgroup.read_memory(running.items if running else persistent_items(state.config, state.host.is_v2))
    networks = [_network_facts(net, number, state) for net, number in _names_of(state).items()]
    count = len(cgroup.read_cpus(running.items if running else persistent_items(state.config, state.host.is_v2)))
    volume = (state.record.get("volumes") or {}).get("rootfs") or {}
    pool = volume.get("pool") if volume.get("path") == state.rootfs else None
    disks = [{"name": "rootfs", "pool": pool, "path": state.rootfs, "size_bytes": None, "size": None}]
    return {
        "name": name,
        "kind": "container",
        "state": state.power if state.is_defined else "absent",
        "description": state.record.get("description") or "",
        "tags": list(state.record.get("tags") or ()),
        "autostart": state.config.get("lxc.start.auto") == "1",
        "startup": startup.facts(startup.recorded(state.record)),
        "vcpus": count or len(os.sched_getaffinity(0)),
        "memory_kib": memory or None,
        "memory": show_memory_kib(memory or None),
        "networks": networks,
        "mounts": [
            {"name": mount, "source": entry.source, "path": entry.path, "readonly": entry.is_readonly}
            for mount, entry in claim_mounts((), state.config, state.record.get("mounts") or {}).items()
        ],
        "disks": disks if state.rootfs and state.has_rootfs else [],
        "addresses": [address.split("/")[0] for net in networks for address in net["addresses"]],
        "uptime_seconds": running.uptime_seconds if running else None,
        "pid": running.pid if running else None,
        "image": state.record.get("image"),
        "unprivileged": root_of(state.config.values("lxc.idmap")) is not None if state.is_defined else None,
        "managed": bool(state.record),
    }


def _names_of(state: State) -> dict[str, int]:
    return claim_networks((), state.config, state.record.get("macs") or {})


def _network_facts(net: str, number: int, state: State) -> dict[str, t.Any]:
    lines = net_lines(net, number, state)
    nic = live_nic(lines, state.live)
    static = [lines.ip] if "/" in lines.ip else []
    return {
        "name": net,
        "bridge": (nic.bridge if nic else "") or lines.bridge or None,
        "vlan": live_vlan(lines, nic) or None,
        "mac": (nic.mac if nic else lines.mac) or None,
        "device": nic.device if nic else lines.device,
        "host_device": (nic.host if nic else lines.pair) or None,
        "addresses": [address.cidr for address in nic.addresses] if nic else static,
        "link": ("up" if nic.bridge else "down") if nic else lines.link,
    }


def persistent_items(config: Config, is_v2: bool) -> dict[str, str]:
    """The limits that the configuration sets for the family of control groups that this host has."""
    prefix, names = (cgroup.V2, cgroup.V2_ITEMS) if is_v2 else (cgroup.V1, cgroup.V1_ITEMS)
    found = ((item, config.get(prefix + item)) for item in names)
    return {item: value for item, value in found if value}
